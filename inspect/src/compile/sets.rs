//! The names that files give their sets, joined: one version for each name. And what identifies a set, without compiling
//! it.

use super::ruleset::{digest, source};
use super::{Code, CompileError, CompileErrors, RuleFile, read};
use crate::rule::{RuleDef, RuleDefs};
use crate::set::SetDef;
use crate::yaml::Marks;
use std::collections::BTreeMap;

/// What rule files are as a set: its names and its digest, told without compiling a pattern. Whether they compile, only
/// [`super::RuleSet::compile`] tells; when they do, the digest is that of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The named sets, sorted by name.
    pub sets: Vec<SetDef>,
    /// How many rules.
    pub rules: usize,
    /// `sha256:<hex>` over the canonical source.
    pub digest: String,
}

impl Identity {
    /// That of these files.
    ///
    /// # Errors
    /// A file is no rule file, or names its set wrongly.
    pub fn of(files: &[RuleFile<'_>]) -> Result<Self, CompileErrors> {
        let mut errors = Vec::new();
        let read = read(files, &mut errors);
        let sets = join(&read, &mut errors);
        if !errors.is_empty() {
            return Err(CompileErrors(errors));
        }
        let mut rules: Vec<&RuleDef> = read.iter().flat_map(|(_, _, defs)| &defs.rules).collect();
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        let digest = digest(&source(&sets, rules.iter().copied()));
        Ok(Self { sets, rules: rules.len(), digest })
    }
}

/// The sets that the files name, sorted by name. A set whose form is wrong or whose files disagree is told, and the first
/// file's version stays.
pub(super) fn join(
    read: &[(&str, Marks, RuleDefs)],
    errors: &mut Vec<CompileError>,
) -> Vec<SetDef> {
    let mut sets: BTreeMap<&str, (&SetDef, String)> = BTreeMap::new();
    for (file, marks, defs) in read {
        for (index, set) in defs.set.iter().enumerate() {
            let mut tell = |code, field: &str, message: String| {
                let (line, column) = place(marks, index, field);
                let (file, label) = ((*file).to_owned(), format!("set: {field}"));
                errors.push(CompileError { code, file, line, column, message, label });
            };
            if let Some((field, problem)) = set.problem() {
                tell(Code::BadSet, field, problem.to_owned());
                continue;
            }
            match sets.get(set.name.as_str()) {
                Some((first, at)) if first.version != set.version => {
                    let message = format!("{} is {} at {at}", set.name, first.version);
                    tell(Code::SetsDisagree, "version", message);
                }
                Some(_) => {}
                None => {
                    let (line, _) = place(marks, index, "name");
                    sets.insert(&set.name, (set, format!("{file}:{line}")));
                }
            }
        }
    }
    sets.into_values().map(|(set, _)| set.clone()).collect()
}

/// Where a field stands, in a list of sets or in the only one.
fn place(marks: &Marks, index: usize, field: &str) -> (usize, usize) {
    let listed = marks.at(&format!("/set/{index}/{field}"));
    if listed == marks.at("/set") { marks.at(&format!("/set/{field}")) } else { listed }
}
