//! One file against what its writer stated of it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::manifests::Stated;
use super::{Break, BreakKind, VerifyReport};
use crate::seal::{Sums, hex, sha256};
use crate::{CaptureError, Reader};

/// What is wrong with it; the most telling first.
pub(super) fn check(
    dir: &Path,
    stated: &Stated,
    quick: bool,
    report: &mut VerifyReport,
) -> Vec<Break> {
    let entry = &stated.entry;
    let path = dir.join(&entry.path);
    let found = |at, kind, detail: String| Break { path: entry.path.clone(), at, kind, detail };
    report.files += 1;
    let (bytes, digest) = match hash(&path) {
        Ok(hashed) => hashed,
        Err(error) => return vec![found(None, BreakKind::RemovedFile, error.to_string())],
    };
    report.bytes += bytes;
    let intact = digest == entry.sha256 && bytes == entry.bytes;
    let mut breaks = Vec::new();
    // of a changed file, its rows tell what was changed
    if !quick || !intact {
        match rows(&path, stated, report) {
            Ok(problems) => {
                breaks
                    .extend(problems.into_iter().map(|(at, kind, detail)| found(at, kind, detail)));
            }
            Err(error) if bytes < entry.bytes => {
                let detail = format!("{bytes} of {} bytes: {error}", entry.bytes);
                return vec![found(None, BreakKind::CutFile, detail)];
            }
            Err(error) => breaks.push(found(None, BreakKind::ChangedFile, error.to_string())),
        }
    }
    if !intact && breaks.is_empty() {
        let detail = "its bytes are others, its rows are not".to_owned();
        breaks.push(found(None, BreakKind::ChangedFile, detail));
    }
    breaks
}

type Problem = (Option<i64>, BreakKind, String);

/// Reads every row. Memory: a batch.
fn rows(
    path: &Path,
    stated: &Stated,
    report: &mut VerifyReport,
) -> Result<Vec<Problem>, CaptureError> {
    let entry = &stated.entry;
    let mut sums = Sums::new(&stated.writer, entry.first_seq);
    let mut problems: Vec<Problem> = Vec::new();
    let mut next = entry.first_seq;
    let is_derived = stated.writer.starts_with('x');
    for row in Reader::open(path)? {
        let row = row?;
        sums.add(&row);
        if !is_derived && row.seq != next && problems.is_empty() {
            let detail = format!("after row {} comes row {}", next - 1, row.seq);
            problems.push((Some(next), BreakKind::RemovedRow, detail));
        }
        next = row.seq.saturating_add(1);
        let digest = row.body.as_ref().map(|body| hex(&sha256(body)));
        if digest.is_some()
            && digest.as_deref() != row.body_sha256.as_deref()
            && problems.is_empty()
        {
            let detail = "the body is not the one that was recorded".to_owned();
            problems.push((Some(row.seq), BreakKind::ChangedBody, detail));
        }
        for point in stated.checkpoints.iter().filter(|point| point.last_seq == row.seq) {
            if point.rows_head != sums.head() && problems.is_empty() {
                let detail = "rows up to here are not those that were journalled".to_owned();
                problems.push((Some(row.seq), BreakKind::ChangedRow, detail));
            }
        }
    }
    report.rows += sums.rows;
    report.gaps += sums.gaps;
    report.dropped = report.dropped.saturating_add(sums.dropped);
    if sums.rows != entry.rows && problems.is_empty() {
        let detail = format!("{} rows, not {}", sums.rows, entry.rows);
        problems.push((None, BreakKind::RemovedRow, detail));
    }
    let same = (sums.head(), sums.bodies()) == (entry.rows_head.clone(), entry.bodies_root.clone());
    if !same && problems.is_empty() {
        let detail = "its rows are not those that were stated".to_owned();
        problems.push((None, BreakKind::ChangedRow, detail));
    }
    Ok(problems)
}

fn hash(path: &Path) -> Result<(u64, String), CaptureError> {
    let mut file = File::open(path).map_err(CaptureError::io("open", path))?;
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(CaptureError::io("read", path))? {
            0 => return Ok((bytes, hex(&digest.finalize()))),
            read => {
                digest.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}
