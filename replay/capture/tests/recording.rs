//! Recording and reading back, through the public interface.

#![expect(clippy::unwrap_used, reason = "a test that fails here should stop here")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use capture::{
    CaptureError, Journal, OnOverflow, Query, Reader, Record, Recorder, RecorderConfig,
    read_config, read_ruleset,
};

const SOON: Duration = Duration::from_secs(60);

fn row(number: i64) -> Record {
    Record {
        ts_us: 1_763_855_000_000_000 + number,
        kind: Some("request".into()),
        server: Some(["files", "mail"][number as usize % 2].into()),
        rpc_id: Some(number.to_string().into()),
        body: Some(Bytes::from(format!("{{\"id\":{number}}}"))),
        ..Record::default()
    }
}

fn read(dir: &Path) -> Vec<Record> {
    Reader::open(dir).unwrap().collect::<Result<_, _>>().unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    Reader::files(dir).unwrap().map(|file| file.unwrap().path().unwrap().to_owned()).collect()
}

fn balanced(stats: &capture::Stats) -> bool {
    stats.enqueued == stats.written + stats.dropped + stats.in_queue
}

#[test]
fn rows_come_back_in_order_in_every_journal_mode() {
    for journal in [Journal::Interval, Journal::Every, Journal::Off] {
        let dir = tempfile::tempdir().unwrap();
        let config = RecorderConfig { journal, ..RecorderConfig::new(dir.path()) };
        let recorder = Recorder::open(config).unwrap();
        for number in 0..3000 {
            let _ = recorder.try_record(row(number)).unwrap();
        }
        let stats = recorder.close(SOON).unwrap();
        assert_eq!((stats.written, stats.dropped, stats.in_queue, stats.files), (3000, 0, 0, 1));
        assert_eq!(stats.durable_seq, 3000);
        let rows = read(dir.path());
        assert_eq!(rows.len(), 3000);
        for (number, found) in (0i64..).zip(&rows) {
            assert_eq!(found.seq, number + 1);
            assert_eq!(found.schema_version, 1);
            assert_eq!(found.body, row(number).body);
            assert_eq!(found.body_len, row(number).body.map(|body| body.len() as i64));
            assert_eq!(found.body_sha256.as_deref().map(str::len), Some(64));
        }
        let journals = dir.path().join("journal");
        assert_eq!(std::fs::read_dir(journals).unwrap().count(), 0, "the journal is gone");
    }
}

#[test]
fn a_ticket_tells_when_its_row_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(RecorderConfig::new(dir.path())).unwrap();
    recorder.try_record(row(1)).unwrap().wait(SOON).unwrap();
    assert_eq!(recorder.stats().durable_seq, 1);
    let ticket = recorder.try_record(row(2)).unwrap();
    block_on(ticket.durable()).unwrap();
    assert_eq!(recorder.stats().durable_seq, 2);
    recorder.close(SOON).unwrap();
    assert!(recorder.try_record(row(3)).is_err());
    assert!(balanced(&recorder.stats()));
}

/// The smallest executor: parks the thread until woken.
fn block_on<F: Future>(future: F) -> F::Output {
    use std::task::{Context, Poll, Wake, Waker};
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn what_is_dropped_is_counted_and_leaves_a_gap_row() {
    let dir = tempfile::tempdir().unwrap();
    let config = RecorderConfig { queue_rows: 4, ..RecorderConfig::new(dir.path()) };
    let recorder = Recorder::open(config).unwrap();
    let (mut refused, mut offered) = (0, 0);
    // a queue of four against a disk: some are refused long before this ends
    while refused < 50 {
        refused += u64::from(recorder.try_record(row(offered)).is_err());
        offered += 1;
        assert!(balanced(&recorder.stats()));
    }
    let stats = recorder.close(SOON).unwrap();
    assert!(balanced(&stats));
    assert_eq!((stats.dropped, stats.written), (refused, offered as u64 - refused));
    let rows = read(dir.path());
    assert_eq!(rows.len() as u64, stats.written + stats.gaps);
    let told: i64 = rows.iter().map(|row| row.dropped_before).sum();
    assert_eq!(told as u64, refused);
    // a gap row stands where rows are missing: ids jump by what it tells
    let (mut expected, mut gap) = (0, 0);
    for (seq, row) in (1..).zip(&rows) {
        assert_eq!(row.seq, seq);
        match row.kind.as_deref() {
            Some("gap") => gap = row.dropped_before,
            _ => {
                let id: i64 = row.rpc_id.as_deref().unwrap().parse().unwrap();
                assert_eq!(id, expected + gap);
                (expected, gap) = (id + 1, 0);
            }
        }
    }
}

#[test]
fn block_waits_for_room() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(RecorderConfig {
        queue_rows: 2,
        on_overflow: OnOverflow::Block,
        block_for: SOON,
        ..RecorderConfig::new(dir.path())
    })
    .unwrap();
    for number in 0..200 {
        let _ = recorder.try_record(row(number)).unwrap();
    }
    let stats = recorder.close(SOON).unwrap();
    assert_eq!((stats.written, stats.dropped, stats.gaps), (200, 0, 0));
}

#[test]
fn the_queue_is_bounded_by_bytes_too() {
    let dir = tempfile::tempdir().unwrap();
    let config = RecorderConfig { queue_bytes: 1 << 16, ..RecorderConfig::new(dir.path()) };
    let recorder = Recorder::open(config).unwrap();
    let large = Record { body: Some(vec![b'x'; 1 << 17].into()), ..row(1) };
    let back = recorder.try_record(large.clone()).unwrap_err();
    assert_eq!(back, large);
    let stats = recorder.close(SOON).unwrap();
    assert_eq!((stats.dropped, stats.gaps), (1, 1));
    assert_eq!(read(dir.path())[0].dropped_before, 1);
}

#[test]
fn files_rotate_by_size_and_partition_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let config = RecorderConfig { rotate_bytes: 20_000, ..RecorderConfig::new(dir.path()) };
    let recorder = Recorder::open(config).unwrap();
    let hour = 3_600_000_000;
    for number in 0..400 {
        let ts_us = row(0).ts_us + (number / 200) * hour;
        recorder.try_record(Record { ts_us, ..row(number) }).unwrap().wait(SOON).unwrap();
    }
    let stats = recorder.close(SOON).unwrap();
    let found = files(dir.path());
    assert!(found.len() > 3, "{found:?}");
    assert_eq!(stats.files, found.len() as u64);
    assert!(found[0].starts_with(dir.path().join("date=2025-11-22/hour=23")));
    assert!(found.last().unwrap().starts_with(dir.path().join("date=2025-11-23/hour=00")));
    let seqs: Vec<i64> = read(dir.path()).iter().map(|row| row.seq).collect();
    assert_eq!(seqs, (1..=400).collect::<Vec<_>>());
}

#[test]
fn files_and_folders_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("new/capture");
    let recorder = Recorder::open(RecorderConfig::new(&capture)).unwrap();
    recorder.try_record(row(1)).unwrap().wait(SOON).unwrap();
    recorder.store_ruleset("sha256:0", "rules").unwrap();
    let mut pending = vec![capture.clone()];
    let mut close = Some(&recorder);
    while let Some(path) = pending.pop() {
        let metadata = std::fs::metadata(&path).unwrap();
        let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, wanted, "{}", path.display());
        if metadata.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        if pending.is_empty()
            && let Some(recorder) = close.take()
        {
            recorder.close(SOON).unwrap();
            pending.push(capture.clone());
        }
    }
}

#[test]
fn the_oldest_files_go_and_leave_a_note() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(RecorderConfig {
        rotate_bytes: 1,
        max_dir_bytes: 200_000,
        ..RecorderConfig::new(dir.path())
    })
    .unwrap();
    let mut number = 0;
    while recorder.stats().removed_files < 3 {
        recorder.try_record(row(number)).unwrap().wait(SOON).unwrap();
        number += 1;
    }
    let stats = recorder.close(SOON).unwrap();
    let rows = read(dir.path());
    let notes: Vec<_> = rows.iter().filter(|row| row.kind.as_deref() == Some("gap")).collect();
    assert_eq!(notes.len() as u64, stats.gaps);
    assert!(notes.iter().all(|row| row.deny_reason.as_deref() == Some("retention")));
    assert!(!dir.path().join(notes[0].name.as_deref().unwrap()).exists());
    let newest = rows.iter().filter_map(|row| row.rpc_id.as_deref()?.parse().ok()).max();
    assert_eq!(newest, Some(number - 1), "the newest row is kept");
}

#[test]
fn a_folder_that_cannot_be_written_is_a_typed_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below"), PathBuf::from("/proc/wiregate")] {
        let opened = Recorder::open(RecorderConfig::new(&path));
        assert!(matches!(opened, Err(CaptureError::NotWritable { .. })), "{opened:?}");
    }
    let config = RecorderConfig { queue_rows: 0, ..RecorderConfig::new(dir.path()) };
    assert!(matches!(Recorder::open(config), Err(CaptureError::Setting { .. })));
}

#[test]
fn a_vanished_folder_costs_rows_but_not_the_recorder() {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("capture");
    let recorder = Recorder::open(RecorderConfig::new(&capture)).unwrap();
    recorder.try_record(row(0)).unwrap().wait(SOON).unwrap();
    // gone, and a file in its place: nothing can be made there
    std::fs::remove_dir_all(&capture).unwrap();
    std::fs::write(&capture, "").unwrap();
    let lost = recorder.try_record(row(1)).unwrap().wait(SOON);
    assert!(matches!(lost, Err(CaptureError::NotDurable { .. })), "{lost:?}");
    let stats = recorder.stats();
    assert!(balanced(&stats) && stats.dropped == 2 && stats.errors > 0, "{stats:?}");
    assert!(stats.last_error.is_some());
    // the folder is back: so is the recorder
    std::fs::remove_file(&capture).unwrap();
    recorder.try_record(row(2)).unwrap().wait(SOON).unwrap();
    let stats = recorder.close(SOON).unwrap();
    assert_eq!((stats.written, stats.dropped, stats.gaps), (1, 2, 1));
    let rows = read(&capture);
    assert_eq!(rows[0].dropped_before, 2);
    assert_eq!(rows[1].body, row(2).body);
}

#[test]
fn a_file_that_cannot_appear_waits_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let config = RecorderConfig { rotate_bytes: 1, ..RecorderConfig::new(dir.path()) };
    let recorder = Recorder::open(config).unwrap();
    // a file where the day's folder should be
    let day = dir.path().join("date=2025-11-22");
    std::fs::write(&day, "").unwrap();
    for number in 0..5 {
        recorder.try_record(row(number)).unwrap().wait(SOON).unwrap();
    }
    std::fs::remove_file(&day).unwrap();
    let stats = recorder.close(SOON).unwrap();
    assert!(stats.errors >= 4, "{stats:?}");
    assert_eq!((stats.written, stats.dropped), (5, 0));
    let ids: Vec<_> = read(dir.path()).into_iter().map(|row| row.seq).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);

    // not even at the end: closing says so, and the next start finds the rows
    std::fs::remove_dir_all(&day).unwrap();
    let recorder = Recorder::open(RecorderConfig::new(dir.path())).unwrap();
    std::fs::write(&day, "").unwrap();
    recorder.try_record(row(7)).unwrap().wait(SOON).unwrap();
    let closed = recorder.close(SOON);
    assert!(matches!(closed, Err(CaptureError::Unfinished { .. })), "{closed:?}");
    std::fs::remove_file(&day).unwrap();
    let stats = Recorder::open(RecorderConfig::new(dir.path())).unwrap().close(SOON).unwrap();
    assert_eq!((stats.recovered, read(dir.path()).len()), (1, 1));
}

#[test]
fn what_waits_in_the_journal_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(RecorderConfig {
        rotate_bytes: 1,
        max_dir_bytes: 2000,
        ..RecorderConfig::new(dir.path())
    })
    .unwrap();
    let day = dir.path().join("date=2025-11-22");
    std::fs::write(&day, "").unwrap();
    let mut number = 0;
    let full = loop {
        if let Err(error) = recorder.try_record(row(number)).unwrap().wait(SOON) {
            break error;
        }
        number += 1;
    };
    assert!(full.to_string().contains("unfinished files"), "{full}");
    std::fs::remove_file(&day).unwrap();
    let stats = recorder.close(SOON).unwrap();
    assert_eq!((stats.written, stats.dropped), (number as u64, 1));
    let rows = read(dir.path());
    assert_eq!(
        rows.iter().filter(|row| row.kind.as_deref() != Some("gap")).count(),
        number as usize
    );
}

#[test]
fn a_file_appears_while_nothing_else_happens() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(RecorderConfig {
        rotate_every: Duration::from_millis(20),
        journal: Journal::Off,
        ..RecorderConfig::new(dir.path())
    })
    .unwrap();
    // without a journal the ticket waits for the file
    recorder.try_record(row(1)).unwrap().wait(SOON).unwrap();
    assert_eq!(read(dir.path()).len(), 1);
    assert_eq!(recorder.stats().files, 1);
}

#[test]
fn the_books_balance_at_every_moment() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        RecorderConfig { queue_rows: 16, rotate_bytes: 100_000, ..RecorderConfig::new(dir.path()) };
    let recorder = Recorder::open(config).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let recorder = recorder.clone();
            scope.spawn(move || {
                for number in 0..500 {
                    let _ = recorder.try_record(row(thread * 1000 + number));
                    let stats = recorder.stats();
                    assert!(balanced(&stats), "{stats:?}");
                }
            });
        }
    });
    let stats = recorder.close(SOON).unwrap();
    assert_eq!((stats.enqueued, stats.in_queue), (2000, 0));
    assert!(balanced(&stats));
    assert_eq!(read(dir.path()).len() as u64, stats.written + stats.gaps);
}

#[test]
fn rule_sets_lie_beside_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(RecorderConfig::new(dir.path())).unwrap();
    recorder.store_ruleset("sha256:aa", "[]").unwrap();
    recorder.store_config("sha256:bb", "{}").unwrap();
    assert_eq!(read_ruleset(dir.path(), "sha256:aa").unwrap(), "[]");
    assert_eq!(read_config(dir.path(), "sha256:bb").unwrap(), "{}");
}

#[test]
fn a_query_narrows_rows_and_columns() {
    let dir = tempfile::tempdir().unwrap();
    let config = RecorderConfig { row_group_rows: 10, ..RecorderConfig::new(dir.path()) };
    let recorder = Recorder::open(config).unwrap();
    for number in 0..100 {
        let rule_ids = if number == 42 { vec!["a".into(), "b".into()] } else { Vec::new() };
        let _ = recorder.try_record(Record { rule_ids, ..row(number) }).unwrap();
    }
    recorder.close(SOON).unwrap();
    let ask = |query: Query| -> Vec<Record> {
        Reader::open_with(dir.path(), query).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let mail = ask(Query { server: Some("mail".into()), ..Query::default() });
    assert_eq!(mail.len(), 50);
    let rule = ask(Query { rule: Some("b".into()), ..Query::default() });
    assert_eq!(rule.len(), 1);
    assert_eq!(rule[0].seq, 43);
    let from = row(90).ts_us;
    let window = Query { from_us: Some(from), to_us: Some(from + 5), ..Query::default() };
    assert_eq!(ask(window).iter().map(|row| row.seq).collect::<Vec<_>>(), [91, 92, 93, 94, 95]);
    let columns = Some(vec!["seq".to_owned(), "body".to_owned()]);
    let narrow = ask(Query { columns, server: Some("files".into()), ..Query::default() });
    assert_eq!(narrow[1].seq, 3);
    assert_eq!(narrow[1].body, row(2).body);
    assert_eq!((narrow[1].ts_us, &narrow[1].rpc_id), (0, &None));
    let unknown = Query { columns: Some(vec!["nope".into()]), ..Query::default() };
    let opened = Reader::open_with(dir.path(), unknown);
    assert!(matches!(opened, Err(CaptureError::UnknownColumn { .. })));
}

#[test]
fn a_damaged_file_is_named_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let recorder = Recorder::open(RecorderConfig::new(dir.path())).unwrap();
        for number in 0..10 {
            let _ = recorder.try_record(row(number)).unwrap();
        }
        recorder.close(SOON).unwrap();
    }
    let middle = files(dir.path()).remove(1);
    let bytes = std::fs::read(&middle).unwrap();
    // without its end, without its beginning, empty, and with single bytes turned
    let mut damages = vec![bytes[..bytes.len() - 1000].to_vec(), bytes[100..].to_vec(), Vec::new()];
    for at in (0..bytes.len()).step_by(37) {
        let mut turned = bytes.clone();
        turned[at] ^= 0x55;
        damages.push(turned);
    }
    for (at, damage) in damages.iter().enumerate() {
        std::fs::write(&middle, damage).unwrap();
        let mut rows = 0;
        for item in Reader::open(dir.path()).unwrap() {
            match item {
                Ok(_) => rows += 1,
                Err(error) => {
                    let named = error.to_string().contains(middle.to_str().unwrap());
                    assert!(named, "{error}");
                }
            }
        }
        assert!(at >= 3 || rows == 20, "damage {at}: {rows} rows");
        assert!((20..=30).contains(&rows), "damage {at}: {rows} rows");
    }
}
