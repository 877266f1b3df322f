//! Who sent it: bearer keys, and the browser's `Host` and `Origin`. OAuth will stand beside.

use std::net::{IpAddr, SocketAddr};

use capture::Str;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, StatusCode, Uri};

use super::{Denied, FORBIDDEN, UNAUTHENTICATED};
use crate::snapshot::Snapshot;

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
/// Loopback names, the listener's own address and `allowed_hosts` (a name, with or without its
/// port) may be a `Host`; beyond loopback any may, unless `allowed_hosts` names some. An `Origin`
/// must be one of `allowed_origins`, the listener's own, or on a loopback listener a loopback one.
///
/// # Errors
/// 403 for a `Host` or `Origin` that is not allowed.
pub fn check_origin(
    snapshot: &Snapshot,
    listener: SocketAddr,
    parts: &Parts,
) -> Result<(), Denied> {
    let forbidden = |what| Denied::new(StatusCode::FORBIDDEN, FORBIDDEN, "forbidden_origin", what);
    let own = listener.ip().to_canonical();
    let on_loopback = own.is_loopback();
    let config = &snapshot.config;
    let listed = |list: &[String], value: &str| list.iter().any(|l| l.eq_ignore_ascii_case(value));
    let is_own = |host: &str| bare(host).parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical() == own);
    let mut hosts = Vec::with_capacity(2);
    for host in parts.headers.get_all(HOST) {
        hosts.push(host.to_str().map_err(|_| forbidden("Host is not readable"))?);
    }
    hosts.extend(parts.uri.authority().map(Authority::as_str));
    if hosts.windows(2).any(|two| !two[0].eq_ignore_ascii_case(two[1])) {
        return Err(forbidden("there is more than one Host"));
    }
    let host_ok = match hosts.first() {
        None => !on_loopback,
        Some(host) => {
            let name = host_of(host);
            let named = [*host, name].iter().any(|host| listed(&config.allowed_hosts, host));
            let open = !on_loopback && config.allowed_hosts.is_empty();
            named || open || is_loopback(name) || is_own(name)
        }
    };
    if !host_ok {
        return Err(forbidden("Host is not allowed"));
    }
    for origin in parts.headers.get_all(ORIGIN) {
        let origin = origin.to_str().map_err(|_| forbidden("Origin is not readable"))?;
        let uri = origin.parse::<Uri>().ok();
        let host = uri.as_ref().and_then(Uri::host);
        let ours = host.is_some_and(|host| is_own(host) || (on_loopback && is_loopback(host)));
        if !ours && !listed(&config.allowed_origins, origin) {
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

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || bare(host).parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
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
