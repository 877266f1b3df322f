//! Room on the disk: how much is left, and what happens when it runs short.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a look at the disk is good for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What happens when less than [`RecorderConfig::min_free_bytes`](crate::RecorderConfig::min_free_bytes) is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDiskFull {
    /// The capture's oldest files go, each with a `gap` row. Where none is left, as `Refuse`.
    #[default]
    DeleteOldest,
    /// Rows are kept without their bodies (`redaction_state` = `withheld`), which are nearly all of them.
    MetadataOnly,
    /// Rows are refused, counted, and a `gap` row tells of them once there is room again.
    Refuse,
}

/// Bytes that may still be written where a folder is.
pub type FreeBytes = fn(&Path) -> io::Result<u64>;

/// What the system says: the bytes left to an unprivileged user.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Looks at the disk, now and then.
#[derive(Debug)]
pub(crate) struct Space {
    dir: PathBuf,
    needed: u64,
    free: FreeBytes,
    looked: Option<(Instant, bool)>,
}

impl Space {
    pub(crate) fn new(dir: &Path, needed: u64, free: FreeBytes) -> Space {
        Space { dir: dir.to_owned(), needed, free, looked: None }
    }

    /// Whether there is room, by a look that is at most a second old. A disk that does not tell has room: writing
    /// will show.
    pub(crate) fn is_short(&mut self) -> bool {
        match self.looked {
            Some((when, short)) if when.elapsed() < LOOK_EVERY && !short => false,
            _ => self.look(),
        }
    }

    /// Something large was written: the next look is a fresh one.
    pub(crate) fn forget(&mut self) {
        self.looked = None;
    }

    /// Looks now.
    pub(crate) fn look(&mut self) -> bool {
        let short = self.needed > 0 && (self.free)(&self.dir).is_ok_and(|free| free < self.needed);
        self.looked = Some((Instant::now(), short));
        short
    }
}
