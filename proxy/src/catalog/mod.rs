//! Many servers as one. A message to an endpoint that stands for several servers is routed here,
//! renamed, and handed to the pipeline with the context of the one server it is for, so that rules,
//! pins and captures are that server's; lists are fanned out, each part through the pipeline
//! likewise, and merged. Nothing here inspects, and nothing reaches a server but by the pipeline.
//!
//! The central types: [`Face`], one endpoint and the servers behind it, resolved from the
//! configuration, and [`Catalog`], what is remembered between messages: names, and who has which
//! call.

mod compose;
mod cursor;
mod face;
mod headers;
mod listen;
mod lists;
mod names;
mod page;
mod resources;
mod route;
mod search;
mod selection;
mod session;
pub mod template;
mod uri;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use capture::Str;
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use http::StatusCode;
use inspect::message::{Kind as MessageKind, Parser, split_batch};

use crate::batch::join_replies;
use crate::config;
use crate::envelope::{Body, Context, Event, Head, Reply};
use crate::era;
use crate::pipeline::Pipeline;
use crate::policy::Denied;
use crate::policy::inspect::parse_limits;
use crate::session::digest;
use crate::snapshot::ServerSpec;

pub use face::{ALL, Face, Faces};

use page::Kind;
use wire::Asked;

/// What is remembered between messages, of all endpoints.
#[derive(Debug, Default)]
pub struct Catalog {
    lists: names::Lists,
    calls: Mutex<Calls>,
    counter: AtomicU64,
}

/// Which server has which request of a client's, so that a cancellation finds it.
type Calls = (HashMap<(Str, Str), Str>, VecDeque<(Str, Str)>);

impl Catalog {
    /// An id for a request of the gateway's own, as JSON text.
    fn next_id(&self) -> String {
        format!("\"wiregate/{}\"", self.counter.fetch_add(1, Ordering::Relaxed))
    }

    fn went(&self, sender: Str, id: Str, server: Str, limit: usize) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let (servers, order) = &mut *calls;
        let key = (sender, id);
        if servers.insert(key.clone(), server).is_none() {
            order.push_back(key);
        }
        while servers.len() > limit {
            let Some(oldest) = order.pop_front() else { break };
            servers.remove(&oldest);
        }
    }

    fn where_is(&self, sender: &Str, id: &str) -> Option<Str> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.0.get(&(sender.clone(), id.into())).cloned()
    }
}

/// Takes what a client sent to an endpoint of many servers, one message or a batch.
pub(crate) fn handle(
    pipeline: Arc<Pipeline>,
    cx: Arc<Context>,
    face: Arc<Face>,
    frame: Bytes,
) -> BoxFuture<'static, Reply> {
    Box::pin(async move {
        let desk = Desk { pipeline, cx, face };
        let limits = &desk.cx.snapshot.config.limits;
        match split_batch(&frame, &parse_limits(limits), limits.batch) {
            Ok(None) => desk.one(frame, false).await,
            Ok(Some(items)) if era::allows_batch(desk.cx.version(None).as_deref()) => {
                let items = items.into_iter().map(|range| frame.slice(range));
                join_replies(join_all(items.map(|item| desk.one(item, true))).await)
            }
            Ok(Some(_)) => {
                let denied = Denied::invalid_request("this revision has no batches");
                desk.pipeline.refuse_bytes(&desk.cx, &frame, &denied)
            }
            Err(e) => desk.pipeline.refuse_bytes(&desk.cx, &frame, &Denied::of_parse(&e)),
        }
    })
}

/// Opens the merged stream of what the servers send unasked.
pub(crate) fn listen(
    pipeline: Arc<Pipeline>,
    cx: Arc<Context>,
    face: Arc<Face>,
) -> BoxFuture<'static, Reply> {
    Box::pin(async move { Desk { pipeline, cx, face }.listen().await })
}

/// Ends a client's session with every server.
pub(crate) fn close(
    pipeline: Arc<Pipeline>,
    cx: Arc<Context>,
    face: Arc<Face>,
) -> BoxFuture<'static, Reply> {
    Box::pin(async move { Desk { pipeline, cx, face }.close().await })
}

/// Where one message of one client is dealt with.
#[derive(Clone)]
struct Desk {
    pipeline: Arc<Pipeline>,
    cx: Arc<Context>,
    face: Arc<Face>,
}

impl Desk {
    async fn one(&self, frame: Bytes, in_batch: bool) -> Reply {
        // read: what it is and where it wants to go; its content is the servers' pipelines' to see
        let read =
            Parser::new(parse_limits(&self.cx.snapshot.config.limits)).parse(&frame, Head::of);
        let head = match read {
            Ok(head) => head,
            Err(e) => return self.pipeline.refuse_bytes(&self.cx, &frame, &Denied::of_parse(&e)),
        };
        let denied = match self.check(&head, in_batch) {
            Ok(()) => match serde_json::from_slice::<Asked<'_>>(&frame) {
                Ok(asked) => match self.dispatch(&frame, &head, &asked).await {
                    Ok(reply) => return reply,
                    Err(denied) => denied,
                },
                Err(_) => Denied::invalid_request("params: not as this method has them"),
            },
            Err(denied) => denied,
        };
        self.refuse(&head, &denied)
    }

    fn check(&self, head: &Head, in_batch: bool) -> Result<(), Denied> {
        if head.has_long_id() {
            return Err(Denied::invalid_request("the id is too long"));
        }
        if in_batch && head.method.as_deref() == Some("initialize") {
            return Err(Denied::invalid_request("initialize can't be part of a batch"));
        }
        match self.cx.transport.has_headers() {
            true => era::check(&self.cx.headers, head),
            false => Ok(()),
        }
    }

    async fn dispatch(
        &self,
        frame: &Bytes,
        head: &Head,
        asked: &Asked<'_>,
    ) -> Result<Reply, Denied> {
        let method = head.method.as_deref().unwrap_or_default();
        match head.kind {
            MessageKind::Response | MessageKind::Error => return self.answer(frame, head).await,
            MessageKind::Notification => return self.notify(frame, head, asked).await,
            MessageKind::Request => {}
        }
        let modern = self.cx.is_modern(head);
        match method {
            "tools/list" => self.list(Kind::Tools, head, asked).await,
            "prompts/list" => self.list(Kind::Prompts, head, asked).await,
            "resources/list" => self.list(Kind::Resources, head, asked).await,
            "resources/templates/list" => self.list(Kind::Templates, head, asked).await,
            "tools/call" => self.call(frame, head, asked).await,
            "prompts/get" => self.get_prompt(frame, head, asked).await,
            "resources/read" => self.resource(frame, head, asked).await,
            "completion/complete" => self.complete(frame, head, asked).await,
            "server/discover" if modern => self.discover(head, asked).await,
            "subscriptions/listen" if modern => self.subscribe(head, asked).await,
            "initialize" if !modern => self.initialize(frame, head).await,
            "ping" if !modern => Ok(self.tell(head, "{}")),
            "logging/setLevel" if !modern => self.set_level(frame, head).await,
            "resources/subscribe" | "resources/unsubscribe" if !modern => {
                self.resource(frame, head, asked).await
            }
            _ => {
                let status = if modern { StatusCode::NOT_FOUND } else { StatusCode::OK };
                let message = "there is no such method here";
                Err(Denied::new(status, -32601, "unknown_method", message))
            }
        }
    }

    fn config(&self) -> &config::Catalog {
        &self.cx.snapshot.config.catalog
    }

    /// The context of a message to one server: its name, its session, and headers that say what
    /// the body says. Without a method the headers are left out.
    fn to(&self, server: &Arc<ServerSpec>, modern: bool, mirror: Mirrored<'_>) -> Context {
        let mut cx = Context::clone(&self.cx);
        cx.server = Arc::clone(server);
        cx.owned = !modern;
        cx.session = cx.session.map(|own| digest(&server.name, own.as_bytes()));
        // The client's own session is with the gateway: to the server goes the server's, if any.
        let theirs = cx.front.get().and_then(|front| front.upstream.get(&server.name));
        cx.headers.session = theirs.and_then(|id| id.parse().ok());
        cx.headers.last_event_id = None;
        if !mirror.params {
            cx.headers.params.clear();
        }
        let header = |text: Option<&str>| text.and_then(|text| era::encode(text.as_bytes()));
        let mirrors = modern && cx.transport.has_headers();
        cx.headers.method = header(mirror.method.filter(|_| mirrors)).into_iter().collect();
        cx.headers.name = header(mirror.name.filter(|_| mirrors)).into_iter().collect();
        cx
    }

    /// Sends one message to a server through the pipeline.
    async fn send(&self, cx: Context, frame: Bytes) -> Reply {
        Arc::clone(&self.pipeline).handle(Arc::new(cx), frame).await
    }

    /// Sends a request of the gateway's own to a server, and waits for the answer.
    async fn ask(&self, cx: Context, frame: Bytes) -> Result<Bytes, &'static str> {
        answer_in(self.send(cx, frame).await).await
    }

    /// A result of the gateway's own.
    fn tell(&self, head: &Head, result: &str) -> Reply {
        self.pipeline.count(&self.cx, head.method.as_deref(), "ok");
        Reply::one(StatusCode::OK, wire::result(head.id.as_deref(), result))
    }

    /// A refusal of the gateway's own.
    fn refuse(&self, head: &Head, denied: &Denied) -> Reply {
        if !head.is_request() {
            return self.pipeline.unasked(&self.cx, denied);
        }
        self.pipeline.count(&self.cx, head.method.as_deref(), denied.outcome());
        self.pipeline.refuse_request(&self.cx, head, denied)
    }
}

/// The answer in a server's reply.
async fn answer_in(reply: Reply) -> Result<Bytes, &'static str> {
    match reply.body {
        Body::One(answer) => Ok(answer),
        Body::Empty => Err("it did not answer"),
        Body::Stream(mut events) => {
            while let Some(event) = events.next().await {
                let data = event.map_err(|_| "its answer broke off")?.data;
                let Some(message) = data else { continue };
                match kind_of(&message) {
                    Some(MessageKind::Response | MessageKind::Error) => return Ok(message),
                    Some(MessageKind::Request) => return Err("it asked for more"),
                    _ => {}
                }
            }
            Err("it did not answer")
        }
    }
}

/// What the headers of a message repeat of its body.
#[derive(Clone, Copy, Default)]
struct Mirrored<'a> {
    method: Option<&'a str>,
    name: Option<&'a str>,
    /// Whether the client's own `Mcp-Param-*` go along.
    params: bool,
}

/// What a message is; `None` of what is none.
fn kind_of(message: &[u8]) -> Option<MessageKind> {
    let members = wire::Members::of(std::str::from_utf8(message).ok()?);
    Some(match (members.get("method"), members.get("id")) {
        (Some(_), Some(_)) => MessageKind::Request,
        (Some(_), None) => MessageKind::Notification,
        (None, _) if members.get("result").is_some() => MessageKind::Response,
        (None, _) if members.get("error").is_some() => MessageKind::Error,
        _ => return None,
    })
}

/// A reply with each of its messages changed.
fn map(reply: Reply, change: impl Fn(Bytes) -> Bytes + Send + 'static) -> Reply {
    let body = match reply.body {
        Body::Empty => Body::Empty,
        Body::One(message) => Body::One(change(message)),
        Body::Stream(events) => Body::Stream(
            events
                .map(move |event| {
                    let event = event?;
                    Ok(Event { data: event.data.map(&change), ..event })
                })
                .boxed(),
        ),
    };
    Reply { body, ..reply }
}

/// `-32602` for a name that nobody has, as the servers themselves would say it.
fn unknown(message: impl Into<String>) -> Denied {
    Denied::new(StatusCode::OK, -32602, "unknown_name", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_by_its_sender_and_id_until_others_take_its_place() {
        let catalog = Catalog::default();
        for n in 0..5 {
            catalog.went("s".into(), n.to_string().into(), "a".into(), 2);
        }
        assert_eq!(catalog.where_is(&"s".into(), "4").as_deref(), Some("a"));
        assert_eq!(catalog.where_is(&"t".into(), "4"), None);
        assert_eq!(catalog.where_is(&"s".into(), "1"), None);
    }

    #[test]
    fn messages_are_told_apart() {
        let kinds = [
            (r#"{"id":1,"method":"m"}"#, Some(MessageKind::Request)),
            (r#"{"method":"m"}"#, Some(MessageKind::Notification)),
            (r#"{"id":1,"result":{}}"#, Some(MessageKind::Response)),
            (r#"{"id":null,"error":{}}"#, Some(MessageKind::Error)),
            ("[]", None),
            ("{", None),
        ];
        for (message, kind) in kinds {
            assert_eq!(kind_of(message.as_bytes()), kind, "{message}");
        }
    }
}
