//! [`verify()`]: whether a capture is what its writers stated, and what is wrong where it is not.
//!
//! First the manifests (chain, signatures, order), then every file they state: its bytes, its rows, its bodies. What
//! a verified capture proves and what it does not stands in `TRUST.md`.

mod file;
mod manifests;
mod sidecars;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use serde::Serialize;

use self::file::Checked;
use self::manifests::{All, Stated};
use crate::layout::Files;
use crate::manifest::{self, Head};
use crate::{CaptureError, disk};

/// Threads that read files.
const MAX_THREADS: usize = 8;

/// Breaks that a report holds one by one; all are counted.
const MAX_BREAKS: usize = 1000;

/// What to hold a capture against, beside itself.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Ids of the keys that may sign; with any, every entry must be signed by one of them.
    pub keys: Vec<String>,
    /// Heads that were kept elsewhere: each must be a line of some manifest.
    pub heads: Vec<String>,
    /// Leave the rows unread: hash the files only.
    pub quick: bool,
}

/// Kinds of what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakKind {
    /// A manifest's line is unreadable, out of order, or does not follow on the one before.
    ChangedManifest,
    /// An entry's signature does not fit its bytes.
    WrongSignature,
    /// An entry is signed by a key that was not asked for, or by another than the capture's first.
    ForeignKey,
    /// An entry is not signed, though others are, or keys were asked for.
    Unsigned,
    /// A manifest ends without its last entry, and nobody is writing it.
    CutTail,
    /// A manifest that others took note of is gone, or shorter than it was.
    MissingManifest,
    /// A head that was kept elsewhere is in no manifest.
    MissingHead,
    /// A file that was stated, and not stated as removed, is not there.
    RemovedFile,
    /// A file lacks its end.
    CutFile,
    /// A file's bytes are not those that were stated.
    ChangedFile,
    /// Entries in the middle of a manifest are gone.
    RemovedEntry,
    /// Rows of a file are missing.
    RemovedRow,
    /// A file holds rows that were not stated.
    AddedRow,
    /// A row is not what was stated.
    ChangedRow,
    /// A body does not have the digest of its row.
    ChangedBody,
    /// A file that no manifest states.
    SurplusFile,
    /// Numbers of rows between a writer's files are missing.
    MissingRows,
    /// A rule set or configuration does not have the digest that rows name it by.
    ChangedSidecar,
}

impl BreakKind {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakKind::ChangedManifest => "changed_manifest",
            BreakKind::WrongSignature => "wrong_signature",
            BreakKind::ForeignKey => "foreign_key",
            BreakKind::Unsigned => "unsigned",
            BreakKind::CutTail => "cut_tail",
            BreakKind::MissingManifest => "missing_manifest",
            BreakKind::MissingHead => "missing_head",
            BreakKind::RemovedFile => "removed_file",
            BreakKind::CutFile => "cut_file",
            BreakKind::ChangedFile => "changed_file",
            BreakKind::RemovedEntry => "removed_entry",
            BreakKind::RemovedRow => "removed_row",
            BreakKind::AddedRow => "added_row",
            BreakKind::ChangedRow => "changed_row",
            BreakKind::ChangedBody => "changed_body",
            BreakKind::SurplusFile => "surplus_file",
            BreakKind::MissingRows => "missing_rows",
            BreakKind::ChangedSidecar => "changed_sidecar",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Break {
    /// The file or manifest, below the capture folder.
    pub path: String,
    /// The row, where it is about one; the entry's number in a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// What kind.
    pub kind: BreakKind,
    /// In words; never content of a row.
    pub detail: String,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Writers with a manifest.
    pub writers: u64,
    /// Files whose bytes were compared.
    pub files: u64,
    /// Rows read.
    pub rows: u64,
    /// Those of kind `gap`.
    pub gaps: u64,
    /// Rows that gap rows say were lost.
    pub dropped: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Files that were removed, and stated so.
    pub removed: u64,
    /// Files from before there were manifests: nobody stated what is in them.
    pub unstated: u64,
    /// Entries by the id of the key that signed them.
    pub signed_by: BTreeMap<String, u64>,
    /// Entries without a signature.
    pub unsigned: u64,
    /// Where each manifest ends: what to keep elsewhere.
    pub heads: Vec<Head>,
    /// What a reader of the report should know, and is no break.
    pub notes: Vec<String>,
    /// How many breaks there are.
    pub broken: u64,
    /// The breaks, manifests first, then files in order; at most a thousand of them.
    pub breaks: Vec<Break>,
}

impl VerifyReport {
    /// Whether all is as it was stated.
    pub fn holds(&self) -> bool {
        self.broken == 0
    }

    fn count(&mut self, checked: &Checked) {
        self.files += 1;
        self.bytes += checked.bytes;
        self.rows += checked.rows;
        self.gaps += checked.gaps;
        self.dropped = self.dropped.saturating_add(checked.dropped);
    }

    fn broken(&mut self, found: Break) {
        self.broken += 1;
        if self.breaks.len() < MAX_BREAKS {
            self.breaks.push(found);
        }
    }
}

/// Holds the capture folder `dir` against its manifests. `progress` is told the bytes of files read so far, and of how
/// many. Reads files on as many threads as there are processors, at most eight.
///
/// # Errors
/// When the folder can't be listed. What is wrong with a file or manifest is in the report.
pub fn verify(
    dir: &Path,
    options: &VerifyOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, CaptureError> {
    std::fs::metadata(dir).map_err(CaptureError::io("open", dir))?;
    let mut report = VerifyReport::default();
    // files first: one that appears later is stated later
    let mut there = BTreeSet::new();
    for file in Files::below(dir)? {
        there.insert(manifest::below(dir, &file?));
    }
    let stated = manifests::read(dir, options, &mut report)?;
    sidecars::check(dir)?.into_iter().for_each(|found| report.broken(found));
    let mut jobs = Vec::new();
    let mut gone = Vec::new();
    for (path, one) in &stated.files {
        // or it appeared while we looked
        if there.remove(path) || dir.join(path).is_file() {
            jobs.push(Job::Stated(one));
        } else {
            gone.push(path.as_str());
        }
    }
    let unstated = unstated(dir, &there, &stated, options, &mut report);
    jobs.extend(unstated.iter().map(|path| Job::Unstated(path)));
    gone.extend(stated.older.iter().map(String::as_str).filter(|path| !there.contains(*path)));
    for (job, checked) in run(dir, &jobs, options.quick, progress) {
        if checked.gone {
            gone.push(job.path());
            continue;
        }
        report.count(&checked);
        for (at, kind, detail) in checked.problems {
            report.broken(Break { path: job.path().to_owned(), at, kind, detail });
        }
    }
    missing(dir, options, gone, &stated, &mut report)?;
    report.notes.sort();
    Ok(report)
}

/// Files that are not there: removed by somebody who said so, even if only while we looked.
fn missing(
    dir: &Path,
    options: &VerifyOptions,
    mut gone: Vec<&str>,
    stated: &All,
    report: &mut VerifyReport,
) -> Result<(), CaptureError> {
    let all = gone.len() as u64;
    gone.retain(|path| !stated.removed(path));
    if !gone.is_empty() {
        let now = manifests::read(dir, options, &mut VerifyReport::default())?;
        gone.retain(|path| !now.removed(path));
    }
    report.removed += all - gone.len() as u64;
    for path in gone {
        let rows = stated.files.get(path).map(|stated| stated.entry.rows);
        let rows = rows.map_or("its rows".to_owned(), |rows| format!("{rows} rows"));
        report.broken(Break {
            path: path.to_owned(),
            at: None,
            kind: BreakKind::RemovedFile,
            detail: format!("{rows} are gone, and nobody said so"),
        });
    }
    Ok(())
}

/// Of the files that no manifest states, those from before there was any; the others are told.
fn unstated(
    dir: &Path,
    there: &BTreeSet<String>,
    stated: &All,
    options: &VerifyOptions,
    report: &mut VerifyReport,
) -> Vec<String> {
    let (older, others): (Vec<_>, Vec<_>) = there
        .iter()
        .filter(|path| !stated.files.contains_key(*path))
        .cloned()
        .partition(|path| report.writers == 0 || stated.older.contains(path));
    for path in others {
        let name = Path::new(&path).file_name().and_then(|name| name.to_str());
        let writer = name.and_then(disk::FileName::parse).map(|name| name.writer);
        if writer.as_ref().is_some_and(|writer| disk::lives(dir, writer)) {
            report.notes.push(format!("{path} is not stated yet: its writer is at work"));
        } else if writer.is_some_and(|writer| disk::waits(dir, &writer)) {
            report.notes.push(format!("{path} is not stated yet: the next start will"));
        } else {
            let detail = "no manifest states it".to_owned();
            report.broken(Break { path, at: None, kind: BreakKind::SurplusFile, detail });
        }
    }
    report.unstated = older.len() as u64;
    if !older.is_empty() {
        let count = older.len();
        let note = "unsigned, in no manifest: they are from before there was one, and nothing \
                    tells whether they were changed";
        report.notes.push(format!("{count} files are {note}"));
    }
    for path in older.iter().filter(|_| !options.keys.is_empty()) {
        let detail = "no manifest states it, so no key signs it".to_owned();
        report.broken(Break { path: path.clone(), at: None, kind: BreakKind::Unsigned, detail });
    }
    older
}

/// A file to be read.
#[derive(Clone, Copy, Debug)]
enum Job<'a> {
    Stated(&'a Stated),
    Unstated(&'a str),
}

impl<'a> Job<'a> {
    fn path(self) -> &'a str {
        match self {
            Job::Stated(stated) => &stated.entry.path,
            Job::Unstated(path) => path,
        }
    }

    fn check(self, dir: &Path, quick: bool) -> Checked {
        match self {
            Job::Stated(stated) => file::check(dir, stated, quick),
            Job::Unstated(path) => file::check_unstated(&dir.join(path), quick),
        }
    }
}

/// Every file once, on several threads; what was found, in the order of the jobs.
fn run<'a>(
    dir: &Path,
    jobs: &[Job<'a>],
    quick: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Vec<(Job<'a>, Checked)> {
    let bytes = |job: &Job<'_>| match job {
        Job::Stated(stated) => stated.entry.bytes,
        Job::Unstated(path) => std::fs::metadata(dir.join(path)).map_or(0, |file| file.len()),
    };
    let total = jobs.iter().map(bytes).sum();
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS));
    let next = AtomicUsize::new(0);
    let (results, received) = mpsc::sync_channel(MAX_THREADS);
    let mut all = thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            let (next, results) = (&next, results.clone());
            scope.spawn(move || {
                while let Some((at, job)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(at).map(|job| (at, *job))
                } {
                    // nobody stops to listen before all is told
                    let _ = results.send((at, job, job.check(dir, quick)));
                }
            });
        }
        drop(results);
        let mut done = 0;
        let mut all = Vec::new();
        for (at, job, checked) in received {
            done += bytes(&job);
            progress(done, total);
            all.push((at, job, checked));
        }
        all
    });
    all.sort_unstable_by_key(|(at, ..)| *at);
    all.into_iter().map(|(_, job, checked)| (job, checked)).collect()
}
