//! Numbers of persons and firms in Australia, New Zealand and South Africa.

use super::sums::{is_day, is_luhn, number, weighted};

/// Australia's tax file number: nine digits, modulo 11.
pub(super) fn tfn_au(text: &[u8]) -> bool {
    number::<9>(text)
        .is_some_and(|digits| weighted(&digits, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11))
}

/// Australia's business number: eleven digits, one taken from the first, modulo 89.
pub(super) fn abn_au(text: &[u8]) -> bool {
    number::<11>(text).is_some_and(|digits| {
        let sum = weighted(&digits, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
        // ten less for the one taken; the sum is at least ten where the first digit is no zero
        digits[0] != 0 && (sum - 10).is_multiple_of(89)
    })
}

/// Australia's Medicare card: from 2 to 6 on, a check digit in the ninth place, the issue in the tenth.
pub(super) fn medicare_au(text: &[u8]) -> bool {
    let digits = match (number::<10>(text), number::<11>(text)) {
        (Some(digits), _) => digits,
        (_, Some([digits @ .., _])) => digits,
        _ => return false,
    };
    matches!(digits[0], 2..=6)
        && digits[9] != 0
        && weighted(&digits, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == digits[8]
}

/// New Zealand's tax number: eight or nine digits, two rows of weights modulo 11.
pub(super) fn ird_nz(text: &[u8]) -> bool {
    let digits = match (number::<8>(text), number::<9>(text)) {
        (Some([a, b, c, d, e, f, g, h]), _) => [0, a, b, c, d, e, f, g, h],
        (_, Some(digits)) => digits,
        _ => return false,
    };
    let check = |weights: &[u32]| (11 - weighted(&digits, weights) % 11) % 11;
    let expected = match check(&[3, 2, 7, 6, 5, 4, 3, 2]) {
        10 => check(&[7, 4, 3, 2, 5, 2, 7, 6]),
        check => check,
    };
    // in use from 10,000,000 to 150,000,000
    let start = digits[0] * 10 + digits[1];
    (1..15).contains(&start) && expected == digits[8]
}

/// South Africa: a birthday, a counter, citizenship, and a right Luhn digit.
pub(super) fn identity_za(text: &[u8]) -> bool {
    number::<13>(text).is_some_and(|digits| {
        is_day(digits[2] * 10 + digits[3], digits[4] * 10 + digits[5])
            && digits[10] < 3
            && is_luhn(&digits)
    })
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    #[test]
    fn numbers_of_the_south() {
        // the specimens of the offices, and those that encyclopedias and number libraries show
        vectors(tfn_au, &["123 456 782", "876543210"], &["123456783"]);
        vectors(abn_au, &["83 914 571 673", "51824753556"], &["99 999 999 999", "51824753557"]);
        vectors(medicare_au, &["2123 45670 1", "21234567011"], &["2123 45671 1", "1123 45670 1"]);
        vectors(ird_nz, &["49-091-850", "136410132", "49091850"], &["136410133", "9125568"]);
        vectors(identity_za, &["7503305044089", "8001015009087"], &["9125568", "7503305044088"]);
    }
}
