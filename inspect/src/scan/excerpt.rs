//! Part of a text as people may see it: cut to a bound, with secrets marked wherever and however they stand.

use super::verify::{Back, Piece};
use crate::rule::View;
use std::collections::BTreeSet;
use std::ops::Range;

/// What stands for something hidden.
const HIDDEN: &str = "****";
/// Shortest text that is hidden wherever it stands.
const MIN_VALUE: usize = 4;
/// Secrets remembered at most; beyond them everything is hidden.
const MAX_SECRETS: usize = 2_000;
/// A character made of more bytes than this stands for a whole run, as of base64, not for what it is itself.
const MAX_ORIGIN: usize = 12;
/// Bytes of a secret by which its beginning is known at the end of what was cut.
const START: usize = 8;

/// A text of the message, and what part of it.
type Origin = (u32, Range<usize>);

/// Part of a text.
#[derive(Clone, Debug, Default)]
pub struct Excerpt {
    text: String,
    /// For each character: where it begins, and what it stands for in which text of the message.
    origins: Vec<(usize, Option<Origin>)>,
    hidden: Vec<Range<usize>>,
    cut: bool,
}

impl Excerpt {
    /// The part, at most so many bytes of it.
    pub(super) fn new(piece: &Piece<'_>, part: &Range<usize>, bytes: usize) -> Self {
        let Ok(text) = std::str::from_utf8(piece.text) else { return Self::default() };
        let back = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        let start = back(part.start).unwrap_or(0);
        let whole = (part.end..=text.len()).find(|at| text.is_char_boundary(*at));
        let whole = whole.unwrap_or(text.len());
        let end = back(whole.min(start.saturating_add(bytes))).unwrap_or(start);
        let part = text.get(start..end).unwrap_or("");
        let origins = part.char_indices().map(|(at, c)| {
            let range = start + at..start + at + c.len_utf8();
            (at, origin(piece, range))
        });
        let origins = origins.collect();
        Self { origins, text: part.to_owned(), hidden: Vec::new(), cut: end < whole }
    }

    pub(super) fn of_key(key: &str) -> Self {
        Self { text: key.to_owned(), ..Self::default() }
    }

    /// What is shown: with `****` for what is hidden, unless that is to be revealed, and `…` where it was cut.
    #[must_use]
    pub fn shown(&self, reveal: bool) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut done = 0;
        let mut hidden = if reveal { Vec::new() } else { self.hidden.clone() };
        hidden.sort_unstable_by_key(|range| (range.start, range.end));
        for range in hidden {
            if range.end <= done {
                continue;
            }
            if range.start >= done {
                out.push_str(self.text.get(done..range.start).unwrap_or(""));
                if range.start > done || !out.ends_with(HIDDEN) {
                    out.push_str(HIDDEN);
                }
            }
            done = range.end;
        }
        out.push_str(self.text.get(done..).unwrap_or(""));
        if self.cut {
            out.push('…');
        }
        out
    }

    /// Hides part of the text that `base` bytes of were left out before this.
    pub(super) fn hide(&mut self, range: &Range<usize>, base: usize) {
        let start = range.start.saturating_sub(base).min(self.text.len());
        let end = range.end.saturating_sub(base).min(self.text.len());
        let start = (0..=start).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        let end = (end..=self.text.len()).find(|at| self.text.is_char_boundary(*at));
        let end = end.unwrap_or(self.text.len());
        if start < end {
            self.hidden.push(start..end);
        }
    }
}

/// What part of a text stands for in the message; `None` when it is in none of its texts.
fn origin(piece: &Piece<'_>, mut range: Range<usize>) -> Option<Origin> {
    match piece.back {
        Back::Same => {}
        Back::Chain(chain) => {
            for derived in chain.iter().rev() {
                range = derived.source(&range)?.0;
            }
        }
        Back::Joined(joined) => {
            let (node, at) = joined.origin(range.start)?;
            return Some((node, at..at + range.len()));
        }
    }
    Some((piece.node, range))
}

/// The secrets of a message: where they stand in its own texts, and what they read as, in every form they went through.
#[derive(Clone, Debug, Default)]
pub(super) struct Secrets {
    places: Vec<Origin>,
    values: BTreeSet<String>,
    too_many: bool,
}

impl Secrets {
    /// Part of a text is secret; `root` is the text of the message that text was made of.
    pub(super) fn add(&mut self, piece: &Piece<'_>, secret: &Range<usize>, root: &str) {
        if self.places.len() >= MAX_SECRETS || self.values.len() >= MAX_SECRETS {
            self.too_many = true;
            return;
        }
        self.value(std::str::from_utf8(piece.text).ok().and_then(|text| text.get(secret.clone())));
        match piece.back {
            Back::Same => self.places.push((piece.node, secret.clone())),
            Back::Chain(chain) => {
                let mut range = secret.clone();
                for (at, derived) in chain.iter().enumerate().rev() {
                    let Some((source, _)) = derived.source(&range) else { return };
                    let before = at.checked_sub(1).and_then(|before| chain.get(before));
                    let text = before.map_or(root, |derived| derived.text.as_str());
                    self.value(text.get(source.clone()));
                    range = source;
                }
                self.places.push((piece.node, range));
            }
            Back::Joined(joined) => {
                let places = joined.places(secret).map(|(places, _)| places);
                self.places.extend(places.into_iter().flatten());
            }
        }
    }

    fn value(&mut self, value: Option<&str>) {
        if let Some(value) = value.filter(|value| value.len() >= MIN_VALUE) {
            self.values.insert(value.to_owned());
        }
    }

    pub(super) fn also(&mut self, other: &Self) {
        self.places.extend(other.places.iter().cloned());
        self.values.extend(other.values.iter().cloned());
        self.too_many |= other.too_many;
    }

    /// Whether a secret stands in the text at a node.
    pub(super) fn has_node(&self, node: u32) -> bool {
        self.places.iter().any(|(known, _)| *known == node)
    }

    /// Hides every secret in a text.
    pub(super) fn hide(&self, excerpt: &mut Excerpt, view: View) {
        let len = excerpt.text.len();
        if self.too_many {
            excerpt.hidden.push(0..len);
            return;
        }
        let mut hidden = Vec::new();
        // what stands for part of a secret
        for (index, (at, origin)) in excerpt.origins.iter().enumerate() {
            let Some((node, range)) = origin else { continue };
            if range.len() > MAX_ORIGIN && view != View::Folded {
                continue;
            }
            let is_secret = self.places.iter().any(|(of, secret)| {
                of == node && range.start < secret.end && secret.start < range.end
            });
            if is_secret {
                let end = excerpt.origins.get(index + 1).map_or(len, |(at, _)| *at);
                hidden.push(*at..end);
            }
        }
        // what reads like one
        for value in &self.values {
            hidden.extend(excerpt.text.match_indices(value).map(|(at, _)| at..at + value.len()));
            if let (true, Some(start)) = (excerpt.cut, value.get(..START)) {
                let begun = excerpt.text.match_indices(start).map(|(at, _)| at);
                let cut = |at: &usize| {
                    excerpt.text.get(*at..).is_some_and(|rest| value.starts_with(rest))
                };
                hidden.extend(begun.filter(cut).map(|at| at..len));
            }
        }
        excerpt.hidden.extend(hidden);
    }
}
