//! `test rules`: compiles rule files, runs every example and counter-example in them, and holds corpora against them.
//!
//! The compiler itself refuses a rule whose examples don't hold, so for examples this verb compiles and counts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ::scan::text::{Align, Table, visible};
use clap::{Args, ValueEnum};
use inspect::rule::{Example, RuleDefs};
use inspect::{Action, Code, Preset, RuleSet, template};
use serde::Serialize;

use crate::error::Error;
use crate::output::{Out, Outcome, table_width};
use crate::report::{self, Problem, junit, sarif};
use crate::rulefiles::{self, Source};

mod corpus;
mod floors;
mod time;

use corpus::{Corpora, How, Named};
use floors::{Floor, Held};
use time::Timing;

/// The code of a floor that fails, in SARIF.
const FLOOR: (&str, &str) = ("FLOOR", "a share measured over a corpus is not what was asked for");

/// Compile rules, run every example they carry, and hold labelled corpora against them.
///
/// All files are compiled as one set: a counter-example of one rule must not be hit by another
/// rule that redacts or blocks. Errors are printed as file:line:column with a code.
///
/// A corpus is a file of JSON lines as `judge` takes them, `{"id", "label", "kind", "class",
/// "surface", "text"}`, or a folder of such files. The label is `attack` or `benign`; a folder of
/// that name gives it to its files. Templates as `{{hex:40}}` are expanded as in examples. What is
/// caught or hit is counted per class, kind and corpus. The built-in rules are held against their
/// own corpus when no other is named.
///
/// Exit code: 0 all tests and floors hold, 1 an error in a rule or a test or a floor that fails,
/// 2 a file or line that cannot be read.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  wiregate-replay test rules ./my-rules --each\n  wiregate-replay test rules ./my-rules --corpus ./samples --min-recall .8 --min-recall secret=.9 \\\n      --max-false-positives .01 --junit rules.xml --sarif rules.sarif"
)]
pub(crate) struct Rules {
    /// Rule folders or files; none: all rules built into this binary
    #[arg(value_name = "DIR")]
    dirs: Vec<PathBuf>,

    /// Count per rule instead of per file
    #[arg(long)]
    each: bool,

    /// Hold this corpus against the rules: a file of JSON lines or a folder of them
    #[arg(long, value_name = "FILE|DIR")]
    corpus: Vec<PathBuf>,

    /// The least share of attacks caught: of all, or of the class, kind or corpus NAME
    #[arg(long, value_name = "[NAME=]SHARE")]
    min_recall: Vec<Floor>,

    /// The greatest share of benign lines hit: of all, or of the class, kind or corpus NAME
    #[arg(long, value_name = "[NAME=]SHARE")]
    max_false_positives: Vec<Floor>,

    /// The least action that counts as caught or hit
    #[arg(long, value_name = "ACTION", value_enum, default_value_t)]
    at: At,

    /// How findings in a corpus become actions
    #[arg(long, value_name = "PRESET", default_value = "balanced")]
    preset: Preset,

    /// Rules above this level stay out of the corpora's judgement
    #[arg(long, value_name = "1-4", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    paranoia: u8,

    /// Name up to N missed attacks and N benign lines hit
    #[arg(long, value_name = "N", default_value_t = 0)]
    list: usize,

    /// Measure what each rule costs over the examples and corpora, and show the N dearest
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20")]
    time: Option<usize>,

    /// Write a JUnit report: a suite a rule file, a case a rule; and a case a floor
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Write a SARIF 2.1.0 report of what fails
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,

    /// Print files, rules, errors and measurements as JSON
    #[arg(long)]
    json: bool,

    /// Fit the tables to this many columns instead of the terminal's
    #[arg(long, value_name = "COLUMNS")]
    width: Option<u16>,
}

/// What counts as caught.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum At {
    #[default]
    Flag,
    Redact,
    Block,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Tested {
    ok: bool,
    digest: Option<String>,
    files: BTreeMap<String, FileCounts>,
    errors: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    corpora: Option<Corpora>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    floors: Vec<Held>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timing>,
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

impl Rules {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let builtin = self.dirs.is_empty();
        let sources = if builtin {
            rulefiles::builtin(&rulefiles::known_packs())?
        } else {
            rulefiles::load(&self.dirs)?
        };
        let inputs = if self.corpus.is_empty() && builtin {
            corpus::builtin()
        } else {
            corpus::inputs(&self.corpus)?
        };
        let floors = !self.min_recall.is_empty() || !self.max_false_positives.is_empty();
        if floors && inputs.is_empty() {
            return Err(Error::Usage("a floor needs a --corpus".to_owned()));
        }
        let (set, mut tested) = test(&sources);
        if let Some(set) = &set {
            self.measure(set, builtin, &inputs, &mut tested)?;
        }
        if let Some(path) = &self.junit {
            report::write(path, &junit::xml(&tested.suites()))?;
        }
        if let Some(path) = &self.sarif {
            report::write(path, &format!("{:#}\n", tested.sarif()))?;
        }
        let mut out = Out::stdout();
        if self.json {
            out.json(&tested)?;
        } else {
            self.print(&tested, &mut out)?;
        }
        out.finish()?;
        Ok(if tested.ok { Outcome::Fine } else { Outcome::Differs })
    }

    /// Corpora, floors and time, of rules that compile.
    fn measure(
        &self,
        set: &RuleSet,
        builtin: bool,
        inputs: &[corpus::Input],
        tested: &mut Tested,
    ) -> Result<(), Error> {
        let mut texts = examples(set);
        if !inputs.is_empty() {
            // packs are tested with the built-in rules, and judge only when they are asked for
            let plain =
                if builtin { Some(rulefiles::compile(&rulefiles::builtin(&[])?)?) } else { None };
            let how = How { preset: self.preset, paranoia: self.paranoia, at: self.at.action() };
            let corpora = corpus::measure(plain.as_ref().unwrap_or(set), inputs, how)?;
            texts.extend(corpora.texts.iter().cloned());
            tested.floors = floors::hold(&corpora, &self.min_recall, &self.max_false_positives)?;
            tested.ok &= tested.floors.iter().all(|floor| floor.holds);
            tested.corpora = Some(corpora);
        }
        if self.time.is_some() {
            tested.time = Some(time::measure(set, &texts)?);
        }
        Ok(())
    }

    fn print(&self, tested: &Tested, out: &mut Out) -> Result<(), Error> {
        let width = table_width(self.width);
        for problem in &tested.errors {
            out.line(&visible(&problem.to_string()))?;
        }
        if !tested.errors.is_empty() {
            out.line("")?;
        }
        out.write(&self.table(tested).render(width))?;
        if let Some(corpora) = &tested.corpora {
            out.line("")?;
            out.write(&corpora.table().render(width))?;
            self.list(corpora, out)?;
        }
        if !tested.floors.is_empty() {
            out.line("")?;
        }
        for floor in &tested.floors {
            out.line(&visible(&floor.line()))?;
        }
        if let (Some(time), Some(top)) = (&tested.time, self.time) {
            out.line("")?;
            out.write(&time.print(top, width))?;
        }
        out.line(&tested.conclusion())
    }

    fn list(&self, corpora: &Corpora, out: &mut Out) -> Result<(), Error> {
        for (what, lines) in [("missed", &corpora.missed), ("hit", &corpora.false_positives)] {
            for Named { file, line, id, rules } in lines.iter().take(self.list) {
                let text = format!("{what} {file}:{line}: {id} {}", rules.join(" "));
                out.line(visible(&text).trim_end())?;
            }
        }
        Ok(())
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

impl At {
    fn action(self) -> Action {
        match self {
            Self::Flag => Action::Flag,
            Self::Redact => Action::Redact,
            Self::Block => Action::Block,
        }
    }
}

/// The texts of all examples, as they are tested.
fn examples(set: &RuleSet) -> Vec<String> {
    let mut texts = Vec::new();
    for rule in set.rules() {
        let tests = rule.tests();
        for (at, example) in tests.matches.iter().chain(&tests.no_match).enumerate() {
            let text = match example {
                Example::Text(text) => text,
                Example::Keyed(keyed) => &keyed.value,
            };
            // the compiler has expanded every template before
            texts.extend(template::expand(text, &format!("{}/{at}", rule.id())));
        }
    }
    texts
}

/// Compiles all files as one set and counts what they hold.
fn test(sources: &[Source]) -> (Option<RuleSet>, Tested) {
    let (set, errors) = match RuleSet::compile(&rulefiles::borrowed(sources)) {
        Ok(set) => (Some(set), Vec::new()),
        Err(errors) => (None, Problem::of(&errors)),
    };
    let mut files: BTreeMap<String, FileCounts> =
        sources.iter().map(|source| (source.name.clone(), count(source))).collect();
    for error in &errors {
        let file = files.entry(error.file.clone()).or_default();
        file.errors += 1;
        // what concerns no single rule counts for the file only
        if let Some(counts) = file.rules.get_mut(error.rule()) {
            counts.errors += 1;
        }
    }
    let tested = Tested {
        ok: errors.is_empty(),
        digest: set.as_ref().map(|set| set.digest().to_owned()),
        files,
        errors,
        corpora: None,
        floors: Vec::new(),
        time: None,
    };
    (set, tested)
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
    /// A suite a file with a case a rule, and one of floors.
    fn suites(&self) -> Vec<junit::Suite> {
        let mut suites = Vec::new();
        for (file, counts) in &self.files {
            let own = |error: &&Problem| error.file == *file;
            let told = |error: &Problem| error.to_string();
            let mut cases: Vec<junit::Case> = Vec::new();
            for rule in counts.rules.keys() {
                let errors = self.errors.iter().filter(own).filter(|error| error.rule() == rule);
                cases
                    .push(junit::Case { name: rule.clone(), failures: errors.map(told).collect() });
            }
            let rest = self.errors.iter().filter(own);
            let rest = rest.filter(|error| !counts.rules.contains_key(error.rule()));
            let failures: Vec<String> = rest.map(told).collect();
            if !failures.is_empty() {
                cases.push(junit::Case { name: "(file)".to_owned(), failures });
            }
            suites.push(junit::Suite { name: file.clone(), cases });
        }
        if !self.floors.is_empty() {
            let case = |floor: &Held| junit::Case {
                name: format!("{} of {}", floor.what, floor.of),
                failures: if floor.holds { Vec::new() } else { vec![floor.line()] },
            };
            let cases = self.floors.iter().map(case).collect();
            suites.push(junit::Suite { name: "floors".to_owned(), cases });
        }
        suites
    }

    /// The errors with their places, and each floor that fails at its corpora.
    fn sarif(&self) -> serde_json::Value {
        let mut meanings: Vec<(&str, &str)> =
            Code::ALL.iter().map(|code| (code.as_str(), code.meaning())).collect();
        meanings.push(FLOOR);
        let mut problems = self.errors.clone();
        for floor in self.floors.iter().filter(|floor| !floor.holds) {
            problems.extend(floor.corpora.iter().map(|file| Problem {
                file: file.clone(),
                line: 0,
                column: 0,
                code: FLOOR.0,
                label: String::new(),
                message: floor.line(),
            }));
        }
        sarif::log("error", &meanings, &problems)
    }

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
            match (self.errors.len() as u64, self.ok) {
                (0, true) => "all hold".to_owned(),
                (0, false) => "examples hold, floors fail".to_owned(),
                (errors, _) => n(errors, "error"),
            }
        )
    }
}
