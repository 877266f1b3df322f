//! `compact`: many small files as few large ones, sorted for those who ask by session.

use std::path::PathBuf;

use capture::Query;
use clap::Args;

use crate::derived::{Source, Summary, Target};
use crate::error::Error;
use crate::output::{Outcome, Progress};
use crate::slice::put;

/// Write a capture anew with few large files, sorted by session and time.
///
/// Each hour's files become one, or several of about 256 MB, in which the rows of a session lie
/// together in the order of their time. Row groups hold 64 MB, so that a question about one session or one
/// moment reads little. No row is lost or changed. Memory stays within --memory and what sixteen
/// open files take; the rest of a large hour waits on the disk beside the new capture.
///
/// Of a capture that is being written, the finished files are read. The capture it was made from
/// is left as it is.
///
/// Exit code: 0 done, 2 an error.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wiregate-replay compact ./capture --out ./capture-november")]
pub(crate) struct Compact {
    /// Capture folder, one of its subfolders, or one Parquet file
    #[arg(value_name = "CAPTURE")]
    path: PathBuf,

    #[command(flatten)]
    target: Target,

    /// Megabytes of rows to sort in memory
    #[arg(long, value_name = "MB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    memory: u32,
}

#[derive(Debug, serde::Serialize)]
struct Nothing {}

impl Compact {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let source = Source::open(&self.path)?;
        let mut before = source.size();
        let derived = self.target.create("compact", None, &source)?;
        let mut derived = derived.sorted(self.memory as usize * 1_000_000);
        let progress = Progress::new("compacting");
        before.rows = source.each(&Query::default(), &progress, |partition, row| {
            put(&mut derived, partition, row)
        })?;
        let after = derived.finish()?;
        drop(progress);
        Summary { before, after, more: Nothing {} }.print(self.target.json)?;
        Ok(Outcome::Fine)
    }
}
