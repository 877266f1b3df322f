//! Raw bytes to a message with all its strings collected: what reading costs before any rule runs.
#![expect(clippy::unwrap_used, reason = "a bench stops at what it does not expect")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inspect::{ParseLimits, Parser};

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    let mut parser = Parser::new(ParseLimits::default());
    for sample in bench::samples() {
        group.throughput(Throughput::Bytes(sample.raw.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(sample.name), |b| {
            b.iter(|| {
                let texts = parser.parse(&sample.raw, |m| m.texts().count()).unwrap();
                assert!(texts >= 5);
                texts
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
