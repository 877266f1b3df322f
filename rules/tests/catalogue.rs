//! The catalogue of the rules, `rules/README.md`, is rendered from the rule files and compared with what is there.
//!
//! `WIREGATE_BLESS=1 cargo test -p rules --test catalogue` writes it anew.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use inspect::catalogue::{Section, markdown};
use inspect::rule::RuleDefs;
use inspect::yaml;
use std::path::Path;

#[test]
fn the_catalogue_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let rendered = render();
    if std::env::var_os("WIREGATE_BLESS").is_some() {
        std::fs::write(&path, &rendered).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == rendered, "rules/README.md is stale; run with WIREGATE_BLESS=1");
}

fn render() -> String {
    let sections: Vec<Section> = rules::SECTIONS
        .iter()
        .map(|(folder, title)| {
            let files = rules::builtin().iter().chain(rules::packs());
            let own = files.filter(|(name, _)| {
                name.split_once('/').is_some_and(|(first, _)| first == *folder)
            });
            let rules = own.flat_map(|(name, text)| {
                yaml::from_str::<RuleDefs>(name, text, None).unwrap().0.rules
            });
            Section {
                name: format!("{folder}/"),
                title: (*title).to_owned(),
                rules: rules.collect(),
            }
        })
        .collect();
    markdown(rules::INTRO, &sections)
}
