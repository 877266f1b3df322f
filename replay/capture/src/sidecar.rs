//! What rows refer to by digest, kept beside them: rule sets and configurations.
//!
//! A replay needs the rules themselves, not their hash. Files appear whole, and a digest once stored stays as it is.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{CaptureError, Location, disk};

/// Folder and extension of rule sets.
pub(crate) const RULESET: (&str, &str) = ("rulesets", "yaml");
/// Folder and extension of configurations.
pub(crate) const CONFIG: (&str, &str) = ("config", "json");

const MAX_BYTES: u64 = 64 << 20;

/// The rule set that rows of this capture name as `ruleset_digest`.
pub fn read_ruleset(dir: impl Into<Location>, digest: &str) -> Result<String, CaptureError> {
    read(&dir.into(), RULESET, digest)
}

/// The configuration or policy that rows of this capture name as `config_digest` or `policy_digest`.
pub fn read_config(dir: impl Into<Location>, digest: &str) -> Result<String, CaptureError> {
    read(&dir.into(), CONFIG, digest)
}

fn read(dir: &Location, kind: (&str, &str), digest: &str) -> Result<String, CaptureError> {
    let location = dir.join(&name(kind, digest)?);
    let path = PathBuf::from(location.to_string());
    let bytes = location.read(MAX_BYTES)?;
    let bytes = bytes.ok_or_else(|| CaptureError::io("open", &path)(ErrorKind::NotFound.into()))?;
    String::from_utf8(bytes).map_err(CaptureError::damaged(&path))
}

/// Stores a text under its digest, durably, unless it is there already.
pub(crate) fn store(
    dir: &Path,
    (folder, extension): (&str, &str),
    digest: &str,
    text: &str,
) -> Result<PathBuf, CaptureError> {
    let path = path(dir, (folder, extension), digest)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(CaptureError::TooLarge { path, limit: MAX_BYTES });
    }
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == text.len() as u64) {
        return Ok(path);
    }
    let folder = dir.join(folder);
    disk::create_dir(&folder).map_err(CaptureError::io("create", &folder))?;
    // unique among threads and processes that store the same digest at once
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let tmp = folder.join(format!(".{}-{count}.tmp", std::process::id()));
    // of a process long gone that had the same number
    let _ = fs::remove_file(&tmp);
    let written = disk::create_file(&tmp)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(CaptureError::io("write", &tmp))
        .and_then(|()| disk::publish(&tmp, &path));
    if written.is_err() {
        let _ = fs::remove_file(&tmp);
    }
    written.map(|()| path)
}

fn path(dir: &Path, kind: (&str, &str), digest: &str) -> Result<PathBuf, CaptureError> {
    Ok(dir.join(name(kind, digest)?))
}

/// `sha256:ab` becomes `sha256-ab`; whatever could leave the folder is refused.
fn name((folder, extension): (&str, &str), digest: &str) -> Result<String, CaptureError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_');
    if !(1..=128).contains(&digest.len()) || !digest.bytes().all(plain) {
        return Err(CaptureError::BadDigest { digest: digest.chars().take(160).collect() });
    }
    Ok(format!("{folder}/{}.{extension}", digest.replace(':', "-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_under_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path(), RULESET, "sha256:ab12", "rules: []").unwrap();
        store(dir.path(), RULESET, "sha256:ab12", "rules: []").unwrap();
        assert_eq!(read_ruleset(dir.path(), "sha256:ab12").unwrap(), "rules: []");
        assert!(dir.path().join("rulesets/sha256-ab12.yaml").is_file());
        assert_eq!(fs::read_dir(dir.path().join("rulesets")).unwrap().count(), 1);
        assert!(matches!(read_config(dir.path(), "sha256:ab12"), Err(CaptureError::Io { .. })));
    }

    #[test]
    fn a_digest_cannot_leave_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        for digest in ["", "../x", "a/b", ".", "a.b", "ä", &"a".repeat(200)] {
            let stored = store(dir.path(), CONFIG, digest, "{}");
            assert!(matches!(stored, Err(CaptureError::BadDigest { .. })), "{digest}");
            assert!(matches!(read_config(dir.path(), digest), Err(CaptureError::BadDigest { .. })));
        }
    }
}
