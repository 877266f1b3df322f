//! The rule files of Nosey Parker, and of Kingfisher, which grew from it: YAML.

use inspect::rule::{Confidence, Severity};
use inspect::yaml;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::note::What;
use super::{Dialect, Foreign, Read, Secret};
use crate::error::Error;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    rules: Vec<Value>,
}

#[derive(Deserialize)]
struct Rule {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    pattern: String,
    description: Option<String>,
    min_entropy: Option<f64>,
    confidence: Option<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    references: Vec<String>,
    #[serde(default)]
    examples: Vec<Value>,
    #[serde(default)]
    negative_examples: Vec<Value>,
    visible: Option<bool>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Reads a file's rules into `read`. A file without rules (a rule set, say) has none.
pub(super) fn read(file: &str, text: &str, read: &mut Read) -> Result<(), Error> {
    let (parsed, marks) = yaml::from_str::<File>(file, text, None).map_err(|errors| {
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Error::Usage(told.join("\n"))
    })?;
    for (index, mut rule) in parsed.rules.into_iter().enumerate() {
        if let Value::Object(members) = &mut rule {
            // `examples:` with nothing after it
            members.retain(|_, value| !value.is_null());
        }
        let (line, _) = marks.at(&format!("/rules/{index}"));
        let id = rule.get("id").and_then(Value::as_str).unwrap_or("(no id)").to_owned();
        read.seen += 1;
        match serde_json::from_value::<Rule>(rule) {
            Ok(rule) => one(rule, file, line, read),
            Err(error) => read.note(What::Unreadable, file, line, &id, error.to_string()),
        }
    }
    Ok(())
}

fn one(rule: Rule, file: &str, line: usize, read: &mut Read) {
    let Rule { id, name, pattern, .. } = rule;
    if id.is_empty() || pattern.trim().is_empty() {
        return read.note(What::Unreadable, file, line, &id, "the rule has no id or no pattern");
    }
    for key in rule.rest.keys() {
        match key.as_str() {
            "validation" | "depends_on_rule" | "prevalidated" => {
                read.note(What::Validation, file, line, &id, format!("`{key}` was left out"));
            }
            "pattern_requirements" => {
                read.note(What::Needs, file, line, &id, "counts of characters have no counterpart");
            }
            key => read.note(What::Metadata, file, line, &id, format!("`{key}` was left out")),
        }
    }
    let category = |word: &str| rule.categories.iter().any(|known| known == word);
    let unsure = category("fuzzy") || category("generic");
    let confidence = match rule.confidence.as_deref() {
        Some(word) => word.to_lowercase().parse().unwrap_or(Confidence::Medium),
        None if unsure => Confidence::Low,
        None => Confidence::Medium,
    };
    // an identifier by itself opens nothing
    let harmless = category("identifier") && !category("secret");
    let strings = |values: Vec<Value>| -> Vec<String> {
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        values.into_iter().map(text).collect()
    };
    read.rules.push(Foreign {
        file: file.to_owned(),
        line,
        title: name.clone(),
        finds: rule.description.unwrap_or(name),
        tool: "Nosey Parker or Kingfisher",
        pattern: if is_spaced(&pattern) { pattern.trim_end().to_owned() } else { pattern },
        dialect: Dialect::Rust,
        secret: Secret::First,
        entropy: rule.min_entropy.filter(|entropy| *entropy > 0.0),
        keywords: Vec::new(),
        allow: Vec::new(),
        confidence,
        severity: harmless.then_some(Severity::Low),
        shadow: rule.visible == Some(false),
        references: rule.references,
        examples: strings(rule.examples),
        counter_examples: strings(rule.negative_examples),
        id,
    });
}

/// Whether blanks mean nothing in a pattern: it opens with `(?x)` or the like.
fn is_spaced(pattern: &str) -> bool {
    let mut rest = pattern.trim_start();
    while let Some((flags, after)) = rest.strip_prefix("(?").and_then(|rest| rest.split_once(')')) {
        if !flags.bytes().all(|b| b.is_ascii_alphabetic()) {
            return false;
        }
        if flags.contains('x') {
            return true;
        }
        rest = after.trim_start();
    }
    false
}
