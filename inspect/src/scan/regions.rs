//! Which part of a text a regex has to look at.
//!
//! Sound only because every match of a rule with a literal contains one: all matches then lie in the union of the windows
//! round the literals, so searching each window finds what a search of the whole text finds, in the same order.

use crate::compile::Trigger;
use crate::compile::{Rule, RuleIx};

/// Part of a text that a rule's regex has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Region {
    pub(super) text: u32,
    pub(super) rule: RuleIx,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The window round a literal of a group of the pattern's, at `start..end` of a text of `len` bytes.
pub(super) fn window(
    rule: &Rule,
    group: u16,
    start: usize,
    end: usize,
    len: usize,
) -> (usize, usize) {
    let before = match &rule.trigger {
        Trigger::Value(anchors) => {
            anchors.groups.get(usize::from(group)).and_then(|group| group.before)
        }
        _ => None,
    };
    let from = match (before, rule.gate.max_len) {
        (Some(before), _) => start.saturating_sub(before),
        (None, Some(max)) => end.saturating_sub(max),
        (None, None) => 0,
    };
    let to = match rule.gate.max_len {
        Some(max) => start.saturating_add(max).min(len),
        None => usize::MAX,
    };
    (from, to)
}

/// Writes the places of all ASCII digits into `places`. Stretches without any, which most are, take a few wide
/// instructions.
pub(super) fn digits(text: &[u8], places: &mut Vec<u32>) {
    places.clear();
    for (part, from) in text.chunks(STRETCH).zip((0_u32..).step_by(STRETCH)) {
        if part.iter().fold(false, |some, byte| some | byte.is_ascii_digit()) {
            let here = (from..).zip(part).filter(|(_, byte)| byte.is_ascii_digit());
            places.extend(here.map(|(at, _)| at));
        }
    }
}

/// Bytes looked at together for a digit.
const STRETCH: usize = 32;

/// The parts of a text where `least` digits stand within `max_len` bytes, given the places of its digits.
pub(super) fn dense(
    places: &[u32],
    least: usize,
    max_len: usize,
) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut next = 0;
    std::iter::from_fn(move || {
        let mut part: Option<(usize, usize)> = None;
        // the digit at `next` and the one `least` digits on
        while let (Some(first), Some(last)) =
            (places.get(next), places.get(next + least.max(1) - 1))
        {
            let (first, last) = (*first as usize, *last as usize);
            if last - first < max_len {
                // a match holding these digits begins and ends here
                let (from, to) = ((last + 1).saturating_sub(max_len), first + max_len);
                match &mut part {
                    None => part = Some((from, to)),
                    Some((_, end)) if from <= *end => *end = to,
                    Some(_) => return part,
                }
            }
            next += 1;
        }
        part
    })
}
