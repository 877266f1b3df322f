//! One rule over one part of one text: regex, then every further condition, cheapest first.

use super::MAX_FINDINGS;
use super::exempt;
use super::pass::{Found, Pass, Place};
use super::regions;
use crate::compile::{Allow, Rule, RuleIx, Trigger, hex};
use crate::message::ValueKind;
use crate::rule::AllowTarget;
use crate::surface::{Surface, surface_of};
use crate::validate;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// Bytes after a window that a look-ahead at its end may read: one character.
const SLACK: usize = 4;

/// A text to look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'t> {
    pub(super) text: &'t [u8],
    pub(super) node: u32,
    /// The nearest key above it.
    pub(super) key: Option<&'t str>,
    pub(super) kind: ValueKind,
}

impl Pass<'_, '_, '_> {
    /// Looks for a rule's matches in part of a text. The part is narrowed by what every match contains.
    pub(super) fn look(&mut self, piece: &Piece<'_>, ix: RuleIx, start: usize, end: usize) {
        let rule = self.rules.rule(ix);
        // the key first: most texts have another one
        if let Some(key) = &rule.key
            && !piece.key.is_some_and(|name| key.is_match(name.as_bytes()))
        {
            return;
        }
        if piece.text.len() < rule.gate.min_len {
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
                let mut places = std::mem::take(&mut self.memory.digits);
                if !matches!(rule.trigger, Trigger::Always) {
                    regions::digits(piece.text, &mut places);
                }
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

    /// Searches `start..end` of a text; what starts there ends there too, or the end is the text's own.
    fn search(&mut self, piece: &Piece<'_>, ix: RuleIx, start: usize, end: usize) {
        let rule = self.rules.rule(ix);
        let cut = end.saturating_add(SLACK).min(piece.text.len());
        let Some(text) = piece.text.get(..cut) else {
            return;
        };
        let mut at = start;
        while at < end && !self.is_over() {
            // an estimate from above: the regex stops at a match
            let cost = cut - at;
            if cost > self.work {
                self.work = 0;
                self.truncated = true;
                return;
            }
            let Some(found) = rule.regex.find_at(text, at) else {
                self.work -= cost;
                return;
            };
            self.work -= (found.end() - at).min(self.work);
            if found.start() >= end {
                // it lies in a later part, or in the slack
                return;
            }
            let whole = found.range();
            let secret = rule
                .secret
                .and_then(|group| rule.regex.captures_at(text, at)?.get(group).map(|m| m.range()))
                .unwrap_or_else(|| whole.clone());
            at = whole.end.max(at + 1);
            if self.holds(rule, piece, &whole, &secret) {
                self.keep(ix, piece, secret);
            }
        }
    }

    /// Whether a match meets the rule's further conditions.
    fn holds(
        &self,
        rule: &Rule,
        piece: &Piece<'_>,
        whole: &Range<usize>,
        secret: &Range<usize>,
    ) -> bool {
        let Some(value) = piece.text.get(secret.clone()) else {
            return false;
        };
        let near = || match rule.def.window {
            None => Some(piece.text),
            Some(window) => {
                let end = whole.end.saturating_add(window).min(piece.text.len());
                piece.text.get(whole.start.saturating_sub(window)..end)
            }
        };
        let keyword = || {
            rule.keywords.iter().any(|word| {
                near().is_some_and(|near| contains(near, word.as_bytes()))
                    || piece.key.is_some_and(|key| contains(key.as_bytes(), word.as_bytes()))
            })
        };
        (rule.keywords.is_empty() || keyword())
            && rule.validator.is_none_or(|validator| validator.check(value))
            && rule.def.entropy.is_none_or(|least| validate::entropy(value) >= least)
            && !rule.allow.iter().any(|allow| self.is_allowed(allow, piece, whole, value))
    }

    fn is_allowed(
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
                let before = piece.text.get(..whole.start).unwrap_or(&[]);
                let after = piece.text.get(whole.end..).unwrap_or(&[]);
                let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
                let end =
                    memchr::memchr(b'\n', after).map_or(piece.text.len(), |at| whole.end + at);
                piece.text.get(start..end).unwrap_or(secret)
            }
            AllowTarget::Tool => self.subject.name.unwrap_or("").as_bytes(),
            AllowTarget::Server => self.subject.server.as_bytes(),
        };
        allow.regexes.iter().any(|regex| regex.is_match(target))
            || allow.stopwords.iter().any(|word| contains(target, word.as_bytes()))
            || (!allow.hashes.is_empty() && allow.hashes.contains(&hex(&Sha256::digest(target))))
    }

    /// Keeps a finding, unless its place is not the rule's, or is opaque to everyone but the peers.
    fn keep(&mut self, ix: RuleIx, piece: &Piece<'_>, range: Range<usize>) {
        let (surface, path) = match self.place {
            Place::Example => (Surface::Other, String::new()),
            Place::Alone(surface) => (surface, String::new()),
            Place::In(message) => {
                let nodes = message.nodes();
                self.memory.path.seek(nodes, piece.node as usize);
                let words = self.memory.path.words(nodes);
                let method = self.subject.method;
                let surface = surface_of(message.kind(), self.direction(), method, &words);
                let fits = self.rules.rule(ix).surfaces().has(surface, self.direction());
                let parent = self.memory.path.parent();
                if !fits
                    || (piece.kind != ValueKind::Key && exempt::is_opaque(&words, nodes, parent))
                {
                    return;
                }
                // keys that are findings themselves must not be told in paths
                let found = &self.memory.found;
                let hidden = |key: u32| {
                    (piece.kind == ValueKind::Key && key == piece.node)
                        || found.iter().any(|f| f.kind == ValueKind::Key && f.node == key)
                };
                (surface, self.memory.path.pointer(nodes, hidden))
            }
        };
        if self.memory.found.len() == MAX_FINDINGS {
            self.truncated = true;
            return;
        }
        self.memory.found.push(Found {
            rule: ix,
            node: piece.node,
            kind: piece.kind,
            range,
            surface,
            path,
        });
    }
}

/// Whether `text` contains `word` (lower case), ASCII case aside.
fn contains(text: &[u8], word: &[u8]) -> bool {
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
