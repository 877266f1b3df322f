//! Where the rules in use come from: built-in ones, installed packs, folders; compiled into one set.

use std::path::Path;

use inspect::yaml::Located;
use inspect::{CompileErrors, RuleFile, RuleSet};

use crate::config::Config;
use crate::packs::{Active, Installed, Pack, PackError, Shelf};

/// Compiles the built-in rules, the packs in use and the rules of the configured folders.
pub fn compile(config: &Config) -> Result<RuleSet, Vec<Located>> {
    let Active { packs, errors } = packs_in_use(config);
    let broken: Vec<Located> = errors.iter().map(wrong_pack).collect();
    match compile_with(config, &packs) {
        Ok(rules) if broken.is_empty() => Ok(rules),
        Ok(_) => Err(broken),
        Err(errors) => Err(broken.into_iter().chain(errors).collect()),
    }
}

/// The packs in use: none where no key is trusted.
pub fn packs_in_use(config: &Config) -> Active {
    let settings = &config.inspect.packs;
    let trust = settings.keys();
    match settings.folder(&|name| std::env::var(name).ok()) {
        Some(dir) if !trust.is_empty() => Shelf::new(dir).active(&trust),
        _ => Active::default(),
    }
}

/// The packs that are installed and not looked at, since no key is trusted.
pub fn idle_packs(config: &Config) -> Vec<String> {
    let settings = &config.inspect.packs;
    let folder = settings.folder(&|name| std::env::var(name).ok());
    let Some(dir) = folder.filter(|_| settings.keys().is_empty()) else { return Vec::new() };
    let installed = Shelf::new(dir).installed().unwrap_or_default();
    let label = |one: Installed| Some(format!("{}@{}", one.name, one.active?));
    installed.into_iter().filter_map(label).collect()
}

fn wrong_pack(error: &PackError) -> Located {
    let file = "installed rule packs".into();
    let source = std::error::Error::source(error);
    let source = source.map(|source| format!(": {source}")).unwrap_or_default();
    let message = format!("{error}{source}");
    Located { file, line: 0, column: 0, path: "/inspect/packs".into(), message }
}

/// Compiles the built-in rules, these packs and the rules of the configured folders.
pub fn compile_with(config: &Config, packs: &[Pack]) -> Result<RuleSet, Vec<Located>> {
    let mut errors = Vec::new();
    let mut own: Vec<(String, String)> = Vec::new();
    for folder in &config.inspect.rules {
        match rule_files(folder) {
            Ok(files) => own.extend(files),
            Err(error) => errors.push(error),
        }
    }
    // The examples of what comes with this binary, or was installed, held when it was made.
    let labels: Vec<String> = packs.iter().map(Pack::label).collect();
    let mut proven = if config.inspect.builtin { builtin() } else { Vec::new() };
    let installed = labels.iter().zip(packs);
    proven.extend(installed.map(|(name, pack)| RuleFile { name, text: pack.rules() }));
    let own: Vec<RuleFile<'_>> = own.iter().map(|(name, text)| RuleFile { name, text }).collect();
    match RuleSet::compile_beside(&proven, &own) {
        Ok(rules) if errors.is_empty() => Ok(rules),
        Ok(_) => Err(errors),
        Err(wrong) => {
            errors.extend(located(&wrong));
            Err(errors)
        }
    }
}

/// The rules built into the gateway.
pub fn builtin() -> Vec<RuleFile<'static>> {
    rules::builtin().iter().map(|(name, text)| RuleFile { name, text }).collect()
}

/// What is wrong with rule files, for [`crate::config::Listed`].
pub fn located(errors: &CompileErrors) -> impl Iterator<Item = Located> {
    errors.iter().map(|error| Located {
        file: error.file.clone(),
        line: error.line,
        column: error.column,
        path: String::new(),
        message: if error.label.is_empty() {
            format!("{} {}", error.code.as_str(), error.message)
        } else {
            format!("{} {}: {}", error.code.as_str(), error.label, error.message)
        },
    })
}

/// The `*.yaml` of a folder, by name, each with its text.
pub fn rule_files(folder: &Path) -> Result<Vec<(String, String)>, Located> {
    let wrong = |path: &Path, message: String| Located {
        file: path.display().to_string(),
        line: 0,
        column: 0,
        path: String::new(),
        message,
    };
    let unreadable = |path: &Path, error: std::io::Error| {
        wrong(path, format!("cannot be read: {}", error.kind()))
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(wrong(folder, "no *.yaml in this folder".into()));
    }
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
            Ok((path.display().to_string(), text))
        })
        .collect()
}
