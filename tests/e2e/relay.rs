//! What is right passes, byte for byte and event by event.

use serde_json::json;
use tests::{Client, FakeServer, Gateway, MODERN, call, in_session, modern};

use crate::{assert_serves, echo, rows};

#[tokio::test]
async fn an_answer_passes_byte_for_byte() {
    // Spaces, an escape and a number that no JSON library would write back the same.
    let answer = "{ \"jsonrpc\":\"2.0\", \"result\":{\"content\":[{\"type\":\"text\",\"text\":\"caf\\u00e9\"}],\"n\":1.50e0},\"id\":1 }";
    let server = FakeServer::start(move |exchange| {
        exchange.raw(200, &[("content-type", "application/json")], answer);
    })
    .await;
    let gateway = Gateway::before(&server.url).await;

    let through = Client::new(&gateway.url).post(&call(1, "echo", json!({}))).await;
    assert_eq!((through.status, through.header("content-type")), (200, "application/json"));
    assert_eq!(through.bytes().await, answer);
}

#[tokio::test]
async fn a_request_passes_byte_for_byte() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    let body = "{\"id\" : \"a\\u002fb\",\"jsonrpc\":\"2.0\",\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"n\":1.0}}}";

    let client = Client::new(&gateway.url);
    let asking = tokio::spawn(async move { client.post_bytes(body).await.json().await });
    let asked = server.asked().await;
    assert_eq!(asked.body, body);
    asked.result(json!({"content": []}));
    assert_eq!(asking.await.unwrap()["id"], "a/b");
}

#[tokio::test]
async fn events_pass_one_by_one() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    let client = Client::new(&gateway.url);
    let asking = tokio::spawn(async move { client.post(&call(7, "slow", json!({}))).await });

    let mut outlet = server.asked().await.stream(&[]);
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}});
    assert!(outlet.event(&progress).await);
    let answer = asking.await.unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
    let mut events = answer.events();
    assert_eq!(events.next().await.unwrap().message(), progress);

    // Only now is there a second one: had the gateway waited for it, the first would not have come.
    let result = json!({"jsonrpc": "2.0", "id": 7, "result": {"content": []}});
    assert!(outlet.event(&result).await);
    assert_eq!(events.next().await.unwrap().message(), result);
    drop(outlet);
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn ids_and_retry_of_events_pass() {
    let server = FakeServer::start(|exchange| {
        let id = exchange.message()["id"].clone();
        let body = format!(
            "id: 1/0\nretry: 500\ndata:\n\nid: 1/1\ndata: {}\n\n",
            json!({"jsonrpc": "2.0", "id": id, "result": {}})
        );
        exchange.raw(200, &[("content-type", "text/event-stream")], body);
    })
    .await;
    let gateway = Gateway::before(&server.url).await;
    let mut events = Client::new(&gateway.url).post(&call(1, "echo", json!({}))).await.events();
    let priming = events.next().await.unwrap();
    assert_eq!((priming.id.as_deref(), priming.data.as_str()), (Some("1/0"), ""));
    assert_eq!(events.next().await.unwrap().id.as_deref(), Some("1/1"));
}

#[tokio::test]
async fn a_notification_is_accepted() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    let client = Client::new(&gateway.url);
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let sent = notification.clone();
    let telling = tokio::spawn(async move { client.post(&sent).await });

    let asked = server.asked().await;
    assert_eq!(asked.message(), notification);
    asked.raw(202, &[], "");
    let answer = telling.await.unwrap();
    assert_eq!(answer.status, 202);
    assert!(answer.bytes().await.is_empty());
}

#[tokio::test]
async fn a_session_passes_both_ways() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    let client = Client::new(&gateway.url);
    let client = in_session(&client, &mut server, "the-session").await;

    // The stream of unsolicited messages, in that session.
    let listening = {
        let client = client.clone();
        tokio::spawn(async move { client.get().await })
    };
    let asked = server.asked().await;
    assert_eq!(
        (asked.method.as_str(), asked.headers["mcp-session-id"].to_str().unwrap()),
        ("GET", "the-session")
    );
    let mut outlet = asked.stream(&[]);
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    assert!(outlet.event(&changed).await);
    let listened = listening.await.unwrap();
    assert_eq!(listened.status, 200);
    assert_eq!(listened.events().next().await.unwrap().message(), changed);

    // Its end.
    let closing = tokio::spawn(async move { client.delete().await });
    let asked = server.asked().await;
    assert_eq!(
        (asked.method.as_str(), asked.headers["mcp-session-id"].to_str().unwrap()),
        ("DELETE", "the-session")
    );
    asked.raw(204, &[], "");
    assert!((200..300).contains(&closing.await.unwrap().status));
}

#[tokio::test]
async fn the_servers_refusals_pass() {
    for status in [400, 404, 405] {
        let server = FakeServer::start(move |exchange| {
            let error = json!({"jsonrpc": "2.0", "id": exchange.message()["id"], "error": {"code": -32000, "message": "no"}});
            exchange.raw(status, &[("content-type", "application/json")], error.to_string());
        })
        .await;
        let gateway = Gateway::before(&server.url).await;
        let answer = Client::new(&gateway.url).post(&call(1, "echo", json!({}))).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.json().await["error"]["code"], -32000);
    }
}

#[tokio::test]
async fn no_credentials_of_the_client_reach_the_server() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    let client = Client::new(&gateway.url)
        .with("authorization", "Bearer the-clients-own")
        .with("cookie", "a=b")
        .with("x-forwarded-for", "10.0.0.1");
    let asking = tokio::spawn(async move { client.post(&call(1, "echo", json!({}))).await.status });
    let asked = server.asked().await;
    for name in ["authorization", "cookie", "x-forwarded-for"] {
        assert!(!asked.headers.contains_key(name), "{name} went upstream");
    }
    asked.result(json!({}));
    assert_eq!(asking.await.unwrap(), 200);
}

#[tokio::test]
async fn the_stateless_revision_passes_with_its_headers() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    let message = modern(call(1, "echo", json!({"message": "x"})));
    let client = Client::modern(&gateway.url, &message)
        .with("mcp-param-region", "eu")
        .with("mcp-session-id", "stale");
    let asking = tokio::spawn(async move { client.post(&message).await });
    let asked = server.asked().await;
    for (name, value) in [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
        ("mcp-param-region", "eu"),
    ] {
        assert_eq!(asked.headers[name], value);
    }
    // This revision has no sessions, whoever may say so.
    assert!(!asked.headers.contains_key("mcp-session-id"));
    let result =
        json!({"jsonrpc": "2.0", "id": 1, "result": {"resultType": "complete", "content": []}});
    let headers = [("content-type", "application/json"), ("mcp-session-id", "minted")];
    asked.raw(200, &headers, result.to_string());
    let answer = asking.await.unwrap();
    assert_eq!((answer.status, answer.header("mcp-session-id")), (200, ""));
}

#[tokio::test]
async fn a_client_that_leaves_is_told_to_the_server() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    let message = modern(call(1, "slow", json!({})));
    let client = Client::modern(&gateway.url, &message);
    let asking = tokio::spawn(async move { client.post(&message).await });
    let asked = server.asked().await;
    asking.abort();
    // On the stateless revision a closed connection is the cancellation.
    tests::within("the server to see it", asked.hang()).await;
    let echo = echo().await;
    assert_serves(&Gateway::before(&echo.url).await).await;
    let capture = gateway.capture.clone();
    let _dir = gateway.stop().await;
    let rows = rows(&capture);
    let left = rows.iter().find(|r| r.deny_reason.as_deref() == Some("client_gone")).unwrap();
    assert_eq!(
        (left.kind.as_deref(), &left.exchange_id),
        (Some("transport"), &rows[0].exchange_id)
    );
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_is_recorded_and_one_that_stays_is_not() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    let alive = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}});
    for stays in [false, true] {
        let client = Client::new(&gateway.url);
        let asking = tokio::spawn(async move { client.post(&call(1, "slow", json!({}))).await });
        let mut outlet = server.asked().await.stream(&[]);
        assert!(outlet.event(&alive).await);
        let mut events = asking.await.unwrap().events();
        events.next().await.unwrap();
        if stays {
            outlet.event(&json!({"jsonrpc": "2.0", "id": 1, "result": {}})).await;
            drop(outlet);
            while events.next().await.is_some() {}
        } else {
            drop(events);
            // The server notices once it writes and nobody takes it.
            let noticed = async { while outlet.event(&alive).await {} };
            tests::within("the server to see it", noticed).await;
        }
    }
    let capture = gateway.capture.clone();
    let _dir = gateway.stop().await;
    let rows = rows(&capture);
    let left = rows.iter().filter(|r| r.deny_reason.as_deref() == Some("client_gone"));
    assert_eq!(left.map(|r| &r.exchange_id).collect::<Vec<_>>(), [&rows[0].exchange_id]);
}
