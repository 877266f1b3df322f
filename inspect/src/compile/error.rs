//! The coded errors of rule files.

use std::fmt;

/// Declares the codes once: the enum, their names and what each means.
macro_rules! codes {
    ($($code:ident = $name:literal, $meaning:literal;)+) => {
        /// What is wrong with a rule. The names are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code { $(#[doc = $meaning] $code),+ }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$code),+];

            /// Its stable name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => $name),+ }
            }

            /// What it means, in one line.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$code => $meaning),+ }
            }
        }
    };
}

codes! {
    Form = "R001", "the file is not YAML, a key is unknown or missing, or a value has the wrong type";
    DuplicateId = "R002", "two rules have one id";
    BadId = "R003", "an id is not lower-case words in two or more parts, as `dlp.aws.access-key`";
    TooFewTests = "R004", "fewer than two `match` or two `no_match` examples";
    MatchMisses = "R005", "a `match` example is not found by its rule";
    NoMatchHits = "R006", "a `no_match` example is found by its own rule";
    NoMatchHitsOther = "R007", "a `no_match` example is found by another rule that redacts or blocks";
    NoAnchor = "R008", "no literal of four bytes is required by the pattern, the key or the keywords, and the rule is not `slow`";
    BadRegex = "R009", "a regex does not compile";
    TooLarge = "R010", "a regex, a file or the rule set is over its size limit";
    UnknownValidator = "R011", "there is no such validator";
    UnknownSurface = "R012", "there is no such surface";
    Entropy = "R013", "an entropy is not between 0 and 8";
    CrossesSeparator = "R014", "a pattern names the byte 0xFF, which separates texts and occurs in none";
    MatchesEmpty = "R015", "a pattern or its `secret` group can match nothing at all";
    OutOfRange = "R016", "paranoia is not 1 to 4, rev is 0, or a window is too wide";
    BadAllow = "R017", "an allow list is empty, or a hash in it is not a SHA-256 in hex";
    BadTemplate = "R018", "a redaction template is empty, too long, has a control character or an unknown placeholder; or an example has an unknown `{{…}}` class";
    BadSet = "R019", "a set's name or version is not of its form";
    SetsDisagree = "R020", "two files give one set two versions";
}

/// One error in a rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompileError {
    /// What kind.
    pub code: Code,
    /// The file's name as given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The rule and field it is about, as `dlp.x.y: tests.match[1]`.
    pub label: String,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, file, line, column, message, label } = self;
        write!(f, "{file}:{line}:{column}: {} ", code.as_str())?;
        if !label.is_empty() {
            write!(f, "{label}: ")?;
        }
        f.write_str(message)
    }
}

/// Every error of every file, in the order of files and lines.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CompileErrors(pub(crate) Vec<CompileError>);

impl CompileErrors {
    /// The errors one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, CompileError> {
        self.0.iter()
    }

    /// How many there are; never 0.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a CompileErrors {
    type Item = &'a CompileError;
    type IntoIter = std::slice::Iter<'a, CompileError>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for CompileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for CompileErrors {}
