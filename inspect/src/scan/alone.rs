//! Texts that are in no arena: long numbers, and texts that are no JSON. Each gets a filter pass of its own.

use super::pass::{Pass, WORK_PER_BYTE};
use super::regions;
use super::verify::Piece;
use crate::compile::Role;
use crate::cursor::Tokens;
use crate::message::{Message, NO_KEY, ValueKind, is_long};

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
        let piece = Piece {
            text,
            node: u32::try_from(node).unwrap_or(NO_KEY),
            key: self.memory.path.key(message.nodes()),
            kind: ValueKind::Number,
        };
        self.piece_alone(&piece);
    }

    /// A text that is in no arena: its own filter pass, then the slow rules.
    fn piece_alone(&mut self, piece: &Piece<'_>) {
        self.memory.regions.clear();
        self.memory.last.fill(0);
        for hit in self.rules.filter().hits(piece.text) {
            for (rule, role) in self.rules.uses(hit.literal) {
                if !self.takes_part(*rule) {
                    continue;
                }
                match role {
                    Role::Value => {
                        let (from, to) = regions::window(
                            self.rules.rule(*rule),
                            hit.start,
                            hit.end,
                            piece.text.len(),
                        );
                        self.push(0, *rule, from, to);
                    }
                    Role::Keyword => self.push(0, *rule, 0, usize::MAX),
                    Role::Key => {}
                }
            }
        }
        // rules that the key opens
        if let Some(key) = piece.key {
            for hit in self.rules.filter().hits(key.as_bytes()) {
                for (rule, role) in self.rules.uses(hit.literal) {
                    if *role != Role::Value && self.takes_part(*rule) {
                        self.push(0, *rule, 0, usize::MAX);
                    }
                }
            }
        }
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
        self.slow_piece(piece);
    }

    /// A text of its own.
    pub(super) fn alone(&mut self, text: &str) {
        let cut = (0..=text.len().min(self.budget)).rev().find(|cut| text.is_char_boundary(*cut));
        let kept = text.get(..cut.unwrap_or(0)).unwrap_or("");
        self.truncated |= kept.len() < text.len();
        self.work = self.work.max(kept.len().saturating_mul(WORK_PER_BYTE));
        self.piece_alone(&Piece {
            text: kept.as_bytes(),
            node: 0,
            key: None,
            kind: ValueKind::String,
        });
    }
}
