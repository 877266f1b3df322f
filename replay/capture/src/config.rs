//! [`RecorderConfig`]: where to record, and every limit of the recorder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::space::{FreeBytes, OnDiskFull, free_bytes};
use crate::{CaptureError, Recipients, Signer};

/// What [`Recorder::try_record`](crate::Recorder::try_record) does when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOverflow {
    /// Hand the row back, count it, and leave a `gap` row in its place.
    #[default]
    DropAndCount,
    /// Wait for room, at most [`RecorderConfig::block_for`]; then as `DropAndCount`. Blocks the calling thread.
    Block,
}

/// When the write-ahead journal reaches the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Journal {
    /// Group commit: synced every [`RecorderConfig::commit_every`] or [`RecorderConfig::commit_rows`].
    #[default]
    Interval,
    /// Synced without waiting for company: the shortest way to a durable ticket, at the price of more syncs.
    Every,
    /// No journal. Rows are durable when their file appears, and a crash loses the file in progress.
    Off,
}

/// Settings of a [`Recorder`](crate::Recorder). [`RecorderConfig::new`] gives the defaults named at each field.
#[derive(Clone, Debug)]
pub struct RecorderConfig {
    /// The capture folder; created if absent, mode 0700.
    pub dir: PathBuf,
    /// Rows that may wait: 8,192.
    pub queue_rows: usize,
    /// Bytes that may wait: 64 MiB. A larger single row is refused.
    pub queue_bytes: usize,
    /// Longest wait for company before a group commit: 5 ms.
    pub commit_every: Duration,
    /// Rows that trigger a group commit, and the most one may hold: 256.
    pub commit_rows: usize,
    /// Size of a journal segment (rows before compression) at which its file is finished: 256 MB.
    pub rotate_bytes: u64,
    /// Age of a file at which it is finished, if it has rows: 60 s.
    pub rotate_every: Duration,
    /// Size of the whole folder at which its oldest files are removed: 10 GB. 0 means no limit.
    pub max_dir_bytes: u64,
    /// Age at which files are removed, by the hour they are of: never. Zero means no limit.
    pub max_age: Duration,
    /// Bytes that stay free on the disk: 256 MB. 0 means none: what the disk refuses is then lost.
    pub min_free_bytes: u64,
    /// What to do when less is free: delete the oldest files.
    pub on_disk_full: OnDiskFull,
    /// Who says how much is free: the system.
    pub free_bytes: FreeBytes,
    /// What to do when the queue is full: drop and count.
    pub on_overflow: OnOverflow,
    /// Longest wait under [`OnOverflow::Block`]: 1 s.
    pub block_for: Duration,
    /// The journal's mode: interval.
    pub journal: Journal,
    /// The key that signs the manifest: none.
    pub signer: Option<Arc<Signer>>,
    /// Whom originals are sealed to: nobody.
    pub recipients: Option<Recipients>,
    /// How often the manifest states how far the journal goes: 60 s.
    pub checkpoint_every: Duration,
    /// Most rows in a Parquet row group: 32,768.
    pub row_group_rows: usize,
    /// Most bytes (before compression) in a Parquet row group: 64 MiB.
    pub row_group_bytes: usize,
    /// Where finished files are uploaded to: nowhere.
    pub store: Option<crate::StoreConfig>,
}

impl RecorderConfig {
    /// The defaults, recording to `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> RecorderConfig {
        RecorderConfig {
            dir: dir.into(),
            queue_rows: 8192,
            queue_bytes: 64 << 20,
            commit_every: Duration::from_millis(5),
            commit_rows: 256,
            rotate_bytes: 256_000_000,
            rotate_every: Duration::from_secs(60),
            max_dir_bytes: 10_000_000_000,
            max_age: Duration::ZERO,
            min_free_bytes: 256_000_000,
            on_disk_full: OnDiskFull::DeleteOldest,
            free_bytes,
            on_overflow: OnOverflow::DropAndCount,
            block_for: Duration::from_secs(1),
            journal: Journal::Interval,
            signer: None,
            recipients: None,
            checkpoint_every: Duration::from_secs(60),
            row_group_rows: 32_768,
            row_group_bytes: 64 << 20,
            store: None,
        }
    }

    /// Refuses values with which the recorder could not work at all.
    pub(crate) fn check(&self) -> Result<(), CaptureError> {
        let refuse = |setting, detail| Err(CaptureError::Setting { setting, detail });
        match self {
            RecorderConfig { queue_rows: 0, .. } => refuse("queue_rows", "at least 1"),
            RecorderConfig { commit_rows: 0, .. } => refuse("commit_rows", "at least 1"),
            RecorderConfig { row_group_rows: 0, .. } => refuse("row_group_rows", "at least 1"),
            RecorderConfig { row_group_bytes: 0, .. } => refuse("row_group_bytes", "at least 1"),
            RecorderConfig { queue_bytes, .. } if !(4096..=1 << 30).contains(queue_bytes) => {
                refuse("queue_bytes", "4 KiB to 1 GiB")
            }
            // readers pass over partitions by their time
            RecorderConfig { rotate_every, .. } if *rotate_every > Duration::from_secs(3600) => {
                refuse("rotate_every", "at most an hour")
            }
            _ => Ok(()),
        }
    }
}
