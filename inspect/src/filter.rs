//! One pass over the arena for all literals of all rules. The only place that knows which algorithm does it.
//!
//! Every literal is at least four bytes long, so each contributes one *gram*: four of its bytes, the four that
//! ordinary text has least often. A bitmap of hashed grams is asked at every position of the text; where it says yes,
//! the gram's literals are compared with what stands there. The bitmap stays in the nearest cache whatever the number
//! of rules, which an automaton of some thousand literals does not. ASCII case does not matter.

use crate::anchor::commonness;
use std::ops::ControlFlow;

/// Bytes of a gram.
const GRAM: usize = 4;
/// Sets the bit that tells ASCII's upper case from its lower in each byte; other bytes that this joins are told apart
/// when the literal is compared.
const FOLD: u64 = 0x2020_2020;
/// Positions asked before the answers are looked at.
const BLOCK: usize = 8;
/// Bits of a hash that index the bitmap, of 64 KiB. Fixed, so that nothing is asked per position but the bitmap.
const INDEX_BITS: u32 = 19;
const WORDS: usize = 1 << (INDEX_BITS - 5);

/// All literals, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    /// One bit for each value of the hash.
    bitmap: Bitmap,
    /// Where the entries of each range of the hash begin, and one more: the end.
    ranges: Vec<u32>,
    /// By how much a hash is shifted to index the ranges.
    range_shift: u32,
    /// Sorted by the hash of their gram.
    entries: Vec<Entry>,
    /// All literals one after the other, and where each begins; and one more, the end.
    literals: Vec<u8>,
    literals_from: Vec<u32>,
}

/// Which hashes belong to a literal's gram.
#[derive(Clone)]
struct Bitmap(Box<[u32; WORDS]>);

impl Bitmap {
    /// The word and the bit in it that answer for a gram.
    fn place(gram: u32) -> (usize, u32) {
        let hash = hash(gram);
        ((hash >> (32 - INDEX_BITS + 5)) as usize, (hash >> (32 - INDEX_BITS)) & 31)
    }

    fn set(&mut self, gram: u32) {
        let (word, bit) = Self::place(gram);
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    /// One if a gram may stand where this one does.
    fn bit(&self, gram: u32) -> u32 {
        let (word, bit) = Self::place(gram);
        self.0.get(word).map_or(0, |word| word >> bit & 1)
    }
}

impl std::fmt::Debug for Bitmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bitmap({} bits set)", self.0.iter().map(|word| word.count_ones()).sum::<u32>())
    }
}

/// A literal behind its gram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    gram: u32,
    /// As an index into the literals.
    literal: u32,
    /// Where in the literal the gram begins.
    offset: u32,
}

/// A literal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiteralHit {
    /// Which literal, as an index into those given to [`Filter::new`].
    pub(crate) literal: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// A position inside it. Hits come by increasing `at`.
    pub(crate) at: usize,
}

impl Filter {
    /// Compiles the literals, which are in lower case; `None` when one is too short or they are too many.
    pub(crate) fn new<L: AsRef<[u8]>>(literals: &[L]) -> Option<Self> {
        let mut entries: Vec<Entry> = Vec::with_capacity(literals.len());
        for (index, literal) in literals.iter().enumerate() {
            let grams = literal.as_ref().windows(GRAM).enumerate();
            let (offset, gram) =
                grams.min_by(|(_, a), (_, b)| commonness(a).total_cmp(&commonness(b)))?;
            let number = |n: usize| u32::try_from(n).ok();
            let gram = fold(gram.try_into().ok()?);
            entries.push(Entry { gram, literal: number(index)?, offset: number(offset)? });
        }
        entries.sort_unstable_by_key(|entry| (hash(entry.gram), *entry));
        let log = literals.len().max(1).ilog2();
        let range_shift = 32 - (log + 1);
        let mut bitmap = Bitmap(Box::new([0; WORDS]));
        let mut ranges = vec![0_u32; (1 << (32 - range_shift)) + 1];
        for entry in &entries {
            bitmap.set(entry.gram);
            *ranges.get_mut((hash(entry.gram) >> range_shift) as usize + 1)? += 1;
        }
        let mut before = 0;
        for range in &mut ranges {
            before += *range;
            *range = before;
        }
        let mut literals_from = vec![0];
        let mut all = Vec::new();
        for literal in literals {
            all.extend_from_slice(literal.as_ref());
            literals_from.push(u32::try_from(all.len()).ok()?);
        }
        Some(Self { bitmap, ranges, range_shift, entries, literals: all, literals_from })
    }

    fn literal(&self, at: usize) -> Option<&[u8]> {
        let (from, to) = (self.literals_from.get(at)?, self.literals_from.get(at + 1)?);
        self.literals.get(*from as usize..*to as usize)
    }

    /// Calls `give` with every occurrence of every literal, overlapping ones too, until it breaks.
    pub(crate) fn each(&self, text: &[u8], mut give: impl FnMut(LiteralHit) -> ControlFlow<()>) {
        if self.entries.is_empty() {
            return;
        }
        let mut at = 0;
        // eight positions take eleven bytes
        while let Some(block) = text.get(at..at + 12).and_then(|block| block.first_chunk()) {
            let mut some = self.block(block);
            while some != 0 {
                if self.at(text, at + some.trailing_zeros() as usize, &mut give).is_break() {
                    return;
                }
                some &= some - 1;
            }
            at += BLOCK;
        }
        while at + GRAM <= text.len() {
            if self.at(text, at, &mut give).is_break() {
                return;
            }
            at += 1;
        }
    }

    /// At which of eight positions a gram may stand, as bits.
    fn block(&self, block: &[u8; 12]) -> u32 {
        let eight = |at: usize| {
            let bytes = block.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default()) | FOLD << 32 | FOLD
        };
        let (low, high) = (eight(0), eight(4));
        // no branch between: all are asked, then the answers are put together
        (0..4).fold(0, |some, offset| {
            let (low, high) = ((low >> (8 * offset)) as u32, (high >> (8 * offset)) as u32);
            some | self.bitmap.bit(low) << offset | self.bitmap.bit(high) << (offset + 4)
        })
    }

    /// The literals whose gram stands at a position.
    fn at(
        &self,
        text: &[u8],
        at: usize,
        give: &mut impl FnMut(LiteralHit) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(gram) = text.get(at..at + GRAM).and_then(|gram| gram.try_into().ok()) else {
            return ControlFlow::Continue(());
        };
        let gram = fold(gram);
        let range = (hash(gram) >> self.range_shift) as usize;
        let (Some(first), Some(end)) = (self.ranges.get(range), self.ranges.get(range + 1)) else {
            return ControlFlow::Continue(());
        };
        let near = self.entries.get(*first as usize..*end as usize).unwrap_or(&[]);
        for entry in near.iter().filter(|entry| entry.gram == gram) {
            let literal = entry.literal as usize;
            let Some(start) = at.checked_sub(entry.offset as usize) else { continue };
            let Some(wanted) = self.literal(literal) else { continue };
            let end = start + wanted.len();
            if text.get(start..end).is_some_and(|text| text.eq_ignore_ascii_case(wanted)) {
                give(LiteralHit { literal, start, end, at })?;
            }
        }
        ControlFlow::Continue(())
    }
}

fn fold(gram: [u8; GRAM]) -> u32 {
    u32::from_le_bytes(gram.map(|byte| byte | 0x20))
}

fn hash(gram: u32) -> u32 {
    gram.wrapping_mul(0x9e37_79b1)
}

#[cfg(test)]
mod tests {
    use super::{Filter, LiteralHit};
    use aho_corasick::{AhoCorasickBuilder, MatchKind};
    use proptest::prelude::*;
    use std::ops::ControlFlow;

    fn hits(literals: &[Vec<u8>], text: &[u8]) -> Vec<LiteralHit> {
        let mut hits = Vec::new();
        Filter::new(literals).unwrap().each(text, |hit| {
            hits.push(hit);
            ControlFlow::Continue(())
        });
        hits
    }

    fn by_automaton(literals: &[Vec<u8>], text: &[u8]) -> Vec<(usize, usize, usize)> {
        let automaton = AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(literals)
            .unwrap();
        let found = automaton.find_overlapping_iter(text);
        found.map(|m| (m.pattern().as_usize(), m.start(), m.end())).collect()
    }

    #[test]
    fn stops_when_told_and_refuses_what_is_too_short() {
        let filter = Filter::new(&[b"abcd".to_vec()]).unwrap();
        let mut count = 0;
        filter.each(&b"abcd".repeat(100), |_| {
            count += 1;
            ControlFlow::Break(())
        });
        assert_eq!(count, 1);
        assert!(Filter::new(&[b"abc".to_vec()]).is_none());
        assert!(hits(&[], b"some text that is long enough").is_empty());
    }

    #[test]
    fn ten_thousand_literals_are_all_found() {
        let literals: Vec<Vec<u8>> =
            (0..10_000).map(|n| format!("k{n:04}x").into_bytes()).collect();
        let text = literals.concat();
        assert_eq!(hits(&literals, &text).len(), 10_000);
    }

    proptest! {
        #[test]
        fn finds_what_an_automaton_finds(
            literals in prop::collection::btree_set("[a-e_0\u{e9}]{4,7}", 0..40),
            text in "[a-eA-E_0\u{e9}\u{c9}@`]{0,300}",
        ) {
            let literals: Vec<Vec<u8>> = literals.into_iter().map(String::into_bytes).collect();
            let found = hits(&literals, text.as_bytes());
            prop_assert!(found.is_sorted_by_key(|hit| hit.at));
            prop_assert!(found.iter().all(|hit| (hit.start..hit.end).contains(&hit.at)));
            let mut found: Vec<_> = found.iter().map(|hit| (hit.literal, hit.start, hit.end)).collect();
            let mut wanted = by_automaton(&literals, text.as_bytes());
            found.sort_unstable();
            wanted.sort_unstable();
            prop_assert_eq!(found, wanted);
        }
    }
}
