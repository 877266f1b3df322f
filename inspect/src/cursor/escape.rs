//! Offsets in a string's unescaped text → offsets in its raw bytes.

use std::ops::Range;

/// A forward walk over one string's raw content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escapes<'a> {
    raw: &'a [u8],
    /// Raw bytes walked.
    at: usize,
    /// Unescaped bytes they stand for.
    text: usize,
}

impl<'a> Escapes<'a> {
    /// Walks `raw`, a string's content without its quotes.
    pub(crate) fn new(raw: &'a [u8]) -> Self {
        Self { raw, at: 0, text: 0 }
    }

    /// The raw range that stands for the unescaped `range`, widened to whole characters. Ranges can only be asked for
    /// with rising starts; they may overlap.
    pub(crate) fn map(&mut self, range: &Range<usize>) -> Option<Range<usize>> {
        // up to the unit that holds the first byte
        self.walk(range.start)?;
        let start = self.at;
        let mut end = *self;
        while end.text < range.end {
            end.walk(range.end)?;
            if end.text < range.end {
                end.step()?;
            }
        }
        Some(start..end.at)
    }

    /// Moves to the start of the character that holds unescaped byte `text`.
    fn walk(&mut self, text: usize) -> Option<()> {
        while self.text < text {
            let mut ahead = *self;
            // plain bytes up to the next escape stand for themselves
            let rest = self.raw.get(self.at..)?;
            let plain = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
            if plain > 0 {
                let mut step = plain.min(text - self.text);
                // never into the middle of a character
                while step > 0 && rest.get(step).is_some_and(|b| (0x80..0xC0).contains(b)) {
                    step -= 1;
                }
                if step == 0 {
                    return Some(());
                }
                self.at += step;
                self.text += step;
                continue;
            }
            ahead.step()?;
            if ahead.text > text {
                return Some(());
            }
            *self = ahead;
        }
        Some(())
    }

    /// Moves over one character, however it is written.
    fn step(&mut self) -> Option<()> {
        let rest = self.raw.get(self.at..)?;
        let (raw, text) = match rest.first()? {
            b'\\' => match rest.get(1)? {
                b'u' => {
                    let unit = hex4(rest.get(2..6)?)?;
                    match unit {
                        0xD800..=0xDBFF => (12, 4),
                        0x800.. => (6, 3),
                        0x80.. => (6, 2),
                        _ => (6, 1),
                    }
                }
                _ => (2, 1),
            },
            0..0x80 => (1, 1),
            0x80..0xE0 => (2, 2),
            0xE0..0xF0 => (3, 3),
            _ => (4, 4),
        };
        self.at += raw;
        self.text += text;
        (self.at <= self.raw.len()).then_some(())
    }
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::Escapes;

    #[test]
    fn maps_each_character() {
        // a, newline, é (escaped), é (raw), a pair, z: unescaped 1+1+2+2+4+1 bytes
        let raw = "a\\n\\u00e9é\\ud83d\\ude00z";
        let map = |range| Escapes::new(raw.as_bytes()).map(&range).unwrap();
        assert_eq!(map(0..1), 0..1);
        assert_eq!(map(1..2), 1..3);
        assert_eq!(map(2..4), 3..9);
        assert_eq!(map(3..4), 3..9);
        assert_eq!(map(4..6), 9..11);
        assert_eq!(map(5..6), 9..11);
        assert_eq!(map(6..10), 11..23);
        assert_eq!(map(7..11), 11..24);
        assert_eq!(map(10..11), 23..24);
        assert_eq!(map(0..11), 0..24);
    }
}
