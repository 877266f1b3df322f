//! Numbers that name a person.

use super::digits;
use super::sums::{characters, is_varied, number, weighted};

/// Three groups, none all zeros; areas 000, 666 and 9xx were never issued; a few numbers are known from adverts.
pub(super) fn ssn(text: &[u8]) -> bool {
    let Some(digits) = digits(text) else {
        return false;
    };
    if digits.len() != 9 {
        return false;
    }
    let number = digits.iter().fold(0_u32, |n, d| n * 10 + u32::from(*d));
    let (area, group, serial) = (number / 1_000_000, number / 10_000 % 100, number % 10_000);
    let known =
        matches!(number, 78_051_120 | 219_099_999 | 457_555_462 | 123_456_789 | 111_111_111);
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0 && !known
}

/// Ten digits: weights 10 to 1, modulo 11.
pub(super) fn nhs(text: &[u8]) -> bool {
    number::<10>(text).is_some_and(|digits| {
        weighted(&digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
            && is_varied(&digits[..9])
    })
}

/// The multiplication of the dihedral group D5.
const D5: [[u8; 10]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
    [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
    [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
    [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
    [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
    [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
    [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
    [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
];

/// Verhoeff's permutation, applied once per position.
const PERMUTATION: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];

/// Verhoeff's scheme: permute each digit by its position, multiply in D5, the product is 0.
pub(super) fn verhoeff(text: &[u8]) -> bool {
    let Some(digits) = digits(text) else {
        return false;
    };
    let product = digits.iter().rev().enumerate().fold(0_u8, |product, (position, digit)| {
        let permuted = (0..position % 8)
            .fold(*digit, |d, _| PERMUTATION.get(usize::from(d)).copied().unwrap_or(0));
        let row = D5.get(usize::from(product));
        row.and_then(|row| row.get(usize::from(permuted))).copied().unwrap_or(0)
    });
    let varied = digits.iter().any(|d| Some(d) != digits.first());
    digits.len() == 12 && varied && digits.first().is_some_and(|d| *d > 1) && product == 0
}

/// The letter is the number modulo 23 in a fixed order; X, Y, Z in front of a NIE stand for 0, 1, 2.
pub(super) fn dni_es(text: &[u8]) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let mut number = 0_usize;
    let mut count = 0;
    let mut letter = None;
    for byte in text.iter().filter(|b| !matches!(b, b'-' | b' ' | b'.')) {
        let upper = byte.to_ascii_uppercase();
        let digit = match upper {
            _ if letter.is_some() => return false,
            b'0'..=b'9' => upper - b'0',
            b'X' | b'Y' | b'Z' if count == 0 => upper - b'X',
            b'A'..=b'Z' if count == 8 => {
                letter = Some(upper);
                continue;
            }
            _ => return false,
        };
        number = number * 10 + usize::from(digit);
        count += 1;
        if count > 8 {
            return false;
        }
    }
    count == 8 && letter.is_some() && LETTERS.get(number % 23).copied() == letter
}

/// Two letters, six digits, A to D; some letters and pairs are never used.
pub(super) fn nino_uk(text: &[u8]) -> bool {
    let Some([a, b, middle @ .., last]) = characters::<9>(text) else {
        return false;
    };
    let letter =
        |b: u8| b.is_ascii_uppercase() && !matches!(b, b'D' | b'F' | b'I' | b'Q' | b'U' | b'V');
    let unused = matches!(&[a, b], b"BG" | b"GB" | b"KN" | b"NK" | b"NT" | b"TN" | b"ZZ");
    letter(a)
        && letter(b)
        && b != b'O'
        && !unused
        && middle.iter().all(u8::is_ascii_digit)
        && matches!(last, b'A'..=b'D')
}

/// Country calling codes of one, two and three digits, as assigned by the ITU.
fn is_calling_code(digits: &[u8]) -> bool {
    matches!(
        digits,
        [1 | 7, ..] | [2, 0 | 7, ..] | [3, 0..=4 | 6 | 9, ..] | [4, 0 | 1 | 3..=9, ..] | [5, 1..=8, ..] | [6, 0..=6, ..] | [8, 1 | 2 | 4 | 6, ..] | [9, 0..=5 | 8, ..] | [2, 1, 1..=3 | 6 | 8, ..] | [2, 2 | 3 | 4 | 6, _, ..] | [2, 5, 0..=8, ..] | [2, 9, 0 | 1 | 7..=9, ..] | [3, 5 | 7 | 8, _, ..] | [4, 2, 0 | 1 | 3, ..] | [5, 0 | 9, _, ..]
        | [6, 7, 0 | 2..=9, ..]
        | [6, 8, 0..=3 | 5..=9, ..]
        | [6, 9, 0..=2, ..] | [8, 0, 0 | 8, ..]
        | [8, 5, 0 | 2 | 3 | 5 | 6, ..]
        | [8, 7, 0 | 8, ..]
        | [8, 8, 0 | 1 | 2 | 3 | 6 | 8, ..] | [9, 6, 0..=8, ..] | [9, 7, 0..=7 | 9, ..] | [9, 9, 2..=6 | 8, ..]
    )
}

/// A leading `+` or `00`, a calling code in use, 8 to 15 digits in all, not one digit over and over.
pub(super) fn phone_e164(text: &[u8]) -> bool {
    let Some(digits) = digits(text) else {
        return false;
    };
    let number = match digits.as_slice() {
        [0, 0, rest @ ..] if !text.contains(&b'+') => rest,
        all => all,
    };
    let Some(tail) = number.get(3..) else {
        return false;
    };
    let varied = tail.iter().any(|d| Some(d) != tail.first());
    // North America: neither area code nor exchange starts with 0 or 1
    let plausible = match number {
        [1, area, _, _, exchange, ..] => *area > 1 && *exchange > 1 && number.len() == 11,
        _ => true,
    };
    (8..=15).contains(&number.len()) && is_calling_code(number) && varied && plausible
}

#[cfg(test)]
mod tests {
    use super::{dni_es, nhs, nino_uk, phone_e164, ssn, verhoeff};

    fn check(f: fn(&[u8]) -> bool, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(f(text.as_bytes()), "{text}");
        }
        for text in no {
            assert!(!f(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn numbers_of_persons() {
        check(
            ssn,
            &["536-22-8145", "001 01 0001"],
            &[
                "000-12-3456",
                "666-12-3456",
                "900-12-3456",
                "536-00-8145",
                "536-22-0000",
                "078-05-1120",
            ],
        );
        check(nhs, &["943 476 5919", "4010232137"], &["943 476 5918", "0000000000", "94347659"]);
        check(verhoeff, &["2341 2341 2346"], &["2341 2341 2347", "0000 0000 0000", "2363"]);
        check(
            dni_es,
            &["12345678Z", "X1234567L", "00000000-T"],
            &["12345678A", "1234567Z", "12345678ZZ"],
        );
        check(
            nino_uk,
            &["AB 12 34 56 C", "ab123456d"],
            &["GB123456A", "AO123456A", "DA123456A", "AB123456E", "AB12345C"],
        );
        check(
            phone_e164,
            &["+49 30 901820", "+1 (415) 555-2671", "0044 20 7946 0958", "+351 21 123 4567"],
            &["+999 1234567", "+1 115 555 2671", "+49 1", "+44 111 111 111 111 111 1"],
        );
    }
}
