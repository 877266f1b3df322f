//! What traffic meets when it can't be recorded: served or refused, as configured, and the health pages tell.

use serde_json::{Value, json};
use tests::{Client, FakeServer, Gateway, call, within};

use crate::{echo, error, metric, rows};

/// No disk has so much left: to the recorder it is full.
const FULL: &str = "min_free: 1000000TB";

async fn gateway(server: &FakeServer, capture: &str) -> Gateway {
    Gateway::configured(&server.url, &format!("capture: {{ {capture} }}\n")).await
}

async fn page(gateway: &Gateway, path: &str) -> (u16, Value) {
    let answer = Client::new(&format!("{}{path}", gateway.admin)).get().await;
    (answer.status, answer.json().await)
}

async fn ask(gateway: &Gateway, n: u64) -> (u16, Value) {
    let answer =
        Client::new(&gateway.url).post(&call(n, "echo", json!({"message": "hello"}))).await;
    (answer.status, answer.json().await)
}

/// Until the health page says so; the recorder finds out on its own thread.
async fn until_it_is(gateway: &Gateway, state: &str) -> Value {
    let told = async {
        loop {
            let (status, body) = page(gateway, "/healthz").await;
            assert_eq!(status, 200, "the process answers whatever the recorder does");
            if body["capture"] == state {
                return body;
            }
            tokio::task::yield_now().await;
        }
    };
    within(state, told).await
}

fn balanced(recorder: &Value) -> bool {
    let count = |name: &str| recorder[name].as_u64().unwrap_or_else(|| panic!("{recorder}"));
    count("enqueued") == count("written") + count("dropped") + count("in_queue")
}

#[tokio::test]
async fn by_default_a_full_disk_does_not_stop_traffic() {
    let server = echo().await;
    let gateway = gateway(&server, &format!("{FULL}, on_disk_full: refuse")).await;
    let (status, answer) = ask(&gateway, 1).await;
    assert_eq!((status, &answer["result"]["content"][0]["text"]), (200, &json!("hello")));
    let health = until_it_is(&gateway, "failing").await;
    assert!(balanced(&health["recorder"]), "{health}");
    assert_eq!(page(&gateway, "/readyz").await.0, 200, "it serves");
    assert_eq!(ask(&gateway, 2).await.0, 200);
}

#[tokio::test]
async fn a_full_disk_refuses_traffic_where_that_is_asked_for() {
    let server = echo().await;
    let gateway =
        gateway(&server, &format!("{FULL}, on_disk_full: refuse, on_overflow: refuse")).await;
    // the first finds it out
    ask(&gateway, 1).await;
    let health = until_it_is(&gateway, "failing").await;
    assert!(health["recorder"]["why"].as_str().unwrap().contains("disk"), "{health}");
    let (status, answer) = ask(&gateway, 2).await;
    assert_eq!((status, error(&answer)), (503, (&json!(2), 1011)));
    assert_eq!(page(&gateway, "/readyz").await.0, 503);
}

#[tokio::test]
async fn what_must_be_recorded_does_not_reach_the_server_unrecorded() {
    let server = echo().await;
    let gateway = gateway(&server, &format!("{FULL}, on_disk_full: refuse, audit: required")).await;
    let (status, answer) = ask(&gateway, 1).await;
    assert_eq!((status, error(&answer)), (503, (&json!(1), 1011)));
    assert_eq!(metric(&gateway, "wiregate_capture_written_total").await, 0.0);
    assert_eq!(page(&gateway, "/readyz").await.0, 503);
}

#[tokio::test]
async fn a_full_disk_can_leave_out_bodies_alone() {
    let server = echo().await;
    let yaml = format!("{FULL}, on_disk_full: metadata_only, audit: required");
    let gateway = gateway(&server, &yaml).await;
    assert_eq!(ask(&gateway, 1).await.0, 200);
    until_it_is(&gateway, "degraded").await;
    assert_eq!(page(&gateway, "/readyz").await.0, 200);
    let capture = gateway.capture.clone();
    let _dir = within("the end", gateway.stop()).await;
    let rows = rows(&capture);
    assert!(rows.len() >= 2);
    for row in rows {
        assert_eq!((row.body, row.redaction_state.as_deref()), (None, Some("withheld")));
        assert!(row.body_len > Some(0), "its length is still told");
    }
}

#[tokio::test]
async fn an_answer_comes_once_it_is_on_the_disk() {
    let server = echo().await;
    // no group commit of its own accord within the test: a row that is waited for makes its own
    let gateway = gateway(&server, "audit: required, journal: every").await;
    for n in 1..=20 {
        assert_eq!(ask(&gateway, n).await.0, 200);
        let durable = metric(&gateway, "wiregate_capture_durable_total").await;
        assert!(durable >= 2.0 * n as f64, "{n} calls answered, {durable} rows durable");
    }
}

#[tokio::test]
async fn each_event_of_a_stream_waits_for_its_row() {
    let mut server = FakeServer::by_hand().await;
    let gateway = gateway(&server, "audit: required").await;
    let client = Client::new(&gateway.url);
    let message = call(7, "slow", json!({}));
    let (answer, mut outlet) = tokio::join!(client.post(&message), async {
        let exchange = within("the call", server.asked()).await;
        exchange.stream(&[])
    });
    let mut events = answer.events();
    for n in 0..3 {
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": n}});
        assert!(outlet.event(&progress).await);
        assert_eq!(within("it", events.next()).await.unwrap().message()["params"]["progress"], n);
        let durable = metric(&gateway, "wiregate_capture_durable_total").await;
        assert!(durable >= f64::from(2 + n), "{durable}");
    }
    outlet.event(&json!({"jsonrpc": "2.0", "id": 7, "result": {"content": []}})).await;
    assert_eq!(within("the answer", events.next()).await.unwrap().message()["id"], 7);
}

#[tokio::test]
async fn a_folder_that_takes_nothing_stops_required_traffic_until_it_does_again() {
    let server = echo().await;
    let gateway = gateway(&server, "audit: required, audit_timeout: 20s").await;
    assert_eq!(ask(&gateway, 1).await.0, 200);
    // what is no folder takes no files, whoever asks: even root
    let aside = gateway.capture.with_extension("aside");
    std::fs::rename(&gateway.capture, &aside).unwrap();
    std::fs::remove_dir_all(&aside).unwrap();
    std::fs::write(&gateway.capture, "in the way").unwrap();
    let (status, answer) = ask(&gateway, 2).await;
    assert_eq!((status, error(&answer).1), (503, 1011));
    let health = until_it_is(&gateway, "failing").await;
    assert!(balanced(&health["recorder"]), "{health}");
    std::fs::remove_file(&gateway.capture).unwrap();
    // refusals are recorded too: the first that reaches the disk opens the way again
    let served = async {
        while ask(&gateway, 3).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    within("the recorder's recovery", served).await;
}
