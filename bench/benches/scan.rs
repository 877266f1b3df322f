//! Raw bytes to findings with the whole built-in rule set: parsing included, as on the wire.
#![expect(clippy::unwrap_used, reason = "a bench stops at what it does not expect")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inspect::scan::{Direction, Scanner, Subject};
use inspect::{ParseLimits, Parser};

fn scan(c: &mut Criterion) {
    let rules = bench::rule_set();
    let mut group = c.benchmark_group("scan");
    let (mut parser, mut scanner) = (Parser::new(ParseLimits::default()), Scanner::new());
    for sample in bench::samples() {
        let subject = Subject {
            direction: Direction::ToClient,
            server: "bench",
            method: Some("tools/call"),
            name: Some("read_file"),
            paranoia: 1,
            budget: 4 << 20,
            now: 0,
        };
        group.throughput(Throughput::Bytes(sample.raw.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(sample.name), |b| {
            b.iter(|| {
                let scan =
                    parser.parse(&sample.raw, |m| scanner.scan(&rules, m, &subject)).unwrap();
                assert_eq!(scan.findings.len(), sample.findings);
                scan
            });
        });
    }
    group.finish();
}

criterion_group!(benches, scan);
criterion_main!(benches);
