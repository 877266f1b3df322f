//! Streams of what servers send unasked, merged: the GET stream of the revisions with sessions, and
//! `subscriptions/listen` of those without. A server that ends its stream, or has none, ends only
//! its own part.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::{self, BoxStream, FuturesUnordered, StreamExt};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::resources::Links;
use super::session::is_answer;
use super::wire::{Asked, Members, Object, request, result, string};
use super::{Desk, Mirrored, kind_of};
use crate::envelope::{Body, Context, Event, Head, Reply};
use crate::policy::Denied;
use crate::snapshot::ServerSpec;
use crate::upstream::UpstreamError;

/// What a client wants to hear of.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Filter {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    resource_subscriptions: Vec<String>,
}

/// Resources of one subscription at most.
const MOST_SUBSCRIBED: usize = 1024;

/// Events of one server, in the order of their coming.
type Events = BoxStream<'static, Result<Event, UpstreamError>>;

impl Desk {
    /// The merged stream of what comes unasked (GET).
    pub(super) async fn listen(&self) -> Reply {
        let until = Instant::now() + self.config().deadline.get();
        let calls = self.face.servers.iter().map(|server| {
            let cx = Arc::new(self.to(server, false, Mirrored::default()));
            let links = self.links(&server.name, None);
            let opened = timeout_at(until, Arc::clone(&self.pipeline).listen(cx));
            async move { (opened.await, links) }
        });
        let mut streams = Vec::new();
        for (opened, links) in join_all(calls).await {
            if let Ok(Reply { body: Body::Stream(events), .. }) = opened {
                streams.push(linked(events, links));
            }
        }
        if streams.is_empty() {
            return Reply::empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let body = Body::Stream(stream::select_all(streams).boxed());
        Reply { body, open_ended: true, ..Reply::empty(StatusCode::OK) }
    }

    /// Answers `subscriptions/listen`: one acknowledgement for all, then what any of them sends.
    pub(super) async fn subscribe(&self, head: &Head, asked: &Asked<'_>) -> Result<Reply, Denied> {
        let missing = || Denied::invalid_params("notifications is missing");
        let filter = asked.params.notifications.ok_or_else(missing)?;
        let bad = |_| Denied::invalid_params("notifications: not a filter");
        let filter: Filter = serde_json::from_str(filter.get()).map_err(bad)?;
        if filter.resource_subscriptions.len() > MOST_SUBSCRIBED {
            return Err(Denied::invalid_params("too many resources in one subscription"));
        }
        let id = head.id.as_deref().unwrap_or("null").to_owned();
        let until = Instant::now() + self.config().deadline.get();
        let opening = FuturesUnordered::new();
        for (server, wanted) in self.parts(&filter, asked).await {
            let links = self.links(&server.name, None);
            let mut params = Object::new();
            if let Some(meta) = asked.params.meta {
                params = params.raw("_meta", meta.get());
            }
            let params = params.with("notifications", &wanted).end();
            let mirror = Mirrored { method: Some("subscriptions/listen"), ..Mirrored::default() };
            let cx: Context = self.to(&server, true, mirror);
            let (desk, frame) = (self.clone(), request(&id, "subscriptions/listen", &params));
            opening.push(Box::pin(async move {
                match desk.send(cx, frame).await.body {
                    Body::Stream(events) => Some(linked(events, links)),
                    _ => None,
                }
            }));
        }
        // Streams join as they open; the acknowledgement waits for all, or for the deadline.
        let expected = opening.len();
        let none = || stream::once(std::future::ready(Piece::Ended)).boxed();
        let streams = opening.map(move |opened| opened.map_or_else(none, pieces));
        let merged = Merged {
            pieces: streams.flatten_unordered(None).boxed(),
            waiting: Some(Waiting { expected, honoured: Map::new(), held: VecDeque::new() }),
            until,
            ready: VecDeque::new(),
            id,
            over: false,
        };
        let body = Body::Stream(stream::unfold(merged, Merged::next).boxed());
        Ok(Reply { body, open_ended: true, ..Reply::empty(StatusCode::OK) })
    }

    /// What is asked of each server; nothing of one that would have nothing to tell.
    async fn parts(&self, filter: &Filter, asked: &Asked<'_>) -> Vec<(Arc<ServerSpec>, Value)> {
        let mut wanted = Map::new();
        for (name, on) in [
            ("toolsListChanged", filter.tools_list_changed),
            ("promptsListChanged", filter.prompts_list_changed),
            ("resourcesListChanged", filter.resources_list_changed),
        ] {
            if on {
                wanted.insert(name.into(), true.into());
            }
        }
        let mut uris = Vec::new();
        for shown in &filter.resource_subscriptions {
            // What nobody has is not in the acknowledgement: that is how the client learns of it.
            if let Ok(target) = self.resolve(shown, asked.params.meta, true).await {
                uris.push(target);
            }
        }
        let of = |server: &Arc<ServerSpec>| {
            let mut wanted = wanted.clone();
            let theirs: Vec<&str> =
                uris.iter().filter(|t| t.server == server.name).map(|t| &*t.name).collect();
            if !theirs.is_empty() {
                wanted.insert("resourceSubscriptions".into(), json!(theirs));
            }
            (!wanted.is_empty()).then(|| (Arc::clone(server), Value::Object(wanted)))
        };
        self.face.servers.iter().filter_map(of).collect()
    }
}

/// A server's events with their links as they are called here. Ids are left out: of a merged
/// stream nobody can resume a part.
fn linked(events: Events, links: Links) -> Events {
    let change = move |event: Result<Event, UpstreamError>| {
        let data = event.ok()?.data?;
        let data = links.outward(acknowledged(data, &links));
        Some(Ok(Event { data: Some(data), ..Event::default() }))
    };
    events.filter_map(move |event| std::future::ready(change(event))).boxed()
}

/// An acknowledgement whose URIs are as they are called here; any other message as it is.
fn acknowledged(message: Bytes, links: &Links) -> Bytes {
    let Some(honoured) = honoured(&message) else { return message };
    let mut honoured = honoured;
    if let Some(Value::Array(uris)) = honoured.get_mut("resourceSubscriptions") {
        for uri in uris {
            if let Some(theirs) = uri.as_str() {
                *uri = links.called(theirs).into();
            }
        }
    }
    let method = "notifications/subscriptions/acknowledged";
    json!({ "jsonrpc": "2.0", "method": method, "params": { "notifications": honoured } })
        .to_string()
        .into()
}

/// What an acknowledgement grants; nothing of another message.
fn honoured(message: &[u8]) -> Option<Map<String, Value>> {
    let members = Members::of(std::str::from_utf8(message).ok()?);
    let method = members.get("method").and_then(string)?;
    if method != "notifications/subscriptions/acknowledged" {
        return None;
    }
    let granted = Members::of(members.get("params")?.get()).get("notifications");
    Some(granted.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default())
}

/// What comes of one server's stream.
enum Piece {
    /// It grants this much.
    Granted(Map<String, Value>),
    /// It says this.
    Said(Bytes),
    /// It ended, or never began, and granted nothing.
    Ended,
}

/// The pieces of one server's stream: it grants once, or ends without having granted.
fn pieces(events: Events) -> BoxStream<'static, Piece> {
    stream::unfold(Some((events, false)), |state| async move {
        let (mut events, had_granted) = state?;
        while let Some(event) = events.next().await {
            let Some(data) = event.ok().and_then(|event| event.data) else { continue };
            match honoured(&data) {
                Some(_) if had_granted => {}
                Some(granted) => return Some((Piece::Granted(granted), Some((events, true)))),
                // The end of one part is not the end of the subscription.
                None if is_answer(kind_of(&data)) => {}
                None => return Some((Piece::Said(data), Some((events, had_granted)))),
            }
        }
        (!had_granted).then_some((Piece::Ended, None))
    })
    .boxed()
}

/// A merged subscription under way.
struct Merged {
    pieces: BoxStream<'static, Piece>,
    /// What is still to be acknowledged; nothing once that is done.
    waiting: Option<Waiting>,
    until: Instant,
    ready: VecDeque<Bytes>,
    /// The client's request, as JSON text: the subscription's id.
    id: String,
    over: bool,
}

struct Waiting {
    /// Servers that were asked and have neither acknowledged nor ended.
    expected: usize,
    honoured: Map<String, Value>,
    /// What came before the acknowledgement.
    held: VecDeque<Bytes>,
}

/// Messages held back until the acknowledgement at most.
const MOST_HELD: usize = 256;

impl Merged {
    async fn next(mut self) -> Option<(Result<Event, UpstreamError>, Merged)> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Some((Ok(Event { data: Some(data), ..Event::default() }), self));
            }
            if self.over {
                return None;
            }
            let piece = match &self.waiting {
                None => self.pieces.next().await,
                Some(waiting) if waiting.expected == 0 => {
                    self.acknowledge();
                    continue;
                }
                Some(_) => tokio::select! {
                    piece = self.pieces.next() => piece,
                    () = sleep_until(self.until) => {
                        self.acknowledge();
                        continue;
                    }
                },
            };
            self.take(piece);
        }
    }

    fn take(&mut self, piece: Option<Piece>) {
        match (piece, &mut self.waiting) {
            (None, _) => {
                if self.waiting.is_some() {
                    self.acknowledge();
                }
                let meta = Object::new().raw("io.modelcontextprotocol/subscriptionId", &self.id);
                let end = Object::new().with("resultType", &"complete").raw("_meta", &meta.end());
                self.ready.push_back(result(Some(&self.id), &end.end()));
                self.over = true;
            }
            (Some(Piece::Granted(granted)), Some(waiting)) => {
                waiting.expected = waiting.expected.saturating_sub(1);
                grant(&mut waiting.honoured, granted);
            }
            (Some(Piece::Ended), Some(waiting)) => {
                waiting.expected = waiting.expected.saturating_sub(1);
            }
            (Some(Piece::Said(data)), Some(waiting)) => {
                if waiting.held.len() < MOST_HELD {
                    waiting.held.push_back(data);
                }
            }
            (Some(Piece::Said(data)), None) => self.ready.push_back(data),
            // One that comes late was not promised, and is no second first message.
            (Some(Piece::Granted(_) | Piece::Ended), None) => {}
        }
    }

    /// Tells the client what it will hear of: the first message of the stream.
    fn acknowledge(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        let meta = Object::new().raw("io.modelcontextprotocol/subscriptionId", &self.id).end();
        let params = Object::new().raw("_meta", &meta).with("notifications", &waiting.honoured);
        let method = "notifications/subscriptions/acknowledged";
        let message = Object::new()
            .with("jsonrpc", &"2.0")
            .with("method", &method)
            .raw("params", &params.end());
        self.ready.push_back(message.end().into());
        self.ready.extend(waiting.held);
    }
}

/// Adds what one server grants to what others do.
fn grant(all: &mut Map<String, Value>, granted: Map<String, Value>) {
    for (name, value) in granted {
        match (all.get_mut(&name), value) {
            (Some(Value::Array(have)), Value::Array(more)) => have.extend(more),
            (Some(Value::Bool(true)), _) => {}
            (_, value) => {
                all.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(granted: Value) -> Event {
        let message = json!({ "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
            "params": { "notifications": granted } });
        Event { data: Some(message.to_string().into()), ..Event::default() }
    }

    fn said(text: &str) -> Event {
        let message = format!(r#"{{"jsonrpc":"2.0","method":"{text}"}}"#);
        Event { data: Some(message.into()), ..Event::default() }
    }

    async fn merged(parts: Vec<Vec<Event>>) -> Vec<Value> {
        let expected = parts.len();
        let parts = parts.into_iter().map(|events| pieces(stream::iter(events).map(Ok).boxed()));
        let merged = Merged {
            pieces: stream::select_all(parts).boxed(),
            waiting: Some(Waiting { expected, honoured: Map::new(), held: VecDeque::new() }),
            until: Instant::now() + std::time::Duration::from_secs(3600),
            ready: VecDeque::new(),
            id: "7".into(),
            over: false,
        };
        let events = stream::unfold(merged, Merged::next);
        let read = |event: Result<Event, UpstreamError>| {
            serde_json::from_slice(&event.unwrap().data.unwrap()).unwrap()
        };
        events.map(read).collect().await
    }

    #[tokio::test]
    async fn there_is_one_acknowledgement_and_it_comes_first() {
        let one = vec![said("early"), ack(json!({ "toolsListChanged": true })), said("later")];
        let end = Event {
            data: Some(Bytes::from_static(br#"{"id":7,"result":{}}"#)),
            ..Event::default()
        };
        let two =
            vec![ack(json!({ "toolsListChanged": false, "resourceSubscriptions": ["x"] })), end];
        let all = merged(vec![one, two, vec![]]).await;
        let methods: Vec<&str> = all.iter().filter_map(|m| m["method"].as_str()).collect();
        assert_eq!(methods, ["notifications/subscriptions/acknowledged", "early", "later"]);
        let params = &all[0]["params"];
        let honoured = json!({ "toolsListChanged": true, "resourceSubscriptions": ["x"] });
        assert_eq!(params["notifications"], honoured);
        assert_eq!(params["_meta"]["io.modelcontextprotocol/subscriptionId"], 7);
        let last = all.last().unwrap();
        assert_eq!((&last["id"], &last["result"]["resultType"]), (&json!(7), &json!("complete")));
        assert_eq!(all.len(), 4);
    }

    #[tokio::test]
    async fn a_subscription_that_nobody_serves_grants_nothing_and_ends() {
        let all = merged(vec![]).await;
        assert_eq!(all[0]["params"]["notifications"], json!({}));
        assert_eq!(all.len(), 2);
    }
}
