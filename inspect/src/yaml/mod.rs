//! YAML → a typed value, with the place of every node, and every error told at once.
//!
//! A small YAML on purpose: one document, string keys, no anchors, no aliases, no tags but the core ones, bounded in
//! size, depth and nodes. Errors never quote a string value: it may have come from the environment and be a secret.

mod read;
mod tree;

use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::fmt;
use tree::Tree;

/// Looks up an environment variable for `${NAME}`.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Errors told at most.
const MAX_ERRORS: usize = 100;

/// Where each node of a document stands.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    at: HashMap<String, (usize, usize)>,
}

impl Marks {
    /// Line and column (from 1) of the node at a JSON Pointer; of the nearest node above it when there is none.
    #[must_use]
    pub fn at(&self, pointer: &str) -> (usize, usize) {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.at.get(pointer) {
                return *place;
            }
            match pointer.rfind('/') {
                Some(slash) => pointer = pointer.get(..slash).unwrap_or(""),
                None => return (1, 1),
            }
        }
    }
}

/// An error with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file's name as given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// JSON Pointer of the node.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, .. } = self;
        write!(f, "{file}:{line}:{column}: {message}")
    }
}

impl std::error::Error for Located {}

/// Reads one document. With `env`, `${NAME}` and `${NAME:-default}` in scalars are replaced; `$${` is a plain `${`.
///
/// # Errors
/// Every error of the document at once (at most 100).
pub fn from_str<T: DeserializeOwned>(
    file: &str,
    text: &str,
    env: Option<Env<'_>>,
) -> Result<(T, Marks), Vec<Located>> {
    match read_partly(file, text, env) {
        Partly { value: Some(value), marks, errors } if errors.is_empty() => Ok((value, marks)),
        Partly { errors, .. } => Err(errors),
    }
}

/// What could be read of a document, and what could not.
pub(crate) struct Partly<T> {
    /// The value without the members that have errors, if anything sensible is left.
    pub(crate) value: Option<T>,
    /// The places of `value`'s nodes.
    pub(crate) marks: Marks,
    /// The errors, in the order of lines.
    pub(crate) errors: Vec<Located>,
}

/// Reads what can be read: an erroneous member is recorded, left out, and the rest read again.
pub(crate) fn read_partly<T: DeserializeOwned>(
    file: &str,
    text: &str,
    env: Option<Env<'_>>,
) -> Partly<T> {
    let mut errors = Vec::new();
    let mut tell = |place: (usize, usize), path: String, message: String| {
        errors.push(Located {
            file: file.to_owned(),
            line: place.0,
            column: place.1,
            path,
            message,
        });
        errors.len() < MAX_ERRORS
    };
    let mut value = None;
    let mut marks = Marks::default();
    if let Some(mut tree) = read::read(text, env, &mut tell) {
        value = deserialize(&mut tree, &mut tell);
        tree.marks(&mut String::new(), &mut marks.at);
    }
    errors.sort_by_key(|error| (error.line, error.column));
    Partly { value, marks, errors }
}

/// Records an error at a place and path; tells whether more may follow.
type Tell<'a> = dyn FnMut((usize, usize), String, String) -> bool + 'a;

/// Deserialises the tree, pruning each erroneous member until the rest fits or nothing is left to prune.
fn deserialize<T: DeserializeOwned>(tree: &mut Tree, tell: &mut Tell<'_>) -> Option<T> {
    // Members already told of, as (place of the container, key): leaving out a required one must not be told again as
    // a missing field.
    let mut pruned: HashSet<((usize, usize), String)> = HashSet::new();
    loop {
        let failure = match serde_path_to_error::deserialize(tree.to_value()) {
            Ok(value) => return Some(value),
            Err(failure) => failure,
        };
        let mut path: Vec<String> = failure
            .path()
            .iter()
            .filter_map(|segment| match segment {
                serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
                serde_path_to_error::Segment::Map { key } => Some(key.clone()),
                _ => None,
            })
            .collect();
        let message = without_content(&failure.into_inner().to_string());
        // A path through a value of a custom deserialiser may name what is not there: stay at what is.
        while tree.get(&path).is_none() {
            path.pop();
        }
        let unknown = quoted_after(&message, "unknown field ");
        if let Some(field) = unknown {
            let mut inner = path.clone();
            inner.push(field.to_owned());
            if tree.get(&inner).is_some() {
                path = inner;
            }
        }
        let missing = quoted_after(&message, "missing field ");
        let place = tree.place_of(&path, unknown.is_some())?;
        let node = tree.get(&path)?;
        let known = node.told
            || missing.is_some_and(|field| pruned.contains(&(node.place, field.to_owned())));
        if !known && !tell(place, tree.pointer(&path), message) {
            return None;
        }
        let last = path.last()?.clone();
        let parent = path.get(..path.len() - 1)?;
        let container = tree.get(parent)?.place;
        pruned.insert((container, last));
        if !tree.remove(&path) {
            return None;
        }
    }
}

/// The word in backquotes after `prefix` at the message's start.
fn quoted_after<'m>(message: &'m str, prefix: &str) -> Option<&'m str> {
    let rest = message.strip_prefix(prefix)?.strip_prefix('`')?;
    rest.split_once('`').map(|(word, _)| word)
}

/// serde's message without the string it quotes.
fn without_content(message: &str) -> String {
    for kind in ["invalid type: string ", "invalid value: string "] {
        if let (true, Some(cut)) = (message.starts_with(kind), message.rfind(", expected")) {
            let rest = message.get(cut..).unwrap_or("");
            return format!("{}{rest}", kind.trim_end());
        }
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Located, from_str};
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Config {
        name: String,
        port: u16,
        #[serde(default)]
        list: Vec<Item>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Item {
        id: String,
        #[serde(default)]
        on: bool,
    }

    fn errors(text: &str) -> Vec<String> {
        let none = |_: &str| None;
        from_str::<Config>("c.yaml", text, Some(&none))
            .unwrap_err()
            .iter()
            .map(Located::to_string)
            .collect()
    }

    #[test]
    fn reads_and_marks() {
        let env = |name: &str| (name == "PORT").then(|| "8080".to_owned());
        let text = "name: \"a ${HOST:-b} $${c}\"\nport: ${PORT}\nlist:\n  - id: x\n    on: true\n";
        let (config, marks) = from_str::<Config>("c.yaml", text, Some(&env)).unwrap();
        assert_eq!(config.name, "a b ${c}");
        assert_eq!(config.port, 8080);
        assert_eq!(config.list.len(), 1);
        assert_eq!(marks.at("/list/0/on"), (5, 9));
        assert_eq!(marks.at("/list/0/absent"), (4, 5));
    }

    #[test]
    fn tells_every_error_at_once() {
        let text = "name: [x]\nport: hunter2\nlist:\n  - id: a\n    of: 1\n  - on: maybe\n  - id: b\nextra: 1\n";
        insta::assert_snapshot!(errors(text).join("\n"), @r#"
        c.yaml:1:7: invalid type: sequence, expected a string
        c.yaml:2:7: invalid type: string, expected u16
        c.yaml:5:5: unknown field `of`, expected `id` or `on`
        c.yaml:6:5: missing field `id`
        c.yaml:6:9: invalid type: string, expected a boolean
        c.yaml:8:1: unknown field `extra`, expected one of `name`, `port`, `list`
        "#);
    }

    #[test]
    fn refuses_what_is_not_small_yaml() {
        let deep = "[".repeat(100_000);
        let texts = [
            "name: &a x\nport: *a\n",
            "name: x\nname: y\nport: 1\n",
            "name: x\nport: 1\n---\nname: y\n",
            deep.as_str(),
            "name: ${GONE}\nport: 1\n",
            "name: !x y\nport: .nan\n",
            "name: \"x\nport: 1\n",
            "? [a]\n: 1\n",
            "",
        ];
        let told: Vec<String> = texts.iter().flat_map(|text| errors(text)).collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
