//! The README's table of notes.

use std::fmt::Write as _;

use super::note::{Level, What};

#[test]
fn the_readme_lists_every_note() {
    let mut table = String::from("| code | the rule | meaning |\n|---|---|---|\n");
    for (code, level, meaning) in What::ALL {
        let level = match level {
            Level::Noted => "is whole",
            Level::Changed => "changed",
            Level::LeftOut => "left out",
        };
        writeln!(table, "| `{code}` | {level} | {meaning} |").unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    crate::report::in_readme(path, "notes", &table);
}
