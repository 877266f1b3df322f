//! From what the parser saw back to the raw bytes. Used only on a hit, so the clean path pays nothing for it.
//!
//! The parser numbers every key, value and container in document order. [`Tokens`] walks the raw bytes in the same
//! order and gives each one's place; [`Escapes`] maps offsets in a string's unescaped text to raw offsets;
//! [`PathWalker`] follows the path. All three only move forward.

mod escape;
mod path;

pub(crate) use escape::Escapes;
pub(crate) use path::PathWalker;

use std::ops::Range;

/// The tokens of a JSON text that are nodes: keys, strings, numbers, words, and openings of containers.
#[derive(Debug)]
pub(crate) struct Tokens<'a> {
    raw: &'a [u8],
    at: usize,
    next: usize,
}

impl<'a> Tokens<'a> {
    /// Walks `raw`, which the parser has accepted.
    pub(crate) fn new(raw: &'a [u8]) -> Self {
        Self { raw, at: 0, next: 0 }
    }

    /// The raw range of node `node`, without the quotes of a string. Nodes can only be asked for in rising order.
    pub(crate) fn seek(&mut self, node: usize) -> Option<Range<usize>> {
        loop {
            let range = self.token()?;
            self.next += 1;
            if self.next > node {
                return (self.next == node + 1).then_some(range);
            }
        }
    }

    fn token(&mut self) -> Option<Range<usize>> {
        loop {
            let start = self.at;
            self.at += 1;
            match *self.raw.get(start)? {
                b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b']' | b'}' => {}
                b'[' | b'{' => return Some(start..start + 1),
                b'"' => {
                    let end = string_end(self.raw, start + 1)?;
                    self.at = end + 1;
                    return Some(start + 1..end);
                }
                _ => {
                    let rest = self.raw.get(start..)?;
                    let ends = |b: &u8| {
                        matches!(b, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b']' | b'}')
                    };
                    let len = rest.iter().position(ends).unwrap_or(rest.len());
                    self.at = start + len;
                    return Some(start..self.at);
                }
            }
        }
    }
}

/// The index of the quote that closes the string whose content starts at `at`.
fn string_end(raw: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let found = memchr::memchr2(b'"', b'\\', raw.get(at..)?)?;
        at += found;
        if raw.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}
