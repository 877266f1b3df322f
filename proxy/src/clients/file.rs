//! Writing a client's configuration file: whole or not at all, and so that it can be undone.
//!
//! Beside the file stands what it was, under a name with the digest of what was written:
//! `mcp.json.wiregate-3f2a….bak`. Undoing looks for the backup that belongs to the file as it is
//! now, so that a change somebody made in between is never thrown away.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::snapshot::hex;

/// No client has a larger configuration; reading stops there.
const LARGEST: u64 = 8 << 20;

/// Why a file can't be changed or brought back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused something.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{}: more than 8 MiB", .0.display())]
    TooLarge(PathBuf),
    /// Nothing was written here, or the file was changed since.
    #[error("{}: no backup belongs to the file as it is now{}", .path.display(), listed(.others))]
    NoBackup {
        /// The file.
        path: PathBuf,
        /// Backups of other states of it.
        others: Vec<PathBuf>,
    },
}

fn listed(others: &[PathBuf]) -> String {
    let names: Vec<String> = others.iter().map(|path| path.display().to_string()).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("; it was changed since these were made: {}", names.join(", ")),
    }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> FileError {
    move |source| FileError::Io { path: path.into(), source }
}

/// What stands in a file; `None` when there is none.
///
/// # Errors
/// When it can't be read, or is too large to be a configuration.
pub fn read(path: &Path) -> Result<Option<String>, FileError> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() > LARGEST => Err(FileError::TooLarge(path.into())),
        Ok(_) => fs::read_to_string(path).map(Some).map_err(io(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(path)(error)),
    }
}

/// Puts `new` in the place of `old`, keeping `old` in a backup. Returns the backup.
///
/// # Errors
/// When any of it can't be written; the file is then as it was.
pub fn write(path: &Path, old: Option<&str>, new: &str) -> Result<PathBuf, FileError> {
    // Whoever keeps dotfiles elsewhere and links to them keeps the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io(folder))?;
    }
    let backup = backup_of(path, new, old.is_some());
    place(&backup, old.unwrap_or_default(), path)?;
    place(path, new, path)?;
    Ok(backup)
}

/// Brings back what a file was before it was written here. Returns the backup that was used up.
///
/// # Errors
/// When there is none, or the file was changed since.
pub fn restore(path: &Path) -> Result<PathBuf, FileError> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let now = read(path)?.unwrap_or_default();
    let (was, absent) = (backup_of(path, &now, true), backup_of(path, &now, false));
    if absent.exists() {
        fs::remove_file(path).map_err(io(path))?;
        fs::remove_file(&absent).map_err(io(&absent))?;
        return Ok(absent);
    }
    let Some(old) = read(&was)? else {
        return Err(FileError::NoBackup { path: path.clone(), others: backups(path) });
    };
    place(path, &old, path)?;
    fs::remove_file(&was).map_err(io(&was))?;
    Ok(was)
}

/// The backup that belongs to a file that holds `text`.
fn backup_of(path: &Path, text: &str, existed: bool) -> PathBuf {
    let digest = hex(&Sha256::digest(text)[..8]);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".wiregate-{digest}.{}", if existed { "bak" } else { "new" }));
    path.with_file_name(name)
}

fn backups(path: &Path) -> Vec<PathBuf> {
    let start = format!("{}.wiregate-", path.file_name().unwrap_or_default().to_string_lossy());
    let folder = path.parent().and_then(|folder| fs::read_dir(folder).ok());
    let entries = folder.into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&start));
    let mut found: Vec<PathBuf> = ours.map(|entry| entry.path()).take(64).collect();
    found.sort();
    found
}

/// Writes a file beside its place and moves it there, with the rights that `like` has.
fn place(path: &Path, text: &str, like: &Path) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = (|| {
        use std::os::unix::fs::OpenOptionsExt;
        // A configuration may hold keys: nobody else reads it while its rights are not set.
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        if let Ok(meta) = fs::metadata(like) {
            file.set_permissions(meta.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    written.map_err(|source| {
        let _ = fs::remove_file(&temporary);
        FileError::Io { path: path.into(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_undone_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mcp.json");
        fs::write(&path, "{ }\r\n").unwrap();
        let old = read(&path).unwrap();
        write(&path, old.as_deref(), "{\"a\":1}").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("{\"a\":1}"));
        restore(&path).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("{ }\r\n"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no backup is left");
    }

    #[test]
    fn a_file_that_was_not_there_goes_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/mcp.json");
        write(&path, None, "{}").unwrap();
        restore(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn a_change_made_since_is_not_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mcp.json");
        fs::write(&path, "{}").unwrap();
        let backup = write(&path, Some("{}"), "{\"a\":1}").unwrap();
        fs::write(&path, "{\"a\":1,\"b\":2}").unwrap();
        let error = restore(&path).unwrap_err();
        assert!(error.to_string().contains(&backup.display().to_string()), "{error}");
        assert_eq!(read(&path).unwrap().as_deref(), Some("{\"a\":1,\"b\":2}"));
    }

    #[test]
    fn a_link_stays_a_link_and_rights_stay_as_they_are() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.json"), folder.path().join("link.json"));
        fs::write(&real, "{}").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&real, &link).unwrap();
        write(&link, Some("{}"), "{\"a\":1}").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(read(&real).unwrap().as_deref(), Some("{\"a\":1}"));
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        restore(&link).unwrap();
        assert_eq!(read(&link).unwrap().as_deref(), Some("{}"));
    }
}
