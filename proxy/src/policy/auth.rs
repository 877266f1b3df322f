//! Who sent it: bearer keys, and the browser's `Host` and `Origin`. OAuth will stand beside.

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, StatusCode, Uri};

use super::{Denied, FORBIDDEN, UNAUTHENTICATED};
use crate::snapshot::Snapshot;
use capture::Str;

/// The name of the key the request carries; none when no keys are configured.
///
/// # Errors
/// 401 when keys are configured and the request has none of them.
pub fn authenticate(snapshot: &Snapshot, parts: &Parts) -> Result<Option<Str>, Denied> {
    if !snapshot.requires_key() {
        return Ok(None);
    }
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let token = values.next().and_then(bearer);
    let denied = |message| {
        Denied::new(StatusCode::UNAUTHORIZED, UNAUTHENTICATED, "unauthenticated", message)
    };
    let (Some(token), None) = (token, values.next()) else {
        return Err(denied("a bearer key is required"));
    };
    snapshot.verify_key(token).map(Some).ok_or_else(|| denied("the bearer key is not known"))
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Refuses what a web page could have a browser send (DNS rebinding; spec: transports, security).
///
/// A listener on loopback answers only to loopback names. Beyond loopback any `Host` passes unless
/// `allowed_hosts` names some, and an `Origin` passes only when `allowed_origins` names it.
///
/// # Errors
/// 403 for a `Host` or `Origin` that is not allowed.
pub fn check_origin(snapshot: &Snapshot, on_loopback: bool, parts: &Parts) -> Result<(), Denied> {
    let forbidden = |what| Denied::new(StatusCode::FORBIDDEN, FORBIDDEN, "forbidden_origin", what);
    let host = match parts.uri.authority() {
        Some(authority) => Some(authority.host()),
        None => match parts.headers.get(HOST).map(|h| h.to_str().map(host_of)) {
            Some(Ok(host)) => Some(host),
            Some(Err(_)) => return Err(forbidden("Host is not readable")),
            None => None,
        },
    };
    let config = &snapshot.config;
    let listed = |list: &[String], value: &str| list.iter().any(|l| l.eq_ignore_ascii_case(value));
    let host_ok = match host {
        None => !on_loopback,
        Some(host) if listed(&config.allowed_hosts, host) => true,
        Some(host) if on_loopback => is_loopback(host),
        Some(_) => config.allowed_hosts.is_empty(),
    };
    if !host_ok {
        return Err(forbidden("Host is not allowed"));
    }
    for origin in parts.headers.get_all(ORIGIN) {
        let origin = origin.to_str().map_err(|_| forbidden("Origin is not readable"))?;
        let own = on_loopback
            && origin.parse::<Uri>().ok().is_some_and(|uri| uri.host().is_some_and(is_loopback));
        if !own && !listed(&config.allowed_origins, origin) {
            return Err(forbidden("Origin is not allowed"));
        }
    }
    Ok(())
}

/// A `Host` header without its port.
fn host_of(host: &str) -> &str {
    match host.rfind(']') {
        Some(end) => &host[..=end],
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_the_host_and_lookalikes_are_not_loopback() {
        assert_eq!(host_of("[::1]:80"), "[::1]");
        assert_eq!(host_of("localhost:80"), "localhost");
        assert!(is_loopback("127.0.0.1") && is_loopback("[::1]") && is_loopback("LOCALHOST"));
        assert!(!is_loopback("localhost.evil.example") && !is_loopback("127.0.0.1.nip.io"));
    }
}
