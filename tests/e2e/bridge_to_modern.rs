//! A client with a session before a server of the stateless revision alone: what each of them sees.

use serde_json::{Value, json};
use tests::{
    Client, Events, Exchange, FakeServer, Gateway, LEGACY, MODERN, call, modern, request, within,
};

use crate::{error, metric};

const META: &str = "io.modelcontextprotocol/";

/// A gateway before a stateless server, and a client whose session has begun there.
async fn begun(capabilities: Value) -> (FakeServer, Gateway, Client) {
    let server = FakeServer::stateless().await;
    let gateway = Gateway::before(&server.url).await;
    let client = session(&gateway, LEGACY, capabilities).await.0;
    (server, gateway, client)
}

/// A client whose session has begun, and what its handshake was answered with.
pub(crate) async fn session(
    gateway: &Gateway,
    revision: &str,
    capabilities: Value,
) -> (Client, Value) {
    let client = Client::new(&gateway.url).with("mcp-protocol-version", revision);
    let params = json!({
        "protocolVersion": revision,
        "capabilities": capabilities,
        "clientInfo": {"name": "tester", "version": "3"},
    });
    let answer = client.post(&request(0, "initialize", params)).await;
    assert_eq!(answer.status, 200);
    let client = client.with("mcp-session-id", answer.header("mcp-session-id"));
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(client.post(&initialized).await.status, 202);
    (client, answer.json().await["result"].take())
}

/// Posts while the server's side of it goes on.
pub(crate) fn post(client: &Client, message: Value) -> tokio::task::JoinHandle<tests::Response> {
    let client = client.clone();
    tokio::spawn(async move { client.post(&message).await })
}

/// Answers the listing of tools that precedes the first call of one.
pub(crate) async fn lists_tools(server: &mut FakeServer, tools: Value) {
    let asked = server.asked().await;
    assert_eq!(asked.message()["method"], "tools/list");
    asked.result(
        json!({"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private"}),
    );
}

fn input_required(exchange: Exchange, requests: Value) {
    let result = json!({"resultType": "input_required", "inputRequests": requests, "requestState": "s/\u{e9}"});
    exchange.result(result);
}

async fn next(events: &mut Events) -> Value {
    events.next().await.unwrap().message()
}

#[tokio::test]
async fn the_handshake_is_the_gateways_and_each_request_tells_of_the_client() {
    let mut server = FakeServer::stateless().await;
    let gateway = Gateway::before(&server.url).await;
    let capabilities = json!({"roots": {"listChanged": true}, "tasks": {}});
    let (client, answer) = session(&gateway, "2025-06-18", capabilities).await;
    assert_eq!(answer["protocolVersion"], "2025-06-18");
    assert_eq!(answer["serverInfo"], json!({"name": "fake", "version": "1"}));
    assert_eq!(answer["instructions"], "Be brief.");
    let offered =
        json!({"tools": {"listChanged": true}, "resources": {"subscribe": true}, "logging": {}});
    assert_eq!(answer["capabilities"], offered);
    assert_eq!(client.post(&request(1, "ping", json!({}))).await.json().await["result"], json!({}));

    let level = request(2, "logging/setLevel", json!({"level": "warning"}));
    assert_eq!(client.post(&level).await.json().await["result"], json!({}));
    let waiting = post(&client, request("l", "tools/list", json!({"_meta": {"progressToken": 9}})));
    let asked = server.asked().await;
    let header = |name| asked.headers[name].to_str().unwrap();
    assert_eq!((header("mcp-protocol-version"), header("mcp-method")), (MODERN, "tools/list"));
    assert!(!asked.headers.contains_key("mcp-session-id"));
    let meta = asked.message()["params"]["_meta"].take();
    assert_eq!(meta["progressToken"], 9);
    assert_eq!(meta[format!("{META}clientInfo")], json!({"name": "tester", "version": "3"}));
    assert_eq!(meta[format!("{META}clientCapabilities")], json!({"roots": {"listChanged": true}}));
    assert_eq!(meta[format!("{META}logLevel")], "warning");
    asked
        .result(json!({"resultType": "complete", "tools": [], "ttlMs": 5, "cacheScope": "public"}));
    let listed = waiting.await.unwrap().json().await;
    assert_eq!((&listed["id"], &listed["result"]), (&json!("l"), &json!({"tools": []})));
    let level = request(3, "logging/setLevel", json!({"level": "loud"}));
    assert_eq!(error(&client.post(&level).await.json().await).1, -32602);
}

#[tokio::test]
async fn arguments_are_repeated_in_headers_and_a_changed_tool_is_looked_up_again() {
    let (mut server, _gateway, client) = begun(json!({})).await;
    let tool = |header: &str| {
        json!([{"name": "t", "inputSchema": {"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": header},
        }}}])
    };
    let waiting = post(&client, call(1, "t", json!({"region": "s\u{fc}d"})));
    lists_tools(&mut server, tool("Old")).await;
    let asked = server.asked().await;
    assert_eq!(asked.headers["mcp-name"], "t");
    assert_eq!(asked.headers["mcp-param-old"], "=?base64?c8O8ZA==?=");
    let differs =
        json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32020, "message": "differs"}});
    asked.raw(400, &[("content-type", "application/json")], differs.to_string());
    lists_tools(&mut server, tool("New")).await;
    let asked = server.asked().await;
    assert!(
        asked.headers.contains_key("mcp-param-new") && !asked.headers.contains_key("mcp-param-old")
    );
    asked.result(json!({"resultType": "complete", "content": []}));
    assert_eq!(waiting.await.unwrap().json().await["result"], json!({"content": []}));
}

#[tokio::test]
async fn a_server_asks_the_user_in_the_middle_of_a_call() {
    let (mut server, _gateway, client) = begun(json!({"elicitation": {}, "sampling": {}})).await;
    let waiting = post(&client, call(7, "t", json!({"a": 1})));
    lists_tools(&mut server, json!([])).await;
    let form = json!({"mode": "form", "message": "Who?", "requestedSchema": {"type": "object", "properties": {}}});
    let requests = json!({
        "who": {"method": "elicitation/create", "params": form},
        "say": {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 5}},
    });
    input_required(server.asked().await, requests);
    let mut events = waiting.await.unwrap().events();
    let (who, say) = (next(&mut events).await, next(&mut events).await);
    assert_eq!((&who["method"], &who["params"]), (&json!("elicitation/create"), &form));
    assert_eq!(say["method"], "sampling/createMessage");
    let answer = |id: &Value, result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
    let sampled =
        json!({"role": "assistant", "content": {"type": "text", "text": "hi"}, "model": "m"});
    assert_eq!(client.post(&answer(&say["id"], sampled.clone())).await.status, 202);
    let named = json!({"action": "accept", "content": {"name": "Ada"}});
    assert_eq!(client.post(&answer(&who["id"], named.clone())).await.status, 202);

    let again = server.asked().await;
    let message = again.message();
    assert_ne!(message["id"], 7);
    assert_eq!(message["params"]["arguments"], json!({"a": 1}));
    assert_eq!(message["params"]["inputResponses"], json!({"who": named, "say": sampled}));
    assert_eq!(message["params"]["requestState"], "s/\u{e9}");
    again.result(json!({"resultType": "complete", "content": []}));
    let done = next(&mut events).await;
    assert_eq!((&done["id"], &done["result"]), (&json!(7), &json!({"content": []})));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_client_is_not_asked_what_it_cannot_do_and_none_without_end() {
    let (mut server, _gateway, client) = begun(json!({"roots": {}})).await;
    let waiting = post(&client, call(1, "t", json!({})));
    lists_tools(&mut server, json!([])).await;
    input_required(
        server.asked().await,
        json!({"k": {"method": "sampling/createMessage", "params": {}}}),
    );
    let told = waiting.await.unwrap().json().await;
    assert_eq!(told["result"]["isError"], true, "{told}");

    let waiting = post(&client, request(2, "prompts/get", json!({"name": "p"})));
    input_required(
        server.asked().await,
        json!({"k": {"method": "elicitation/create", "params": {}}}),
    );
    assert_eq!(error(&waiting.await.unwrap().json().await).1, 1030);

    // A state alone asks nobody, but one may not go on for ever with it.
    let waiting = post(&client, call(3, "t", json!({})));
    for _ in 0..9 {
        input_required(server.asked().await, json!({}));
    }
    assert_eq!(waiting.await.unwrap().json().await["result"]["isError"], true);
}

#[tokio::test]
async fn what_a_session_is_subscribed_to_comes_on_its_own_stream() {
    let (mut server, _gateway, client) = begun(json!({})).await;
    let mut events = client.get().await.events();
    let listens = server.asked().await;
    let filter = |exchange: &Exchange| exchange.message()["params"]["notifications"].take();
    let acknowledged = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {}});
    assert_eq!(filter(&listens), json!({"toolsListChanged": true}));
    let mut first = listens.stream(&[]);
    assert!(first.event(&acknowledged).await);

    let waiting = post(&client, request(1, "resources/subscribe", json!({"uri": "x://y"})));
    let listens = server.asked().await;
    assert_eq!(
        filter(&listens),
        json!({"toolsListChanged": true, "resourceSubscriptions": ["x://y"]})
    );
    let subscription =
        json!({"_meta": {"io.modelcontextprotocol/subscriptionId": listens.message()["id"]}});
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": subscription});
    let mut second = listens.stream(&[]);
    // Until the new one is acknowledged the old one counts.
    assert!(first.event(&changed).await);
    let bare = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    assert_eq!(next(&mut events).await, bare);
    assert!(second.event(&acknowledged).await);
    assert_eq!(waiting.await.unwrap().json().await["result"], json!({}));
    let mut updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": subscription});
    updated["params"]["uri"] = "x://y".into();
    assert!(second.event(&updated).await);
    assert_eq!(next(&mut events).await["params"], json!({"uri": "x://y"}));

    assert_eq!(client.delete().await.status, 204);
    assert!(events.next().await.is_none());
    assert_eq!(client.post(&request(2, "ping", json!({}))).await.status, 404);
}

#[tokio::test]
async fn a_cancelled_call_ends_at_the_server() {
    let (mut server, _gateway, client) = begun(json!({})).await;
    let waiting = post(&client, request("c", "prompts/list", json!({})));
    let asked = server.asked().await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "c"}});
    assert_eq!(client.post(&cancel).await.status, 202);
    within("the end of the request", asked.hang()).await;
    assert_eq!(error(&waiting.await.unwrap().json().await).1, 1031);
}

#[tokio::test]
async fn a_client_that_leaves_has_not_cancelled() {
    let (mut server, gateway, client) = begun(json!({})).await;
    let waiting = post(&client, request(1, "prompts/list", json!({})));
    let asked = server.asked().await;
    let mut outlet = asked.stream(&[]);
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}});
    assert!(outlet.event(&progress).await);
    let mut events = waiting.await.unwrap().events();
    assert_eq!(next(&mut events).await, progress);
    drop(events);
    within("the end of the client's request", async {
        while metric(&gateway, "wiregate_open_streams").await > 0.0 {}
    })
    .await;
    // More than any buffer between us holds: it is still read to its end.
    let padding = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"padding": "x".repeat(100_000)}});
    for _ in 0..100 {
        assert!(outlet.event(&padding).await);
    }
}

#[tokio::test]
async fn errors_have_the_codes_of_the_clients_revision() {
    let (mut server, gateway, client) = begun(json!({})).await;
    let waiting = post(&client, request(1, "resources/read", json!({"uri": "x://none"})));
    let asked = server.asked().await;
    assert_eq!(asked.headers["mcp-name"], "x://none");
    let missing = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "no such resource"}});
    asked.raw(400, &[("content-type", "application/json")], missing.to_string());
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(error(&answer.json().await).1, -32002);
    for method in ["tasks/list", "tasks/get", "server/discover", "subscriptions/listen"] {
        assert_eq!(
            error(&client.post(&request(2, method, json!({}))).await.json().await).1,
            -32601
        );
    }
    let stranger = Client::new(&gateway.url).with("mcp-session-id", "made-up");
    assert_eq!(stranger.post(&request(3, "tools/list", json!({}))).await.status, 404);
    let none = Client::new(&gateway.url);
    assert_eq!(none.post(&request(3, "tools/list", json!({}))).await.status, 400);
}

#[tokio::test]
async fn a_server_with_a_handshake_is_left_alone() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    let client = Client::new(&gateway.url);
    let body = r#"{"jsonrpc" : "2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.post_bytes(body).await }
    });
    let asked = server.asked().await;
    assert_eq!(asked.body, body);
    asked.result(json!({"protocolVersion": LEGACY, "capabilities": {}, "resultType": "complete"}));
    let answer = waiting.await.unwrap().json().await;
    assert_eq!(answer["result"]["resultType"], "complete");
}

#[tokio::test]
async fn a_server_is_asked_once_what_it_speaks_before_it_gets_any_work() {
    let mut server = FakeServer::undisclosed().await;
    let gateway = Gateway::before(&server.url).await;
    let calls = ["a", "b"].map(|id| modern(call(id, "t", json!({}))));
    let waiting = calls.clone().map(|call| post(&Client::modern(&gateway.url, &call), call));
    let probe = server.asked().await;
    assert_eq!(probe.message()["method"], "server/discover");
    assert_eq!(probe.headers["mcp-method"], "server/discover");
    let meta = &probe.message()["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "wiregate");
    probe.result(json!({"resultType": "complete", "supportedVersions": [MODERN]}));
    for _ in 0..2 {
        let asked = server.asked().await;
        assert!(calls.contains(&asked.message()), "{}", asked.message());
        asked.result(json!({"resultType": "complete", "content": []}));
    }
    for answer in waiting {
        assert_eq!(answer.await.unwrap().status, 200);
    }

    // It is another server now, which has no idea of all this.
    let waiting = post(&Client::modern(&gateway.url, &calls[0]), calls[0].clone());
    let strange =
        json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "no session"}});
    let kind = [("content-type", "application/json")];
    server.asked().await.raw(400, &kind, strange.to_string());
    let probe = server.asked().await;
    assert_eq!(probe.message()["method"], "server/discover");
    probe.raw(400, &kind, strange.to_string());
    gateway.logged("the server speaks another era than before").await;
    let change = r#"wiregate_era_changes_total{server="upstream",to="legacy"}"#;
    assert!((metric(&gateway, change).await - 1.0).abs() < f64::EPSILON);
    drop((server, waiting));
}
