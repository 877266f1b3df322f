//! A rule set as a page for people: Markdown from rules as written. It reads nothing and writes nothing but a `String`.

use crate::rule::{Action, Class, RuleDef};
use std::fmt::Write as _;

/// Rules that stand under one heading.
#[derive(Clone, Debug)]
pub struct Section {
    /// The folder or file they come from, as the summary names it.
    pub name: String,
    /// The heading.
    pub title: String,
    /// The rules; they are shown sorted by id.
    pub rules: Vec<RuleDef>,
}

/// What a rule asks for when its definition does not say.
#[must_use]
pub fn action(rule: &RuleDef) -> Action {
    rule.action.unwrap_or(match rule.class {
        Class::Secret | Class::Pii => Action::Redact,
        _ => Action::Flag,
    })
}

/// The page: `intro`, a summary of the sections, then for each a table and every rule explained.
#[must_use]
pub fn markdown(intro: &str, sections: &[Section]) -> String {
    let mut out = intro.to_owned();
    summary(&mut out, sections);
    for section in sections {
        // writing to a String cannot fail, here and below
        let _ = write!(out, "\n## {}\n\n", section.title);
        let mut rules: Vec<&RuleDef> = section.rules.iter().collect();
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        table(&mut out, &rules);
        for rule in rules {
            details(&mut out, rule);
        }
    }
    out
}

fn summary(out: &mut String, sections: &[Section]) {
    out.push_str("\n| from | rules | block | redact | flag | at level 1 |\n");
    out.push_str("|---|---|---|---|---|---|\n");
    for Section { name, rules, .. } in sections {
        let with = |wanted: Action| rules.iter().filter(|rule| action(rule) == wanted).count();
        let first = rules.iter().filter(|rule| rule.paranoia == 1).count();
        let (block, redact, flag) = (with(Action::Block), with(Action::Redact), with(Action::Flag));
        let total = rules.len();
        let _ = writeln!(out, "| `{name}` | {total} | {block} | {redact} | {flag} | {first} |");
    }
}

fn table(out: &mut String, rules: &[&RuleDef]) {
    out.push_str("| rule | title | class | severity | confidence | level | action |\n");
    out.push_str("|---|---|---|---|---|---|---|\n");
    for rule in rules {
        let RuleDef { id, title, class, severity, confidence, paranoia, .. } = rule;
        let anchor = id.replace('.', "");
        let (title, action) = (cell(title), action(rule));
        let _ = writeln!(
            out,
            "| [`{id}`](#{anchor}) | {title} | {class} | {severity} | {confidence} | {paranoia} | {action} |"
        );
    }
}

fn details(out: &mut String, rule: &RuleDef) {
    let _ = write!(out, "\n### {}\n\n", rule.id);
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
    let _ = write!(out, "{}\n\n", facts.join(" · "));
    let docs = &rule.docs;
    let sections = [
        ("What it finds", Some(&docs.finds)),
        ("Why it matters", Some(&docs.why)),
        ("Example", docs.example.as_ref()),
        ("What to do instead", docs.instead.as_ref()),
    ];
    for (title, text) in sections {
        if let Some(text) = text {
            let _ = writeln!(out, "- **{title}.** {}", text.trim());
        }
    }
    if !docs.references.is_empty() {
        let links: Vec<String> = docs.references.iter().map(|link| format!("<{link}>")).collect();
        let _ = writeln!(out, "- **References.** {}", links.join(", "));
    }
}

/// One line without the sign that ends a table's cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::{Section, markdown};
    use crate::rule::RuleDefs;

    #[test]
    fn a_page_counts_sorts_and_explains() {
        let text = "rules:\n\
            - {id: b.two, title: 'B | two', class: pii, severity: low, paranoia: 2, pattern: x, docs: {finds: f, why: w}, tests: {}}\n\
            - {id: a.one, title: A, class: unsafe, severity: high, action: block, surfaces: [call.args], pattern: x, entropy: 3, \
               docs: {finds: f, why: w, instead: i, references: ['https://a.example']}, tests: {}}\n";
        let (defs, _) = crate::yaml::from_str::<RuleDefs>("r.yaml", text, None).unwrap();
        let section = Section { name: "r.yaml".into(), title: "Mine".into(), rules: defs.rules };
        insta::assert_snapshot!(markdown("# Rules\n", &[section]));
    }
}
