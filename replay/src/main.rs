//! The `wiregate-replay` binary: arguments in, an exit code out. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use replay::cli::Cli;
use replay::output::Outcome;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run().map_err(anyhow::Error::from) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Differs) => ExitCode::from(1),
        Ok(Outcome::Broken) => ExitCode::from(2),
        Err(error) => {
            let text = format!("{error:#}");
            for line in text.lines() {
                eprintln!("wiregate-replay: {}", scan::text::visible(line));
            }
            ExitCode::from(2)
        }
    }
}
