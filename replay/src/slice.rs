//! `slice`: the rows of a filter as a capture of their own.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};

use capture::{Derived, Query, Record};
use clap::{Args, ValueEnum};

use crate::derived::{Source, Summary, Target};
use crate::error::Error;
use crate::output::{Outcome, Progress};
use crate::select::Select;

/// Rows, exchanges and sessions that one slice may pick out; eight bytes each.
const MAX_PICKED: usize = 50_000_000;

/// Copy the rows of a filter into a capture of their own.
///
/// Without filters everything is copied. Beside the rows that the filters match, the others of
/// their exchanges come along (a request whose answer matched), or those of their sessions. Rule sets and
/// configurations that the rows name, and their labels, come along too. Rows keep writer and
/// number. `verify` holds the new capture against a manifest of its own.
///
/// The new capture appears when it is whole; a run cut short leaves nothing
/// visible. Of a capture that is
/// being written, the finished files are read.
///
/// Exit code: 0 done, 1 no row matched and nothing was written, 2 an error.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  wiregate-replay slice ./capture --out ./case-17 --session 00000000000000bb --whole sessions"
)]
pub(crate) struct Slice {
    /// Capture folder, one of its subfolders, or one Parquet file
    #[arg(value_name = "CAPTURE")]
    path: PathBuf,

    #[command(flatten)]
    target: Target,

    /// What comes along with a row that matches
    #[arg(long, value_name = "WHAT", default_value = "exchanges")]
    whole: Whole,

    #[command(flatten)]
    select: Select,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Whole {
    /// Nothing
    Rows,
    /// The other rows of its exchange
    Exchanges,
    /// The other rows of its session, or of its exchange where it has no session
    Sessions,
}

/// How many rows matched by themselves.
#[derive(Debug, serde::Serialize)]
struct Matched {
    matched: u64,
}

impl Slice {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let source = Source::open(&self.path)?;
        let picked = self.pick(&source)?;
        let mut before = source.size();
        if picked.is_empty() {
            eprintln!("wiregate-replay: no row matches; nothing was written");
            return Ok(Outcome::Differs);
        }
        let how = format!("whole {:?}", self.whole).to_lowercase();
        let mut derived = self.target.create("slice", Some(how), &source)?;
        let progress = Progress::new("slicing");
        before.rows = source.each(&Query::default(), &progress, |partition, row| {
            if picked.has(&row) {
                put(&mut derived, partition, row)?;
            }
            Ok(())
        })?;
        drop(progress);
        let after = derived.finish()?;
        Summary { before, after, more: Matched { matched: picked.matched } }
            .print(self.target.json)?;
        Ok(Outcome::Fine)
    }

    /// First pass: what the filters match.
    fn pick(&self, source: &Source) -> Result<Picked, Error> {
        let mut picked = Picked { whole: self.whole, ..Picked::default() };
        let wanted = self.select.wanted();
        let query = self.select.query(&["writer_id", "seq", "exchange_id", "session_id"]);
        let progress = Progress::new("looking");
        source.each(&query, &progress, |_, row| {
            if wanted.is(&row) {
                picked.add(&row)?;
            }
            Ok(())
        })?;
        Ok(picked)
    }
}

/// Adds a row to the partition that it is from.
pub(crate) fn put(
    derived: &mut Derived,
    partition: Option<&Path>,
    row: Record,
) -> Result<(), Error> {
    match partition {
        Some(partition) => derived.push_to(partition, row)?,
        None => derived.push(row)?,
    }
    Ok(())
}

/// Rows, exchanges and sessions by keyed hashes, which a capture's author cannot make collide.
#[derive(Debug)]
struct Picked {
    whole: Whole,
    hasher: RandomState,
    hashes: HashSet<u64>,
    matched: u64,
}

impl Default for Picked {
    fn default() -> Self {
        let (hasher, hashes) = (RandomState::new(), HashSet::new());
        Self { whole: Whole::Rows, hasher, hashes, matched: 0 }
    }
}

impl Picked {
    fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    fn row(&self, row: &Record) -> u64 {
        self.hasher.hash_one((0, &row.writer_id, row.seq))
    }

    /// What the row belongs to, if others may come along with it.
    fn company(&self, row: &Record) -> Option<u64> {
        let exchange = || {
            let id = row.exchange_id.as_ref()?;
            Some(self.hasher.hash_one((1, &row.writer_id, id)))
        };
        match (self.whole, &row.session_id) {
            (Whole::Rows, _) => None,
            (Whole::Sessions, Some(session)) => Some(self.hasher.hash_one((2, session))),
            _ => exchange(),
        }
    }

    fn add(&mut self, row: &Record) -> Result<(), Error> {
        self.matched += 1;
        self.hashes.insert(self.row(row));
        self.hashes.extend(self.company(row));
        if self.hashes.len() > MAX_PICKED {
            let text = format!("more than {MAX_PICKED} rows match; narrow the filters by time");
            return Err(Error::Usage(text));
        }
        Ok(())
    }

    fn has(&self, row: &Record) -> bool {
        self.hashes.contains(&self.row(row))
            || self.company(row).is_some_and(|company| self.hashes.contains(&company))
    }
}
