//! Keeping the capture folder below its size: the oldest files go, and each leaves a note.

use std::fs;
use std::path::{Path, PathBuf};

use crate::CaptureError;
use crate::disk::{FileName, JOURNAL};
use crate::layout::{Files, list};
use crate::manifest::{Manifest, Removed, What};
use crate::record::Record;

/// Other writers fill the folder too; so the size is measured anew after this many own files.
const MEASURE_EVERY: u32 = 16;

/// Watches the size of a capture folder.
#[derive(Debug)]
pub(crate) struct Retention {
    dir: PathBuf,
    limit: u64,
    /// The size last measured, plus own files since.
    size: u64,
    added: u32,
}

impl Retention {
    /// `limit` 0 means none.
    pub(crate) fn new(dir: &Path, limit: u64) -> Retention {
        Retention { dir: dir.to_owned(), limit, size: 0, added: 0 }
    }

    /// Takes note of a finished file and removes old ones when due. One gap row for each file removed.
    pub(crate) fn added(
        &mut self,
        file: &Path,
        manifest: &mut Manifest,
    ) -> Result<Vec<Record>, CaptureError> {
        self.size += fs::metadata(file).map_or(0, |metadata| metadata.len());
        self.added += 1;
        if self.size > self.limit || self.added >= MEASURE_EVERY {
            return self.enforce(Some(file), manifest);
        }
        Ok(Vec::new())
    }

    /// Measures the folder and removes the oldest files, but never `keep`.
    pub(crate) fn enforce(
        &mut self,
        keep: Option<&Path>,
        manifest: &mut Manifest,
    ) -> Result<Vec<Record>, CaptureError> {
        let mut notes = Vec::new();
        if self.limit == 0 {
            return Ok(notes);
        }
        self.added = 0;
        self.size = self.measure()?;
        let mut files = Files::below(&self.dir)?;
        while self.size > self.limit
            && let Some(file) = files.next()
        {
            let file = file?;
            let size = fs::metadata(&file).map_or(0, |metadata| metadata.len());
            if keep == Some(file.as_path()) {
                continue;
            }
            // stated first: a file that is gone without a word is what `verify` looks for
            let stated = manifest.append_or_keep(self.entry(&file, size));
            if let Err(error) = stated {
                tracing::warn!(%error, "capture");
            }
            match fs::remove_file(&file) {
                Ok(()) => notes.push(self.note(&file, size)),
                // another writer was quicker, and leaves the note
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(CaptureError::io("remove", &file)(error)),
            }
            self.size = self.size.saturating_sub(size);
            // the hour and the day go with their last file
            for folder in file.ancestors().skip(1).take(2) {
                let _ = fs::remove_dir(folder);
            }
        }
        Ok(notes)
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

    fn entry(&self, file: &Path, bytes: u64) -> What {
        let path = file.strip_prefix(&self.dir).unwrap_or(file).to_string_lossy().into_owned();
        What::Removed(Removed { path, bytes, rows: rows_of(file), reason: "retention".into() })
    }

    fn note(&self, file: &Path, bytes: u64) -> Record {
        let name = file.strip_prefix(&self.dir).unwrap_or(file).to_string_lossy();
        let rows = rows_of(file);
        let body = serde_json::json!({ "removed": name, "bytes": bytes, "rows": rows });
        Record {
            ts_us: jiff::Timestamp::now().as_microsecond(),
            kind: Some("gap".into()),
            name: Some(name.into()),
            deny_reason: Some("retention".into()),
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
