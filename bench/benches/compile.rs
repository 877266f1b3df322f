//! Rule files to a compiled set, examples included, at 400, 1,000 and 10,000 rules; and the memory the set keeps.
#![expect(clippy::unwrap_used, reason = "a bench stops at what it does not expect")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use inspect::{RuleFile, RuleSet};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn compile(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    group.sample_size(10).warm_up_time(Duration::from_millis(100));
    for count in [400, 1_000, 10_000] {
        let text = bench::rules(count);
        let files = [RuleFile { name: "bench.yaml", text: &text }];
        let region = Region::new(ALLOCATOR);
        let set = RuleSet::compile(&files).unwrap();
        let change = region.change();
        let kept = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
        assert_eq!(set.len(), count);
        eprintln!("compile/{count}: the set keeps {} KiB", kept / 1024);
        drop(set);
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| RuleSet::compile(&files).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, compile);
criterion_main!(benches);
