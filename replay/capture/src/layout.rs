//! Walking a capture's finished files, oldest partition first, one folder at a time.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use crate::CaptureError;

/// Finished files below a capture folder in (partition, name) order. Memory: the names of one hour.
#[derive(Debug)]
pub(crate) struct Files {
    dates: VecDeque<PathBuf>,
    hours: VecDeque<PathBuf>,
    files: VecDeque<PathBuf>,
}

impl Files {
    pub(crate) fn below(dir: &Path) -> Result<Files, CaptureError> {
        let dates = list(dir, |name| name.starts_with("date="))?;
        Ok(Files { dates, hours: VecDeque::new(), files: VecDeque::new() })
    }

    /// Those of a capture, or of a `date=` or `hour=` folder in one.
    pub(crate) fn of(dir: &Path) -> Result<Files, CaptureError> {
        let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let name = absolute.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut files =
            Files { dates: VecDeque::new(), hours: VecDeque::new(), files: VecDeque::new() };
        match name {
            name if name.starts_with("date=") => files.dates.push_back(dir.to_owned()),
            name if name.starts_with("hour=") => files.hours.push_back(dir.to_owned()),
            _ => return Files::below(dir),
        }
        Ok(files)
    }

    /// Only this file.
    pub(crate) fn single(path: PathBuf) -> Files {
        Files { dates: VecDeque::new(), hours: VecDeque::new(), files: [path].into() }
    }
}

impl Iterator for Files {
    type Item = Result<PathBuf, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(file) = self.files.pop_front() {
                return Some(Ok(file));
            }
            let listed = if let Some(hour) = self.hours.pop_front() {
                list(&hour, is_finished).map(|files| self.files = files)
            } else if let Some(date) = self.dates.pop_front() {
                list(&date, |name| name.starts_with("hour=")).map(|hours| self.hours = hours)
            } else {
                return None;
            };
            if let Err(error) = listed {
                return Some(Err(error));
            }
        }
    }
}

pub(crate) fn is_finished(name: &str) -> bool {
    name.ends_with(".parquet") && !name.starts_with('.')
}

/// The entries of a folder that `keep` likes, sorted. A folder that is gone is empty: retention may be at work.
pub(crate) fn list(
    dir: &Path,
    keep: impl Fn(&str) -> bool,
) -> Result<VecDeque<PathBuf>, CaptureError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        Err(error) => return Err(CaptureError::io("list", dir)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(CaptureError::io("list", dir))?;
        if entry.file_name().to_str().is_some_and(&keep) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found.into())
}
