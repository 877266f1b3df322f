//! What an import has to say of a rule, with stable codes.

use std::fmt;

use serde::Serialize;

/// How much a note takes from its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// The rule finds what it found at home.
    Noted,
    /// It finds more or less.
    Changed,
    /// It did not come along.
    #[serde(rename = "left out")]
    LeftOut,
}

/// One note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Note {
    pub(super) code: &'static str,
    pub(super) level: Level,
    pub(super) file: String,
    pub(super) line: usize,
    /// Its id in the source.
    pub(super) rule: String,
    pub(super) message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, file, line, rule, message, .. } = self;
        let line = if *line == 0 { String::new() } else { format!(":{line}") };
        write!(f, "{file}{line}: {code} {rule}: {message}")
    }
}

/// Declares the notes once: their codes, their weight and what each means.
macro_rules! notes {
    ($($what:ident = $code:literal, $level:ident, $meaning:literal;)+) => {
        /// Kinds of notes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum What { $(#[doc = $meaning] $what),+ }

        impl What {
            /// Its stable name.
            pub(super) fn code(self) -> &'static str {
                match self { $(Self::$what => $code),+ }
            }
            /// What it takes from its rule.
            pub(super) fn level(self) -> Level {
                match self { $(Self::$what => Level::$level),+ }
            }
            /// Every code with what it means; the README's table.
            #[cfg(test)]
            pub(super) const ALL: &'static [(&'static str, Level, &'static str)] =
                &[$(($code, Level::$level, $meaning)),+];
        }
    };
}

notes! {
    Refused = "I001", LeftOut, "the pattern cannot be compiled here: look-around, back-references, or too large";
    Unreadable = "I002", LeftOut, "the rule lacks its id or its pattern, or a value has the wrong type";
    PathOnly = "I003", LeftOut, "the rule looks at file names only; messages have none";
    Path = "I004", Changed, "the rule asks for a path; here it looks everywhere";
    Allow = "I005", Changed, "a part of an allow list has no counterpart: commits, paths, or conditions joined by `and`";
    Groups = "I006", Changed, "which group is the secret depends on the branch, or it can be empty; more is redacted than the secret";
    Needs = "I007", Changed, "the rule has a condition that has no counterpart: another rule nearby, counts of characters";
    Misses = "I008", Changed, "an example of the source is not found here, and was left out";
    Hits = "I009", Changed, "a counter-example of the source is found here, and was left out";
    NoTests = "I010", LeftOut, "no text could be made that the rule finds, or none that it spares: written as a comment";
    Extends = "I011", Changed, "the configuration extends another one, which was not followed";
    Slow = "I012", Noted, "no literal of four bytes is in every match: `slow: true`";
    Unicode = "I013", Noted, "the pattern needs `unicode: true`; `\\w`, `\\d` and `\\b` then know every script";
    Made = "I014", Noted, "examples or counter-examples were made from the pattern";
    OtherHits = "I015", Noted, "a counter-example is found by another rule, and was left out";
    Renamed = "I016", Noted, "the id was taken or had no form of ours";
    Validation = "I017", Noted, "live validation was left out: this engine asks nobody";
    Metadata = "I018", Noted, "tags and other words about the rule were left out";
    Template = "I019", Noted, "a text has `{{…}}`, which would be read as a template, and was left out";
    Dull = "I020", Noted, "an example of the source is not found by its own pattern and entropy, there as here, and was left out";
}
