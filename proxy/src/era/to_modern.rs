//! A legacy client before a server of 2026-07-28. The gateway holds the session: the handshake, the
//! log level, subscriptions and cancellation end here, and each request goes on with all that the
//! server needs to know of the client.
//!
//! The central type: [`ToModern`]. A request under way is in [`exchange`], the stream of unsolicited
//! messages in [`listen`], what a session is in [`session`].

mod exchange;
mod handshake;
mod listen;
mod params;
mod request;
mod result;
mod session;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use capture::Str;
use http::StatusCode;
use inspect::message::Kind;
use serde_json::Value;
use tokio::sync::Semaphore;

use self::exchange::Call;
use self::listen::{Listener, acknowledged};
use self::params::{Tool, Tools};
use self::request::modern;
use self::result::{Asking, Judged, failure, judge, success};
use self::session::{Known, Session, lock};
use super::detect::{Detect, answer, request as of_ours};
use super::splice::Object;
use crate::config::{self, Config};
use crate::envelope::{Context, Head, Reply};
use crate::policy::{LIMIT, NO_SESSION};
use crate::snapshot::ServerSpec;
use crate::upstream::{Outgoing, Upstream, UpstreamError};

/// The gateway's code for a call that its client cancelled.
const CANCELLED: i32 = 1031;
/// How long an answer to a subscription waits for the server to listen.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the address of a resource that is subscribed to.
const MAX_URI: usize = 2048;
/// Pages of a list that are read at most.
const MAX_PAGES: usize = 64;

/// Log levels, mildest first (RFC 5424).
const LEVELS: [&str; 8] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// The bridge towards one server.
pub(crate) struct ToModern {
    name: Arc<str>,
    inner: Arc<dyn Upstream>,
    detect: Arc<Detect>,
    limits: config::Bridge,
    sessions: Known,
    tools: Tools,
    /// The server's capabilities, as it told them last.
    offered: Mutex<Option<Arc<Value>>>,
    /// Calls at once, those included whose clients have left.
    places: Arc<Semaphore>,
    minted: AtomicU64,
}

impl ToModern {
    /// A bridge to the server behind `inner`.
    pub(crate) fn new(
        inner: Arc<dyn Upstream>,
        spec: &Arc<ServerSpec>,
        detect: &Arc<Detect>,
        config: &Config,
    ) -> ToModern {
        ToModern {
            name: Arc::clone(&spec.name),
            inner,
            detect: Arc::clone(detect),
            limits: config.bridge.clone(),
            sessions: Known::new(config.bridge.sessions),
            tools: Tools::default(),
            offered: Mutex::default(),
            places: Arc::new(Semaphore::new(config.limits.concurrent_requests)),
            minted: AtomicU64::new(0),
        }
    }

    /// Whether a session is known here.
    pub(crate) fn has(&self, cx: &Context) -> bool {
        self.sessions.has(cx)
    }

    /// One message of a client.
    pub(crate) async fn call(
        self: Arc<Self>,
        cx: &Context,
        out: Outgoing,
    ) -> Result<Reply, UpstreamError> {
        if out.head.is("initialize") && out.head.is_request() {
            return self.initialize(cx, &out).await;
        }
        let Some(session) = self.sessions.of(cx) else { return Ok(strange(cx, &out.head)) };
        match out.head.kind {
            Kind::Request => self.request(cx, session, out).await,
            Kind::Notification => {
                if out.head.is("notifications/cancelled")
                    && let Some(id) = cancelled(&out.raw)
                {
                    session.cancel(&id);
                }
                Ok(Reply::empty(StatusCode::ACCEPTED))
            }
            Kind::Response | Kind::Error => {
                if let Some(id) = &out.head.id {
                    session.answered(id, out.raw.clone());
                }
                Ok(Reply::empty(StatusCode::ACCEPTED))
            }
        }
    }

    async fn request(
        self: Arc<Self>,
        cx: &Context,
        session: Arc<Session>,
        out: Outgoing,
    ) -> Result<Reply, UpstreamError> {
        let id = out.head.id.clone().unwrap_or_else(|| "null".into());
        let method = out.head.method.clone().unwrap_or_else(|| "".into());
        let here = |answer: Bytes| Ok(Reply::one(StatusCode::OK, answer));
        match &*method {
            "ping" => return here(success(&id, "{}")),
            "logging/setLevel" => return here(set_level(&session, &id, &out.raw)),
            "resources/subscribe" | "resources/unsubscribe" => {
                return here(self.subscribe(&session, &id, &method, &out.raw).await);
            }
            "tools/list"
            | "tools/call"
            | "prompts/list"
            | "prompts/get"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
            | "completion/complete" => {}
            // Not of this client's revision, or of none: tasks of 2025-11-25 were not offered.
            other if other.starts_with("tasks/") || is_modern_only(other) => {
                return here(failure(&id, -32601, "the server has no such method"));
            }
            _ => {}
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let answer = failure(&id, LIMIT, "too many calls at once");
            return Ok(Reply::one(StatusCode::SERVICE_UNAVAILABLE, answer));
        };
        let params = Object::of(&out.raw).and_then(|message| {
            let params = message.object(&out.raw, "params")?;
            let name = params.string("name").or_else(|| params.string("uri"));
            Some((name.map(Str::from), params.get("cursor").is_none()))
        });
        let (name, first_page) = params.unwrap_or((None, true));
        let asking = Asking { method, name, id, first_page };
        let cx = Arc::new(cx.clone());
        Call { bridge: self, cx, session, out, asking }.start(place).await
    }

    /// Opens a session's stream of unsolicited messages.
    pub(crate) async fn listen(self: Arc<Self>, cx: &Context) -> Result<Reply, UpstreamError> {
        let Some(session) = self.sessions.of(cx) else {
            return Ok(strange(cx, &Head::error()));
        };
        let known = lock(&self.offered).clone();
        let offered = match known {
            Some(offered) => offered,
            None => self.discover(cx, &session).await?.capabilities,
        };
        let cx = Arc::new(cx.clone());
        let listener = Listener { bridge: self, cx, session, offered };
        match listener.is_of_use() {
            true => Ok(listener.start()),
            false => Ok(Reply::empty(StatusCode::METHOD_NOT_ALLOWED)),
        }
    }

    /// Ends a session, and with it all that is under way in it.
    pub(crate) fn close(&self, cx: &Context) -> Reply {
        if cx.front.get().is_none() && !self.sessions.has(cx) {
            return strange(cx, &Head::error());
        }
        self.sessions.end(cx);
        Reply::empty(StatusCode::NO_CONTENT)
    }

    async fn subscribe(&self, session: &Session, id: &str, method: &str, raw: &Bytes) -> Bytes {
        let message = Object::of(raw);
        let uri = message.and_then(|m| m.object(raw, "params")?.string("uri"));
        let Some(uri) = uri.filter(|uri| uri.len() <= MAX_URI) else {
            return failure(id, -32602, "params.uri must be a string of at most 2048 bytes");
        };
        let mut full = false;
        session.wanted.send_if_modified(|wanted| {
            let changed = match method {
                "resources/subscribe" if wanted.uris.contains(&*uri) => false,
                "resources/subscribe" if wanted.uris.len() >= self.limits.subscriptions => {
                    full = true;
                    false
                }
                "resources/subscribe" => wanted.uris.insert(uri.into()),
                _ => wanted.uris.remove(&*uri),
            };
            wanted.change += u64::from(changed);
            changed
        });
        if full {
            return failure(id, LIMIT, "too many subscriptions in one session");
        }
        let change = session.wanted.borrow().change;
        acknowledged(session, change, PATIENCE).await;
        success(id, "{}")
    }

    /// What is known of a tool; its server is asked once for all of them.
    async fn tool(
        &self,
        cx: &Context,
        session: &Session,
        name: &str,
    ) -> Result<Arc<Tool>, UpstreamError> {
        if let Ok(tool) = self.tools.of(name) {
            return Ok(tool);
        }
        self.refresh(cx, session).await?;
        Ok(self.tools.of(name).unwrap_or_default())
    }

    /// Asks the server for its tools, page by page.
    async fn refresh(&self, cx: &Context, session: &Session) -> Result<(), UpstreamError> {
        let mut cursor: Option<String> = None;
        for page in 0..MAX_PAGES {
            let id = self.mint();
            let params = cursor.map(|cursor| format!(",\"params\":{{\"cursor\":{cursor}}}"));
            let raw = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"{}}}"#,
                params.unwrap_or_default()
            );
            let head =
                Head { kind: Kind::Request, method: Some("tools/list".into()), ..Head::error() };
            let Ok(outgoing) = modern(&raw.into(), session, &head, &[], None) else { break };
            let reply = self.inner.call(cx, outgoing).await?;
            let Some(raw) = answer(reply).await? else { break };
            let asking = Asking {
                method: "tools/list".into(),
                name: None,
                id: id.as_str().into(),
                first_page: page == 0,
            };
            let Judged::Done(raw) = judge(&raw, &asking, &self.tools) else { break };
            let message = Object::of(&raw);
            let next = message.and_then(|message| {
                let result = message.object(&raw, "result")?;
                Some(result.get("nextCursor")?.text.to_owned())
            });
            match next {
                Some(next) => cursor = Some(next),
                None => {
                    self.tools.is_complete();
                    return Ok(());
                }
            }
        }
        // A server that does not list its tools is called without what they would say.
        tracing::warn!(server = %self.name, "the server's tools can't be listed");
        Ok(())
    }

    /// The server is not what it was taken for: clients begin anew.
    pub(crate) fn doubt(&self) {
        self.detect.doubt();
        self.sessions.clear();
        *lock(&self.offered) = None;
    }

    /// An id of the gateway's own, JSON text. It names the server, so that an answer finds it where a
    /// session spans many.
    fn mint(&self) -> String {
        let n = self.minted.fetch_add(1, Ordering::Relaxed);
        format!("\"{}/{n}\"", self.name)
    }
}

/// What is answered outside of a session: 404 where the client believes itself in one, so that it
/// begins anew (spec 2025-11-25, transports, session management).
fn strange(cx: &Context, head: &Head) -> Reply {
    let (status, why) = match cx.session {
        Some(_) => (StatusCode::NOT_FOUND, "no such session"),
        None => (StatusCode::BAD_REQUEST, "a session begins with initialize"),
    };
    let id = head.id.as_deref().filter(|_| head.is_request()).unwrap_or("null");
    let code = if status == StatusCode::NOT_FOUND { NO_SESSION } else { -32600 };
    Reply::one(status, failure(id, code, why))
}

fn set_level(session: &Session, id: &str, raw: &Bytes) -> Bytes {
    let message = Object::of(raw);
    let level = message.and_then(|m| m.object(raw, "params")?.string("level"));
    match LEVELS.iter().find(|known| level.as_deref() == Some(**known)) {
        Some(level) => {
            *lock(&session.level) = Some(*level);
            success(id, "{}")
        }
        None => failure(id, -32602, "params.level is no log level"),
    }
}

/// The id a cancellation is about, JSON text.
fn cancelled(raw: &Bytes) -> Option<String> {
    let message = Object::of(raw)?;
    let params = message.object(raw, "params")?;
    let id: Value = serde_json::from_str(params.get("requestId")?.text).ok()?;
    Some(id.to_string())
}

/// Methods that only revisions without sessions have.
fn is_modern_only(method: &str) -> bool {
    matches!(method, "server/discover" | "subscriptions/listen")
}
