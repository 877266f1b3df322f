//! What is kept of bodies: no secret lies on the disk in the clear, even after a kill, and rules say what is recorded.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::capture::{Identity, Recorder, RecorderConfig};
use serde_json::json;
use tests::{Client, Gateway, call, within};

use crate::{echo, key, metric, rows};

/// A private key published with its public one in the age project's test vectors; put together so that no scanner
/// takes it for one that is in use.
fn identity() -> Identity {
    let text = ["AGE-SECRET-", "KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33"];
    Identity::parse(&text.concat()).unwrap()
}

/// Every file below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn ending<'a>(files: &'a [PathBuf], end: &str) -> impl Iterator<Item = &'a PathBuf> {
    files.iter().filter(move |path| path.to_string_lossy().ends_with(end))
}

/// What a killed gateway left: its folder, and the secrets it had seen.
struct Left {
    dir: tempfile::TempDir,
    capture: PathBuf,
    secrets: [String; 2],
}

/// Drives secrets through a gateway until there are a finished file and a journal with rows, and kills it.
async fn killed(capture: &str) -> Left {
    let server = echo().await;
    let credential = ["upstream-", "credential-", "of-this-test"].concat();
    let yaml = format!(
        "servers:\n  upstream:\n    url: {}\n    headers: {{ X-Upstream: {credential} }}\n\
         inspect: {{ preset: audit }}\n\
         capture: {{ rotate_bytes: 60000, rotate_every: 600s, {capture} }}\n",
        server.url
    );
    let gateway = Gateway::of(&yaml).await;
    let client = Client::new(&gateway.url);
    // a second segment, with rows and far from its end: not in the midst of finishing a file
    let is_ripe = |path: &PathBuf| {
        let grown = std::fs::metadata(path).is_ok_and(|file| (8000..40_000).contains(&file.len()));
        grown && !path.ends_with("000000000001.wal")
    };
    let message = format!("the key is {} {}", key(), "and more ".repeat(300));
    let ripen = async {
        for n in 0.. {
            let answer = client.post(&call(n, "echo", json!({"message": message}))).await;
            assert!(answer.json().await["result"].is_object());
            // no faster than the disk, or a segment would be full with its first rows
            while metric(&gateway, "wiregate_capture_queue_rows").await > 0.0 {}
            if ending(&files(&gateway.capture), ".wal").any(is_ripe) {
                break;
            }
        }
    };
    within("a file and a journal", ripen).await;
    let capture = gateway.capture.clone();
    let dir = within("the gateway's end", gateway.kill()).await;
    let found = files(&capture);
    for kind in [".parquet", ".wal", ".parquet.tmp", ".yaml", ".json", ".jsonl"] {
        assert!(ending(&found, kind).next().is_some(), "no {kind} among {found:?}");
    }
    Left { dir, capture, secrets: [key(), credential] }
}

impl Left {
    /// The files and rows in which a secret stands in the clear.
    fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        for secret in &self.secrets {
            // the state folder as well: keys, pins
            for path in files(self.dir.path()) {
                let is_given = path.ends_with("wiregate.yaml");
                if !is_given && holds(&std::fs::read(&path).unwrap(), secret) {
                    leaks.push(path.display().to_string());
                }
            }
            for row in rows(&self.capture) {
                let body = row.body.as_deref().is_some_and(|body| holds(body, secret));
                if body || format!("{row:?}").contains(secret) {
                    leaks.push(format!("row {}", row.seq));
                }
            }
        }
        leaks
    }

    /// Turns what is in the journal into files, as the next gateway does.
    fn recover(&self) {
        let before = rows(&self.capture).len();
        let recorder = Recorder::open(RecorderConfig::new(&self.capture)).unwrap();
        recorder.close(Duration::from_secs(20)).unwrap();
        assert!(rows(&self.capture).len() > before, "the journal held rows");
    }
}

#[tokio::test]
async fn a_kill_leaves_no_secret_in_a_redacted_capture() {
    let left = killed("bodies: redacted").await;
    assert_eq!(left.leaks(), [""; 0]);
    left.recover();
    assert_eq!(left.leaks(), [""; 0]);
    assert!(rows(&left.capture).iter().all(|row| row.body_sealed.is_none()));
}

#[tokio::test]
async fn escrow_leaves_no_secret_in_the_clear_and_its_keeper_reads_all() {
    let keeper = identity();
    let recipient = keeper.recipients().concat();
    let left = killed(&format!("bodies: escrow, escrow: {{ recipients: [{recipient}] }}")).await;
    assert_eq!(left.leaks(), [""; 0]);
    left.recover();
    assert_eq!(left.leaks(), [""; 0]);
    let redacted = |row: &::capture::Record| row.redaction_state.as_deref() == Some("redacted");
    let rows: Vec<_> = rows(&left.capture).into_iter().filter(redacted).collect();
    assert!(rows.len() > 10, "requests and answers");
    for row in rows {
        let original = keeper.open(&row).expect("sealed to this keeper");
        assert!(holds(&original, &key()));
        assert_eq!(Some(original.len() as i64), row.body_len);
    }
}

/// The control: were nothing redacted, the search would find it in each place.
#[tokio::test]
async fn a_raw_capture_is_found_out() {
    let left = killed("bodies: raw").await;
    let leaks = left.leaks();
    assert!(leaks.iter().any(|leak| leak.ends_with(".wal")), "{leaks:?}");
    assert!(leaks.iter().any(|leak| leak.starts_with("row ")), "{leaks:?}");
}

#[tokio::test]
async fn rules_say_what_is_recorded() {
    let server = echo().await;
    let rules = "inspect: { preset: audit }\ncapture:\n  rules:\n\
        \x20   - { tools: [quiet_*], record: off }\n\
        \x20   - { tools: [brief], record: metadata }\n\
        \x20   - { tools: [drawn], sample: 0 }\n";
    let gateway = Gateway::configured(&server.url, rules).await;
    let client = Client::new(&gateway.url);
    for (n, tool) in ["quiet_one", "brief", "drawn", "other"].into_iter().enumerate() {
        client.post(&call(n, tool, json!({"message": "hello"}))).await.bytes().await;
    }
    client.post(&call(9, "drawn", json!({"message": key()}))).await.bytes().await;
    assert_eq!(metric(&gateway, "wiregate_capture_left_out_total").await, 2.0);
    let capture = gateway.capture.clone();
    let _dir = within("the end", gateway.stop()).await;

    let rows = rows(&capture);
    let of = |tool: &'static str| rows.iter().filter(move |row| row.name.as_deref() == Some(tool));
    assert_eq!(of("quiet_one").count(), 0);
    for row in of("brief") {
        assert!(row.body.is_none() && row.body_len.is_some_and(|length| length > 0));
        assert_eq!(row.redaction_state.as_deref(), Some("withheld"));
    }
    assert_eq!((of("brief").count(), of("other").count(), of("drawn").count()), (2, 2, 4));
    assert!(of("other").all(|row| row.body.is_some()));
    // what was found is kept, whatever the draw
    let kept = of("drawn").filter(|row| row.body.is_some());
    assert!(kept.clone().all(|row| !row.rule_ids.is_empty()));
    assert_eq!(kept.count(), 2);
}
