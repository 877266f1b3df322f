//! [`StoreConfig`]: where finished files go, and how.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Location;

/// What happens when the files that wait for the store reach [`StoreConfig::spool`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSpoolFull {
    /// The oldest of them go; a `gap` row tells of each.
    #[default]
    DeleteOldest,
    /// No new file is begun until some are uploaded: rows are refused and counted.
    Refuse,
}

/// Upload of a recorder's finished files. [`StoreConfig::new`] gives the defaults named at each field.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where to: an object store, or a folder (say, a mounted one).
    pub location: Location,
    /// Bytes of files that may wait for the store: 10 GB.
    pub spool: u64,
    /// What happens beyond that: the oldest go.
    pub on_spool_full: OnSpoolFull,
    /// Keep uploaded files here too, for as long as retention lets them: yes.
    pub keep_local: bool,
    /// Files uploaded at a time: 2.
    pub concurrency: usize,
    /// How long one try at one file may take: 5 minutes.
    pub attempt: Duration,
    /// The wait after the first failure, doubled for each further one: 1 s.
    pub first_wait: Duration,
    /// The longest wait: 60 s.
    pub longest_wait: Duration,
    /// The storage class to ask for, in the store's words.
    pub storage_class: Option<String>,
    /// Tags for each object, where the store knows tags.
    pub tags: BTreeMap<String, String>,
}

impl StoreConfig {
    /// The defaults, uploading to `location`.
    pub fn new(location: impl Into<Location>) -> StoreConfig {
        StoreConfig {
            location: location.into(),
            spool: 10_000_000_000,
            on_spool_full: OnSpoolFull::DeleteOldest,
            keep_local: true,
            concurrency: 2,
            attempt: Duration::from_secs(300),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
            storage_class: None,
            tags: BTreeMap::new(),
        }
    }
}

/// What was uploaded so far, and what waits.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Files that arrived.
    pub uploaded_files: u64,
    /// Their bytes.
    pub uploaded_bytes: u64,
    /// Files that wait, or are under way.
    pub waiting_files: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Files removed unsent because too many waited.
    pub removed_files: u64,
    /// Failed tries.
    pub errors: u64,
    /// The last of these, as text.
    pub last_error: Option<String>,
    /// Whether the last try at something that still waits failed.
    pub failing: bool,
}
