//! What a stream or session remembers of its texts, so that what is split between messages is found.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Direction, Subject};
use crate::message::Message;

/// Bytes kept of each text.
pub(super) const TAIL: usize = 256;
/// Texts remembered at most.
pub(super) const MAX_TAILS: usize = 16;

/// The ends of the texts that a stream or session sent last: at most 16 of at most 256 bytes. Its owner passes it to
/// each scan in the order of the messages, and keeps one per direction.
#[derive(Clone, Debug, Default)]
pub struct Carry {
    /// Which text, and its end; the one written last stands last.
    pub(super) tails: Vec<(u64, Tail)>,
}

/// The end of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) text: String,
    /// The same as a record may hold it, where it differs.
    pub(super) shown: Option<String>,
}

impl Carry {
    /// Nothing remembered yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is remembered of a text.
    pub(super) fn tail(&self, place: &Where<'_>) -> Option<&str> {
        let key = place.key();
        self.tails.iter().find(|(known, _)| *known == key).map(|(_, tail)| tail.text.as_str())
    }

    /// Remembers the end of a text, after what is remembered of it.
    pub(super) fn remember(&mut self, place: &Where<'_>, text: &str) {
        let key = place.key();
        let at = self.tails.iter().position(|(known, _)| *known == key);
        let mut tail = at.map(|at| self.tails.remove(at).1).unwrap_or_default();
        if let Some(shown) = tail.shown.take() {
            tail.shown = Some(shown + end(text)).filter(|_| text.len() < TAIL);
        }
        tail.text.push_str(end(text));
        let last = |text: String| match text.len() > TAIL {
            true => end(&text).to_owned(),
            false => text,
        };
        let tail = Tail { text: last(tail.text), shown: tail.shown.map(last) };
        if self.tails.len() == MAX_TAILS {
            self.tails.remove(0);
        }
        self.tails.push((key, tail));
    }
}

/// Which texts follow each other: those of a stream, or those of one argument of one tool.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Where<'t> {
    Stream,
    Argument {
        tool: &'t str,
        key: &'t str,
    },
    /// Another text, of which only its place in the order is told.
    Other(usize),
}

impl<'t> Where<'t> {
    /// The place of a message's text under this key.
    pub(super) fn of(message: &'t Message<'_>, key: u32, subject: &Subject<'t>) -> Self {
        match subject.direction {
            Direction::ToClient => Where::Stream,
            Direction::ToServer => {
                Where::Argument { tool: subject.name.unwrap_or(""), key: message.string(key) }
            }
        }
    }

    pub(super) fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// The last bytes of a text, from a whole character on.
pub(super) fn end(text: &str) -> &str {
    let from = text.len().saturating_sub(TAIL);
    (from..=text.len()).find_map(|at| text.get(at..)).unwrap_or("")
}

/// The first bytes of a text, to a whole character.
pub(super) fn head(text: &str) -> &str {
    (0..=text.len().min(TAIL)).rev().find_map(|at| text.get(..at)).unwrap_or("")
}
