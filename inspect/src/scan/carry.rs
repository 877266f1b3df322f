//! What a stream or session remembers of its texts, so that what is split between messages is found.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Bytes kept of each text.
pub(super) const TAIL: usize = 256;
/// Texts remembered at most.
const MAX_TAILS: usize = 16;

/// The ends of the texts that a stream or session sent last: at most 16 of at most 256 bytes. Its owner passes it to
/// each scan in the order of the messages, and keeps one per direction.
#[derive(Clone, Debug, Default)]
pub struct Carry {
    /// Which text, and its end; the one written last stands last.
    tails: Vec<(u64, String)>,
}

impl Carry {
    /// Nothing remembered yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a stream's last text ended in, as a record tells it.
    #[must_use]
    pub fn of_stream(tail: &str) -> Self {
        let mut carry = Self::new();
        carry.remember(&Where::Stream, tail);
        carry
    }

    /// What is remembered of a text.
    pub(super) fn tail(&self, place: &Where<'_>) -> Option<&str> {
        let key = place.key();
        self.tails.iter().find(|(known, _)| *known == key).map(|(_, tail)| tail.as_str())
    }

    /// Remembers the end of a text, after what is remembered of it.
    pub(super) fn remember(&mut self, place: &Where<'_>, text: &str) {
        let key = place.key();
        let at = self.tails.iter().position(|(known, _)| *known == key);
        let mut tail = at.map(|at| self.tails.remove(at).1).unwrap_or_default();
        tail.push_str(end(text));
        let tail = end(&tail).to_owned();
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
    Argument { tool: &'t str, key: &'t str },
}

impl Where<'_> {
    fn key(&self) -> u64 {
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
