//! Writing and removing files of the folder of servers: each whole, for its owner only, and never
//! what could not be read back.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use inspect::yaml::{self, Located};

use crate::config::{Config, Env, Server, problems};

/// The file of a server. Its name is one that [`crate::config::is_server_name`] lets through.
pub fn file_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.yaml"))
}

/// Refuses to write what a gateway would refuse to read, in this environment.
///
/// # Errors
/// What is wrong with the text, with its places.
pub fn check(file: &Path, name: &str, text: &str, env: Env<'_>) -> Result<(), Vec<Located>> {
    let shown = file.display().to_string();
    let (server, marks) = yaml::from_str::<Server>(&shown, text, Some(env))?;
    let mut config = Config::default();
    config.servers.insert(name.to_owned(), server);
    let start = format!("/servers/{name}");
    let errors: Vec<_> = problems(&config)
        .into_iter()
        .filter_map(|problem| {
            let path = problem.pointer.strip_prefix(&start)?.to_owned();
            let (line, column) = marks.at(&path);
            Some(Located { file: shown.clone(), line, column, path, message: problem.message })
        })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Writes a file beside its place and then moves it there: who watches sees it whole.
///
/// # Errors
/// When the system refuses.
pub fn put(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
    let written = (|| {
        let mut out =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&temporary, file)
    })();
    written.inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// Removes a server's file; `false` when there is none.
///
/// # Errors
/// When the system refuses.
pub fn remove(dir: &Path, name: &str) -> io::Result<bool> {
    match fs::remove_file(file_of(dir, name)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
