//! The real binary on captures made here: output, exit codes, help. Snapshots in `snapshots/`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../scan/tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::{Bodies, MORE, RULES, compile, record, rows, unjudgeable};
use inspect::Policy;
use tempfile::TempDir;

/// Runs the binary in a zone that must not matter, away from any terminal.
fn run(args: &[&str]) -> Output {
    run_in(Path::new("."), args)
}

fn run_in(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wiregate-replay"))
        .args(args)
        .current_dir(dir)
        .env("TZ", "Pacific/Kiritimati")
        .env("COLUMNS", "100")
        .output()
        .unwrap()
}

/// Exit code and both streams, as a snapshot.
fn shown(args: &[&str]) -> String {
    text(run(args))
}

fn text(output: Output) -> String {
    let [stdout, stderr] = [output.stdout, output.stderr].map(|s| String::from_utf8(s).unwrap());
    let code = output.status.code().unwrap();
    format!("{stdout}--- stderr\n{stderr}--- exit code {code}\n")
}

/// What differs from run to run is hidden: the writer and digests.
fn snapshot(name: &str, text: &str) {
    insta::with_settings!({
        omit_expression => true,
        prepend_module_to_snapshot => false,
        filters => vec![
            (r#""writer_id": ?"[^"]+""#, r#""writer_id":"WRITER""#),
            (r"(?m)(newly (?:caught|missed) .* \d+  )\S+$", "${1}WRITER"),
            (r"\b[0-9a-f]{64}\b", "DIGEST"),
        ],
    }, { insta::assert_snapshot!(name, text) });
}

/// A capture with judged and unjudgeable rows.
fn capture(bodies: Bodies) -> TempDir {
    let set = compile(&[RULES]);
    let mut all = rows(&set, &Policy::default(), bodies);
    all.extend(unjudgeable(&all[2].clone()));
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &set, &Policy::default(), all);
    dir
}

/// A folder of rule files.
fn rule_folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn path(dir: &TempDir) -> &str {
    dir.path().to_str().unwrap()
}

#[test]
fn help_of_each_verb() {
    for verb in [
        &[][..],
        &["show"],
        &["scan"],
        &["slice"],
        &["redact"],
        &["compact"],
        &["test"],
        &["test", "rules"],
        &["lint"],
        &["import"],
        &["import", "gitleaks"],
        &["import", "noseyparker"],
        &["catalogue"],
    ] {
        let name = [&["help"], verb].concat().join("_");
        snapshot(&name, &shown(&[verb, &["--help"]].concat()));
    }
}

#[test]
fn the_reference_is_up_to_date() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/CLI.md");
    let fresh = String::from_utf8(run(&["reference"]).stdout).unwrap();
    if std::env::var_os("WIREGATE_BLESS").is_some() {
        fs::write(file, &fresh).unwrap();
    }
    let stored = fs::read_to_string(file).unwrap_or_default();
    assert!(stored == fresh, "CLI.md is stale: WIREGATE_BLESS=1 cargo test -p replay");
}

#[test]
fn show_as_a_table() {
    let dir = capture(Bodies::Redacted);
    let show = |args: &[&str]| shown(&[&["show", path(&dir)], args].concat());
    snapshot("show_table", &show(&["--width", "110"]));
    snapshot("show_table_narrow", &show(&["--width", "80", "--limit", "4"]));
    snapshot("show_table_bodies", &show(&["--body", "--columns", "seq,kind,redaction_state"]));
}

#[test]
fn show_as_json_lines() {
    let dir = capture(Bodies::Redacted);
    let show = |args: &[&str]| shown(&[&["show", path(&dir), "--json"], args].concat());
    snapshot("show_json", &show(&["--limit", "3"]));
    snapshot("show_json_body", &show(&["--columns", "seq,body,body_raw", "--text", "evil"]));
    let all = String::from_utf8(run(&["show", path(&dir), "--json", "--body"]).stdout).unwrap();
    for line in all.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert_eq!(all.lines().count(), 15);
}

#[test]
fn show_filters() {
    let dir = capture(Bodies::Raw);
    for (args, expected) in [
        (
            &["--since", "2026-11-22T09:00:01Z", "--until", "2026-11-22T10:00:02+01:00"][..],
            vec![5, 6, 7, 8],
        ),
        (&["--since", "1795338002.25"], vec![10, 11, 12, 13, 14, 15]),
        (&["--server", "files"], vec![1, 2, 9]),
        (&["--tool", "get"], vec![6]),
        (&["--session", "00000000000000bb", "--server", "web"], vec![6, 7, 8]),
        (&["--rule", "test.unsafe.wipe"], vec![5]),
        (&["--action", "block"], vec![5]),
        (&["--kind", "transport"], vec![15]),
        (&["--kind", "error", "--direction", "to_client"], vec![8]),
        (&["--leg", "upstream"], vec![11]),
        (&["--text", "badge-1234"], vec![2, 6]),
        (&["--text", "badge-1234", "--limit", "1"], vec![2]),
        (&["--seq", "4"], vec![4]),
        (&["--writer", "nobody"], vec![]),
        (&["--server", "nobody"], vec![]),
    ] {
        let output = run(&[&["show", path(&dir), "--json", "--columns", "seq"], args].concat());
        let lines = String::from_utf8(output.stdout).unwrap();
        let seqs: Vec<i64> = lines
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_i64().unwrap()
            })
            .collect();
        assert_eq!(seqs, expected, "{args:?}");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn nothing_hostile_reaches_the_terminal() {
    let dir = capture(Bodies::Raw);
    let rules = rule_folder(&[("more.yaml", MORE)]);
    for args in [
        &["show", path(&dir), "--body"][..],
        &["show", path(&dir), "--body", "--json"],
        &["show", path(&dir), "--width", "50"],
        &["scan", path(&dir), "--rules", path(&rules)],
        &["scan", path(&dir), "--rules", path(&rules), "--json"],
    ] {
        let text = String::from_utf8(run(args).stdout).unwrap();
        let hostile = text.chars().find(|c| *c != '\n' && scan::text::is_hostile(*c));
        assert_eq!(hostile, None, "{args:?}\n{text:?}");
    }
}

#[test]
fn scan_reports() {
    let rules = rule_folder(&[("all.yaml", RULES), ("more.yaml", MORE)]);
    for (bodies, name) in [(Bodies::Raw, "raw"), (Bodies::Redacted, "redacted")] {
        let dir = capture(bodies);
        let scan = |args: &[&str]| shown(&[&["scan", path(&dir)], args].concat());
        snapshot(&format!("scan_recorded_{name}"), &scan(&["--recorded"]));
        let args = ["--rules", path(&rules), "--without", "test.pii.mail"];
        snapshot(&format!("scan_differs_{name}"), &scan(&args));
    }
    let dir = capture(Bodies::Redacted);
    let args = ["scan", path(&dir), "--rules", path(&rules), "--preset", "strict", "--json"];
    snapshot("scan_json", &shown(&args));
}

#[test]
fn scan_refuses_what_makes_no_sense() {
    let dir = capture(Bodies::Raw);
    let empty = tempfile::tempdir().unwrap();
    let broken = rule_folder(&[("bad.yaml", "rules:\n  - id: X\n    colour: red\n")]);
    for args in [
        &["scan", path(&dir)][..],
        &["scan", path(&dir), "--recorded", "--builtin"],
        &["scan", path(&dir), "--recorded", "--pack", "dlp"],
        &["scan", path(&dir), "--recorded", "--preset", "loud"],
        &["scan", path(&dir), "--recorded", "--paranoia", "5"],
        &["scan", path(&dir), "--recorded", "--since", "yesterday"],
        &["scan", path(&dir), "--builtin", "--pack", "nosuch"],
        &["scan", path(&dir), "--builtin", "--without", "no.such.rule"],
        &["scan", path(&dir), "--rules", path(&empty)],
        &["scan", path(&dir), "--rules", path(&broken)],
        &["scan", "/nonexistent/capture", "--recorded"],
        &["show", "/nonexistent/capture"],
        &["show", path(&dir), "--columns", "colour"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn scan_with_the_built_in_rules() {
    let dir = capture(Bodies::Raw);
    let report = run(&["scan", path(&dir), "--builtin", "--json"]);
    assert_eq!(report.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["rules"]["test.unsafe.wipe"]["newly_missed"], 1);
}

#[test]
fn test_rules_counts_and_fails() {
    let good = rule_folder(&[("a.yaml", RULES), ("b.yaml", MORE)]);
    let test = |dir: &TempDir, args: &[&str]| {
        text(run_in(dir.path(), &[&["test", "rules", "."], args].concat()))
    };
    snapshot("test_rules_fine", &test(&good, &[]));
    snapshot("test_rules_each", &test(&good, &["--each"]));

    let failing = MORE.replace("see badge-1234", "see badge 1234");
    let bad = rule_folder(&[("a.yaml", RULES), ("b.yaml", &failing), ("c.yaml", "rules: 7\n")]);
    snapshot("test_rules_failing", &test(&bad, &[]));
    snapshot("test_rules_failing_json", &test(&bad, &["--json"]));
}

#[test]
fn the_built_in_rules_hold() {
    let output = run(&["test", "rules"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_catalogue_is_the_page_of_the_rules() {
    let page = run(&["catalogue"]);
    assert_eq!(page.status.code(), Some(0));
    let written = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/README.md")).unwrap();
    assert!(page.stdout == written, "the verb and rules/README.md differ");

    let own = rule_folder(&[("a.yaml", RULES), ("b.yaml", MORE)]);
    let catalogue = |args: &[&str]| text(run_in(own.path(), &[&["catalogue", "."], args].concat()));
    snapshot("catalogue_own", &catalogue(&["--title", "Ours"]));
    let json = run_in(own.path(), &["catalogue", ".", "--json"]);
    let json = String::from_utf8(json.stdout).unwrap();
    let rules: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rules.len() > 2 && rules.iter().all(|rule| rule["action"].is_string()), "{json}");

    let broken = rule_folder(&[("bad.yaml", "rules: 7\n")]);
    assert_eq!(run(&["catalogue", path(&broken)]).status.code(), Some(2));
}
