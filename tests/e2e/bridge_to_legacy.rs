//! A client of the stateless revision before a server that has sessions alone: what each of them sees.

use serde_json::{Value, json};
use tests::{
    Client, Exchange, FakeServer, Gateway, LEGACY, Response, call, modern, request, within,
};
use tokio::task::JoinHandle;

const META: &str = "io.modelcontextprotocol/";
const SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// A server whose handshakes are answered, and whose other requests the test takes one by one.
pub(crate) struct Legacy {
    server: FakeServer,
    /// The handshakes so far: the n-th began the session `s<n>`.
    handshakes: Vec<Value>,
}

impl Legacy {
    pub(crate) async fn start() -> Self {
        Self { server: FakeServer::by_hand().await, handshakes: Vec::new() }
    }

    pub(crate) async fn gateway(&self, yaml: &str) -> Gateway {
        Gateway::configured(&self.server.url, &format!("    era: legacy\n{yaml}")).await
    }

    /// The next request that is no handshake.
    pub(crate) async fn asked(&mut self) -> Exchange {
        loop {
            let exchange = self.server.asked().await;
            let message = exchange.message();
            match message["method"].as_str() {
                Some("initialize") => {
                    self.handshakes.push(message["params"].clone());
                    let session = format!("s{}", self.handshakes.len());
                    let result = json!({
                        "protocolVersion": LEGACY,
                        "capabilities": {
                            "tools": {"listChanged": true}, "resources": {"subscribe": true},
                            "logging": {}, "tasks": {},
                        },
                        "serverInfo": {"name": "old", "version": "1"},
                        "instructions": "Be brief.",
                    });
                    let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
                    let headers =
                        [("content-type", "application/json"), ("mcp-session-id", &*session)];
                    exchange.raw(200, &headers, answer.to_string());
                }
                Some("notifications/initialized") => exchange.raw(202, &[], ""),
                _ => return exchange,
            }
        }
    }

    /// The next request, which must be of this method.
    pub(crate) async fn asked_for(&mut self, method: &str) -> Exchange {
        let exchange = self.asked().await;
        assert_eq!(exchange.message()["method"], method, "{}", exchange.message());
        exchange
    }
}

fn header<'a>(exchange: &'a Exchange, name: &str) -> &'a str {
    exchange.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// The request in its envelope, of a client that can do this.
pub(crate) fn able(request: Value, capabilities: Value) -> Value {
    let mut request = modern(request);
    request["params"]["_meta"][format!("{META}clientCapabilities")] = capabilities;
    request
}

/// Posts while the server's side of it goes on.
pub(crate) fn post(gateway: &Gateway, message: &Value) -> JoinHandle<Response> {
    post_as(gateway, message, None)
}

fn post_as(gateway: &Gateway, message: &Value, key: Option<&str>) -> JoinHandle<Response> {
    let mut client = Client::modern(&gateway.url, message);
    if let Some(key) = key {
        client = client.with("authorization", &format!("Bearer {key}"));
    }
    let message = message.clone();
    tokio::spawn(async move { client.post(&message).await })
}

pub(crate) async fn answer(posted: JoinHandle<Response>) -> Value {
    within("an answer", posted).await.unwrap().json().await
}

pub(crate) fn form() -> Value {
    json!({"elicitation": {"form": {}}})
}

pub(crate) fn elicits(id: impl Into<Value>) -> Value {
    request(
        id,
        "elicitation/create",
        json!({"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}),
    )
}

/// The same request again, with the answer to what its result asked for.
pub(crate) fn retry(mut request: Value, id: Value, asked: &Value, answer: Value) -> Value {
    let requests = asked["result"]["inputRequests"].as_object().unwrap();
    let key = requests.keys().next().unwrap();
    request["id"] = id;
    request["params"]["inputResponses"] = json!({key: answer});
    request["params"]["requestState"] = asked["result"]["requestState"].clone();
    request
}

#[tokio::test]
async fn discovery_lists_and_calls_share_one_session_and_speak_the_servers_revision() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway("").await;
    let discover = post(&gateway, &modern(request("d", "server/discover", json!({}))));
    let list = post(&gateway, &modern(request("l", "tools/list", json!({}))));
    let asked = legacy.asked_for("tools/list").await;
    assert_eq!(
        (header(&asked, "mcp-session-id"), header(&asked, "mcp-protocol-version")),
        ("s1", LEGACY)
    );
    assert!(!asked.headers.contains_key("mcp-method"));
    assert_eq!(asked.message()["params"], json!({}));
    asked.result(json!({"tools": [{"name": "t", "inputSchema": {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": "A"}}}}]}));

    let told = answer(discover).await;
    assert_eq!(told["id"], "d");
    assert_eq!(told["result"]["capabilities"]["tools"], json!({"listChanged": true}));
    assert_eq!(told["result"]["capabilities"]["tasks"], Value::Null);
    assert_eq!(told["result"]["instructions"], "Be brief.");
    assert_eq!(told["result"]["_meta"][SERVER]["name"], "old");
    let listed = answer(list).await;
    assert_eq!(listed["id"], "l");
    let result = &listed["result"];
    assert_eq!(
        (&result["resultType"], &result["ttlMs"], &result["cacheScope"]),
        (&json!("complete"), &json!(0), &json!("private"))
    );
    assert_eq!(result["tools"][0]["inputSchema"]["properties"]["a"], json!({"type": "string"}));

    let calling = post(&gateway, &modern(call(3, "t", json!({"a": 1}))));
    let asked = legacy.asked_for("tools/call").await;
    assert_eq!(asked.message()["params"], json!({"name": "t", "arguments": {"a": 1}}));
    asked.result(json!({"content": []}));
    assert_eq!(answer(calling).await["result"]["resultType"], "complete");
    assert_eq!(legacy.handshakes.len(), 1);

    // What a newer server says by a status, an older one says by its code alone.
    let unknown = post(&gateway, &modern(request(4, "vendor/thing", json!({}))));
    let asked = legacy.asked_for("vendor/thing").await;
    let error = json!({"code": -32601, "message": "no"});
    let refusal = json!({"jsonrpc": "2.0", "id": asked.message()["id"], "error": error});
    asked.json(&refusal);
    let response = unknown.await.unwrap();
    assert_eq!((response.status, &response.json().await["id"]), (404, &json!(4)));
    let removed = post(&gateway, &modern(request(5, "ping", json!({})))).await.unwrap();
    assert_eq!((removed.status, &removed.json().await["error"]["code"]), (404, &json!(-32601)));
}

#[tokio::test]
async fn what_a_server_asks_in_a_call_is_answered_by_the_clients_next_request() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway("").await;
    let first = able(call(1, "ask", json!({"n": 1})), form());
    let calling = post(&gateway, &first);
    let mut outlet = legacy.asked_for("tools/call").await.stream(&[]);
    outlet.event(&elicits("e-1")).await;
    let asked = answer(calling).await;
    assert_eq!(
        (&asked["id"], &asked["result"]["resultType"]),
        (&json!(1), &json!("input_required"))
    );
    let questions = asked["result"]["inputRequests"].as_object().unwrap();
    let question = questions.values().next().unwrap();
    assert_eq!(
        (&question["method"], &question["params"]["message"]),
        (&json!("elicitation/create"), &json!("Who?"))
    );
    assert!(question.get("id").is_none());

    let accepted = json!({"action": "accept", "content": {"name": "Ann"}});
    let second = post(&gateway, &retry(first.clone(), json!("again"), &asked, accepted.clone()));
    let answered = legacy.asked().await;
    assert_eq!(answered.message(), json!({"jsonrpc": "2.0", "id": "e-1", "result": accepted}));
    assert_eq!(header(&answered, "mcp-session-id"), "s1");
    answered.raw(202, &[], "");
    // It may ask again, and gets another state for that.
    outlet.event(&elicits(2)).await;
    let asked_again = answer(second).await;
    assert_ne!(asked_again["result"]["requestState"], asked["result"]["requestState"]);
    let declined = json!({"action": "decline"});
    let third = post(&gateway, &retry(first, json!(3), &asked_again, declined));
    let answered = legacy.asked().await;
    assert_eq!(answered.message()["result"]["action"], "decline");
    answered.raw(202, &[], "");
    outlet.event(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "done"}]}})).await;
    let done = answer(third).await;
    assert_eq!((&done["id"], &done["result"]["content"][0]["text"]), (&json!(3), &json!("done")));
}

const KEYS: &str = "auth: { keys: [{ name: foo, sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae }, { name: bar, sha256: fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9 }] }\n";

#[tokio::test]
async fn a_state_is_good_once_for_its_own_client_and_request() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway(KEYS).await;
    let first = able(call(1, "ask", json!({"n": 1})), form());
    let calling = post_as(&gateway, &first, Some("foo"));
    let mut outlet = legacy.asked_for("tools/call").await.stream(&[]);
    outlet.event(&elicits("e")).await;
    let asked = answer(calling).await;
    let good = retry(first.clone(), json!(2), &asked, json!({"action": "cancel"}));
    let refused = async |message: &Value, key, why: &str| {
        let told = answer(post_as(&gateway, message, Some(key))).await;
        assert_eq!(told["error"]["code"], -32602, "{told}");
        let text = told["error"]["message"].as_str().unwrap();
        assert!(text.contains(why), "{text}");
    };
    refused(&good, "bar", "not one that this client got").await;
    let mut tampered = good.clone();
    let state = good["params"]["requestState"].as_str().unwrap();
    let flipped = if state.ends_with('A') { "B" } else { "A" };
    tampered["params"]["requestState"] = format!("{}{flipped}", &state[..state.len() - 1]).into();
    refused(&tampered, "foo", "not one that this client got").await;
    tampered["params"]["requestState"] = "x".into();
    refused(&tampered, "foo", "not one that this client got").await;
    let mut other = good.clone();
    other["params"]["arguments"]["n"] = 2.into();
    refused(&other, "foo", "another request").await;
    let mut other = good.clone();
    other["params"]["name"] = "other".into();
    refused(&other, "foo", "another request").await;
    let mut unanswered = good.clone();
    unanswered["params"]["inputResponses"] = json!({"else": {}});
    refused(&unanswered, "foo", "lacks the answer").await;

    let second = post_as(&gateway, &good, Some("foo"));
    let answered = legacy.asked().await;
    assert_eq!(answered.message()["result"]["action"], "cancel");
    answered.raw(202, &[], "");
    refused(&good, "foo", "used before").await;
    outlet.event(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})).await;
    assert_eq!(answer(second).await["result"]["resultType"], "complete");
}

#[tokio::test]
async fn clients_that_can_do_different_things_have_sessions_of_their_own() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway("").await;
    let mut sessions = Vec::new();
    for capabilities in [json!({}), form(), json!({}), json!({"elicitation": {}, "roots": {}})] {
        let calling = post(&gateway, &able(call(1, "t", json!({})), capabilities));
        let asked = legacy.asked_for("tools/call").await;
        sessions.push(header(&asked, "mcp-session-id").to_owned());
        asked.result(json!({"content": []}));
        assert_eq!(answer(calling).await["id"], 1);
    }
    assert_eq!(sessions, ["s1", "s2", "s1", "s3"]);
    let capabilities: Vec<&Value> = legacy.handshakes.iter().map(|h| &h["capabilities"]).collect();
    assert_eq!(capabilities, [&json!({}), &form(), &json!({"elicitation": {}, "roots": {}})]);
    assert_eq!(legacy.handshakes[0]["clientInfo"], json!({"name": "test", "version": "0"}));
}

#[tokio::test]
async fn clients_in_one_session_may_use_the_same_ids_and_tokens() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway("").await;
    let with_token = |tool: &str| {
        let mut message = modern(call("same", tool, json!({})));
        message["params"]["_meta"]["progressToken"] = "token".into();
        message
    };
    let one = post(&gateway, &with_token("one"));
    let mut outlets = Vec::new();
    let first = legacy.asked_for("tools/call").await;
    let other = post(&gateway, &with_token("two"));
    let second = legacy.asked_for("tools/call").await;
    for exchange in [first, second] {
        let message = exchange.message();
        assert_eq!(message["params"]["_meta"], json!({"progressToken": message["id"]}));
        outlets.push((message["id"].clone(), exchange.stream(&[])));
    }
    assert_ne!(outlets[0].0, outlets[1].0);
    for (n, (id, outlet)) in outlets.iter_mut().enumerate() {
        let params = json!({"progressToken": id, "progress": n});
        outlet
            .event(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
            .await;
        outlet.event(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": [], "n": n}})).await;
    }
    for (n, posted) in [one, other].into_iter().enumerate() {
        let mut events = within("headers", posted).await.unwrap().events();
        let progress = events.next().await.unwrap().message();
        assert_eq!(progress["params"], json!({"progressToken": "token", "progress": n}));
        let answer = events.next().await.unwrap().message();
        assert_eq!((&answer["id"], &answer["result"]["n"]), (&json!("same"), &json!(n)));
        assert!(events.next().await.is_none());
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway("").await;
    let message = modern(call(1, "slow", json!({})));
    let raw = Client::modern(&gateway.url, &message).as_bytes("POST", &message.to_string());
    let connection = Client::new(&gateway.url).raw_open(&raw).await;
    let asked = legacy.asked_for("tools/call").await;
    let id = asked.message()["id"].clone();
    let _outlet = asked.stream(&[]);
    drop(connection);
    let cancelled = legacy.asked_for("notifications/cancelled").await;
    assert_eq!(cancelled.message()["params"]["requestId"], id);
    assert_eq!(header(&cancelled, "mcp-session-id"), "s1");
    cancelled.raw(202, &[], "");
}

#[tokio::test]
async fn a_client_is_not_asked_what_it_can_not_do_and_gets_the_log_it_asked_for() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway("").await;
    let mut message = modern(call(1, "ask", json!({})));
    message["params"]["_meta"][format!("{META}logLevel")] = "warning".into();
    let calling = post(&gateway, &message);
    let level = legacy.asked_for("logging/setLevel").await;
    assert_eq!(level.message()["params"], json!({"level": "warning"}));
    level.result(json!({}));
    let asked = legacy.asked_for("tools/call").await;
    let id = asked.message()["id"].clone();
    let mut outlet = asked.stream(&[]);
    outlet.event(&elicits("e")).await;
    let refused = legacy.asked().await;
    assert_eq!(
        (&refused.message()["id"], &refused.message()["error"]["code"]),
        (&json!("e"), &json!(-32601))
    );
    refused.raw(202, &[], "");
    for level in ["info", "error"] {
        let params = json!({"level": level, "data": "x"});
        outlet
            .event(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params}))
            .await;
    }
    outlet.event(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}})).await;
    let mut events = within("headers", calling).await.unwrap().events();
    assert_eq!(events.next().await.unwrap().message()["params"]["level"], "error");
    assert_eq!(events.next().await.unwrap().message()["id"], 1);
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_opened_again() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway("").await;
    for (status, body) in [
        (404, ""),
        (
            400,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no valid session"}}"#,
        ),
    ] {
        let calling = post(&gateway, &modern(call(1, "t", json!({}))));
        let asked = legacy.asked_for("tools/call").await;
        let old = header(&asked, "mcp-session-id").to_owned();
        asked.raw(status, &[("content-type", "application/json")], body);
        let asked = legacy.asked_for("tools/call").await;
        assert_ne!(header(&asked, "mcp-session-id"), old);
        asked.result(json!({"content": []}));
        assert_eq!(answer(calling).await["result"]["resultType"], "complete");
    }
    assert_eq!(legacy.handshakes.len(), 3);
    // Once is enough.
    let calling = post(&gateway, &modern(call(1, "t", json!({}))));
    for _ in 0..2 {
        legacy.asked_for("tools/call").await.raw(404, &[], "");
    }
    assert_eq!(calling.await.unwrap().status, 502);
}

#[tokio::test]
async fn a_server_that_lets_its_clients_poll_is_polled_by_the_gateway() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway("").await;
    let calling = post(&gateway, &modern(call(1, "slow", json!({}))));
    let asked = legacy.asked_for("tools/call").await;
    let id = asked.message()["id"].clone();
    let mut outlet = asked.stream(&[]);
    outlet.bytes("id: a-1\nretry: 1\ndata:\n\n").await;
    drop(outlet);
    let polled = legacy.asked().await;
    assert_eq!((polled.method.as_str(), header(&polled, "last-event-id")), ("GET", "a-1"));
    let mut outlet = polled.stream(&[]);
    outlet.event(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}})).await;
    assert_eq!(answer(calling).await["result"]["resultType"], "complete");
}

#[tokio::test]
async fn who_listens_hears_what_it_asked_for_and_leaves_nothing_behind() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway("").await;
    let filter = json!({"notifications": {
        "toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": ["file:///a"],
    }});
    let listen = modern(request("sub", "subscriptions/listen", filter));
    let listening = post(&gateway, &listen);
    let stream = legacy.asked().await;
    assert_eq!((stream.method.as_str(), header(&stream, "mcp-session-id")), ("GET", "s1"));
    let mut outlet = stream.stream(&[]);
    let subscribe = legacy.asked_for("resources/subscribe").await;
    assert_eq!(subscribe.message()["params"]["uri"], "file:///a");
    subscribe.result(json!({}));
    let mut events = within("headers", listening).await.unwrap().events();
    let first = events.next().await.unwrap().message();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    let honoured = json!({"toolsListChanged": true, "resourceSubscriptions": ["file:///a"]});
    assert_eq!(first["params"]["notifications"], honoured);
    let subscription = format!("{META}subscriptionId");
    assert_eq!(first["params"]["_meta"][&subscription], "sub");

    // A second client shares the stream and the subscription.
    let mut second = modern(request(
        9,
        "subscriptions/listen",
        json!({"notifications": {"resourceSubscriptions": ["file:///a"]}}),
    ));
    second["id"] = 9.into();
    let mut others = within("headers", post(&gateway, &second)).await.unwrap().events();
    assert_eq!(others.next().await.unwrap().message()["params"]["_meta"][&subscription], 9);

    outlet.event(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})).await;
    outlet
        .event(&json!({"jsonrpc": "2.0", "method": "notifications/resources/list_changed"}))
        .await;
    outlet.event(&elicits("outside")).await;
    let refused = legacy.asked().await;
    assert_eq!(
        (&refused.message()["id"], &refused.message()["error"]["code"]),
        (&json!("outside"), &json!(-32601))
    );
    refused.raw(202, &[], "");
    let params = json!({"uri": "file:///a", "_meta": {"k": 1}});
    outlet.event(&json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params})).await;
    let changed = events.next().await.unwrap().message();
    assert_eq!(
        changed,
        json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"_meta": {subscription.clone(): "sub"}}})
    );
    let updated = events.next().await.unwrap().message();
    assert_eq!(updated["params"]["_meta"], json!({"k": 1, subscription.clone(): "sub"}));
    let updated = others.next().await.unwrap().message();
    assert_eq!(updated["params"]["_meta"], json!({"k": 1, subscription.clone(): 9}));

    drop((events, others));
    let unsubscribe = legacy.asked_for("resources/unsubscribe").await;
    assert_eq!(unsubscribe.message()["params"]["uri"], "file:///a");
    unsubscribe.result(json!({}));
    while outlet
        .event(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
        .await
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn calls_that_wait_have_places_and_a_time() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway("legacy: { parked_per_principal: 1, parked_for: 2s }\n").await;
    let first = able(call(1, "ask", json!({})), form());
    let calling = post(&gateway, &first);
    let mut outlet = legacy.asked_for("tools/call").await.stream(&[]);
    outlet.event(&elicits("a")).await;
    let asked = answer(calling).await;
    assert_eq!(asked["result"]["resultType"], "input_required");

    let calling = post(&gateway, &first);
    let mut full = legacy.asked_for("tools/call").await.stream(&[]);
    full.event(&elicits("b")).await;
    let refused = within("an answer", calling).await.unwrap();
    assert_eq!((refused.status, &refused.json().await["error"]["code"]), (503, &json!(1004)));
    // The server is told, of this call at once and of the other when its time is over.
    for (question, call) in [("b", 2), ("a", 1)] {
        let told = legacy.asked().await;
        assert_eq!(
            (&told.message()["id"], &told.message()["error"]["code"]),
            (&json!(question), &json!(-32603))
        );
        told.raw(202, &[], "");
        let cancelled = legacy.asked_for("notifications/cancelled").await;
        assert_eq!(cancelled.message()["params"]["requestId"], call);
        cancelled.raw(202, &[], "");
    }
    let late = retry(first, json!(3), &asked, json!({"action": "cancel"}));
    assert_eq!(answer(post(&gateway, &late)).await["error"]["code"], -32602);
}

#[tokio::test]
async fn a_server_may_not_ask_without_end() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway("legacy: { rounds: 1 }\n").await;
    let first = able(call(1, "ask", json!({})), form());
    let calling = post(&gateway, &first);
    let mut outlet = legacy.asked_for("tools/call").await.stream(&[]);
    outlet.event(&elicits("a")).await;
    let asked = answer(calling).await;
    let again =
        post(&gateway, &retry(first, json!(2), &asked, json!({"action": "accept", "content": {}})));
    legacy.asked().await.raw(202, &[], "");
    outlet.event(&elicits("b")).await;
    assert_eq!(answer(again).await["error"]["code"], 1004);
}

#[tokio::test]
async fn an_idle_session_is_closed() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway("legacy: { idle: 100ms }\n").await;
    let calling = post(&gateway, &modern(call(1, "t", json!({}))));
    legacy.asked_for("tools/call").await.result(json!({"content": []}));
    answer(calling).await;
    let closed = legacy.asked().await;
    assert_eq!((closed.method.as_str(), header(&closed, "mcp-session-id")), ("DELETE", "s1"));
    closed.raw(200, &[], "");
}
