//! Any bytes, as a message and as a batch.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| inspect::harness::parse(bytes));
