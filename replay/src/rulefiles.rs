//! Rule files: the built-in packs, or what the user's folders hold.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use inspect::{RuleFile, RuleSet};

use crate::error::Error;

/// A rule file beyond this is a mistake.
const MAX_FILE: u64 = 4 << 20;
/// More rule files than this are a mistake: a folder of something else.
const MAX_FILES: usize = 10_000;
/// Folders in folders, at most.
const MAX_DEPTH: usize = 16;

/// A rule file's name, as messages show it, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
    /// Whether its examples are known to hold: it comes with this binary.
    pub(crate) is_builtin: bool,
}

/// The built-in rule files, and those of these extra packs.
pub(crate) fn builtin(packs: &[String]) -> Result<Vec<Source>, Error> {
    let source = |name: &str, text: &str| Source {
        name: name.to_owned(),
        text: text.to_owned(),
        is_builtin: true,
    };
    let mut sources: Vec<Source> =
        rules::builtin().iter().map(|(name, text)| source(name, text)).collect();
    for pack in packs {
        let text = rules::pack(pack).ok_or_else(|| {
            let known = known_packs().join(", ");
            Error::Usage(format!("no pack `{pack}`; there are: {known}"))
        })?;
        sources.push(source(&format!("packs/{pack}.yaml"), text));
    }
    sources.dedup();
    Ok(sources)
}

/// The names of the packs beside the built-in rules.
pub(crate) fn known_packs() -> Vec<String> {
    let name = |path: &str| path.trim_start_matches("packs/").trim_end_matches(".yaml").to_owned();
    rules::packs().iter().map(|(path, _)| name(path)).collect()
}

/// The rule files in these folders (or the files themselves), sorted by path.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Vec<Source>, Error> {
    self::paths(paths)?.iter().map(|path| read(path)).collect()
}

/// The paths of YAML files in these folders (or the files themselves), sorted.
pub(crate) fn paths(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        collect(path, 0, &mut files)?;
        if files.len() == before {
            return Err(Error::Usage(format!("no .yaml file in {}", path.display())));
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if depth > MAX_DEPTH {
        return Err(Error::Usage(format!("folders too deep at {}", path.display())));
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        let yaml = entry.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
        if yaml || entry.is_dir() {
            collect(&entry, depth + 1, files)?;
        }
        if files.len() > MAX_FILES {
            return Err(Error::Usage(format!("more than {MAX_FILES} files in {}", path.display())));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Source, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Error::Usage(format!("{} is larger than 4 MiB", path.display())));
    }
    Ok(Source { name: path.display().to_string(), text, is_builtin: false })
}

/// The files as the compiler takes them.
pub(crate) fn borrowed(sources: &[Source]) -> Vec<RuleFile<'_>> {
    sources.iter().map(|file| RuleFile { name: &file.name, text: &file.text }).collect()
}

/// One set of all files, or every error of all of them.
pub(crate) fn compile(sources: &[Source]) -> Result<RuleSet, Error> {
    let (builtin, own): (Vec<Source>, Vec<Source>) =
        sources.iter().cloned().partition(|source| source.is_builtin);
    RuleSet::compile_beside(&borrowed(&builtin), &borrowed(&own))
        .map_err(|errors| Error::Rules(errors.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_in_order_of_their_paths() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        for name in ["b.yaml", "a.yml", "sub/c.yaml", "notes.txt"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let found = load(&[dir.path().to_owned()]).unwrap();
        let texts: Vec<&str> = found.iter().map(|file| file.text.as_str()).collect();
        assert_eq!(texts, ["a.yml", "b.yaml", "sub/c.yaml"]);
    }

    #[test]
    fn a_folder_without_rules_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load(&[dir.path().to_owned()]), Err(Error::Usage(_))));
        assert!(matches!(load(&[dir.path().join("no")]), Err(Error::Read { .. })));
    }
}
