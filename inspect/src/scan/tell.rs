//! Telling a trace what became of each match.
//!
//! Why a match fell is asked again afterwards, of the same checks in the same order, and what that costs is given back, so
//! a verdict with a trace is the verdict without one.

use super::MAX_FINDINGS;
use super::pass::{Found, Pass, Place};
use super::trace::{Check, Outcome};
use super::verify::{Back, Piece, places};
use crate::compile::RuleIx;
use crate::message::{NO_KEY, ValueKind};
use crate::rule::{AllowTarget, View};
use crate::validate;
use std::ops::Range;

impl Pass<'_, '_, '_> {
    /// Tells what became of a match.
    pub(super) fn tell(
        &mut self,
        ix: RuleIx,
        piece: &Piece<'_>,
        (whole, secret): (&Range<usize>, &Range<usize>),
        holds: bool,
        before: usize,
    ) {
        let outcome = if self.memory.found.len() > before {
            Outcome::Found(before)
        } else {
            let spent = (self.work, self.truncated, self.worded, self.rewinds);
            let (check, saw) = match holds {
                true => self.why_not_kept(ix, piece, whole, secret),
                false => self.why_it_fails(ix, piece, whole, secret),
            };
            (self.work, self.truncated, self.worded, self.rewinds) = spent;
            Outcome::Rejected(check, saw)
        };
        self.told(ix, piece, (whole, secret), outcome);
    }

    fn told(
        &mut self,
        ix: RuleIx,
        piece: &Piece<'_>,
        matched: (&Range<usize>, &Range<usize>),
        outcome: Outcome,
    ) {
        let root = match self.place {
            Place::In(message) => message.string(piece.node),
            _ => "",
        };
        if let Some(trace) = self.trace.as_deref_mut() {
            trace.add((self.rules, ix), piece, matched, outcome, root);
        }
    }

    /// Tells of a rule that did not search a text, although its pattern matches there.
    pub(super) fn tell_unasked(&mut self, piece: &Piece<'_>, ix: RuleIx) {
        let rule = self.rules.rule(ix);
        let Some(whole) = rule.pattern.find_at(piece.text, 0) else { return };
        let secret = rule
            .secret
            .and_then(|group| rule.pattern.group(piece.text, &whole, group))
            .unwrap_or_else(|| whole.clone());
        let (check, saw) = match (rule.views.has(piece.view), piece.key) {
            (false, _) => (Check::View, format!("does not look at the reading `{}`", piece.view)),
            (true, None) => (Check::Key, "asks for a key, and none is above the text".to_owned()),
            (true, Some(_)) => (Check::Key, "the key above the text is another".to_owned()),
        };
        self.told(ix, piece, (&whole, &secret), Outcome::Rejected(check, saw));
    }

    /// Tells of a secret that is repeated.
    pub(super) fn tell_echo(&mut self, ix: RuleIx, node: u32, range: &Range<usize>) {
        let Place::In(message) = self.place else { return };
        let piece = Piece {
            text: message.string(node).as_bytes(),
            node,
            key: None,
            key_id: NO_KEY,
            kind: ValueKind::String,
            id: node,
            view: View::Raw,
            back: Back::Same,
        };
        let found = Outcome::Found(self.memory.found.len());
        self.told(ix, &piece, (range, range), found);
    }

    /// The first check that a match fails, in the order of the scan.
    fn why_it_fails(
        &mut self,
        ix: RuleIx,
        piece: &Piece<'_>,
        whole: &Range<usize>,
        secret: &Range<usize>,
    ) -> (Check, String) {
        let rule = self.rules.rule(ix);
        let value = piece.text.get(secret.clone()).unwrap_or(&[]);
        if !rule.def.keywords.is_empty() && !self.has_keyword(ix, piece, whole) {
            let where_ = match rule.def.window {
                Some(window) => format!("within {window} bytes or in the key"),
                None => "in the text or in its key".to_owned(),
            };
            return (Check::Keywords, format!("no keyword stands {where_}"));
        }
        if let Some(validator) = rule.validator.filter(|validator| !validator.check(value)) {
            return (Check::Validator, format!("`{}` refuses it", validator.as_str()));
        }
        if let Some(least) = rule.def.entropy.filter(|least| validate::entropy(value) < *least) {
            let is = validate::entropy(value);
            return (Check::Entropy, format!("{is:.2} bits a byte, {least:.2} needed"));
        }
        let lists = (1..).zip(&rule.allow);
        for (number, allow) in lists {
            if self.is_allowed(allow, piece, whole, value) {
                let target = match allow.target {
                    AllowTarget::Secret => "secret",
                    AllowTarget::Match => "match",
                    AllowTarget::Line => "line",
                    AllowTarget::Tool => "tool",
                    AllowTarget::Server => "server",
                };
                return (Check::Allow, format!("list {number} names the {target}"));
            }
        }
        (Check::Limit, "the scan had no work left for its checks".to_owned())
    }

    /// Why a match that holds is no finding.
    fn why_not_kept(
        &mut self,
        ix: RuleIx,
        piece: &Piece<'_>,
        whole: &Range<usize>,
        secret: &Range<usize>,
    ) -> (Check, String) {
        let rule = self.rules.rule(ix);
        let Some((places, _)) = places(piece, whole, secret) else {
            let saw = match piece.back {
                Back::Joined(_) => "stands in one text alone, or across what was left out",
                _ => "the text this was made of says the same there, or the match crosses a gap",
            };
            return (Check::Plain, saw.to_owned());
        };
        let overlaps = |found: &Found| {
            let mut all = found.places.iter().flat_map(|a| places.iter().map(move |b| (a, b)));
            found.rule == ix
                && all.any(|((n, r), (m, s))| n == m && r.start < s.end && s.start < r.end)
        };
        if !matches!(piece.back, Back::Same) && self.memory.found.iter().any(overlaps) {
            return (Check::Known, "this rule found it in a plainer reading".to_owned());
        }
        let node = places.first().map_or(piece.node, |(node, _)| *node);
        if self.place(rule, piece.kind, node).is_some() || self.memory.found.len() >= MAX_FINDINGS {
            return (Check::Limit, format!("{MAX_FINDINGS} findings are enough"));
        }
        match self.placed {
            Some((at, surface, _))
                if at == node && !rule.surfaces().has(surface, self.subject.direction) =>
            {
                let way = self.subject.direction;
                (Check::Surface, format!("does not look at `{surface}` {way}"))
            }
            Some((at, ..)) if at == node => {
                (Check::Exempt, "a value that only its maker reads".to_owned())
            }
            _ => (Check::Limit, "too many steps back along the message".to_owned()),
        }
    }
}
