//! Reading all manifests of a capture: their chain, their signatures, and what they state.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Break, BreakKind, VerifyOptions, VerifyReport};
use crate::manifest::{self, Checkpoint, FileEntry, Head, Lines, MANIFEST, ReadLine, Signed, What};
use crate::{CaptureError, disk};

/// A file with who states it.
#[derive(Debug)]
pub(super) struct Stated {
    pub(super) writer: String,
    pub(super) entry: FileEntry,
    /// What the writer stated of its rows before it was finished.
    pub(super) checkpoints: Vec<Checkpoint>,
}

/// What all manifests state together.
#[derive(Debug, Default)]
pub(super) struct All {
    /// By path.
    pub(super) files: BTreeMap<String, Stated>,
    pub(super) removed: BTreeSet<String>,
}

/// One manifest while it is read.
#[derive(Debug, Default)]
struct One {
    path: String,
    writer: String,
    next: u64,
    prev: String,
    key: Option<Signed>,
    files: BTreeMap<i64, FileEntry>,
    checkpoints: Vec<Checkpoint>,
    seen: Vec<Head>,
    derived: bool,
    ended: Option<i64>,
    broken: bool,
}

pub(super) fn read(
    dir: &Path,
    options: &VerifyOptions,
    report: &mut VerifyReport,
) -> Result<All, CaptureError> {
    let mut all = All::default();
    let mut wanted: BTreeSet<&str> = options.heads.iter().map(String::as_str).collect();
    let mut seen: BTreeMap<String, Head> = BTreeMap::new();
    let mut reached: BTreeMap<String, BTreeSet<(u64, String)>> = BTreeMap::new();
    for (writer, path) in manifest::all(dir)? {
        // before the manifest is read: a writer that ends in between has its last entry in it
        let lives = disk::lives(dir, &writer);
        let mut one = One { path: format!("{MANIFEST}/{writer}.jsonl"), writer, ..One::default() };
        manifest::zero().clone_into(&mut one.prev);
        report.writers += 1;
        let Some(mut lines) = Lines::open(&path)? else { continue };
        loop {
            match lines.next_line() {
                Ok(Some(line)) => {
                    wanted.remove(line.head.as_str());
                    let heads = reached.entry(one.writer.clone()).or_default();
                    heads.insert((line.entry.n, line.head.clone()));
                    one.take(line, options, &mut all.removed, report);
                }
                Ok(None) => break,
                // a writer at work may be in the middle of a line
                Err(_) if lives => break,
                Err(error) => {
                    let waits = disk::waits(dir, &one.writer);
                    let at = Some(one.next as i64);
                    match waits {
                        true => report.notes.push(format!("{}: {error}", one.path)),
                        false => {
                            one.found(report, at, BreakKind::ChangedManifest, &error.to_string())
                        }
                    }
                    one.broken = true;
                    break;
                }
            }
        }
        one.finish(dir, lives, report);
        for head in one.seen.drain(..).filter(|_| !one.derived) {
            let known = seen.entry(head.writer.clone()).or_insert_with(|| head.clone());
            if known.n < head.n {
                *known = head;
            }
        }
        if let Some(n) = one.next.checked_sub(1) {
            report.heads.push(Head { writer: one.writer.clone(), n, head: one.prev.clone() });
        }
        let checkpoints = &one.checkpoints;
        for (first, entry) in one.files {
            let own = checkpoints.iter().filter(|point| point.first_seq == first);
            all.files.insert(
                entry.path.clone(),
                Stated { writer: one.writer.clone(), checkpoints: own.cloned().collect(), entry },
            );
        }
    }
    for head in seen.into_values() {
        let has = reached.get(&head.writer);
        if !has.is_some_and(|heads| heads.contains(&(head.n, head.head.clone()))) {
            report.broken(Break {
                path: format!("{MANIFEST}/{}.jsonl", head.writer),
                at: Some(head.n as i64),
                kind: BreakKind::MissingManifest,
                detail: "another writer saw this entry, which is not there".to_owned(),
            });
        }
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

impl One {
    fn found(&self, report: &mut VerifyReport, at: Option<i64>, kind: BreakKind, detail: &str) {
        let (path, detail) = (self.path.clone(), detail.to_owned());
        report.broken(Break { path, at, kind, detail });
    }

    fn take(
        &mut self,
        line: ReadLine,
        options: &VerifyOptions,
        removed: &mut BTreeSet<String>,
        report: &mut VerifyReport,
    ) {
        let ReadLine { entry, head, signed } = line;
        let at = Some(entry.n as i64);
        if entry.n != self.next || entry.prev != self.prev {
            self.found(
                report,
                at,
                BreakKind::ChangedManifest,
                "does not follow on the line before",
            );
        }
        self.signature(&signed, at, options, report);
        (self.next, self.prev) = (entry.n.saturating_add(1), head);
        if self.ended.is_some() {
            self.found(report, at, BreakKind::ChangedManifest, "follows on the last entry");
        }
        match entry.what {
            What::Begin(begin) => {
                if entry.n != 0 || begin.writer != self.writer {
                    self.found(
                        report,
                        at,
                        BreakKind::ChangedManifest,
                        "another writer's beginning",
                    );
                }
                self.derived = begin.made_by.is_some();
                self.seen = begin.seen;
            }
            // a file that had to be built again is stated again
            What::File(file) => drop(self.files.insert(file.first_seq, file)),
            What::Checkpoint(point) => self.checkpoints.push(point),
            What::Removed(file) => drop(removed.insert(file.path)),
            What::End(end) => self.ended = Some(end.last_seq),
        }
    }

    fn signature(
        &mut self,
        signed: &Signed,
        at: Option<i64>,
        options: &VerifyOptions,
        report: &mut VerifyReport,
    ) {
        match signed {
            Signed::Wrong => {
                self.found(report, at, BreakKind::WrongSignature, "the signature does not fit");
                return;
            }
            Signed::No => {
                report.unsigned += 1;
                if !options.keys.is_empty() || matches!(self.key, Some(Signed::By(_))) {
                    self.found(report, at, BreakKind::Unsigned, "the entry is not signed");
                }
            }
            Signed::By(id) => {
                *report.signed_by.entry(id.clone()).or_default() += 1;
                let known = match &self.key {
                    _ if !options.keys.is_empty() => options.keys.contains(id),
                    Some(Signed::By(first)) => first == id,
                    Some(_) => false,
                    None => true,
                };
                if !known {
                    let detail = format!("signed by the key {id}");
                    self.found(report, at, BreakKind::ForeignKey, &detail);
                }
            }
        }
        self.key.get_or_insert_with(|| signed.clone());
    }

    /// What can be said once all lines are read.
    fn finish(&mut self, dir: &Path, lives: bool, report: &mut VerifyReport) {
        if !self.derived {
            let mut next = 1;
            for (first, file) in &self.files {
                if *first != next {
                    let detail = format!("{next} to {} are in no file", first.saturating_sub(1));
                    self.found(report, Some(*first), BreakKind::MissingRows, &detail);
                }
                next = file.last_seq.saturating_add(1);
            }
        }
        let last = self.files.values().map(|file| file.last_seq).max().unwrap_or(0);
        match self.ended {
            Some(end) if end != last => {
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
        let stated = self.checkpoints.iter().map(|point| point.last_seq).max().unwrap_or(0);
        if self.ended.is_some() && stated > last {
            let detail = format!("row {stated} was in the journal, and files end with {last}");
            self.found(report, None, BreakKind::MissingRows, &detail);
        }
    }
}
