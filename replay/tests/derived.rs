//! Captures made from captures by the real binary: whole, verified, and with nothing in them that should not be.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../scan/tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use capture::labels::{self, Label, Labels, Said};
use capture::{BreakKind, Reader, Record, VerifyOptions, verify};
use common::{Bodies, MORE, RULES, compile, record, rows, unjudgeable};
use inspect::Policy;
use serde_json::Value;
use tempfile::TempDir;

/// Runs a verb with `--json`; gives its summary.
fn run(args: &[&str]) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wiregate-replay"));
    let output = command.args(args).arg("--json").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::String(stderr));
    (output.status.code().unwrap(), value)
}

fn capture(bodies: Bodies) -> TempDir {
    let set = compile(&[RULES]);
    let mut all = rows(&set, &Policy::default(), bodies);
    all.extend(unjudgeable(&all[2].clone()));
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &set, &Policy::default(), all);
    dir
}

fn read(dir: &Path) -> Vec<Record> {
    Reader::open(dir).unwrap().map(Result::unwrap).collect()
}

fn verified(dir: &Path) {
    verified_with(dir, &VerifyOptions::default());
}

fn verified_with(dir: &Path, options: &VerifyOptions) {
    let report = verify(dir, options, &mut |_, _| ()).unwrap();
    // the settings these captures name have a made-up digest, and nobody signs them
    let broken = report.breaks.iter().filter(|found| found.kind != BreakKind::ChangedSidecar);
    assert_eq!(broken.count(), 0, "{report:?}");
}

/// `DIR/capture` beside which captures are made, as text.
fn names(from: &TempDir, root: &TempDir) -> (String, String) {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    (text(from.path()), text(&root.path().join("out")))
}

#[test]
fn a_slice_of_everything_is_the_source_row_by_row() {
    for bodies in [Bodies::Raw, Bodies::Redacted] {
        let (source, root) = (capture(bodies), tempfile::tempdir().unwrap());
        let (from, to) = names(&source, &root);
        let (code, summary) = run(&["slice", &from, "--out", &to]);
        assert_eq!(code, 0, "{summary}");
        let (before, after) = (read(source.path()), read(Path::new(&to)));
        assert_eq!(before, after);
        assert_eq!(summary["before"]["rows"], before.len());
        assert_eq!(summary["after"]["rows"], after.len());
        verified(Path::new(&to));
        for row in &after {
            if let Some(digest) = &row.ruleset_digest {
                capture::read_ruleset(Path::new(&to), digest).unwrap();
            }
        }
        let (code, _) = run(&["scan", &to, "--recorded"]);
        let (expected, _) = run(&["scan", &from, "--recorded"]);
        assert_eq!(code, expected);
    }
}

#[test]
fn a_slice_takes_whole_exchanges_and_the_labels_of_its_rows() {
    let (source, root) = (capture(Bodies::Raw), tempfile::tempdir().unwrap());
    let all = read(source.path());
    let label = |row: &Record| Label {
        writer_id: row.writer_id.as_deref().unwrap().to_owned(),
        seq: row.seq,
        rule: "*".to_owned(),
        label: Said::False,
        reason: String::new(),
        by: String::new(),
        at_us: 0,
    };
    labels::append(source.path(), &[label(&all[1]), label(&all[4])]).unwrap();
    let (from, _) = names(&source, &root);
    // two rows hold it; the others of their exchanges or sessions come along
    let kept = |whole: &str| {
        let to = root.path().join(whole);
        let args = ["slice", &from, "--out", to.to_str().unwrap(), "--text", "badge-1234"];
        let (code, summary) = run(&[&args[..], &["--whole", whole]].concat());
        assert_eq!((code, &summary["matched"]), (0, &Value::from(2)));
        verified(&to);
        read(&to)
    };
    let rows = kept("rows");
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [2, 6]);
    assert_eq!(Labels::read(root.path().join("rows")).unwrap().len(), 1);
    let of = |row: &Record, column: fn(&Record) -> &Option<capture::Str>| {
        column(row).is_some() && rows.iter().any(|kept| column(kept) == column(row))
    };
    let is_kept = |row: &&Record| rows.contains(row) || of(row, |row| &row.exchange_id);
    let expected: Vec<Record> = all.iter().filter(is_kept).cloned().collect();
    assert_eq!(kept("exchanges"), expected);
    let is_kept = |row: &&Record| rows.contains(row) || of(row, |row| &row.session_id);
    let expected: Vec<Record> = all.iter().filter(is_kept).cloned().collect();
    let sessions = kept("sessions");
    assert!(expected.len() > rows.len() && sessions.len() >= expected.len());
}

#[test]
fn nothing_is_written_over_and_nothing_is_left() {
    let (source, root) = (capture(Bodies::Raw), tempfile::tempdir().unwrap());
    let (from, to) = names(&source, &root);
    assert_eq!(run(&["slice", &from, "--out", &to, "--server", "nobody"]).0, 1);
    assert_eq!(run(&["redact", &from, "--out", &to, "--server", "nobody"]).0, 1);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    fs::create_dir(&to).unwrap();
    fs::write(root.path().join("out/mine"), "").unwrap();
    for verb in ["slice", "redact"] {
        let (code, error) = run(&[verb, &from, "--out", &to]);
        assert!(code == 2 && error.as_str().unwrap().contains("is not empty"), "{error}");
    }
    assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
}

#[test]
fn what_the_set_finds_is_gone_everywhere_and_bodies_stay_json() {
    for bodies in [Bodies::Raw, Bodies::Redacted] {
        let (source, root) = (capture(bodies), tempfile::tempdir().unwrap());
        let rules = root.path().join("rules.yaml");
        fs::write(&rules, [RULES, MORE.strip_prefix("rules:\n").unwrap()].concat()).unwrap();
        let rules = rules.to_str().unwrap();
        let (from, to) = names(&source, &root);
        let (code, summary) = run(&["redact", &from, "--out", &to, "--rules", rules]);
        assert_eq!(code, 0, "{summary}");
        verified(Path::new(&to));
        let (before, after) = (read(source.path()), read(Path::new(&to)));
        assert_eq!(before.len(), after.len());
        assert!(summary["redacted"].as_u64().unwrap() > 0);
        for (old, new) in before.iter().zip(&after) {
            // verdicts stay as they were recorded
            assert_eq!((&old.action, &old.rule_ids), (&new.action, &new.rule_ids));
            assert_eq!((&old.ruleset_digest, old.score), (&new.ruleset_digest, new.score));
            assert_eq!(old.body_len, new.body_len);
            let Some(body) = &new.body else { continue };
            serde_json::from_slice::<Value>(body).unwrap();
            let text = std::str::from_utf8(body).unwrap();
            for secret in ["tok_abc", "@example.com", "badge-1234"] {
                assert!(!text.contains(secret), "{text}");
            }
            let redactions = new.redactions.as_deref().unwrap_or("[]");
            for hidden in serde_json::from_str::<Vec<inspect::Redaction>>(redactions).unwrap() {
                let place = &text[hidden.start..hidden.start + hidden.length];
                assert!(hidden.strategy == "zeros" || place.contains("redacted:"), "{place}");
            }
        }
        // once more finds nothing
        let again = root.path().join("again");
        let again = again.to_str().unwrap();
        let (code, summary) = run(&["redact", &to, "--out", again, "--rules", rules]);
        assert_eq!((code, &summary["hidden"], &summary["withheld"]), (0, &0.into(), &0.into()));
        assert_eq!(read(Path::new(again)), after);
    }
}

#[test]
fn the_built_in_rules_find_nothing_in_what_they_redacted() {
    let set = compile(&[RULES]);
    let token = format!("ghp_{}", "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dF3hJ5");
    let texts = [
        "call me at +1 415 555 2671 or write to ann.lee@example.com".to_owned(),
        "card 4111 1111 1111 1111, iban DE89370400440532013000".to_owned(),
        format!("export GITHUB_TOKEN={token}"),
        "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
        "password: hunter2hunter2 and api_key = 'a8f5f167f44f4964e6c998dee827110c'".to_owned(),
    ];
    let first = rows(&set, &Policy::default(), Bodies::Raw)[1].clone();
    let row = |text: &String| {
        let body = serde_json::json!({"jsonrpc": "2.0", "id": 1,
            "result": {"content": [{"type": "text", "text": text}]}});
        Record { body: Some(body.to_string().into()), body_sha256: None, ..first.clone() }
    };
    let (source, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    record(source.path(), &set, &Policy::default(), texts.iter().map(row).collect());
    labels::append(
        source.path(),
        &[Label {
            writer_id: read(source.path())[0].writer_id.as_deref().unwrap().to_owned(),
            seq: 1,
            rule: "*".to_owned(),
            label: Said::False,
            reason: "ann said so".to_owned(),
            by: "bob".to_owned(),
            at_us: 0,
        }],
    )
    .unwrap();
    let (from, to) = names(&source, &root);
    let (code, summary) = run(&["redact", &from, "--out", &to]);
    assert_eq!((code, &summary["withheld"]), (0, &0.into()), "{summary}");
    assert!(summary["redacted"].as_u64().unwrap() >= 3, "{summary}");
    let labels = fs::read_to_string(root.path().join("out/labels.jsonl")).unwrap();
    assert!(!labels.contains("ann") && !labels.contains("bob"), "{labels}");
    let again = root.path().join("again");
    let (_, summary) = run(&["redact", &to, "--out", again.to_str().unwrap()]);
    assert_eq!((&summary["hidden"], &summary["withheld"]), (&0.into(), &0.into()), "{summary}");
}

#[test]
fn names_are_masked_alike_within_a_capture() {
    let (source, root) = (capture(Bodies::Raw), tempfile::tempdir().unwrap());
    let (from, to) = names(&source, &root);
    let masks = ["--mask", "session=pseudonym", "--mask", "server=drop", "--drop-bodies"];
    let (code, summary) = run(&[&["redact", &from, "--out", &to][..], &masks].concat());
    assert_eq!(code, 0, "{summary}");
    let (before, after) = (read(source.path()), read(Path::new(&to)));
    for (old, new) in before.iter().zip(&after) {
        assert!(new.server.is_none() && new.body.is_none());
        assert_eq!(old.session_id.is_some(), new.session_id.is_some());
        assert!(old.session_id.is_none() || old.session_id != new.session_id);
        for (other_old, other_new) in before.iter().zip(&after) {
            let same = old.session_id == other_old.session_id;
            assert_eq!(same, new.session_id == other_new.session_id);
        }
    }
    assert_eq!(run(&["redact", &from, "--out", &to, "--mask", "body=drop"]).0, 2);
}

#[test]
fn compaction_keeps_every_row_in_fewer_files_sorted() {
    let (source, root) = (capture(Bodies::Raw), tempfile::tempdir().unwrap());
    // a second writer beside the first
    let set = compile(&[RULES]);
    record(
        source.path(),
        &set,
        &Policy::default(),
        rows(&set, &Policy::default(), Bodies::Redacted),
    );
    let (from, to) = names(&source, &root);
    let key = root.path().join("key");
    let signer = capture::Signer::load_or_create(&key).unwrap();
    let (code, summary) = run(&["compact", &from, "--out", &to, "--sign", key.to_str().unwrap()]);
    assert_eq!(code, 0, "{summary}");
    verified(Path::new(&to));
    assert_eq!(summary["before"]["rows"], summary["after"]["rows"]);
    let keys = VerifyOptions { keys: vec![signer.id()], ..VerifyOptions::default() };
    verified_with(Path::new(&to), &keys);
    let files = |of: &str| summary[of]["files"].as_u64().unwrap();
    assert!(files("after") < files("before"), "{summary}");
    let (mut before, after) = (read(source.path()), read(Path::new(&to)));
    let key = |row: &Record| (row.session_id.clone(), row.ts_us, row.writer_id.clone(), row.seq);
    before.sort_by_key(key);
    assert_eq!(before, after);
    // once more changes nothing
    let again = root.path().join("again");
    run(&["compact", &to, "--out", again.to_str().unwrap(), "--memory", "1"]);
    assert_eq!(read(&again), after);
    verified(&again);
}
