//! Sessions that outlive a gateway, and that any replica can go on with. Which gateway a client talks to is chance.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};
use tests::{Client, Exchange, FakeServer, Gateway, MODERN, call, initialize, modern, within};

use crate::error;

/// Of as many bytes as a key must have.
const KEYS: &str = "sessions: { keys: [the-key-of-all-replicas-in-this-test] }\n";

/// The SHA-256 of `key-of-alice` and of `key-of-bob`.
pub(crate) const AUTH: &str = "auth:
  keys:
  - { name: alice, sha256: d16a80956c32f3f5fb979bea408abac8c3eef6c54ecb234279e337146cf87b47 }
  - { name: bob, sha256: 808a1d81b5de08d72083995df738947d519d230a20c236003268f0f4b65ee475 }
";

/// A server with sessions that tells which one a call was in.
#[derive(Clone, Default)]
struct Sessions(Arc<Mutex<BTreeSet<String>>>);

impl Sessions {
    async fn server(&self) -> FakeServer {
        let this = self.clone();
        FakeServer::start(move |exchange| this.answer(exchange)).await
    }

    fn answer(&self, exchange: Exchange) {
        let mut open = self.0.lock().unwrap();
        let header = exchange.headers.get("mcp-session-id");
        let session = header.map(|id| id.to_str().unwrap().to_owned());
        if exchange.message()["method"] == "initialize" {
            let id = format!("theirs-{}", open.len());
            open.insert(id.clone());
            return exchange.begin(&id);
        }
        match session {
            Some(id) if open.contains(&id) && exchange.method == Method::DELETE => {
                open.remove(&id);
                exchange.raw(204, &[], "");
            }
            Some(id) if open.contains(&id) => {
                // As the official SDKs do, it repeats the id.
                let result = json!({"content": [{"type": "text", "text": id}]});
                let answer = json!({"jsonrpc": "2.0", "id": 1, "result": result});
                let headers = [("content-type", "application/json"), ("mcp-session-id", &*id)];
                exchange.raw(200, &headers, answer.to_string());
            }
            _ => exchange.raw(400, &[], "Bad Request: No valid session ID provided"),
        }
    }
}

/// The id a client gets for its `initialize`.
async fn begin(client: &Client) -> String {
    let answer = client.post(&initialize()).await;
    assert_eq!(answer.status, 200);
    let id = answer.header("mcp-session-id").to_owned();
    assert!((1..=4096).contains(&id.len()), "{}", id.len());
    assert!(id.bytes().all(|b| b.is_ascii_graphic()) && !id.contains("theirs"), "{id}");
    id
}

async fn ask(client: &Client, id: &str) -> (u16, Value) {
    let answer = client.clone().with("mcp-session-id", id).post(&call(1, "where", json!({}))).await;
    let repeated = answer.header("mcp-session-id");
    assert!(repeated.is_empty() || repeated == id, "{repeated}");
    (answer.status, answer.json().await)
}

/// Which of the server's sessions a call was in.
async fn within_session(client: &Client, id: &str) -> String {
    let (status, answer) = ask(client, id).await;
    assert_eq!(status, 200, "{answer}");
    answer["result"]["content"][0]["text"].as_str().unwrap().to_owned()
}

async fn assert_not_found(client: &Client, id: &str, what: &str) {
    let (status, answer) = ask(client, id).await;
    assert_eq!((status, error(&answer).1), (404, 1020), "{what}: {answer}");
}

#[tokio::test]
async fn a_session_goes_on_at_another_replica_and_after_a_restart() {
    let sessions = Sessions::default();
    let server = sessions.server().await;
    let a = Gateway::configured(&server.url, KEYS).await;
    let b = Gateway::configured(&server.url, KEYS).await;
    let (at_a, at_b) = (Client::new(&a.url), Client::new(&b.url));
    let (one, two) = (begin(&at_a).await, begin(&at_b).await);
    assert_eq!(within_session(&at_b, &one).await, "theirs-0");
    assert_eq!(within_session(&at_a, &two).await, "theirs-1");
    let _dir = a.stop().await;
    let a = Gateway::configured(&server.url, KEYS).await;
    assert_eq!(within_session(&Client::new(&a.url), &one).await, "theirs-0");

    // with another key, or none, nobody knows them
    let others = KEYS.replace("all", "some");
    for keys in ["", &*others] {
        let stranger = Gateway::configured(&server.url, keys).await;
        assert_not_found(&Client::new(&stranger.url), &one, keys).await;
    }
    // a key that was rotated out of first place still opens
    let rotated = KEYS.replace("keys: [", "keys: [the-new-key-of-all-replicas-in-this-test, ");
    let rotated = Gateway::configured(&server.url, &rotated).await;
    assert_eq!(within_session(&Client::new(&rotated.url), &one).await, "theirs-0");
    let new = begin(&Client::new(&rotated.url)).await;
    assert_not_found(&Client::new(&a.url), &new, "the new key, before all have it").await;
}

#[tokio::test]
async fn a_session_that_ended_is_not_found() {
    let sessions = Sessions::default();
    let server = sessions.server().await;
    let gateway = Gateway::configured(&server.url, KEYS).await;
    let client = Client::new(&gateway.url);
    let id = begin(&client).await;
    let delete = async || client.clone().with("mcp-session-id", &id).delete().await.status;
    assert_eq!(delete().await, 204);
    assert!(sessions.0.lock().unwrap().is_empty());
    assert_not_found(&client, &id, "deleted").await;
    assert_eq!(delete().await, 404);

    // one that the server forgot: it says 400, and the client hears what makes it begin another
    let id = begin(&client).await;
    sessions.0.lock().unwrap().clear();
    assert_eq!(ask(&client, &id).await.0, 404);
    assert_eq!(within_session(&client, &begin(&client).await).await, "theirs-0");
}

#[tokio::test]
async fn a_session_lasts_as_long_as_is_configured() {
    let server = Sessions::default().server().await;
    let yaml = KEYS.replace("}", ", lifetime: 1ms }");
    let gateway = Gateway::configured(&server.url, &yaml).await;
    let client = Client::new(&gateway.url);
    let id = begin(&client).await;
    let over = async { while ask(&client, &id).await.0 != 404 {} };
    within("the session to expire", over).await;
    assert_not_found(&client, &id, "expired").await;
}

#[tokio::test]
async fn an_id_is_taken_from_nobody_but_the_gateway() {
    let sessions = Sessions::default();
    let server = sessions.server().await;
    let gateway = Gateway::configured(&server.url, KEYS).await;
    let client = Client::new(&gateway.url);
    let id = begin(&client).await;
    // what a client chooses, the server's own id, and what is almost an id
    let mut tampered = id.clone().into_bytes();
    let middle = tampered.len() / 2;
    tampered[middle] = if tampered[middle] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).unwrap();
    for foreign in ["chosen", "theirs-0", &*tampered, &id[1..], &format!("{id}A"), "="] {
        assert_not_found(&client, foreign, foreign).await;
        let fixed = client.clone().with("mcp-session-id", foreign);
        assert_eq!(fixed.post(&initialize()).await.status, 404, "{foreign}");
        assert_eq!(fixed.get().await.status, 404, "{foreign}");
        assert_eq!(fixed.delete().await.status, 404, "{foreign}");
    }
    assert_eq!(sessions.0.lock().unwrap().len(), 1, "one of them reached the server");
    assert_eq!(within_session(&client, &id).await, "theirs-0");
}

#[tokio::test]
async fn an_id_is_of_one_principal_and_no_authentication() {
    let server = Sessions::default().server().await;
    let gateway = Gateway::configured(&server.url, &format!("{KEYS}{AUTH}")).await;
    let nobody = Client::new(&gateway.url);
    let alice = nobody.clone().with("authorization", "Bearer key-of-alice");
    let bob = nobody.clone().with("authorization", "Bearer key-of-bob");
    let id = begin(&alice).await;
    assert_eq!(within_session(&alice, &id).await, "theirs-0");
    assert_not_found(&bob, &id, "of another principal").await;
    assert_eq!(ask(&nobody, &id).await.0, 401);
    // hers are not found by anybody who ends them either
    assert_eq!(bob.with("mcp-session-id", &id).delete().await.status, 404);
    assert_eq!(within_session(&alice, &id).await, "theirs-0");
}

#[tokio::test]
async fn an_id_is_of_one_server() {
    let (x, y) = (Sessions::default().server().await, Sessions::default().server().await);
    let yaml = format!("  other:\n    url: {}\n{KEYS}", y.url);
    let gateway = Gateway::configured(&x.url, &yaml).await;
    let base = gateway.url.rsplit_once("/mcp").unwrap().0;
    let at_x = Client::new(&format!("{base}/mcp/upstream"));
    let at_y = Client::new(&format!("{base}/mcp/other"));
    let id = begin(&at_x).await;
    assert_eq!(within_session(&at_x, &id).await, "theirs-0");
    // y has a session of that name too
    let own = begin(&at_y).await;
    assert_not_found(&at_y, &id, "of another server").await;
    assert_eq!(within_session(&at_y, &own).await, "theirs-0");
}

#[tokio::test]
async fn a_client_that_can_do_much_has_a_session_too() {
    let server = Sessions::default().server().await;
    let gateway = Gateway::configured(&server.url, KEYS).await;
    let client = Client::new(&gateway.url);
    let mut large = initialize();
    large["params"]["capabilities"] = json!({"experimental": {"x": "y ".repeat(20_000)}});
    let answer = client.post(&large).await;
    let id = answer.header("mcp-session-id");
    assert!((1..=4096).contains(&id.len()), "{}", id.len());
    assert_eq!(within_session(&client, id).await, "theirs-0");
    let other = Gateway::configured(&server.url, KEYS).await;
    assert_eq!(within_session(&Client::new(&other.url), id).await, "theirs-0");
}

#[tokio::test]
async fn the_stateless_revision_has_no_sessions_whatever_is_sent() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::configured(&server.url, KEYS).await;
    let message = modern(call(1, "echo", json!({})));
    let client = Client::modern(&gateway.url, &message).with("mcp-session-id", "chosen");
    let answer = async {
        let asked = server.asked().await;
        assert_eq!(asked.headers["mcp-protocol-version"], MODERN);
        assert!(!asked.headers.contains_key("mcp-session-id"));
        asked.begin("theirs");
    };
    let (answered, ()) = tokio::join!(client.post(&message), answer);
    assert_eq!((answered.status, answered.header("mcp-session-id")), (200, ""));
}
