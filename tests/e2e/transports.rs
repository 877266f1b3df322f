//! Every transport towards a client with every transport towards a server: the same session over each pair.

mod client;
mod peer;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tests::{Client, FakeServer, Gateway, call, request, within};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::{error, key, rows};
use client::{Session, open_stream, websocket};
use peer::{Peer, Wire};

const WIRES: [Wire; 3] = [Wire::Http, Wire::Sse, Wire::WebSocket];

/// A gateway before a server of this transport.
async fn before(peer: &Peer, wire: Wire, yaml: &str) -> Gateway {
    let transport = if wire == Wire::Sse { "    transport: sse\n" } else { "" };
    Gateway::configured(&peer.url, &format!("{transport}{yaml}")).await
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

/// The same session over one pair of transports, from the handshake on.
async fn a_session(down: Wire, up: Wire, peer: &mut Peer, gateway: &Gateway) {
    let mut client = Session::open(down, &gateway.url).await;
    peer.heard(Some("notifications/initialized")).await;

    let listed = client.ask(&request(1, "tools/list", json!({}))).await;
    assert_eq!(listed["result"]["tools"][0]["name"], "echo", "{down:?} {up:?}");
    let answer = client.ask(&call("two", "echo", json!({"message": "hello"}))).await;
    assert_eq!(text(&answer), "hello");

    // What comes meanwhile comes before the answer.
    let mut asked = call(3, "echo", json!({"message": "on"}));
    asked["params"]["_meta"] = json!({"progressToken": "t"});
    client.send(&asked).await;
    assert_eq!(client.next().await["params"]["progressToken"], "t");
    assert_eq!(text(&client.next().await), "on");

    // A server asks its client in the middle of a call.
    client.send(&call(4, "ask", json!({}))).await;
    let question = client.next().await;
    assert_eq!((&question["id"], &question["method"]), (&json!("q"), &json!("elicitation/create")));
    client.send(&json!({"jsonrpc": "2.0", "id": "q", "result": {"action": "accept"}})).await;
    let answer = client.next().await;
    assert_eq!((&answer["id"], text(&answer)), (&json!(4), "accept"));

    // A secret does not go through, and neither does what is larger than may be.
    let answer = client.ask(&call(5, "echo", json!({"message": key()}))).await;
    assert!(!answer.to_string().contains(&key()), "{answer}");
    let long = client.ask(&call(6, "large", json!({}))).await;
    assert_eq!(error(&long), (&json!(6), 1007), "{down:?} {up:?}");
}

#[tokio::test]
async fn one_session_over_every_pair_of_transports() {
    for up in WIRES {
        let mut peer = Peer::start(up).await;
        let gateway = before(&peer, up, "limits: { body: 100KiB, sse_event: 100KiB }\n").await;
        for down in WIRES {
            a_session(down, up, &mut peer, &gateway).await;
        }
        let capture = gateway.capture.clone();
        let _dir = gateway.stop().await;
        let rows = rows(&capture);
        let called = rows.iter().filter(|row| row.rpc_id.as_deref() == Some("\"two\""));
        assert!(called.clone().all(|row| row.session_id.is_some()), "{up:?}");
        for name in ["http/1.1", "sse", "websocket"] {
            // The call and its answer.
            let rows = called.clone().filter(|row| row.transport.as_deref() == Some(name));
            assert_eq!(rows.count(), 2, "{name} {up:?}");
        }
    }
}

#[tokio::test]
async fn what_is_blocked_is_answered_over_every_transport_and_the_session_goes_on() {
    for wire in WIRES {
        let peer = Peer::start(wire).await;
        let gateway = before(&peer, wire, "").await;
        let mut client = Session::open(wire, &gateway.url).await;
        let answer = client.ask(&call(1, "poison", json!({}))).await;
        assert_eq!(answer["result"]["isError"], true, "{wire:?} {answer}");
        assert!(!answer.to_string().contains("mailbox"), "{answer}");
        let answer = client.ask(&call(2, "echo", json!({"message": "after"}))).await;
        assert_eq!(text(&answer), "after", "{wire:?}");
    }
}

#[tokio::test]
async fn a_server_of_2024_is_found_behind_an_address_that_says_nothing_of_it() {
    let peer = Peer::start(Wire::Sse).await;
    let gateway = Gateway::before(&peer.url).await;
    for _ in 0..2 {
        let mut client = Session::open(Wire::Http, &gateway.url).await;
        let answer = client.ask(&call(1, "echo", json!({"message": "old"}))).await;
        assert_eq!(text(&answer), "old");
    }
    gateway.logged("transport=\"HTTP+SSE\"").await;
}

#[tokio::test]
async fn an_endpoint_of_another_origin_is_sent_nothing() {
    let mut elsewhere = FakeServer::by_hand().await;
    let endpoint = format!("event: endpoint\ndata: {}\n\n", elsewhere.url);
    let server = FakeServer::start(move |exchange| {
        let mut outlet = exchange.stream(&[]);
        let endpoint = endpoint.clone();
        tokio::spawn(async move {
            outlet.bytes(endpoint).await;
            std::future::pending::<()>().await;
        });
    })
    .await;
    let gateway = Gateway::configured(&server.url, "    transport: sse\n").await;
    let answer = Client::new(&gateway.url).post(&request(1, "initialize", json!({}))).await;
    assert_eq!(answer.status, 502);
    assert_eq!(error(&answer.json().await), (&json!(1), 1007));
    // Whatever had been sent would be here by now: the next request is the test's own.
    let mark = Client::new(&elsewhere.url);
    let marking = tokio::spawn(async move { mark.get().await.status });
    let first = elsewhere.asked().await;
    assert_eq!(first.method, "GET");
    first.raw(200, &[], "");
    assert_eq!(marking.await.unwrap(), 200);
}

#[tokio::test]
async fn a_session_of_http_sse_is_its_principals_alone() {
    let peer = Peer::start(Wire::Http).await;
    // The digests of the words foo and bar.
    let foo = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    let bar = "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9";
    let keys = format!("{{ name: a, sha256: {foo} }}, {{ name: b, sha256: {bar} }}");
    let gateway = Gateway::configured(&peer.url, &format!("auth: {{ keys: [{keys}] }}\n")).await;
    let client = Client::new(&gateway.url);
    let mine = client.clone().with("authorization", "Bearer foo");
    let (_events, endpoint) = open_stream(&mine).await;
    let (_, id) = endpoint.split_once("sessionId=").unwrap();
    assert_eq!(id.len(), 64, "256 bits in hexadecimal");
    let ping = request(1, "ping", json!({}));
    let other = client.clone().with("authorization", "Bearer bar");
    assert_eq!(other.at(&endpoint).post(&ping).await.status, 404);
    assert_eq!(client.clone().at(&endpoint).post(&ping).await.status, 401);
    let guessed = endpoint.replace(id, &"0".repeat(64));
    assert_eq!(mine.clone().at(&guessed).post(&ping).await.status, 404);
    assert_eq!(mine.at(&endpoint).post(&ping).await.status, 202);
}

#[tokio::test]
async fn a_websocket_is_refused_to_a_foreign_page_without_a_key_and_without_mcp() {
    let peer = Peer::start(Wire::Http).await;
    let foo = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    let auth = format!("auth: {{ keys: [{{ name: a, sha256: {foo} }}] }}\n");
    let gateway = Gateway::configured(&peer.url, &auth).await;
    let mine = ("authorization", "Bearer foo");
    for (headers, status) in [
        (vec![mine, ("origin", "https://evil.example")], 403),
        (vec![mine, ("origin", "null")], 403),
        (vec![mine, ("host", "evil.example")], 403),
        (vec![], 401),
        (vec![mine, ("sec-websocket-protocol", "chat")], 400),
        (vec![mine, ("sec-websocket-version", "8")], 400),
        (vec![mine, ("sec-websocket-key", "short")], 400),
    ] {
        match websocket(&gateway.url, &headers).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), status, "{headers:?}"),
            other => panic!("{headers:?}: {other:?}"),
        }
    }
    let local =
        [mine, ("origin", "http://localhost:3000"), ("sec-websocket-protocol", "chat, mcp")];
    assert!(websocket(&gateway.url, &local).await.is_ok());
}

#[tokio::test]
async fn a_websocket_is_closed_with_the_reason() {
    let peer = Peer::start(Wire::WebSocket).await;
    let gateway = Gateway::configured(&peer.url, "limits: { body: 100KiB }\n").await;
    let long = Message::text("x".repeat(200_000));
    for (message, code) in [
        (Some(long), CloseCode::Size),
        (Some(Message::Binary(vec![0].into())), CloseCode::Unsupported),
        (None, CloseCode::Away),
    ] {
        let mut socket = websocket(&gateway.url, &[]).await.unwrap();
        let told = match message {
            Some(message) => {
                let _ = socket.send(message).await;
                within("a close frame", socket.next()).await
            }
            None => {
                let closing = async { within("a close frame", socket.next()).await };
                let (told, _) = tokio::join!(closing, gateway.stop());
                assert!(
                    matches!(told, Some(Ok(Message::Close(Some(frame)))) if frame.code == code)
                );
                return;
            }
        };
        assert!(
            matches!(&told, Some(Ok(Message::Close(Some(frame)))) if frame.code == code),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_sends_a_binary_frame_is_at_an_end_and_its_client_told() {
    let peer = Peer::start(Wire::WebSocket).await;
    let gateway = Gateway::before(&peer.url).await;
    let mut client = Session::open(Wire::Http, &gateway.url).await;
    let answer = client.ask(&call(1, "binary", json!({}))).await;
    assert_eq!(error(&answer), (&json!(1), 1007));
}

#[tokio::test]
async fn a_claim_is_judged_on_transports_without_headers() {
    let peer = Peer::start(Wire::Http).await;
    let gateway = Gateway::before(&peer.url).await;
    for wire in [Wire::Sse, Wire::WebSocket] {
        let mut client = Session::connect(wire, &gateway.url).await;
        let mut asked = request(1, "tools/list", json!({}));
        asked["params"]["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
        assert_eq!(error(&client.ask(&asked).await), (&json!(1), -32602));
        let mut asked = tests::modern(request(2, "tools/list", json!({})));
        asked["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2027-01-01");
        assert_eq!(error(&client.ask(&asked).await), (&json!(2), -32022));
    }
}

#[tokio::test]
async fn a_stream_that_the_server_cuts_is_resumed_for_a_client_that_could_not() {
    let server = FakeServer::start(|exchange| {
        let message = exchange.message();
        let resumed = exchange.headers.get("last-event-id").is_some_and(|id| id == "1");
        let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "late"}]}});
        match (exchange.method.as_str(), message["method"].as_str()) {
            ("GET", _) if resumed => {
                let mut outlet = exchange.stream(&[]);
                tokio::spawn(async move { outlet.event(&answer).await });
            }
            ("POST", Some("initialize")) => exchange.result(json!({"protocolVersion": tests::LEGACY, "capabilities": {}, "serverInfo": {"name": "s", "version": "0"}})),
            ("POST", Some("tools/call")) => {
                let mut outlet = exchange.stream(&[]);
                tokio::spawn(async move { outlet.bytes("id: 1\nretry: 1\ndata:\n\n").await });
            }
            ("POST", _) => exchange.raw(202, &[], ""),
            _ => exchange.raw(405, &[], ""),
        }
    })
    .await;
    let gateway = Gateway::before(&server.url).await;
    for wire in [Wire::Sse, Wire::WebSocket] {
        let mut client = Session::open(wire, &gateway.url).await;
        let answer = client.ask(&call(1, "slow", json!({}))).await;
        assert_eq!(text(&answer), "late", "{wire:?}");
    }
}
