//! What recording costs: the hand-over on the request path, and a row all the way to Parquet.
#![expect(clippy::unwrap_used, reason = "a bench stops at what it does not expect")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use capture::{Reader, Record, Recorder, RecorderConfig};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn row(body: &Bytes) -> Record {
    Record {
        ts_us: 1_750_000_000_000_000,
        leg: Some("client".into()),
        direction: Some("to_client".into()),
        kind: Some("response".into()),
        method: Some("tools/call".into()),
        name: Some("read_file".into()),
        server: Some("bench".into()),
        body: Some(body.clone()),
        ..Record::default()
    }
}

fn recorder(dir: &std::path::Path) -> Recorder {
    let mut config = RecorderConfig::new(dir);
    config.queue_rows = 4096;
    Recorder::open(config).unwrap()
}

/// The time the request path spends. When the queue fills, waiting for it is left out: the rows
/// are still all written, and counted at the end.
fn hand_over(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    let body = Bytes::from(bench::result(&bench::prose(1400)));
    c.bench_function("capture/hand-over", |b| {
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let mut row = row(&body);
                loop {
                    let start = Instant::now();
                    let taken = recorder.try_record(row);
                    let took = start.elapsed();
                    match taken {
                        Ok(_) => {
                            spent += took;
                            break;
                        }
                        Err(back) => row = back,
                    }
                    std::thread::yield_now();
                }
            }
            spent
        });
    });
    recorder.close(Duration::from_secs(60)).unwrap();
}

/// A thousand rows from hand-over to a finished file, journal included.
fn to_parquet(c: &mut Criterion) {
    const ROWS: usize = 1000;
    let body = Bytes::from(bench::result(&bench::prose(1400)));
    let mut group = c.benchmark_group("capture");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10);
    group.bench_function("1000 rows to Parquet", |b| {
        b.iter(|| {
            let dir = tempfile::tempdir().unwrap();
            let recorder = recorder(dir.path());
            for _ in 0..ROWS {
                let _ = recorder.try_record(row(&body)).unwrap();
            }
            let stats = recorder.close(Duration::from_secs(60)).unwrap();
            assert_eq!((stats.written, stats.dropped), (ROWS as u64, 0));
            assert_eq!(Reader::open(dir.path()).unwrap().filter(Result::is_ok).count(), ROWS);
        });
    });
    group.finish();
}

criterion_group!(benches, hand_over, to_parquet);
criterion_main!(benches);
