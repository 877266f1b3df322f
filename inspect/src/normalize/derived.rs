//! A text made from another one, with the way back: which part of the source each part of it stands for.

use std::ops::Range;

/// A text made from another one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Derived {
    pub(crate) text: String,
    parts: Vec<Part>,
    /// Whether it is a value of JSON that stands in the source.
    pub(crate) is_json_value: bool,
    /// Whether a limit left part of the source out.
    pub(crate) partial: bool,
    /// What was done to the source, for people.
    pub(crate) how: &'static str,
}

/// What one stretch of the text stands for. Parts follow each other in the text, though not always in the source.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// First byte in the text.
    at: u32,
    /// First byte in the source.
    from: u32,
    /// One past the last byte in the source.
    to: u32,
    kind: PartKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartKind {
    /// Copied byte for byte.
    Same,
    /// As long as the source and in its order, though with other letters, or read in another way.
    Shifted,
    /// As long as the source, in reverse.
    Mirrored,
    /// Made from the source range as a whole; may be empty.
    Made,
    /// Nothing: what stands on either side is not beside each other in the source.
    Gap,
}

fn cast(n: usize) -> u32 {
    // texts are parts of messages below 4 GiB
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Derived {
    fn push(&mut self, from: usize, to: usize, kind: PartKind) {
        let part = Part { at: cast(self.text.len()), from: cast(from), to: cast(to), kind };
        self.parts.push(part);
    }

    /// Copies `text`, which starts at `from` in the source.
    pub(crate) fn same(&mut self, from: usize, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.parts.last_mut() {
            Some(last) if last.kind == PartKind::Same && last.to as usize == from => {
                last.to = cast(from + text.len());
            }
            _ => self.push(from, from + text.len(), PartKind::Same),
        }
        self.text.push_str(text);
    }

    /// Puts `text` for as many bytes from `from` in the source, byte for byte.
    pub(crate) fn shifted(&mut self, from: usize, text: &str) {
        self.push(from, from + text.len(), PartKind::Shifted);
        self.text.push_str(text);
    }

    /// Puts `text` for as many bytes from `from` in the source, last byte first.
    pub(crate) fn mirrored(&mut self, from: usize, text: &str) {
        self.push(from, from + text.len(), PartKind::Mirrored);
        self.text.push_str(text);
    }

    /// Puts `text` for a range of the source.
    pub(crate) fn made(&mut self, source: Range<usize>, text: &str) {
        self.push(source.start, source.end, PartKind::Made);
        self.text.push_str(text);
    }

    /// Puts one character for a range of the source.
    pub(crate) fn made_char(&mut self, source: Range<usize>, c: char) {
        self.push(source.start, source.end, PartKind::Made);
        self.text.push(c);
    }

    /// Puts characters for a range of the source.
    pub(crate) fn made_chars(&mut self, source: Range<usize>, chars: &[char]) {
        self.push(source.start, source.end, PartKind::Made);
        self.text.extend(chars);
    }

    /// Adds another text made from the same source.
    pub(crate) fn append(&mut self, other: &Self) {
        let shift = cast(self.text.len());
        self.parts.extend(other.parts.iter().map(|part| Part { at: part.at + shift, ..*part }));
        self.text.push_str(&other.text);
    }

    /// Parts what is not beside each other in the source.
    pub(crate) fn gap(&mut self, source: usize) {
        self.push(source, source, PartKind::Gap);
        self.text.push('\0');
    }

    /// The source range that a range of the text stands for, and whether any of it was made, so that it does not stand
    /// like this in the source; `None` when it crosses a gap.
    pub(crate) fn source(&self, range: &Range<usize>) -> Option<(Range<usize>, bool)> {
        let first =
            self.parts.partition_point(|part| part.at as usize <= range.start).checked_sub(1)?;
        let mut source: Option<Range<usize>> = None;
        let mut made = false;
        for (index, part) in self.parts.iter().enumerate().skip(first) {
            let at = part.at as usize;
            if at >= range.end {
                break;
            }
            let end = self.parts.get(index + 1).map_or(self.text.len(), |next| next.at as usize);
            // an empty part counts when it stands inside the range, not at its edge
            if (end <= range.start && end != at) || (end == at && at <= range.start) {
                continue;
            }
            let (from, to) = match part.kind {
                PartKind::Gap => return None,
                PartKind::Made => {
                    made = true;
                    (part.from as usize, part.to as usize)
                }
                PartKind::Mirrored => {
                    made = true;
                    let to = part.to as usize;
                    (to - (range.end.min(end) - at), to - range.start.saturating_sub(at))
                }
                PartKind::Same | PartKind::Shifted => {
                    made |= part.kind == PartKind::Shifted;
                    let from = part.from as usize + range.start.saturating_sub(at);
                    (from, part.from as usize + range.end.min(end) - at)
                }
            };
            source = Some(match source {
                None => from..to,
                Some(sum) => sum.start.min(from)..sum.end.max(to),
            });
        }
        source.map(|source| (source, made))
    }
}

#[cfg(test)]
mod tests {
    use super::Derived;
    use std::ops::Range;

    /// What was made, and from where.
    fn made(derived: &Derived, range: Range<usize>) -> Option<Range<usize>> {
        derived.source(&range).filter(|(_, made)| *made).map(|(source, _)| source)
    }

    #[test]
    fn ranges_lead_back() {
        // source: "ab%41cd", decoded: "abAcd"
        let mut derived = Derived::default();
        derived.same(0, "ab");
        derived.made(2..5, "A");
        derived.same(5, "cd");
        assert_eq!(derived.text, "abAcd");
        assert_eq!(made(&derived, 0..2), None);
        assert_eq!(made(&derived, 3..5), None);
        assert_eq!(made(&derived, 1..3), Some(1..5));
        assert_eq!(made(&derived, 2..3), Some(2..5));
        assert_eq!(made(&derived, 0..5), Some(0..7));
    }

    #[test]
    fn what_was_dropped_counts_inside_only() {
        // source: "a_b", the middle dropped
        let mut derived = Derived::default();
        derived.same(0, "a");
        derived.made(1..2, "");
        derived.same(2, "b");
        assert_eq!(made(&derived, 0..2), Some(0..3));
        assert_eq!(made(&derived, 0..1), None);
        assert_eq!(made(&derived, 1..2), None);
    }

    #[test]
    fn reversed_and_shifted_ranges_are_exact() {
        let mut derived = Derived::default();
        derived.mirrored(10, "abcd");
        derived.shifted(20, "xyz");
        assert_eq!(made(&derived, 0..1), Some(13..14));
        assert_eq!(made(&derived, 1..3), Some(11..13));
        assert_eq!(made(&derived, 5..7), Some(21..23));
    }

    #[test]
    fn gaps_part() {
        let mut derived = Derived::default();
        derived.made(0..4, "x");
        derived.gap(4);
        derived.made(9..12, "y");
        assert_eq!(made(&derived, 0..3), None);
        assert_eq!(made(&derived, 2..3), Some(9..12));
    }
}
