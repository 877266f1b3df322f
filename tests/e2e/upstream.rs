//! Bad servers and bad connections: the client gets a JSON-RPC error with its own id, and nobody else notices.

use serde_json::json;
use tests::{Client, FakeServer, Gateway, call, within};

use crate::{assert_serves, error};

/// Answers `echo` as asked, and anything else with `bad`.
async fn echo_or(bad: impl Fn(tests::Exchange) + Send + Sync + 'static) -> FakeServer {
    FakeServer::start(move |exchange| match exchange.message()["params"]["name"].as_str() {
        Some("echo") => exchange.result(json!({"content": [{"text": "hello"}]})),
        _ => bad(exchange),
    })
    .await
}

#[tokio::test]
async fn a_dead_server_is_a_502() {
    let url = FakeServer::start(|_| {}).await.url.clone();
    let gateway = Gateway::before(&url).await;
    let answer = Client::new(&gateway.url).post(&call("mine", "echo", json!({}))).await;
    assert_eq!(answer.status, 502);
    assert_eq!(error(&answer.json().await).0, "mine");
}

#[tokio::test]
async fn an_upstream_failure_is_never_an_empty_list() {
    let url = FakeServer::start(|_| {}).await.url.clone();
    let gateway = Gateway::before(&url).await;
    let answer = Client::new(&gateway.url).post(&tests::request(1, "tools/list", json!({}))).await;
    assert!(answer.json().await["result"].is_null());
}

#[tokio::test]
async fn rubbish_in_an_answer_is_a_502() {
    type Rubbish = (&'static str, u16, &'static str, &'static [u8]);
    let table: [Rubbish; 6] = [
        ("not JSON", 200, "application/json", b"<html>"),
        ("truncated", 200, "application/json", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"res"),
        (
            "invalid UTF-8",
            200,
            "application/json",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}",
        ),
        ("no message", 200, "application/json", b"{\"hello\":1}"),
        ("a page", 200, "text/html", b"<html>"),
        ("nothing", 200, "application/json", b""),
    ];
    for (name, status, media, body) in table {
        let server =
            echo_or(move |exchange| exchange.raw(status, &[("content-type", media)], body)).await;
        let gateway = Gateway::before(&server.url).await;
        let answer = Client::new(&gateway.url).post(&call(1, "bad", json!({}))).await;
        assert_eq!(answer.status, 502, "{name}");
        assert_eq!(error(&answer.json().await).0, &json!(1), "{name}");
        assert_serves(&gateway).await;
    }
}

#[tokio::test]
async fn rubbish_instead_of_http_is_a_502() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"jsonrpc\"",
    ] {
        let server = FakeServer::of_bytes(bytes).await;
        let gateway = Gateway::before(&server.url).await;
        let answer = Client::new(&gateway.url).post(&call(1, "echo", json!({}))).await;
        assert_eq!(answer.status, 502, "{bytes:?}");
        assert_eq!(error(&answer.json().await).0, &json!(1));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_is_a_502() {
    let server = echo_or(drop).await;
    let gateway = Gateway::before(&server.url).await;
    let answer = Client::new(&gateway.url).post(&call(1, "bad", json!({}))).await;
    assert_eq!(answer.status, 502);
    assert_eq!(error(&answer.json().await).0, &json!(1));
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn an_answer_without_end_is_cut() {
    let server = echo_or(|exchange| {
        let mut outlet = exchange.stream(&[]);
        tokio::spawn(async move { while outlet.bytes(vec![b'x'; 65536]).await {} });
    })
    .await;
    let gateway = Gateway::configured(&server.url, "limits:\n  sse_event: 256KiB\n").await;
    let mut events = Client::new(&gateway.url).post(&call(1, "bad", json!({}))).await.events();
    // An error for the request, or the end; never the event.
    match events.next().await {
        None => {}
        Some(event) => assert_eq!(error(&event.message()).0, &json!(1)),
    }
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn rubbish_within_a_stream_does_not_reach_the_client() {
    let server = echo_or(|exchange| {
        let mut outlet = exchange.stream(&[]);
        tokio::spawn(
            async move { outlet.bytes("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"res\n\n").await },
        );
    })
    .await;
    let gateway = Gateway::before(&server.url).await;
    let mut events = Client::new(&gateway.url).post(&call(1, "bad", json!({}))).await.events();
    match events.next().await {
        None => {}
        Some(event) => assert_eq!(error(&event.message()).0, &json!(1)),
    }
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_a_504() {
    let server = echo_or(|exchange| {
        tokio::spawn(exchange.hang());
    })
    .await;
    let gateway = Gateway::configured(&server.url, "timeouts:\n  first_byte: 200ms\n").await;
    let answer = Client::new(&gateway.url).post(&call("mine", "bad", json!({}))).await;
    assert_eq!(answer.status, 504);
    assert_eq!(error(&answer.json().await).0, "mine");
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn a_stream_that_falls_silent_ends() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::configured(&server.url, "timeouts:\n  idle: 300ms\n").await;
    let client = Client::new(&gateway.url);
    let asking = tokio::spawn(async move { client.post(&call(1, "slow", json!({}))).await });
    let mut outlet = server.asked().await.stream(&[]);
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}});
    assert!(outlet.event(&progress).await);
    let mut events = asking.await.unwrap().events();
    assert_eq!(events.next().await.unwrap().message(), progress);
    // The outlet is open and silent.
    match events.next().await {
        None => {}
        Some(event) => assert_eq!(error(&event.message()).0, &json!(1)),
    }
    drop(outlet);
}

#[tokio::test]
async fn a_client_that_stops_reading_holds_up_nobody() {
    let (over, mut ended) = tokio::sync::mpsc::channel(1);
    let server = echo_or(move |exchange| {
        let mut outlet = exchange.stream(&[]);
        let over = over.clone();
        tokio::spawn(async move {
            let data = "x".repeat(60_000);
            let params = json!({"level": "info", "data": data});
            let log =
                json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params});
            while outlet.event(&log).await {}
            over.send(()).await
        });
    })
    .await;
    let gateway = Gateway::configured(&server.url, "timeouts:\n  write: 300ms\n").await;
    let client = Client::new(&gateway.url);
    let bytes = client.as_bytes("POST", &call(1, "flood", json!({})).to_string());
    let deaf = client.raw_open(&bytes).await;
    for _ in 0..3 {
        assert_serves(&gateway).await;
    }
    // The gateway gives up on it, and on the stream from the server, while the client is still there.
    within("the server's stream to end", ended.recv()).await;
    drop(deaf);
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn a_client_that_sends_half_a_request_holds_up_nobody() {
    let server = echo_or(drop).await;
    let gateway =
        Gateway::configured(&server.url, "timeouts:\n  header_read: 300ms\n  body_read: 300ms\n")
            .await;
    let client = Client::new(&gateway.url);
    let whole = client.as_bytes("POST", &call(1, "echo", json!({})).to_string());
    for half in [&whole[..20], &whole[..whole.len() - 5]] {
        let answer = within("the gateway to lose patience", client.raw(half)).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert_serves(&gateway).await;
    }
}

#[tokio::test]
async fn connections_to_a_server_are_kept_and_used_again() {
    let server = crate::echo().await;
    let gateway = Gateway::before(&server.url).await;
    for _ in 0..5 {
        assert_serves(&gateway).await;
    }
    assert_eq!(server.connections.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_stream_that_ends_without_the_answer_is_an_error_and_events_of_other_names_do_not_pass() {
    let server = echo_or(|exchange| {
        let answer = json!({"jsonrpc": "2.0", "id": exchange.message()["id"], "result": {}});
        let body = format!("event: elsewhere\ndata: {answer}\n\n");
        exchange.raw(200, &[("content-type", "text/event-stream")], body);
    })
    .await;
    let gateway = Gateway::before(&server.url).await;
    let mut events = Client::new(&gateway.url).post(&call(1, "bad", json!({}))).await.events();
    let answer = events.next().await.unwrap().message();
    assert_eq!(error(&answer), (&json!(1), 1007));
    assert_eq!(events.next().await, None);
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn a_stream_has_a_total_time_and_its_events_a_size() {
    for (yaml, code) in
        [("timeouts: { total: 300ms }\n", 1006), ("limits: { sse_event: 1KiB }\n", 1007)]
    {
        let mut server = FakeServer::by_hand().await;
        let gateway = Gateway::configured(&server.url, yaml).await;
        let client = Client::new(&gateway.url);
        let asking = tokio::spawn(async move { client.post(&call(1, "slow", json!({}))).await });
        let mut outlet = server.asked().await.stream(&[]);
        assert!(outlet.bytes(": alive\n\n").await);
        assert!(outlet.bytes(format!("data: {}", "x".repeat(2000))).await);
        let mut events = asking.await.unwrap().events();
        let answer = events.next().await.unwrap().message();
        assert_eq!(error(&answer), (&json!(1), code), "{yaml}");
    }
}

#[tokio::test]
async fn a_reply_that_is_not_the_answer_is_a_502() {
    for reply in [
        json!({"jsonrpc": "2.0", "id": 99, "result": {}}),
        json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}),
    ] {
        let answer = reply.clone();
        let server = echo_or(move |exchange| exchange.json(&answer)).await;
        let gateway = Gateway::before(&server.url).await;
        let answer = Client::new(&gateway.url).post(&call(1, "bad", json!({}))).await;
        assert_eq!(answer.status, 502, "{reply}");
        assert_eq!(error(&answer.json().await), (&json!(1), 1007));
        assert_serves(&gateway).await;
    }
}

#[tokio::test]
async fn one_bad_item_does_not_cost_the_rest_of_a_batch() {
    let server = echo_or(|exchange| {
        let id = exchange.message()["id"].clone();
        exchange.json(&json!([5, {"jsonrpc": "2.0", "id": id, "result": {"ok": true}}]));
    })
    .await;
    let gateway = Gateway::before(&server.url).await;
    let answer = Client::new(&gateway.url).post(&call(1, "bad", json!({}))).await.json().await;
    assert_eq!(answer[0]["result"]["ok"], true);
}
