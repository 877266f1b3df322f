//! The command line: one variant a verb, each defined in the verb's own file.

use clap::{Args, Parser, Subcommand};

use crate::error::Error;
use crate::output::Outcome;
use crate::{
    catalogue, compact, explain, import, judge, label, lint, redact, reference, scan, show, slice,
    test, verify,
};

/// Read captures of MCP traffic and try rules on them.
///
/// Data goes to stdout, talk to stderr. Exit codes: 0 all fine, 1 something was found or differs,
/// 2 an error.
#[derive(Debug, Parser)]
#[command(name = "wiregate-replay", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Show(Box<show::Show>),
    Slice(Box<slice::Slice>),
    Redact(Box<redact::Redact>),
    Compact(compact::Compact),
    Scan(Box<scan::Scan>),
    Judge(judge::Judge),
    Explain(Box<explain::Explain>),
    Label(label::LabelVerb),
    Verify(verify::Verify),
    Test(Test),
    Lint(lint::Lint),
    Import(import::Import),
    Catalogue(catalogue::Catalogue),
    #[command(hide = true)]
    Reference(reference::Reference),
}

/// Run the tests that rules carry.
#[derive(Debug, Args)]
struct Test {
    #[command(subcommand)]
    what: Tested,
}

#[derive(Debug, Subcommand)]
enum Tested {
    Rules(test::Rules),
}

impl Cli {
    /// Runs the verb.
    ///
    /// # Errors
    /// What the verb could not do; the process then ends with 2.
    pub fn run(self) -> Result<Outcome, Error> {
        match self.verb {
            Verb::Show(verb) => verb.run(),
            Verb::Slice(verb) => verb.run(),
            Verb::Redact(verb) => verb.run(),
            Verb::Compact(verb) => verb.run(),
            Verb::Scan(verb) => verb.run(),
            Verb::Judge(verb) => verb.run(),
            Verb::Explain(verb) => verb.run(),
            Verb::Label(verb) => verb.run(),
            Verb::Verify(verb) => verb.run(),
            Verb::Test(Test { what: Tested::Rules(verb) }) => verb.run(),
            Verb::Lint(verb) => verb.run(),
            Verb::Import(verb) => verb.run(),
            Verb::Catalogue(verb) => verb.run(),
            Verb::Reference(verb) => verb.run(),
        }
    }
}
