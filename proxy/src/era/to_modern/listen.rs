//! A legacy session's GET stream before a server of 2026-07-28: one `subscriptions/listen` with all
//! that the session wants to be told of, opened again whenever that changes or the server ends it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::ToModern;
use super::request::meta;
use super::session::{Session, Wanted};
use crate::envelope::{Body, Context, Event, Reply};
use crate::era::detect::request;
use crate::era::splice::{Object, applied};
use crate::upstream::UpstreamError;

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// Between two attempts to open the stream to the server, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Events that may wait for the client.
const WAITING: usize = 64;

type Events = BoxStream<'static, Result<Event, UpstreamError>>;

/// What is needed to listen for one session.
pub(super) struct Listener {
    pub(super) bridge: Arc<ToModern>,
    pub(super) cx: Arc<Context>,
    pub(super) session: Arc<Session>,
    /// The server's capabilities.
    pub(super) offered: Arc<Value>,
}

impl Listener {
    /// Whether the server has anything to tell of.
    pub(super) fn is_of_use(&self) -> bool {
        let has = |path| self.offered.pointer(path) == Some(&Value::Bool(true));
        [
            "/tools/listChanged",
            "/prompts/listChanged",
            "/resources/listChanged",
            "/resources/subscribe",
        ]
        .into_iter()
        .any(has)
    }

    /// The stream to the client.
    pub(super) fn start(self) -> Reply {
        let (tell, told) = mpsc::channel(WAITING);
        let replaced = self.session.open_stream();
        tokio::spawn(async move {
            let stop = replaced.clone();
            tokio::select! {
                // The client has gone, or has another stream.
                () = tell.closed() => {}
                () = replaced.cancelled() => {}
                () = self.run(&tell) => {}
            }
            stop.cancel();
        });
        let events = stream::unfold(told, |mut told| async {
            let raw: Bytes = told.recv().await?;
            Some((Ok(Event { data: Some(raw), ..Event::default() }), told))
        });
        let body = Body::Stream(events.boxed());
        Reply { body, open_ended: true, ..Reply::empty(StatusCode::OK) }
    }

    async fn run(&self, tell: &mpsc::Sender<Bytes>) {
        let mut wanted = self.session.wanted.subscribe();
        let mut pause = PAUSE.0;
        // The stream before stays open until the next one is acknowledged: nothing falls between.
        let mut before: Option<Events> = None;
        loop {
            let want = wanted.borrow_and_update().clone();
            let opened = match self.nothing(&want) {
                true => Some(stream::pending().boxed()),
                false => self.open(&want).await,
            };
            let Some(mut events) = opened else {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
                continue;
            };
            if self.nothing(&want) {
                self.session.acknowledged.send_replace(want.change);
            }
            loop {
                let old = async {
                    match &mut before {
                        Some(before) => before.next().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    event = old => match event {
                        Some(Ok(event)) => { relay(event, tell).await; }
                        _ => before = None,
                    },
                    event = events.next() => match event {
                        Some(Ok(event)) => if relay(event, tell).await == Told::Acknowledged {
                            before = None;
                            pause = PAUSE.0;
                            self.session.acknowledged.send_replace(want.change);
                        },
                        // The server ended it, in order or not.
                        _ => {
                            sleep(pause).await;
                            pause = (pause * 2).min(PAUSE.1);
                            break;
                        }
                    },
                    _ = wanted.changed() => {
                        before = Some(events);
                        break;
                    }
                }
            }
        }
    }

    /// Whether there is nothing to ask the server for.
    fn nothing(&self, want: &Wanted) -> bool {
        self.filter(want).as_object().is_none_or(serde_json::Map::is_empty)
    }

    fn filter(&self, want: &Wanted) -> Value {
        let mut filter = json!({});
        for (path, key) in [
            ("/tools/listChanged", "toolsListChanged"),
            ("/prompts/listChanged", "promptsListChanged"),
            ("/resources/listChanged", "resourcesListChanged"),
        ] {
            if self.offered.pointer(path) == Some(&Value::Bool(true)) {
                filter[key] = true.into();
            }
        }
        if !want.uris.is_empty() {
            filter["resourceSubscriptions"] = want.uris.iter().map(|uri| &**uri).collect();
        }
        filter
    }

    async fn open(&self, want: &Wanted) -> Option<Events> {
        let id = self.bridge.mint();
        let meta = meta(&self.session).into_iter();
        let meta: Vec<String> =
            meta.map(|(key, value)| format!("{}:{value}", Value::from(key))).collect();
        let (filter, meta) = (self.filter(want), meta.join(","));
        let raw = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"subscriptions/listen","params":{{"notifications":{filter},"_meta":{{{meta}}}}}}}"#
        );
        let outgoing = request(raw.into(), "subscriptions/listen", None);
        match self.bridge.inner.call(&self.cx, outgoing).await {
            Ok(Reply { body: Body::Stream(events), .. }) => Some(events),
            Ok(reply) => {
                let status = reply.status.map(|status| status.as_u16());
                tracing::warn!(server = %self.cx.server.name, status, "the server does not let us listen");
                None
            }
            Err(error) => {
                tracing::warn!(server = %self.cx.server.name, %error, "can't listen to the server");
                None
            }
        }
    }
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Acknowledged,
    Passed,
}

/// Gives the client what is meant for it, without the marks of the subscription.
async fn relay(event: Event, tell: &mpsc::Sender<Bytes>) -> Told {
    let Some(raw) = event.data else { return Told::Nothing };
    let (told, passed) = translated(&raw);
    if let Some(passed) = passed {
        // Who has gone hears nothing.
        let _ = tell.send(passed).await;
    }
    told
}

fn translated(raw: &Bytes) -> (Told, Option<Bytes>) {
    let Some(message) = Object::of(raw) else { return (Told::Nothing, None) };
    // Neither the answer at the end of the stream nor a request is for the client.
    if message.get("id").is_some() {
        return (Told::Nothing, None);
    }
    if message.string("method").as_deref() == Some("notifications/subscriptions/acknowledged") {
        return (Told::Acknowledged, None);
    }
    let mut edits = Vec::new();
    if let Some(params) = message.object(raw, "params")
        && let Some(meta) = params.object(raw, "_meta")
        && meta.get(SUBSCRIPTION).is_some()
    {
        edits = match (meta.len(), params.len()) {
            (1, 1) => message.edits(&["params"], &[]),
            (1, _) => params.edits(&["_meta"], &[]),
            _ => meta.edits(&[SUBSCRIPTION], &[]),
        };
    }
    (Told::Passed, applied(raw, edits))
}

/// Waits until the server was told of a change, if anyone listens; `patience` at most.
pub(super) async fn acknowledged(session: &Session, change: u64, patience: Duration) {
    if !session.is_listening() {
        return;
    }
    let mut acknowledged = session.acknowledged.subscribe();
    let reached = acknowledged.wait_for(|up_to| *up_to >= change);
    // A client is better off with a late notification than without an answer.
    let _ = tokio::time::timeout(patience, reached).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(raw: &str) -> (Told, Option<String>) {
        let (told, bytes) = translated(&Bytes::copy_from_slice(raw.as_bytes()));
        (told, bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()))
    }

    #[test]
    fn the_marks_of_a_subscription_are_taken_out() {
        for (raw, expected) in [
            (
                r#"{"method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#,
                r#"{"method":"notifications/tools/list_changed"}"#,
            ),
            (
                r#"{"method":"notifications/resources/updated","params":{"uri":"a","_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#,
                r#"{"method":"notifications/resources/updated","params":{"uri":"a"}}"#,
            ),
            (
                r#"{"method":"m","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1,"k":2}}}"#,
                r#"{"method":"m","params":{"_meta":{"k":2}}}"#,
            ),
            (r#"{"method":"m"}"#, r#"{"method":"m"}"#),
        ] {
            assert_eq!(passed(raw), (Told::Passed, Some(expected.to_owned())));
        }
    }

    #[test]
    fn what_is_between_server_and_gateway_stays_there() {
        let ack = r#"{"method":"notifications/subscriptions/acknowledged","params":{}}"#;
        assert_eq!(passed(ack), (Told::Acknowledged, None));
        assert_eq!(passed(r#"{"id":1,"result":{}}"#), (Told::Nothing, None));
        assert_eq!(passed(r#"{"id":1,"method":"sampling/createMessage"}"#), (Told::Nothing, None));
        assert_eq!(passed("[]"), (Told::Nothing, None));
    }
}
