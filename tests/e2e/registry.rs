//! Servers in a folder: one that comes, changes and goes while the gateway runs, and approvals.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tests::{Client, FakeServer, Gateway, call, modern, request, within};
use tokio::process::Command;

use crate::{error, metric_of};

/// A server that says which one it is.
async fn named(name: &'static str) -> FakeServer {
    FakeServer::start(move |exchange| {
        let text = json!({"content": [{"type": "text", "text": name}]});
        let list = json!({"tools": [], "ttlMs": 0, "cacheScope": "private"});
        let found = json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": name, "version": "1"}}});
        if exchange.method == "GET" {
            tokio::spawn(async move {
                let _open = exchange.stream(&[]);
                std::future::pending::<()>().await;
            });
            return;
        }
        match exchange.message()["method"].as_str() {
            Some("server/discover") => exchange.result(found),
            Some("tools/list") => exchange.result(list),
            _ => exchange.result(text),
        }
    })
    .await
}

/// A folder of servers, and a gateway that watches it beside the one server of its file.
struct Bed {
    gateway: Gateway,
    servers: PathBuf,
    _first: FakeServer,
    _dir: tempfile::TempDir,
}

impl Bed {
    async fn new(yaml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let servers = dir.path().join("servers");
        std::fs::create_dir(&servers).unwrap();
        let first = named("first").await;
        let registry =
            format!("registry: {{ dir: {}, watch_every: 50ms{yaml} }}\n", servers.display());
        let gateway = Gateway::configured(&first.url, &registry).await;
        Self { gateway, servers, _first: first, _dir: dir }
    }

    fn put(&self, name: &str, text: &str) {
        // Beside its place and then there, as an editor does.
        let new = self.servers.join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.servers.join(name)).unwrap();
    }

    /// What the server of this name answers: its text, or an error's code.
    async fn says(&self, name: &str) -> Value {
        let base = self.gateway.url.split("/mcp").next().unwrap();
        let asked = modern(call(1, "who", json!({})));
        let client = Client::modern(&format!("{base}/mcp/{name}"), &asked);
        let answer = client.post(&asked).await.json().await;
        match answer["error"]["code"].as_i64() {
            Some(code) => json!(code),
            None => answer["result"]["content"][0]["text"].clone(),
        }
    }

    /// Asks again until the answer is `wanted`, which ends at the latest with [`within`]'s panic.
    async fn until(&self, name: &str, wanted: &Value) {
        within("another answer", async {
            while self.says(name).await != *wanted {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn reloads(&self, outcome: &str) -> f64 {
        let name = format!("wiregate_config_reloads_total{{outcome=\"{outcome}\"}}");
        metric_of(&self.gateway, &name).await.unwrap_or(0.0)
    }
}

#[tokio::test]
async fn a_server_comes_changes_and_goes_and_the_others_stay() {
    let bed = Bed::new("").await;
    assert_eq!(bed.says("upstream").await, "first");
    assert_eq!(bed.says("other").await, 1008, "there is none yet");
    let (one, two) = (named("one").await, named("two").await);
    bed.put("other.yaml", &format!("url: {}\n", one.url));
    bed.until("other", &json!("one")).await;
    bed.put("other.yaml", &format!("url: {}\n", two.url));
    bed.until("other", &json!("two")).await;
    // A stream that two holds open ends when two goes.
    let base = bed.gateway.url.split("/mcp").next().unwrap();
    let mut events = Client::new(&format!("{base}/mcp/other")).get().await.events();
    assert_eq!(bed.says("upstream").await, "first");
    std::fs::remove_file(bed.servers.join("other.yaml")).unwrap();
    bed.until("other", &json!(1008)).await;
    assert!(within("the end of a stream", events.next()).await.is_none());
    assert_eq!(bed.says("upstream").await, "first");
    assert_eq!(bed.reloads("changed").await, 3.0);
}

#[tokio::test]
async fn a_broken_file_changes_nothing() {
    let bed = Bed::new("").await;
    let one = named("one").await;
    bed.put("other.yaml", &format!("url: {}\n", one.url));
    bed.until("other", &json!("one")).await;
    bed.put("broken.yaml", "url: http://127.0.0.1:9/mcp\nuri: no\n");
    bed.gateway.logged("broken.yaml:2:").await;
    assert_eq!(bed.says("other").await, "one");
    assert_eq!(bed.says("broken").await, 1008);
    let ready = Client::new(&format!("{}/readyz", bed.gateway.admin)).get().await;
    assert_eq!(ready.status, 200);
    within("the count", async {
        while bed.reloads("refused").await < 1.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    std::fs::remove_file(bed.servers.join("broken.yaml")).unwrap();
    bed.put("third.yaml", &format!("url: {}\n", one.url));
    bed.until("third", &json!("one")).await;
}

/// `wiregate servers` on this folder.
async fn servers(dir: &Path, args: &[&str]) -> Output {
    let built = tokio::task::spawn_blocking(tests::binaries).await.unwrap();
    let mut command = Command::new(&built.wiregate);
    command.arg("servers").args(args).arg("--dir").arg(dir).arg("--config").arg("/none.yaml");
    within("wiregate servers", command.output()).await.unwrap()
}

#[tokio::test]
async fn who_is_not_approved_is_refused_until_it_is() {
    let bed = Bed::new(", require_vetted: true").await;
    // The server of the file was not approved either.
    assert_eq!(bed.says("upstream").await, 1010);
    bed.gateway.logged("not vetted as it is defined").await;
    let one = named("one").await;
    let connections = std::sync::Arc::clone(&one.connections);
    let asked_before = |n| assert_eq!(connections.load(std::sync::atomic::Ordering::Relaxed), n);
    bed.put("other.yaml", &format!("url: {}\n", one.url));
    bed.until("other", &json!(1010)).await;
    let base = bed.gateway.url.split("/mcp").next().unwrap().to_owned();
    let list = modern(request(2, "tools/list", json!({})));
    let client = Client::modern(&format!("{base}/mcp/other"), &list);
    let answer = client.post(&list).await;
    assert_eq!(answer.status, 403);
    let answer = answer.json().await;
    assert_eq!(error(&answer), (&json!(2), 1010));
    let legacy = Client::new(&format!("{base}/mcp/other"));
    assert_eq!(legacy.get().await.status, 403);
    assert_eq!(legacy.delete().await.status, 403);
    asked_before(0);

    let vetted = servers(&bed.servers, &["vet", "other", "--approve", "--json"]).await;
    assert_eq!(vetted.status.code(), Some(0), "{vetted:?}");
    let report: Value = serde_json::from_slice(&vetted.stdout).unwrap();
    assert_eq!(report["fails"], false, "{report}");
    bed.until("other", &json!("one")).await;

    // Another definition is not approved.
    let two = named("two").await;
    bed.put("other.yaml", &format!("url: {}\n", two.url));
    bed.until("other", &json!(1010)).await;

    // What fails is not approved.
    bed.put("far.yaml", "url: http://far.example/mcp\n");
    let refused = servers(&bed.servers, &["vet", "far", "--approve"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(!bed.servers.join("far.vetted.json").exists());
}

#[tokio::test]
async fn a_probe_tells_who_answers() {
    let bed = Bed::new("").await;
    let one = named("one").await;
    bed.put("one.yaml", &format!("url: {}\n", one.url));
    let there = servers(&bed.servers, &["probe", "one", "--json"]).await;
    assert_eq!(there.status.code(), Some(0), "{there:?}");
    let report: Value = serde_json::from_slice(&there.stdout).unwrap();
    assert_eq!(report["servers"][0]["name"], "one");
    // A port that nobody listens on: its listener is gone.
    let gone = named("gone").await.url.clone();
    bed.put("gone.yaml", &format!("url: {gone}\n"));
    let some = servers(&bed.servers, &["probe", "--all", "--json"]).await;
    assert_eq!(some.status.code(), Some(1), "{some:?}");
    let report: Value = serde_json::from_slice(&some.stdout).unwrap();
    let reached = |n: usize| report["servers"][n]["reached"].clone();
    assert_eq!((reached(0), reached(1)), (json!(false), json!(true)));
    assert_eq!(servers(&bed.servers, &["probe", "nobody"]).await.status.code(), Some(2));
}
