//! Uploads and reads against stores in memory that fail, hang and tear on command.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path as FsPath;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

use super::retry::Retry;
use super::{Location, OnSpoolFull, StoreConfig};
use crate::{CaptureError, Query, Reader, Record, Recorder, RecorderConfig, Stats};

const NOW: Retry = Retry {
    again: 3,
    first: Duration::ZERO,
    longest: Duration::ZERO,
    limit: Duration::from_secs(10),
};
const LONG: Duration = Duration::from_secs(30);

/// What the store does with the next puts and gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// An answer that may be another next time.
    Error,
    /// The object is written, and the answer lost.
    Torn,
    /// No answer ever.
    Hang,
}

/// A store in memory that does as it is told.
#[derive(Debug, Default)]
struct Moody {
    inner: InMemory,
    /// For the puts and gets to come; the last is for all that follow.
    puts: Mutex<Vec<Option<Fault>>>,
    gets: Mutex<Vec<Option<Fault>>>,
    /// Bytes asked for by ranges.
    read: AtomicUsize,
    lists: AtomicUsize,
}

impl Moody {
    fn next(list: &Mutex<Vec<Option<Fault>>>) -> Option<Fault> {
        let mut list = list.lock().unwrap();
        if list.len() > 1 { list.remove(0) } else { list.first().copied().flatten() }
    }

    fn puts(&self, faults: &[Option<Fault>]) {
        *self.puts.lock().unwrap() = faults.to_vec();
    }
}

impl fmt::Display for Moody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Moody")
    }
}

fn broken<T>() -> Result<T> {
    Err(Error::Generic { store: "moody", source: "not now".into() })
}

#[async_trait::async_trait]
impl ObjectStore for Moody {
    async fn put_opts(&self, to: &Path, bytes: PutPayload, how: PutOptions) -> Result<PutResult> {
        match Moody::next(&self.puts) {
            None => self.inner.put_opts(to, bytes, how).await,
            Some(Fault::Error) => broken(),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Torn) => {
                self.inner.put_opts(to, bytes, how).await?;
                broken()
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(to, how).await
    }

    async fn get_opts(&self, from: &Path, how: GetOptions) -> Result<GetResult> {
        if let Some(fault) = Moody::next(&self.gets) {
            return if fault == Fault::Hang { std::future::pending().await } else { broken() };
        }
        let found = self.inner.get_opts(from, how).await?;
        let Range { start, end } = found.range.clone();
        self.read.fetch_add((end - start) as usize, Ordering::Relaxed);
        Ok(found)
    }

    fn delete_stream(
        &self,
        all: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(all)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, how).await
    }
}

fn moody() -> (Arc<Moody>, Location) {
    let store = Arc::new(Moody::default());
    let location = Location::of_store(store.clone(), NOW);
    (store, location)
}

fn config(dir: &FsPath, location: &Location) -> RecorderConfig {
    let first_wait = Duration::ZERO;
    let longest_wait = Duration::ZERO;
    let store = StoreConfig { first_wait, longest_wait, ..StoreConfig::new(location) };
    RecorderConfig { store: Some(store), ..RecorderConfig::new(dir) }
}

fn record(config: RecorderConfig, times: impl IntoIterator<Item = i64>) -> Stats {
    let recorder = Recorder::open(config).unwrap();
    recorder.store_ruleset("sha256:ab", "rules: []").unwrap();
    for ts_us in times {
        let body = Some(vec![b'x'; 300].into());
        let _ = recorder.try_record(Record { ts_us, body, ..Record::default() }).unwrap();
    }
    recorder.close(LONG).unwrap()
}

fn rows(location: impl Into<Location>) -> Vec<Record> {
    Reader::open(location).unwrap().map(std::result::Result::unwrap).collect()
}

fn block<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> T {
    super::runtime::wait(async move { Ok(work.await.unwrap()) }).unwrap()
}

#[test]
fn what_was_recorded_is_read_from_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, location) = moody();
    let stats = record(config(dir.path(), &location), 1..=1000).store.unwrap();
    assert_eq!((stats.waiting_files, stats.errors, stats.last_error), (0, 0, None));
    assert!(stats.uploaded_files >= 3, "rows, a rule set and the manifest");
    let manifest = fs::read_dir(dir.path().join("manifest")).unwrap().next().unwrap().unwrap();
    let name = format!("manifest/{}", manifest.file_name().to_str().unwrap());
    let there = location.join(&name).read(1 << 20).unwrap().unwrap();
    assert_eq!(there, fs::read(manifest.path()).unwrap(), "to its last line");
    assert_eq!(rows(&location), rows(dir.path()));
    assert_eq!(rows(&location).len(), 1000);
    assert_eq!(crate::read_ruleset(&location, "sha256:ab").unwrap(), "rules: []");
    assert!(crate::Labels::read(&location).unwrap().is_empty());
    let file = Reader::files(&location).unwrap().next().unwrap().unwrap();
    assert_eq!(rows(&file).len(), 1000);
    assert_eq!(file.root(), location);
}

#[test]
fn a_failing_store_delays_and_an_answer_that_was_lost_sends_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (store, location) = moody();
    store.puts(&[Some(Fault::Error), Some(Fault::Torn), Some(Fault::Error), None]);
    let stats = record(config(dir.path(), &location), 1..=10).store.unwrap();
    // closing tries each once more; what is left is found by the next recorder
    assert!(stats.errors >= 1, "{stats:?}");
    let stats = record(config(dir.path(), &location), 11..=20).store.unwrap();
    assert_eq!((stats.waiting_files, stats.failing), (0, false), "{stats:?}");
    assert_eq!(rows(&location), rows(dir.path()));
    assert_eq!(rows(&location).len(), 20);
}

#[test]
fn files_survive_a_store_that_is_down_and_retention_leaves_them() {
    let dir = tempfile::tempdir().unwrap();
    let (store, location) = moody();
    store.puts(&[Some(Fault::Error)]);
    let tight = || RecorderConfig { max_dir_bytes: 1, ..config(dir.path(), &location) };
    let stats = record(tight(), 1..=10);
    let store_stats = stats.store.unwrap();
    assert_eq!((stats.removed_files, store_stats.waiting_files), (0, 3));
    assert!(store_stats.failing && store_stats.last_error.unwrap().contains("not now"));
    assert_eq!(rows(dir.path()).len(), 10);
    store.puts(&[None]);
    record(tight(), 11..=20);
    // beside them, what was removed to make room leaves a note
    let rows = rows(&location);
    assert_eq!(rows.iter().filter(|row| row.kind.as_deref() != Some("gap")).count(), 20);
}

#[test]
fn a_store_that_never_answers_does_not_hold_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (store, location) = moody();
    store.puts(&[Some(Fault::Hang)]);
    let mut config = config(dir.path(), &location);
    config.store.as_mut().unwrap().attempt = Duration::from_millis(20);
    let stats = record(config, 1..=10).store.unwrap();
    assert!(stats.last_error.unwrap().contains("no answer in time"));
    assert_eq!(stats.waiting_files, 3);
}

#[test]
fn a_full_spool_gives_up_its_oldest_or_refuses() {
    for (on_spool_full, removed) in [(OnSpoolFull::DeleteOldest, 1), (OnSpoolFull::Refuse, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let (store, location) = moody();
        store.puts(&[Some(Fault::Error)]);
        record(config(dir.path(), &location), 1..=10);
        let mut config = config(dir.path(), &location);
        let settings = config.store.as_mut().unwrap();
        (settings.spool, settings.on_spool_full) = (1, on_spool_full);
        config.rotate_every = Duration::ZERO;
        let recorder = Recorder::open(config).unwrap();
        let row = || Record { ts_us: 11, ..Record::default() };
        let first = recorder.try_record(row()).unwrap().wait(LONG);
        assert_eq!(first.is_ok(), on_spool_full == OnSpoolFull::DeleteOldest);
        let stats = recorder.close(LONG).unwrap();
        assert_eq!(stats.dropped, 1 - removed.min(1));
        assert!(stats.store.unwrap().removed_files >= removed);
    }
}

#[test]
fn uploaded_files_need_not_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, location) = moody();
    let mut config = config(dir.path(), &location);
    config.store.as_mut().unwrap().keep_local = false;
    record(config, 1..=10);
    assert_eq!((rows(&location).len(), rows(dir.path()).len()), (10, 0));
}

#[test]
fn a_manifest_grows_and_two_writers_of_one_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (store, location) = moody();
    fs::create_dir_all(dir.path().join("manifest")).unwrap();
    let manifest = dir.path().join("manifest/wdead.jsonl");
    for text in ["one\n", "one\ntwo\n"] {
        fs::write(&manifest, text).unwrap();
        record(config(dir.path(), &location), []);
        let there = location.join("manifest/wdead.jsonl").read(100).unwrap().unwrap();
        assert_eq!(there, text.as_bytes());
    }
    // another machine has written something else meanwhile
    let how = PutOptions {
        attributes: [(object_store::Attribute::Metadata(super::WRITER.into()), "wother")]
            .into_iter()
            .collect(),
        ..PutOptions::default()
    };
    let (inner, key) = (store.clone(), Path::from("captures/a/manifest/wdead.jsonl"));
    block(async move { inner.inner.put_opts(&key, "one\nthree\n".into(), how).await });
    fs::write(&manifest, "one\ntwo\nthree\n").unwrap();
    let stats = record(config(dir.path(), &location), []).store.unwrap();
    let told = stats.last_error.unwrap();
    assert!(told.contains("wother wrote it"), "{told}");
    let there = location.join("manifest/wdead.jsonl").read(100).unwrap().unwrap();
    assert_eq!(there, b"one\nthree\n", "nothing is overwritten");
}

#[test]
fn an_object_of_the_same_name_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (store, location) = moody();
    let key = Path::from("captures/a/rulesets/sha256-ab.yaml");
    block(async move { store.inner.put(&key, "something else".into()).await });
    let stats = record(config(dir.path(), &location), []).store.unwrap();
    assert!(stats.last_error.unwrap().contains("is not what"));
    assert_eq!(crate::read_ruleset(&location, "sha256:ab").unwrap(), "something else");
}

#[test]
fn a_file_larger_than_one_request_goes_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, location) = moody();
    let folder = dir.path().join("date=2025-11-22/hour=23");
    fs::create_dir_all(&folder).unwrap();
    let bytes: Vec<u8> = (0..33_u32 << 18).flat_map(u32::to_le_bytes).collect();
    fs::write(folder.join("wdead-1-2.parquet"), &bytes).unwrap();
    record(config(dir.path(), &location), []);
    let there = location.join("date=2025-11-22/hour=23/wdead-1-2.parquet");
    assert!(there.read(1 << 30).unwrap().unwrap() == bytes);
}

#[test]
fn reading_asks_for_the_times_and_columns_wanted_and_bears_failures() {
    const HOUR: i64 = 3_600_000_000;
    let dir = tempfile::tempdir().unwrap();
    let (store, location) = moody();
    for day in 0..40 {
        record(config(dir.path(), &location), [1 + day * 24 * HOUR]);
    }
    store.lists.store(0, Ordering::Relaxed);
    let day = 30 * 24 * HOUR;
    let query = Query { from_us: Some(day), to_us: Some(day + HOUR), ..Query::default() };
    let found: Vec<_> = Reader::open_with(&location, query.clone()).unwrap().collect();
    assert_eq!(found.len(), 1);
    assert!(store.lists.load(Ordering::Relaxed) <= 6, "days of other times are not listed");
    *store.gets.lock().unwrap() = vec![Some(Fault::Error), None, Some(Fault::Error), None];
    assert_eq!(
        Reader::open_with(&location, query).unwrap().filter(std::result::Result::is_ok).count(),
        1
    );
    *store.gets.lock().unwrap() = vec![Some(Fault::Error)];
    let failed = Reader::open(&location).unwrap().next().unwrap();
    assert!(
        matches!(failed, Err(CaptureError::Store { .. } | CaptureError::Damaged { .. })),
        "{failed:?}"
    );
}

#[test]
fn a_few_columns_of_a_large_file_are_read_without_its_bodies() {
    let dir = tempfile::tempdir().unwrap();
    let (store, location) = moody();
    let recorder = Recorder::open(config(dir.path(), &location)).unwrap();
    let mut state = 1_u64;
    for ts_us in 1..=400 {
        // noise, which does not compress
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        let body: Bytes = noise.take(40_000).collect();
        let _ =
            recorder.try_record(Record { ts_us, body: Some(body), ..Record::default() }).unwrap();
    }
    recorder.close(LONG).unwrap();
    store.read.store(0, Ordering::Relaxed);
    let query = Query { columns: Some(vec!["ts".to_owned()]), ..Query::default() };
    assert_eq!(Reader::open_with(&location, query).unwrap().count(), 400);
    let few = store.read.swap(0, Ordering::Relaxed);
    assert_eq!(rows(&location), rows(dir.path()));
    let all = store.read.load(Ordering::Relaxed);
    assert!(few < 3 << 20 && all > 16_000_000, "{few} of {all}");
}

#[test]
fn a_folder_is_a_store_too() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let location = Location::from(other.path());
    let stats = record(config(dir.path(), &location), 1..=10).store.unwrap();
    assert_eq!(stats.last_error, None);
    assert_eq!(rows(other.path()), rows(dir.path()));
    fs::create_dir_all(dir.path().join("manifest")).unwrap();
    for text in ["one\n", "one\ntwo\n"] {
        fs::write(dir.path().join("manifest/wdead.jsonl"), text).unwrap();
        assert_eq!(record(config(dir.path(), &location), []).store.unwrap().last_error, None);
    }
    assert_eq!(
        fs::read_to_string(other.path().join("manifest/wdead.jsonl")).unwrap(),
        "one\ntwo\n"
    );
}
