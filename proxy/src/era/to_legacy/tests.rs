//! A client whose session spans several servers, before one with sessions: over a server that is
//! no more than a function.

use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use capture::Str;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use http::{HeaderValue, StatusCode};
use inspect::message::Kind;

use super::{ToLegacy, lot};
use crate::config::Config;
use crate::envelope::{Body, Context, Event, McpHeaders, Reply, Transport};
use crate::era::upstream_session::head;
use crate::session::Front;
use crate::snapshot::Snapshot;
use crate::upstream::{Outgoing, Upstream, UpstreamError};

/// A server that remembers what it was told: in which session, and what.
#[derive(Default)]
struct Old {
    told: Mutex<Vec<(String, String)>>,
    sessions: Mutex<usize>,
    /// The session that it has forgotten.
    forgot: Mutex<Option<String>>,
}

impl Old {
    fn told(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.told.lock().unwrap())
    }

    fn answer(&self, cx: &Context, message: &Outgoing) -> Reply {
        let session = cx.headers.session.as_ref().map_or("", |s| s.to_str().unwrap()).to_owned();
        let raw = String::from_utf8(message.raw.to_vec()).unwrap();
        self.told.lock().unwrap().push((session.clone(), raw));
        if self.forgot.lock().unwrap().as_ref() == Some(&session) {
            return Reply::empty(StatusCode::NOT_FOUND);
        }
        let id = message.head.id.as_deref().unwrap_or_default();
        match message.head.method.as_deref() {
            Some("initialize") => {
                let mut sessions = self.sessions.lock().unwrap();
                *sessions += 1;
                let answer = format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"2025-06-18","capabilities":{{}},"serverInfo":{{"name":"old","version":"1"}}}}}}"#
                );
                let mut reply = Reply::one(StatusCode::OK, answer.into());
                reply.session = HeaderValue::from_str(&format!("s{sessions}")).ok();
                reply
            }
            Some("tools/call") => {
                let asks = r#"{"jsonrpc":"2.0","id":5,"method":"roots/list"}"#.to_owned();
                let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#);
                let event =
                    |data: String| Ok(Event { data: Some(data.into()), ..Event::default() });
                let events = stream::iter([asks, answer].map(event)).boxed();
                Reply { body: Body::Stream(events), ..Reply::empty(StatusCode::OK) }
            }
            _ => Reply::empty(StatusCode::ACCEPTED),
        }
    }
}

impl Upstream for Old {
    fn call<'a>(
        &'a self,
        cx: &'a Context,
        message: Outgoing,
    ) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(async move { Ok(self.answer(cx, &message)) })
    }

    fn close<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        let session = cx.headers.session.as_ref().map_or("", |s| s.to_str().unwrap()).to_owned();
        self.told.lock().unwrap().push((session, "DELETE".to_owned()));
        Box::pin(async { Ok(Reply::empty(StatusCode::OK)) })
    }
}

fn bridge() -> (Arc<Old>, ToLegacy, Arc<Snapshot>) {
    let mut config = Config::of_one_server("files", "http://127.0.0.1:9/mcp");
    config.inspect.builtin = false;
    let snapshot = Arc::new(Snapshot::build(config).unwrap());
    let old = Arc::new(Old::default());
    let spec = Arc::clone(&snapshot.servers["files"]);
    let bridge = ToLegacy::new(Arc::clone(&old) as _, spec, lot(&snapshot));
    (old, bridge, snapshot)
}

/// What a message of such a client comes with.
fn of(snapshot: &Arc<Snapshot>, session: &str) -> Context {
    let front = Front {
        capabilities: r#"{"roots":{}}"#.into(),
        client: r#"{"name":"c","version":"1"}"#.into(),
        ..Front::default()
    };
    Context {
        snapshot: Arc::clone(snapshot),
        server: Arc::clone(&snapshot.servers["files"]),
        transport: Transport::Http1,
        http_method: Some("POST".into()),
        headers: McpHeaders::default(),
        conn_id: "c".into(),
        session: Some(session.into()),
        principal: None,
        negotiated: OnceLock::new(),
        front: OnceLock::from(Arc::new(front)),
        owned: true,
        arrival: crate::linkage::Arrival::default(),
        rows: crate::audit::Rows::default(),
    }
}

fn message(kind: Kind, method: Option<&str>, id: Option<&str>, raw: &str) -> Outgoing {
    Outgoing::intact(Bytes::from(raw.to_owned()), &head(kind, method, id))
}

fn call(id: &str) -> Outgoing {
    let raw =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"x"}}}}"#);
    message(Kind::Request, Some("tools/call"), Some(id), &raw)
}

async fn events(reply: Reply) -> Vec<String> {
    let Body::Stream(events) = reply.body else { panic!("no stream: {reply:?}") };
    let text =
        |event: Result<Event, _>| String::from_utf8(event.unwrap().data.unwrap().to_vec()).unwrap();
    events.map(text).collect().await
}

#[tokio::test]
async fn each_client_has_a_session_of_its_own_and_what_is_asked_in_it_names_the_server() {
    let (old, bridge, snapshot) = bridge();
    let (alice, bob) = (of(&snapshot, "alice"), of(&snapshot, "bob"));
    let got = events(bridge.call(&alice, call("\"q\"")).await.unwrap()).await;
    assert_eq!(got[0], r#"{"jsonrpc":"2.0","id":"files/1","method":"roots/list"}"#);
    assert_eq!(got[1], r#"{"jsonrpc":"2.0","id":"q","result":{"content":[]}}"#);
    let told = old.told();
    assert!(
        told[0]
            .1
            .contains(r#""capabilities":{"roots":{}},"clientInfo":{"name":"c","version":"1"}"#)
    );
    assert!(told[1].1.contains("notifications/initialized"));
    assert_eq!((told[2].0.as_str(), told.len()), ("s1", 3));

    // Bob can't answer what Alice was asked; she can, once.
    let answer = |id: &str| {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"roots":[]}}}}"#);
        message(Kind::Response, None, Some(id), &raw)
    };
    for who in [&bob, &alice, &alice] {
        let reply = bridge.call(who, answer("\"files/1\"")).await.unwrap();
        assert_eq!(reply.status, Some(StatusCode::ACCEPTED));
    }
    let raw = r#"{"jsonrpc":"2.0","id":5,"result":{"roots":[]}}"#;
    assert_eq!(old.told(), [("s1".to_owned(), raw.to_owned())]);

    bridge.call(&bob, call("1")).await.unwrap();
    assert_eq!(old.told().last().unwrap().0, "s2");
    bridge.close(&alice).await.unwrap();
    assert_eq!(old.told(), [("s1".to_owned(), "DELETE".to_owned())]);
    bridge.call(&bob, call("2")).await.unwrap();
    assert_eq!(old.told()[0].0, "s2");
}

#[tokio::test]
async fn a_forgotten_session_is_opened_again_and_the_handshake_is_not_the_clients() {
    let (old, bridge, snapshot) = bridge();
    let alice = of(&snapshot, "alice");
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let initialized =
        message(Kind::Notification, Some("notifications/initialized"), None, initialized);
    bridge.call(&alice, initialized).await.unwrap();
    assert!(old.told().is_empty());
    bridge.call(&alice, call("1")).await.unwrap();
    *old.forgot.lock().unwrap() = Some("s1".to_owned());
    old.told();
    assert_eq!(events(bridge.call(&alice, call("2")).await.unwrap()).await.len(), 2);
    let sessions: Vec<String> = old.told().into_iter().map(|(session, _)| session).collect();
    assert_eq!(sessions, ["s1", "", "s2", "s2"]);
}

#[tokio::test]
async fn those_who_come_first_together_share_one_handshake() {
    let (old, bridge, snapshot) = bridge();
    let modern = Context { owned: false, session: None, ..of(&snapshot, "") };
    let raw = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let discover = || message(Kind::Request, Some("server/discover"), Some("1"), raw);
    let all = (0..20).map(|_| bridge.call(&modern, discover()));
    for reply in futures::future::join_all(all).await {
        assert!(matches!(reply.unwrap().body, Body::One(_)));
    }
    assert_eq!(old.told().len(), 2);
    let other: Str = "somebody".into();
    let somebody = Context { principal: Some(other), ..modern };
    bridge.call(&somebody, discover()).await.unwrap();
    assert_eq!(*old.sessions.lock().unwrap(), 2);
}
