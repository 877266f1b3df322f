//! The revisions of MCP, and what headers and body must say of each other (spec 2026-07-28,
//! transports, "header and body"). The bridge between eras stands in [`bridge`].

pub mod bridge;
mod detect;
mod feed;
mod parked;
mod session_pool;
mod splice;
pub(crate) mod to_legacy;
mod to_modern;
mod upstream_session;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use inspect::message::Kind;

use crate::envelope::{Claim, Head, McpHeaders};
use crate::policy::Denied;

/// Every revision the gateway relays, newest first.
pub const REVISIONS: [&str; 5] =
    ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The first revision without sessions.
const FIRST_MODERN: &str = "2026-07-28";
/// The only revision with batches.
const BATCHES: &str = "2025-03-26";

/// Whether a version header names a stateless revision.
pub fn is_modern(version: &[u8]) -> bool {
    // Revisions are dates, so that their order is the order of their text.
    version.len() == FIRST_MODERN.len() && version >= FIRST_MODERN.as_bytes()
}

/// Whether a client may send a batch: on 2025-03-26, which has no version header.
pub fn allows_batch(version: Option<&str>) -> bool {
    version.is_none_or(|version| version == BATCHES)
}

/// Checks that headers and body are of one revision and say the same.
///
/// # Errors
/// `-32020` when they differ, `-32022` for a revision nobody here speaks, `-32602` for an
/// incomplete `_meta`, `-32600` for a message the revision does not have.
pub fn check(headers: &McpHeaders, head: &Head) -> Result<(), Denied> {
    if headers.is_repeated || headers.method.len() > 1 || headers.name.len() > 1 {
        return Err(Denied::header_mismatch("an MCP header is there more than once"));
    }
    let header = headers.version.as_ref().map(HeaderValue::as_bytes);
    match &head.claim {
        Claim::Complete(version) => modern(headers, head, header, version),
        Claim::Malformed(what) => Err(Denied::invalid_params(what)),
        Claim::None => legacy(head, header, headers.method.first()),
    }
}

/// Checks a message on a transport without headers, where nothing can differ: only what it claims
/// of itself counts.
///
/// # Errors
/// `-32602` for an incomplete `_meta`, `-32022` for a revision nobody here speaks.
pub fn check_claim(head: &Head) -> Result<(), Denied> {
    match &head.claim {
        Claim::None => Ok(()),
        Claim::Malformed(what) => Err(Denied::invalid_params(what)),
        Claim::Complete(version) => spoken(version),
    }
}

/// Refuses a claim of a revision that has none, or that nobody here speaks.
fn spoken(version: &str) -> Result<(), Denied> {
    if !is_modern(version.as_bytes()) || !REVISIONS.contains(&version) {
        return Err(Denied::unsupported_version(version));
    }
    Ok(())
}

fn modern(
    headers: &McpHeaders,
    head: &Head,
    header: Option<&[u8]>,
    version: &str,
) -> Result<(), Denied> {
    // The header rules of notifications are undefined in this revision: only a difference counts.
    let strict = head.kind == Kind::Request;
    match header {
        Some(header) if header != version.as_bytes() => {
            return Err(Denied::header_mismatch("MCP-Protocol-Version differs from the body"));
        }
        None if strict => return Err(Denied::header_mismatch("MCP-Protocol-Version is missing")),
        _ => {}
    }
    spoken(version)?;
    mirrored("Mcp-Method", headers.method.first(), head.method.as_deref(), strict)?;
    let named = matches!(
        head.method.as_deref(),
        Some(
            "tools/call"
                | "prompts/get"
                | "resources/read"
                | "tasks/get"
                | "tasks/update"
                | "tasks/cancel"
        )
    );
    if named {
        mirrored("Mcp-Name", headers.name.first(), head.name.as_deref(), strict)?;
    }
    Ok(())
}

fn legacy(head: &Head, header: Option<&[u8]>, mirror: Option<&HeaderValue>) -> Result<(), Denied> {
    match header {
        None => Ok(()),
        Some(version) if is_modern(version) => match (head.kind, head.method.as_deref()) {
            (Kind::Request, Some("initialize")) => {
                Err(Denied::header_mismatch("initialize under a revision that has no handshake"))
            }
            (Kind::Request, _) => Err(Denied::invalid_params(
                "_meta lacks io.modelcontextprotocol/protocolVersion and clientCapabilities",
            )),
            (Kind::Response | Kind::Error, _) => {
                Err(Denied::invalid_request("this revision has no responses from clients"))
            }
            (Kind::Notification, method) => mirrored("Mcp-Method", mirror, method, false),
        },
        Some(version) if REVISIONS.iter().any(|known| known.as_bytes() == version) => Ok(()),
        Some(version) => Err(Denied::unsupported_version(&String::from_utf8_lossy(version))),
    }
}

/// A header that repeats a member of the body: decoded, it must be equal.
fn mirrored(
    what: &'static str,
    header: Option<&HeaderValue>,
    body: Option<&str>,
    strict: bool,
) -> Result<(), Denied> {
    match (header, body) {
        (None, Some(_)) if strict => Err(Denied::header_mismatch(&format!("{what} is missing"))),
        (None, _) => Ok(()),
        (Some(header), Some(body)) if decode(header).as_deref() == Some(body.as_bytes()) => Ok(()),
        (Some(_), _) => Err(Denied::header_mismatch(&format!("{what} differs from the body"))),
    }
}

/// Undoes `=?base64?…?=`; any other value is itself. `None`: marked as base64, but is not.
pub fn decode(value: &HeaderValue) -> Option<Vec<u8>> {
    let value = value.as_bytes().trim_ascii();
    let inner = value.strip_prefix(b"=?base64?").and_then(|v| v.strip_suffix(b"?="));
    match inner {
        None => Some(value.to_vec()),
        Some(inner) => STANDARD.decode(inner).ok(),
    }
}

/// The header form of a text: itself where a header can carry it, else base64.
pub fn encode(text: &[u8]) -> Option<HeaderValue> {
    let plain = !text.is_empty()
        && text.iter().all(|b| (0x20..0x7f).contains(b))
        && text.trim_ascii().len() == text.len()
        && !text.starts_with(b"=?base64?");
    if plain {
        return HeaderValue::from_bytes(text).ok();
    }
    HeaderValue::from_str(&format!("=?base64?{}?=", STANDARD.encode(text))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD_NO_PAD;

    #[test]
    fn header_values_survive_their_encoding() {
        for text in ["plain", " padded ", "snö", "", "=?base64?x?=", "line\nbreak"] {
            let header = encode(text.as_bytes()).unwrap();
            assert_eq!(decode(&header).as_deref(), Some(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn bad_base64_is_no_value_and_a_lone_prefix_is_literal() {
        assert_eq!(decode(&HeaderValue::from_static("=?base64?***?=")), None);
        let bare = STANDARD_NO_PAD.encode("abcd");
        assert_eq!(decode(&HeaderValue::from_str(&format!("=?base64?{bare}?=")).unwrap()), None);
        let lone = HeaderValue::from_static("=?base64?abc");
        assert_eq!(decode(&lone).as_deref(), Some(b"=?base64?abc".as_slice()));
    }

    #[test]
    fn a_claim_is_judged_where_no_header_says_it_too() {
        let code = |claim| check_claim(&Head { claim, ..Head::error() }).map_err(|d| d.code);
        assert_eq!(code(Claim::None), Ok(()));
        assert_eq!(code(Claim::Complete("2026-07-28".into())), Ok(()));
        assert_eq!(code(Claim::Malformed("no string")), Err(-32602));
        // Of a revision with a handshake, and of none.
        for version in ["2025-11-25", "2027-01-01", "", "latest"] {
            assert_eq!(code(Claim::Complete(version.into())), Err(-32022), "{version}");
        }
    }

    #[test]
    fn modern_is_a_date_not_before_the_first_stateless_revision() {
        assert!(is_modern(b"2026-07-28"));
        assert!(!is_modern(b"2025-11-25"));
        assert!(!is_modern(b"zzz"));
    }
}
