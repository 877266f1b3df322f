//! Which rows a path means: a capture, a part of one, or one file.

use std::iter::Peekable;

use capture::{CaptureError, Location, Locations, Query, Reader, Record};

use crate::ScanError;

/// The rows of this number, of one writer or of all; with these columns, or with all.
///
/// # Errors
/// The path cannot be opened, or no such row is found and a file is damaged.
pub fn find(
    path: &Location,
    writer: Option<&str>,
    seq: i64,
    columns: Option<&[&str]>,
) -> Result<Vec<Record>, ScanError> {
    let columns = columns.map(|names| {
        let needed = names.iter().chain(&["writer_id", "seq"]);
        needed.map(|name| (*name).to_owned()).collect()
    });
    let query = Query { columns, ..Query::default() };
    let of = writer.map(str::to_owned);
    let wants = move |file: &Location| Reader::may_hold(file, of.as_deref(), seq);
    let (mut found, mut damage) = (Vec::new(), None);
    for row in Rows::open_some(path, query, wants)? {
        match row {
            Ok(row) if row.seq != seq => {}
            Ok(row) if writer.is_some_and(|id| row.writer_id.as_deref() != Some(id)) => {}
            Ok(row) => found.push(row),
            Err(error) => damage = Some(error),
        }
    }
    match damage {
        Some(source) if found.is_empty() => Err(ScanError::Open { path: path.to_string(), source }),
        _ => Ok(found),
    }
}

/// The rows below a path, file by file. A damaged file is one error item; the next file follows.
pub struct Rows {
    files: Peekable<Locations>,
    query: Query,
    current: Option<Reader>,
}

impl Rows {
    /// Opens a capture folder, a `date=` or `hour=` folder in one, or a single Parquet file.
    ///
    /// # Errors
    /// The path or a column of the query does not exist, or there is no finished file: rather
    /// that than \"no difference in 0 rows\" for a folder that is no capture.
    pub fn open(path: &Location, query: Query) -> Result<Self, ScanError> {
        Self::open_some(path, query, |_| true)
    }

    /// The same, of the files that `wants` likes; a file given by its path is read whatever it says.
    fn open_some(
        path: &Location,
        query: Query,
        wants: impl Fn(&Location) -> bool + Send + 'static,
    ) -> Result<Self, ScanError> {
        let failed = |source| ScanError::Open { path: path.to_string(), source };
        // Says what is wrong with the path or the query.
        let reader = Reader::open_with(path, query.clone()).map_err(failed)?;
        if path.path().map_or(path.name().ends_with(".parquet"), |path| !path.is_dir()) {
            let files: Locations = Box::new(std::iter::empty());
            return Ok(Self { files: files.peekable(), query, current: Some(reader) });
        }
        let mut files = Reader::files_for(path, &query).map_err(failed)?.peekable();
        // none of that time is an answer; none at all is no capture
        if files.peek().is_none() && Reader::files(path).map_err(failed)?.next().is_none() {
            return Err(ScanError::Empty { path: path.to_string() });
        }
        let files = files.filter(move |file| file.as_ref().map_or(true, &wants));
        let files = (Box::new(files) as Locations).peekable();
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
