//! `wiregate rules list`: the rules in use.

use std::fmt::Write;
use std::process::ExitCode;

use inspect::RuleSet;
use serde_json::{Value, json};

use super::{CliError, RulesListArgs, print, settings};
use crate::config::Listed;
use crate::snapshot;

/// Prints every rule in use, one a line.
pub(super) fn list(args: RulesListArgs) -> Result<ExitCode, CliError> {
    let mut written = settings::written(args.config.as_deref())?;
    settings::add_rules(&mut written, &args.rules);
    let rules = snapshot::compile(&written.config)
        .map_err(|errors| CliError::Config(Listed(&errors).to_string()))?;
    if args.json {
        return print(&format!("{:#}\n", json(&rules)));
    }
    eprintln!("{} rules, {}", rules.len(), rules.digest());
    print(&table(&rules))
}

fn json(rules: &RuleSet) -> Value {
    let rules: Vec<Value> = rules
        .rules()
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id(),
                "rev": rule.rev(),
                "title": rule.title(),
                "class": rule.class(),
                "severity": rule.severity(),
                "confidence": rule.confidence(),
                "paranoia": rule.paranoia(),
                "score": rule.score(),
                "action": rule.action(),
            })
        })
        .collect();
    json!(rules)
}

fn table(rules: &RuleSet) -> String {
    let width = rules.rules().iter().map(|rule| rule.id().len()).max().unwrap_or(0);
    let mut text = String::new();
    for rule in rules.rules() {
        let (severity, action) = (rule.severity().as_str(), rule.action().as_str());
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:width$}  {severity:8}  {action:6}  {}  {}",
            rule.id(),
            rule.paranoia(),
            rule.title(),
        );
    }
    text
}
