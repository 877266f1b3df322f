//! Marks, and a message that goes to another replica by the network of this machine.

use std::sync::OnceLock;

use http::Request;
use serde_json::{Value, json};

use super::*;
use crate::config::{Address, Auth, Key, PinMode, Secret};
use crate::demo::server;
use crate::envelope::{Body, McpHeaders, Transport};
use crate::serve::Gateway;

const KEY: &str = "a key of thirty-two bytes or more";
const NOW: u64 = 1_000_000_000_000;

fn config(key: &str, replica: &str, peer: &str) -> Config {
    let mut config = Config::of_one_server("demo", "http://127.0.0.1:9/mcp");
    config.listen = "127.0.0.1:0".into();
    config.admin = "off".into();
    config.capture.enabled = false;
    config.inspect.builtin = false;
    config.pins.mode = PinMode::Off;
    config.sessions.keys = vec![Secret::new(key)];
    config.sessions.replica = Some(replica.into());
    config.sessions.peers = [("b".to_owned(), Address::new(peer))].into();
    config
}

fn snapshot(key: &str, replica: &str) -> Arc<Snapshot> {
    Arc::new(Snapshot::build(config(key, replica, "http://127.0.0.1:9")).unwrap())
}

/// A request of alice's at `snapshot`'s gateway.
fn request(snapshot: &Arc<Snapshot>) -> Context {
    Context {
        snapshot: Arc::clone(snapshot),
        server: Arc::clone(&snapshot.servers["demo"]),
        transport: Transport::Http1,
        http_method: Some("POST".into()),
        headers: McpHeaders::default(),
        conn_id: "c".into(),
        session: None,
        principal: Some("alice".into()),
        negotiated: OnceLock::new(),
        front: OnceLock::new(),
        owned: false,
        arrival: crate::linkage::Arrival::default(),
        rows: crate::audit::Rows::default(),
    }
}

fn parts(method: Method, marks: &[&HeaderValue]) -> Parts {
    let mut request = Request::new(());
    *request.method_mut() = method;
    for mark in marks {
        request.headers_mut().append(HOP, (*mark).clone());
    }
    request.into_parts().0
}

#[test]
fn a_mark_is_of_one_message_endpoint_replica_moment_and_key() {
    let (a, b) = (snapshot(KEY, "a"), snapshot(KEY, "b"));
    let fronts = Fronts::default();
    let made = || mark(&a.sealer, "b", &request(&a), b"message", NOW).unwrap();
    let post = |mark: &HeaderValue| parts(Method::POST, &[mark]);

    let first = made();
    let hop = accept(&b, &fronts, "demo", &post(&first), NOW + SKEW).unwrap().unwrap();
    assert_eq!(hop.principal.as_deref(), Some("alice"));
    assert!(hop.check(b"message").is_ok());
    assert_eq!(hop.check(b"massage").unwrap_err().status, StatusCode::FORBIDDEN);

    let nobody = snapshot("another key of thirty-two bytes..", "b");
    let fresh = made();
    for (what, at, server, parts, now) in [
        ("again", &b, "demo", post(&first), NOW),
        ("endpoint", &b, "mail", post(&fresh), NOW),
        ("replica", &a, "demo", post(&fresh), NOW),
        ("key", &nobody, "demo", post(&fresh), NOW),
        ("late", &b, "demo", post(&fresh), NOW + SKEW + 1),
        ("early", &b, "demo", post(&fresh), NOW - SKEW - 1),
        ("method", &b, "demo", parts(Method::GET, &[&fresh]), NOW),
        ("two", &b, "demo", parts(Method::POST, &[&fresh, &made()]), NOW),
        ("made up", &b, "demo", post(&HeaderValue::from_static("alice")), NOW),
    ] {
        let refused = accept(at, &fronts, server, &parts, now).unwrap_err();
        assert_eq!(
            (refused.status, refused.reason),
            (StatusCode::FORBIDDEN, "forged_hop"),
            "{what}"
        );
    }
    assert!(accept(&b, &fronts, "demo", &post(&fresh), NOW).unwrap().is_some());
    assert!(accept(&b, &fronts, "demo", &parts(Method::POST, &[]), NOW).unwrap().is_none());
}

#[test]
fn a_session_id_is_no_mark() {
    let b = snapshot(KEY, "b");
    let cx = request(&b);
    cx.front.set(Arc::default()).unwrap();
    let fronts = Fronts::default();
    let mut reply = Reply::empty(StatusCode::OK);
    reply.begins = true;
    fronts.leave(&cx, None, &mut reply, NOW);
    let id = reply.session.unwrap();
    assert!(accept(&b, &fronts, "demo", &parts(Method::POST, &[&id]), NOW).is_err());
}

#[tokio::test]
async fn a_message_goes_to_the_replica_it_is_for_and_no_further() {
    let upstream = server::start().await.unwrap();
    let mut there = config(KEY, "b", "http://127.0.0.1:9");
    there.servers.get_mut("demo").unwrap().url =
        Some(Address::new(format!("http://{upstream}/mcp")));
    // Nobody has this key's token: the mark alone opens.
    let auth = Key { name: "alice".into(), sha256: "ab".repeat(32) };
    there.auth = Some(Auth::Keys(vec![auth]));
    let b = Gateway::start(there).await.unwrap();

    let here = config(KEY, "a", &format!("http://{}", b.address));
    let a = Arc::new(Snapshot::build(here.clone()).unwrap());
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let list =
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {"_meta": meta}});
    let list = Bytes::from(list.to_string());
    let reply = forward("b", &request(&a), list.clone()).await.unwrap();
    let Body::One(answer) = reply.body else { panic!("{reply:?}") };
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((reply.status, &answer["id"]), (Some(StatusCode::OK), &json!(7)), "{answer}");
    assert!(answer["result"]["tools"].is_array(), "{answer}");

    let elsewhere = |replica: &str| UpstreamError::Elsewhere { replica: replica.to_owned() };
    // who is not known, who we are ourselves, what has come from a replica already
    for replica in ["c", "a"] {
        let refused = forward(replica, &request(&a), list.clone()).await.unwrap_err();
        assert_eq!(refused, elsewhere(replica));
        assert_eq!(Denied::of_upstream(&refused).status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let mut hopped = request(&a);
    hopped.headers.hopped = true;
    assert_eq!(forward("b", &hopped, list.clone()).await.unwrap_err(), elsewhere("b"));
    // who does not take our mark, and who is gone
    let mut stranger = here.clone();
    stranger.sessions.keys = vec![Secret::new("another key of thirty-two bytes..")];
    let stranger = Arc::new(Snapshot::build(stranger).unwrap());
    assert_eq!(forward("b", &request(&stranger), list.clone()).await.unwrap_err(), elsewhere("b"));
    b.stop(std::future::ready(())).await;
    // without the connections of before
    let a = Arc::new(Snapshot::build(here).unwrap());
    assert_eq!(forward("b", &request(&a), list).await.unwrap_err(), elsewhere("b"));
}
