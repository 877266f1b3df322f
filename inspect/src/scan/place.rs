//! From what was found to findings: the raw spans, in one walk over the raw bytes.

use super::pass::{Found, Pass};
use super::{Finding, Scan, Span};
use crate::compile::{RuleIx, RuleSet};
use crate::cursor::{Escapes, Tokens};
use crate::message::{Message, ValueKind};
use smallvec::SmallVec;
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
        found.sort_by_key(|found| (found.node, found.range.start, found.range.end, found.rule));
        let raw = message.raw();
        let mut tokens = Tokens::new(raw);
        let mut token: Option<(u32, Range<usize>, Escapes<'_>)> = None;
        let mut findings = Vec::with_capacity(found.len());
        for found in found.drain(..) {
            if token.as_ref().is_none_or(|(node, ..)| *node != found.node) {
                token = tokens.seek(found.node as usize).and_then(|range| {
                    let escapes = Escapes::new(raw.get(range.clone())?);
                    Some((found.node, range, escapes))
                });
            }
            let Some((_, range, escapes)) = &mut token else {
                // not reachable: the walk follows the parser; hide nothing rather than the wrong bytes
                continue;
            };
            let inside = match found.kind {
                ValueKind::Number => Some(found.range.clone()),
                _ => escapes.map(&found.range),
            };
            let inside = inside.unwrap_or(0..range.len());
            let span = Span { start: range.start + inside.start, end: range.start + inside.end };
            findings.push(finding(self.rules, found, span));
        }
        Scan { findings, truncated }
    }

    /// The same for a text of its own: offsets are what they are.
    pub(super) fn finish_alone(self) -> Scan {
        let mut findings: Vec<Finding> = self
            .memory
            .found
            .drain(..)
            .map(|found| {
                let span = Span { start: found.range.start, end: found.range.end };
                finding(self.rules, found, span)
            })
            .collect();
        findings.sort_by_key(|finding| (finding.spans.first().copied(), finding.rule));
        Scan { findings, truncated: self.truncated }
    }
}

fn finding(rules: &RuleSet, found: Found, span: Span) -> Finding {
    Finding {
        rule: found.rule,
        spans: SmallVec::from_elem(span, 1),
        surface: found.surface,
        path: found.path,
        in_key: found.kind == ValueKind::Key,
        kind_of_value: found.kind,
        score: rules.rule(found.rule).score(),
    }
}
