//! Bad input: a right answer for the one who sent it, and service for everyone else.

use serde_json::{Value, json};
use tests::{Client, FakeServer, Gateway, call, modern, request};

use crate::{assert_serves, echo, error};

/// Bodies that are refused: what they are called, the body, the status, the JSON-RPC code.
fn refused_bodies() -> Vec<(&'static str, Vec<u8>, u16, i64)> {
    let deep = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{{\"a\":{}1{}}}}}",
        "[".repeat(70),
        "]".repeat(70)
    );
    let bottomless = "[".repeat(1 << 20);
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("nothing", text(""), 400, -32700),
        ("truncated", text("{\"jsonrpc\":\"2.0\",\"id\":1,\"meth"), 400, -32700),
        ("two at once", text("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}{}"), 400, -32700),
        ("not JSON", text("<xml/>"), 400, -32700),
        (
            "invalid UTF-8",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\xff\"}".to_vec(),
            400,
            -32700,
        ),
        ("deeply nested", text(&deep), 400, -32600),
        ("bottomless", text(&bottomless), 400, -32600),
        ("no message", text("{\"hello\":1}"), 400, -32600),
        ("a string", text("\"hello\""), 400, -32600),
        ("wrong version", text("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}"), 400, -32600),
        ("id of null", text("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}"), 400, -32600),
        (
            "id of an object",
            text("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}"),
            400,
            -32600,
        ),
        (
            "two methods",
            text("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"method\":\"tools/call\"}"),
            400,
            -32600,
        ),
        (
            "two names",
            text(
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"a\",\"name\":\"b\"}}",
            ),
            400,
            -32600,
        ),
        (
            "an escaped second name",
            text(
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"a\",\"n\\u0061me\":\"b\"}}",
            ),
            400,
            -32600,
        ),
        ("an empty batch", text("[]"), 400, -32600),
    ]
}

#[tokio::test]
async fn bad_bodies_are_refused_and_never_reach_the_server() {
    let server =
        FakeServer::start(|exchange| match exchange.message()["params"]["name"].as_str() {
            Some("echo") => exchange.result(json!({"content": [{"text": "hello"}]})),
            _ => panic!("a bad body went upstream: {:?}", exchange.body),
        })
        .await;
    let gateway = Gateway::before(&server.url).await;
    for (name, body, status, code) in refused_bodies() {
        let answer = Client::new(&gateway.url).post_bytes(body).await;
        assert_eq!(answer.status, status, "{name}");
        assert_eq!(error(&answer.json().await).1, code, "{name}");
        assert_serves(&gateway).await;
    }
}

#[tokio::test]
async fn limits_are_told_by_their_status() {
    let server = echo().await;
    let gateway = Gateway::configured(&server.url, "limits:\n  body: 64KiB\n").await;
    let client = Client::new(&gateway.url);

    let large = call(1, "echo", json!({"message": "x".repeat(70_000)}));
    assert_eq!(client.post(&large).await.status, 413);
    assert_serves(&gateway).await;

    // Without a length: the limit holds while the body comes in.
    let head = String::from_utf8(client.as_bytes("POST", "")).unwrap();
    let head = head.replace("content-length: 0", "transfer-encoding: chunked\r\nconnection: close");
    let mut chunked = head.into_bytes();
    for _ in 0..80 {
        chunked.extend(b"400\r\n");
        chunked.extend([b' '; 1024]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let answer = client.raw(&chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_serves(&gateway).await;

    let many = "x".repeat(20_000);
    assert_eq!(
        client.clone().with("x-large", &many).post(&call(1, "echo", json!({}))).await.status,
        431
    );
    assert_serves(&gateway).await;

    // More than any server would keep in memory.
    let mut request = client.as_bytes("POST", "");
    request.truncate(request.len() - 2);
    for n in 0..2000 {
        request.extend(format!("x-{n}: {}\r\n", "y".repeat(500)).bytes());
    }
    request.extend(b"\r\n");
    let answer = client.raw(&request).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn other_media_are_refused() {
    let server = echo().await;
    let gateway = Gateway::before(&server.url).await;
    for media in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonp",
    ] {
        let client = Client::new(&gateway.url).with("content-type", media);
        assert_eq!(client.post(&call(1, "echo", json!({}))).await.status, 415, "{media}");
    }
    let client = Client::new(&gateway.url).with("content-type", "Application/JSON; charset=utf-8");
    assert_eq!(client.post(&call(1, "echo", json!({}))).await.status, 200);
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn pages_from_elsewhere_are_refused() {
    let server = echo().await;
    let gateway = Gateway::before(&server.url).await;
    let message = call(1, "echo", json!({}));
    let with = |name, value| Client::new(&gateway.url).with(name, value);
    for client in [
        with("host", "evil.example.com"),
        with("host", "evil.example.com:80"),
        with("host", "127.0.0.1.evil.example.com"),
        with("origin", "http://evil.example.com"),
        with("origin", "https://localhost.evil.example.com"),
        with("origin", "null"),
    ] {
        assert_eq!(client.post(&message).await.status, 403, "{client:?}");
        assert_eq!(client.get().await.status, 403, "{client:?}");
    }
    for origin in ["http://localhost", "http://127.0.0.1:6274", "http://[::1]:8080"] {
        assert_eq!(with("origin", origin).post(&message).await.status, 200, "{origin}");
    }
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn headers_must_say_what_the_body_says() {
    let server =
        FakeServer::start(|exchange| match exchange.message()["params"]["_meta"].is_object() {
            true => panic!("went upstream: {:?}", exchange.body),
            false => exchange.result(json!({"content": [{"text": "hello"}]})),
        })
        .await;
    let gateway = Gateway::before(&server.url).await;
    let message = modern(call(1, "echo", json!({})));
    let right = || Client::modern(&gateway.url, &message);
    for (name, client) in [
        ("another method", right().with("mcp-method", "tools/list")),
        ("upper case", right().with("mcp-method", "TOOLS/CALL")),
        ("another name", right().with("mcp-name", "other")),
        ("a name that is base64 of another", right().with("mcp-name", "=?base64?b3RoZXI=?=")),
        ("an older version", right().with("mcp-protocol-version", "2025-11-25")),
    ] {
        let answer = client.post(&message).await;
        assert_eq!(answer.status, 400, "{name}");
        assert_eq!(error(&answer.json().await), (&json!(1), -32020), "{name}");
        assert_serves(&gateway).await;
    }
    let unknown = {
        let mut unknown = message.clone();
        unknown["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
        unknown
    };
    let answer = Client::modern(&gateway.url, &unknown)
        .with("mcp-protocol-version", "2099-01-01")
        .post(&unknown)
        .await;
    assert_eq!(answer.status, 400);
    assert_eq!(error(&answer.json().await), (&json!(1), -32022));
}

#[tokio::test]
async fn the_name_may_be_written_in_base64() {
    let server = echo().await;
    let gateway = Gateway::before(&server.url).await;
    let message = modern(call(1, "echo", json!({"message": "hello"})));
    let client = Client::modern(&gateway.url, &message).with("mcp-name", "=?base64?ZWNobw==?=");
    assert_eq!(client.post(&message).await.status, 200);
}

#[tokio::test]
async fn unknown_methods_are_the_servers_business() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    for message in
        [request(1, "company/own", json!({})), modern(request(2, "company/own", json!({})))]
    {
        let client = match message["params"]["_meta"].is_object() {
            true => Client::modern(&gateway.url, &message),
            false => Client::new(&gateway.url),
        };
        let sent = message.clone();
        let asking = tokio::spawn(async move { client.post(&sent).await.json().await });
        let asked = server.asked().await;
        assert_eq!(asked.message(), message);
        asked.result(json!({"ours": true}));
        assert_eq!(asking.await.unwrap()["result"], json!({"ours": true}));
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let server = echo().await;
    let gateway = Gateway::before(&server.url).await;
    let elsewhere = gateway.url.replace("/mcp", "/elsewhere");
    assert_eq!(Client::new(&elsewhere).post(&call(1, "echo", json!({}))).await.status, 404);
    let client = Client::new(&gateway.url).with("connection", "close");
    for method in ["PUT", "PATCH", "OPTIONS"] {
        let answer = client.raw(&client.as_bytes(method, "")).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
    let answer = client.raw(b"\x16\x03\x01\x00\xee not HTTP at all\r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn batches_are_inspected_or_refused_but_never_passed_unseen() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    let batch = json!([call(1, "echo", json!({})), modern(call(2, "echo", json!({})))]);
    // A modern message in a batch: there are no batches on that revision.
    let answer = Client::new(&gateway.url).post(&batch).await;
    assert_eq!(answer.status, 400);
    assert_eq!(error(&answer.json().await).1, -32600);

    let client = Client::new(&gateway.url).with("mcp-protocol-version", "2025-03-26");
    let asking = tokio::spawn(async move {
        let batch: Vec<Value> = (1..=2).map(|id| call(id, "echo", json!({}))).collect();
        client.post(&Value::Array(batch)).await
    });
    // However it is sent on, whole or one by one, both must arrive or neither.
    let asked = server.asked().await;
    match asked.message() {
        Value::Array(all) => {
            assert_eq!(all.len(), 2);
            let answers: Vec<Value> =
                (1..=2).map(|id| json!({"jsonrpc": "2.0", "id": id, "result": {}})).collect();
            asked.json(&Value::Array(answers));
        }
        _ => {
            asked.result(json!({}));
            server.asked().await.result(json!({}));
        }
    }
    let mut ids: Vec<i64> = match asking.await.unwrap().json().await {
        Value::Array(answers) => {
            answers.iter().map(|answer| answer["id"].as_i64().unwrap()).collect()
        }
        answer => panic!("no batch: {answer}"),
    };
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
}
