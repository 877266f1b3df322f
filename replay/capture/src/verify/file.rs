//! One file against what its writer stated of it.

use std::path::Path;

use super::BreakKind;
use super::manifests::Stated;
use crate::seal::{Sums, hash_file, hex, sha256};
use crate::{CaptureError, Reader, Record};

/// What was found in a file.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) rows: u64,
    pub(super) gaps: u64,
    pub(super) dropped: u64,
    pub(super) bytes: u64,
    /// It could not even be opened.
    pub(super) gone: bool,
    /// What is wrong with it; the most telling first.
    pub(super) problems: Vec<Problem>,
}

/// The row, the kind, and words.
pub(super) type Problem = (Option<i64>, BreakKind, String);

impl Checked {
    fn found(&mut self, at: Option<i64>, kind: BreakKind, detail: impl Into<String>) {
        self.problems.push((at, kind, detail.into()));
    }

    fn count(&mut self, sums: &Sums) {
        (self.rows, self.gaps, self.dropped) = (sums.rows, sums.gaps, sums.dropped);
    }
}

/// A file that was stated.
pub(super) fn check(dir: &Path, stated: &Stated, quick: bool) -> Checked {
    let entry = &stated.entry;
    let path = dir.join(&entry.path);
    let mut checked = Checked::default();
    let (bytes, digest) = match hash_file(&path) {
        Ok(hashed) => hashed,
        Err(error) => {
            checked.gone = !path.exists();
            checked.found(None, BreakKind::RemovedFile, error.to_string());
            return checked;
        }
    };
    checked.bytes = bytes;
    let intact = digest == entry.sha256 && bytes == entry.bytes;
    // of a changed file, its rows tell what was changed
    if (!quick || !intact)
        && let Err(error) = rows(&path, stated, &mut checked)
    {
        let (kind, detail) = if bytes < entry.bytes {
            (BreakKind::CutFile, format!("{bytes} of {} bytes: {error}", entry.bytes))
        } else {
            (BreakKind::ChangedFile, error.to_string())
        };
        checked.problems.clear();
        checked.found(None, kind, detail);
    }
    if !intact && checked.problems.is_empty() {
        checked.found(None, BreakKind::ChangedFile, "its bytes are others, its rows are not");
    }
    checked
}

/// A file of which nothing was stated: only whether it can be read, and its bodies fit their digests.
pub(super) fn check_unstated(path: &Path, quick: bool) -> Checked {
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut checked = Checked { bytes, ..Checked::default() };
    let mut sums = Sums::new("", 0);
    if !quick && let Err(error) = read(path, &mut checked, &mut sums, |_, _, _| {}) {
        checked.found(None, BreakKind::ChangedFile, error.to_string());
    }
    checked.count(&sums);
    checked
}

/// Reads every row, and holds its body against its digest. Memory: a batch. Only the first problem is kept: what
/// follows it is mostly its consequence.
fn read(
    path: &Path,
    checked: &mut Checked,
    sums: &mut Sums,
    mut each: impl FnMut(&Record, &Sums, &mut Checked),
) -> Result<(), CaptureError> {
    for row in Reader::open(path)? {
        let row = row?;
        sums.add(&row);
        if checked.problems.is_empty() {
            each(&row, sums, checked);
        }
        let digest = row.body.as_ref().map(|body| hex(&sha256(body)));
        if checked.problems.is_empty()
            && digest.is_some()
            && digest.as_deref() != row.body_sha256.as_deref()
        {
            let detail = "the body is not the one that was recorded";
            checked.found(Some(row.seq), BreakKind::ChangedBody, detail);
        }
    }
    Ok(())
}

/// The rows of a file that was stated.
fn rows(path: &Path, stated: &Stated, checked: &mut Checked) -> Result<(), CaptureError> {
    let entry = &stated.entry;
    let mut sums = Sums::new(&stated.writer, entry.first_seq);
    let mut next = entry.first_seq;
    let mut points = stated.checkpoints.iter().peekable();
    read(path, checked, &mut sums, |row, sums, checked| {
        // the rows of a derived capture keep the numbers of their origins
        if !stated.derived && row.seq != next {
            let (at, kind) = match row.seq > next {
                true => (next, BreakKind::RemovedRow),
                false => (row.seq, BreakKind::AddedRow),
            };
            let detail = format!("after row {} comes row {}", next - 1, row.seq);
            return checked.found(Some(at), kind, detail);
        }
        next = row.seq.saturating_add(1);
        while let Some(point) = points.next_if(|point| point.last_seq <= row.seq) {
            if point.last_seq == row.seq && point.rows_head != sums.head() {
                let detail = "rows up to here are not those that were journalled";
                return checked.found(Some(row.seq), BreakKind::ChangedRow, detail);
            }
        }
    })?;
    checked.count(&sums);
    if let Some((_, kind, _)) = checked.problems.first_mut() {
        // rows that were numbered anew: what counts is that there are fewer
        if *kind == BreakKind::AddedRow && sums.rows < entry.rows {
            *kind = BreakKind::RemovedRow;
        }
        return Ok(());
    }
    if sums.rows != entry.rows {
        let kind = match sums.rows < entry.rows {
            true => BreakKind::RemovedRow,
            false => BreakKind::AddedRow,
        };
        checked.found(None, kind, format!("{} rows, not {}", sums.rows, entry.rows));
    } else if (sums.gaps, sums.dropped) != (entry.gaps, entry.dropped)
        || sums.head() != entry.rows_head
        || sums.bodies() != entry.bodies_root
    {
        checked.found(None, BreakKind::ChangedRow, "its rows are not those that were stated");
    }
    Ok(())
}
