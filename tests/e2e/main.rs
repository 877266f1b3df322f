//! End-to-end tests: the real binary between a client and a server that the test holds in its hands.
//!
//! One test binary, one file for each question. What any MCP peer would see is asked here; how the parts inside work is
//! asked beside them. The harness is the library of this package.

#![expect(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should")]

mod bodies;
mod bridge_to_legacy;
mod bridge_to_modern;
mod capture;
mod catalog;
mod certs;
mod columns;
mod face;
mod http3;
mod http3_client;
mod input;
mod mtls;
mod packs;
mod pins;
mod processes;
mod readings;
mod recording;
mod registry;
mod relay;
mod replay;
mod replicas;
mod security;
mod transports;
mod upstream;
mod verdicts;
mod wrap;

use std::path::Path;

use ::capture::{Reader, Record};
use serde_json::{Value, json};
use tests::{Client, FakeServer, Gateway, call, within};

/// A server that returns what it was sent as a text.
pub(crate) async fn echo() -> FakeServer {
    FakeServer::start(|exchange| {
        if exchange.message()["id"].is_null() {
            return exchange.raw(202, &[], "");
        }
        let text = exchange.message()["params"]["arguments"]["message"].clone();
        exchange.result(json!({"content": [{"type": "text", "text": text}]}));
    })
    .await
}

/// Every row of a capture, in the order its writers wrote them.
pub(crate) fn rows(dir: &Path) -> Vec<Record> {
    let reader = Reader::open(dir).unwrap();
    let mut rows: Vec<Record> = reader.map(Result::unwrap).collect();
    rows.sort_by(|a, b| (&a.writer_id, a.seq).cmp(&(&b.writer_id, b.seq)));
    rows
}

/// A key of the form AWS gives out. It opens nothing; put together here so that no scanner takes it for one that does.
pub(crate) fn key() -> String {
    ["AKIA", "QYLPMN5HHHFPZAM2"].concat()
}

/// Proves that a client other than the one that misbehaved is still served.
pub(crate) async fn assert_serves(gateway: &Gateway) {
    let answer =
        Client::new(&gateway.url).post(&call("other", "echo", json!({"message": "hello"}))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json().await["result"]["content"][0]["text"], "hello");
}

/// The value of a metric without labels, from the admin address.
pub(crate) async fn metric(gateway: &Gateway, name: &str) -> f64 {
    metric_of(gateway, name).await.unwrap_or_else(|| panic!("no {name}"))
}

/// The value of a metric, labels and all; none when nothing was counted.
pub(crate) async fn metric_of(gateway: &Gateway, name: &str) -> Option<f64> {
    let client = Client::new(&format!("{}/metrics", gateway.admin));
    let text = String::from_utf8(client.get().await.bytes().await.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.trim().parse().unwrap())
}

/// The error of a JSON-RPC answer: id and code.
pub(crate) fn error(answer: &Value) -> (&Value, i64) {
    assert_eq!(answer["jsonrpc"], "2.0", "{answer}");
    (
        &answer["id"],
        answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {answer}")),
    )
}

#[tokio::test]
async fn it_stops_in_order() {
    let server = echo().await;
    let gateway = Gateway::before(&server.url).await;
    assert_serves(&gateway).await;
    let (_dir, status) = within("the end", gateway.stop()).await;
    assert!(status.success(), "{status}");
}
