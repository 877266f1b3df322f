//! Two clients who know nothing of each other, before one server, with the same ids: each has what is its own.

use serde_json::{Value, json};
use tests::{Client, FakeServer, Gateway, Response, call, in_session, modern, request, within};
use tokio::task::JoinHandle;

use super::{AUTH, alice_and_bob};
use crate::key;
use crate::processes::said;

/// Sends a message with the key of this name and goes on; what comes back comes later.
fn post(gateway: &Gateway, who: &str, message: &Value) -> JoinHandle<Response> {
    let client = match message["params"]["_meta"].is_object() {
        true => Client::modern(&gateway.url, message),
        false => Client::new(&gateway.url),
    };
    let client = client.with("authorization", &format!("Bearer key-of-{who}"));
    let message = message.clone();
    tokio::spawn(async move { client.post(&message).await })
}

async fn json_of(answer: JoinHandle<Response>) -> Value {
    answer.await.unwrap().json().await
}

/// The notification that cancels the call of this id.
fn cancel(id: impl Into<Value>) -> Value {
    let params = json!({"requestId": id.into()});
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
}

#[tokio::test]
async fn answers_find_their_clients_whatever_the_ids() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::configured(&server.url, AUTH).await;
    for of in [|request| request, modern] {
        let message = of(call(1, "read", json!({})));
        let alice = post(&gateway, "alice", &message);
        let hers = server.asked().await;
        let bob = post(&gateway, "bob", &message);
        let his = server.asked().await;
        // The later one is answered first, and as a stream.
        let mut outlet = his.stream(&[]);
        let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {"resultType": "complete", "content": [], "of": "bob"}});
        assert!(outlet.event(&answer).await);
        drop(outlet);
        let mut events = bob.await.unwrap().events();
        assert_eq!(events.next().await.unwrap().message()["result"]["of"], "bob");
        assert_eq!(events.next().await, None);
        hers.result(json!({"resultType": "complete", "content": [], "of": "alice"}));
        assert_eq!(json_of(alice).await["result"]["of"], "alice");
    }
}

#[tokio::test]
async fn lists_of_two_keys_never_mix() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::configured(&server.url, AUTH).await;
    let list = |name: &str| json!({"resultType": "complete", "ttlMs": 3_600_000, "cacheScope": "private", "tools": [{"name": name, "inputSchema": {"type": "object"}}]});
    for of in [|request| request, modern] {
        let message = of(request(1, "tools/list", json!({})));
        // One after the other: hers is fresh, and not for him.
        for who in ["alice", "bob"] {
            let asking = post(&gateway, who, &message);
            server.asked().await.result(list(who));
            assert_eq!(json_of(asking).await["result"]["tools"][0]["name"], who);
        }
        // At the same time, answered in the other order.
        let params = json!({"cursor": ""});
        let message = of(request(1, "tools/list", params));
        let alice = post(&gateway, "alice", &message);
        let hers = server.asked().await;
        let bob = post(&gateway, "bob", &message);
        server.asked().await.result(list("bobs-own"));
        assert_eq!(json_of(bob).await["result"], list("bobs-own"));
        hers.result(list("alices-own"));
        assert_eq!(json_of(alice).await["result"], list("alices-own"));
    }
}

#[tokio::test]
async fn news_goes_to_its_own_subscription_only() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::configured(&server.url, AUTH).await;
    let wanted = json!({"notifications": {"resourceSubscriptions": ["file:///a", "file:///b"]}});
    let message = modern(request("sub", "subscriptions/listen", wanted));
    let meta = json!({"io.modelcontextprotocol/subscriptionId": "sub"});
    let news = |uri: &str| json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri, "_meta": meta}});
    let alice = post(&gateway, "alice", &message);
    let mut to_alice = server.asked().await.stream(&[]);
    let bob = post(&gateway, "bob", &message);
    let mut to_bob = server.asked().await.stream(&[]);
    // His first: had it gone to her as well, it would be what she hears first.
    for n in 0..2 {
        assert!(to_bob.event(&news(&format!("file:///b/{n}"))).await);
        assert!(to_alice.event(&news(&format!("file:///a/{n}"))).await);
    }
    let (mut hers, mut his) = (alice.await.unwrap().events(), bob.await.unwrap().events());
    for n in 0..2 {
        assert_eq!(his.next().await.unwrap().message(), news(&format!("file:///b/{n}")));
        assert_eq!(hers.next().await.unwrap().message(), news(&format!("file:///a/{n}")));
    }
    // One ends, the other goes on.
    drop(to_bob);
    assert_eq!(his.next().await, None);
    assert!(to_alice.event(&news("file:///a/2")).await);
    assert_eq!(hers.next().await.unwrap().message(), news("file:///a/2"));
    drop(to_alice);
    assert_eq!(hers.next().await, None);
}

#[tokio::test]
async fn request_state_is_between_the_server_and_whoever_sends_it() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::configured(&server.url, AUTH).await;
    // Of a form that a rule would take out elsewhere, and escaped as no library would write it.
    let state = format!(r"eyJh\u002b {}.\/x==", key());
    let asks = r#"{"q":{"method":"elicitation/create","params":{"mode":"form","message":"Which?","requestedSchema":{"type":"object","properties":{}}}}}"#;
    let asking = post(&gateway, "alice", &modern(call(1, "pay", json!({"to": "a"}))));
    let needs = format!(
        r#"{{ "jsonrpc":"2.0","id":1,"result":{{"resultType":"input_required","inputRequests":{asks},"requestState":"{state}"}}}}"#
    );
    let json = [("content-type", "application/json")];
    server.asked().await.raw(200, &json, needs.clone());
    assert_eq!(asking.await.unwrap().bytes().await, needs);

    // Whoever returns it, and with what: to tell is the server's part, and only it can.
    let envelope = modern(call(2, "pay", json!({})))["params"]["_meta"].to_string();
    let tampered = state.replace("x==", "y==");
    for (who, state, to) in [
        ("alice", &state, "a"),
        ("bob", &state, "a"),
        ("alice", &tampered, "a"),
        ("alice", &state, "b"),
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{{"name":"pay","arguments":{{"to":"{to}"}},"inputResponses":{{"q":{{"action":"accept"}}}},"requestState":"{state}","_meta":{envelope}}}}}"#
        );
        let client = Client::modern(&gateway.url, &modern(call(2, "pay", json!({}))))
            .with("authorization", &format!("Bearer key-of-{who}"));
        let sent = body.clone();
        let asking = tokio::spawn(async move { client.post_bytes(sent).await });
        let asked = server.asked().await;
        assert_eq!(asked.body, body);
        let no = r#"{"jsonrpc":"2.0", "id":2,"error":{"code":-32602,"message":"not your state"}}"#;
        asked.raw(400, &json, no);
        let answer = asking.await.unwrap();
        assert_eq!(answer.status, 400);
        assert_eq!(answer.bytes().await, no);
    }
}

#[tokio::test]
async fn a_cancellation_stays_in_its_session() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::configured(&server.url, AUTH).await;
    let [alice, bob] = alice_and_bob(&gateway);
    let hers = in_session(&alice, &mut server, "hers").await;
    let his = in_session(&bob, &mut server, "his").await;
    let asking = tokio::spawn({
        let hers = hers.clone();
        async move { hers.post(&call(1, "slow", json!({}))).await }
    });
    let asked = server.asked().await;
    assert_eq!(asked.headers["mcp-session-id"], "hers");
    // In his own session it is about his own calls.
    let cancelling = tokio::spawn(async move { his.post(&cancel(1)).await.status });
    let told = server.asked().await;
    assert_eq!(
        (&told.headers["mcp-session-id"], told.message()),
        (&"his".parse().unwrap(), cancel(1))
    );
    told.raw(202, &[], "");
    assert_eq!(cancelling.await.unwrap(), 202);
    // In hers he has no say, whichever of the names he has for it.
    let id = |client: &Client| {
        let bytes = String::from_utf8(client.as_bytes("POST", "")).unwrap();
        let line = bytes.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
        line.unwrap().to_owned()
    };
    for stolen in [id(&hers), "hers".to_owned()] {
        let thief = bob.clone().with("mcp-session-id", &stolen);
        assert_eq!(thief.post(&cancel(1)).await.status, 404);
    }
    asked.result(json!({"content": []}));
    assert!(json_of(asking).await["result"].is_object());
    // Nothing else reached the server meanwhile.
    let last = tokio::spawn(async move { hers.post(&call(2, "last", json!({}))).await });
    let asked = server.asked().await;
    assert_eq!(asked.message()["id"], 2);
    asked.result(json!({"content": []}));
    assert_eq!(last.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_stateless_cancellation_names_nothing_at_a_server() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::configured(&server.url, AUTH).await;
    let asking = post(&gateway, "alice", &modern(call(1, "slow", json!({}))));
    let asked = server.asked().await;
    // To the server both are the gateway, and a 1 is a 1: what he cancels would be hers.
    assert_eq!(post(&gateway, "bob", &modern(cancel(1))).await.unwrap().status, 202);
    let bare = Client::modern(&gateway.url, &cancel(1)).with("authorization", "Bearer key-of-bob");
    assert_eq!(bare.post(&cancel(1)).await.status, 202);
    let other = post(&gateway, "bob", &modern(call(2, "echo", json!({}))));
    let next = server.asked().await;
    assert_eq!(next.message()["id"], 2, "{:?}", next.body);
    next.result(json!({"resultType": "complete", "content": []}));
    assert_eq!(other.await.unwrap().status, 200);
    asked.result(json!({"resultType": "complete", "content": []}));
    assert!(json_of(asking).await["result"].is_object());
}

/// What the shared process holds, once that is as many calls.
async fn held(gateway: &Gateway, many: usize) -> Value {
    within("the calls that are held", async {
        loop {
            let asked = post(gateway, "alice", &modern(call("ask", "held", json!({}))));
            let held = said(&json_of(asked).await);
            if held["held"].as_array().unwrap().len() == many {
                return held;
            }
        }
    })
    .await
}

#[tokio::test]
async fn answers_of_a_shared_process_find_their_clients_whatever_the_ids() {
    let gateway = crate::processes::gateway("--quiet", AUTH).await;
    let mut waiting = Vec::new();
    // The ids the gateway itself uses there are numbers too.
    for (who, id) in [
        ("alice", json!(1)),
        ("bob", json!(1)),
        ("alice", json!("1")),
        ("bob", json!("1")),
        ("alice", json!(2)),
        ("bob", json!(2)),
    ] {
        let own = format!("for {who}, {id}");
        let asked = modern(call(id.clone(), "slow", json!({"message": own})));
        waiting.push((id, own, post(&gateway, who, &asked)));
        held(&gateway, waiting.len()).await;
    }
    let released = post(&gateway, "bob", &modern(call(1, "release", json!({}))));
    assert_eq!(json_of(released).await["id"], 1);
    for (id, own, answer) in waiting {
        let answer = json_of(answer).await;
        assert_eq!((&answer["id"], said(&answer)), (&id, json!(own)));
    }
}

#[tokio::test]
async fn a_cancellation_reaches_no_call_of_another_at_a_shared_process() {
    let gateway = crate::processes::gateway("--quiet", AUTH).await;
    let asking = post(&gateway, "alice", &modern(call("s", "slow", json!({}))));
    let before = held(&gateway, 1).await;
    // By her name for it, and by those the gateway may have given it.
    let guesses = (0..20).flat_map(|n| [json!(n), json!(n.to_string())]);
    for id in guesses.chain([json!("s")]) {
        let answer = post(&gateway, "bob", &modern(cancel(id))).await.unwrap();
        assert_eq!(answer.status, 202);
    }
    assert_eq!(held(&gateway, 1).await, before);
    assert_eq!(before["cancelled"], json!([]));
    // Her own word counts.
    assert_eq!(post(&gateway, "alice", &modern(cancel("s"))).await.unwrap().status, 202);
    assert_eq!(held(&gateway, 0).await["cancelled"], before["held"]);
    asking.abort();
}
