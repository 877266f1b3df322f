//! The catalogue of the rules, `rules/README.md`, is rendered from the rule files and compared with what is there.
//!
//! `WIREGATE_BLESS=1 cargo test -p rules --test catalogue` writes it anew.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use inspect::rule::{Action, Class, RuleDef, RuleDefs};
use inspect::yaml;
use std::fmt::Write;
use std::path::Path;

const INTRO: &str = "\
# The rules Wiregate ships

This page is generated from the rule files beside it (`WIREGATE_BLESS=1 cargo test -p rules --test catalogue`).

A rule is one entry of a YAML file: what it finds, where it looks, what is done, its explanation, and at least two
examples and two counter-examples. Compiling a set runs them all. Token formats are facts from the providers' own
documentation; patterns and texts were written for this project. Examples hold templates such as `{{hex:40}}` instead
of anything that looks like a secret.

- **Action** is what the `balanced` preset does: `block` refuses the message, `redact` replaces the found text, `flag`
  records it. `strict` is harder, `audit` only records.
- **Level** is the paranoia level from which a rule takes part. Level 1 is on by default; what is common in honest
  traffic (e-mail addresses, phone numbers, public addresses) waits for a higher one.
- **Where** is empty for every surface; `@out` is on the way to a server, `@in` on the way to the client.

Patterns find wording and form. They do not find an attack that is phrased as a plain request, a secret without a
prefix, a telling name or a telling place, or a number outside its context; for those there are tool allow-lists, pins
and outbound policy.
";

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
    let mut out = INTRO.to_owned();
    let folders = [
        ("dlp", "Secrets"),
        ("pii", "Personal data"),
        ("injection", "Injection, poisoning, exfiltration, dangerous arguments"),
        ("packs", "Packs: not built in, loaded by name"),
    ];
    summary(&mut out, &folders.map(|(folder, _)| folder));
    for (folder, title) in folders {
        write!(out, "\n## {title}\n\n").unwrap();
        let rules = defs(folder);
        table(&mut out, &rules);
        for rule in &rules {
            details(&mut out, rule);
        }
    }
    out
}

fn defs(folder: &str) -> Vec<RuleDef> {
    let mut rules = Vec::new();
    for (name, text) in rules::builtin().iter().chain(rules::packs()) {
        if name.split_once('/').is_some_and(|(first, _)| first == folder) {
            let (file, _) = yaml::from_str::<RuleDefs>(name, text, None).unwrap();
            rules.extend(file.rules);
        }
    }
    rules.sort_by(|a, b| a.id.cmp(&b.id));
    rules
}

fn summary(out: &mut String, folders: &[&str]) {
    out.push_str(
        "\n| folder | rules | block | redact | flag | at level 1 |\n|---|---|---|---|---|---|\n",
    );
    for folder in folders {
        let rules = defs(folder);
        let with = |wanted: Action| rules.iter().filter(|rule| action(rule) == wanted).count();
        let first = rules.iter().filter(|rule| rule.paranoia == 1).count();
        let (block, redact, flag) = (with(Action::Block), with(Action::Redact), with(Action::Flag));
        let total = rules.len();
        writeln!(out, "| `{folder}/` | {total} | {block} | {redact} | {flag} | {first} |").unwrap();
    }
}

fn action(rule: &RuleDef) -> Action {
    rule.action.unwrap_or(match rule.class {
        Class::Secret | Class::Pii => Action::Redact,
        _ => Action::Flag,
    })
}

fn table(out: &mut String, rules: &[RuleDef]) {
    out.push_str("| rule | title | class | severity | confidence | level | action |\n");
    out.push_str("|---|---|---|---|---|---|---|\n");
    for rule in rules {
        let RuleDef { id, title, class, severity, confidence, paranoia, .. } = rule;
        let anchor = id.replace('.', "");
        let action = action(rule);
        writeln!(
            out,
            "| [`{id}`](#{anchor}) | {title} | {class} | {severity} | {confidence} | {paranoia} | {action} |"
        )
        .unwrap();
    }
}

fn details(out: &mut String, rule: &RuleDef) {
    write!(out, "\n### {}\n\n", rule.id).unwrap();
    let mut facts = vec![format!("rev {}", rule.rev), action(rule).to_string()];
    if !rule.surfaces.is_empty() {
        facts.push(format!("where: {}", rule.surfaces.join(", ")));
    }
    if let Some(validator) = &rule.validator {
        facts.push(format!("checked by `{validator}`"));
    }
    if let Some(entropy) = rule.entropy {
        facts.push(format!("at least {entropy} bits a byte"));
    }
    if rule.key.is_some() {
        facts.push("by the name of the field".to_owned());
    }
    write!(out, "{}\n\n", facts.join(" · ")).unwrap();
    let docs = &rule.docs;
    let sections = [
        ("What it finds", Some(&docs.finds)),
        ("Why it matters", Some(&docs.why)),
        ("Example", docs.example.as_ref()),
        ("What to do instead", docs.instead.as_ref()),
    ];
    for (title, text) in sections {
        if let Some(text) = text {
            writeln!(out, "- **{title}.** {}", text.trim()).unwrap();
        }
    }
    let links: Vec<String> = docs.references.iter().map(|link| format!("<{link}>")).collect();
    writeln!(out, "- **References.** {}", links.join(", ")).unwrap();
}
