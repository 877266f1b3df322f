//! Numbers of persons and firms in Asia. Aadhaar's check digit is in `person`.

use super::sums::{characters, figures, is_day, is_luhn, is_varied, number, place, weighted};

const BASE36: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Mainland China: a region, a birthday, a counter, and a check character of ISO 7064, MOD 11-2.
pub(super) fn resident_cn(text: &[u8]) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    const CHECKS: &[u8; 11] = b"10X98765432";
    let Some([body @ .., check]) = characters::<18>(text) else {
        return false;
    };
    figures::<17>(&body).is_some_and(|digits| {
        let year = digits[6] * 1000 + digits[7] * 100 + digits[8] * 10 + digits[9];
        let rest = weighted(&digits, &WEIGHTS) % 11;
        matches!(digits[0], 1..=8)
            && (1900..2100).contains(&year)
            && is_day(digits[10] * 10 + digits[11], digits[12] * 10 + digits[13])
            && CHECKS.get(rest as usize) == Some(&check)
    })
}

/// Taiwan: a letter that counts as two digits, 1 or 2 (8 or 9 for foreigners), and eight digits modulo 10.
pub(super) fn national_tw(text: &[u8]) -> bool {
    // A is 10, B 11, …: in the order the counties got their letters
    const LETTERS: &[u8; 26] = b"ABCDEFGHJKLMNPQRSTUVXYWZIO";
    let Some([letter, body @ ..]) = characters::<10>(text) else {
        return false;
    };
    let (Some(county), Some(digits)) = (place(LETTERS, letter), figures::<9>(&body)) else {
        return false;
    };
    let county = county + 10;
    let sum = county / 10 + county % 10 * 9 + weighted(&digits, &[8, 7, 6, 5, 4, 3, 2, 1, 1]);
    matches!(digits[0], 1 | 2 | 8 | 9) && is_varied(&digits[1..]) && sum.is_multiple_of(10)
}

/// Hong Kong: one or two letters, six digits, a check character modulo 11; a missing letter counts 36.
pub(super) fn identity_hk(text: &[u8]) -> bool {
    let (first, [second, body @ ..]) = match (characters::<8>(text), characters::<9>(text)) {
        (Some(rest), _) => (Some(36), rest),
        (_, Some([first, rest @ ..])) if first.is_ascii_uppercase() => (place(BASE36, first), rest),
        _ => return false,
    };
    let [digits @ .., check] = body;
    let (Some(digits), Some(first)) = (figures::<6>(&digits), first) else {
        return false;
    };
    let letter = place(BASE36, second).unwrap_or(0);
    let check = if check == b'A' { Some(10) } else { place(&BASE36[..10], check) };
    let sum = first * 9 + letter * 8 + weighted(&digits, &[7, 6, 5, 4, 3, 2]);
    second.is_ascii_uppercase()
        && is_varied(&digits)
        && check.is_some_and(|check| (sum + check).is_multiple_of(11))
}

/// Singapore: S, T, F, G or M, seven digits, and a letter for their sum modulo 11.
pub(super) fn nric_sg(text: &[u8]) -> bool {
    let Some([kind, body @ .., check]) = characters::<9>(text) else {
        return false;
    };
    let (letters, more) = match kind {
        b'S' => (b"JZIHGFEDCBA", 0),
        b'T' => (b"JZIHGFEDCBA", 4),
        b'F' => (b"XWUTRQPNMLK", 0),
        b'G' => (b"XWUTRQPNMLK", 4),
        b'M' => (b"XWUTRQPNJLK", 3),
        _ => return false,
    };
    figures::<7>(&body).is_some_and(|digits| {
        let rest = (weighted(&digits, &[2, 7, 6, 5, 4, 3, 2]) + more) % 11;
        is_varied(&digits) && letters.get(rest as usize) == Some(&check)
    })
}

/// Thailand: thirteen digits, weights 13 to 2, modulo 11.
pub(super) fn national_th(text: &[u8]) -> bool {
    number::<13>(text).is_some_and(|digits| {
        let rest = weighted(&digits, &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        !matches!(digits[0], 0 | 9) && digits[12] == (11 - rest) % 10
    })
}

/// Japan's My Number: twelve digits, weights 6 to 2 and 7 to 2, modulo 11.
pub(super) fn my_number_jp(text: &[u8]) -> bool {
    number::<12>(text).is_some_and(|digits| {
        let rest = weighted(&digits, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
        digits[11] == if rest < 2 { 0 } else { 11 - rest }
    })
}

/// South Korea: a birthday and seven digits, the first for sex and century. Since 2020 there is no check digit any more.
pub(super) fn resident_kr(text: &[u8]) -> bool {
    number::<13>(text).is_some_and(|digits| {
        is_day(digits[2] * 10 + digits[3], digits[4] * 10 + digits[5]) && is_varied(&digits[7..])
    })
}

/// Indonesia: a region, a birthday (women's days have 40 more), a counter. There is no check digit.
pub(super) fn nik_id(text: &[u8]) -> bool {
    number::<16>(text).is_some_and(|digits| {
        let day = digits[6] * 10 + digits[7];
        matches!(digits[0], 1..=9)
            && is_day(digits[8] * 10 + digits[9], if day > 40 { day - 40 } else { day })
    })
}

/// Malaysia: a birthday, a place of birth, a counter. There is no check digit.
pub(super) fn mykad_my(text: &[u8]) -> bool {
    number::<12>(text).is_some_and(|digits| {
        is_day(digits[2] * 10 + digits[3], digits[4] * 10 + digits[5])
            && matches!(digits[6] * 10 + digits[7], 1..=16 | 21..=68 | 71 | 72 | 74..=79 | 82..=93 | 98 | 99)
    })
}

/// An Indian GSTIN: a state, a PAN, a counter, Z, and a check character modulo 36.
pub(super) fn gstin_in(text: &[u8]) -> bool {
    let Some(text) = characters::<15>(text) else {
        return false;
    };
    let [body @ .., check] = text.map(|byte| place(BASE36, byte).unwrap_or(0));
    let sum: u32 = body
        .iter()
        .zip([1, 2].iter().cycle())
        .map(|(value, factor)| value * factor / 36 + value * factor % 36)
        .sum();
    matches!(body[0] * 10 + body[1], 1..=38 | 97..=99) && (36 - sum % 36) % 36 == check
}

/// Israel: nine digits with a right Luhn digit.
pub(super) fn teudat_zehut_il(text: &[u8]) -> bool {
    number::<9>(text).is_some_and(|digits| is_luhn(&digits))
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    #[test]
    fn numbers_of_asia() {
        // the specimens of the offices, and those that encyclopedias and number libraries show
        vectors(
            resident_cn,
            &["11010519491231002X", "360426199101010071"],
            &["110105194912310021"],
        );
        vectors(national_tw, &["A123456789"], &["A123456780", "A323456789", "1123456789"]);
        vectors(identity_hk, &["A123456(3)", "AB987654(3)"], &["A123456(4)", "A12345(3)"]);
        vectors(
            nric_sg,
            &["S1234567D", "G1234567X", "T1234567J", "M4332674T"],
            &["S1234567E", "A1234567D"],
        );
        vectors(national_th, &["1-2345-45678-78-1"], &["1-2345-45678-78-2"]);
        vectors(my_number_jp, &["6214 9832 0257"], &["6214 9832 0258"]);
        vectors(
            resident_kr,
            &["971013-9019902", "900101-1234568"],
            &["971313-9019902", "9710139019"],
        );
        vectors(nik_id, &["3171011708450001", "3171015708450001"], &["3171017208450001"]);
        vectors(mykad_my, &["770305-02-1234"], &["771305-02-1234", "770305-17-1234"]);
        vectors(gstin_in, &["27AAPFU0939F1ZV", "27AAACM3025E1ZZ"], &["27AAPFU0939F1ZO"]);
        vectors(teudat_zehut_il, &["03933742-3", "123456782"], &["03933742-2", "000000000"]);
    }
}
