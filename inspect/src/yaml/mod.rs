//! YAML → a typed value, with the place of every node, and every error told at once.

use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;

/// Looks up an environment variable for `${NAME}`.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where each node of a document stands.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    at: HashMap<String, (usize, usize)>,
}

impl Marks {
    /// Line and column (from 1) of the node at a JSON Pointer; of the nearest node above it when there is none.
    #[must_use]
    pub fn at(&self, pointer: &str) -> (usize, usize) {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.at.get(pointer) {
                return *place;
            }
            match pointer.rfind('/') {
                Some(slash) => pointer = pointer.get(..slash).unwrap_or(""),
                None => return (1, 1),
            }
        }
    }
}

/// An error with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file's name as given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// JSON Pointer of the node.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
            ..
        } = self;
        write!(f, "{file}:{line}:{column}: {message}")
    }
}

impl std::error::Error for Located {}

/// Reads one document. With `env`, `${NAME}` and `${NAME:-default}` in scalars are replaced; `$${` is a plain `${`.
///
/// # Errors
/// Every error of the document at once (at most 100).
pub fn from_str<T: DeserializeOwned>(
    file: &str,
    _text: &str,
    _env: Option<Env<'_>>,
) -> Result<(T, Marks), Vec<Located>> {
    Err(vec![Located {
        file: file.to_owned(),
        line: 1,
        column: 1,
        path: String::new(),
        message: "not read yet".to_owned(),
    }])
}
