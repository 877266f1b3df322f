//! Why a verb could not do its work.

use std::path::PathBuf;

/// What ends a verb with exit code 2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The user's arguments contradict each other or name what is not there.
    #[error("{0}")]
    Usage(String),
    /// A capture cannot be read.
    #[error(transparent)]
    Scan(#[from] ::scan::ScanError),
    /// Labels cannot be read or written.
    #[error(transparent)]
    Capture(#[from] capture::CaptureError),
    /// Rule files do not compile; every error is told.
    #[error("the rules do not compile\n{0}")]
    Rules(String),
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", .path.display())]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Stdout is gone or full.
    #[error("cannot write to stdout")]
    Write(#[source] std::io::Error),
    /// A value could not be written as JSON: our own mistake.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
}
