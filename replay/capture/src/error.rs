//! Everything that can go wrong in a capture, as one typed error.

use std::io;
use std::path::{Path, PathBuf};

/// Why a capture could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The capture folder cannot be created or written to; caused by the operator's choice of folder.
    #[error("capture folder {} is not writable: {source}", path.display())]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file operation failed; caused by the disk (full, vanished, broken).
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb that failed: `open`, `write`, `sync`, `rename`, ….
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not a readable Parquet file of ours; caused by damage or by a foreign file.
    #[error("damaged capture file {}: {detail}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never content of a row.
        detail: String,
    },
    /// A column holds another type than the schema says; caused by a foreign or edited file.
    #[error("column {column} has type {found}, expected {expected}")]
    ColumnType {
        /// The column's name.
        column: &'static str,
        /// The type found.
        found: String,
        /// The type of schema v1.
        expected: &'static str,
    },
    /// A query names a column that schema v1 does not have; caused by the caller.
    #[error("no column named {name:?}")]
    UnknownColumn {
        /// The name asked for.
        name: String,
    },
    /// Rows could not be turned into Parquet; caused by a defect here or by the disk below.
    #[error("cannot encode rows: {detail}")]
    Encode {
        /// What the encoder said.
        detail: String,
    },
    /// A digest is no plain name and would leave the capture folder; caused by the caller.
    #[error("digest {digest:?} is not usable as a file name")]
    BadDigest {
        /// The digest given.
        digest: String,
    },
    /// A line of the labels is none; caused by whoever edited the file, or by a crash.
    #[error("{}:{line}: no label: {detail}", path.display())]
    BadLabel {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// A key file holds no key; caused by the operator's choice of file.
    #[error("{}: {detail}", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// A line of a manifest is none; caused by a crash, by damage, or by whoever edited the file.
    #[error("{}:{line}: {detail}", path.display())]
    BadManifest {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// The folder for a derived capture holds something, or another process is filling it.
    #[error("{} {detail}", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// What is in the way.
        detail: &'static str,
    },
    /// A file is larger than its limit allows.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// Less is left on the disk than is to stay free; caused by whoever fills it.
    #[error("too little is left on the disk of {}", path.display())]
    DiskFull {
        /// The capture folder.
        path: PathBuf,
    },
    /// Files that could not be finished fill the journal up to the folder's limit; caused by the disk.
    #[error("journal holds {limit} bytes of unfinished files")]
    JournalFull {
        /// The limit, [`RecorderConfig::max_dir_bytes`](crate::RecorderConfig::max_dir_bytes).
        limit: u64,
    },
    /// A capture's address is none that is known, or its settings do not fit; caused by the caller or the environment.
    #[error("cannot use {url} as a place of captures: {detail}")]
    BadLocation {
        /// The address, without what may be secret.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// An object store refused or failed; caused by the store, the network, or the caller's rights.
    #[error("cannot {action} {url}: {detail}")]
    Store {
        /// The verb that failed: `read`, `write`, `list`, ….
        action: &'static str,
        /// The object.
        url: String,
        /// What the store said.
        detail: String,
    },
    /// The thread that talks to object stores cannot work; caused by the system, or by a defect.
    #[error("cannot talk to object stores: {detail}")]
    Network {
        /// What happened.
        detail: String,
    },
    /// An object of this name holds something else, and stays as it is; caused by two writers of one name.
    #[error("{url} is not what {ours} has: {theirs} wrote it")]
    Taken {
        /// The object.
        url: String,
        /// Who wanted to write.
        ours: String,
        /// Who wrote before, as far as the object says.
        theirs: String,
    },
    /// Files that wait for the object store fill the spool; caused by the store or the network.
    #[error("{limit} bytes of files wait for the object store")]
    SpoolFull {
        /// The limit, [`StoreConfig::spool`](crate::StoreConfig::spool).
        limit: u64,
    },
    /// A configuration value is outside what works; caused by the caller.
    #[error("capture setting {setting} is out of range: {detail}")]
    Setting {
        /// The field of [`RecorderConfig`](crate::RecorderConfig).
        setting: &'static str,
        /// What is allowed.
        detail: &'static str,
    },
    /// A row was accepted and then lost before it became durable; caused by the disk.
    #[error("row was not recorded: {detail}")]
    NotDurable {
        /// The error that lost it.
        detail: String,
    },
    /// The recorder stopped; it takes no more rows.
    #[error("recorder is closed")]
    Closed,
    /// A wait (for a ticket, for closing) reached its limit; the recorder works on.
    #[error("recorder did not finish in time")]
    TimedOut,
    /// The recorder closed, but could not finish its last file; its journal is recovered on the next start.
    #[error("capture left in its journal for recovery: {detail}")]
    Unfinished {
        /// The last error of the disk.
        detail: String,
    },
}

impl CaptureError {
    /// An [`CaptureError::Io`] for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CaptureError {
        move |source| CaptureError::Io { action, path: path.to_owned(), source }
    }

    /// A [`CaptureError::Damaged`] for `map_err`.
    pub(crate) fn damaged<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> CaptureError {
        move |error| CaptureError::Damaged { path: path.to_owned(), detail: error.to_string() }
    }
}
