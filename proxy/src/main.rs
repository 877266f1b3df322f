//! The `wiregate` executable: the command line and nothing else.

use std::process::ExitCode;

use anyhow::Error;
use clap::Parser;
use proxy::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run().map_err(Error::from).unwrap_or_else(|error| {
        eprintln!("wiregate: {error:#}");
        ExitCode::from(2)
    })
}
