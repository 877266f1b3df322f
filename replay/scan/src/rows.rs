//! Which rows a path means: a capture, a part of one, or one file.

use std::iter::Peekable;
use std::path::{Path, PathBuf};

use capture::{CaptureError, Query, Reader, Record};

use crate::ScanError;
use crate::sets::root_of;

type Files = Box<dyn Iterator<Item = Result<PathBuf, CaptureError>>>;

/// The rows below a path, file by file. A damaged file is one error item; the next file follows.
pub struct Rows {
    files: Peekable<Files>,
    query: Query,
    current: Option<Reader>,
}

impl Rows {
    /// Opens a capture folder, a `date=` or `hour=` folder in one, or a single Parquet file.
    ///
    /// # Errors
    /// The path or a column of the query does not exist, or there is no finished file: rather
    /// that than \"no difference in 0 rows\" for a folder that is no capture.
    pub fn open(path: &Path, query: Query) -> Result<Self, ScanError> {
        let failed = |source| ScanError::Open { path: path.display().to_string(), source };
        // Says what is wrong with the path or the query.
        let reader = Reader::open_with(path, query.clone()).map_err(failed)?;
        if !path.is_dir() {
            let files: Files = Box::new(std::iter::empty());
            return Ok(Self { files: files.peekable(), query, current: Some(reader) });
        }
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let files = Reader::files(root_of(path)).map_err(failed)?;
        // An error item belongs to the whole; a file to the part asked for.
        let files = files
            .filter(move |file| file.as_ref().map_or(true, |file| file.starts_with(&absolute)));
        let mut files = (Box::new(files) as Files).peekable();
        if files.peek().is_none() {
            return Err(ScanError::Empty { path: path.display().to_string() });
        }
        Ok(Self { files, query, current: None })
    }
}

impl Iterator for Rows {
    type Item = Result<Record, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.current.as_mut().and_then(Iterator::next) {
                return Some(row);
            }
            self.current = None;
            match self.files.next()? {
                Ok(file) => match Reader::open_with(file, self.query.clone()) {
                    Ok(reader) => self.current = Some(reader),
                    Err(error) => return Some(Err(error)),
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("query", &self.query).finish_non_exhaustive()
    }
}
