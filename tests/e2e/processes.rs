//! Servers that are commands: whose process it is, when it ends, and what it may take.

use serde_json::{Value, json};
use tests::{Client, Events, Gateway, LEGACY, Response, call, modern, request, within};
use tokio::net::TcpStream;
use tokio::process::Command;

/// A gateway before `stdio-echo`, with these arguments and further configuration.
pub(crate) async fn gateway(arguments: &str, yaml: &str) -> Gateway {
    let built = tokio::task::spawn_blocking(tests::binaries).await.unwrap();
    let program = built.stdio_echo();
    let program = program.display();
    Gateway::of(&format!(
        "servers:\n  upstream:\n    command: {program}\n    args: [{arguments}]\n    env: {{ GIVEN: hunter2hunter2 }}\n    cwd: /usr\n{yaml}"
    ))
    .await
}

/// A client's session, and its server's process.
struct Session {
    client: Client,
    id: String,
    pid: u32,
}

fn initialize() -> Value {
    let info = json!({"name": "test", "version": "0"});
    request(
        0,
        "initialize",
        json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": info}),
    )
}

impl Session {
    async fn begin(gateway: &Gateway) -> Self {
        Self::of(Client::new(&gateway.url)).await
    }

    async fn of(client: Client) -> Self {
        let answer = client.post(&initialize()).await;
        assert_eq!(answer.status, 200);
        let id = answer.header("mcp-session-id").to_owned();
        assert_eq!(answer.json().await["result"]["serverInfo"]["name"], "stdio-echo");
        let client = client.with("mcp-session-id", &id);
        let who = tool(&client, "who", "").await;
        let pid = who["pid"].as_u64().unwrap().try_into().unwrap();
        Self { client, id, pid }
    }

    /// Calls a tool whose answer comes last on a stream, or alone.
    async fn call(&self, name: &str) -> Response {
        self.client.post(&call(name, name, json!({}))).await
    }
}

/// What a tool says, as JSON where it is some.
async fn tool(client: &Client, name: &str, message: &str) -> Value {
    said(&client.post(&call(7, name, json!({"message": message}))).await.json().await)
}

pub(crate) fn said(answer: &Value) -> Value {
    let text = answer["result"]["content"][0]["text"].as_str();
    let text = text.unwrap_or_else(|| panic!("no text: {answer}"));
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// A call in the revision without sessions, of a client that does not know the others.
async fn stateless(gateway: &Gateway, id: impl Into<Value>, name: &str) -> Response {
    let asked = modern(call(id, name, json!({"message": "m"})));
    Client::modern(&gateway.url, &asked).post(&asked).await
}

/// Asks the shared process for what it holds until that is as wanted: each answer is an event.
async fn until_held(gateway: &Gateway, wanted: impl Fn(&Value) -> bool) -> Value {
    within("the calls that are held", async {
        loop {
            let held = said(&stateless(gateway, "ask", "held").await.json().await);
            if wanted(&held) {
                return held;
            }
        }
    })
    .await
}

/// Waits until a process that is not ours is gone.
async fn gone(pid: u32) {
    let mut tail = Command::new("tail");
    let ended = tail.args(["-f", "/dev/null", &format!("--pid={pid}")]).status();
    assert!(within("the end of a process", ended).await.unwrap().success());
}

/// Posts a request on a connection of its own and leaves without an answer, once the server has it.
async fn post_raw(client: &Client, message: &Value) -> TcpStream {
    client.raw_open(&client.as_bytes("POST", &message.to_string())).await
}

#[tokio::test]
async fn a_session_has_a_process_of_its_own_from_initialize_to_delete() {
    let gateway = gateway("--quiet", "").await;
    let one = Session::begin(&gateway).await;
    let other = Session::begin(&gateway).await;
    assert_ne!((one.pid, &one.id), (other.pid, &other.id));
    assert_eq!(tool(&one.client, "who", "").await["pid"], one.pid, "and keeps it");
    assert_eq!(one.client.delete().await.status, 204);
    gone(one.pid).await;
    let late = one.client.post(&call(8, "echo", json!({}))).await;
    assert_eq!(late.status, 404);
    let error = late.json().await;
    assert_eq!((&error["id"], &error["error"]["code"]), (&Value::Null, &json!(1020)));
    assert_eq!(one.client.delete().await.status, 404);
    assert_eq!(one.client.get().await.status, 404);
    assert_eq!(tool(&other.client, "echo", "still here").await, "still here");
    // Without a session there is no process to ask.
    let none = Client::new(&gateway.url).post(&call(9, "echo", json!({}))).await;
    assert_eq!(none.status, 400);
}

#[tokio::test]
async fn what_a_server_says_reaches_the_call_or_the_stream_of_its_session() {
    let gateway = gateway("--quiet", "").await;
    let session = Session::begin(&gateway).await;
    let other = Session::begin(&gateway).await;
    // A request of the server's rides on the call's stream, and the answer goes to its process.
    let mut events = session.call("elicit").await.events();
    let asked = events.next().await.unwrap().message();
    assert_eq!(asked["method"], "elicitation/create");
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}});
    assert_eq!(session.client.post(&answer).await.status, 202);
    assert_eq!(said(&events.next().await.unwrap().message()), "decline");
    assert_eq!(events.next().await, None);
    // Progress keeps the name the client gave it.
    let mut progress = call("p", "progress", json!({}));
    progress["params"]["_meta"] = json!({"progressToken": "mine"});
    let mut events = session.client.post(&progress).await.events();
    assert_eq!(events.next().await.unwrap().message()["params"]["progressToken"], "mine");
    assert_eq!(events.next().await.unwrap().message()["id"], "p");
    // What comes outside of calls waits for who listens; a second one takes the place of the first.
    session.call("later").await.bytes().await;
    let mut first = session.client.get().await.events();
    assert_eq!(first.next().await.unwrap().message()["params"]["data"], "later");
    let mut second = session.client.get().await.events();
    assert_eq!(first.next().await, None);
    let mut others = other.client.get().await.events();
    session.call("change").await.bytes().await;
    let news = second.next().await.unwrap().message();
    assert_eq!(news["method"], "notifications/tools/list_changed");
    other.call("later").await.bytes().await;
    let own = others.next().await.unwrap().message();
    assert_eq!(own["params"]["data"], "later", "and nothing of the other session");
}

#[tokio::test]
async fn a_session_is_its_principals_alone() {
    let hash = |key: &str| {
        use std::process::{Command, Stdio};
        let mut sum =
            Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut sum.stdin.take().unwrap(), key.as_bytes()).unwrap();
        String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap()[..64].to_owned()
    };
    let keys = format!(
        "auth:\n  keys:\n  - {{ name: alice, sha256: {} }}\n  - {{ name: bob, sha256: {} }}\nprocesses: {{ per_principal: 2, max: 4 }}\n",
        hash("key of alice"),
        hash("key of bob")
    );
    let gateway = gateway("--quiet", &keys).await;
    let of = |name: &str| {
        Client::new(&gateway.url).with("authorization", &format!("Bearer key of {name}"))
    };
    let session = Session::of(of("alice")).await;
    let stolen = of("bob").with("mcp-session-id", &session.id);
    assert_eq!(stolen.post(&call(1, "echo", json!({}))).await.status, 404);
    assert_eq!(stolen.delete().await.status, 404);
    assert_eq!(tool(&session.client, "echo", "mine").await, "mine");
    // Limits: two for one, and four for all, of whom the shared one is one.
    let second = Session::of(of("alice")).await;
    let refused = of("alice").post(&initialize()).await;
    assert_eq!((refused.status, &refused.json().await["error"]["code"]), (503, &json!(1004)));
    let _third = Session::of(of("bob")).await;
    let discover = modern(request(1, "server/discover", json!({})));
    let shared = Client::modern(&gateway.url, &discover).with("authorization", "Bearer key of bob");
    assert_eq!(shared.post(&discover).await.status, 200);
    assert_eq!(of("bob").post(&initialize()).await.status, 503);
    // A place is free again once the process that had it is gone.
    assert_eq!(second.client.delete().await.status, 204);
    gone(second.pid).await;
    within("a place", async { while of("alice").post(&initialize()).await.status != 200 {} }).await;
}

#[tokio::test]
async fn clients_of_the_later_revision_share_a_process_and_nothing_else() {
    let gateway = gateway("--quiet", "").await;
    // Two calls with the same id and token, answered in one go.
    let slow = |token: &str| {
        let mut asked = modern(call(1, "slow", json!({})));
        asked["params"]["_meta"]["progressToken"] = token.into();
        asked
    };
    let post =
        async |asked: Value| Client::modern(&gateway.url, &asked).post(&asked).await.json().await;
    let release = async {
        until_held(&gateway, |held| held["held"].as_array().unwrap().len() == 2).await;
        stateless(&gateway, 1, "release").await.json().await
    };
    let (one, other, released) = tokio::join!(post(slow("a")), post(slow("b")), release);
    for answer in [one, other] {
        assert_eq!((&answer["id"], said(&answer)), (&json!(1), json!("released")));
    }
    assert_eq!(released["id"], 1);
    // Progress comes under the client's own name.
    let mut asked = modern(call("x", "progress", json!({})));
    asked["params"]["_meta"]["progressToken"] = "mine".into();
    let mut events = Client::modern(&gateway.url, &asked).post(&asked).await.events();
    assert_eq!(events.next().await.unwrap().message()["params"]["progressToken"], "mine");
    assert_eq!(events.next().await.unwrap().message()["id"], "x");
    // One process for all of them.
    let mut pids = Vec::new();
    for _ in 0..2 {
        pids.push(said(&stateless(&gateway, "w", "who").await.json().await)["pid"].clone());
    }
    assert_eq!(pids[0], pids[1]);
    // A session's is another.
    assert_ne!(pids[0], Session::begin(&gateway).await.pid);
    // What is no method there has the status that the revision wants.
    let asked = modern(request(4, "no/such", json!({})));
    assert_eq!(Client::modern(&gateway.url, &asked).post(&asked).await.status, 404);
}

#[tokio::test]
async fn subscriptions_of_two_clients_with_one_id_stay_apart() {
    let gateway = gateway("--quiet", "").await;
    let asked = modern(request(
        "sub",
        "subscriptions/listen",
        json!({"notifications": {"toolsListChanged": true}}),
    ));
    let key = "io.modelcontextprotocol/subscriptionId";
    let mut streams: Vec<Events> = Vec::new();
    for _ in 0..2 {
        let mut events = Client::modern(&gateway.url, &asked).post(&asked).await.events();
        let first = events.next().await.unwrap().message();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(first["params"]["_meta"][key], "sub");
        streams.push(events);
    }
    stateless(&gateway, 1, "change").await.bytes().await;
    for events in &mut streams {
        let news = events.next().await.unwrap().message();
        assert_eq!(news["params"]["_meta"][key], "sub");
        assert_eq!(news["method"], "notifications/tools/list_changed");
    }
    // One leaves: its subscription is cancelled, the other's is not.
    drop(streams.pop());
    let held = until_held(&gateway, |held| held["cancelled"].as_array().unwrap().len() == 1).await;
    assert_ne!(held["cancelled"][0], "sub", "under the id used there");
    stateless(&gateway, 1, "change").await.bytes().await;
    let news = streams[0].next().await.unwrap().message();
    assert_eq!(news["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn leaving_cancels_in_the_later_revision_and_not_in_the_others() {
    let gateway = gateway("--quiet", "").await;
    let asked = modern(call("s", "slow", json!({})));
    let connection = post_raw(&Client::modern(&gateway.url, &asked), &asked).await;
    let held = until_held(&gateway, |held| held["held"].as_array().unwrap().len() == 1).await;
    drop(connection);
    let after = until_held(&gateway, |held| held["cancelled"].as_array().unwrap().len() == 1).await;
    assert_eq!(after["cancelled"], held["held"]);
    // With a session the server goes on, and the client cancels by saying so.
    let session = Session::begin(&gateway).await;
    let connection = post_raw(&session.client, &call("s", "slow", json!({}))).await;
    let has = async |member: &str| {
        within("the server to know", async {
            loop {
                let held = tool(&session.client, "held", "").await;
                if held[member] == json!(["s"]) {
                    return held;
                }
            }
        })
        .await
    };
    has("held").await;
    drop(connection);
    // The gateway has seen the client leave when its row of that says so.
    within("the gateway to notice", async {
        while crate::metric(&gateway, "wiregate_inflight_requests").await > 0.0 {}
    })
    .await;
    assert_eq!(has("held").await["cancelled"], json!([]));
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "s"}});
    assert_eq!(session.client.post(&cancel).await.status, 202);
    has("cancelled").await;
}

#[tokio::test]
async fn a_crash_is_told_and_the_next_start_waits() {
    let patient = "processes: { restart_first: 1h, restart_most: 2h }\n";
    let gateway = gateway("--quiet", patient).await;
    let (crash, waiting) = tokio::join!(
        async {
            until_held(&gateway, |held| held["held"].as_array().unwrap().len() == 1).await;
            stateless(&gateway, "c", "crash").await
        },
        stateless(&gateway, "s", "slow")
    );
    for answer in [crash, waiting] {
        assert_eq!(answer.status, 502);
        assert_eq!(answer.json().await["error"]["code"], 1005);
    }
    let later = stateless(&gateway, "l", "echo").await.json().await;
    let message = later["error"]["message"].as_str().unwrap();
    assert!(message.contains("it is started again in "), "{message}");
    // A session's process is its own: it goes on, and when it ends the session is gone.
    let session = Session::begin(&gateway).await;
    assert_eq!(session.call("crash").await.status, 502);
    assert_eq!(session.call("echo").await.status, 404);
    Session::begin(&gateway).await;
}

#[tokio::test]
async fn a_shared_process_is_started_again() {
    let gateway =
        gateway("--quiet", "processes: { restart_first: 1ms, restart_most: 2ms }\n").await;
    let before = said(&stateless(&gateway, 1, "who").await.json().await);
    assert_eq!(stateless(&gateway, 2, "crash").await.status, 502);
    let after = within("the next start", async {
        loop {
            let answer = stateless(&gateway, 3, "who").await;
            if answer.status == 200 {
                return said(&answer.json().await);
            }
        }
    })
    .await;
    assert_ne!(before["pid"], after["pid"]);
}

#[tokio::test]
async fn a_server_gets_little_of_the_environment_and_its_words_are_logged_without_secrets() {
    let gateway = gateway("--quiet", "").await;
    let session = Session::begin(&gateway).await;
    let who = tool(&session.client, "who", "").await;
    assert_eq!(who["cwd"], "/usr");
    let env = who["env"].as_object().unwrap();
    assert_eq!(env["GIVEN"], "hunter2hunter2");
    let known = ["GIVEN", "PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "SHELL", "TERM"];
    let other: Vec<&String> = env
        .keys()
        .filter(|name| !known.contains(&name.as_str()) && !name.starts_with("LC_"))
        .collect();
    assert!(other.is_empty(), "{other:?}");
    assert!(!env.contains_key("XDG_STATE_HOME"), "which the gateway itself has");
    tool(&session.client, "stderr", "the key is hunter2hunter2").await;
    gateway.logged("stderr: the key is ***").await;
    assert!(!gateway.log().contains("hunter2hunter2"));
}

#[tokio::test]
async fn who_takes_too_much_memory_or_does_not_start_is_ended() {
    let small = gateway("--quiet", "processes: { memory: 64MiB }\n").await;
    let session = Session::begin(&small).await;
    tool(&session.client, "grow", "4").await;
    tool(&session.client, "grow", "128").await;
    gone(session.pid).await;
    small.logged("why=\"memory\"").await;
    assert_eq!(session.call("echo").await.status, 404);
    // It lives, and says nothing.
    let hung = gateway("--hang", "processes: { start: 100ms }\n").await;
    let answer = Client::new(&hung.url).post(&initialize()).await;
    assert_eq!((answer.status, &answer.json().await["error"]["code"]), (504, &json!(1006)));
    hung.logged("why=\"stuck\"").await;
    // There is no such program: its guard says so and ends.
    let none = Gateway::of("servers: { upstream: { command: /nonexistent/server } }\n").await;
    assert_eq!(Client::new(&none.url).post(&initialize()).await.status, 502);
    none.logged("/nonexistent/server").await;
}

#[tokio::test]
async fn an_idle_session_ends_and_nothing_outlives_the_gateway() {
    let short = gateway("--quiet", "processes: { idle: 50ms }\n").await;
    let client = Client::new(&short.url);
    let begun = client.post(&initialize()).await;
    assert_eq!(begun.status, 200);
    let client = client.with("mcp-session-id", begun.header("mcp-session-id"));
    short.logged("why=\"idle\"").await;
    assert_eq!(client.post(&call(1, "echo", json!({}))).await.status, 404);

    let stopped = gateway("--quiet", "").await;
    let session = Session::begin(&stopped).await;
    let shared = said(&stateless(&stopped, 1, "who").await.json().await)["pid"].clone();
    stopped.stop().await;
    // In order: they were told by the end of their input, and had their time.
    for pid in [session.pid, u32::try_from(shared.as_u64().unwrap()).unwrap()] {
        gone(pid).await;
    }
}
