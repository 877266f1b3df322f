//! Which revisions a server speaks: found out once, remembered, and doubted when an answer
//! contradicts it (spec 2026-07-28, versioning, "backward compatibility").
//!
//! The two eras are known apart: many servers speak both, and one that lists only 2026-07-28 may
//! still have the handshake.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, StatusCode};
use inspect::message::Kind;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{FIRST_MODERN, REVISIONS, is_modern};
use crate::config::ServerEra;
use crate::envelope::{Body, Claim, Context, Head, McpHeaders, Reply};
use crate::snapshot::{ServerSpec, Wire};
use crate::telemetry::Metrics;
use crate::upstream::{Outgoing, Upstream, UpstreamError};

/// The error codes that only a server of 2026-07-28 or later has.
const MODERN_CODES: [i64; 3] = [-32020, -32021, -32022];

/// What is known of one server.
pub(crate) struct Detect {
    spec: Arc<ServerSpec>,
    inner: Arc<dyn Upstream>,
    metrics: Arc<Metrics>,
    patience: Duration,
    modern: Known,
    legacy: Known,
    /// What it was taken for last, to tell a change.
    before: Known,
    /// One probe at a time: who comes meanwhile waits for its outcome.
    probing: Mutex<()>,
}

/// Unknown, yes or no.
#[derive(Debug, Default)]
struct Known(AtomicU8);

impl Known {
    fn get(&self) -> Option<bool> {
        match self.0.load(Ordering::Acquire) {
            1 => Some(true),
            2 => Some(false),
            _ => None,
        }
    }

    fn set(&self, known: Option<bool>) -> Option<bool> {
        let before = self.get();
        self.0.store(known.map_or(0, |yes| if yes { 1 } else { 2 }), Ordering::Release);
        before
    }
}

impl Detect {
    /// Nothing is known yet but what the configuration says.
    pub(crate) fn new(
        spec: Arc<ServerSpec>,
        inner: Arc<dyn Upstream>,
        metrics: Arc<Metrics>,
        patience: Duration,
    ) -> Detect {
        let detect = Detect {
            spec,
            inner,
            metrics,
            patience,
            modern: Known::default(),
            legacy: Known::default(),
            before: Known::default(),
            probing: Mutex::new(()),
        };
        detect.reset();
        detect
    }

    /// Back to what the configuration says.
    fn reset(&self) {
        let (modern, legacy) = match self.spec.era {
            ServerEra::Auto => (None, None),
            ServerEra::Legacy => (Some(false), Some(true)),
            ServerEra::Modern => (Some(true), Some(false)),
        };
        self.modern.set(modern);
        self.legacy.set(legacy);
    }

    /// Whether the server has the handshake, as far as that is known.
    pub(crate) fn legacy(&self) -> Option<bool> {
        self.legacy.get()
    }

    /// The server answered a handshake.
    pub(crate) fn shook_hands(&self) {
        if self.spec.era == ServerEra::Auto && self.legacy.set(Some(true)) == Some(false) {
            tracing::warn!(server = %self.spec.name, "the server has a handshake now, which it had not");
        }
    }

    /// What was found out is in doubt: the next request asks again.
    pub(crate) fn doubt(&self) {
        self.reset();
    }

    /// Whether the server speaks 2026-07-28 or later: asked at most once at a time, and before
    /// anything else is sent, since some servers do what they are told without any handshake.
    ///
    /// # Errors
    /// When it can't be reached: nothing is known then.
    pub(crate) async fn modern(&self, cx: &Context) -> Result<bool, UpstreamError> {
        if let Some(known) = self.modern.get() {
            return Ok(known);
        }
        let _one = self.probing.lock().await;
        if let Some(known) = self.modern.get() {
            return Ok(known);
        }
        Ok(self.ask(cx).await?.is_some())
    }

    /// Asks a server that refused a handshake: its answer to `server/discover`, if it is modern.
    ///
    /// # Errors
    /// When it can't be reached.
    pub(crate) async fn confirm(&self, cx: &Context) -> Result<bool, UpstreamError> {
        if self.spec.era != ServerEra::Auto {
            return Ok(self.modern.get() == Some(true));
        }
        let _one = self.probing.lock().await;
        let found = self.ask(cx).await?.is_some();
        if found {
            self.legacy.set(Some(false));
        }
        Ok(found)
    }

    /// One probe, and what follows from it. Holds `probing` while it runs.
    async fn ask(&self, cx: &Context) -> Result<Option<Bytes>, UpstreamError> {
        let found = match timeout(self.patience, self.probe(cx)).await {
            Ok(Err(error @ (UpstreamError::Unreachable { .. } | UpstreamError::Closed { .. }))) => {
                return Err(error);
            }
            // Servers on stdio may say nothing to what they do not know, and some say what is no MCP.
            Ok(Err(_)) | Err(_) => None,
            Ok(Ok(found)) => found,
        };
        let is = found.is_some();
        self.modern.set(Some(is));
        let now = if is { "modern" } else { "legacy" };
        match self.before.set(Some(is)) {
            None => {
                tracing::info!(server = %self.spec.name, era = now, "found out what the server speaks")
            }
            Some(was) if was == is => {}
            Some(_) => {
                self.metrics.era_change(&self.spec.name, now);
                // A server that steps down may have been replaced.
                tracing::warn!(server = %self.spec.name, era = now, "the server speaks another era than before");
            }
        }
        Ok(found)
    }

    async fn probe(&self, cx: &Context) -> Result<Option<Bytes>, UpstreamError> {
        let probe = json!({
            "jsonrpc": "2.0",
            "id": "wiregate-probe",
            "method": "server/discover",
            "params": {"_meta": {
                "io.modelcontextprotocol/protocolVersion": FIRST_MODERN,
                "io.modelcontextprotocol/clientInfo":
                    {"name": "wiregate", "version": env!("CARGO_PKG_VERSION")},
                "io.modelcontextprotocol/clientCapabilities": {},
            }},
        });
        let outgoing = request(probe.to_string().into(), "server/discover", None);
        let reply = self.inner.call(cx, outgoing).await?;
        let status = reply.status.unwrap_or(StatusCode::OK);
        let unsettled = match status.as_u16() {
            // Neither who is refused nor who is out of order has said what they speak.
            401 | 403 | 407 | 429 | 502..=504 => true,
            _ => false,
        };
        if unsettled {
            let detail = format!("HTTP {} when asked for its revisions", status.as_u16());
            return Err(UpstreamError::Unreachable { detail });
        }
        // Elsewhere the status is the gateway's own, and says nothing of the server.
        let of_http = matches!(self.spec.wire, Wire::Auto | Wire::Http | Wire::Http3);
        let status = if of_http { status } else { StatusCode::OK };
        Ok(answer(reply).await?.filter(|raw| says_modern(status, raw)))
    }
}

/// A request of the gateway's own, with the headers a server of 2026-07-28 wants.
pub(crate) fn request(raw: Bytes, method: &'static str, name: Option<HeaderValue>) -> Outgoing {
    let head = Head {
        kind: Kind::Request,
        method: Some(method.into()),
        claim: Claim::Complete(FIRST_MODERN.into()),
        ..Head::error()
    };
    let headers = McpHeaders {
        version: Some(HeaderValue::from_static(FIRST_MODERN)),
        method: vec![HeaderValue::from_static(method)],
        name: name.into_iter().collect(),
        ..McpHeaders::default()
    };
    let mut outgoing = Outgoing::intact(raw, &head);
    outgoing.headers = Some(Box::new(headers));
    outgoing
}

/// The answer in a reply to a request of the gateway's own, whose notifications nobody wants.
pub(crate) async fn answer(reply: Reply) -> Result<Option<Bytes>, UpstreamError> {
    let mut events = match reply.body {
        Body::Empty => return Ok(None),
        Body::One(raw) => return Ok(Some(raw)),
        Body::Stream(events) => events,
    };
    while let Some(event) = events.next().await {
        let Some(raw) = event?.data else { continue };
        let is_answer = super::splice::Object::of(&raw)
            .is_some_and(|o| o.get("result").is_some() || o.get("error").is_some());
        if is_answer {
            return Ok(Some(raw));
        }
    }
    Ok(None)
}

/// Whether an answer to `server/discover` is one of a server that knows what it was asked.
fn says_modern(status: StatusCode, raw: &[u8]) -> bool {
    let Ok(answer) = serde_json::from_slice::<Value>(raw) else { return false };
    if answer["result"].is_object() {
        return speaks(&answer["result"]["supportedVersions"]);
    }
    match answer["error"]["code"].as_i64() {
        Some(-32022) => speaks(&answer["error"]["data"]["supported"]),
        Some(code) => {
            MODERN_CODES.contains(&code) || (status == StatusCode::NOT_FOUND && code == -32601)
        }
        None => false,
    }
}

/// Whether a list of revisions has a modern one that is spoken here.
fn speaks(versions: &Value) -> bool {
    let versions = versions.as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut versions = versions.filter(|version| is_modern(version.as_bytes()));
    versions.any(|version| REVISIONS.contains(&version))
}

/// Whether a legacy request was answered as only a server without the handshake does.
pub(crate) fn refuses_legacy(head: &Head, reply: &Reply) -> bool {
    let status = reply.status.unwrap_or(StatusCode::OK);
    let Body::One(raw) = &reply.body else { return false };
    if !head.is_request() || !(status.is_client_error() || head.is("initialize")) {
        return false;
    }
    let Ok(answer) = serde_json::from_slice::<Value>(raw) else { return false };
    let error = &answer["error"];
    match error["code"].as_i64() {
        Some(-32022) => speaks(&error["data"]["supported"]) || error["data"].is_null(),
        Some(-32602) => error["message"].as_str().is_some_and(|m| m.contains("_meta")),
        Some(-32601) => head.is("initialize"),
        Some(code) => MODERN_CODES.contains(&code),
        None => false,
    }
}

/// Whether a modern request was answered as only a server with the handshake does.
pub(crate) fn refuses_modern(reply: &Reply) -> bool {
    let status = reply.status.unwrap_or(StatusCode::OK);
    let Body::One(raw) = &reply.body else {
        let none = matches!(reply.body, Body::Empty);
        return none
            && (status == StatusCode::NOT_FOUND || status == StatusCode::METHOD_NOT_ALLOWED);
    };
    if !status.is_client_error() {
        return false;
    }
    let Ok(answer) = serde_json::from_slice::<Value>(raw) else { return false };
    // Where the revision has no such code: SDKs of before 2026 say -32000 without a session.
    // -32002 is a resource that is not there.
    matches!(answer["error"]["code"].as_i64(), Some(-32019..=-32003 | -32001..=-32000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply::one(StatusCode::from_u16(status).unwrap(), body.to_owned().into())
    }

    #[test]
    fn a_probe_is_judged_by_what_only_one_era_says() {
        let ok = StatusCode::OK;
        let bad = StatusCode::BAD_REQUEST;
        for (status, body, modern) in [
            (ok, r#"{"result":{"supportedVersions":["2026-07-28"]}}"#, true),
            (ok, r#"{"result":{"supportedVersions":["2025-11-25","2026-07-28"]}}"#, true),
            (ok, r#"{"result":{"supportedVersions":["2999-01-01"]}}"#, false),
            (ok, r#"{"result":{"content":[]}}"#, false),
            (bad, r#"{"error":{"code":-32022,"data":{"supported":["2026-07-28"]}}}"#, true),
            (bad, r#"{"error":{"code":-32022,"data":{"supported":["2025-11-25"]}}}"#, false),
            (bad, r#"{"error":{"code":-32020}}"#, true),
            (bad, r#"{"error":{"code":-32021}}"#, true),
            (StatusCode::NOT_FOUND, r#"{"error":{"code":-32601}}"#, true),
            // What servers of the official SDKs before 2026 say.
            (ok, r#"{"error":{"code":-32601}}"#, false),
            (ok, r#"{"error":{"code":-32602,"message":"Invalid request parameters"}}"#, false),
            (bad, r#"{"error":{"code":-32000},"id":null}"#, false),
            (bad, "no JSON", false),
        ] {
            assert_eq!(says_modern(status, body.as_bytes()), modern, "{status} {body}");
        }
    }

    #[test]
    fn a_refused_handshake_is_told_from_any_other_error() {
        let head = |method: &str| Head {
            kind: Kind::Request,
            method: Some(method.into()),
            ..Head::error()
        };
        let meta = r#"{"error":{"code":-32602,"message":"params._meta is missing"}}"#;
        for (method, status, body, refuses) in [
            ("initialize", 404, r#"{"error":{"code":-32601}}"#, true),
            ("initialize", 400, r#"{"error":{"code":-32022}}"#, true),
            ("initialize", 400, r#"{"error":{"code":-32020}}"#, true),
            ("initialize", 400, meta, true),
            ("initialize", 200, meta, true),
            ("tools/list", 400, meta, true),
            ("tools/list", 200, meta, false),
            ("tools/list", 404, r#"{"error":{"code":-32601}}"#, false),
            ("initialize", 200, r#"{"error":{"code":-32602,"message":"Bad version"}}"#, false),
            ("initialize", 200, r#"{"result":{}}"#, false),
        ] {
            let answer = reply(status, body);
            assert_eq!(refuses_legacy(&head(method), &answer), refuses, "{method} {body}");
        }
        assert!(!refuses_legacy(&head("initialize"), &Reply::empty(StatusCode::NOT_FOUND)));
    }

    #[test]
    fn a_server_of_before_2026_shows_itself_by_its_codes() {
        assert!(refuses_modern(&reply(400, r#"{"error":{"code":-32000},"id":null}"#)));
        assert!(refuses_modern(&Reply::empty(StatusCode::NOT_FOUND)));
        assert!(!refuses_modern(&reply(400, r#"{"error":{"code":-32020}}"#)));
        assert!(!refuses_modern(&reply(404, r#"{"error":{"code":-32601}}"#)));
        assert!(!refuses_modern(&reply(200, r#"{"error":{"code":-32000}}"#)));
    }
}
