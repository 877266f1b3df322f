//! [`Sorter`]: rows by session and time, whatever their number, in bounded memory.
//!
//! Rows gather up to a limit, are sorted and written to a run; runs are merged. Equal rows keep their order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::RecorderConfig;
use crate::manifest::Manifest;
use crate::record::{Record, Str};
use crate::writer::FileWriter;
use crate::{CaptureError, Reader, disk};

/// Runs that are read at a time: each holds a batch in memory.
const MAX_RUNS: usize = 16;

type Key = (Option<Str>, i64, Option<Str>, i64);

fn key(row: &Record) -> Key {
    (row.session_id.clone(), row.ts_us, row.writer_id.clone(), row.seq)
}

/// Takes rows in any order, and gives them back sorted by session, time, writer and number.
#[derive(Debug)]
pub(crate) struct Sorter {
    /// Where runs go; of this alone.
    dir: PathBuf,
    limit: usize,
    rows: Vec<Record>,
    bytes: usize,
    runs: Vec<PathBuf>,
    written: u64,
}

impl Sorter {
    /// Holds about `limit` bytes of rows in memory, and the rest in `dir`.
    pub(crate) fn new(dir: PathBuf, limit: usize) -> Sorter {
        Sorter { dir, limit, rows: Vec::new(), bytes: 0, runs: Vec::new(), written: 0 }
    }

    pub(crate) fn push(&mut self, row: Record) -> Result<(), CaptureError> {
        self.bytes += row.size();
        self.rows.push(row);
        if self.bytes >= self.limit {
            self.rows.sort_by_cached_key(key);
            self.bytes = 0;
            let rows = std::mem::take(&mut self.rows);
            let run = self.write(rows.into_iter().map(Ok))?;
            self.runs.push(run);
        }
        Ok(())
    }

    /// Gives all rows; the sorter is empty then.
    pub(crate) fn drain(
        &mut self,
        mut give: impl FnMut(Record) -> Result<(), CaptureError>,
    ) -> Result<(), CaptureError> {
        self.rows.sort_by_cached_key(key);
        self.bytes = 0;
        let last = std::mem::take(&mut self.rows);
        while self.runs.len() > MAX_RUNS {
            // the first ones into one that takes their place, so that equal rows keep their order
            let rest = self.runs.split_off(MAX_RUNS);
            let first = std::mem::replace(&mut self.runs, rest);
            let merged = self.write(Merge::of(&first, Vec::new())?)?;
            self.runs.insert(0, merged);
            self.remove(&first)?;
        }
        let runs = std::mem::take(&mut self.runs);
        Merge::of(&runs, last)?.try_for_each(|row| give(row?))?;
        self.remove(&runs)
    }

    fn write(
        &mut self,
        rows: impl Iterator<Item = Result<Record, CaptureError>>,
    ) -> Result<PathBuf, CaptureError> {
        disk::create_dir(&self.dir).map_err(CaptureError::io("create", &self.dir))?;
        self.written += 1;
        let name = PathBuf::from(format!("{:06}.parquet", self.written));
        let path = self.dir.join(&name);
        let config = RecorderConfig::new(&self.dir);
        let mut file = FileWriter::derived(&self.dir, "sort", 1, name, &config)?;
        for row in rows {
            file.push(row?)?;
        }
        file.finish(&self.dir, &Manifest::open(&self.dir, "sort", None)?)?;
        Ok(path)
    }

    fn remove(&self, runs: &[PathBuf]) -> Result<(), CaptureError> {
        let gone = |run: &PathBuf| fs::remove_file(run).map_err(CaptureError::io("remove", run));
        runs.iter().try_for_each(gone)
    }
}

/// Sorted sources as one.
struct Merge {
    sources: Vec<Box<dyn Iterator<Item = Result<Record, CaptureError>>>>,
    /// The next row of each, which stands at its place in `next`.
    heap: BinaryHeap<Reverse<(Key, usize)>>,
    next: Vec<Option<Record>>,
}

impl Merge {
    fn of(runs: &[PathBuf], last: Vec<Record>) -> Result<Merge, CaptureError> {
        let mut merge = Merge { sources: Vec::new(), heap: BinaryHeap::new(), next: Vec::new() };
        for run in runs {
            merge.sources.push(Box::new(Reader::open(Path::new(run))?));
        }
        merge.sources.push(Box::new(last.into_iter().map(Ok)));
        merge.next.resize(merge.sources.len(), None);
        (0..merge.sources.len()).try_for_each(|at| merge.advance(at))?;
        Ok(merge)
    }

    fn advance(&mut self, at: usize) -> Result<(), CaptureError> {
        let row = self.sources.get_mut(at).and_then(Iterator::next).transpose()?;
        if let Some(row) = &row {
            self.heap.push(Reverse((key(row), at)));
        }
        if let Some(next) = self.next.get_mut(at) {
            *next = row;
        }
        Ok(())
    }
}

impl Iterator for Merge {
    type Item = Result<Record, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((_, at)) = self.heap.pop()?;
        let row = self.next.get_mut(at)?.take()?;
        Some(self.advance(at).map(|()| row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn any_number_of_runs_gives_one_order(
            rows in prop::collection::vec(sample::any_record(), 0..60),
            limit in prop_oneof![Just(1_usize), Just(5_000), Just(usize::MAX)],
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::new(dir.path().join("sort"), limit);
            rows.iter().for_each(|row| sorter.push(row.clone()).unwrap());
            let mut sorted = Vec::new();
            sorter.drain(|row| { sorted.push(row); Ok(()) }).unwrap();
            let mut expected = rows;
            expected.sort_by_key(key);
            prop_assert_eq!(sorted, expected);
            let left = fs::read_dir(dir.path().join("sort")).map_or(0, Iterator::count);
            prop_assert_eq!(left, 0);
        }
    }
}
