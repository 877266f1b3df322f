//! `wiregate rules`: which rules are in use, packs of them, and what one set has that another has
//! not.

mod args;
mod diff;
mod list;
mod make;
mod rollback;
mod source;
mod update;

use std::process::ExitCode;

use inspect::RuleSet;
use inspect::yaml::Located;
use scan::text::{is_hostile, visible};
use serde_json::Value;

use super::{CliError, print, settings};
use crate::config::{self, Config, Listed};
use crate::packs::{Pack, PackError, Shelf};
use crate::rulefiles;
use args::Using;

pub(super) use args::RulesCommand;

/// Does what was asked.
pub(super) fn run(command: RulesCommand) -> Result<ExitCode, CliError> {
    match command {
        RulesCommand::List(args) => list::run(&args),
        RulesCommand::Diff(args) => diff::run(&args),
        RulesCommand::Update(args) => update::run(&args),
        RulesCommand::Rollback(args) => rollback::run(&args),
        RulesCommand::Pack(args) => make::run(&args),
    }
}

/// The configuration, as far as rules need it checked.
fn configured(using: &Using) -> Result<Config, CliError> {
    let mut written = settings::written(using.config.as_deref())?;
    settings::add_rules(&mut written, &using.rules);
    let problems = config::problems(&written.config);
    let packs: Vec<String> = problems
        .iter()
        .filter(|problem| problem.pointer.starts_with("/inspect/packs"))
        .map(|problem| format!("{}: {}", problem.pointer, problem.message))
        .collect();
    if packs.is_empty() { Ok(written.config) } else { Err(CliError::Config(packs.join("\n"))) }
}

/// The folder of installed packs.
fn shelf(config: &Config) -> Result<Shelf, CliError> {
    let dir = config.inspect.packs.folder(&settings::env).ok_or(PackError::NoFolder)?;
    Ok(Shelf::new(dir))
}

/// All rules in use.
fn in_use(config: &Config) -> Result<RuleSet, CliError> {
    rulefiles::compile(config).map_err(wrong)
}

/// All rules in use, with this pack in the place of whatever version of it is.
fn in_use_with(config: &Config, pack: &Pack) -> Result<RuleSet, CliError> {
    let mut packs = rulefiles::packs_in_use(config).packs;
    packs.retain(|other| other.manifest.name != pack.manifest.name);
    packs.push(pack.clone());
    rulefiles::compile_with(config, &packs).map_err(wrong)
}

/// Errors of rules, which may quote what a stranger wrote: one line each, and nothing that could
/// steer a terminal.
fn wrong(errors: Vec<Located>) -> CliError {
    let lines: Vec<String> = errors
        .iter()
        .map(|error| visible(&Listed(std::slice::from_ref(error)).to_string()).into_owned())
        .collect();
    CliError::Rules(lines.join("\n"))
}

/// JSON to stdout, in which whatever could steer a terminal is an escape. Outside of strings there
/// is nothing of that kind but line breaks.
fn print_json(json: &Value) -> Result<ExitCode, CliError> {
    let mut out = String::new();
    for c in format!("{json:#}\n").chars() {
        if c != '\n' && is_hostile(c) {
            out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    print(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_strange_rules_steer_no_terminal() {
        let located = |message: &str| Located {
            file: "acme@1.0".into(),
            line: 3,
            column: 9,
            path: String::new(),
            message: message.into(),
        };
        let told = wrong(vec![located("no surface \"\u{1b}[2J\n\u{202e}\""), located("more")]);
        let told = told.to_string();
        assert_eq!(told.lines().count(), 3, "{told}");
        assert!(!told.replace('\n', "").contains(is_hostile), "{told}");
    }
}
