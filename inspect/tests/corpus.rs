//! The fuzz corpus as an ordinary test: every file through its target.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use inspect::harness;
use std::path::Path;

fn each(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        run(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files > 3, "{target} has a corpus");
}

#[test]
fn messages_parse_or_are_refused() {
    each("parse", harness::parse);
}

#[test]
fn redaction_leaves_messages() {
    each("redact", harness::redaction);
}

#[test]
fn lists_have_items_that_can_be_taken_out() {
    each("pins", harness::pins);
}

#[test]
fn rule_files_compile_or_are_refused() {
    each("rules_yaml", |bytes| harness::rules_yaml(&String::from_utf8_lossy(bytes)));
}

#[test]
fn every_reading_can_be_redacted() {
    each("views", harness::views);
}

#[test]
fn streams_can_be_redacted() {
    each("carry", harness::carry);
}
