//! What national numbers are checked with: their digits or characters in an array, weighted sums, possible days. Who
//! uses which is in the files named after parts of the world.

/// The digits of a text that has exactly `N` of them and otherwise only separators, not all equal.
pub(super) fn number<const N: usize>(text: &[u8]) -> Option<[u32; N]> {
    let digits = super::digits(text)?;
    let mut out = [0; N];
    for (slot, digit) in out.iter_mut().zip(&digits) {
        *slot = u32::from(*digit);
    }
    (digits.len() == N && is_varied(&out)).then_some(out)
}

/// The letters (upper case) and digits of a text that has exactly `N` of them and otherwise only separators.
pub(super) fn characters<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    let mut slots = out.iter_mut();
    for byte in text.iter().filter(|b| !matches!(b, b' ' | b'-' | b'.' | b'/' | b'(' | b')')) {
        if !byte.is_ascii_alphanumeric() {
            return None;
        }
        *slots.next()? = byte.to_ascii_uppercase();
    }
    slots.next().is_none().then_some(out)
}

/// The digits of a part of a number that holds letters too.
pub(super) fn figures<const N: usize>(part: &[u8]) -> Option<[u32; N]> {
    let mut out = [0; N];
    for (slot, byte) in out.iter_mut().zip(part) {
        *slot = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
    }
    (part.len() == N).then_some(out)
}

/// Whether there is more than one digit.
pub(super) fn is_varied(digits: &[u32]) -> bool {
    digits.iter().any(|digit| Some(digit) != digits.first())
}

/// Each digit times its weight, summed; the shorter of the two lists ends it.
pub(super) fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// The digits read as one number, modulo another.
pub(super) fn modulo(digits: &[u32], modulus: u32) -> u32 {
    digits.iter().fold(0, |rest, digit| (rest * 10 + digit) % modulus)
}

/// Luhn: from the right, every second digit doubled, the sum is a multiple of ten.
pub(super) fn is_luhn(digits: &[u32]) -> bool {
    let value = |(place, digit): (usize, &u32)| match (place % 2, *digit) {
        (1, digit) if digit > 4 => digit * 2 - 9,
        (1, digit) => digit * 2,
        (_, digit) => digit,
    };
    digits.iter().rev().enumerate().map(value).sum::<u32>().is_multiple_of(10)
}

/// ISO 7064, MOD 11,10: the product runs through all digits but the last, which completes it.
pub(super) fn is_mod_11_10(digits: &[u32]) -> bool {
    let Some((check, rest)) = digits.split_last() else {
        return false;
    };
    let product = rest.iter().fold(10, |product, digit| match (product + digit) % 10 {
        0 => 9,
        sum => sum * 2 % 11,
    });
    (11 - product) % 10 == *check
}

/// Whether there is such a day in some year.
pub(super) fn is_day(month: u32, day: u32) -> bool {
    let last = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=last).contains(&day)
}

/// The place of a character in an alphabet.
pub(super) fn place(alphabet: &[u8], character: u8) -> Option<u32> {
    alphabet.iter().position(|c| *c == character).and_then(|at| u32::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::{characters, is_day, is_luhn, is_mod_11_10, modulo, number};

    #[test]
    fn reads_exactly_so_many() {
        assert_eq!(number::<4>(b"12-3 4"), Some([1, 2, 3, 4]));
        assert_eq!(number::<4>(b"1234x"), None);
        assert_eq!(number::<4>(b"12345"), None);
        assert_eq!(number::<4>(b"7777"), None);
        assert_eq!(characters::<3>(b"a-1.b"), Some(*b"A1B"));
        assert_eq!(characters::<3>(b"a1"), None);
        assert_eq!(characters::<3>(b"a1bc"), None);
    }

    #[test]
    fn sums() {
        // Luhn's own example; the one ISO 7064 gives for MOD 11,10
        assert!(is_luhn(&[7, 9, 9, 2, 7, 3, 9, 8, 7, 1, 3]));
        assert!(is_mod_11_10(&[0, 7, 9, 4, 5]) && !is_mod_11_10(&[0, 7, 9, 4, 4]));
        assert_eq!(modulo(&[9, 8, 7, 6], 97), 9876 % 97);
        assert!(is_day(2, 29) && !is_day(2, 30) && !is_day(13, 1) && !is_day(1, 0));
    }
}
