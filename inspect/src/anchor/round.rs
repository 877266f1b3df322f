//! What may stand round a literal: the bytes next to an occurrence tell, mostly at once, that no match of the pattern
//! holds it there, and the regex need not run.
//!
//! From the place that the literal has in the pattern's tree, the automaton of what follows it (and of what leads up to
//! it) is unrolled for a few bytes: positions of the pattern, and for each the positions that may come next, as bits of
//! a word. It lets through more than the pattern does, never less: counts are not kept, look-around is not asked, and
//! what lies further away than it sees is taken for fitting.

use super::{Group, Path};
use regex_syntax::hir::{Class, Hir, HirKind};
use std::collections::HashMap;

/// Bytes looked at on each side of a literal.
const LOOK: usize = 16;
/// Positions of one side that are told apart; what goes beyond is put together by its first byte.
const MAX_POSITIONS: usize = 40;
/// A part that repeats and takes more bytes than these is a gap: hardly any text ends a look there.
const GAP: u32 = 80;
/// The bit that says that the match may be over, or that nothing more is known.
const OPEN: u64 = 1 << 63;

/// What may stand round each group of a pattern's literals.
#[derive(Clone, Debug)]
pub(crate) struct Rounds {
    sets: Vec<ByteSet>,
    /// For each group: before its literals, read backwards, and after them.
    sides: Vec<Option<(Side, Side)>>,
}

/// Which bytes: one bit each.
type ByteSet = [u64; 4];

fn has(set: &ByteSet, byte: u8) -> bool {
    set.get(usize::from(byte >> 6)).is_some_and(|bits| bits >> (byte & 63) & 1 == 1)
}

#[derive(Clone, Debug)]
struct Side {
    start: u64,
    /// The bytes of all positions that may come first: most literals end here.
    first: ByteSet,
    positions: Vec<Position>,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    /// As an index into the sets.
    set: u32,
    /// What may come after it.
    next: u64,
}

impl Rounds {
    /// Of a pattern with these groups of literals.
    pub(crate) fn of(root: &Hir, groups: &[Group]) -> Self {
        let mut sets = Sets::default();
        let mut side = |path: &Path, back: bool| {
            Unrolled { root, back, leaves: Vec::new(), side: Vec::new() }.unroll(path, &mut sets)
        };
        let of = |group: &Group| {
            let (first, last) = group.spot.as_ref()?;
            Some((side(first, true), side(last, false)))
        };
        let sides = groups.iter().map(of).collect();
        Self { sets: sets.all, sides }
    }

    /// Whether a literal of a group that stands at `start..end` may belong to a match.
    pub(crate) fn fit(&self, group: usize, text: &[u8], start: usize, end: usize) -> bool {
        let Some(Some((before, after))) = self.sides.get(group) else { return true };
        let (head, tail) = (text.get(..start).unwrap_or(&[]), text.get(end..).unwrap_or(&[]));
        after.leads_on(&self.sets, tail.iter()) && before.leads_on(&self.sets, head.iter().rev())
    }
}

impl Side {
    fn leads_on<'t>(&self, sets: &[ByteSet], bytes: impl Iterator<Item = &'t u8>) -> bool {
        let mut now = self.start;
        let mut seen = 0;
        for byte in bytes.take(LOOK) {
            if now & OPEN != 0 {
                return true;
            }
            if seen == 0 && !has(&self.first, *byte) {
                return false;
            }
            let mut next = 0;
            while let Some(position) = self.positions.get(now.trailing_zeros() as usize) {
                now &= now - 1;
                if sets.get(position.set as usize).is_some_and(|set| has(set, *byte)) {
                    next |= position.next;
                }
            }
            if next == 0 {
                return false;
            }
            now = next;
            seen += 1;
        }
        // at the text's end the match has to be over
        now & OPEN != 0 || seen == LOOK
    }
}

/// The sets of a pattern, each once.
#[derive(Default)]
struct Sets {
    all: Vec<ByteSet>,
    known: HashMap<ByteSet, u32>,
}

impl Sets {
    fn number(&mut self, set: ByteSet) -> u32 {
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        *self.known.entry(set).or_insert_with(|| {
            self.all.push(set);
            next
        })
    }
}

/// One byte of a pattern: a class, or a byte of a literal.
#[derive(Clone, PartialEq)]
struct Leaf {
    path: Path,
    at: usize,
}

/// One side of a literal while it is unrolled.
struct Unrolled<'h> {
    root: &'h Hir,
    /// Whether the pattern is read backwards.
    back: bool,
    /// The position of each leaf, and how many bytes lead to it at least.
    leaves: Vec<(Leaf, usize, usize)>,
    side: Vec<Position>,
}

impl Unrolled<'_> {
    /// All that may come after the part at `path`.
    fn unroll(mut self, path: &Path, sets: &mut Sets) -> Side {
        let mut next = Vec::new();
        let over = self.after(path, &mut next);
        let start = self.reach(&next, over, 0, sets);
        let mut done = 0;
        while let Some((leaf, position, depth)) = self.leaves.get(done).cloned() {
            done += 1;
            next.clear();
            let over = self.follow(&leaf, &mut next);
            let wide = self.bytes(&leaf).iter().map(|bits| bits.count_ones()).sum::<u32>() > GAP;
            let is_gap = wide && next.contains(&leaf);
            let reached = self.reach(&next, over || is_gap, depth + 1, sets);
            if let Some(position) = self.side.get_mut(position) {
                position.next = reached;
            }
        }
        let mut first = [0; 4];
        let firsts = self.side.iter().enumerate().filter(|(at, _)| start >> at & 1 == 1);
        for position in firsts.filter_map(|(_, position)| sets.all.get(position.set as usize)) {
            first.iter_mut().zip(position).for_each(|(first, bits)| *first |= bits);
        }
        Side { start, first, positions: self.side }
    }

    /// The bits of what comes next; positions not met before are given one.
    fn reach(&mut self, next: &[Leaf], over: bool, depth: usize, sets: &mut Sets) -> u64 {
        if over || depth >= LOOK {
            return OPEN;
        }
        let known = |leaf: &Leaf| self.leaves.iter().find(|(known, ..)| known == leaf);
        let mut bits = 0;
        let mut new: Vec<&Leaf> = Vec::new();
        for leaf in next {
            match known(leaf) {
                Some((_, position, _)) => bits |= 1 << position,
                None if new.contains(&leaf) => {}
                None => new.push(leaf),
            }
        }
        if self.side.len() + new.len() <= MAX_POSITIONS {
            for leaf in new {
                bits |= 1 << self.side.len();
                self.leaves.push((leaf.clone(), self.side.len(), depth));
                self.side.push(Position { set: sets.number(self.bytes(leaf)), next: OPEN });
            }
            return bits;
        }
        // too many to follow each: one position for the first byte of all
        if self.side.len() >= OPEN.trailing_zeros() as usize {
            return OPEN;
        }
        let any = new.iter().fold([0; 4], |mut any: ByteSet, leaf| {
            any.iter_mut().zip(self.bytes(leaf)).for_each(|(any, bits)| *any |= bits);
            any
        });
        bits |= 1 << self.side.len();
        self.side.push(Position { set: sets.number(any), next: OPEN });
        bits
    }

    fn node(&self, path: &[u16]) -> Option<&Hir> {
        path.iter().try_fold(self.root, |node, child| match node.kind() {
            HirKind::Capture(capture) => Some(&*capture.sub),
            HirKind::Repetition(repetition) => Some(&*repetition.sub),
            HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.get(usize::from(*child)),
            _ => None,
        })
    }

    /// The bytes that a leaf stands for. A character beyond ASCII stands for any bytes of such.
    fn bytes(&self, leaf: &Leaf) -> ByteSet {
        let mut set = [0; 4];
        let mut put = |from: u8, to: u8| {
            for byte in from..=to {
                if let Some(bits) = set.get_mut(usize::from(byte >> 6)) {
                    *bits |= 1 << (byte & 63);
                }
            }
        };
        match self.node(&leaf.path).map(Hir::kind) {
            Some(HirKind::Literal(literal)) => {
                literal.0.get(leaf.at).iter().for_each(|byte| put(**byte, **byte));
            }
            Some(HirKind::Class(Class::Bytes(class))) => {
                class.iter().for_each(|range| put(range.start(), range.end()));
            }
            Some(HirKind::Class(Class::Unicode(class))) => {
                for range in class.iter() {
                    let low = |c: char| u8::try_from(c).unwrap_or(0xFF).min(0x7F);
                    if range.start().is_ascii() {
                        put(low(range.start()), low(range.end()));
                    }
                    if !range.end().is_ascii() {
                        put(0x80, 0xFF);
                    }
                }
            }
            _ => put(0, 0xFF),
        }
        set
    }

    /// What may come after a leaf; true when the pattern may be over.
    fn follow(&self, leaf: &Leaf, out: &mut Vec<Leaf>) -> bool {
        match self.node(&leaf.path).map(Hir::kind) {
            Some(HirKind::Literal(literal)) => {
                let next = if self.back { leaf.at.checked_sub(1) } else { Some(leaf.at + 1) };
                if let Some(at) = next.filter(|at| *at < literal.0.len()) {
                    out.push(Leaf { at, path: leaf.path.clone() });
                    return false;
                }
            }
            // a character may take several bytes
            Some(HirKind::Class(Class::Unicode(class))) if !class.is_ascii() => {
                out.push(leaf.clone());
            }
            _ => {}
        }
        self.after(&leaf.path, out)
    }

    /// What may come after the part at `path`; true when the pattern may be over.
    fn after(&self, path: &Path, out: &mut Vec<Leaf>) -> bool {
        let mut path = path.clone();
        while let Some(child) = path.pop() {
            let Some(parent) = self.node(&path) else { return true };
            match parent.kind() {
                HirKind::Concat(parts) => {
                    let child = usize::from(child);
                    let rest = if self.back { 0..child } else { child + 1..parts.len() };
                    if !self.all_of(parts, rest, &mut path, out) {
                        return false;
                    }
                }
                HirKind::Repetition(repetition) if repetition.max != Some(1) => {
                    path.push(0);
                    self.first(&repetition.sub, &mut path, out);
                    path.pop();
                }
                _ => {}
            }
        }
        true
    }

    /// The first bytes of parts that follow each other; true when all of them can be empty.
    fn all_of(
        &self,
        parts: &[Hir],
        range: std::ops::Range<usize>,
        path: &mut Path,
        out: &mut Vec<Leaf>,
    ) -> bool {
        let count = range.len();
        for step in 0..count {
            let at = if self.back { range.end - 1 - step } else { range.start + step };
            let Some(part) = parts.get(at) else { return true };
            path.push(u16::try_from(at).unwrap_or(u16::MAX));
            let empty = self.first(part, path, out);
            path.pop();
            if !empty {
                return false;
            }
        }
        true
    }

    /// The first bytes of the part at `path`; true when it can be empty.
    fn first(&self, part: &Hir, path: &mut Path, out: &mut Vec<Leaf>) -> bool {
        match part.kind() {
            HirKind::Empty | HirKind::Look(_) => true,
            HirKind::Literal(literal) => {
                let at = if self.back { literal.0.len().saturating_sub(1) } else { 0 };
                out.push(Leaf { path: path.clone(), at });
                false
            }
            HirKind::Class(_) => {
                out.push(Leaf { path: path.clone(), at: 0 });
                false
            }
            HirKind::Capture(capture) => {
                path.push(0);
                let empty = self.first(&capture.sub, path, out);
                path.pop();
                empty
            }
            HirKind::Repetition(repetition) => {
                path.push(0);
                let empty = self.first(&repetition.sub, path, out);
                path.pop();
                empty || repetition.min == 0
            }
            HirKind::Concat(parts) => self.all_of(parts, 0..parts.len(), path, out),
            HirKind::Alternation(branches) => {
                let mut empty = false;
                for (at, branch) in branches.iter().enumerate() {
                    path.push(u16::try_from(at).unwrap_or(u16::MAX));
                    empty |= self.first(branch, path, out);
                    path.pop();
                }
                empty
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pieces, required};
    use super::Rounds;

    /// Whether each place of the pattern's literals in a text may belong to a match.
    fn fits(pattern: &str, text: &str) -> Vec<bool> {
        let mut parser = regex_syntax::ParserBuilder::new();
        let hir = parser.unicode(!text.is_ascii()).utf8(false).build().parse(pattern).unwrap();
        let anchors = required(&Pieces::of(&hir)).unwrap();
        let rounds = Rounds::of(&hir, &anchors.groups);
        let mut fits = Vec::new();
        for (start, _) in text.char_indices() {
            for (number, group) in anchors.groups.iter().enumerate() {
                for literal in &group.literals {
                    let literal = &anchors.literals[*literal as usize];
                    let end = start + literal.len();
                    let here = text.as_bytes().get(start..end);
                    if here.is_some_and(|here| here.eq_ignore_ascii_case(literal)) {
                        fits.push(rounds.fit(number, text.as_bytes(), start, end));
                    }
                }
            }
        }
        fits
    }

    #[test]
    fn what_follows_and_what_leads_up_decide() {
        let pattern = r"(?i)\bnever\s{1,32}shown\s{1,32}(?:to|by)\b";
        assert_eq!(fits(pattern, "never  shown by"), [true]);
        assert_eq!(fits(pattern, "never  shown at"), [false]);
        assert_eq!(fits(pattern, "clever? shown to"), [false]);
        assert_eq!(fits(pattern, "never shown t"), [false], "the text ends too early");
        let counted = fits("zqxj_[0-9]{4,}", "zqxj_ zqxj_1 zqxj_1234");
        assert_eq!(counted, [false, true, true], "one digit will do: counts are not kept");
    }

    #[test]
    fn each_branch_has_its_own_and_repetition_goes_on() {
        let pattern = "(?:zqxj[^=]=[0-9]|[^-]-wvkq:)[a-z]";
        assert_eq!(fits(pattern, "zqxja=1a a-wvkq:a"), [true, true]);
        assert_eq!(fits(pattern, "zqxja:1a --wvkq:a"), [false, false]);
        assert_eq!(fits("(?:[0-9]zqxj){2,}!", "1zqxj2zqxj3zqxj!"), [true, true, true]);
        assert_eq!(fits("é*zqxj[ü-ÿ]x", "éézqxjüx zqxj=x"), [true, false]);
    }

    #[test]
    fn what_is_beyond_sight_fits() {
        let words: Vec<String> = (0..90).map(|n| format!("a{n}b")).collect();
        let pattern = format!("zqxj(?:{})", words.join("|"));
        assert_eq!(fits(&pattern, "zqxja89b zqxja89c zqxjb"), [true, true, false]);
        let far = format!("zqxj{}", ".".repeat(30));
        assert_eq!(fits(&(far.clone() + "!"), &(far.clone() + "?")), [true]);
    }
}
