//! `lint`: what compiles, and what a careful author would still change.
//!
//! The checks are a table in `lint/checks.rs`; that table also makes the list in the README.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ::scan::text::{Align, Table, visible};
use clap::Args;
use inspect::Rule;
use inspect::rule::{RuleDef, RuleDefs};
use inspect::yaml::{self, Marks};

use crate::error::Error;
use crate::output::{Out, Outcome, table_width};
use crate::report::{self, Problem, sarif};
use crate::rulefiles::{self, Source};

mod checks;

use checks::LINTS;

/// Tell what compiles in rule files but a careful author would change.
///
/// Everything is told at once, as file:line:column with a code. Files that do not compile are an
/// error: `test rules` tells why.
///
/// Exit code: 0 nothing to tell, 1 something found, 2 a file that cannot be read or compiled.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  wiregate-replay lint ./my-rules\n  wiregate-replay lint ./my-rules --against ../released/my-rules --sarif lint.sarif"
)]
pub(crate) struct Lint {
    /// Rule folders or files; none: all rules built into this binary
    #[arg(value_name = "DIR")]
    dirs: Vec<PathBuf>,

    /// The rules as they were: one whose pattern changed must have a higher rev
    #[arg(long, value_name = "DIR|FILE")]
    against: Option<PathBuf>,

    /// Leave out findings of this code
    #[arg(long, value_name = "CODE", value_parser = code)]
    ignore: Vec<&'static str>,

    /// Print what is looked for, and nothing else
    #[arg(long)]
    list: bool,

    /// Write a SARIF 2.1.0 report
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,

    /// Print findings as JSON
    #[arg(long)]
    json: bool,

    /// Fit tables to this many columns instead of the terminal's
    #[arg(long, value_name = "COLUMNS")]
    width: Option<u16>,
}

/// A code that exists.
fn code(word: &str) -> Result<&'static str, String> {
    let known = LINTS.iter().find(|lint| lint.code == word);
    known.map(|lint| lint.code).ok_or_else(|| "no such code; --list shows them".to_owned())
}

/// A file's rules and where they are written.
struct Place<'s> {
    file: &'s str,
    marks: Marks,
    rules: Vec<RuleDef>,
}

/// What a check looks at: one rule, compiled, among the others.
struct Look<'a> {
    rule: &'a Rule,
    def: &'a RuleDef,
    /// Another rule of the same pattern.
    twin: Option<&'a str>,
    /// The rule as it was, when that is known.
    before: Option<&'a RuleDef>,
}

impl Lint {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let mut out = Out::stdout();
        if self.list {
            self.print_list(&mut out)?;
            out.finish()?;
            return Ok(Outcome::Fine);
        }
        let sources = if self.dirs.is_empty() {
            rulefiles::builtin(&rulefiles::known_packs())?
        } else {
            rulefiles::load(&self.dirs)?
        };
        let before = match &self.against {
            None => BTreeMap::new(),
            Some(path) => {
                let sources = rulefiles::load(std::slice::from_ref(path))?;
                let rules = read(&sources)?.into_iter().flat_map(|place| place.rules);
                rules.map(|def| (def.id.clone(), def)).collect()
            }
        };
        let mut found = lint(&sources, &before)?;
        found.retain(|problem| !self.ignore.contains(&problem.code));
        if let Some(path) = &self.sarif {
            let meanings: Vec<_> = LINTS.iter().map(|lint| (lint.code, lint.meaning)).collect();
            let log = sarif::log("warning", &meanings, &found);
            report::write(path, &format!("{log:#}\n"))?;
        }
        if self.json {
            out.json(&found)?;
        } else {
            for problem in &found {
                out.line(&visible(&problem.to_string()))?;
            }
        }
        out.finish()?;
        if found.is_empty() {
            return Ok(Outcome::Fine);
        }
        if !self.json {
            eprintln!("{} to look at", found.len());
        }
        Ok(Outcome::Differs)
    }

    fn print_list(&self, out: &mut Out) -> Result<(), Error> {
        if self.json {
            let meanings: BTreeMap<_, _> =
                LINTS.iter().map(|lint| (lint.code, lint.meaning)).collect();
            return out.json(&meanings);
        }
        let mut table = Table::new(&[("code", Align::Left), ("meaning", Align::Left)]);
        for lint in LINTS {
            table.push([lint.code, lint.meaning]);
        }
        out.write(&table.render(table_width(self.width)))
    }
}

/// The rules of each file with their places; every error of all files at once.
fn read(sources: &[Source]) -> Result<Vec<Place<'_>>, Error> {
    let mut places = Vec::new();
    let mut errors = Vec::new();
    for Source { name, text, .. } in sources {
        match yaml::from_str::<RuleDefs>(name, text, None) {
            Ok((defs, marks)) => places.push(Place { file: name, marks, rules: defs.rules }),
            Err(told) => errors.extend(told.iter().map(ToString::to_string)),
        }
    }
    if errors.is_empty() { Ok(places) } else { Err(Error::Rules(errors.join("\n"))) }
}

/// Every finding, in the order of files and lines.
fn lint(sources: &[Source], before: &BTreeMap<String, RuleDef>) -> Result<Vec<Problem>, Error> {
    let set = rulefiles::compile(sources)?;
    let mut patterns: BTreeMap<String, &str> = BTreeMap::new();
    let mut twins: BTreeMap<&str, &str> = BTreeMap::new();
    for rule in set.rules() {
        let first = *patterns.entry(checks::pattern_of(rule.def())).or_insert(rule.id());
        if first != rule.id() {
            twins.insert(rule.id(), first);
        }
    }
    let mut found = Vec::new();
    for Place { file, marks, rules } in read(sources)? {
        let start = found.len();
        for (index, def) in rules.iter().enumerate() {
            // the set compiled, so it has every rule
            let Some(ix) = set.find(&def.id) else { continue };
            let twin = twins.get(def.id.as_str()).copied();
            let look = Look { rule: set.rule(ix), def, twin, before: before.get(&def.id) };
            for lint in LINTS {
                let mut tell = |field: &str, message: String| {
                    let (line, column) = marks.at(&format!("/rules/{index}{field}"));
                    let dotted = field.trim_start_matches('/').replace('/', ".");
                    let label = match dotted.as_str() {
                        "" => def.id.clone(),
                        dotted => format!("{}: {dotted}", def.id),
                    };
                    let (file, code) = (file.to_owned(), lint.code);
                    found.push(Problem { file, line, column, code, label, message });
                };
                (lint.check)(&look, &mut tell);
            }
        }
        found[start..].sort_by_key(|problem| (problem.line, problem.column, problem.code));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;

    use super::{LINTS, Source, lint};

    /// A rule that nothing is to be told of.
    const CLEAN: &str = r#"
  - id: test.acme.key
    title: Acme key
    class: secret
    severity: high
    score: 6
    pattern: '\bacmekey_[a-z0-9]{24}\b'
    docs:
      finds: A key of Acme.
      why: It opens the account.
      example: acmekey_ and 24 characters
      instead: Keep it on the server.
      references: ['https://acme.example/keys', CWE-798]
    tests:
      match: ['acmekey_{{loweralnum:24}}', 'k: acmekey_{{loweralnum:24}}']
      no_match: ['acmekey_short', 'no key']
"#;

    fn codes(rules: &str, before: Option<&str>) -> Vec<String> {
        let source = |rules: &str| Source {
            name: "r.yaml".to_owned(),
            text: format!("rules:{rules}"),
            is_builtin: false,
        };
        let mut old = BTreeMap::new();
        if let Some(before) = before {
            let before = [source(before)];
            for def in super::read(&before).unwrap().remove(0).rules {
                old.insert(def.id.clone(), def);
            }
        }
        let found = lint(&[source(rules)], &old).unwrap_or_else(|error| panic!("{error}\n{rules}"));
        found.into_iter().map(|problem| problem.code.to_owned()).collect()
    }

    #[test]
    fn each_check_tells_of_one_fault_and_of_nothing_else() {
        assert_eq!(codes(CLEAN, Some(CLEAN)), Vec::<String>::new());
        let twin = format!("{CLEAN}{}", CLEAN.replace("test.acme.key", "test.acme.twin"));
        let poison = CLEAN.replace("class: secret", "class: poisoning");
        let low = "pattern: '\\b[a-z0-9]{4}[+][a-z0-9]{24}\\b'\n    slow: true";
        let faults = [
            (
                "L001",
                CLEAN
                    .replace("acmekey_[a-z0-9]{24}\\b", "(?:user|data)\\S{24}")
                    .replace("acmekey_", "user"),
            ),
            (
                "L002",
                CLEAN.replace("'acmekey_{{loweralnum:24}}'", "'acmekey_k3j9x0q8w7e6r5t4y2u1i0o9'"),
            ),
            ("L003", CLEAN.replace("['https://acme.example/keys', CWE-798]", "[]")),
            ("L004", CLEAN.replace("Keep it on the server.", "no")),
            ("L005", CLEAN.replace("https://", "http://")),
            ("L006", poison),
            (
                "L007",
                CLEAN
                    .replace("pattern: '\\bacmekey_[a-z0-9]{24}\\b'", low)
                    .replace("acmekey_{{", "4f4f+{{"),
            ),
            ("L008", CLEAN.replace("    docs:", "    keywords: [acme]\n    docs:")),
            ("L009", CLEAN.replace("    docs:", "    slow: true\n    docs:")),
            ("L010", twin),
            ("L012", CLEAN.replace("score: 6", "score: 2")),
            ("L013", CLEAN.replace("'acmekey_short'", "'another'")),
        ];
        for (code, rules) in &faults {
            assert_eq!(codes(rules, None), [*code], "{rules}");
        }
        let changed = CLEAN.replace("{24}\\b'", "{24,30}\\b'");
        assert_eq!(codes(&changed, Some(CLEAN)), ["L011"]);
        let tried = faults.iter().map(|(code, _)| *code).chain(["L011"]);
        let mut tried: Vec<&str> = tried.collect();
        tried.sort_unstable();
        let all: Vec<&str> = LINTS.iter().map(|lint| lint.code).collect();
        assert_eq!(tried, all, "every check has its fault here");
    }

    #[test]
    fn keywords_that_hold_others_change_nothing() {
        let with =
            |words: &str| CLEAN.replace("    docs:", &format!("    keywords: {words}\n    docs:"));
        assert_eq!(
            codes(
                &with("[vault]").replace("'k: ", "'vault ").replace("match: ['", "match: ['vault "),
                None
            ),
            Vec::<String>::new()
        );
        let both = with("[vault, the-vault, vault]")
            .replace("'k: ", "'vault ")
            .replace("match: ['", "match: ['vault ");
        assert_eq!(codes(&both, None), ["L008", "L008"]);
    }

    #[test]
    fn the_readme_lists_every_check() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let mut table = String::from("| code | meaning |\n|---|---|\n");
        for lint in LINTS {
            writeln!(table, "| `{}` | {} |", lint.code, lint.meaning).unwrap();
        }
        crate::report::in_readme(path, "lints", &table);
    }
}
