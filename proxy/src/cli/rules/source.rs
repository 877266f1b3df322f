//! What `rules diff` compares: a word that names a set of rules → the set.

use std::path::Path;

use inspect::{RuleFile, RuleSet, Version};
use scan::text::visible;

use super::{CliError, in_use, shelf, wrong};
use crate::config::Config;
use crate::packs::{Pack, Shelf, is_pack};
use crate::rulefiles;

/// A set and what to call it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) title: String,
    pub(super) set: RuleSet,
}

/// The set that a word names.
pub(super) fn named(word: &str, config: &Config) -> Result<Source, CliError> {
    match word {
        "active" => return Ok(Source { title: word.to_owned(), set: in_use(config)? }),
        "builtin" => return compiled(word, &rulefiles::builtin()),
        _ => {}
    }
    if let Some(source) = installed(word, config)? {
        return Ok(source);
    }
    if let Some(text) = rules::pack(word) {
        return compiled(word, &[RuleFile { name: word, text }]);
    }
    let path = Path::new(word);
    if path.is_dir() {
        return folder(path);
    }
    if is_pack(path) {
        let trust = config.inspect.packs.keys();
        let pack = Pack::open(path, &trust).or_else(|error| {
            eprintln!("{error}: shown all the same");
            Pack::open_unverified(path)
        })?;
        return compiled(&pack.label(), &[RuleFile { name: word, text: pack.rules() }]);
    }
    if path.is_file() {
        let text =
            std::fs::read_to_string(path).map_err(CliError::io("the rules can't be read"))?;
        return compiled(word, &[RuleFile { name: word, text: &text }]);
    }
    Err(CliError::NoRules(visible(word).into_owned()))
}

/// The rules of a folder, compiled by themselves.
pub(super) fn folder(path: &Path) -> Result<Source, CliError> {
    let files = rulefiles::rule_files(path).map_err(|error| wrong(vec![error]))?;
    let files: Vec<RuleFile<'_>> =
        files.iter().map(|(name, text)| RuleFile { name, text }).collect();
    compiled(&path.display().to_string(), &files)
}

/// Rule files, compiled by themselves.
fn compiled(title: &str, files: &[RuleFile<'_>]) -> Result<Source, CliError> {
    let set =
        RuleSet::compile(files).map_err(|errors| wrong(rulefiles::located(&errors).collect()))?;
    Ok(Source { title: title.to_owned(), set })
}

/// An installed pack: its active version, or the one that is named.
fn installed(word: &str, config: &Config) -> Result<Option<Source>, CliError> {
    let (name, version) = match word.split_once('@') {
        Some((name, version)) => (name, version.parse::<Version>().ok()),
        None => (word, None),
    };
    let is_name = inspect::set::is_set_name(name) && word.contains('@') == version.is_some();
    // Without a folder there is nothing in it.
    let Some(shelf) = shelf(config).ok().filter(|_| is_name) else { return Ok(None) };
    let installed = shelf.installed_of(name)?;
    match version.or(installed.active) {
        Some(version) if !installed.versions.is_empty() => {
            let pack = Shelf::open(&shelf, name, &version, &config.inspect.packs.keys())?;
            compiled(&pack.label(), &[RuleFile { name: word, text: pack.rules() }]).map(Some)
        }
        _ => Ok(None),
    }
}
