//! Numbers of persons in western and northern Europe. The Spanish DNI and the British NINO and NHS number are in `person`.

use super::sums::{
    characters, figures, is_day, is_luhn, is_mod_11_10, is_varied, modulo, number, place, weighted,
};

/// A British tax reference: the first of ten digits follows from the others modulo 11.
pub(super) fn utr_uk(text: &[u8]) -> bool {
    const CHECKS: [u32; 11] = [2, 1, 9, 8, 7, 6, 5, 4, 3, 2, 1];
    number::<10>(text).is_some_and(|digits| {
        let rest = weighted(&digits[1..], &[6, 7, 8, 9, 10, 5, 4, 3, 2]) % 11;
        CHECKS.get(rest as usize) == Some(&digits[0])
    })
}

/// Seven digits, the letter for their sum modulo 23, and perhaps one more letter: A to I count nine times their place,
/// W, T and X, which once told spouses and trusts, don't.
pub(super) fn pps_ie(text: &[u8]) -> bool {
    const LETTERS: &[u8; 23] = b"WABCDEFGHIJKLMNOPQRSTUV";
    let (body, check, more) = match (characters::<8>(text), characters::<9>(text)) {
        (Some([body @ .., check]), _) => (body, check, 0),
        (_, Some([body @ .., check, more @ b'A'..=b'I'])) => {
            (body, check, u32::from(more - b'A') + 1)
        }
        (_, Some([body @ .., check, b'W' | b'T' | b'X'])) => (body, check, 0),
        _ => return false,
    };
    let Some(digits) = figures::<7>(&body) else {
        return false;
    };
    let rest = (weighted(&digits, &[8, 7, 6, 5, 4, 3, 2]) + more * 9) % 23;
    is_varied(&digits) && place(LETTERS, check) == Some(rest)
}

/// Eleven digits by ISO 7064; among the first ten, one digit stands two or three times, and no other twice.
pub(super) fn steuerid_de(text: &[u8]) -> bool {
    number::<11>(text).is_some_and(|digits| {
        let count = |digit: u32| digits[..10].iter().filter(|d| **d == digit).count();
        let repeated = (0..10).filter(|digit| count(*digit) > 1).count();
        let most = (0..10).map(count).max().unwrap_or(0);
        digits[0] != 0 && repeated == 1 && most <= 3 && is_mod_11_10(&digits)
    })
}

/// Thirteen characters and two digits that complete them to 97; departments 2A and 2B count as 19 and 18.
pub(super) fn nir_fr(text: &[u8]) -> bool {
    let Some(mut text) = characters::<15>(text) else {
        return false;
    };
    if let Some(corsica) = text.get_mut(5..7) {
        match &*corsica {
            b"2A" => corsica.copy_from_slice(b"19"),
            b"2B" => corsica.copy_from_slice(b"18"),
            _ => {}
        }
    }
    figures::<15>(&text).is_some_and(|digits| {
        let month = digits[3] * 10 + digits[4];
        matches!(digits[0], 1..=4 | 7 | 8)
            && matches!(month, 1..=12 | 20..=42 | 50..=99)
            && 97 - modulo(&digits[..13], 97) == digits[13] * 10 + digits[14]
    })
}

/// Sixteen characters, of which the last checks the others; digits may be letters where two people would be alike.
pub(super) fn codice_fiscale_it(text: &[u8]) -> bool {
    // the value of 0-9 and of A-Z at odd places
    const ODD: [u32; 36] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3,
        6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
    ];
    let Some(text) = characters::<16>(text) else {
        return false;
    };
    let value = |(at, byte): (usize, &u8)| {
        let (odd, even) = match byte {
            b'0'..=b'9' => (byte - b'0', byte - b'0'),
            _ => (byte - b'A' + 10, byte - b'A'),
        };
        match at % 2 {
            0 => ODD.get(usize::from(odd)).copied().unwrap_or(0),
            _ => u32::from(even),
        }
    };
    let sum: u32 = text[..15].iter().enumerate().map(value).sum();
    u32::from(text[15]) == u32::from(b'A') + sum % 26
}

/// Nine digits: weights 9 to 2, and the last counts negative, modulo 11.
pub(super) fn bsn_nl(text: &[u8]) -> bool {
    number::<9>(text)
        .is_some_and(|digits| weighted(&digits, &[9, 8, 7, 6, 5, 4, 3, 2, 10]).is_multiple_of(11))
}

/// A birthday, a counter, and what completes both to 97; those born since 2000 have a 2 in front.
pub(super) fn rijksregister_be(text: &[u8]) -> bool {
    number::<11>(text).is_some_and(|digits| {
        let (month, day) = (digits[2] * 10 + digits[3], digits[4] * 10 + digits[5]);
        let rest = modulo(&digits[..9], 97);
        // 2 * 10^9 modulo 97
        let later = (rest + 2 * modulo(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 97)) % 97;
        let check = digits[9] * 10 + digits[10];
        // an unknown birthday has zeros; 20 and 40 more is for those who don't live there
        (matches!(month % 20, 1..=12) && day <= 31 || month % 20 == 0)
            && month < 60
            && (97 - rest == check || 97 - later == check)
    })
}

/// Nine digits: weights 9 to 2, modulo 11. Of those from 4 on, only 45 is given out.
pub(super) fn nif_pt(text: &[u8]) -> bool {
    number::<9>(text).is_some_and(|digits| {
        let rest = weighted(&digits, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        !matches!(digits[..2], [0, _] | [4, 0..=4 | 6..])
            && digits[8] == if rest < 2 { 0 } else { 11 - rest }
    })
}

/// Thirteen digits from 756 on with the check digit of a bar code.
pub(super) fn ahv_ch(text: &[u8]) -> bool {
    number::<13>(text).is_some_and(|digits| {
        digits[..3] == [7, 5, 6]
            && weighted(&digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
    })
}

/// Ten digits: a counter, a check digit in the fourth place, a birthday (months above 12 when the days ran out).
pub(super) fn svnr_at(text: &[u8]) -> bool {
    number::<10>(text).is_some_and(|digits| {
        let (day, month) = (digits[4] * 10 + digits[5], digits[6] * 10 + digits[7]);
        digits[0] != 0
            && (is_day(month, day) || matches!(month, 13..=15) && day <= 31)
            && weighted(&digits, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]) % 11 == digits[3]
    })
}

/// A birthday and four digits, the last by Luhn; a coordination number has 60 more in the day.
pub(super) fn personnummer_se(text: &[u8]) -> bool {
    let digits = match (number::<12>(text), number::<10>(text)) {
        (Some([1, 8 | 9, rest @ ..] | [2, 0, rest @ ..]), _) | (_, Some(rest)) => rest,
        _ => return false,
    };
    let (month, day) = (digits[2] * 10 + digits[3], digits[4] * 10 + digits[5]);
    is_day(month, if day > 60 { day - 60 } else { day }) && is_luhn(&digits)
}

/// A birthday and five digits, of which the last two check all others modulo 11.
pub(super) fn fodselsnummer_no(text: &[u8]) -> bool {
    number::<11>(text).is_some_and(|digits| {
        // 40 more in the day for those who only stay a while, 40 or 80 in the month for made-up people
        let day = (digits[0] * 10 + digits[1]) % 40;
        let month = (digits[2] * 10 + digits[3]) % 40;
        is_day(month, day)
            && weighted(&digits, &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]).is_multiple_of(11)
            && weighted(&digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
    })
}

/// A birthday, a sign for the century, three digits, and a character for the number modulo 31.
pub(super) fn hetu_fi(text: &[u8]) -> bool {
    const CHECKS: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let [day @ .., century, a, b, c, check] = text else {
        return false;
    };
    let (Some(day), Some(counter)) = (figures::<6>(day), figures::<3>(&[*a, *b, *c])) else {
        return false;
    };
    let [d, e, f, g, h, i] = day;
    let [j, k, l] = counter;
    let rest = modulo(&[d, e, f, g, h, i, j, k, l], 31) as usize;
    let sign = century.to_ascii_uppercase();
    is_day(f * 10 + g, d * 10 + e)
        && matches!(sign, b'+' | b'-' | b'A'..=b'F' | b'U'..=b'Y')
        && CHECKS.get(rest) == Some(&check.to_ascii_uppercase())
}

/// A birthday and four digits. There is no check digit any more: since 2007 numbers without one are given out.
pub(super) fn cpr_dk(text: &[u8]) -> bool {
    number::<10>(text).is_some_and(|digits| {
        is_day(digits[2] * 10 + digits[3], digits[0] * 10 + digits[1]) && is_varied(&digits[6..])
    })
}

/// A birthday (a firm's day has 40 more), two digits, a check digit modulo 11, the century.
pub(super) fn kennitala_is(text: &[u8]) -> bool {
    number::<10>(text).is_some_and(|digits| {
        let day = (digits[0] * 10 + digits[1]) % 40;
        is_day(digits[2] * 10 + digits[3], day)
            && matches!(digits[9], 0 | 8 | 9)
            && weighted(&digits, &[3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
    })
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    #[test]
    fn numbers_of_western_europe() {
        // the specimens of the offices, and those that encyclopedias and number libraries show
        vectors(utr_uk, &["1955839661"], &["2955839661", "0000000000"]);
        vectors(pps_ie, &["6433435F", "6433435FT", "6433435OA"], &["6433435E", "6433435VH"]);
        vectors(steuerid_de, &["36 574 261 809", "86095742719"], &["36574261890", "36554266806"]);
        vectors(
            nir_fr,
            &["2 95 10 99 126 111 93", "1 73 08 2A 005 001 08"],
            &["295109912611199", "2 95 10 99 126 111"],
        );
        vectors(
            codice_fiscale_it,
            &["RCCMNL83S18D969H", "RSSMRA85T10A562S"],
            &["RCCMNL83S18D969", "RSSMRA85T10A562T"],
        );
        vectors(bsn_nl, &["111222333", "1112.22.333"], &["111252333", "000000000"]);
        vectors(rijksregister_be, &["85.07.30-033 28", "17 07 30 033 84"], &["85.07.30-033 29"]);
        vectors(nif_pt, &["501 964 843"], &["501964842"]);
        vectors(ahv_ch, &["756.9217.0769.85"], &["756.9217.0769.84", "755.9217.0769.86"]);
        vectors(svnr_at, &["1237 010180"], &["2237 010180", "1237 320180"]);
    }

    #[test]
    fn numbers_of_northern_europe() {
        vectors(
            personnummer_se,
            &["880320-0016", "19811228-9874", "701063-2391"],
            &["880320-0018", "881320-0011"],
        );
        vectors(fodselsnummer_no, &["151086 95088", "15108695088"], &["151086-95077"]);
        vectors(hetu_fi, &["131052-308T", "131052A308T"], &["131052-308U", "310252-308T"]);
        vectors(cpr_dk, &["211062-5629", "0707614285"], &["511062-5629", "211362-5629"]);
        vectors(kennitala_is, &["120174-3399", "450401-3150"], &["120174-3389", "530575-0299"]);
    }
}
