//! gitleaks' configuration, TOML.

use inspect::rule::{AllowDef, AllowTarget, Confidence};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use toml::Spanned;

use super::note::What;
use super::{Dialect, Foreign, Read, Secret, pattern};
use crate::error::Error;

/// Where the rules stand.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    rules: Vec<Spanned<IgnoredAny>>,
}

/// A rule; keys in lower case, as their case does not matter there.
#[derive(Deserialize)]
struct Rule {
    #[serde(default)]
    id: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    regex: String,
    #[serde(default)]
    secretgroup: u32,
    entropy: Option<f64>,
    #[serde(default)]
    keywords: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    allowlist: Option<Allow>,
    #[serde(default)]
    allowlists: Vec<Allow>,
    #[serde(default)]
    required: Vec<Value>,
    #[serde(default)]
    skipreport: bool,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Clone, Deserialize)]
struct Allow {
    #[serde(default)]
    condition: String,
    #[serde(default)]
    commits: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    regextarget: String,
    #[serde(default)]
    regexes: Vec<String>,
    #[serde(default)]
    stopwords: Vec<String>,
    #[serde(default)]
    targetrules: Vec<String>,
}

/// Reads a configuration.
pub(super) fn read(file: &str, text: &str) -> Result<Read, Error> {
    let wrong = |error: toml::de::Error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        Error::Usage(format!("{file}:{line}: {}", error.message()))
    };
    let places: Places = toml::from_str(text).map_err(wrong)?;
    let table: toml::Table = toml::from_str(text).map_err(wrong)?;
    let mut config = lower(serde_json::to_value(table)?);
    let mut read = Read::default();
    if config.get("extend").is_some() {
        read.note(What::Extends, file, 0, "extend", "import the configuration it names too");
    }
    let mut global: Vec<Allow> = Vec::new();
    for key in ["allowlist", "allowlists"] {
        match config.get_mut(key).map(Value::take) {
            None => {}
            Some(Value::Array(lists)) => {
                for list in lists {
                    global.push(serde_json::from_value(list)?);
                }
            }
            Some(list) => global.push(serde_json::from_value(list)?),
        }
    }
    for list in global.iter().filter(|list| list.targetrules.is_empty()) {
        let mut tell = |message: &str| read.note(What::Allow, file, 0, "(all rules)", message);
        translate_allow(list, &mut tell);
    }
    let Some(Value::Array(rules)) = config.get_mut("rules").map(Value::take) else {
        return Ok(read);
    };
    for (index, rule) in rules.into_iter().enumerate() {
        let span = places.rules.get(index).map(Spanned::span);
        let line = span.map_or(1, |span| line_of(text, span.start));
        let id = rule.get("id").and_then(Value::as_str).unwrap_or("(no id)").to_owned();
        read.seen += 1;
        match serde_json::from_value::<Rule>(rule) {
            Ok(rule) => one(rule, file, line, &global, &mut read),
            Err(error) => {
                read.note(What::Unreadable, file, line, &id, error.to_string());
            }
        }
    }
    Ok(read)
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}

/// All keys in lower case.
fn lower(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            members.into_iter().map(|(key, value)| (key.to_lowercase(), lower(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(lower).collect(),
        other => other,
    }
}

fn one(rule: Rule, file: &str, line: usize, global: &[Allow], read: &mut Read) {
    let Rule { id, description, regex, .. } = rule;
    if id.is_empty() {
        return read.note(What::Unreadable, file, line, "(no id)", "the rule has no id");
    }
    if regex.is_empty() {
        let what = if rule.path.is_empty() { What::Unreadable } else { What::PathOnly };
        return read.note(what, file, line, &id, "the rule has no regex");
    }
    if !rule.path.is_empty() {
        read.note(What::Path, file, line, &id, "its path was left out");
    }
    if !rule.required.is_empty() {
        read.note(What::Needs, file, line, &id, "`required` rules nearby have no counterpart");
    }
    if !rule.tags.is_empty() {
        read.note(What::Metadata, file, line, &id, "its tags were left out");
    }
    for key in rule.rest.keys() {
        read.note(What::Metadata, file, line, &id, format!("`{key}` was left out"));
    }
    let mut allow = Vec::new();
    let global =
        global.iter().filter(|list| list.targetrules.is_empty() || list.targetrules.contains(&id));
    // of lists for all rules it was told once what they lose
    for list in global {
        let mut tell = |message: &str| {
            if !list.targetrules.is_empty() {
                read.note(What::Allow, file, line, &id, message);
            }
        };
        allow.extend(translate_allow(list, &mut tell));
    }
    for list in rule.allowlist.iter().chain(&rule.allowlists) {
        let mut tell = |message: &str| read.note(What::Allow, file, line, &id, message);
        allow.extend(translate_allow(list, &mut tell));
    }
    read.rules.push(Foreign {
        file: file.to_owned(),
        line,
        title: id.replace(['-', '_'], " "),
        finds: description,
        tool: "gitleaks",
        pattern: regex,
        dialect: Dialect::Go,
        secret: match rule.secretgroup {
            0 => Secret::First,
            group => Secret::Group(group),
        },
        entropy: rule.entropy.filter(|entropy| *entropy > 0.0),
        keywords: rule.keywords,
        allow,
        confidence: Confidence::Medium,
        severity: None,
        shadow: rule.skipreport,
        references: Vec::new(),
        examples: Vec::new(),
        counter_examples: Vec::new(),
        id,
    });
}

/// A list's regexes and stop words, each of which lets a finding through by itself. Under `and` they would do so only
/// together: then only a list of one kind can come along.
fn translate_allow(list: &Allow, tell: &mut dyn FnMut(&str)) -> Vec<AllowDef> {
    let places = !list.paths.is_empty() || !list.commits.is_empty();
    let both = !list.regexes.is_empty() && !list.stopwords.is_empty();
    let and = ["and", "&&"].contains(&&*list.condition.to_lowercase());
    if and && (places || both) {
        tell("an allow list whose conditions hold together was left out");
        return Vec::new();
    }
    if places {
        tell("paths or commits of an allow list were left out");
    }
    let target = match list.regextarget.to_lowercase().as_str() {
        "match" => AllowTarget::Match,
        "line" => AllowTarget::Line,
        _ => AllowTarget::Secret,
    };
    let mut lists = Vec::new();
    if !list.regexes.is_empty() {
        let regexes = list.regexes.iter().map(|r| pattern::translate(r, Dialect::Go)).collect();
        lists.push(AllowDef { target, regexes, ..AllowDef::default() });
    }
    if !list.stopwords.is_empty() {
        let stopwords = list.stopwords.clone();
        lists.push(AllowDef { stopwords, ..AllowDef::default() });
    }
    lists
}
