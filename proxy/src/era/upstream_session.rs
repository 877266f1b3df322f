//! A session with a server of the revisions that have them, opened by the gateway itself: its
//! handshake, and what is said in it. Who shares one is decided by [`super::session_pool`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use capture::Str;
use futures::StreamExt;
use http::{HeaderValue, StatusCode};
use inspect::message::Kind;
use tokio::time::{Instant, timeout};

use super::feed::Feed;
use super::{REVISIONS, is_modern, splice};
use crate::envelope::{Body, Context, Head, McpHeaders, Reply};
use crate::session::Front;
use crate::upstream::{Outgoing, Upstream, UpstreamError};

/// An open session. Nothing is sent in it before its handshake is done: there is no other way to
/// one than [`Session::open`].
pub(crate) struct Session {
    inner: Arc<dyn Upstream>,
    /// What its messages go with: the server's session id and the revision agreed.
    cx: Context,
    pub(super) hello: Hello,
    next: AtomicU64,
    using: AtomicUsize,
    used: Mutex<Instant>,
    lost: AtomicBool,
    /// The level of its log, as an index into [`LEVELS`].
    level: tokio::sync::Mutex<Option<usize>>,
    /// How many subscribe to each resource.
    subscribed: tokio::sync::Mutex<HashMap<Str, usize>>,
    pub(super) feed: Feed,
}

/// What the server said in its handshake, as JSON text.
#[derive(Debug, Default)]
pub(super) struct Hello {
    pub(super) capabilities: String,
    pub(super) server: Option<String>,
    pub(super) instructions: Option<String>,
}

/// For whom a session is opened, as JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) capabilities: Str,
    pub(super) info: Str,
}

/// The levels of a log, the most talkative first.
pub(super) const LEVELS: [&str; 8] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// The newest revision with a handshake.
const NEWEST: &str = "2025-11-25";
/// No client's id is this: those of shared sessions are numbers.
const HANDSHAKE: &str = "\"wiregate-handshake\"";

impl Session {
    /// Opens a session. `name` is what the gateway calls it, in place of the client's session.
    pub(super) async fn open(
        inner: Arc<dyn Upstream>,
        client: &Client,
        like: &Context,
        name: Str,
    ) -> Result<Arc<Session>, UpstreamError> {
        let limit = like.snapshot.config.timeouts.first_byte.get();
        let shaking = Session::shake(inner, client, like, name);
        timeout(limit, shaking).await.map_err(|_| UpstreamError::Timeout { what: "handshake" })?
    }

    async fn shake(
        inner: Arc<dyn Upstream>,
        client: &Client,
        like: &Context,
        name: Str,
    ) -> Result<Arc<Session>, UpstreamError> {
        let front = Front {
            revision: Some(NEWEST.into()),
            capabilities: client.capabilities.clone(),
            client: client.info.clone(),
            ..Front::default()
        };
        let mut cx = Context {
            headers: McpHeaders::default(),
            session: Some(name),
            negotiated: OnceLock::new(),
            front: OnceLock::from(Arc::new(front)),
            arrival: crate::linkage::Arrival::default(),
            ..like.clone()
        };
        let raw = format!(
            r#"{{"jsonrpc":"2.0","id":{HANDSHAKE},"method":"initialize","params":{{"protocolVersion":"{NEWEST}","capabilities":{},"clientInfo":{}}}}}"#,
            client.capabilities, client.info,
        );
        let head = head(Kind::Request, Some("initialize"), Some(HANDSHAKE));
        let reply = inner.call(&cx, Outgoing::intact(raw.into(), &head)).await?;
        let session = reply.session.clone();
        let (hello, version) = welcome(&answer(reply, HANDSHAKE).await?)?;
        cx.headers.session = session;
        cx.headers.version = HeaderValue::from_str(&version).ok();
        let _ = cx.negotiated.set(version);
        let session = Session {
            inner,
            cx,
            hello,
            next: AtomicU64::new(1),
            using: AtomicUsize::new(0),
            used: Mutex::new(Instant::now()),
            lost: AtomicBool::new(false),
            level: tokio::sync::Mutex::default(),
            subscribed: tokio::sync::Mutex::default(),
            feed: Feed::default(),
        };
        session.notify("notifications/initialized", "{}").await?;
        Ok(Arc::new(session))
    }

    /// What its messages go with.
    pub(super) fn context(&self) -> &Context {
        &self.cx
    }

    /// An id no other request of the gateway's own in this session has.
    pub(super) fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a message in this session.
    pub(super) async fn send(&self, message: Outgoing) -> Result<Reply, UpstreamError> {
        self.inner.call(&self.cx, message).await
    }

    /// Opens its stream of what comes unasked, or the rest of a stream that broke off.
    pub(super) async fn listen(&self, after: Option<&str>) -> Result<Reply, UpstreamError> {
        let mut cx = self.cx.clone();
        cx.http_method = Some("GET".into());
        cx.headers.last_event_id = after.and_then(|id| HeaderValue::from_str(id).ok());
        self.inner.listen(&cx).await
    }

    /// Ends it at the server.
    pub(super) async fn close(&self) -> Result<Reply, UpstreamError> {
        self.inner.close(&self.cx).await
    }

    /// Sends a notification; `params` is JSON text.
    pub(super) async fn notify(&self, method: &str, params: &str) -> Result<(), UpstreamError> {
        let raw = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#);
        self.posted(raw, &head(Kind::Notification, Some(method), None)).await
    }

    /// Answers a request of the server's; `id` and `result` are JSON text.
    pub(super) async fn respond(&self, id: &str, result: &str) -> Result<(), UpstreamError> {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        self.posted(raw, &head(Kind::Response, None, Some(id))).await
    }

    /// Refuses a request of the server's.
    pub(super) async fn refuse(&self, id: &str, code: i32, why: &str) {
        let error = serde_json::json!({ "code": code, "message": format!("wiregate: {why}") });
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
        if let Err(error) = self.posted(raw, &head(Kind::Error, None, Some(id))).await {
            tracing::debug!(server = %self.cx.server.name, %error, "the refusal did not reach the server");
        }
    }

    async fn posted(&self, raw: String, head: &Head) -> Result<(), UpstreamError> {
        let reply = self.inner.call(&self.cx, Outgoing::intact(raw.into(), head)).await?;
        match reply.status {
            Some(status) if !status.is_success() => Err(http_status(status)),
            _ => Ok(()),
        }
    }

    /// Asks something of the gateway's own. Whether the server did it; `params` is JSON text.
    async fn ask(&self, method: &str, params: &str) -> Result<bool, UpstreamError> {
        let id = self.next_id().to_string();
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        let head = head(Kind::Request, Some(method), Some(&id));
        let asking = async {
            let reply = self.inner.call(&self.cx, Outgoing::intact(raw.into(), &head)).await?;
            answer(reply, &id).await
        };
        let limit = self.cx.snapshot.config.timeouts.first_byte.get();
        let late = |_| UpstreamError::Timeout { what: "first byte" };
        let answer = timeout(limit, asking).await.map_err(late)??;
        Ok(splice::Object::of(&answer).is_some_and(|answer| answer.get("result").is_some()))
    }

    /// Lets the server log at `level` at least. It is never made to log less: others in this
    /// session may want more, and each request gets only what it asked for.
    pub(super) async fn log_at(&self, level: usize) {
        if !self.can(&["logging"]) {
            return;
        }
        let mut set = self.level.lock().await;
        if set.is_some_and(|set| set <= level) {
            return;
        }
        let params = format!(r#"{{"level":"{}"}}"#, LEVELS[level.min(LEVELS.len() - 1)]);
        match self.ask("logging/setLevel", &params).await {
            Ok(_) => *set = Some(level),
            Err(error) => {
                tracing::debug!(server = %self.cx.server.name, %error, "the log level could not be set");
            }
        }
    }

    /// Subscribes to a resource, for one more.
    pub(super) async fn subscribe(&self, uri: &str) -> bool {
        let mut subscribed = self.subscribed.lock().await;
        if let Some(count) = subscribed.get_mut(uri) {
            *count += 1;
            return true;
        }
        if subscribed.len() >= self.cx.snapshot.config.legacy.subscriptions {
            return false;
        }
        let params = serde_json::json!({ "uri": uri }).to_string();
        let done = self.ask("resources/subscribe", &params).await.unwrap_or(false);
        if done {
            subscribed.insert(uri.into(), 1);
        }
        done
    }

    /// Ends the subscription of one; the server's own when it was the last.
    pub(super) async fn unsubscribe(&self, uri: &str) {
        let mut subscribed = self.subscribed.lock().await;
        let Some(count) = subscribed.get_mut(uri) else { return };
        *count -= 1;
        if *count == 0 {
            subscribed.remove(uri);
            let params = serde_json::json!({ "uri": uri }).to_string();
            let _ = self.ask("resources/unsubscribe", &params).await;
        }
    }

    /// Whether the server said it can do this: a path into its capabilities.
    pub(super) fn can(&self, path: &[&str]) -> bool {
        let all: serde_json::Value =
            serde_json::from_str(&self.hello.capabilities).unwrap_or_default();
        let found = path.iter().try_fold(&all, |at, key| at.get(key));
        found.is_some_and(|found| found.is_object() || *found == serde_json::Value::Bool(true))
    }

    /// Whether the server said that it does not know this session (any more). Some answer 400.
    pub(super) fn is_unknown(&self, reply: &Reply) -> bool {
        let body = match &reply.body {
            Body::One(body) => splice::Object::of(body),
            _ => None,
        };
        let error = match (&body, &reply.body) {
            (Some(body), Body::One(raw)) => body.object(raw, "error"),
            _ => None,
        };
        let code = error.as_ref().and_then(|e| e.get("code")).map(|code| code.text);
        let unnamed = body.as_ref().is_none_or(|b| b.get("id").is_none_or(|id| id.text == "null"));
        match reply.status {
            Some(StatusCode::NOT_FOUND) => code != Some("-32601") || unnamed,
            Some(StatusCode::BAD_REQUEST) => {
                let about_it = matches!(code, None | Some("-32000" | "-32001"));
                self.cx.headers.session.is_some() && about_it && unnamed
            }
            _ => false,
        }
    }

    pub(super) fn set_lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Since when nobody uses it; `None` while somebody does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.using.load(Ordering::Acquire) == 0)
            .then(|| *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The use of a session: as long as there is one, it is not idle.
pub(crate) struct InUse(Arc<Session>);

impl InUse {
    pub(super) fn of(session: Arc<Session>) -> InUse {
        session.using.fetch_add(1, Ordering::AcqRel);
        InUse(session)
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.0
    }
}

impl std::ops::Deref for InUse {
    type Target = Session;
    fn deref(&self) -> &Session {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        *self.0.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.using.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The head of a message of the gateway's own; `id` is JSON text.
pub(super) fn head(kind: Kind, method: Option<&str>, id: Option<&str>) -> Head {
    Head { kind, id: id.map(Into::into), method: method.map(Into::into), ..Head::error() }
}

/// The messages of one frame: a message, or a batch (2025-03-26).
pub(super) fn messages(frame: &Bytes) -> Vec<Bytes> {
    let text = std::str::from_utf8(frame).unwrap_or_default().trim_ascii();
    if !text.starts_with('[') {
        return vec![frame.clone()];
    }
    let items = splice::elements(frame, text).unwrap_or_default();
    items.into_iter().map(|(span, _)| frame.slice(span.start..span.end)).collect()
}

pub(super) fn http_status(status: StatusCode) -> UpstreamError {
    UpstreamError::Protocol { detail: format!("HTTP {}", status.as_u16()) }
}

/// The answer to the request `id`, with what comes before it left out.
async fn answer(reply: Reply, id: &str) -> Result<Bytes, UpstreamError> {
    let is_answer = |message: &Bytes| {
        let Some(message) = splice::Object::of(message) else { return false };
        let named = message.get("id").is_some_and(|i| i.text == id || i.text == "null");
        message.get("method").is_none() && (named || message.get("error").is_some())
    };
    match reply.body {
        Body::One(frame) => messages(&frame).into_iter().find(is_answer).ok_or_else(|| {
            UpstreamError::Protocol { detail: "there is no answer in it".to_owned() }
        }),
        Body::Stream(mut events) => {
            while let Some(event) = events.next().await {
                let data = event?.data.unwrap_or_default();
                if let Some(answer) = messages(&data).into_iter().find(is_answer) {
                    return Ok(answer);
                }
            }
            Err(UpstreamError::Closed { detail: "the stream ended without the answer".to_owned() })
        }
        Body::Empty => Err(http_status(reply.status.unwrap_or_default())),
    }
}

/// What the server's answer to `initialize` says, and the revision it settles on.
fn welcome(raw: &[u8]) -> Result<(Hello, Str), UpstreamError> {
    let wrong = |detail: String| UpstreamError::Protocol { detail };
    let message =
        splice::Object::of(raw).ok_or_else(|| wrong("the handshake is no object".to_owned()))?;
    if let Some(error) = message.object(raw, "error") {
        let code = error.get("code").map_or("unknown", |code| code.text);
        return Err(wrong(format!("it refused the handshake with error {code}")));
    }
    let result = message
        .object(raw, "result")
        .ok_or_else(|| wrong("the handshake has no result".to_owned()))?;
    let version = result.string("protocolVersion").unwrap_or_default();
    let known = REVISIONS.iter().find(|known| **known == version && !is_modern(known.as_bytes()));
    let version = known.ok_or_else(|| wrong("it settles on an unknown revision".to_owned()))?;
    let text = |key| result.get(key).map(|member| member.text.to_owned());
    let hello = Hello {
        capabilities: text("capabilities").unwrap_or_else(|| "{}".to_owned()),
        server: text("serverInfo").filter(|info| info.starts_with('{')),
        instructions: text("instructions").filter(|text| text.starts_with('"')),
    };
    Ok((hello, (*version).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_must_settle_on_a_revision_that_has_one() {
        let of = |result: &str| welcome(format!(r#"{{"id":1,"result":{result}}}"#).as_bytes());
        let (hello, version) =
            of(r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"x"}}"#)
                .unwrap();
        assert_eq!(&*version, "2025-06-18");
        assert_eq!(hello.capabilities, r#"{"tools":{}}"#);
        assert_eq!(hello.server.as_deref(), Some(r#"{"name":"x"}"#));
        for result in
            [r#"{"protocolVersion":"2026-07-28"}"#, r#"{"protocolVersion":"1"}"#, "{}", "[]"]
        {
            assert!(matches!(of(result), Err(UpstreamError::Protocol { .. })), "{result}");
        }
        let refused = welcome(br#"{"id":1,"error":{"code":-32602,"message":"secret"}}"#);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "the server's answer is not MCP: it refused the handshake with error -32602"
        );
    }

    #[test]
    fn a_batch_is_its_messages() {
        let frame = Bytes::from_static(br#" [{"id":1}, {"id":2}]"#);
        assert_eq!(messages(&frame), [&br#"{"id":1}"#[..], br#"{"id":2}"#]);
        let one = Bytes::from_static(br#"{"id":1}"#);
        assert_eq!(messages(&one), std::slice::from_ref(&one));
    }
}
