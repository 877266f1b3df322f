//! Disks that run full, clocks that go back, captures that grow old: what is kept, what is lost, and that it is told.

#![expect(clippy::unwrap_used, reason = "a test that fails here should stop here")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use capture::{
    Health, OnDiskFull, Reader, Record, Recorder, RecorderConfig, Stats, VerifyOptions, verify,
};

const SOON: Duration = Duration::from_secs(60);
const HOUR_US: i64 = 3_600_000_000;

fn row(ts_us: i64) -> Record {
    Record {
        ts_us,
        kind: Some("request".into()),
        body: Some(Bytes::from(format!("{{\"at\":{ts_us}}}"))),
        redaction_state: Some("raw".into()),
        ..Record::default()
    }
}

/// The bytes left, as the test wrote them beside the capture; plenty where it wrote nothing.
fn told(dir: &Path) -> io::Result<u64> {
    Ok(fs::read_to_string(dir.with_extension("free"))
        .map_or(u64::MAX, |text| text.parse().unwrap()))
}

/// A disk of 100 bytes more than three files: room for three, as long as each is a capture of one row.
fn small(dir: &Path) -> io::Result<u64> {
    let files = Reader::files(dir).unwrap().count() as u64;
    Ok(4u64.saturating_sub(files) * 1000)
}

struct Disk {
    _home: tempfile::TempDir,
    dir: PathBuf,
}

impl Disk {
    fn new() -> Disk {
        let home = tempfile::tempdir().unwrap();
        Disk { dir: home.path().join("capture"), _home: home }
    }

    fn free(&self, bytes: u64) {
        fs::write(self.dir.with_extension("free"), bytes.to_string()).unwrap();
    }

    fn config(&self, on_disk_full: OnDiskFull) -> RecorderConfig {
        let min_free_bytes = 1000;
        RecorderConfig {
            on_disk_full,
            min_free_bytes,
            free_bytes: told,
            ..RecorderConfig::new(&self.dir)
        }
    }

    fn rows(&self) -> Vec<Record> {
        Reader::open(&self.dir).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn holds(&self) {
        let report = verify(&self.dir, &VerifyOptions::default(), &mut |_, _| {}).unwrap();
        assert!(report.holds(), "{report:?}");
    }
}

fn balanced(stats: &Stats) -> bool {
    stats.enqueued == stats.written + stats.dropped + stats.in_queue
}

#[test]
fn a_full_disk_refuses_rows_and_tells() {
    let disk = Disk::new();
    let recorder = Recorder::open(disk.config(OnDiskFull::Refuse)).unwrap();
    recorder.try_record(row(1)).unwrap().wait(SOON).unwrap();
    assert!(recorder.takes_rows());
    disk.free(999);
    // the look of a second ago may still count: the disk is asked again once it was found short
    let mut refused = 0;
    while refused < 3 {
        refused += u64::from(recorder.try_record(row(2)).unwrap().wait(SOON).is_err());
        assert!(balanced(&recorder.stats()));
    }
    assert!(matches!(recorder.stats().health, Health::Failing(_)));
    assert!(!recorder.takes_rows());
    disk.free(1000);
    recorder.try_record(row(3)).unwrap().wait(SOON).unwrap();
    assert_eq!(recorder.stats().health, Health::Ok);
    assert!(recorder.takes_rows());
    let stats = recorder.close(SOON).unwrap();
    assert!(balanced(&stats));
    assert_eq!(stats.dropped, 3);
    let lost: i64 = disk.rows().iter().map(|row| row.dropped_before).sum();
    assert_eq!(lost, 3);
    disk.holds();
}

#[test]
fn a_full_disk_keeps_what_is_not_body() {
    let disk = Disk::new();
    disk.free(10);
    let recorder = Recorder::open(disk.config(OnDiskFull::MetadataOnly)).unwrap();
    recorder.try_record(row(1)).unwrap().wait(SOON).unwrap();
    assert!(matches!(recorder.stats().health, Health::Degraded(_)));
    assert!(recorder.takes_rows(), "rows still reach the disk");
    disk.free(1000);
    recorder.try_record(row(2)).unwrap().wait(SOON).unwrap();
    let stats = recorder.close(SOON).unwrap();
    assert_eq!((stats.written, stats.dropped, stats.health), (2, 0, Health::Ok));
    let rows = disk.rows();
    assert_eq!((rows[0].body.as_deref(), rows[0].body_len), (None, Some(8)));
    assert_eq!(rows[0].redaction_state.as_deref(), Some("withheld"));
    assert_eq!(rows[1].body.as_deref(), Some(&b"{\"at\":2}"[..]));
    disk.holds();
}

#[test]
fn a_full_disk_lets_the_oldest_files_go() {
    let disk = Disk::new();
    let config = RecorderConfig {
        rotate_bytes: 1,
        min_free_bytes: 2000,
        free_bytes: small,
        ..disk.config(OnDiskFull::DeleteOldest)
    };
    let recorder = Recorder::open(config).unwrap();
    for hour in 0..8 {
        recorder.try_record(row(hour * HOUR_US)).unwrap().wait(SOON).unwrap();
    }
    let stats = recorder.close(SOON).unwrap();
    assert_eq!((stats.written, stats.dropped, stats.health.clone()), (8, 0, Health::Ok));
    assert!(stats.removed_files >= 4, "{stats:?}");
    let rows = disk.rows();
    let (notes, kept): (Vec<_>, Vec<_>) =
        rows.iter().partition(|row| row.kind.as_deref() == Some("gap"));
    assert_eq!(kept.last().unwrap().ts_us, 7 * HOUR_US, "the newest stays");
    assert!(kept.iter().all(|row| row.ts_us > 0), "the oldest is gone");
    assert!(notes.iter().all(|note| note.deny_reason.as_deref() == Some("disk_full")));
    disk.holds();
}

#[test]
fn with_nothing_to_delete_a_full_disk_refuses() {
    let disk = Disk::new();
    disk.free(0);
    let recorder = Recorder::open(disk.config(OnDiskFull::DeleteOldest)).unwrap();
    assert!(recorder.try_record(row(1)).unwrap().wait(SOON).is_err());
    assert!(!recorder.takes_rows());
    let stats = recorder.stats();
    assert!(balanced(&stats) && stats.dropped == 1);
}

#[test]
fn old_files_go_by_age() {
    let disk = Disk::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_micros()).unwrap();
    let config = RecorderConfig {
        rotate_bytes: 1,
        max_age: Duration::from_secs(7 * 24 * 3600),
        ..RecorderConfig::new(&disk.dir)
    };
    let recorder = Recorder::open(config).unwrap();
    for days in [30, 8, 6, 0] {
        recorder.try_record(row(now - days * 24 * HOUR_US)).unwrap().wait(SOON).unwrap();
    }
    recorder.close(SOON).unwrap();
    let recorder = Recorder::open(RecorderConfig {
        max_age: Duration::from_secs(7 * 24 * 3600),
        ..RecorderConfig::new(&disk.dir)
    });
    recorder.unwrap().close(SOON).unwrap();
    let rows = disk.rows();
    let ages: Vec<i64> = rows
        .iter()
        .filter(|row| row.kind.as_deref() != Some("gap"))
        .map(|row| (now - row.ts_us) / (24 * HOUR_US))
        .collect();
    assert_eq!(ages, [6, 0]);
    let reasons = rows.iter().filter_map(|row| row.deny_reason.as_deref());
    assert_eq!(reasons.collect::<Vec<_>>(), ["age", "age"]);
    disk.holds();
}

#[test]
fn a_clock_set_back_changes_nothing_but_times() {
    let disk = Disk::new();
    let recorder = Recorder::open(RecorderConfig::new(&disk.dir)).unwrap();
    let times = [100 * HOUR_US, 101 * HOUR_US, 3 * HOUR_US, 4 * HOUR_US, -HOUR_US, 102 * HOUR_US];
    for ts_us in times {
        let _ = recorder.try_record(row(ts_us)).unwrap();
    }
    let stats = recorder.close(SOON).unwrap();
    assert!(balanced(&stats) && stats.written == 6 && stats.health == Health::Ok);
    let rows = disk.rows();
    assert_eq!(rows.iter().map(|row| row.ts_us).collect::<Vec<_>>(), times);
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    disk.holds();
}
