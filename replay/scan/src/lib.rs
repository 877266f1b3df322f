//! Recorded traffic against a rule set: what would have been found, and what would have been done.
//!
//! [`scan`] streams a capture's rows through a [`Judge`] and gives a [`Report`]: per rule the
//! findings recorded and now, newly caught and newly missed; the actions that change; the rows
//! that could not be judged, by reason. [`RulesFrom`] says which rules judge, [`Options`] under
//! which policy.
//!
//! A verdict here is a function of one row alone (and of the rule sets and policies the capture
//! holds), never of its neighbours, so the order of rows leaves no trace in the report, and
//! memory stays flat whatever the capture's size.
//!
//! Bodies recorded redacted are judged by what is left in them, plus the findings their list of
//! redactions names. The rule set a capture was recorded with therefore gives no difference, in
//! raw and redacted mode alike; a changed pattern cannot be tried on text that is gone, and the
//! report counts those findings.
//!
//! ```no_run
//! use scan::{Options, RulesFrom, scan};
//!
//! let report = scan("capture".parse::<capture::Location>()?, RulesFrom::Recorded, &Options::default())?;
//! assert!(!report.differs(), "{report}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`compare`] judges by two sets side by side: what an update of the rules would change.
//!
//! What this crate is not: it writes nothing and talks to no network.
#![forbid(unsafe_code)]

pub mod explain;
mod judge;
mod labelled;
mod render;
mod report;
mod rows;
mod sets;
mod tally;
pub mod text;

use std::fmt;

use capture::{CaptureError, Labels, Location, Query, Record};
use inspect::{Policy, Preset, RuleSet};

pub use explain::Explanation;
pub use judge::{Found, Judge, Judged};
pub use labelled::{LabelReport, Labelled};
pub use report::{ActionChange, JudgedWith, Reason, Report, RuleDiff, Sample, Unjudged, What};
pub use rows::{Rows, find};

/// The rules that judge.
#[derive(Clone, Copy, Debug)]
pub enum RulesFrom<'a> {
    /// This set judges every row.
    Set(&'a RuleSet),
    /// Each row is judged by the set recorded with it.
    Recorded,
}

/// How to judge. The default is as recorded, with three samples per rule.
#[derive(Clone)]
pub struct Options<'a> {
    /// Preset in place of the recorded ones.
    pub preset: Option<Preset>,
    /// Paranoia in place of the recorded ones.
    pub paranoia: Option<u8>,
    /// Rule ids to leave out of the sets.
    pub without: Vec<String>,
    /// Only rows at or after this time (µs since 1970).
    pub from_us: Option<i64>,
    /// Only rows before this time (µs since 1970).
    pub to_us: Option<i64>,
    /// Samples kept per rule and kind of difference.
    pub samples_per_rule: usize,
    /// Told now and then: rows and bytes of bodies so far.
    pub progress: Option<&'a dyn Fn(u64, u64)>,
}

impl Options<'_> {
    /// Judges every row under this policy instead of the recorded ones.
    #[must_use]
    pub fn with_policy(self, policy: Policy) -> Self {
        Self { preset: Some(policy.preset), paranoia: Some(policy.paranoia), ..self }
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            preset: None,
            paranoia: None,
            without: Vec::new(),
            from_us: None,
            to_us: None,
            samples_per_rule: 3,
            progress: None,
        }
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("preset", &self.preset)
            .field("paranoia", &self.paranoia)
            .field("without", &self.without)
            .field("from_us", &self.from_us)
            .field("to_us", &self.to_us)
            .field("samples_per_rule", &self.samples_per_rule)
            .finish_non_exhaustive()
    }
}

/// Why a scan could not begin. What goes wrong on the way is counted in the report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The capture cannot be opened: the caller's path, or the disk.
    #[error("cannot open the capture {path}")]
    Open {
        /// The path given.
        path: String,
        /// What the reader said.
        source: CaptureError,
    },
    /// There is nothing to judge: a folder that is no capture, or a gateway's first minute.
    #[error(
        "no finished capture file in {path} (a running gateway's newest rows are in its journal)"
    )]
    Empty {
        /// The path given.
        path: String,
    },
}

/// The columns a verdict needs; the others are not read.
const COLUMNS: [&str; 20] = [
    "writer_id",
    "seq",
    "ts",
    "direction",
    "kind",
    "server",
    "method",
    "name",
    "body",
    "body_raw",
    "truncated",
    "redaction_state",
    "redactions",
    "action",
    "scan_context",
    "scan_now",
    "would_be",
    "rule_ids",
    "ruleset_digest",
    "policy_digest",
];

/// Judges the rows of a capture (a folder, a subfolder, or one file) again.
///
/// # Errors
/// The capture cannot be opened. Damaged files and missing rule sets or policies on the way are
/// counted in [`Report::errors`], and the scan goes on.
pub fn scan(
    path: impl Into<Location>,
    rules: RulesFrom<'_>,
    options: &Options<'_>,
) -> Result<Report, ScanError> {
    let path = path.into();
    Ok(scan_rows(open(&path, options)?, &path, rules, options))
}

/// Judges rows that come from elsewhere (another engine, a test); `path` is the capture that
/// holds their rule sets and policies.
pub fn scan_rows(
    rows: impl IntoIterator<Item = Result<Record, CaptureError>>,
    path: impl Into<Location>,
    rules: RulesFrom<'_>,
    options: &Options<'_>,
) -> Report {
    let path = path.into();
    judge_rows(rows, &path, Judge::new(&path, rules, options), options, |row, _| row)
}

/// Judges the rows of a capture by two rule sets under one policy: what the report calls recorded
/// is what `before` says today, whatever was done when the row was recorded.
///
/// # Errors
/// As of [`scan()`].
pub fn compare(
    path: impl Into<Location>,
    before: &RuleSet,
    after: &RuleSet,
    policy: &Policy,
    options: &Options<'_>,
) -> Result<Report, ScanError> {
    let path = path.into();
    let rows = open(&path, options)?;
    let mut then = Judge::new(&path, RulesFrom::Set(before), options).under(policy);
    let now = Judge::new(&path, RulesFrom::Set(after), options).under(policy);
    let mut newly_blocked = 0;
    let mut report = judge_rows(rows, &path, now, options, |mut row, now| {
        // A row that cannot be judged stays as it is: the other set cannot judge it either.
        if let Ok(judged) = then.judge(&row) {
            newly_blocked += now.map_or(0, |now| u64::from(now.blocks_more_than(&judged)));
            row.action = Some(judged.action.as_str().into());
            row.would_be = Some(judged.would_be.as_str().into());
            row.rule_ids = judged.found.iter().map(|found| found.rule.as_str().into()).collect();
        }
        row
    });
    report.newly_blocked = Some(newly_blocked);
    report.judged_with.beside = Some(before.digest().to_owned());
    Ok(report)
}

/// Judges each row, and compares that with what `recorded` makes of it.
fn judge_rows(
    rows: impl IntoIterator<Item = Result<Record, CaptureError>>,
    path: &Location,
    mut judge: Judge<'_>,
    options: &Options<'_>,
    mut recorded: impl FnMut(Record, Option<&Judged>) -> Record,
) -> Report {
    let mut tally = tally::Tally::new(judge.judged_with(), options.samples_per_rule);
    match Labels::read(path.root()) {
        Ok(labels) => tally.labels(labels),
        Err(error) => tally.error(error.to_string()),
    }
    for (n, row) in (1..).zip(rows) {
        match row {
            Ok(row) => {
                let judged = judge.judge(&row);
                tally.row(&recorded(row, judged.as_ref().ok()), judged);
            }
            Err(error) => tally.error(error.to_string()),
        }
        if let Some(progress) = options.progress.filter(|_| n % 256 == 0) {
            let (rows, bytes) = tally.so_far();
            progress(rows, bytes);
        }
    }
    for digest in tally.recorded() {
        if let Some(title) = judge.title(&digest) {
            tally.title(digest, title);
        }
    }
    for error in judge.into_errors() {
        tally.error(error);
    }
    tally.finish()
}

fn open(path: &Location, options: &Options<'_>) -> Result<Rows, ScanError> {
    let query = Query {
        columns: Some(COLUMNS.iter().map(|&name| name.to_owned()).collect()),
        from_us: options.from_us,
        to_us: options.to_us,
        ..Query::default()
    };
    Rows::open(path, query)
}
