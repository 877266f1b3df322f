//! Reads captures, tries rules on them and shows what is in them.
//!
//! This crate is the `wiregate-replay` binary's inside: [`cli::Cli`] is the command line, each
//! verb is one file with one argument struct, and [`output`] is where text leaves the process.
//! What a verb computes lives to the left of here: rows come from `capture`, verdicts from
//! `inspect`, and `scan` compares the two.
//!
//! Data goes to stdout and talk to stderr. The exit code is 0 when all is fine, 1 when something
//! was found or differs, 2 on an error. Nothing that came out of a capture reaches a terminal
//! before its control characters were made visible.

mod catalogue;
pub mod cli;
mod compact;
mod derived;
mod error;
mod explain;
mod import;
mod judge;
mod label;
mod lint;
pub mod output;
mod redact;
mod reference;
mod report;
mod rulefiles;
mod scan;
mod select;
mod show;
mod slice;
mod test;
mod verify;

pub use error::Error;
