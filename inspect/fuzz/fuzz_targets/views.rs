//! Any text, read in every view and redacted.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| inspect::harness::views(bytes));
