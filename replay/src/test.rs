//! `test rules`: compiles rule files and runs every example and counter-example in them.
//!
//! The compiler itself refuses a rule whose examples don't hold, so this verb compiles and counts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ::scan::text::{Align, Table, visible};
use clap::Args;
use inspect::rule::RuleDefs;
use inspect::{CompileErrors, RuleSet};
use serde::Serialize;

use crate::error::Error;
use crate::output::{Out, Outcome, table_width};
use crate::rulefiles::{self, Source};

/// Compile rules and run every example and counter-example they carry.
///
/// All files are compiled as one set: a counter-example of one rule must not be hit by another
/// rule that redacts or blocks. Errors are printed as file:line:column with a code.
///
/// Exit code: 0 all tests hold, 1 an error in a rule or a test, 2 a file that cannot be read.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wiregate-replay test rules ./my-rules --each")]
pub(crate) struct Rules {
    /// Rule folders or files; none: all rules built into this binary
    #[arg(value_name = "DIR")]
    dirs: Vec<PathBuf>,

    /// Count per rule instead of per file
    #[arg(long)]
    each: bool,

    /// Print files, rules and errors as JSON
    #[arg(long)]
    json: bool,

    /// Fit the table to this many columns instead of the terminal's
    #[arg(long, value_name = "COLUMNS")]
    width: Option<u16>,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Tested {
    ok: bool,
    digest: Option<String>,
    files: BTreeMap<String, FileCounts>,
    errors: Vec<Failure>,
}

#[derive(Debug, Default, Serialize)]
struct FileCounts {
    rules: BTreeMap<String, Counts>,
    errors: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Counts {
    #[serde(rename = "match")]
    matches: u64,
    no_match: u64,
    errors: u64,
}

#[derive(Debug, Serialize)]
struct Failure {
    file: String,
    line: usize,
    column: usize,
    code: &'static str,
    label: String,
    message: String,
}

impl Rules {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let sources = if self.dirs.is_empty() {
            rulefiles::builtin(&rulefiles::known_packs())?
        } else {
            rulefiles::load(&self.dirs)?
        };
        let tested = test(&sources);
        let mut out = Out::stdout();
        if self.json {
            out.json(&tested)?;
        } else {
            self.print(&tested, &mut out)?;
        }
        out.finish()?;
        Ok(if tested.ok { Outcome::Fine } else { Outcome::Differs })
    }

    fn print(&self, tested: &Tested, out: &mut Out) -> Result<(), Error> {
        for Failure { file, line, column, code, label, message } in &tested.errors {
            let about = if label.is_empty() { String::new() } else { format!("{label}: ") };
            let text = format!("{file}:{line}:{column}: {code} {about}{message}");
            out.line(&visible(&text))?;
        }
        if !tested.errors.is_empty() {
            out.line("")?;
        }
        out.write(&self.table(tested).render(table_width(self.width)))?;
        out.line(&tested.conclusion())
    }

    fn table(&self, tested: &Tested) -> Table {
        let right = Align::Right;
        let numbers = [("match", right), ("no match", right), ("errors", right)];
        let mut table = if self.each {
            Table::new(&[&[("file", Align::Left), ("rule", Align::Left)], &numbers[..]].concat())
        } else {
            Table::new(&[&[("file", Align::Left), ("rules", right)], &numbers[..]].concat())
        };
        for (file, counts) in &tested.files {
            if self.each {
                for (rule, counts) in &counts.rules {
                    table.push(counts.cells(file, rule));
                }
            } else {
                let sum = Counts { errors: counts.errors, ..counts.sum() };
                table.push(sum.cells(file, &counts.rules.len().to_string()));
            }
        }
        table
    }
}

/// Compiles all files as one set and counts what they hold.
fn test(sources: &[Source]) -> Tested {
    let (digest, errors) = match RuleSet::compile(&rulefiles::borrowed(sources)) {
        Ok(set) => (Some(set.digest().to_owned()), CompileErrors::default()),
        Err(errors) => (None, errors),
    };
    let mut files: BTreeMap<String, FileCounts> =
        sources.iter().map(|source| (source.name.clone(), count(source))).collect();
    for error in errors.iter() {
        let file = files.entry(error.file.clone()).or_default();
        file.errors += 1;
        // A label is `rule: field`; what concerns no single rule counts for the file only.
        let rule = error.label.split(": ").next().unwrap_or_default();
        if let Some(counts) = file.rules.get_mut(rule) {
            counts.errors += 1;
        }
    }
    Tested {
        ok: errors.is_empty(),
        digest,
        files,
        errors: errors
            .iter()
            .map(|error| Failure {
                file: error.file.clone(),
                line: error.line,
                column: error.column,
                code: error.code.as_str(),
                label: error.label.clone(),
                message: error.message.clone(),
            })
            .collect(),
    }
}

/// The rules and tests written in a file. One that cannot be read has none; the compiler says why.
fn count(source: &Source) -> FileCounts {
    let mut counts = FileCounts::default();
    if let Ok((defs, _)) = inspect::yaml::from_str::<RuleDefs>(&source.name, &source.text, None) {
        for rule in defs.rules {
            let rule_counts = counts.rules.entry(rule.id).or_default();
            rule_counts.matches += rule.tests.matches.len() as u64;
            rule_counts.no_match += rule.tests.no_match.len() as u64;
        }
    }
    counts
}

impl FileCounts {
    fn sum(&self) -> Counts {
        self.rules.values().fold(Counts::default(), |sum, one| Counts {
            matches: sum.matches + one.matches,
            no_match: sum.no_match + one.no_match,
            errors: sum.errors + one.errors,
        })
    }
}

impl Counts {
    fn cells(self, first: &str, second: &str) -> [String; 5] {
        [
            first.to_owned(),
            second.to_owned(),
            self.matches.to_string(),
            self.no_match.to_string(),
            if self.errors == 0 { String::new() } else { self.errors.to_string() },
        ]
    }
}

impl Tested {
    fn conclusion(&self) -> String {
        let rules: usize = self.files.values().map(|file| file.rules.len()).sum();
        let (examples, counter) = self.files.values().fold((0, 0), |(a, b), file| {
            let sum = file.sum();
            (a + sum.matches, b + sum.no_match)
        });
        let n = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        format!(
            "\n{}, {}, {}, {}: {}",
            n(self.files.len() as u64, "file"),
            n(rules as u64, "rule"),
            n(examples, "example"),
            n(counter, "counter-example"),
            match self.errors.len() as u64 {
                0 => "all hold".to_owned(),
                errors => n(errors, "error"),
            }
        )
    }
}
