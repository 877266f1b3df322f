//! The registry: servers that are not in the configuration file but in files of their own, one
//! `NAME.yaml` each in a folder. Written by hand, by `wiregate servers add`, or imported from what
//! clients and the public registry have ([`import`]).

pub mod definition;
pub mod folder;
pub mod import;
pub mod probe;
pub mod shadow;
pub mod vet;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use inspect::yaml::{self, Located};

use crate::config::{Env, Server, is_server_name};

/// Files in the folder; more are refused, not ignored.
const MOST_FILES: usize = 10_000;
/// Bytes of one file.
const LARGEST: u64 = 256 << 10;

/// Reads every `NAME.yaml` of the folder and adds its server.
///
/// # Errors
/// Every error of all files at once, and a name that is there twice.
pub fn join(
    servers: &mut BTreeMap<String, Server>,
    dir: &Path,
    env: Env<'_>,
) -> Result<(), Vec<Located>> {
    let mut errors = Vec::new();
    for path in files(dir).map_err(|error| vec![error])? {
        match read(&path, env) {
            Ok((name, _)) if servers.contains_key(&name) => {
                errors.push(unplaced(&path, "the configuration has a server of this name too"));
            }
            Ok((name, server)) => {
                servers.insert(name, server);
            }
            Err(more) => errors.extend(more),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The files of the folder that define servers, by name.
///
/// # Errors
/// When the folder can't be read, or holds too many.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>, Located> {
    let failed =
        |error: std::io::Error| unplaced(dir, &format!("cannot be read: {}", error.kind()));
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
        if found.len() > MOST_FILES {
            return Err(unplaced(dir, "more than 10000 servers"));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether the folder has as many servers as are read.
pub fn is_full(dir: &Path) -> bool {
    files(dir).is_ok_and(|files| files.len() >= MOST_FILES)
}

/// One server's name and definition.
///
/// # Errors
/// What is wrong with the file, with its places.
pub fn read(path: &Path, env: Env<'_>) -> Result<(String, Server), Vec<Located>> {
    let one = |message: &str| vec![unplaced(path, message)];
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    if !is_server_name(&name) {
        return Err(one("the file's name is no server's: 1 to 64 of a-z, 0-9 and `-`"));
    }
    let told = |error: std::io::Error| one(&format!("cannot be read: {}", error.kind()));
    if fs::metadata(path).map_err(told)?.len() > LARGEST {
        return Err(one("larger than 256 KiB"));
    }
    let text = fs::read_to_string(path).map_err(told)?;
    let (mut server, _) = yaml::from_str::<Server>(&path.display().to_string(), &text, Some(env))?;
    if let Some(folder) = path.parent() {
        server.resolve_paths(folder);
    }
    Ok((name, server))
}

fn unplaced(path: &Path, message: &str) -> Located {
    Located {
        file: path.display().to_string(),
        line: 0,
        column: 0,
        path: String::new(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_folder_adds_servers_and_tells_every_error_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("servers");
        fs::create_dir(&dir).unwrap();
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        write("files.yaml", "command: files\nargs: ['${ROOT}']\ncwd: sub\n");
        write("README.md", "not a server");
        let file = folder.path().join("wiregate.yaml");
        let text =
            "servers: { web: { url: 'http://127.0.0.1:9/mcp' } }\nregistry: { dir: servers }";
        let env = |name: &str| match name {
            "HOME" => Some("/home/someone".to_owned()),
            "ROOT" => Some("/srv".to_owned()),
            _ => None,
        };
        let load = || Config::from_yaml(file.to_str().unwrap(), text, &env);
        let config = load().unwrap();
        assert_eq!(config.servers.keys().collect::<Vec<_>>(), ["files", "web"]);
        let files = config.servers.get("files").unwrap();
        assert_eq!(files.args.first().unwrap().expose(), "/srv");
        assert_eq!(files.cwd.as_deref(), Some(dir.join("sub").as_path()));

        write("web.yaml", "url: http://127.0.0.1:9/mcp\n");
        write("Bad.yaml", "url: http://127.0.0.1:9/mcp\n");
        write("typo.yaml", "url: http://127.0.0.1:9/mcp\nuri: a\n");
        let errors = load().unwrap_err();
        let told = |name: &str| errors.iter().filter(|e| e.file.ends_with(name)).count();
        assert_eq!(
            (told("web.yaml"), told("Bad.yaml"), told("typo.yaml")),
            (1, 1, 1),
            "{errors:?}"
        );
        assert_eq!(errors.iter().find(|e| e.file.ends_with("typo.yaml")).unwrap().line, 2);
    }
}
