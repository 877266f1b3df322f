//! The hidden verb `reference`: the whole command line as Markdown, made from the help texts.
//!
//! `replay/CLI.md` is its output; a test compares them and rewrites the file under
//! `WIREGATE_BLESS=1`.

use std::fmt::Write as _;

use clap::{Args, Command, CommandFactory as _};

use crate::cli::Cli;
use crate::error::Error;
use crate::output::{Out, Outcome};

/// Print this command line as Markdown.
#[derive(Debug, Args)]
pub(crate) struct Reference {}

impl Reference {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let mut out = Out::stdout();
        out.write(&markdown())?;
        out.finish()?;
        Ok(Outcome::Fine)
    }
}

fn markdown() -> String {
    let mut out = String::from(
        "# wiregate-replay: command line\n\n\
         Written by `wiregate-replay reference`; a test keeps it true.\n",
    );
    let mut root = Cli::command().term_width(100).disable_help_subcommand(true);
    root.build();
    section(&root, &mut out);
    out
}

/// A heading and the long help of a verb, then those of its own verbs.
fn section(command: &Command, out: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let help = command.clone().term_width(100).render_long_help().to_string();
    let _ = writeln!(out, "\n## {name}\n\n```text");
    for line in help.trim_end().lines() {
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let _ = writeln!(out, "```");
    for verb in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        section(verb, out);
    }
}
