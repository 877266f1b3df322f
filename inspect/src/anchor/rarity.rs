//! How rare a literal is in ordinary MCP traffic: enough to tell `sk-a` from `the `.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Four bytes in a row that ordinary text has often; `common.py` beside it says how it was made.
const COMMON: &str = include_str!("common.txt");
/// What stands for a space in it.
const SPACE: char = '\u{2423}';
/// Less often than all that are listed: once in 2^16 bytes.
const UNLISTED: f64 = 1.0 / 65_536.0;

/// What any literal costs, since it makes the filter larger.
pub(super) const LEAST_COST: f64 = 1e-6;

/// Expected occurrences of any literal of a set, per byte of ordinary traffic; not summed up further once above `least`.
pub(super) fn set_cost<'l>(literals: impl Iterator<Item = &'l [u8]>, least: f64) -> f64 {
    let mut sum = 0.0;
    for literal in literals {
        sum += commonness(literal) + LEAST_COST;
        if sum > least {
            break;
        }
    }
    sum
}

/// Expected occurrences of one literal (lower case) per byte of ordinary traffic: no more than of its rarest four bytes.
pub(crate) fn commonness(literal: &[u8]) -> f64 {
    static LISTED: LazyLock<Listed> = LazyLock::new(|| Listed::of(&listed()));
    let by_letters: f64 = literal.iter().map(|b| frequency(*b)).product();
    let unlisted = by_letters.min(UNLISTED);
    let grams = literal.windows(4).filter_map(|gram| <[u8; 4]>::try_from(gram).ok());
    let rarest = grams.map(|gram| LISTED.get(gram).unwrap_or(unlisted));
    // each byte more makes it rarer: `replace` is, though its rarest four bytes are those of `repl`
    let longer = i32::try_from(literal.len().saturating_sub(4)).unwrap_or(i32::MAX);
    rarest.min_by(f64::total_cmp).unwrap_or(unlisted) * f64::powi(0.7, longer)
}

/// The table by the hash of its grams: it is asked for every gram of every literal that might be chosen.
struct Listed(Vec<Option<([u8; 4], f64)>>);

impl Listed {
    fn of(table: &HashMap<[u8; 4], f64>) -> Self {
        let mut slots = vec![None; (2 * table.len() + 1).next_power_of_two()];
        for (gram, often) in table {
            let mut at = Self::place(*gram, slots.len());
            // half of the slots stay free
            while let Some(slot) = slots.get_mut(at) {
                if slot.is_none() {
                    *slot = Some((*gram, *often));
                    break;
                }
                at = (at + 1) & (slots.len() - 1);
            }
        }
        Self(slots)
    }

    fn get(&self, gram: [u8; 4]) -> Option<f64> {
        let mut at = Self::place(gram, self.0.len());
        while let Some((listed, often)) = self.0.get(at).copied().flatten() {
            if listed == gram {
                return Some(often);
            }
            at = (at + 1) & (self.0.len() - 1);
        }
        None
    }

    fn place(gram: [u8; 4], slots: usize) -> usize {
        let hash = u32::from_le_bytes(gram).wrapping_mul(0x9e37_79b1);
        (hash >> 12) as usize & (slots - 1)
    }
}

/// The lines of the table: a power of two, and what occurs about once in so many bytes.
fn listed() -> HashMap<[u8; 4], f64> {
    let mut listed = HashMap::new();
    for line in COMMON.lines() {
        let mut words = line.split(' ');
        let Some(step) = words.next().and_then(|step| step.parse().ok()) else { continue };
        for word in words {
            let gram: Vec<u8> = word.replace(SPACE, " ").into_bytes();
            if let Ok(gram) = <[u8; 4]>::try_from(gram) {
                listed.insert(gram, f64::powi(0.5, step));
            }
        }
    }
    listed
}

/// How often a byte (lower case) occurs in ordinary traffic: English, code, JSON and some base64, rounded.
pub(super) fn frequency(byte: u8) -> f64 {
    let per_thousand = match byte {
        b' ' => 140.0,
        b'e' => 90.0,
        b't' => 70.0,
        b'a' | b'o' | b'i' | b'n' | b's' => 60.0,
        b'r' => 55.0,
        b'l' | b'd' | b'h' | b'c' => 35.0,
        b'u' | b'm' | b'p' => 27.0,
        b'f' | b'g' => 20.0,
        b'y' | b'b' | b'w' => 16.0,
        b'v' | b'k' => 9.0,
        b'x' => 5.0,
        b'j' | b'q' | b'z' => 3.0,
        b'0' | b'1' => 15.0,
        b'2'..=b'9' => 9.0,
        b'.' | b',' | b'"' | b'-' | b'_' | b'/' | b'\n' => 12.0,
        b':' | b'(' | b')' | b'=' | b'\'' => 7.0,
        b'{' | b'}' | b'[' | b']' | b'<' | b'>' | b';' => 4.0,
        0x80.. => 3.0,
        _ => 1.5,
    };
    per_thousand / 1000.0
}

#[cfg(test)]
mod tests {
    use super::{COMMON, Listed, commonness, listed};

    #[test]
    fn tells_common_words_from_prefixes_of_tokens() {
        let rare = [b"ghp_", b"xoxb", b"sk-a", b"akia"].map(|literal| commonness(literal));
        let common = [&b"the "[..], b"http", b"server", b"your "].map(commonness);
        assert!(rare.iter().all(|rare| common.iter().all(|common| *common > 10.0 * rare)));
        // one rare part makes the whole rare
        assert!(commonness(b"http_zq7") <= commonness(b"_zq7"));
    }

    #[test]
    fn the_whole_table_is_read() {
        let words: usize = COMMON.lines().map(|line| line.split(' ').count() - 1).sum();
        assert_eq!(listed().len(), words);
        let table = Listed::of(&listed());
        assert!(listed().iter().all(|(gram, often)| table.get(*gram) == Some(*often)));
        assert_eq!(table.get(*b"zqxj"), None);
    }
}
