//! Any message, as lists of definitions.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| inspect::harness::pins(bytes));
