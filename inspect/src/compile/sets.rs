//! The names that files give their sets, joined: one version for each name.

use super::{Code, CompileError};
use crate::rule::RuleDefs;
use crate::set::SetDef;
use crate::yaml::Marks;
use std::collections::BTreeMap;

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
