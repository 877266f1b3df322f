//! From what was found to findings: the raw spans, in one walk over the raw bytes.

use super::pass::{Found, Pass};
use super::{Finding, Scan, Span, Standing};
use crate::compile::{RuleIx, RuleSet};
use crate::cursor::{Escapes, Tokens};
use crate::message::{Message, ValueKind};
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::ops::Range;

impl Pass<'_, '_, '_> {
    /// The rules that found something.
    pub(super) fn rules_found(self) -> Vec<RuleIx> {
        self.memory.found.iter().map(|found| found.rule).collect()
    }

    /// Finds the raw spans of everything found, in one walk over the raw bytes.
    pub(super) fn finish(self, message: &Message<'_>) -> Scan {
        let truncated = self.truncated;
        let found = &mut self.memory.found;
        if found.is_empty() {
            return Scan { findings: Vec::new(), truncated };
        }
        found.sort_by(by_place);
        // all places in the order of the message, each with the finding it belongs to
        let mut places: Vec<(u32, Range<usize>, usize, usize)> = Vec::with_capacity(found.len());
        for (index, one) in found.iter().enumerate() {
            let of = one.places.iter().enumerate();
            places.extend(of.map(|(at, (node, range))| (*node, range.clone(), index, at)));
        }
        places.sort_by_key(|(node, range, ..)| (*node, range.start));
        let raw = message.raw();
        let mut tokens = Tokens::new(raw);
        let mut token: Option<(u32, Range<usize>, Escapes<'_>)> = None;
        let mut spans: Vec<SmallVec<[(usize, Span); 1]>> = vec![SmallVec::new(); found.len()];
        for (node, range, index, at) in places {
            if token.as_ref().is_none_or(|(known, ..)| *known != node) {
                token = tokens.seek(node as usize).and_then(|range| {
                    let escapes = Escapes::new(raw.get(range.clone())?);
                    Some((node, range, escapes))
                });
            }
            let Some((_, token, escapes)) = &mut token else {
                // not reachable: the walk follows the parser; hide nothing rather than the wrong bytes
                continue;
            };
            let is_string = token.start.checked_sub(1).and_then(|at| raw.get(at)) == Some(&b'"');
            let inside = if is_string { escapes.map(&range) } else { Some(range) };
            let inside = inside.unwrap_or(0..token.len());
            let span = Span { start: token.start + inside.start, end: token.start + inside.end };
            if let Some(of) = spans.get_mut(index) {
                of.push((at, span));
            }
        }
        let findings = found
            .drain(..)
            .zip(spans)
            .map(|(found, mut spans)| {
                spans.sort_unstable_by_key(|(at, _)| *at);
                finding(self.rules, found, spans.into_iter().map(|(_, span)| span).collect())
            })
            .collect();
        Scan { findings, truncated }
    }

    /// The same for a text of its own: offsets are what they are.
    pub(super) fn finish_alone(self) -> Scan {
        let mut findings: Vec<Finding> = self
            .memory
            .found
            .drain(..)
            .map(|found| {
                let spans = found.places.iter().map(|(_, r)| Span { start: r.start, end: r.end });
                let spans = spans.collect();
                finding(self.rules, found, spans)
            })
            .collect();
        findings.sort_by_key(|finding| (finding.spans.first().copied(), finding.rule));
        Scan { findings, truncated: self.truncated }
    }
}

/// The order of findings: that of the document.
pub(super) fn by_place(a: &Found, b: &Found) -> Ordering {
    let key = |f: &Found| f.places.first().map(|(node, r)| (*node, r.start, r.end));
    key(a).cmp(&key(b)).then(a.rule.cmp(&b.rule))
}

fn finding(rules: &RuleSet, found: Found, spans: SmallVec<[Span; 1]>) -> Finding {
    Finding {
        rule: found.rule,
        spans,
        around: found.around,
        surface: found.surface,
        path: found.path,
        in_key: found.kind == ValueKind::Key,
        kind_of_value: found.kind,
        score: found.score,
        view: found.view,
        quoted: found.quoted,
        part: found.part,
        standing: match rules.rule(found.rule).def().shadow {
            true => Standing::Shadow,
            false => Standing::Enforced,
        },
    }
}
