//! RuleDef → RuleSet: every error of all files at once, coded, with its place.

mod error;
mod ruleset;

pub use error::{Code, CompileError, CompileErrors};
pub use ruleset::{Rule, RuleIx, RuleSet};

/// One rule file.
#[derive(Clone, Copy, Debug)]
pub struct RuleFile<'a> {
    /// Its path, for messages.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}
