//! Reading all manifests of a capture: their chain, their signatures, and what they state.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::{Break, BreakKind, VerifyOptions, VerifyReport};
use crate::manifest::{self, Checkpoint, FileEntry, Head, Lines, MANIFEST, ReadLine, Signed, What};
use crate::{CaptureError, disk};

/// A file with who states it.
#[derive(Debug)]
pub(super) struct Stated {
    pub(super) writer: String,
    pub(super) entry: FileEntry,
    /// What the writer stated of its rows before it was finished, in their order.
    pub(super) checkpoints: Vec<Checkpoint>,
    /// Made of other captures.
    pub(super) derived: bool,
    /// The line is signed by a key that may sign.
    proven: bool,
}

/// What all manifests state together. Memory: about a kilobyte for each file stated.
#[derive(Debug, Default)]
pub(super) struct All {
    /// By path.
    pub(super) files: BTreeMap<String, Stated>,
    /// With whether that is signed by a key that may sign.
    removed: BTreeMap<String, bool>,
    /// Files that were there before the first manifest.
    pub(super) older: BTreeSet<String>,
    /// The first key of the capture: where no key is asked for, it is the one that may sign.
    key: Option<String>,
}

impl All {
    /// Whether somebody may take this file away, and said so. What nobody signed can't undo what somebody did.
    pub(super) fn removed(&self, path: &str) -> bool {
        let proven = self.files.get(path).is_some_and(|stated| stated.proven);
        self.removed.get(path).is_some_and(|signed| *signed || !proven)
    }
}

/// Entries that other writers saw, by writer.
type Seen = BTreeMap<String, BTreeSet<(u64, String)>>;

/// Reads them all; what is wrong with them goes into the report.
pub(super) fn read(
    dir: &Path,
    options: &VerifyOptions,
    report: &mut VerifyReport,
) -> Result<All, CaptureError> {
    let mut all = All::default();
    let mut wanted: BTreeSet<&str> = options.heads.iter().map(String::as_str).collect();
    let manifests = manifest::all(dir)?;
    let mut seen = seen(manifests.iter().map(|(_, path)| path))?;
    for (writer, path) in manifests {
        // before the manifest is read: a writer that ends in between has its last entry in it
        let lives = disk::lives(dir, &writer);
        let Some(mut lines) = Lines::open(&path)? else { continue };
        report.writers += 1;
        let mut one = One::new(writer);
        let mut theirs = seen.remove(&one.writer).unwrap_or_default();
        loop {
            match lines.next_line() {
                Ok(Some(line)) => {
                    wanted.remove(line.head.as_str());
                    theirs.remove(&(line.entry.n, line.head.clone()));
                    one.take(line, options, &mut all, report);
                }
                Ok(None) => break,
                // a writer at work may be in the middle of a line
                Err(_) if lives => break,
                Err(error) => {
                    one.broken = true;
                    if disk::waits(dir, &one.writer) {
                        report.notes.push(format!("{}: {error}", one.path));
                    } else {
                        let (at, detail) = (Some(one.next as i64), error.to_string());
                        one.found(report, at, BreakKind::ChangedManifest, &detail);
                    }
                    break;
                }
            }
        }
        one.finish(dir, lives, report);
        for (n, _) in theirs {
            let (kind, detail) = match n < one.next {
                true => (BreakKind::ChangedManifest, "is not the one that another writer saw"),
                false => (BreakKind::CutTail, "was there when another writer looked"),
            };
            one.found(report, Some(n as i64), kind, &format!("entry {n} {detail}"));
        }
        one.hand_over(&mut all, report);
    }
    for (writer, theirs) in seen {
        let seen = theirs.first().map_or(0, |(n, _)| *n);
        report.broken(Break {
            path: format!("{MANIFEST}/{writer}.jsonl"),
            at: None,
            kind: BreakKind::MissingManifest,
            detail: format!("another writer saw its entry {seen}, and it is gone"),
        });
    }
    for head in wanted {
        report.broken(Break {
            path: MANIFEST.to_owned(),
            at: None,
            kind: BreakKind::MissingHead,
            detail: format!("no manifest holds the head {head}"),
        });
    }
    Ok(all)
}

/// What the writers saw of each other when they began: it stands in their first lines.
fn seen<'a>(manifests: impl Iterator<Item = &'a PathBuf>) -> Result<Seen, CaptureError> {
    let mut seen = Seen::new();
    for path in manifests {
        let Some(mut lines) = Lines::open(path)? else { continue };
        // what is no line is told when the manifest is read as a whole
        let Ok(Some(line)) = lines.next_line() else { continue };
        let What::Begin(begin) = line.entry.what else { continue };
        // a derived capture names manifests of other folders
        if begin.made_by.is_none() {
            for Head { writer, n, head } in begin.seen {
                seen.entry(writer).or_default().insert((n, head));
            }
        }
    }
    Ok(seen)
}

/// One manifest while it is read.
#[derive(Debug)]
struct One {
    path: String,
    writer: String,
    next: u64,
    prev: String,
    /// Some of its lines are signed.
    signed: bool,
    unsigned: u64,
    files: BTreeMap<i64, (FileEntry, bool)>,
    /// Ranges of rows that the writer said are lost.
    lost: BTreeMap<i64, i64>,
    /// By the first row of their file.
    checkpoints: BTreeMap<i64, Vec<Checkpoint>>,
    derived: bool,
    ended: Option<i64>,
    broken: bool,
}

impl One {
    fn new(writer: String) -> One {
        One {
            path: format!("{MANIFEST}/{writer}.jsonl"),
            writer,
            next: 0,
            prev: manifest::zero().to_owned(),
            signed: false,
            unsigned: 0,
            files: BTreeMap::new(),
            lost: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            derived: false,
            ended: None,
            broken: false,
        }
    }

    fn found(&self, report: &mut VerifyReport, at: Option<i64>, kind: BreakKind, detail: &str) {
        let (path, detail) = (self.path.clone(), detail.to_owned());
        report.broken(Break { path, at, kind, detail });
    }

    fn take(
        &mut self,
        line: ReadLine,
        options: &VerifyOptions,
        all: &mut All,
        report: &mut VerifyReport,
    ) {
        let proven = self.signature(&line, options, all, report);
        let ReadLine { entry, head, .. } = line;
        let at = Some(entry.n as i64);
        if entry.n > self.next {
            let detail = format!("entries {} to {} are gone", self.next, entry.n - 1);
            self.found(report, at, BreakKind::RemovedEntry, &detail);
        } else if entry.n != self.next || entry.prev != self.prev {
            let detail = "does not follow on the line before, which was another";
            self.found(report, at, BreakKind::ChangedManifest, detail);
        }
        (self.next, self.prev) = (entry.n.saturating_add(1), head);
        if self.ended.is_some() {
            self.found(report, at, BreakKind::ChangedManifest, "follows on the last entry");
        }
        match entry.what {
            What::Begin(begin) => {
                if entry.n != 0 || begin.writer != self.writer {
                    let detail = "another writer's beginning";
                    self.found(report, at, BreakKind::ChangedManifest, detail);
                }
                self.derived = begin.made_by.is_some();
            }
            What::File(file) if !is_plain(&file.path) => {
                let detail = "states a file outside the capture";
                self.found(report, at, BreakKind::ChangedManifest, detail);
            }
            // a file that had to be built again is stated again
            What::File(file) => drop(self.files.insert(file.first_seq, (file, proven))),
            What::Checkpoint(point) => {
                self.checkpoints.entry(point.first_seq).or_default().push(point);
            }
            What::Removed(file) => *all.removed.entry(file.path).or_default() |= proven,
            What::Older(older) => all.older.extend(older.paths),
            What::Lost(lost) => drop(self.lost.insert(lost.first_seq, lost.last_seq)),
            What::End(end) => self.ended = Some(end.last_seq),
        }
    }

    /// Whether the line is signed by a key that may sign: one of those asked for, else the capture's first.
    fn signature(
        &mut self,
        line: &ReadLine,
        options: &VerifyOptions,
        all: &mut All,
        report: &mut VerifyReport,
    ) -> bool {
        let at = Some(line.entry.n as i64);
        match line.signed() {
            Signed::Wrong => {
                self.found(report, at, BreakKind::WrongSignature, "the signature does not fit");
                false
            }
            Signed::No => {
                report.unsigned += 1;
                self.unsigned += 1;
                if !options.keys.is_empty() || self.signed {
                    self.found(report, at, BreakKind::Unsigned, "the entry is not signed");
                }
                false
            }
            Signed::By(id) => {
                self.signed = true;
                *report.signed_by.entry(id.clone()).or_default() += 1;
                let (known, other) = if options.keys.is_empty() {
                    let first = all.key.get_or_insert_with(|| id.clone());
                    (*first == id, format!("not by {first} as before"))
                } else {
                    (options.keys.contains(&id), "which is none of those given".to_owned())
                };
                if !known {
                    let detail = format!("signed by the key {id}, {other}");
                    self.found(report, at, BreakKind::ForeignKey, &detail);
                }
                known
            }
        }
    }

    /// What can be said once all lines are read.
    fn finish(&self, dir: &Path, lives: bool, report: &mut VerifyReport) {
        if self.unsigned > 0 && !self.signed {
            report
                .notes
                .push(format!("{} is not signed: anybody could have written it", self.path));
        }
        if !self.derived {
            self.numbers(report);
        }
        let last = self.last();
        match self.ended {
            Some(end) if end != self.last_file() => {
                let detail = format!("the last row is {end}, and files end with {last}");
                self.found(report, None, BreakKind::MissingRows, &detail);
            }
            Some(_) => {}
            None if self.broken => {}
            None if lives => report.notes.push(format!("{}: its writer is at work", self.path)),
            None if disk::waits(dir, &self.writer) => {
                report.notes.push(format!("{}: waits for the next start to recover it", self.path));
            }
            None => self.found(report, None, BreakKind::CutTail, "the last entry is missing"),
        }
        // rows that were in the journal must have come into a file
        let points = self.checkpoints.values().flatten();
        let stated = points.map(|point| point.last_seq).max().unwrap_or(0);
        if self.ended.is_some() && stated > last {
            let detail = format!("row {stated} was in the journal, and files end with {last}");
            self.found(report, None, BreakKind::MissingRows, &detail);
        }
    }

    fn last_file(&self) -> i64 {
        self.files.values().map(|(file, _)| file.last_seq).max().unwrap_or(0)
    }

    fn last(&self) -> i64 {
        self.lost.values().copied().max().unwrap_or(0).max(self.last_file())
    }

    /// Each number is in one file, or was lost.
    fn numbers(&self, report: &mut VerifyReport) {
        let files = self.files.iter().map(|(first, (file, _))| (*first, file.last_seq));
        let mut ranges: Vec<_> = files.chain(self.lost.iter().map(|(a, b)| (*a, *b))).collect();
        ranges.sort_unstable();
        let mut next = 1;
        for (first, last) in ranges {
            if first > next {
                let detail = format!("{next} to {} are in no file", first - 1);
                self.found(report, Some(next), BreakKind::MissingRows, &detail);
            }
            next = last.saturating_add(1).max(next);
        }
    }

    fn hand_over(mut self, all: &mut All, report: &mut VerifyReport) {
        for (first, (entry, proven)) in self.files {
            // an unsigned manifest can't replace what a signed one states
            if all.files.get(&entry.path).is_some_and(|other| other.proven && !proven) {
                continue;
            }
            let checkpoints = self.checkpoints.remove(&first).unwrap_or_default();
            let (writer, derived) = (self.writer.clone(), self.derived);
            let path = entry.path.clone();
            all.files.insert(path, Stated { writer, entry, checkpoints, derived, proven });
        }
        if let Some(n) = self.next.checked_sub(1) {
            report.heads.push(Head { writer: self.writer, n, head: self.prev });
        }
    }
}

/// Whether a path stays below the capture folder.
fn is_plain(path: &str) -> bool {
    let path = Path::new(path);
    path.extension().is_some_and(|extension| extension == "parquet")
        && path.components().all(|part| matches!(part, Component::Normal(_)))
}
