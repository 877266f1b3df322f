//! `import`: rule files of other scanners → ours, with a word about everything that could not come along.
//!
//! Each format is read into [`Foreign`] rules; from there on there is one way: `pattern` translates, `sample` makes
//! examples where there are too few, `build` tries the rule in the compiler and says what it took, `emit` writes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ::scan::text::visible;
use clap::{Args, Subcommand};
use inspect::rule::{AllowDef, Confidence, Severity};
use serde::Serialize;

use crate::error::Error;
use crate::output::{Out, Outcome, Progress};
use crate::report;

mod build;
mod emit;
mod gitleaks;
mod noseyparker;
mod note;
mod pattern;
mod sample;
#[cfg(test)]
mod tests;

use note::{Level, Note, What};

/// A file beyond this is a mistake.
const MAX_FILE: u64 = 4 << 20;
/// More rules than this are a mistake.
const MAX_RULES: usize = 20_000;

/// Turn other scanners' rule files into rules of this one.
///
/// What could not come along is told on stderr, rule by rule with a code; nothing is dropped
/// silently. Where the source has fewer than two examples or counter-examples, they are made from
/// the pattern, as templates, and each is tried.
///
/// Exit code: 0 every rule came whole, 1 some changed or stayed behind, 2 a file cannot be read.
#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// A gitleaks configuration (TOML)
    #[command(
        after_help = "Example:\n  wiregate-replay import gitleaks .gitleaks.toml --prefix acme --out rules/acme.yaml"
    )]
    Gitleaks {
        /// The configuration
        #[arg(value_name = "FILE.toml")]
        file: PathBuf,
        #[command(flatten)]
        how: How,
    },
    /// Rule files of Nosey Parker or Kingfisher (YAML)
    #[command(
        visible_alias = "kingfisher",
        after_help = "Example:\n  wiregate-replay import noseyparker ./rules --prefix acme --out rules/acme.yaml"
    )]
    Noseyparker {
        /// Rule files or folders of them
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        how: How,
    },
}

/// What all formats have in common.
#[derive(Debug, Args)]
struct How {
    /// First part of every id; `gitleaks` when not given, and what the ids have already for the others
    #[arg(long, value_name = "WORD", value_parser = word)]
    prefix: Option<String>,

    /// Severity of rules whose source has none
    #[arg(long, value_name = "SEVERITY", default_value = "high", value_parser = clap::value_parser!(Severity))]
    severity: Severity,

    /// Write the rules as shadow rules: recorded, without effect, until you have seen what they do
    #[arg(long)]
    shadow: bool,

    /// Write the rules here instead of to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Print the report as JSON; the rules then need --out
    #[arg(long, requires = "out")]
    json: bool,
}

fn word(text: &str) -> Result<String, String> {
    let fine = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if text.len() <= 40 && text.split('.').all(fine) {
        Ok(text.to_owned())
    } else {
        Err("lower-case letters, digits, `-` and `.`".to_owned())
    }
}

/// Whose regular expressions they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Go's RE2.
    Go,
    /// Rust's, with the comments of Hyperscan.
    Rust,
}

/// Which group is the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secret {
    /// This one.
    Group(u32),
    /// The first that takes part; of these names, if there is one.
    First,
    /// The whole match.
    Match,
}

/// A rule of another scanner.
#[derive(Clone, Debug)]
struct Foreign {
    file: String,
    line: usize,
    id: String,
    title: String,
    finds: String,
    /// Of the tool, for the text that says where the rule comes from.
    tool: &'static str,
    pattern: String,
    dialect: Dialect,
    secret: Secret,
    entropy: Option<f64>,
    keywords: Vec<String>,
    allow: Vec<AllowDef>,
    confidence: Confidence,
    severity: Option<Severity>,
    shadow: bool,
    references: Vec<String>,
    examples: Vec<String>,
    counter_examples: Vec<String>,
}

/// What a format's reader gives.
#[derive(Debug, Default)]
struct Read {
    rules: Vec<Foreign>,
    notes: Vec<Note>,
    /// Rules in the source, also those that could not be read.
    seen: usize,
}

impl Read {
    fn note(&mut self, what: What, file: &str, line: usize, rule: &str, more: impl Into<String>) {
        self.notes.push(Note {
            code: what.code(),
            level: what.level(),
            file: file.to_owned(),
            line,
            rule: rule.to_owned(),
            message: more.into(),
        });
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    rules: usize,
    whole: usize,
    changed: usize,
    left_out: usize,
    /// How often each code was told.
    codes: BTreeMap<&'static str, usize>,
    notes: Vec<Note>,
}

impl Import {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let (mut read, how) = match &self.from {
            From::Gitleaks { file, how } => {
                let (name, text) = load(file)?;
                (gitleaks::read(&name, &text)?, how)
            }
            From::Noseyparker { paths, how } => {
                let mut read = Read::default();
                for path in files(paths)? {
                    let (name, text) = load(&path)?;
                    noseyparker::read(&name, &text, &mut read)?;
                }
                (read, how)
            }
        };
        if read.seen > MAX_RULES {
            return Err(Error::Usage(format!("more than {MAX_RULES} rules")));
        }
        let prefix = match (&self.from, &how.prefix) {
            (_, Some(prefix)) => Some(prefix.as_str()),
            (From::Gitleaks { .. }, None) => Some("gitleaks"),
            (From::Noseyparker { .. }, None) => None,
        };
        let progress = Progress::counting("trying rules", "rules");
        let defs = build::build(&mut read, prefix, how.severity, how.shadow, &|n| progress.at(n))?;
        drop(progress);
        read.notes.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        let yaml = emit::yaml(&defs, &self.source());
        let written = defs.iter().filter(|def| emit::tested(def)).count();
        let report = Report::of(&read, written);
        let mut out = Out::stdout();
        match &how.out {
            Some(path) => report::write(path, &yaml)?,
            None => out.write(&yaml)?,
        }
        if how.json {
            out.json(&report)?;
        } else {
            report.tell();
        }
        out.finish()?;
        let whole = report.whole == report.rules;
        Ok(if whole { Outcome::Fine } else { Outcome::Differs })
    }

    /// What was imported, for the first line of the output.
    fn source(&self) -> String {
        match &self.from {
            From::Gitleaks { file, .. } => format!("gitleaks {}", file.display()),
            From::Noseyparker { paths, .. } => {
                let paths: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
                format!("noseyparker {}", paths.join(" "))
            }
        }
    }
}

impl Report {
    fn of(read: &Read, written: usize) -> Self {
        let mut worst: BTreeMap<(&str, usize), Level> = BTreeMap::new();
        let mut codes = BTreeMap::new();
        for note in &read.notes {
            *codes.entry(note.code).or_default() += 1;
            let level = worst.entry((&note.file, note.line)).or_insert(Level::Noted);
            *level = (*level).max(note.level);
        }
        // a note of no rule stands at line 0
        let of = |wanted| worst.iter().filter(|((_, line), l)| *line > 0 && **l == wanted).count();
        let (changed, left_out) = (of(Level::Changed), read.seen - written);
        Self {
            rules: read.seen,
            whole: read.seen - changed - left_out,
            changed,
            left_out,
            codes,
            notes: read.notes.clone(),
        }
    }

    fn tell(&self) {
        for note in &self.notes {
            eprintln!("{}", visible(&note.to_string()));
        }
        let Self { rules, whole, changed, left_out, .. } = self;
        eprintln!("{rules} rules: {whole} whole, {changed} changed, {left_out} left out");
    }
}

/// The files at these paths; of folders, those with YAML in them.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    crate::rulefiles::paths(paths)
}

fn load(path: &Path) -> Result<(String, String), Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Error::Usage(format!("{} is larger than 4 MiB", path.display())));
    }
    Ok((path.display().to_string(), text))
}
