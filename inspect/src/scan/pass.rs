//! One scan of one message: the memory it uses and the main pass over all texts as they stand.

use super::joins::Joined;
use super::regions::{self, Region};
use super::trace::Trace;
use super::verify::{Back, Piece};
use super::{Direction, MAX_FINDINGS, Part, Subject};
use crate::compile::{Gate, Role, RuleIx, RuleSet, Use};
use crate::cursor::PathWalker;
use crate::message::{Entry, Message, NO_KEY, SEPARATOR, ValueKind};
use crate::rule::View;
use crate::surface::Surface;
use simd_json::Node;
use smallvec::SmallVec;
use std::ops::{ControlFlow, Range};

/// Bytes given to regexes for each byte of text, at most; a flood of false literal hits ends here.
pub(super) const WORK_PER_BYTE: usize = 32;
/// And at least this many, so that small messages are never cut short.
const MIN_WORK: usize = 4 * 1024 * 1024;
/// Regions kept at most.
pub(super) const MAX_REGIONS: usize = 100_000;

/// What a scanner keeps between messages.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) path: PathWalker,
    pub(super) regions: Vec<Region>,
    /// For each rule: one more than the index of its last region.
    pub(super) last: Vec<u32>,
    /// For each rule: one more than the last key that opened its texts.
    named: Vec<u32>,
    /// For each rule: the key it looked at last, and whether it is one of the rule's.
    pub(super) keys: Vec<(u32, bool)>,
    /// The slow rules that take part.
    slow: Vec<RuleIx>,
    /// The rules that the key looked at last opens, for texts on their own.
    pub(super) opened: Vec<RuleIx>,
    /// Which key that was.
    pub(super) opened_by: u32,
    /// Where the digits of the text at hand are, and which text that is.
    pub(super) digits: Vec<u32>,
    digits_of: u32,
    /// Texts of the message that may hold JSON with keys of interest.
    pub(super) nested: Vec<u32>,
    /// Texts that deserve other readings, and which.
    pub(super) suspects: Vec<(u32, u8)>,
    /// The texts that a reader takes for one, and these as one.
    pub(super) neighbours: Vec<(u32, u32)>,
    pub(super) joined: Joined,
    pub(super) found: Vec<Found>,
}

/// What one large message needed of these is given back after it.
const KEEP: usize = 64 * 1024;

impl Memory {
    fn trim(&mut self) {
        fn shrink<T>(list: &mut Vec<T>) {
            list.clear();
            if list.capacity() > KEEP {
                *list = Vec::new();
            }
        }
        shrink(&mut self.regions);
        shrink(&mut self.digits);
        shrink(&mut self.nested);
        shrink(&mut self.suspects);
    }
}

/// Something found, not yet placed in the raw bytes.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) rule: RuleIx,
    /// The texts it stands in, and where in them, unescaped.
    pub(super) places: SmallVec<[(u32, Range<usize>); 1]>,
    /// Bytes of the match before and after it.
    pub(super) around: (u32, u32),
    pub(super) kind: ValueKind,
    pub(super) surface: Surface,
    pub(super) path: String,
    pub(super) score: u32,
    pub(super) view: View,
    pub(super) quoted: bool,
    pub(super) part: Part,
}

/// What the texts stand in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'m, 'a> {
    /// A message: surfaces by path.
    In(&'m Message<'a>),
    /// A text of its own.
    Alone(Surface),
    /// A rule's example: every surface fits, nothing is exempt.
    Example,
}

/// One scan under way.
#[derive(Debug)]
pub(super) struct Pass<'p, 'm, 'a> {
    pub(super) memory: &'p mut Memory,
    pub(super) rules: &'p RuleSet,
    pub(super) subject: &'p Subject<'p>,
    pub(super) place: Place<'m, 'a>,
    /// Bytes regexes may still look at.
    pub(super) work: usize,
    /// Bytes of text that may still be scanned.
    pub(super) budget: usize,
    pub(super) truncated: bool,
    /// Texts looked at that are in no message: each gets a number.
    pub(super) pieces: u32,
    /// The text placed last: its surface, and whether it is opaque.
    pub(super) placed: Option<(u32, Surface, bool)>,
    /// The container asked last whether it is media.
    pub(super) media: Option<(usize, bool)>,
    /// The text and rule whose keywords were looked for last, and whether one was there.
    pub(super) worded: Option<(u32, RuleIx, bool)>,
    /// How often the walk along the path may begin anew.
    pub(super) rewinds: u32,
    /// Who looks on; nobody on live traffic.
    pub(super) trace: Option<&'p mut Trace>,
}

impl<'p, 'm, 'a> Pass<'p, 'm, 'a> {
    pub(super) fn new(
        memory: &'p mut Memory,
        rules: &'p RuleSet,
        subject: &'p Subject<'p>,
        place: Place<'m, 'a>,
    ) -> Self {
        memory.path.reset();
        memory.trim();
        memory.found.clear();
        memory.opened_by = NO_KEY;
        memory.digits_of = NO_KEY;
        for list in [&mut memory.last, &mut memory.named] {
            list.clear();
            list.resize(rules.len(), 0);
        }
        memory.keys.clear();
        memory.keys.resize(rules.len(), (NO_KEY, false));
        let pass = Self {
            memory,
            rules,
            subject,
            place,
            work: MIN_WORK,
            budget: subject.budget,
            truncated: false,
            pieces: 0,
            placed: None,
            media: None,
            worded: None,
            rewinds: 64,
            trace: None,
        };
        let mut slow = std::mem::take(&mut pass.memory.slow);
        slow.clear();
        slow.extend(rules.slow().iter().filter(|rule| pass.takes_part(**rule)));
        pass.memory.slow = slow;
        pass
    }

    /// Whether a rule takes part at all.
    pub(super) fn takes_part(&self, rule: RuleIx) -> bool {
        let rule = self.rules.rule(rule);
        rule.paranoia() <= self.subject.paranoia
            && match self.place {
                Place::Example => true,
                Place::Alone(surface) => rule.surfaces().has(surface, self.subject.direction),
                Place::In(_) => rule.surfaces().has_direction(self.subject.direction),
            }
    }

    pub(super) fn direction(&self) -> Direction {
        self.subject.direction
    }

    /// Takes from the work that regexes and walks may still do; false when it is used up.
    pub(super) fn charge(&mut self, cost: usize) -> bool {
        self.truncated |= cost > self.work;
        self.work = self.work.saturating_sub(cost);
        self.work > 0
    }

    /// Whether the scan has to end.
    pub(super) fn is_over(&self) -> bool {
        self.truncated && (self.work == 0 || self.memory.found.len() >= MAX_FINDINGS)
    }

    /// Keys and strings: one filter pass over the arena, then text by text.
    pub(super) fn texts(&mut self, message: &Message<'_>) {
        let arena = message.arena();
        let limit = self.budget.min(arena.len());
        self.budget -= limit;
        self.truncated |= limit < arena.len();
        self.work = self.work.max(limit.saturating_mul(WORK_PER_BYTE));
        let entries = message.entries();
        let texts = entries.partition_point(|entry| (entry.start as usize) < limit);
        let entries = entries.get(..texts).unwrap_or(entries);

        self.collect(message, entries, arena.get(..limit).unwrap_or(arena));
        let slow = !self.memory.slow.is_empty();
        if self.memory.regions.is_empty() && !slow {
            return;
        }
        self.memory.regions.sort_unstable();
        let mut next = 0;
        if slow {
            for at in 0..entries.len() {
                next = self.text(message, entries, limit, at, next);
                self.slow(message, entries, limit, at);
                if self.is_over() {
                    return;
                }
            }
            return;
        }
        while let Some(region) = self.memory.regions.get(next) {
            next = self.text(message, entries, limit, region.text as usize, next);
            if self.is_over() {
                return;
            }
        }
    }

    /// Turns literal hits into regions.
    fn collect(&mut self, message: &Message<'_>, entries: &[Entry], arena: &[u8]) {
        let rules = self.rules;
        let mut at = 0;
        rules.filter().each(arena, |hit| {
            // hits come by rising place, and no literal crosses a separator
            while entries.get(at + 1).is_some_and(|next| next.start as usize <= hit.at) {
                at += 1;
            }
            let Some(entry) = entries.get(at) else { return ControlFlow::Break(()) };
            let text = entry.start as usize;
            let end = entries.get(at + 1).map_or(arena.len(), |next| next.start as usize);
            let Some(start) = hit.start.checked_sub(text) else {
                return ControlFlow::Continue(());
            };
            for of in rules.uses(hit.literal) {
                let rule = of.rule;
                if !self.takes_part(rule) {
                    continue;
                }
                match of.role {
                    Role::Value => {
                        let text = arena.get(text..end).unwrap_or(&[]);
                        let text = text.strip_suffix(&[SEPARATOR]).unwrap_or(text);
                        self.push_round(at, *of, text, start..start + hit.end - hit.start);
                    }
                    Role::Key if entry.is_key => self.push_named(message, entries, at, rule),
                    Role::Key => {
                        // a key of JSON that stands in a string
                        let json = matches!(arena.get(text), Some(b'{' | b'[' | b' ' | b'\n'));
                        let at = u32::try_from(at).unwrap_or(NO_KEY);
                        if json && self.memory.nested.last() != Some(&at) {
                            self.memory.nested.push(at);
                        }
                    }
                    Role::Keyword => {
                        self.push(at, rule, 0, usize::MAX);
                        if entry.is_key {
                            self.push_named(message, entries, at, rule);
                        }
                    }
                }
            }
            if self.memory.regions.len() >= MAX_REGIONS {
                self.truncated = true;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
    }

    /// Opens every text directly named by the key at `at`: its value, or the elements of an array.
    fn push_named(&mut self, message: &Message<'_>, entries: &[Entry], at: usize, rule: RuleIx) {
        let Some(key) = entries.get(at) else { return };
        // one key may hold several literals of a rule
        let mark = u32::try_from(at + 1).unwrap_or(u32::MAX);
        match self.memory.named.get_mut(rule.index()) {
            Some(last) if *last != mark => *last = mark,
            _ => return,
        }
        let value = key.node as usize + 1;
        let end = match message.nodes().get(value) {
            Some(Node::Array { count, .. }) => value + count,
            Some(Node::String(_)) => value,
            _ => return,
        };
        let named = entries.get(at + 1..).unwrap_or(&[]).iter().zip(at + 1..);
        for (entry, index) in named.take_while(|(entry, _)| entry.node as usize <= end) {
            if !self.charge(1) {
                return;
            }
            if entry.key == key.node && self.memory.regions.len() < MAX_REGIONS {
                self.push(index, rule, 0, usize::MAX);
            }
        }
    }

    /// Opens the window round a literal of a pattern, unless what stands next to it tells that no match holds it.
    pub(super) fn push_round(&mut self, at: usize, of: Use, text: &[u8], hit: Range<usize>) {
        let rule = self.rules.rule(of.rule);
        if rule.may_match(of.group, text, hit.start, hit.end) {
            let (from, to) = regions::window(rule, of.group, hit.start, hit.end, text.len());
            self.push(at, of.rule, from, to);
        }
    }

    pub(super) fn push(&mut self, text: usize, rule: RuleIx, start: usize, end: usize) {
        let cast = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let region = Region { text: cast(text), rule, start: cast(start), end: cast(end) };
        let Some(last) = self.memory.last.get_mut(rule.index()) else {
            return;
        };
        if let Some(before) =
            last.checked_sub(1).and_then(|at| self.memory.regions.get_mut(at as usize))
            && before.text == region.text
            && region.start <= before.end
        {
            before.start = before.start.min(region.start);
            before.end = before.end.max(region.end);
            return;
        }
        self.memory.regions.push(region);
        *last = cast(self.memory.regions.len());
    }

    /// The text of an entry, its key, and what it is. A text that the budget cuts ends there.
    pub(super) fn piece<'t>(
        message: &'t Message<'_>,
        entries: &[Entry],
        limit: usize,
        at: usize,
    ) -> Option<Piece<'t>> {
        let entry = entries.get(at)?;
        let string = |node: u32| match message.nodes().get(node as usize) {
            Some(Node::String(text)) => Some(*text),
            _ => None,
        };
        let mut text = string(entry.node)?;
        let room = limit.saturating_sub(entry.start as usize);
        if text.len() > room {
            let cut = (0..=room).rev().find(|cut| text.is_char_boundary(*cut));
            text = text.get(..cut.unwrap_or(0))?;
        }
        Some(Piece {
            text: text.as_bytes(),
            node: entry.node,
            key: string(entry.key),
            key_id: entry.key,
            id: entry.node,
            view: View::Raw,
            back: Back::Same,
            kind: if entry.is_key { ValueKind::Key } else { ValueKind::String },
        })
    }

    /// Verifies the regions of text `at`, which start at region `next`; gives the first region of a later text.
    fn text(
        &mut self,
        message: &Message<'_>,
        entries: &[Entry],
        limit: usize,
        at: usize,
        mut next: usize,
    ) -> usize {
        while let Some(mut region) = self.memory.regions.get(next).copied() {
            if region.text as usize != at {
                break;
            }
            next += 1;
            // sorted by rule and start: what overlaps follows
            while let Some(more) = self.memory.regions.get(next)
                && (more.text, more.rule) == (region.text, region.rule)
                && more.start <= region.end
            {
                region.end = region.end.max(more.end);
                next += 1;
            }
            if let Some(piece) = Self::piece(message, entries, limit, at) {
                self.look(&piece, region.rule, region.start as usize, region.end as usize);
            }
        }
        next
    }

    /// Runs the slow rules over text `at`.
    fn slow(&mut self, message: &Message<'_>, entries: &[Entry], limit: usize, at: usize) {
        if let Some(piece) = Self::piece(message, entries, limit, at) {
            self.slow_piece(&piece);
        }
    }

    /// Notes where the digits of a text are, once for all rules that ask.
    pub(super) fn digits(&mut self, piece: &Piece<'_>) {
        if self.memory.digits_of != piece.id {
            self.memory.digits_of = piece.id;
            regions::digits(piece.text, &mut self.memory.digits);
        }
    }

    pub(super) fn slow_piece(&mut self, piece: &Piece<'_>) {
        let mut gates = self.memory.slow.iter().map(|rule| self.rules.rule(*rule).gate);
        let in_digits = |gate: Gate| gate.digits > 0 && piece.text.len() >= gate.min_len;
        if gates.any(in_digits) {
            self.digits(piece);
        }
        let is_ascii = piece.text.is_ascii();
        let mut next = 0;
        while let Some(rule) = self.memory.slow.get(next).copied() {
            next += 1;
            let gate = self.rules.rule(rule).gate;
            if piece.text.len() < gate.min_len || gate.non_ascii && is_ascii {
                continue;
            }
            if gate.digits == 0 || self.memory.digits.len() >= gate.digits {
                self.look(piece, rule, 0, piece.text.len());
            }
        }
    }
}
