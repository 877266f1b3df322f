//! From a scan with one finding to the edited bytes: the verdict, and the one applier of edits.
#![expect(clippy::unwrap_used, reason = "a bench stops at what it does not expect")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use inspect::scan::{Direction, Scanner, Subject};
use inspect::{Action, ParseLimits, Parser, Policy, Verdict};

fn redact(c: &mut Criterion) {
    let rules = bench::rule_set();
    let sample = bench::leaky();
    let subject = Subject {
        direction: Direction::ToClient,
        server: "bench",
        method: Some("tools/call"),
        name: Some("read_file"),
        paranoia: 1,
        budget: 4 << 20,
        now: 0,
    };
    let (mut parser, mut scanner) = (Parser::new(ParseLimits::default()), Scanner::new());
    let scan = parser.parse(&sample.raw, |m| scanner.scan(&rules, m, &subject)).unwrap();
    let mut group = c.benchmark_group("redact");
    group.throughput(Throughput::Bytes(sample.raw.len() as u64));
    group.bench_function(sample.name, |b| {
        b.iter(|| {
            let verdict =
                Verdict::decide(&rules, &Policy::default(), &subject, scan.clone(), &sample.raw);
            assert_eq!(verdict.action, Action::Redact);
            let (edited, placed) = inspect::apply(&sample.raw, &verdict.edits).unwrap();
            assert_eq!(placed.len(), 1);
            edited
        });
    });
    group.finish();
}

criterion_group!(benches, redact);
criterion_main!(benches);
