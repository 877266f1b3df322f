//! One rule over one part of one text: regex, then every further condition, cheapest first.

use super::pass::{Found, Pass, Place};
use super::{MAX_FINDINGS, Part};
use super::{exempt, joins, quote, regions};
use crate::compile::{Allow, Rule, RuleIx, Trigger, hex};
use crate::message::{NO_KEY, ValueKind};
use crate::normalize::Derived;
use crate::rule::{AllowTarget, Class, View};
use crate::surface::{Surface, surface_of};
use crate::validate;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;
use std::ops::Range;

/// Bytes after a window that a look-ahead at its end may read: one character.
const SLACK: usize = 4;
/// Bytes of a line on each side of a match that an allow list looks at.
const LINE: usize = 1024;
/// What a match costs beside its bytes.
const PER_MATCH: usize = 16;
/// What a search of unbounded length may read beyond its match.
const LOOK_AHEAD: usize = 4096;

/// A text to look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'t> {
    pub(super) text: &'t [u8],
    /// The text of the message it comes from.
    pub(super) node: u32,
    /// The nearest key above it.
    pub(super) key: Option<&'t str>,
    /// Which key that is.
    pub(super) key_id: u32,
    pub(super) kind: ValueKind,
    /// Which text this is, among all that are looked at.
    pub(super) id: u32,
    pub(super) view: View,
    pub(super) back: Back<'t>,
}

/// The way from a text that is looked at back to the message's own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Back<'t> {
    /// It is the message's own.
    Same,
    /// Each was made from the one before it, the first from the message's own.
    Chain(&'t [&'t Derived]),
    /// Neighbours put together.
    Joined(&'t joins::Joined),
}

impl Back<'_> {
    /// Whether the text stands in the message as it is read, or as a value of JSON in a string.
    fn is_json(&self) -> bool {
        match self {
            Self::Same => true,
            Self::Chain(chain) => chain.iter().all(|derived| derived.is_json_value),
            Self::Joined(_) => false,
        }
    }
}

/// Where in the message something found stands.
pub(super) type Places = SmallVec<[(u32, Range<usize>); 1]>;

impl Pass<'_, '_, '_> {
    /// Looks for a rule's matches in part of a text. The part is narrowed by what every match contains.
    pub(super) fn look(&mut self, piece: &Piece<'_>, ix: RuleIx, start: usize, end: usize) {
        let rule = self.rules.rule(ix);
        if piece.text.len() < rule.gate.min_len
            || !rule.views.has(piece.view)
            || !self.is_named(piece, ix)
        {
            if self.trace.is_some() {
                self.tell_unasked(piece, ix);
            }
            return;
        }
        let end = end.min(piece.text.len());
        let gate = rule.gate;
        if matches!(rule.trigger, Trigger::Value(_)) {
            return self.search(piece, ix, start, end);
        }
        // Not opened by a literal of its own: dense digits or a rare byte narrow the part, where there are any.
        match (gate.digits, gate.max_len, gate.byte) {
            (2.., Some(max), _) => {
                self.digits(piece);
                let places = std::mem::take(&mut self.memory.digits);
                for (from, to) in regions::dense(&places, gate.digits, max) {
                    self.search(piece, ix, from, to.min(piece.text.len()));
                }
                self.memory.digits = places;
            }
            (_, Some(max), Some((byte, before))) => {
                let before = before.unwrap_or(max);
                let mut part: Option<(usize, usize)> = None;
                for at in memchr::memchr_iter(byte, piece.text) {
                    let (from, to) =
                        ((at + 1).saturating_sub(before), (at + max).min(piece.text.len()));
                    match &mut part {
                        Some((_, end)) if from <= *end => *end = to,
                        _ => {
                            if let Some((from, to)) = part.replace((from, to)) {
                                self.search(piece, ix, from, to);
                            }
                        }
                    }
                }
                if let Some((from, to)) = part {
                    self.search(piece, ix, from, to);
                }
            }
            (_, None, Some((byte, _))) if memchr::memchr(byte, piece.text).is_none() => {}
            _ => self.search(piece, ix, start, end),
        }
    }

    /// Whether the text's key is one that the rule asks for. Each key is looked at once by each rule.
    fn is_named(&mut self, piece: &Piece<'_>, ix: RuleIx) -> bool {
        let rule = self.rules.rule(ix);
        let Some(pattern) = &rule.key else { return true };
        let Some(key) = piece.key else { return false };
        match self.memory.keys.get(ix.index()) {
            Some((seen, fits)) if *seen == piece.key_id && *seen != NO_KEY => return *fits,
            _ => {}
        }
        if !self.charge(key.len()) {
            return false;
        }
        let fits = pattern.is_match(key.as_bytes());
        if let Some(slot) = self.memory.keys.get_mut(ix.index()) {
            *slot = (piece.key_id, fits);
        }
        fits
    }

    /// Searches `start..end` of a text; what starts there ends there too, or the end is the text's own.
    fn search(&mut self, piece: &Piece<'_>, ix: RuleIx, start: usize, end: usize) {
        let rule = self.rules.rule(ix);
        let cut = end.saturating_add(SLACK).min(piece.text.len());
        let Some(text) = piece.text.get(..cut) else {
            return;
        };
        let mut at = start;
        while at < end && !self.is_over() {
            // what is left must be affordable as a whole; a match gives back what was not read
            let cost = cut - at;
            if cost > self.work {
                self.work = 0;
                self.truncated = true;
                return;
            }
            let Some(whole) = rule.pattern.find_at(text, at) else {
                self.charge(cost);
                self.truncated |= !rule.pattern.is_sound();
                return;
            };
            let ahead = rule.gate.max_len.unwrap_or(LOOK_AHEAD).min(cut - whole.end);
            self.charge(whole.end - at + ahead.min(LOOK_AHEAD) + PER_MATCH);
            if whole.start >= end {
                // it lies in a later part, or in the slack
                return;
            }
            let secret = rule
                .secret
                .and_then(|group| rule.pattern.group(text, &whole, group))
                .unwrap_or_else(|| whole.clone());
            at = whole.end.max(at + 1);
            let before = self.memory.found.len();
            let holds = self.holds(ix, piece, &whole, &secret);
            if holds {
                self.keep(ix, piece, &whole, secret.clone());
            }
            if self.trace.is_some() {
                self.tell(ix, piece, (&whole, &secret), holds, before);
            }
        }
    }

    /// Whether a match meets the rule's further conditions.
    fn holds(
        &mut self,
        ix: RuleIx,
        piece: &Piece<'_>,
        whole: &Range<usize>,
        secret: &Range<usize>,
    ) -> bool {
        let rule = self.rules.rule(ix);
        let Some(value) = piece.text.get(secret.clone()) else {
            return false;
        };
        (rule.def.keywords.is_empty() || self.has_keyword(ix, piece, whole))
            && rule.validator.is_none_or(|validator| validator.check(value))
            && rule.def.entropy.is_none_or(|least| validate::entropy(value) >= least)
            && !rule.allow.iter().any(|allow| self.is_allowed(allow, piece, whole, value))
    }

    /// Whether one of the rule's keywords stands near enough to a match, or in the key that names the text.
    pub(super) fn has_keyword(
        &mut self,
        ix: RuleIx,
        piece: &Piece<'_>,
        whole: &Range<usize>,
    ) -> bool {
        let rule = self.rules.rule(ix);
        if let Some((id, of, had)) = self.worded
            && rule.def.window.is_none()
            && (id, of) == (piece.id, ix)
        {
            return had;
        }
        let near = match rule.def.window {
            None => piece.text,
            Some(window) => {
                let end = whole.end.saturating_add(window).min(piece.text.len());
                piece.text.get(whole.start.saturating_sub(window)..end).unwrap_or(&[])
            }
        };
        let key = piece.key.unwrap_or("").as_bytes();
        if !self.charge((near.len() + key.len()) / 4) {
            return false;
        }
        let had = rule.has_keyword(near) || rule.has_keyword(key);
        self.worded = Some((piece.id, ix, had));
        had
    }

    pub(super) fn is_allowed(
        &self,
        allow: &Allow,
        piece: &Piece<'_>,
        whole: &Range<usize>,
        secret: &[u8],
    ) -> bool {
        let target = match allow.target {
            AllowTarget::Secret => secret,
            AllowTarget::Match => piece.text.get(whole.clone()).unwrap_or(secret),
            AllowTarget::Line => {
                let from = whole.start.saturating_sub(LINE);
                let to = whole.end.saturating_add(LINE).min(piece.text.len());
                let before = piece.text.get(from..whole.start).unwrap_or(&[]);
                let after = piece.text.get(whole.end..to).unwrap_or(&[]);
                let start = memchr::memrchr(b'\n', before).map_or(from, |at| from + at + 1);
                let end = memchr::memchr(b'\n', after).map_or(to, |at| whole.end + at);
                piece.text.get(start..end).unwrap_or(secret)
            }
            AllowTarget::Tool => self.subject.name.unwrap_or("").as_bytes(),
            AllowTarget::Server => self.subject.server.as_bytes(),
        };
        allow.regexes.iter().any(|pattern| pattern.is_match(target))
            || allow.stopwords.iter().any(|word| contains(target, word.as_bytes()))
            || (!allow.hashes.is_empty() && allow.hashes.contains(&hex(&Sha256::digest(target))))
    }

    /// Keeps a finding, unless its place is not the rule's, or is opaque to everyone but the peers, or it was found in
    /// a plainer reading already.
    fn keep(&mut self, ix: RuleIx, piece: &Piece<'_>, whole: &Range<usize>, secret: Range<usize>) {
        let rule = self.rules.rule(ix);
        let Some((places, part)) = places(piece, whole, &secret) else { return };
        let Some(node) = places.first().map_or(Some(piece.node), |(node, _)| Some(*node)) else {
            return;
        };
        // Of a secret that goes on in another reading, the rest has to go too; what goes on in a neighbour is a guess,
        // and a sentence is told once.
        let whole_secret = matches!(rule.def.class, Class::Secret | Class::Pii)
            && matches!(piece.back, Back::Chain(_));
        let known = |found: &Found| {
            let is_in = |(node, range): &(u32, Range<usize>)| {
                found.places.iter().any(|(n, known)| match n == node {
                    true if whole_secret => known.start <= range.start && range.end <= known.end,
                    same => same && range.start < known.end && known.start < range.end,
                })
            };
            found.rule == ix
                && match whole_secret {
                    true => places.iter().all(is_in),
                    false => places.iter().any(is_in),
                }
        };
        if !matches!(piece.back, Back::Same) && self.memory.found.iter().any(known) {
            return;
        }
        let Some((surface, path)) = self.place(rule, piece.kind, node) else { return };
        if self.memory.found.len() == MAX_FINDINGS {
            self.truncated = true;
            return;
        }
        let quoted = rule.def.quotable && quote::is_quoted(piece.text, whole);
        let near = rule.def.context.as_ref().is_some_and(|context| {
            let end = whole.end.saturating_add(context.distance).min(piece.text.len());
            let near = piece.text.get(whole.start.saturating_sub(context.distance)..end);
            context.words.iter().any(|word| {
                near.is_some_and(|near| contains(near, word.to_ascii_lowercase().as_bytes()))
            })
        });
        let more = rule.def.context.as_ref().filter(|_| near).map_or(0, |context| context.score);
        let kind = match piece.kind {
            ValueKind::String
                if matches!(piece.back, Back::Same) && is_nested_number(piece.text, &secret) =>
            {
                ValueKind::Number
            }
            // what is encoded goes whole
            ValueKind::Number if !piece.back.is_json() => ValueKind::String,
            kind => kind,
        };
        let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.memory.found.push(Found {
            rule: ix,
            around: (length(secret.start - whole.start), length(whole.end - secret.end)),
            places,
            kind,
            surface,
            path,
            score: rule.score().saturating_add(more),
            view: piece.view,
            quoted,
            part,
        });
    }

    /// The surface and path of a text, unless the rule does not look there or nothing there may be changed.
    pub(super) fn place(
        &mut self,
        rule: &Rule,
        kind: ValueKind,
        node: u32,
    ) -> Option<(Surface, String)> {
        let message = match self.place {
            Place::Example => return Some((Surface::Other, String::new())),
            Place::Alone(surface) => return Some((surface, String::new())),
            Place::In(message) => message,
        };
        let nodes = message.nodes();
        if !self.go_to(nodes, node) {
            return None;
        }
        let (surface, opaque) = match self.placed {
            Some((at, surface, opaque)) if at == node => (surface, opaque),
            _ => {
                let words = self.memory.path.words(nodes);
                let method = self.subject.method;
                let surface = surface_of(message.kind(), self.direction(), method, &words);
                let parent = self.memory.path.parent();
                let opaque = exempt::is_opaque(&words, nodes, parent, &mut self.media);
                self.placed = Some((node, surface, opaque));
                (surface, opaque)
            }
        };
        if !rule.surfaces().has(surface, self.direction()) || (kind != ValueKind::Key && opaque) {
            return None;
        }
        // keys that are findings themselves must not be told in paths
        let found = &self.memory.found;
        let is = |f: &Found, key: u32| {
            f.kind == ValueKind::Key && f.places.iter().any(|(node, _)| *node == key)
        };
        let hidden =
            |key: u32| (kind == ValueKind::Key && key == node) || found.iter().any(|f| is(f, key));
        Some((surface, self.memory.path.pointer(nodes, hidden)))
    }

    /// Moves the walk along the path to a node; false when it had to begin anew too often.
    pub(super) fn go_to(&mut self, nodes: &[simd_json::Node<'_>], node: u32) -> bool {
        if self.memory.path.is_beyond(node as usize) {
            let Some(left) = self.rewinds.checked_sub(1) else {
                self.truncated = true;
                return false;
            };
            self.rewinds = left;
            self.memory.path.reset();
        }
        self.memory.path.seek(nodes, node as usize);
        true
    }
}

/// The way back from what was found to the message's own texts; `None` when the whole match says nothing that these
/// don't say.
pub(super) fn places(
    piece: &Piece<'_>,
    whole: &Range<usize>,
    secret: &Range<usize>,
) -> Option<(Places, Part)> {
    match piece.back {
        Back::Same => Some((SmallVec::from_elem((piece.node, secret.clone()), 1), Part::This)),
        Back::Chain(chain) => {
            let (_, made) = chain.last()?.source(whole)?;
            let back = |range, derived: &&Derived| Some(derived.source(&range)?.0);
            let range = chain.iter().rev().try_fold(secret.clone(), back)?;
            made.then(|| (SmallVec::from_elem((piece.node, range), 1), Part::This))
        }
        Back::Joined(joined) => joined.places(secret),
    }
}

/// Whether part of a text that is JSON is a number of it: quotes round a placeholder would be missing there.
fn is_nested_number(text: &[u8], range: &Range<usize>) -> bool {
    let json = text.trim_ascii_start().first().is_some_and(|b| matches!(b, b'{' | b'['));
    let part = text.get(range.clone()).unwrap_or(&[]);
    let digit = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E');
    if !json || !part.iter().all(digit) {
        return false;
    }
    let before = text.get(range.start.saturating_sub(64)..range.start).unwrap_or(&[]);
    let after = text.get(range.end..text.len().min(range.end + 64)).unwrap_or(&[]);
    let opens = before.iter().rev().find(|b| !digit(b));
    let closes = after.iter().find(|b| !digit(b));
    opens.is_some_and(|b| matches!(b, b':' | b',' | b'[' | b' ' | b'\n' | b'\t'))
        && closes.is_some_and(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))
}

/// Whether `text` contains `word` (lower case), ASCII case aside.
pub(super) fn contains(text: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else {
        return true;
    };
    let mut from = 0;
    while let Some(at) =
        memchr::memchr2(*first, first.to_ascii_uppercase(), text.get(from..).unwrap_or(&[]))
    {
        let start = from + at;
        if text.get(start..start + word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word)) {
            return true;
        }
        from = start + 1;
    }
    false
}
