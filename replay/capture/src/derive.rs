//! [`Derived`]: a capture made from captures, whole or not there at all.
//!
//! It is built in a hidden folder beside its place and moved there at the end. Rows keep the writer and number of their
//! origin; what they name (rule sets, configurations, their labels) comes along; and one manifest states it all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::RecorderConfig;
use crate::manifest::{self, Manifest, What};
use crate::record::{Record, SCHEMA_VERSION, Str};
use crate::seal::{hex, sha256};
use crate::sidecar::{self, CONFIG, RULESET};
use crate::sort::Sorter;
use crate::writer::FileWriter;
use crate::{CaptureError, Label, Labels, Signer, disk, labels};

const LOCK: &str = "lock";
/// The folder of the sorter's runs, gone at the end.
const SORT: &str = "sort";
/// Rule sets and configurations that one capture may name.
const MAX_SIDECARS: usize = 100_000;
/// Rows of a row group where sessions lie together.
const SORTED_GROUP_ROWS: usize = 65_536;
/// A file is finished at this size.
const FILE_BYTES: usize = 256_000_000;

/// What a derived capture holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct DerivedSums {
    /// Its rows.
    pub rows: u64,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Labels that came along.
    pub labels: u64,
    /// Rule sets and configurations that its rows name and that no source holds.
    pub missing_sidecars: u64,
}

/// A capture in the making. Dropped before [`Derived::finish`], it leaves nothing.
pub struct Derived {
    dir: PathBuf,
    staging: PathBuf,
    /// Held for its lock.
    _lock: File,
    id: String,
    sources: Vec<PathBuf>,
    source_labels: Vec<Labels>,
    manifest: Manifest,
    config: RecorderConfig,
    /// Rows of one partition that wait to be sorted.
    sorter: Option<(PathBuf, Sorter)>,
    sort_bytes: Option<usize>,
    open: Option<(PathBuf, FileWriter)>,
    parts: u64,
    sums: DerivedSums,
    kept_labels: Vec<Label>,
    bare_labels: bool,
    rulesets: BTreeSet<Str>,
    configs: BTreeSet<Str>,
    finished: bool,
}

impl std::fmt::Debug for Derived {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Derived").field("dir", &self.dir).field("sums", &self.sums).finish()
    }
}

impl Derived {
    /// Begins a capture that will stand in `dir`, which must be empty or absent. `made_by` is the verb; `sources` are the
    /// capture folders the rows are from.
    ///
    /// # Errors
    /// The folder holds something, another process is making the same capture, or the disk.
    pub fn create(dir: &Path, made_by: &str, sources: &[&Path]) -> Result<Derived, CaptureError> {
        Derived::create_with(dir, made_by, sources, None, None)
    }

    /// The same, with what the manifest is to say about how it was made, and the key that signs it.
    ///
    /// # Errors
    /// As [`Derived::create`].
    pub fn create_with(
        dir: &Path,
        made_by: &str,
        sources: &[&Path],
        how: Option<String>,
        signer: Option<Arc<Signer>>,
    ) -> Result<Derived, CaptureError> {
        let dir = std::path::absolute(dir).map_err(CaptureError::io("open", dir))?;
        must_be_empty(&dir)?;
        let (staging, lock) = stage(&dir)?;
        let id = disk::new_id('x');
        let mut manifest = Manifest::open(&staging, &id, signer)?;
        let mut seen = Vec::new();
        let mut source_labels = Vec::new();
        for source in sources {
            seen.extend(manifest::heads(source, &id)?);
            source_labels.push(Labels::read(*source)?);
        }
        manifest.begin(made_by, how, seen)?;
        // what marks the folder as a capture, even where no row names a rule set
        let rulesets = staging.join(RULESET.0);
        disk::create_dir(&rulesets).map_err(CaptureError::io("create", &rulesets))?;
        Ok(Derived {
            config: RecorderConfig::new(&staging),
            dir,
            staging,
            _lock: lock,
            id,
            sources: sources.iter().map(|source| (*source).to_owned()).collect(),
            source_labels,
            manifest,
            sorter: None,
            sort_bytes: None,
            open: None,
            parts: 0,
            sums: DerivedSums::default(),
            kept_labels: Vec::new(),
            bare_labels: false,
            rulesets: BTreeSet::new(),
            configs: BTreeSet::new(),
            finished: false,
        })
    }

    /// From now on labels come along without who said so and why, which are free text.
    #[must_use]
    pub fn with_bare_labels(mut self) -> Derived {
        self.bare_labels = true;
        self
    }

    /// From now on rows are sorted within their partition, by session, time, writer and number, with about `bytes` of them
    /// in memory at a time and the others on the disk. Partitions must come one after another.
    #[must_use]
    pub fn sorted(mut self, bytes: usize) -> Derived {
        self.sort_bytes = Some(bytes);
        self.config.row_group_rows = SORTED_GROUP_ROWS;
        self
    }

    /// Adds a row, to the partition of its hour; never to an earlier one than that of the row before, so that rows are
    /// read back in the order they came.
    ///
    /// # Errors
    /// The disk's; the capture can't be finished then.
    pub fn push(&mut self, row: Record) -> Result<(), CaptureError> {
        let own = disk::partition(row.ts_us);
        let waiting = self.sorter.as_ref().map(|(at, _)| at);
        let partition = match waiting.or(self.open.as_ref().map(|(at, _)| at)) {
            Some(open) if *open > own => open.clone(),
            _ => own,
        };
        self.push_to(&partition, row)
    }

    /// Adds a row to a partition by its name, as `date=2026-11-22/hour=09`: that of the file it is from.
    ///
    /// # Errors
    /// As [`Derived::push`].
    pub fn push_to(&mut self, partition: &Path, row: Record) -> Result<(), CaptureError> {
        let Some(bytes) = self.sort_bytes else { return self.write(partition, row) };
        if self.sorter.as_ref().is_some_and(|(at, _)| at != partition) {
            self.drain()?;
        }
        let sort = self.staging.join(SORT);
        let (_, sorter) =
            self.sorter.get_or_insert_with(|| (partition.to_owned(), Sorter::new(sort, bytes)));
        sorter.push(row)
    }

    /// Writes the rows that wait to be sorted.
    fn drain(&mut self) -> Result<(), CaptureError> {
        let Some((partition, mut sorter)) = self.sorter.take() else { return Ok(()) };
        sorter.drain(|row| self.write(&partition, row))
    }

    fn write(&mut self, partition: &Path, mut row: Record) -> Result<(), CaptureError> {
        let full = |file: &FileWriter, at: &Path| at != partition || file.written() >= FILE_BYTES;
        if self.open.as_ref().is_some_and(|(at, file)| full(file, at)) {
            self.close()?;
        }
        row.schema_version = SCHEMA_VERSION;
        if let Some(body) = &row.body {
            row.body_sha256.get_or_insert_with(|| hex(&sha256(body)).into());
        }
        self.remember(&row)?;
        if self.open.is_none() {
            self.parts += 1;
            let path = partition.join(format!("{}-{:06}.parquet", self.id, self.parts));
            let first = self.sums.rows as i64 + 1;
            let file = FileWriter::derived(&self.staging, &self.id, first, path, &self.config)?;
            self.open = Some((partition.to_owned(), file));
        }
        if let Some((_, file)) = &mut self.open {
            file.push(row)?;
        }
        self.sums.rows += 1;
        Ok(())
    }

    /// Takes note of what the row names and of its labels.
    fn remember(&mut self, row: &Record) -> Result<(), CaptureError> {
        if let Some(digest) = row.ruleset_digest.as_ref().filter(|d| !self.rulesets.contains(*d)) {
            self.rulesets.insert(digest.clone());
        }
        for digest in [&row.policy_digest, &row.config_digest].into_iter().flatten() {
            if !self.configs.contains(digest) {
                self.configs.insert(digest.clone());
            }
        }
        if self.rulesets.len() + self.configs.len() > MAX_SIDECARS {
            let detail = format!("rows name more than {MAX_SIDECARS} rule sets and configurations");
            return Err(CaptureError::Encode { detail });
        }
        let writer = row.writer_id.as_deref().unwrap_or_default();
        for labels in &self.source_labels {
            let kept =
                labels.of_row(writer, row.seq).cloned().map(|label| match self.bare_labels {
                    true => Label { reason: String::new(), by: String::new(), ..label },
                    false => label,
                });
            self.kept_labels.extend(kept);
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), CaptureError> {
        let Some((_, file)) = self.open.take() else { return Ok(()) };
        let entry = file.finish(&self.staging, &self.manifest)?;
        self.sums.files += 1;
        self.sums.bytes += entry.bytes;
        self.manifest.append(What::File(entry))
    }

    /// Ends the capture and moves it to its place.
    ///
    /// # Errors
    /// The disk's, or something has appeared at its place; nothing is left then.
    pub fn finish(mut self) -> Result<DerivedSums, CaptureError> {
        self.drain()?;
        let _ = fs::remove_dir(self.staging.join(SORT));
        self.close()?;
        for (kind, digests) in [(RULESET, &self.rulesets), (CONFIG, &self.configs)] {
            for digest in digests {
                let held = self.sources.iter().find_map(|source| {
                    let text = match kind {
                        RULESET => sidecar::read_ruleset(source, digest),
                        _ => sidecar::read_config(source, digest),
                    };
                    text.ok()
                });
                match held {
                    Some(text) => drop(sidecar::store(&self.staging, kind, digest, &text)?),
                    None => self.sums.missing_sidecars += 1,
                }
            }
        }
        labels::append(&self.staging, &self.kept_labels)?;
        self.sums.labels = self.kept_labels.len() as u64;
        self.manifest.end(false)?;
        let lock = self.staging.join(LOCK);
        fs::remove_file(&lock).map_err(CaptureError::io("remove", &lock))?;
        disk::sync_dir(&self.staging).map_err(CaptureError::io("sync", &self.staging))?;
        must_be_empty(&self.dir)?;
        // replaces an empty folder, and nothing else
        fs::rename(&self.staging, &self.dir).map_err(CaptureError::io("create", &self.dir))?;
        self.finished = true;
        if let Some(parent) = self.dir.parent() {
            disk::sync_dir(parent).map_err(CaptureError::io("sync", parent))?;
        }
        Ok(self.sums)
    }
}

impl Drop for Derived {
    fn drop(&mut self) {
        if !self.finished {
            self.open = None;
            let _ = fs::remove_dir_all(&self.staging);
        }
    }
}

fn must_be_empty(dir: &Path) -> Result<(), CaptureError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(CaptureError::NotEmpty { path: dir.to_owned(), detail: "is not empty" }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(CaptureError::io("open", dir)(error)),
    }
}

/// The hidden folder beside `dir`, locked; what a run that was cut short left in it goes.
fn stage(dir: &Path) -> Result<(PathBuf, File), CaptureError> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let staging = dir.with_file_name(format!(".{name}.unfinished"));
    let taken = || CaptureError::NotEmpty {
        path: dir.to_owned(),
        detail: "is being made by another process",
    };
    if let Ok(old) = File::open(staging.join(LOCK)) {
        old.try_lock().map_err(|_| taken())?;
        fs::remove_dir_all(&staging).map_err(CaptureError::io("remove", &staging))?;
    }
    disk::create_dir(&staging).map_err(CaptureError::io("create", &staging))?;
    let path = staging.join(LOCK);
    let lock = match disk::create_file(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(taken()),
        Err(error) => return Err(CaptureError::io("create", &path)(error)),
    };
    lock.try_lock().map_err(|_| taken())?;
    Ok((staging, lock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reader, VerifyOptions, sample, verify};
    use proptest::prelude::*;

    #[test]
    fn what_is_not_finished_leaves_nothing_and_what_is_there_stays() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("out");
        let mut derived = Derived::create(&dir, "slice", &[]).unwrap();
        derived.push(sample::full(1, b"{}")).unwrap();
        assert!(!dir.exists());
        assert!(matches!(Derived::create(&dir, "slice", &[]), Err(CaptureError::NotEmpty { .. })));
        drop(derived);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        fs::create_dir(&dir).unwrap();
        Derived::create(&dir, "slice", &[]).unwrap().finish().unwrap();
        assert!(matches!(Derived::create(&dir, "slice", &[]), Err(CaptureError::NotEmpty { .. })));
        assert!(verify(&dir, &VerifyOptions::default(), &mut |_, _| ()).unwrap().holds());
    }

    #[test]
    fn a_run_that_was_killed_does_not_stand_in_the_way() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("out");
        let left = root.path().join(".out.unfinished/date=x");
        fs::create_dir_all(&left).unwrap();
        fs::write(root.path().join(".out.unfinished/lock"), "").unwrap();
        Derived::create(&dir, "slice", &[]).unwrap().finish().unwrap();
        assert!(!dir.join("date=x").exists() && dir.is_dir());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn rows_come_back_in_order_and_verify(rows in prop::collection::vec(sample::any_record(), 0..20)) {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("out");
            let mut derived = Derived::create(&dir, "slice", &[]).unwrap();
            rows.iter().for_each(|row| derived.push(row.clone()).unwrap());
            let sums = derived.finish().unwrap();
            let back: Vec<Record> = Reader::open(&dir).unwrap().map(Result::unwrap).collect();
            let expected: Vec<Record> = rows.iter().cloned().map(|mut row| {
                row.schema_version = SCHEMA_VERSION;
                row.body_sha256 = row.body.as_ref().map(|body| hex(&sha256(body)).into());
                row
            }).collect();
            prop_assert_eq!(back, expected);
            let report = verify(&dir, &VerifyOptions::default(), &mut |_, _| ()).unwrap();
            prop_assert!(report.holds(), "{:?}", report.breaks);
            prop_assert_eq!((report.rows, report.files), (sums.rows, sums.files));
        }
    }
}
