//! Keeping the capture folder below its size: the oldest files go, and each leaves a note.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::CaptureError;
use crate::disk::{self, FileName, JOURNAL};
use crate::layout::{Files, list};
use crate::manifest::{self, Manifest, Removed, What};
use crate::record::Record;
use crate::space::Space;
use crate::store::Spool;

/// Other writers fill the folder too; so the size is measured anew after this many own files.
const MEASURE_EVERY: u32 = 16;

/// Watches the size of a capture folder, and its age.
#[derive(Debug)]
pub(crate) struct Retention {
    dir: PathBuf,
    limit: u64,
    max_age: Duration,
    /// The size last measured, plus own files since.
    size: u64,
    added: u32,
    /// Files that wait for a store are left to it.
    spool: Option<Arc<Spool>>,
}

impl Retention {
    /// `limit` 0 and `max_age` 0 mean none.
    pub(crate) fn new(
        dir: &Path,
        limit: u64,
        max_age: Duration,
        spool: Option<Arc<Spool>>,
    ) -> Retention {
        Retention { dir: dir.to_owned(), limit, max_age, size: 0, added: 0, spool }
    }

    /// Takes note of a finished file and removes old ones when due. One gap row for each file removed.
    pub(crate) fn added(
        &mut self,
        file: &Path,
        manifest: &mut Manifest,
    ) -> Result<Vec<Record>, CaptureError> {
        self.size += fs::metadata(file).map_or(0, |metadata| metadata.len());
        self.added += 1;
        let mut notes = self.give_up(manifest)?;
        let over = self.limit > 0 && self.size > self.limit;
        if over || self.added >= MEASURE_EVERY || !self.max_age.is_zero() {
            notes.extend(self.enforce(Some(file), manifest)?);
        }
        Ok(notes)
    }

    /// Removes files for which the spool has no more room.
    fn give_up(&mut self, manifest: &mut Manifest) -> Result<Vec<Record>, CaptureError> {
        let mut notes = Vec::new();
        for file in self.spool.as_ref().map(|spool| spool.overflow()).unwrap_or_default() {
            let (bytes, note) = self.remove(&file, "spool_full", manifest)?;
            notes.extend(note);
            self.size = self.size.saturating_sub(bytes);
        }
        Ok(notes)
    }

    /// Measures the folder and removes the oldest files, but never `keep`.
    pub(crate) fn enforce(
        &mut self,
        keep: Option<&Path>,
        manifest: &mut Manifest,
    ) -> Result<Vec<Record>, CaptureError> {
        if self.limit == 0 && self.max_age.is_zero() {
            return Ok(Vec::new());
        }
        self.added = 0;
        self.size = self.measure()?;
        let aged = oldest_kept(self.max_age);
        let why = |size: u64, file: &Path| match &aged {
            Some(oldest) if hour_of(file).is_some_and(|hour| hour < *oldest) => Some("age"),
            _ if self.limit > 0 && size > self.limit => Some("retention"),
            _ => None,
        };
        let waits = self.waiting();
        let mut size = self.size;
        let mut notes = Vec::new();
        for file in Files::below(&self.dir)? {
            let file = file?;
            let Some(reason) = why(size, &file) else { break };
            if waits(&file) || keep == Some(file.as_path()) {
                continue;
            }
            let (bytes, note) = self.remove(&file, reason, manifest)?;
            notes.extend(note);
            size = size.saturating_sub(bytes);
        }
        self.size = size;
        Ok(notes)
    }

    /// Removes the oldest files until the disk has room.
    pub(crate) fn free(
        &mut self,
        space: &mut Space,
        manifest: &mut Manifest,
    ) -> Result<Vec<Record>, CaptureError> {
        let mut notes = Vec::new();
        let waits = self.waiting();
        // what the store has goes first
        for sent in [true, false] {
            for file in Files::below(&self.dir)? {
                if !space.look() {
                    return Ok(notes);
                }
                let file = file?;
                if sent && waits(&file) {
                    continue;
                }
                let (bytes, note) = self.remove(&file, "disk_full", manifest)?;
                notes.extend(note);
                self.size = self.size.saturating_sub(bytes);
            }
        }
        Ok(notes)
    }

    /// Tells of a file whether it waits for a store.
    fn waiting(&self) -> impl Fn(&Path) -> bool + use<> {
        let spool = self.spool.clone().map(|spool| (spool.arrived(), spool));
        move |file| spool.as_ref().is_some_and(|(arrived, spool)| spool.holds(file, arrived))
    }

    /// Its bytes, and the note about it unless another writer was quicker.
    fn remove(
        &self,
        file: &Path,
        reason: &str,
        manifest: &mut Manifest,
    ) -> Result<(u64, Option<Record>), CaptureError> {
        let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
        // stated first: a file that is gone without a word is what `verify` looks for
        if let Err(error) = manifest.append_or_keep(self.entry(file, bytes, reason)) {
            tracing::warn!(%error, "capture");
        }
        let note = match fs::remove_file(file) {
            Ok(()) => Some(self.note(file, bytes, reason)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(CaptureError::io("remove", file)(error)),
        };
        // the hour and the day go with their last file
        for folder in file.ancestors().skip(1).take(2) {
            let _ = fs::remove_dir(folder);
        }
        Ok((bytes, note))
    }

    /// Finished files and all journals.
    fn measure(&self) -> Result<u64, CaptureError> {
        let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let mut total = 0;
        for file in Files::below(&self.dir)? {
            total += size(&file?);
        }
        for home in list(&self.dir.join(JOURNAL), |_| true)? {
            total +=
                list(&home, |_| true).map_or(0, |files| files.iter().map(|file| size(file)).sum());
        }
        Ok(total)
    }

    fn entry(&self, file: &Path, bytes: u64, reason: &str) -> What {
        let path = manifest::below(&self.dir, file);
        What::Removed(Removed { path, bytes, rows: rows_of(file), reason: reason.into() })
    }

    fn note(&self, file: &Path, bytes: u64, reason: &str) -> Record {
        let name = file.strip_prefix(&self.dir).unwrap_or(file).to_string_lossy();
        let rows = rows_of(file);
        let body = serde_json::json!({ "removed": name, "bytes": bytes, "rows": rows });
        Record {
            ts_us: jiff::Timestamp::now().as_microsecond(),
            kind: Some("gap".into()),
            name: Some(name.into()),
            deny_reason: Some(reason.into()),
            body: Some(body.to_string().into()),
            ..Record::default()
        }
    }
}

/// How many rows a file has, by its name.
fn rows_of(file: &Path) -> Option<i64> {
    let name = file.file_name().and_then(|name| FileName::parse(name.to_str()?))?;
    Some(name.last.saturating_sub(name.first).saturating_add(1))
}

/// The oldest hour that is kept, as the folders are named; none where age does not matter.
fn oldest_kept(max_age: Duration) -> Option<String> {
    if max_age.is_zero() {
        return None;
    }
    let age = i64::try_from(max_age.as_micros()).unwrap_or(i64::MAX);
    let oldest = jiff::Timestamp::now().as_microsecond().saturating_sub(age);
    Some(disk::partition(oldest).to_string_lossy().into_owned())
}

/// The hour a file is of, as its folders are named: `date=2025-11-22/hour=23`.
fn hour_of(file: &Path) -> Option<String> {
    let hour = file.parent()?;
    let date = hour.parent()?.file_name()?.to_str()?;
    Some(format!("{date}/{}", hour.file_name()?.to_str()?))
}
