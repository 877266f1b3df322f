//! [`Spool`]: which files of a capture folder wait for the store. The folder itself is the spool; what has arrived
//! stands in the ledger `.uploaded`.
//!
//! The ledger is a memory aid: a file that it does not name is sent again, and found to be there. So it may be lost or
//! cut short. Each recorder sees to its own files and to those whose writer is gone.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{OnSpoolFull, StoreStats, put};
use crate::CaptureError;
use crate::disk::{FileName, JOURNAL};
use crate::layout::{Files, list};

/// The ledger's name inside a capture folder.
pub(crate) const LEDGER: &str = ".uploaded";
/// Bytes of it that are read at most.
const MAX_LEDGER: u64 = 64 << 20;
/// Small files that rows refer to, and the manifests.
const BESIDE: [&str; 3] = ["config", "manifest", "rulesets"];

/// The files that wait, and the counts.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    writer: String,
    limit: u64,
    on_full: OnSpoolFull,
    state: Mutex<State>,
    /// Tells whoever waits for the end.
    news: Condvar,
    /// Tells the uploader: files, or the end.
    pub(super) wake: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes by relative path: in the order of partitions, so the oldest data stands first.
    waiting: BTreeMap<String, u64>,
    stats: StoreStats,
    closing: bool,
    /// The uploader is gone.
    ended: bool,
}

/// Sizes of what has arrived, by relative path.
pub(crate) type Arrived = HashMap<String, u64>;

impl Spool {
    pub(super) fn new(dir: &Path, writer: &str, limit: u64, on_full: OnSpoolFull) -> Spool {
        Spool {
            dir: dir.to_owned(),
            writer: writer.to_owned(),
            limit,
            on_full,
            state: Mutex::default(),
            news: Condvar::new(),
            wake: tokio::sync::Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts.
    pub(crate) fn stats(&self) -> StoreStats {
        let state = self.lock();
        StoreStats {
            waiting_files: state.waiting.len() as u64,
            waiting_bytes: state.waiting.values().sum(),
            failing: state.stats.failing && !state.waiting.is_empty(),
            ..state.stats.clone()
        }
    }

    /// Looks through the folder for files that have not arrived: own ones, and those whose writer is gone.
    pub(crate) fn look(&self) -> Result<(), CaptureError> {
        let arrived = self.arrived();
        let mut found = BTreeMap::new();
        let mut see = |path: &Path| {
            let Some(name) = self.relative(path) else { return };
            // a file that is gone again is no matter
            let Ok(len) = fs::metadata(path).map(|metadata| metadata.len()) else { return };
            if arrived.get(&name) != Some(&len) && self.is_mine(path) {
                found.insert(name, len);
            }
        };
        for file in Files::below(&self.dir)? {
            see(&file?);
        }
        for folder in BESIDE {
            let files = list(&self.dir.join(folder), |name| !name.starts_with('.'))?;
            files.iter().for_each(|file| see(file));
        }
        self.lock().waiting.extend(found);
        self.wake.notify_one();
        Ok(())
    }

    /// A file of this capture is finished or has grown.
    pub(crate) fn added(&self, path: &Path) {
        let name = self.relative(path).zip(fs::metadata(path).ok());
        if let Some((name, metadata)) = name {
            self.lock().waiting.insert(name, metadata.len());
            self.wake.notify_one();
        }
    }

    /// This recorder's own manifest.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.dir.join("manifest").join(format!("{}.jsonl", self.writer))
    }

    /// Whether a file is this recorder's to send. Another's is left to it while its journal is there.
    fn is_mine(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let writer = match FileName::parse(name) {
            Some(name) => name.writer,
            None => name.split('.').next().unwrap_or_default().to_owned(),
        };
        writer == self.writer || !self.dir.join(JOURNAL).join(writer).exists()
    }

    fn relative(&self, path: &Path) -> Option<String> {
        path.strip_prefix(&self.dir).ok()?.to_str().map(str::to_owned)
    }

    /// What waits now, in the order in which it is to arrive: first what rows refer to, then the rows, then the
    /// manifests that name their files. A manifest waits for all files of its writer.
    pub(super) fn batch(&self) -> Vec<Vec<String>> {
        let state = self.lock();
        let mut phases = vec![Vec::new(), Vec::new(), Vec::new()];
        for name in state.waiting.keys() {
            let phase = match name {
                name if put::grows(name) => 2,
                name if name.ends_with(".parquet") => 1,
                _ => 0,
            };
            phases[phase].push(name.clone());
        }
        phases
    }

    /// Whether a manifest's files have all arrived.
    pub(super) fn may_follow(&self, manifest: &str) -> bool {
        let writer = Path::new(manifest).file_stem().and_then(|stem| stem.to_str());
        let of = writer.map(|writer| format!("/{writer}-")).unwrap_or_default();
        !self.lock().waiting.keys().any(|name| name.ends_with(".parquet") && name.contains(&of))
    }

    /// Books a file as arrived. It waits on if it has grown since.
    pub(super) fn arrived_now(&self, name: &str, bytes: u64) {
        let fixed = !put::grows(name);
        let now = fs::metadata(self.dir.join(name)).map_or(bytes, |metadata| metadata.len());
        let mut state = self.lock();
        if fixed || now <= bytes {
            state.waiting.remove(name);
        }
        state.stats.uploaded_files += 1;
        state.stats.uploaded_bytes += bytes;
        drop(state);
        let written = self.note(name, bytes);
        if let Err(error) = written {
            tracing::debug!(%error, "the ledger of uploads cannot be written");
        }
    }

    /// A file is not here any more.
    pub(super) fn gone(&self, name: &str) {
        self.lock().waiting.remove(name);
    }

    /// Books a failed try.
    pub(super) fn failed(&self, error: &CaptureError) {
        let mut state = self.lock();
        // the first of a row; the rest is in the counts
        if !state.stats.failing {
            tracing::warn!(%error, "upload");
        }
        state.stats.errors += 1;
        state.stats.failing = true;
        state.stats.last_error = Some(error.to_string());
    }

    /// Books a round without failure.
    pub(super) fn went_well(&self) {
        if std::mem::take(&mut self.lock().stats.failing) {
            tracing::info!("the store takes uploads again");
        }
    }

    /// Whether no new file may be begun.
    pub(crate) fn refuses(&self) -> Option<u64> {
        let full = self.on_full == OnSpoolFull::Refuse && self.stats().waiting_bytes >= self.limit;
        full.then_some(self.limit)
    }

    /// Files of rows to give up, oldest first, because too much waits. They wait no more.
    pub(crate) fn overflow(&self) -> Vec<PathBuf> {
        let mut state = self.lock();
        let mut surplus = state.waiting.values().sum::<u64>().saturating_sub(self.limit);
        let mut given_up = Vec::new();
        if self.on_full == OnSpoolFull::DeleteOldest && surplus > 0 {
            let rows = state.waiting.iter().filter(|(name, _)| name.ends_with(".parquet"));
            for (name, bytes) in rows {
                if surplus == 0 {
                    break;
                }
                surplus = surplus.saturating_sub(*bytes);
                given_up.push(name.clone());
            }
            state.waiting.retain(|name, _| !given_up.contains(name));
            state.stats.removed_files += given_up.len() as u64;
        }
        given_up.into_iter().map(|name| self.dir.join(name)).collect()
    }

    /// Whether retention must leave a file alone, as it has not arrived.
    pub(crate) fn holds(&self, path: &Path, arrived: &Arrived) -> bool {
        self.relative(path).is_some_and(|name| !arrived.contains_key(&name))
    }

    /// The ledger. One that cannot be read counts as empty.
    pub(crate) fn arrived(&self) -> Arrived {
        let Ok(file) = fs::File::open(self.dir.join(LEDGER)) else {
            return Arrived::new();
        };
        let lines = BufReader::new(file.take(MAX_LEDGER)).lines().map_while(Result::ok);
        let entries = lines.filter_map(|line| {
            let (bytes, name) = line.split_once(' ')?;
            Some((name.to_owned(), bytes.parse().ok()?))
        });
        // of two about a file the later counts
        entries.collect()
    }

    fn note(&self, name: &str, bytes: u64) -> io::Result<()> {
        let mut ledger = self.ledger()?;
        ledger.lock()?;
        ledger.write_all(format!("{bytes} {name}\n").as_bytes())
    }

    /// Drops the ledger's lines about files that are gone.
    pub(super) fn tidy(&self) -> io::Result<()> {
        let mut ledger = self.ledger()?;
        ledger.lock()?;
        let all = self.arrived();
        let mut kept: Vec<_> =
            all.iter().filter(|(name, _)| self.dir.join(name).exists()).collect();
        if kept.len() == all.len() {
            return Ok(());
        }
        kept.sort();
        let text: String = kept.iter().map(|(name, bytes)| format!("{bytes} {name}\n")).collect();
        // a crash in between loses lines, which costs a look at the store each
        ledger.set_len(0)?;
        ledger.write_all(text.as_bytes())
    }

    fn ledger(&self) -> io::Result<fs::File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(self.dir.join(LEDGER))
    }

    /// Nothing is added from now on.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    /// Whether [`Spool::close`] was called.
    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// The uploader is gone.
    pub(super) fn ended(&self) {
        self.lock().ended = true;
        self.news.notify_all();
    }

    /// Waits for the uploader to end.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        let waited = self.news.wait_timeout_while(self.lock(), limit, |state| !state.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}
