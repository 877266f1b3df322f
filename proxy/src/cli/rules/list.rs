//! `wiregate rules list`: the sets, or each rule in use.

use std::process::ExitCode;

use inspect::{Identity, RuleFile, RuleSet, SetDef};
use scan::text::{Align, Table, visible};
use serde_json::{Value, json};

use super::args::RulesListArgs;
use super::{CliError, configured, in_use, print, print_json, shelf};
use crate::config::Config;
use crate::rulefiles;

/// One line of the list.
struct Line {
    source: String,
    name: String,
    version: String,
    rules: Option<usize>,
    digest: Option<String>,
    /// `active`, `kept` (an earlier or later version), `offered` (to `wiregate-replay --pack`),
    /// `off`, or why it cannot be used.
    state: String,
    signer: Option<String>,
}

/// Prints the sets, or every rule in use.
pub(super) fn run(args: &RulesListArgs) -> Result<ExitCode, CliError> {
    let config = configured(&args.using)?;
    if args.each {
        let rules = in_use(&config)?;
        if args.using.json {
            return print_json(&each_json(&rules));
        }
        eprintln!("{} rules of {}, {}", rules.len(), rules.title(), rules.digest());
        return print(&each(&rules));
    }
    // What is installed is listed even where it keeps the whole from compiling.
    let all = rulefiles::compile(&config);
    let lines = lines(&config)?;
    if args.using.json {
        let (digest, rules) = match &all {
            Ok(all) => (json!(all.digest()), json!(all.len())),
            Err(_) => (Value::Null, Value::Null),
        };
        let sets: Vec<Value> = lines.iter().map(Line::json).collect();
        print_json(&json!({ "digest": digest, "rules": rules, "sets": sets }))?;
    } else {
        print(&table(&lines))?;
    }
    let all = all.map_err(super::wrong)?;
    eprintln!("{} rules in use, {}", all.len(), all.digest());
    Ok(ExitCode::SUCCESS)
}

fn lines(config: &Config) -> Result<Vec<Line>, CliError> {
    let mut lines = Vec::new();
    let builtin = identity(&rulefiles::builtin())?;
    let used = if config.inspect.builtin { "active" } else { "off" };
    lines.push(Line::of("built-in".to_owned(), &builtin, used));
    for (path, text) in rules::packs() {
        let set = identity(&[RuleFile { name: path, text }])?;
        lines.push(Line::of("built-in".to_owned(), &set, "offered"));
    }
    installed(config, &mut lines)?;
    for folder in &config.inspect.rules {
        let files = rulefiles::rule_files(folder).map_err(|error| super::wrong(vec![error]))?;
        let files: Vec<RuleFile<'_>> =
            files.iter().map(|(name, text)| RuleFile { name, text }).collect();
        lines.push(Line::of(folder.display().to_string(), &identity(&files)?, "active"));
    }
    Ok(lines)
}

fn identity(files: &[RuleFile<'_>]) -> Result<Identity, CliError> {
    Identity::of(files).map_err(|errors| super::wrong(rulefiles::located(&errors).collect()))
}

/// The packs on the shelf, in all versions that are kept.
fn installed(config: &Config, lines: &mut Vec<Line>) -> Result<(), CliError> {
    // Without a folder there is nothing in it.
    let Ok(shelf) = shelf(config) else { return Ok(()) };
    let trust = config.inspect.packs.keys();
    for pack in shelf.installed()? {
        for version in &pack.versions {
            let state = if pack.active.as_ref() == Some(version) { "active" } else { "kept" };
            let line = Line {
                source: "pack".to_owned(),
                name: pack.name.clone(),
                version: version.to_string(),
                rules: None,
                digest: None,
                state: state.to_owned(),
                signer: None,
            };
            lines.push(match shelf.open(&pack.name, version, &trust) {
                Ok(read) => Line {
                    rules: Some(read.manifest.rules),
                    digest: Some(read.manifest.digest.clone()),
                    signer: read.signer,
                    ..line
                },
                Err(error) => Line { state: format!("{state}, not usable: {error}"), ..line },
            });
        }
    }
    Ok(())
}

impl Line {
    fn of(source: String, set: &Identity, state: &str) -> Self {
        let join =
            |part: fn(&SetDef) -> &str| set.sets.iter().map(part).collect::<Vec<_>>().join(", ");
        Self {
            source,
            name: join(|set| &set.name),
            version: join(|set| &set.version),
            rules: Some(set.rules),
            digest: Some(set.digest.clone()),
            state: state.to_owned(),
            signer: None,
        }
    }

    fn json(&self) -> Value {
        let Self { source, name, version, rules, digest, state, signer } = self;
        json!({
            "source": source, "name": name, "version": version, "rules": rules,
            "digest": digest, "state": state, "signer": signer,
        })
    }
}

fn table(lines: &[Line]) -> String {
    let left = Align::Left;
    let mut table = Table::new(&[
        ("name", left),
        ("version", left),
        ("rules", Align::Right),
        ("digest", left),
        ("source", left),
        ("state", left),
    ]);
    for line in lines {
        let signer = line.signer.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        // So much of a digest that people can tell it from others.
        let digest = line.digest.as_deref().unwrap_or_default();
        table.push([
            if line.name.is_empty() { "-" } else { line.name.as_str() },
            if line.version.is_empty() { "-" } else { line.version.as_str() },
            &line.rules.map(|rules| rules.to_string()).unwrap_or_default(),
            &digest.chars().take("sha256:".len() + 12).collect::<String>(),
            &format!("{}{signer}", line.source),
            &line.state,
        ]);
    }
    table.render(None)
}

fn each_json(rules: &RuleSet) -> Value {
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

fn each(rules: &RuleSet) -> String {
    let width = rules.rules().iter().map(|rule| rule.id().len()).max().unwrap_or(0);
    let line = |rule: &inspect::Rule| {
        let (severity, action) = (rule.severity().as_str(), rule.action().as_str());
        let (id, paranoia, title) = (rule.id(), rule.paranoia(), visible(rule.title()));
        format!("{id:width$}  {severity:8}  {action:6}  {paranoia}  {title}\n")
    };
    rules.rules().iter().map(line).collect()
}
