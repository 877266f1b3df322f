//! `wiregate rules diff`: rules added, removed and changed, for a person who is to judge them.

use std::cmp::Ordering;
use std::fmt::Write;
use std::process::ExitCode;

use inspect::{Rule, RuleSet};
use scan::text::visible;
use serde_json::{Map, Value, json};

use super::args::RulesDiffArgs;
use super::{CliError, configured, print, print_json, source};

/// Values up to this length stand on one line, old and new.
const SHORT: usize = 30;

/// What one set has otherwise than another.
#[derive(Debug, Default)]
pub(super) struct Changes<'a> {
    pub(super) added: Vec<&'a Rule>,
    pub(super) removed: Vec<&'a Rule>,
    pub(super) changed: Vec<Changed>,
}

/// A rule that both sets have.
#[derive(Debug)]
pub(super) struct Changed {
    id: String,
    fields: Vec<Field>,
}

/// A field that is written otherwise; nothing where it is not written.
#[derive(Debug)]
struct Field {
    name: String,
    from: Option<Value>,
    to: Option<Value>,
}

/// Prints the difference; exit code 1 when there is one.
pub(super) fn run(args: &RulesDiffArgs) -> Result<ExitCode, CliError> {
    let config = configured(&args.using)?;
    let (a, b) = (source::named(&args.a, &config)?, source::named(&args.b, &config)?);
    let changes = Changes::between(&a.set, &b.set);
    if args.using.json {
        let side = |source: &source::Source| {
            let (set, sets) = (&source.set, source.set.sets());
            json!({
                "source": source.title, "sets": sets, "rules": set.len(), "digest": set.digest(),
            })
        };
        let mut report = json!({ "a": side(&a), "b": side(&b) });
        if let Some(report) = report.as_object_mut() {
            report.extend(changes.json());
        }
        print_json(&report)?;
    } else {
        print(&changes.text())?;
        for (side, source) in [("-", &a), ("+", &b)] {
            let (title, set) = (visible(&source.title), &source.set);
            eprintln!("{side} {title}: {}, {} rules, {}", set.title(), set.len(), set.digest());
        }
        eprintln!("{}", changes.summary());
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

impl<'a> Changes<'a> {
    /// From `a` to `b`. Both are sorted by id.
    pub(super) fn between(a: &'a RuleSet, b: &'a RuleSet) -> Self {
        let mut changes = Self::default();
        let (mut left, mut right) = (a.rules().iter().peekable(), b.rules().iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => one.id().cmp(other.id()),
            };
            let removed = left.next_if(|_| order != Ordering::Greater);
            let added = right.next_if(|_| order != Ordering::Less);
            match (removed, added) {
                (Some(one), Some(other)) => changes.changed.extend(Changed::between(one, other)),
                (one, other) => {
                    changes.removed.extend(one);
                    changes.added.extend(other);
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    pub(super) fn summary(&self) -> String {
        let Self { added, removed, changed } = self;
        format!("{} added, {} removed, {} changed", added.len(), removed.len(), changed.len())
    }

    pub(super) fn json(&self) -> Map<String, Value> {
        let rules = |rules: &[&Rule]| {
            rules.iter().map(|rule| json!(rule.def())).collect::<Vec<Value>>().into()
        };
        let changed = self.changed.iter().map(|rule| {
            let fields = rule
                .fields
                .iter()
                .map(|field| json!({ "field": field.name, "from": field.from, "to": field.to }));
            json!({ "id": rule.id, "fields": fields.collect::<Vec<_>>() })
        });
        Map::from_iter([
            ("added".to_owned(), rules(&self.added)),
            ("removed".to_owned(), rules(&self.removed)),
            ("changed".to_owned(), changed.collect::<Vec<_>>().into()),
        ])
    }

    /// One line for each rule that is new or gone, and the fields of each changed one.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for (sign, rules) in [('-', &self.removed), ('+', &self.added)] {
            for rule in rules {
                let (severity, action) = (rule.severity().as_str(), rule.action().as_str());
                let title = visible(rule.title());
                // Writing to a string cannot fail, here and below.
                let _ = writeln!(out, "{sign} {}  {severity}  {action}  {title}", rule.id());
            }
        }
        for rule in &self.changed {
            let _ = writeln!(out, "~ {}", rule.id);
            rule.fields.iter().for_each(|field| field.text(&mut out));
        }
        out
    }
}

impl Changed {
    fn between(one: &Rule, other: &Rule) -> Option<Self> {
        let written = |rule: &Rule| match json!(rule.def()) {
            Value::Object(fields) => fields,
            // A rule is a mapping.
            _ => Map::new(),
        };
        let (from, mut to) = (written(one), written(other));
        let mut fields: Vec<Field> = Vec::new();
        for (name, value) in from {
            let new = to.shift_remove(&name);
            if new.as_ref() != Some(&value) {
                fields.push(Field { name, from: Some(value), to: new });
            }
        }
        fields.extend(to.into_iter().map(|(name, new)| Field { name, from: None, to: Some(new) }));
        (!fields.is_empty()).then(|| Self { id: one.id().to_owned(), fields })
    }
}

impl Field {
    fn text(&self, out: &mut String) {
        let shown = |value: &Option<Value>| match value {
            None => "(not given)".to_owned(),
            Some(Value::String(text)) => visible(text).into_owned(),
            Some(value) => visible(&value.to_string()).into_owned(),
        };
        let (name, from, to) = (&self.name, shown(&self.from), shown(&self.to));
        if from.len() <= SHORT && to.len() <= SHORT {
            let _ = writeln!(out, "    {name}: {from} -> {to}");
        } else {
            let _ = writeln!(out, "    {name}:\n      - {from}\n      + {to}");
        }
    }
}

#[cfg(test)]
mod tests {
    use inspect::RuleFile;

    use super::*;

    fn set(rules: &[(&str, u32, &str, &str)]) -> RuleSet {
        let rule = |(id, rev, pattern, title): &(&str, u32, &str, &str)| {
            format!(
                "  - {{id: {id}, rev: {rev}, title: \"{title}\", class: secret, severity: high,
     pattern: '{pattern}', docs: {{finds: f, why: w}},
     tests: {{match: [TICKET-123456, TICKET-000000], no_match: [TICKET-1, ticket]}}}}\n"
            )
        };
        let text = format!("rules:\n{}", rules.iter().map(rule).collect::<String>());
        RuleSet::compile(&[RuleFile { name: "t", text: &text }]).unwrap()
    }

    #[test]
    fn what_changed_is_shown_and_steers_no_terminal() {
        let a = set(&[
            ("t.a.gone", 1, "TICKET-[0-9]{6}", "Gone"),
            ("t.b.same", 1, "TICKET-[0-9]{6}", "Same"),
            ("t.c.other", 1, "TICKET-[0-9]{6}", "Other"),
        ]);
        let b = set(&[
            ("t.b.same", 1, "TICKET-[0-9]{6}", "Same"),
            ("t.c.other", 2, "TICKET-(?:[0-9]{6}|[0-9]{12})", "Other \\e[2J"),
            ("t.d.new", 1, "TICKET-[0-9]{6}", "New \\u202e"),
        ]);
        let changes = Changes::between(&a, &b);
        assert_eq!(changes.summary(), "1 added, 1 removed, 1 changed");
        insta::assert_snapshot!(changes.text());
        assert!(!changes.text().replace('\n', "").contains(scan::text::is_hostile));
        assert!(Changes::between(&a, &a).is_empty());
        let back = Changes::between(&b, &a);
        assert_eq!((back.added[0].id(), back.removed[0].id()), ("t.a.gone", "t.d.new"));
    }
}
