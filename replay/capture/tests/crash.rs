//! Processes that are killed while they record: what they acknowledged is found again, and nobody else is harmed.
//!
//! The test program starts itself as the child (`child`, which does nothing unless told to by its environment).

#![expect(clippy::unwrap_used, reason = "a test that fails here should stop here")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use capture::{Reader, Record, Recorder, RecorderConfig, VerifyOptions, verify};

const SOON: Duration = Duration::from_secs(120);

/// Records rows and prints the id of each once it is durable: without end, or `COUNT` and then in good order.
#[test]
fn child() {
    let Some(dir) = std::env::var_os("CAPTURE_CHILD_DIR") else {
        return;
    };
    let name = std::env::var("CAPTURE_CHILD_NAME").unwrap();
    let count: u64 = std::env::var("CAPTURE_CHILD_COUNT").unwrap().parse().unwrap();
    // small files, so that the kill meets every stage of their making
    let config = RecorderConfig { rotate_bytes: 300_000, ..RecorderConfig::new(dir) };
    let recorder = Recorder::open(config).unwrap();
    let mut tickets = Vec::new();
    for number in 0..count {
        let id = format!("{name}-{number}");
        let record = Record {
            ts_us: 1_763_855_000_000_000 + number as i64 * 1_000_000,
            kind: Some("request".into()),
            rpc_id: Some(id.as_str().into()),
            body: Some(Bytes::from(format!("{{\"id\":\"{id}\",\"pad\":\"{}\"}}", "x".repeat(500)))),
            ..Record::default()
        };
        tickets.push((id, recorder.try_record(record).unwrap()));
        if tickets.len() == 64 || number + 1 == count {
            let mut out = std::io::stdout().lock();
            for (id, ticket) in tickets.drain(..) {
                ticket.wait(SOON).unwrap();
                writeln!(out, "durable {id}").unwrap();
            }
            out.flush().unwrap();
        }
    }
    recorder.close(SOON).unwrap();
}

fn spawn(dir: &Path, name: &str, count: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env("CAPTURE_CHILD_DIR", dir)
        .env("CAPTURE_CHILD_NAME", name)
        .env("CAPTURE_CHILD_COUNT", count.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The ids the child acknowledges; kills it after `kill_after` of them, and still reads what it had printed.
fn acknowledged(child: &mut Child, kill_after: Option<usize>) -> Vec<String> {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut ids, mut line) = (Vec::new(), String::new());
    while output.read_line(&mut line).unwrap() > 0 {
        if let Some(id) = line.trim_end_matches('\n').strip_prefix("durable ")
            && line.ends_with('\n')
        {
            ids.push(id.to_owned());
        }
        line.clear();
        if Some(ids.len()) == kill_after {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    ids
}

/// All ids in the files, each of which must be there once.
fn recorded(dir: &Path) -> HashSet<String> {
    let mut ids = HashSet::new();
    for row in Reader::open(dir).unwrap() {
        let row = row.unwrap();
        let id = row.rpc_id.as_deref().unwrap().to_owned();
        let body = row.body.unwrap();
        assert!(std::str::from_utf8(&body).unwrap().contains(&id), "{id} has its own body");
        assert!(ids.insert(id.clone()), "{id} is there twice");
    }
    ids
}

#[test]
fn twenty_kills_lose_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut durable = Vec::new();
    for round in 0..20 {
        // each child also recovers what its predecessor left
        let mut child = spawn(dir.path(), &format!("r{round}"), u64::MAX);
        let ids = acknowledged(&mut child, Some(1 + round * 97));
        assert!(ids.len() > round * 97);
        durable.extend(ids);
    }
    let stats = Recorder::open(RecorderConfig::new(dir.path())).unwrap().close(SOON).unwrap();
    assert_eq!(stats.errors, 0, "{:?}", stats.last_error);
    let found = recorded(dir.path());
    let missing: Vec<_> = durable.iter().filter(|id| !found.contains(*id)).collect();
    assert!(missing.is_empty(), "lost {missing:?} of {}", durable.len());
    let journals = std::fs::read_dir(dir.path().join("journal")).unwrap().count();
    assert_eq!(journals, 0, "nothing is left in the journals");
    let report = verify(dir.path(), &VerifyOptions::default(), &mut |_, _| {}).unwrap();
    assert!(report.holds(), "{report:?}");
}

#[test]
fn of_eight_writers_one_dies_and_none_is_harmed() {
    let dir = tempfile::tempdir().unwrap();
    let mut children: Vec<Child> =
        (0..8).map(|writer| spawn(dir.path(), &format!("w{writer}"), 2000)).collect();
    let killed = acknowledged(&mut children[3], Some(400));
    // a newcomer recovers the dead one's journal while the others write
    let late = acknowledged(&mut spawn(dir.path(), "late", 500), None);
    assert_eq!(late.len(), 500);
    for (writer, child) in children.iter_mut().enumerate().filter(|(writer, _)| *writer != 3) {
        assert_eq!(acknowledged(child, None).len(), 2000, "writer {writer}");
    }
    Recorder::open(RecorderConfig::new(dir.path())).unwrap().close(SOON).unwrap();
    let found = recorded(dir.path());
    assert!(killed.iter().chain(&late).all(|id| found.contains(id)));
    for writer in (0..8).filter(|writer| *writer != 3) {
        let theirs = format!("w{writer}-");
        assert_eq!(found.iter().filter(|id| id.starts_with(&theirs)).count(), 2000);
    }
}
