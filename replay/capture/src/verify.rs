//! [`verify()`]: whether a capture is what its writers stated, and what is wrong where it is not.
//!
//! First the manifests (chain, signatures, order), then every file they state: its bytes, its rows, its bodies. What
//! a verified capture proves and what it does not stands in `TRUST.md`.

mod file;
mod manifests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use crate::layout::Files;
use crate::manifest::Head;
use crate::{CaptureError, disk};

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
    /// An entry is signed by a key that it should not be signed by.
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
    /// Rows of a file are missing.
    RemovedRow,
    /// A row is not what was stated.
    ChangedRow,
    /// A body does not have the digest of its row.
    ChangedBody,
    /// A file that no manifest states.
    SurplusFile,
    /// Numbers of rows between a writer's files are missing.
    MissingRows,
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

    fn broken(&mut self, found: Break) {
        self.broken += 1;
        if self.breaks.len() < MAX_BREAKS {
            self.breaks.push(found);
        }
    }
}

/// Holds the capture folder `dir` against its manifests. `progress` is told the bytes of files read so far, and of how
/// many.
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
    // Files first: one that appears later is stated later.
    let mut there = BTreeSet::new();
    for file in Files::below(dir)? {
        let file = file?;
        there.insert(file.strip_prefix(dir).unwrap_or(&file).to_string_lossy().into_owned());
    }
    let stated = manifests::read(dir, options, &mut report)?;
    let total = stated.files.values().map(|stated| stated.entry.bytes).sum();
    let mut done = 0;
    for (path, one) in &stated.files {
        done += one.entry.bytes;
        if there.remove(path) {
            for found in file::check(dir, one, options.quick, &mut report) {
                report.broken(found);
            }
        } else if stated.removed.contains(path) {
            report.removed += 1;
        } else if dir.join(path).exists() {
            // it appeared while we looked
            there.remove(path);
        } else {
            report.broken(Break {
                path: path.clone(),
                at: None,
                kind: BreakKind::RemovedFile,
                detail: format!("{} rows are gone, and nobody said so", one.entry.rows),
            });
        }
        progress(done, total);
    }
    for path in there {
        surplus(dir, path, &mut report);
    }
    Ok(report)
}

/// A file that no manifest states: its writer may be about to.
fn surplus(dir: &Path, path: String, report: &mut VerifyReport) {
    let name = Path::new(&path).file_name().and_then(|name| name.to_str());
    let writer = name.and_then(disk::FileName::parse).map(|name| name.writer);
    if writer.is_some_and(|writer| disk::lives(dir, &writer)) {
        report.notes.push(format!("{path} is not stated yet: its writer is at work"));
        return;
    }
    let detail = "no manifest states it".to_owned();
    report.broken(Break { path, at: None, kind: BreakKind::SurplusFile, detail });
}
