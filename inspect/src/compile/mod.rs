//! RuleDef → RuleSet: every error of all files at once, coded, with its place.

mod bound;
mod check;
mod error;
mod pattern;
mod resolve;
mod ruleset;
mod sets;

pub(crate) use bound::WIDEST;
pub use error::{Code, CompileError, CompileErrors};
#[cfg(test)]
pub(crate) use pattern::Pattern;
pub(crate) use resolve::{Allow, Gate};
pub(crate) use ruleset::{Role, Trigger, Use, hex};
pub use ruleset::{Rule, RuleIx, RuleSet};
pub use sets::Identity;

use crate::rule::{RuleDef, RuleDefs};
use crate::set::SetDef;
use crate::yaml::{self, Marks};
use std::collections::HashMap;

/// Rules of one set at most.
const MAX_RULES: usize = 20_000;

/// One rule file.
#[derive(Clone, Copy, Debug)]
pub struct RuleFile<'a> {
    /// Its path, for messages.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// Where a rule was written, for messages.
struct Origin<'m> {
    file: &'m str,
    marks: &'m Marks,
    /// JSON Pointer of the rule in its file.
    pointer: String,
    id: &'m str,
    /// Whether its examples held before.
    is_proven: bool,
}

impl Origin<'_> {
    /// An error about `field` (a JSON Pointer below the rule).
    fn error(&self, code: Code, field: &str, message: impl Into<String>) -> CompileError {
        let (line, column) = self.marks.at(&format!("{}{field}", self.pointer));
        let dotted = field.trim_start_matches('/').replace('/', ".");
        CompileError {
            code,
            file: self.file.to_owned(),
            line,
            column,
            message: message.into(),
            label: if dotted.is_empty() {
                self.id.to_owned()
            } else {
                format!("{}: {dotted}", self.id)
            },
        }
    }
}

impl RuleSet {
    /// Compiles rule files.
    ///
    /// # Errors
    /// Every error of all files at once, in the order of files and lines.
    pub fn compile(files: &[RuleFile<'_>]) -> Result<Self, CompileErrors> {
        Self::compile_beside(&[], files)
    }

    /// Compiles rule files beside others whose examples held when they were built, signed or recorded: only those of
    /// `files` are run, which saves most of the time.
    ///
    /// # Errors
    /// As of [`RuleSet::compile`].
    pub fn compile_beside(
        proven: &[RuleFile<'_>],
        files: &[RuleFile<'_>],
    ) -> Result<Self, CompileErrors> {
        let (set, errors) = Self::compile_partly(proven, files);
        if errors.0.is_empty() { Ok(set) } else { Err(errors) }
    }

    /// The rules that have no errors, and the errors of the others.
    fn compile_partly(proven: &[RuleFile<'_>], files: &[RuleFile<'_>]) -> (Self, CompileErrors) {
        let mut errors = Vec::new();
        let mut read_files = read(proven, &mut errors);
        let proven_files = read_files.len();
        read_files.extend(read(files, &mut errors));
        let read = read_files;
        let sets = sets::join(&read, &mut errors);
        let rules = read.iter().enumerate().flat_map(|(at, (file, marks, defs))| {
            defs.rules.iter().enumerate().map(move |(index, def)| {
                let pointer = format!("/rules/{index}");
                let is_proven = at < proven_files;
                (Origin { file, marks, pointer, id: &def.id, is_proven }, def)
            })
        });
        let set = compile_all(rules, sets, &mut errors);
        let order = |name: &str| proven.iter().chain(files).position(|file| file.name == name);
        errors.sort_by(|a, b| {
            (order(&a.file), a.line, a.column, a.code).cmp(&(
                order(&b.file),
                b.line,
                b.column,
                b.code,
            ))
        });
        (set, CompileErrors(errors))
    }

    /// Compiles rule files without asking for examples.
    #[cfg(test)]
    pub(crate) fn compile_unchecked(files: &[RuleFile<'_>]) -> Result<Self, CompileErrors> {
        let (set, mut errors) = Self::compile_partly(&[], files);
        errors.0.retain(|error| error.code != Code::TooFewTests);
        if errors.0.is_empty() { Ok(set) } else { Err(errors) }
    }

    /// Compiles rules that are in memory already.
    ///
    /// # Errors
    /// Every error of all rules at once; without places.
    pub fn from_defs(defs: &[RuleDef]) -> Result<Self, CompileErrors> {
        let marks = Marks::default();
        let mut errors = Vec::new();
        let rules = defs.iter().map(|def| {
            let (pointer, is_proven) = (String::new(), false);
            let origin = Origin { file: "", marks: &marks, pointer, id: &def.id, is_proven };
            (origin, def)
        });
        let set = compile_all(rules, Vec::new(), &mut errors);
        if errors.is_empty() { Ok(set) } else { Err(CompileErrors(errors)) }
    }
}

/// What can be read of each file, and the errors of the rest.
fn read<'f>(
    files: &[RuleFile<'f>],
    errors: &mut Vec<CompileError>,
) -> Vec<(&'f str, Marks, RuleDefs)> {
    let mut read = Vec::new();
    for file in files {
        let partly = yaml::read_partly::<RuleDefs>(file.name, file.text, None);
        errors.extend(partly.errors.into_iter().map(|error| CompileError {
            code: Code::Form,
            label: error.path,
            file: error.file,
            line: error.line,
            column: error.column,
            message: error.message,
        }));
        if let Some(defs) = partly.value {
            read.push((file.name, partly.marks, defs));
        }
    }
    read
}

/// Compiles what can be compiled, and runs the examples of that.
fn compile_all<'m>(
    rules: impl Iterator<Item = (Origin<'m>, &'m RuleDef)>,
    sets: Vec<SetDef>,
    errors: &mut Vec<CompileError>,
) -> RuleSet {
    let mut compiled: Vec<(Rule, Origin<'m>)> = Vec::new();
    let mut seen: HashMap<&str, String> = HashMap::new();
    for (index, (origin, def)) in rules.enumerate() {
        if index == MAX_RULES {
            errors.push(origin.error(Code::TooLarge, "", format!("more than {MAX_RULES} rules")));
            break;
        }
        // the first rule of an id stays, so that its own errors are told too
        let (line, _) = origin.marks.at(&origin.pointer);
        let place = format!("{}:{line}", origin.file);
        if let Some(first) = seen.get(origin.id) {
            errors.push(origin.error(Code::DuplicateId, "/id", format!("also at {first}")));
            continue;
        }
        seen.insert(origin.id, place);
        if let Some(rule) = resolve::resolve(def, &origin, errors) {
            compiled.push((rule, origin));
        }
    }
    compiled.sort_by(|a, b| a.0.id().cmp(b.0.id()));
    let (rules, origins): (Vec<Rule>, Vec<Origin<'m>>) = compiled.into_iter().unzip();
    match RuleSet::build(rules, sets) {
        Some(set) => {
            check::examples(&set, &origins, errors);
            set
        }
        None => {
            errors.push(CompileError {
                code: Code::TooLarge,
                file: String::new(),
                line: 1,
                column: 1,
                message: "the literals of all rules together are too many".to_owned(),
                label: String::new(),
            });
            RuleSet::default()
        }
    }
}
