//! The path of a node: keys and indices from the root, followed forward over the parser's nodes.

use crate::message::NO_KEY;
use simd_json::Node;
use smallvec::SmallVec;
use std::fmt::Write as _;

/// Longest part of a key that a path shows.
const MAX_SEGMENT: usize = 64;

/// A container on the path.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// Index of the container's own node.
    node: usize,
    /// Nodes before this index belong to it.
    end: usize,
    is_object: bool,
    /// The key node, in an object; the index, in an array.
    part: usize,
    /// In an object: whether a key comes next.
    key_next: bool,
}

/// Follows paths of rising nodes; its memory is reused.
#[derive(Debug, Default)]
pub(crate) struct PathWalker {
    levels: Vec<Level>,
    /// The next node to walk over.
    next: usize,
}

impl PathWalker {
    /// Back to the root, for another message.
    pub(crate) fn reset(&mut self) {
        self.levels.clear();
        self.next = 0;
    }

    /// Whether `node` lies before the one walked to: the walk would have to begin anew.
    pub(crate) fn is_beyond(&self, node: usize) -> bool {
        self.next > node + 1
    }

    /// Walks to `node`, which is not before the last one walked to.
    pub(crate) fn seek(&mut self, nodes: &[Node<'_>], node: usize) {
        while self.next <= node {
            let at = self.next;
            self.next += 1;
            while self.levels.last().is_some_and(|level| at >= level.end) {
                self.levels.pop();
            }
            if let Some(level) = self.levels.last_mut() {
                if !level.is_object {
                    level.part = level.part.wrapping_add(1);
                } else if level.key_next {
                    level.part = at;
                    level.key_next = false;
                } else {
                    level.key_next = true;
                }
            }
            if let Some(Node::Object { count, .. } | Node::Array { count, .. }) = nodes.get(at) {
                let is_object = matches!(nodes.get(at), Some(Node::Object { .. }));
                self.levels.push(Level {
                    node: at,
                    end: at + 1 + count,
                    is_object,
                    part: usize::MAX,
                    key_next: true,
                });
            }
        }
    }

    /// The keys on the path to the node walked to; an index is an empty word.
    pub(crate) fn words<'t>(&self, nodes: &[Node<'t>]) -> SmallVec<[&'t str; 16]> {
        self.levels
            .iter()
            .map(|level| match nodes.get(level.part) {
                Some(Node::String(key)) if level.is_object => *key,
                _ => "",
            })
            .collect()
    }

    /// The nearest key on the path to the value walked to, and its node.
    pub(crate) fn key<'t>(&self, nodes: &[Node<'t>]) -> Option<(usize, &'t str)> {
        let level = self.levels.iter().rev().find(|level| level.is_object)?;
        match nodes.get(level.part) {
            Some(Node::String(key)) => Some((level.part, key)),
            _ => None,
        }
    }

    /// The node of the container the node walked to is directly in.
    pub(crate) fn parent(&self) -> Option<usize> {
        self.levels.last().map(|level| level.node)
    }

    /// The JSON Pointer; keys for which `hidden` says so become `*`.
    pub(crate) fn pointer(&self, nodes: &[Node<'_>], hidden: impl Fn(u32) -> bool) -> String {
        let mut pointer = String::new();
        for level in &self.levels {
            if !level.is_object {
                // writing to a String cannot fail
                let _ = write!(pointer, "/{}", level.part);
                continue;
            }
            pointer.push('/');
            match nodes.get(level.part) {
                Some(Node::String(key)) if !hidden(u32::try_from(level.part).unwrap_or(NO_KEY)) => {
                    for c in key.chars().take(MAX_SEGMENT) {
                        match c {
                            '~' => pointer.push_str("~0"),
                            '/' => pointer.push_str("~1"),
                            _ => pointer.push(c),
                        }
                    }
                }
                _ => pointer.push('*'),
            }
        }
        pointer
    }
}
