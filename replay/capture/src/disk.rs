//! The capture folder on the disk: names, modes, locks, and making files appear.
//!
//! Files are private to the user (0600, folders 0700). A file appears by rename from the writer's own folder, after
//! its bytes are synced, so nobody ever sees half of one.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::CaptureError;

/// The folder of the journals inside a capture.
pub(crate) const JOURNAL: &str = "journal";
const LOCK: &str = "lock";

/// Creates a folder and its parents, mode 0700.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates a file that must not exist, mode 0600.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Whether an open file has no name any more.
pub(crate) fn unlinked(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

/// Moves a synced file to its place and makes that durable; creates the folder.
pub(crate) fn publish(from: &Path, to: &Path) -> Result<(), CaptureError> {
    let folder = to.parent().unwrap_or(Path::new("."));
    create_dir(folder).map_err(CaptureError::io("create", folder))?;
    let mut moved = fs::rename(from, to);
    // another writer's clean-up may remove the still empty folder in between
    if moved.is_err() && !folder.exists() {
        create_dir(folder).map_err(CaptureError::io("create", folder))?;
        moved = fs::rename(from, to);
    }
    moved.map_err(CaptureError::io("rename", from))?;
    // new folders must survive a power cut too: hour, date, capture
    for folder in to.ancestors().skip(1).take(3).filter(|path| !path.as_os_str().is_empty()) {
        sync_dir(folder).map_err(CaptureError::io("sync", folder))?;
    }
    Ok(())
}

/// The hive partition of a time: `date=YYYY-MM-DD/hour=HH`. A time outside the calendar goes to 1970.
pub(crate) fn partition(ts_us: i64) -> PathBuf {
    let time = jiff::Timestamp::from_microsecond(ts_us).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let time = jiff::tz::Offset::UTC.to_datetime(time);
    format!("date={:04}-{:02}-{:02}/hour={:02}", time.year(), time.month(), time.day(), time.hour())
        .into()
}

/// The name of a finished file: who wrote it, and which rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileName {
    pub(crate) writer: String,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl FileName {
    pub(crate) fn parse(name: &str) -> Option<FileName> {
        let mut parts = name.strip_suffix(".parquet")?.rsplitn(3, '-');
        let last = parts.next()?.parse().ok()?;
        let first = parts.next()?.parse().ok()?;
        Some(FileName { writer: parts.next()?.to_owned(), first, last })
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}-{:012}-{:012}.parquet", self.writer, self.first, self.last)
    }
}

/// A writer's own folder below `journal/`, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) path: PathBuf,
    pub(crate) writer: String,
    /// Held for its lock, which the system drops with the process.
    lock: File,
}

impl Home {
    /// A new writer: a fresh id, its folder, its lock. The folder appears only once locked, so that no recovery can
    /// take it for a dead writer's.
    pub(crate) fn create(dir: &Path) -> io::Result<Home> {
        let journals = dir.join(JOURNAL);
        create_dir(&journals)?;
        let mut last = io::Error::other("no free writer id");
        for _ in 0..8 {
            let writer = new_id('w');
            match Home::create_named(&journals, &writer) {
                Ok(home) => return Ok(home),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(crate) fn create_named(journals: &Path, writer: &str) -> io::Result<Home> {
        let path = journals.join(writer);
        let hidden = journals.join(format!(".{writer}"));
        DirBuilder::new().mode(0o700).create(&hidden)?;
        let locked = create_file(&hidden.join(LOCK)).and_then(|lock| {
            lock.try_lock()?;
            fs::rename(&hidden, &path)?;
            Ok(lock)
        });
        if locked.is_err() {
            let _ = fs::remove_dir_all(&hidden);
        }
        Ok(Home { path, writer: writer.to_owned(), lock: locked? })
    }

    /// Makes the folder again after somebody removed it.
    pub(crate) fn restore(&mut self) -> io::Result<()> {
        if !unlinked(&self.lock) && self.path.join(LOCK).exists() {
            return Ok(());
        }
        create_dir(&self.path)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.join(LOCK))?;
        lock.try_lock()?;
        self.lock = lock;
        Ok(())
    }

    /// Takes over the folder of a writer that is gone; `None` while it lives.
    pub(crate) fn take_over(path: &Path) -> io::Result<Option<Home>> {
        let Some(writer) = path.file_name().and_then(|name| name.to_str()).filter(|id| is_id(id))
        else {
            return Ok(None);
        };
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Home { path: path.to_owned(), writer: writer.to_owned(), lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Segments in it, in order.
    pub(crate) fn segments(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "wal") {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes the folder if nothing but the lock is left in it.
    pub(crate) fn remove(self) {
        let _ = fs::remove_file(self.path.join(LOCK));
        let _ = fs::remove_dir(&self.path);
    }
}

/// Whether a writer is at work: its folder is locked.
pub(crate) fn lives(dir: &Path, writer: &str) -> bool {
    let lock = File::open(dir.join(JOURNAL).join(writer).join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Whether a writer that is gone has left its folder for the next start.
pub(crate) fn waits(dir: &Path, writer: &str) -> bool {
    dir.join(JOURNAL).join(writer).is_dir() && !lives(dir, writer)
}

/// The first seq in a segment's name.
pub(crate) fn segment_seq(path: &Path) -> Option<i64> {
    path.file_stem()?.to_str()?.parse().ok()
}

fn is_id(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Sorts by the second it was made; unique by 64 bits of the system's randomness, which seeds `RandomState`.
pub(crate) fn new_id(letter: char) -> String {
    let now = jiff::Timestamp::now().as_second();
    let random = RandomState::new().hash_one((std::process::id(), now));
    format!("{letter}{:08x}{random:016x}", now & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive() {
        let name = FileName { writer: "w0a".into(), first: 1, last: 99 };
        assert_eq!(name.to_string(), "w0a-000000000001-000000000099.parquet");
        assert_eq!(FileName::parse(&name.to_string()), Some(name));
        for bad in ["x.parquet", "w-1.parquet", "w-1-2.tmp", "w-a-2.parquet", ".parquet"] {
            assert_eq!(FileName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn partitions_are_utc_hours() {
        assert_eq!(partition(0), Path::new("date=1970-01-01/hour=00"));
        assert_eq!(partition(1_763_855_999_999_999), Path::new("date=2025-11-22/hour=23"));
        assert_eq!(partition(i64::MAX), Path::new("date=1970-01-01/hour=00"));
    }

    #[test]
    fn a_locked_folder_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        assert!(Home::take_over(&home.path).unwrap().is_none());
        let path = home.path.clone();
        drop(home);
        assert!(Home::take_over(&path).unwrap().is_some());
    }
}
