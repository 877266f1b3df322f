//! Any texts of one stream, one after the other.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| inspect::harness::carry(bytes));
