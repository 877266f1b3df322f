//! The README's tables are generated from the code. `BLESS=1 cargo test -p inspect --test readme` writes them anew.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use inspect::Code;
use inspect::validate::Validator;
use std::fmt::Write as _;

fn table(head: &str, rows: impl Iterator<Item = (&'static str, &'static str)>) -> String {
    let mut out = format!("| {head} | meaning |\n|---|---|\n");
    for (name, meaning) in rows {
        writeln!(out, "| `{name}` | {meaning} |").unwrap();
    }
    out
}

#[test]
fn the_tables_are_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let written = std::fs::read_to_string(path).unwrap();
    let codes = Code::ALL.iter().map(|code| (code.as_str(), code.meaning()));
    let validators = Validator::ALL.iter().map(|v| (v.as_str(), v.meaning()));
    let mut text = written.clone();
    for (name, table) in
        [("codes", table("code", codes)), ("validators", table("validator", validators))]
    {
        let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let start = text.find(&open).unwrap() + open.len();
        let end = text.find(&close).unwrap();
        text.replace_range(start..end, &table);
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert!(
        written == text || std::env::var_os("BLESS").is_some(),
        "README.md is stale; run with BLESS=1"
    );
}
