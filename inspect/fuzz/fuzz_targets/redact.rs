//! Any message, scanned and redacted.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| inspect::harness::redaction(bytes));
