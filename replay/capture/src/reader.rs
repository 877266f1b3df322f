//! stub
use crate::{CaptureError, Record};
use std::path::Path;

/// What to read: columns and conditions, all of which must hold. The default reads everything.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only these columns (by name); the others come as `None` or default. Columns that a condition needs are read too.
    pub columns: Option<Vec<String>>,
    /// `ts` at or after this time, in microseconds since 1970.
    pub from_us: Option<i64>,
    /// `ts` before this time, in microseconds since 1970.
    pub to_us: Option<i64>,
    /// This `session_id`.
    pub session: Option<String>,
    /// This `server`.
    pub server: Option<String>,
    /// This `name` (tool, prompt or resource).
    pub name: Option<String>,
    /// This rule among `rule_ids`.
    pub rule: Option<String>,
    /// This `action`.
    pub action: Option<String>,
    /// This `direction`.
    pub direction: Option<String>,
    /// This `kind`.
    pub kind: Option<String>,
    /// This `leg`.
    pub leg: Option<String>,
}

/// Rows of a capture.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// Reads everything.
    pub fn open(path: impl AsRef<Path>) -> Result<Reader, CaptureError> {
        Reader::open_with(path, Query::default())
    }
    /// Reads what the query asks for.
    pub fn open_with(_path: impl AsRef<Path>, _query: Query) -> Result<Reader, CaptureError> {
        Ok(Reader {})
    }
}

impl Iterator for Reader {
    type Item = Result<Record, CaptureError>;
    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}
