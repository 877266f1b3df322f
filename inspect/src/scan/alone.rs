//! Texts that are in no arena: long numbers, other readings, texts that are no JSON. Each gets a filter pass of its own.

use super::pass::{MAX_REGIONS, Pass, WORK_PER_BYTE};
use super::verify::{Back, Piece};
use crate::compile::Role;
use crate::cursor::Tokens;
use crate::message::{Message, NO_KEY, ValueKind, is_long};
use crate::rule::{Confidence, View};
use std::ops::ControlFlow;

impl Pass<'_, '_, '_> {
    /// Long numbers, as their digits are written. They keep no text in the parser, so the raw bytes are walked.
    pub(super) fn numbers(&mut self, message: &Message<'_>) {
        self.memory.path.reset();
        let mut tokens = Tokens::new(message.raw());
        for (index, node) in message.nodes().iter().enumerate() {
            if !is_long(node) {
                continue;
            }
            let Some(text) = tokens.seek(index).and_then(|range| message.raw().get(range)) else {
                return;
            };
            if text.len() > self.budget {
                self.truncated = true;
                return;
            }
            self.budget -= text.len();
            self.number(text, index, message);
            if self.is_over() {
                return;
            }
        }
    }

    fn number(&mut self, text: &[u8], node: usize, message: &Message<'_>) {
        self.memory.path.seek(message.nodes(), node);
        let key = self.memory.path.key(message.nodes());
        let node = u32::try_from(node).unwrap_or(NO_KEY);
        let piece = Piece {
            text,
            node,
            key: key.map(|(_, key)| key),
            key_id: key.and_then(|(at, _)| u32::try_from(at).ok()).unwrap_or(NO_KEY),
            kind: ValueKind::Number,
            id: node,
            view: View::Raw,
            back: Back::Same,
        };
        self.piece_alone(&piece, true);
    }

    /// A text that is in no arena: its own filter pass, then the slow rules. What was put together from several texts
    /// is left to rules that are sure of themselves.
    pub(super) fn piece_alone(&mut self, piece: &Piece<'_>, whole: bool) {
        if let Some(trace) = self.trace.as_deref_mut() {
            trace.reading(self.rules, piece);
        }
        self.memory.regions.clear();
        self.memory.last.fill(0);
        let rules = self.rules;
        rules.filter().each(piece.text, |hit| {
            for of in rules.uses(hit.literal) {
                let rule = rules.rule(of.rule);
                if !self.takes_part(of.rule) || (!whole && rule.confidence() == Confidence::Low) {
                    continue;
                }
                match of.role {
                    Role::Value => self.push_round(0, *of, piece.text, hit.start..hit.end),
                    Role::Keyword => self.push(0, of.rule, 0, usize::MAX),
                    Role::Key => {}
                }
            }
            if self.memory.regions.len() >= MAX_REGIONS {
                self.truncated = true;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        self.open_by_key(piece);
        self.memory.regions.sort_unstable();
        let mut next = 0;
        while let Some(mut region) = self.memory.regions.get(next).copied() {
            next += 1;
            while let Some(more) = self.memory.regions.get(next)
                && more.rule == region.rule
                && more.start <= region.end
            {
                region.end = region.end.max(more.end);
                next += 1;
            }
            self.look(piece, region.rule, region.start as usize, region.end as usize);
        }
        if whole {
            self.slow_piece(piece);
        }
    }

    /// The rules that the text's key opens; each key is looked at once while its values follow each other.
    fn open_by_key(&mut self, piece: &Piece<'_>) {
        let Some(key) = piece.key else { return };
        if self.memory.opened_by != piece.key_id || piece.key_id == NO_KEY {
            self.memory.opened.clear();
            self.memory.opened_by = piece.key_id;
            if !self.charge(key.len()) {
                return;
            }
            let rules = self.rules;
            rules.filter().each(key.as_bytes(), |hit| {
                for of in rules.uses(hit.literal) {
                    if of.role != Role::Value && self.takes_part(of.rule) {
                        self.memory.opened.push(of.rule);
                    }
                }
                ControlFlow::Continue(())
            });
            self.memory.opened.sort_unstable();
            self.memory.opened.dedup();
        }
        let opened = std::mem::take(&mut self.memory.opened);
        for rule in &opened {
            self.push(0, *rule, 0, usize::MAX);
        }
        self.memory.opened = opened;
    }

    /// A text of its own.
    pub(super) fn alone(&mut self, text: &str) {
        let cut = (0..=text.len().min(self.budget)).rev().find(|cut| text.is_char_boundary(*cut));
        let kept = text.get(..cut.unwrap_or(0)).unwrap_or("");
        self.truncated |= kept.len() < text.len();
        self.work = self.work.max(kept.len().saturating_mul(WORK_PER_BYTE));
        self.piece_alone(
            &Piece {
                text: kept.as_bytes(),
                node: 0,
                key: None,
                key_id: NO_KEY,
                kind: ValueKind::String,
                id: 0,
                view: View::Raw,
                back: Back::Same,
            },
            true,
        );
    }
}
