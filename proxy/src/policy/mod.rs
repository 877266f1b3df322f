//! What may stop a message, one file each, and [`Denied`]: the only error a client sees.

pub mod auth;
pub mod inspect;
pub mod limit;
pub mod schema;
pub mod vetting;
pub mod withhold;

use ::inspect::message::ParseError;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::era;
use crate::upstream::UpstreamError;

/// Why a message went no further, in the terms of JSON-RPC and HTTP. Never holds matched text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Denied {
    /// The HTTP status, where there is one.
    pub status: StatusCode,
    /// The JSON-RPC error code. The gateway's own are positive: the spec reserves the negative.
    pub code: i32,
    /// A short word for metrics and captures.
    pub reason: &'static str,
    /// One sentence for a person.
    pub message: String,
    /// `error.data`, where the spec asks for it.
    pub data: Option<Value>,
}

/// A rule blocked the message.
pub const BLOCKED: i32 = 1001;
/// The key is missing or wrong.
pub const UNAUTHENTICATED: i32 = 1002;
/// `Host` or `Origin` is not one of ours.
pub const FORBIDDEN: i32 = 1003;
/// A limit of the gateway is reached.
pub const LIMIT: i32 = 1004;
/// The server can't be reached.
pub const UNREACHABLE: i32 = 1005;
/// The server took too long.
pub const TIMEOUT: i32 = 1006;
/// The server's answer is no MCP.
pub const BAD_UPSTREAM: i32 = 1007;
/// No such server or path.
pub const NOT_FOUND: i32 = 1008;
/// The message could not be inspected.
pub const UNDECIDED: i32 = 1009;

/// The message can't be recorded, and may not pass without a record.
pub const UNRECORDED: i32 = 1011;
/// What is asked for is not approved.
pub const UNAPPROVED: i32 = 1010;
/// The session is over, or is not the client's.
pub const NO_SESSION: i32 = 1020;
/// Another replica has what is asked for, and can't be reached.
pub const ELSEWHERE: i32 = 1021;

impl Denied {
    /// A refusal with its status, code, word and sentence.
    pub fn new(
        status: StatusCode,
        code: i32,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Denied {
        Denied { status, code, reason, message: message.into(), data: None }
    }

    /// `-32020`: a header and the body differ.
    pub fn header_mismatch(message: &str) -> Denied {
        Denied::new(StatusCode::BAD_REQUEST, -32020, "header_mismatch", message)
    }

    /// `-32022`, with the revisions that are spoken here.
    pub fn unsupported_version(requested: &str) -> Denied {
        let mut denied = Denied::new(
            StatusCode::BAD_REQUEST,
            -32022,
            "unsupported_version",
            "unsupported protocol version",
        );
        // What is not shaped like a version is not repeated: it is kept in records.
        let part = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
        let shaped = requested.len() <= 16 && requested.bytes().all(part);
        let requested = if shaped { requested } else { "not a version" };
        denied.data = Some(json!({ "supported": era::REVISIONS, "requested": requested }));
        denied
    }

    /// `-32602`.
    pub fn invalid_params(message: &str) -> Denied {
        Denied::new(StatusCode::BAD_REQUEST, -32602, "invalid_params", message)
    }

    /// `-32600`.
    pub fn invalid_request(message: &str) -> Denied {
        Denied::new(StatusCode::BAD_REQUEST, -32600, "invalid_request", message)
    }

    /// The JSON-RPC error, with the id of the request where it is known (`id` is JSON text).
    pub fn answer(&self, id: Option<&str>) -> Bytes {
        let mut error = Map::new();
        error.insert("code".into(), self.code.into());
        error.insert("message".into(), format!("wiregate: {}", self.message).into());
        if let Some(data) = &self.data {
            error.insert("data".into(), data.clone());
        }
        envelope(id, "error", &Value::Object(error))
    }

    /// What a message gets that could not be inspected in full.
    pub fn undecided(why: &str) -> Denied {
        Denied::new(StatusCode::OK, UNDECIDED, "undecided", format!("policy inspect: {why}"))
    }

    /// What a message gets that may not pass without a record.
    pub fn unrecorded(why: &str) -> Denied {
        let message = format!("policy audit: {why}");
        Denied::new(StatusCode::SERVICE_UNAVAILABLE, UNRECORDED, "unrecorded", message)
    }

    /// What a request gets that uses what is not as it was approved.
    pub fn unapproved(reason: &'static str, why: &str) -> Denied {
        Denied::new(StatusCode::OK, UNAPPROVED, reason, format!("policy pins: {why}"))
    }

    /// How a request that got this is counted: servers' failures are errors, the rest refusals.
    pub fn outcome(&self) -> &'static str {
        if self.reason.starts_with("upstream") { "error" } else { "denied" }
    }

    /// What bytes get that are no message.
    pub fn of_parse(error: &ParseError) -> Denied {
        let (status, reason) = match error {
            ParseError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            ParseError::TooDeep { .. } => (StatusCode::BAD_REQUEST, "too_deep"),
            ParseError::TooManyValues { .. } => (StatusCode::BAD_REQUEST, "too_many_values"),
            ParseError::DuplicateKey { .. } | ParseError::AlteredKey { .. } => {
                (StatusCode::BAD_REQUEST, "duplicate_key")
            }
            ParseError::NotAMessage { .. } | ParseError::BadId => {
                (StatusCode::BAD_REQUEST, "invalid_request")
            }
            _ => (StatusCode::BAD_REQUEST, "parse_error"),
        };
        Denied::new(status, error.rpc_code(), reason, error.to_string())
    }

    /// What a request gets whose server failed.
    pub fn of_upstream(error: &UpstreamError) -> Denied {
        let (status, code, reason) = match error {
            UpstreamError::Unreachable { .. } | UpstreamError::Closed { .. } => {
                (StatusCode::BAD_GATEWAY, UNREACHABLE, "upstream_unreachable")
            }
            UpstreamError::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, LIMIT, "over_capacity"),
            UpstreamError::Timeout { .. } => {
                (StatusCode::GATEWAY_TIMEOUT, TIMEOUT, "upstream_timeout")
            }
            UpstreamError::Elsewhere { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, ELSEWHERE, "upstream_elsewhere")
            }
            _ => (StatusCode::BAD_GATEWAY, BAD_UPSTREAM, "upstream_protocol"),
        };
        Denied::new(status, code, reason, error.to_string())
    }
}

/// What a blocked request gets: for a tool call a result that says so (`isError`), which a model
/// can read; for anything else a JSON-RPC error (spec: tools, error handling).
pub fn blocked(id: Option<&str>, method: Option<&str>, rules: &[&str], modern: bool) -> Bytes {
    let sentence = format!("blocked by Wiregate: {}", rules.join(", "));
    if method == Some("tools/call") {
        let mut result = Map::new();
        if modern {
            result.insert("resultType".into(), "complete".into());
        }
        result.insert("content".into(), json!([{ "type": "text", "text": sentence }]));
        result.insert("isError".into(), true.into());
        return envelope(id, "result", &Value::Object(result));
    }
    let error = json!({ "code": BLOCKED, "message": sentence, "data": { "rules": rules } });
    envelope(id, "error", &error)
}

/// A message with this id; `null` where it is unknown (JSON-RPC 2.0, section 5).
fn envelope(id: Option<&str>, member: &str, value: &Value) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{},"{member}":{value}}}"#, id.unwrap_or("null")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_tool_call_is_a_result_and_any_other_request_an_error() {
        let call: Value =
            serde_json::from_slice(&blocked(Some("7"), Some("tools/call"), &["a.b"], true))
                .unwrap();
        assert_eq!(call["result"]["isError"], true);
        assert_eq!(call["result"]["resultType"], "complete");
        let list: Value =
            serde_json::from_slice(&blocked(Some("\"x\""), Some("tools/list"), &["a.b"], false))
                .unwrap();
        assert_eq!(list["id"], "x");
        assert_eq!(list["error"]["data"]["rules"][0], "a.b");
    }
}
