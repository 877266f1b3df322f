//! Raw bytes to a verdict with the whole built-in rule set: parsing included, as on the wire.
//!
//! Kinds of text by sizes; then what an attacker would send, at two sizes, whose ratio tells whether work grows with
//! the square of the size; then the rules' regexes one after the other, which is what the engine has to beat.
#![expect(clippy::unwrap_used, reason = "a bench stops at what it does not expect")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inspect::scan::{Direction, Scanner, Subject};
use inspect::{ParseLimits, Parser, Policy, RuleSet, Verdict};
use regex::bytes::Regex;
use std::time::Duration;

const SUBJECT: Subject<'_> = Subject {
    direction: Direction::ToClient,
    server: "bench",
    method: Some("tools/call"),
    name: Some("read_file"),
    paranoia: 1,
    budget: 4 << 20,
    now: 0,
};

/// Raw bytes to a verdict; gives how much was found.
fn verdict(rules: &RuleSet, parser: &mut Parser, scanner: &mut Scanner, raw: &[u8]) -> Verdict {
    parser
        .parse(raw, |message| {
            let scan = scanner.scan(rules, message, &SUBJECT);
            Verdict::decide(rules, &Policy::default(), &SUBJECT, scan, raw)
        })
        .unwrap()
}

fn kinds(c: &mut Criterion) {
    let rules = bench::rule_set();
    let mut group = c.benchmark_group("scan");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let (mut parser, mut scanner) = (Parser::new(ParseLimits::default()), Scanner::new());
    for sample in bench::samples() {
        group.throughput(Throughput::Bytes(sample.raw.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(sample.name), |b| {
            b.iter(|| {
                let verdict = verdict(&rules, &mut parser, &mut scanner, &sample.raw);
                assert_eq!(verdict.findings.len(), sample.findings);
                verdict
            });
        });
    }
    for kind in bench::Kind::ALL {
        for size in [300, 4 << 10, 16 << 10, 256 << 10] {
            let raw = bench::result(&kind.text(size));
            group.throughput(Throughput::Bytes(raw.len() as u64));
            group.bench_function(BenchmarkId::new(kind.name(), size), |b| {
                b.iter(|| {
                    let verdict = verdict(&rules, &mut parser, &mut scanner, &raw);
                    assert_eq!(verdict.findings.len(), 0, "{verdict:?}");
                    verdict
                });
            });
        }
    }
    group.finish();
}

fn hostile(c: &mut Criterion) {
    let rules = bench::rule_set();
    let mut group = c.benchmark_group("hostile");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.sample_size(10);
    let (mut parser, mut scanner) = (Parser::new(ParseLimits::default()), Scanner::new());
    for (name, make) in bench::HOSTILE {
        for size in [128 << 10, 512 << 10] {
            let raw = make(size);
            group.throughput(Throughput::Bytes(raw.len() as u64));
            group.bench_function(BenchmarkId::new(*name, size), |b| {
                b.iter(|| verdict(&rules, &mut parser, &mut scanner, &raw));
            });
        }
    }
    group.finish();
}

fn one_by_one(c: &mut Criterion) {
    let rules = bench::rule_set();
    let regexes: Vec<Regex> =
        rules.rules().iter().filter_map(|rule| Regex::new(&rule.def().pattern).ok()).collect();
    let text = bench::prose(16 << 10);
    let mut group = c.benchmark_group("one by one");
    group.sample_size(10).throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("ASCII text/16384", |b| {
        b.iter(|| regexes.iter().filter(|regex| regex.is_match(text.as_bytes())).count());
    });
    group.finish();
}

criterion_group!(benches, kinds, hostile, one_by_one);
criterion_main!(benches);
