//! What is wrong in a rule file, and the forms in which CI systems take it: JUnit XML and SARIF.

use std::fmt;
use std::fs;
use std::path::Path;

use inspect::CompileErrors;
use serde::Serialize;

use crate::error::Error;

pub(crate) mod junit;
pub(crate) mod sarif;

/// One problem with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) code: &'static str,
    /// `rule: field`, or less when it concerns no single one.
    pub(crate) label: String,
    pub(crate) message: String,
}

impl Problem {
    /// The compiler's errors as problems.
    pub(crate) fn of(errors: &CompileErrors) -> Vec<Self> {
        let one = |error: &inspect::CompileError| Self {
            file: error.file.clone(),
            line: error.line,
            column: error.column,
            code: error.code.as_str(),
            label: error.label.clone(),
            message: error.message.clone(),
        };
        errors.iter().map(one).collect()
    }

    /// The rule it is about; empty when it is about none.
    pub(crate) fn rule(&self) -> &str {
        self.label.split(": ").next().unwrap_or_default()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, code, label, message } = self;
        write!(f, "{file}:{line}:{column}: {code} ")?;
        if !label.is_empty() {
            write!(f, "{label}: ")?;
        }
        f.write_str(message)
    }
}

/// Writes a report beside the output.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::WriteFile { path: path.to_owned(), source })
}

/// Holds a table between its marks in a README against what the code says; writes it under `WIREGATE_BLESS`.
#[cfg(test)]
pub(crate) fn in_readme(path: &str, name: &str, table: &str) {
    // several tests write to one file
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap();
    let written = fs::read_to_string(path).unwrap();
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let start = written.find(&open).unwrap() + open.len();
    let end = written.find(&close).unwrap();
    let mut fresh = written.clone();
    fresh.replace_range(start..end, table);
    if std::env::var_os("WIREGATE_BLESS").is_some() {
        fs::write(path, &fresh).unwrap();
    } else {
        assert!(written == fresh, "{path} is stale: WIREGATE_BLESS=1 cargo test -p replay");
    }
}
