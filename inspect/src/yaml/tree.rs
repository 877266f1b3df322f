//! A YAML document as a tree of marked nodes that can be pruned without losing its places.

use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt::Write as _;

/// One node.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// Line and column, from 1.
    pub(super) place: (usize, usize),
    pub(super) data: Data,
    /// Whether an error about this node was told while reading.
    pub(super) told: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Data {
    Scalar(Value),
    /// Elements with their index as written.
    Seq(Vec<(usize, Tree)>),
    Map(Vec<Member>),
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) key: String,
    pub(super) key_place: (usize, usize),
    pub(super) value: Tree,
}

impl Tree {
    pub(super) fn to_value(&self) -> Value {
        match &self.data {
            Data::Scalar(value) => value.clone(),
            Data::Seq(items) => items.iter().map(|(_, item)| item.to_value()).collect(),
            Data::Map(members) => Value::Object(
                members
                    .iter()
                    .map(|member| (member.key.clone(), member.value.to_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    fn child(&self, segment: &str) -> Option<&Self> {
        match &self.data {
            Data::Scalar(_) => None,
            Data::Seq(items) => items.get(segment.parse::<usize>().ok()?).map(|(_, t)| t),
            Data::Map(members) => members.iter().find(|m| m.key == segment).map(|m| &m.value),
        }
    }

    fn child_mut(&mut self, segment: &str) -> Option<&mut Self> {
        match &mut self.data {
            Data::Scalar(_) => None,
            Data::Seq(items) => items.get_mut(segment.parse::<usize>().ok()?).map(|(_, t)| t),
            Data::Map(members) => {
                members.iter_mut().find(|m| m.key == segment).map(|m| &mut m.value)
            }
        }
    }

    /// The node at a path.
    pub(super) fn get(&self, path: &[String]) -> Option<&Self> {
        path.iter().try_fold(self, |node, s| node.child(s))
    }

    /// The place of the node at a path, or of the key that names it.
    pub(super) fn place_of(&self, path: &[String], of_key: bool) -> Option<(usize, usize)> {
        let node = self.get(path)?;
        let Some((last, parent)) = path.split_last() else {
            return Some(node.place);
        };
        match &self.get(parent)?.data {
            Data::Map(members) if of_key => {
                let member = members.iter().find(|m| m.key == *last);
                member.map(|m| m.key_place)
            }
            _ => Some(node.place),
        }
    }

    /// The JSON Pointer of a path, with the indices as written.
    pub(super) fn pointer(&self, path: &[String]) -> String {
        let mut pointer = String::new();
        let mut node = Some(self);
        for segment in path {
            let written = match node.map(|n| &n.data) {
                Some(Data::Seq(items)) => segment
                    .parse::<usize>()
                    .ok()
                    .and_then(|at| items.get(at))
                    .map(|(index, _)| index.to_string()),
                _ => None,
            };
            push_segment(&mut pointer, written.as_deref().unwrap_or(segment));
            node = node.and_then(|n| n.child(segment));
        }
        pointer
    }

    /// Takes the node at a path out; tells whether it was there.
    pub(super) fn remove(&mut self, path: &[String]) -> bool {
        let Some((last, parent)) = path.split_last() else {
            return false;
        };
        let mut node = self;
        for segment in parent {
            match node.child_mut(segment) {
                Some(child) => node = child,
                None => return false,
            }
        }
        match &mut node.data {
            Data::Scalar(_) => false,
            Data::Seq(items) => match last.parse::<usize>() {
                Ok(at) if at < items.len() => {
                    items.remove(at);
                    true
                }
                _ => false,
            },
            Data::Map(members) => {
                let before = members.len();
                members.retain(|m| m.key != *last);
                members.len() < before
            }
        }
    }

    /// Writes the place of this node and of all below it, by pointers into the tree as it is now.
    pub(super) fn marks(&self, pointer: &mut String, at: &mut HashMap<String, (usize, usize)>) {
        at.insert(pointer.clone(), self.place);
        let own = pointer.len();
        match &self.data {
            Data::Scalar(_) => {}
            Data::Seq(items) => {
                for (index, (_, item)) in items.iter().enumerate() {
                    // writing to a String cannot fail
                    let _ = write!(pointer, "/{index}");
                    item.marks(pointer, at);
                    pointer.truncate(own);
                }
            }
            Data::Map(members) => {
                for member in members {
                    push_segment(pointer, &member.key);
                    member.value.marks(pointer, at);
                    pointer.truncate(own);
                }
            }
        }
    }
}

fn push_segment(pointer: &mut String, segment: &str) {
    pointer.push('/');
    for c in segment.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            _ => pointer.push(c),
        }
    }
}
