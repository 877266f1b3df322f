//! `label`: what people say of findings, kept in the capture beside the rows.

mod lines;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use ::scan::text::{Align, Table, visible};
use capture::labels::{self, ANY_RULE};
use capture::{Label, Labels, Location, Record, Said};
use clap::{Args, Subcommand, ValueEnum};

use crate::error::Error;
use crate::explain;
use crate::output::{Out, Outcome, Progress, table_width};
use crate::select::time::format_time;

/// Say of findings whether they are right, and keep that in the capture.
///
/// Labels are lines of `labels.jsonl` in the capture folder, each about the findings of one rule
/// in one record; of two lines about the same the later counts. `scan` reads them: newly caught
/// findings on clean traffic are told apart, and the precision of each rule is.
///
/// Exit code: 0 done, 2 an error; then nothing was written.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wiregate-replay label add ./capture --record 0c5d2a9e4b7f1683:42 --rule pii.email false --reason 'our own address'\n  wiregate-replay label add ./capture --record 0c5d2a9e4b7f1683:43 --clean --reason 'read it all'\n  wiregate-replay label list ./capture"
)]
pub(crate) struct LabelVerb {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Add(Add),
    List(List),
    Remove(Remove),
}

/// Label a finding, or a whole record as clean, or many from a file.
///
/// Lines of `--in` are `{"writer_id", "seq", "rule", "label": "true"|"false", "reason"}`, with
/// `"rule": "*"` for a whole record that is clean. All are written, or none.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  wiregate-replay label add ./capture --record 0c5d2a9e4b7f1683:42 --rule pii.email false --reason 'our own address'"
)]
struct Add {
    /// Capture folder
    #[arg(value_name = "CAPTURE")]
    capture: Location,

    /// Whether the finding is right
    #[arg(value_name = "true|false", requires = "rule")]
    label: Option<Right>,

    /// The record: its writer and number
    #[arg(long, value_name = "WRITER:SEQ", value_parser = explain::record_name, required_unless_present = "input")]
    record: Option<(String, i64)>,

    /// The rule whose finding it is
    #[arg(long, value_name = "RULE_ID", requires = "label")]
    rule: Option<String>,

    /// Nothing in this record is harm
    #[arg(long, conflicts_with = "rule", requires = "record")]
    clean: bool,

    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,

    /// A file of labels, one JSON object a line; `-` for standard input
    #[arg(long = "in", value_name = "FILE", conflicts_with_all = ["record", "rule", "clean"])]
    input: Option<PathBuf>,

    /// Who says so; `$USER` when not given
    #[arg(long, value_name = "NAME")]
    by: Option<String>,

    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Right {
    /// It is what the rule looks for
    True,
    /// It is no harm
    False,
}

/// List the labels of a capture.
///
/// Exit code: 0 done, 2 a line of the file is no label (the others are listed).
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wiregate-replay label list ./capture --rule pii.email")]
struct List {
    /// Capture folder
    #[arg(value_name = "CAPTURE")]
    capture: Location,

    /// Only labels of this rule
    #[arg(long, value_name = "RULE_ID")]
    rule: Option<String>,

    /// Print one JSON object per label
    #[arg(long)]
    json: bool,

    /// Fit the table to this many columns instead of the terminal's
    #[arg(long, value_name = "COLUMNS")]
    width: Option<u16>,
}

/// Take a label back.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  wiregate-replay label remove ./capture --record 0c5d2a9e4b7f1683:42 --rule pii.email"
)]
struct Remove {
    /// Capture folder
    #[arg(value_name = "CAPTURE")]
    capture: Location,

    /// The record: its writer and number
    #[arg(long, value_name = "WRITER:SEQ", value_parser = explain::record_name)]
    record: (String, i64),

    /// The rule; `*` for the label of the whole record
    #[arg(long, value_name = "RULE_ID")]
    rule: String,

    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,

    /// Who says so; `$USER` when not given
    #[arg(long, value_name = "NAME")]
    by: Option<String>,

    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

impl LabelVerb {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        match self.what {
            What::Add(verb) => verb.run(),
            What::List(verb) => verb.run(),
            What::Remove(verb) => verb.run(),
        }
    }
}

/// Microseconds since 1970: the only clock of this verb.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Who labels.
fn who(by: Option<&str>) -> String {
    by.map(str::to_owned).or_else(|| std::env::var("USER").ok()).unwrap_or_default()
}

impl Add {
    fn run(self) -> Result<Outcome, Error> {
        let (by, at_us) = (who(self.by.as_deref()), now());
        let labels = match (&self.input, &self.record) {
            (Some(path), _) => lines::read(path, &by, at_us)?,
            (None, Some((writer_id, seq))) => {
                let (rule, label) = match (&self.rule, self.label) {
                    (Some(rule), Some(Right::True)) => (rule.clone(), Said::True),
                    (Some(rule), Some(Right::False)) => (rule.clone(), Said::False),
                    _ if self.clean => (ANY_RULE.to_owned(), Said::False),
                    _ => {
                        let needs = "say --rule RULE_ID true|false, or --clean";
                        return Err(Error::Usage(needs.to_owned()));
                    }
                };
                let (writer_id, seq) = (writer_id.clone(), *seq);
                vec![Label { writer_id, seq, rule, label, reason: self.reason.clone(), by, at_us }]
            }
            (None, None) => return Err(Error::Usage("no record to label".to_owned())),
        };
        let mut rows: HashMap<(&str, i64), Record> = HashMap::new();
        let progress = Progress::new("looking up");
        for (count, label) in (1..).zip(&labels) {
            let key = (label.writer_id.as_str(), label.seq);
            let row = match rows.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let columns = Some(&["rule_ids", "ruleset_digest"][..]);
                    new.insert(explain::record(&self.capture, Some(key.0), key.1, columns)?)
                }
            };
            fits(row, label)?;
            progress.at(count);
        }
        drop(progress);
        write(&self.capture, &labels, self.json)
    }
}

/// Refuses a label of what the row does not have.
fn fits(row: &Record, label: &Label) -> Result<(), Error> {
    let refuse = |why: &str| {
        let name = format!("{}:{}", label.writer_id, label.seq);
        Err(Error::Usage(format!("record {name}: {why}")))
    };
    if row.ruleset_digest.is_none() {
        return refuse("it was not judged; label the record of the message as received");
    }
    match label.rule.as_str() {
        ANY_RULE if label.label == Said::True => {
            refuse("a whole record can only be labelled false; name the rule")
        }
        ANY_RULE => Ok(()),
        rule if row.rule_ids.iter().any(|id| &**id == rule) => Ok(()),
        rule => refuse(&format!("`{rule}` found nothing in it")),
    }
}

fn write(capture: &Location, labels: &[Label], json: bool) -> Result<Outcome, Error> {
    let root = capture.root();
    let Some(dir) = root.path() else {
        return Err(Error::Usage("labels are written to a folder of this machine".to_owned()));
    };
    labels::append(dir, labels)?;
    let mut out = Out::stdout();
    for label in labels.iter().filter(|_| json) {
        out.json_line(label)?;
    }
    out.finish()?;
    if !json {
        eprintln!("wiregate-replay: {} labels written", labels.len());
    }
    Ok(Outcome::Fine)
}

impl Remove {
    fn run(self) -> Result<Outcome, Error> {
        let (writer_id, seq) = self.record;
        let known = Labels::read(self.capture.root())?;
        if known.get(&writer_id, seq, &self.rule).is_none() {
            let what = format!("no label of `{}` on record {writer_id}:{seq}", self.rule);
            return Err(Error::Usage(what));
        }
        let label = Label {
            writer_id,
            seq,
            rule: self.rule,
            label: Said::Removed,
            reason: self.reason,
            by: who(self.by.as_deref()),
            at_us: now(),
        };
        write(&self.capture, &[label], self.json)
    }
}

impl List {
    fn run(self) -> Result<Outcome, Error> {
        if self.capture.path().is_some_and(|path| !path.is_dir()) {
            return Err(Error::Usage(format!("no folder {}", self.capture)));
        }
        let labels = Labels::read(self.capture.root())?;
        let wanted =
            labels.iter().filter(|label| self.rule.as_ref().is_none_or(|rule| *rule == label.rule));
        let mut out = Out::stdout();
        if self.json {
            for label in wanted {
                out.json_line(label)?;
            }
        } else {
            let columns = ["record", "rule", "label", "at", "by", "reason"];
            let columns = columns.map(|name| (name, Align::Left));
            let mut table = Table::new(&columns).firm("record");
            for label in wanted {
                table.push([
                    &format!("{}:{}", label.writer_id, label.seq),
                    &label.rule,
                    label.label.as_str(),
                    &format_time(label.at_us, 0),
                    &label.by,
                    &label.reason,
                ]);
            }
            if table.is_empty() {
                eprintln!("wiregate-replay: no label");
            } else {
                out.write(&table.render(table_width(self.width)))?;
            }
        }
        out.finish()?;
        let (broken, count) = labels.broken();
        for error in broken {
            eprintln!("wiregate-replay: {}", visible(&error.to_string()));
        }
        Ok(if count > 0 { Outcome::Broken } else { Outcome::Fine })
    }
}
