//! Numbers of persons and firms in the Americas. US social security numbers are in `person`.

use super::sums::{characters, figures, is_luhn, is_varied, number, place, weighted};

/// Nine digits from 900 on, whose middle two are of the ranges the IRS gives out.
pub(super) fn itin_us(text: &[u8]) -> bool {
    number::<9>(text).is_some_and(|[first, .., a, b, _, _, _, _]| {
        first == 9 && matches!(a * 10 + b, 50..=65 | 70..=88 | 90..=92 | 94..=99)
    })
}

/// Nine digits; the first two name an IRS campus or the Internet.
pub(super) fn ein_us(text: &[u8]) -> bool {
    number::<9>(text).is_some_and(|[a, b, ..]| {
        !matches!(a * 10 + b, 0 | 7..=9 | 17..=19 | 28 | 29 | 49 | 69 | 70 | 78 | 79 | 89 | 96 | 97)
    })
}

/// Ten digits from 1 or 2 on; Luhn with 80840 in front.
pub(super) fn npi_us(text: &[u8]) -> bool {
    number::<10>(text).is_some_and(|digits| {
        let mut all = [8, 0, 8, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        all[5..].copy_from_slice(&digits);
        matches!(digits[0], 1 | 2) && is_luhn(&all)
    })
}

/// Two letters and seven digits: the odd places and twice the even places end in the last digit.
pub(super) fn dea_us(text: &[u8]) -> bool {
    let Some([kind, name, number @ ..]) = characters::<9>(text) else {
        return false;
    };
    figures::<7>(&number).is_some_and(|digits| {
        matches!(kind, b'A'..=b'H' | b'J'..=b'M' | b'P' | b'R'..=b'U' | b'X')
            && (name.is_ascii_uppercase() || name == b'9')
            && is_varied(&digits)
            && weighted(&digits, &[1, 2, 1, 2, 1, 2]) % 10 == digits[6]
    })
}

/// Nine digits with a right Luhn digit; none begins with 0 or 8.
pub(super) fn sin_ca(text: &[u8]) -> bool {
    number::<9>(text).is_some_and(|digits| !matches!(digits[0], 0 | 8) && is_luhn(&digits))
}

/// What is left to eleven, 0 for a remainder below two: the check digits of Brazil.
fn brazilian(sum: u32) -> u32 {
    (11 - sum % 11) % 11 % 10
}

/// Eleven digits, of which the last two check those before them.
pub(super) fn cpf_br(text: &[u8]) -> bool {
    number::<11>(text).is_some_and(|digits| {
        brazilian(weighted(&digits[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2])) == digits[9]
            && brazilian(weighted(&digits[..10], &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2])) == digits[10]
    })
}

/// Twelve digits or (since 2026) letters, each worth its ASCII code less 48, and two check digits.
pub(super) fn cnpj_br(text: &[u8]) -> bool {
    let Some(text) = characters::<14>(text) else {
        return false;
    };
    let values = text.map(|byte| u32::from(byte) - 48);
    is_varied(&values[..12])
        && brazilian(weighted(&values[..12], &[5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])) == values[12]
        && brazilian(weighted(&values[..13], &[6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]))
            == values[13]
}

/// Eighteen characters: the value of each times its place from the right, and a digit that completes the sum to tens.
pub(super) fn curp_mx(text: &[u8]) -> bool {
    // Ñ, which stands between N and O, is written X but counts in the values
    const ALPHABET: &[u8; 37] = b"0123456789ABCDEFGHIJKLMN\xF1OPQRSTUVWXYZ";
    let Some(text) = characters::<18>(text) else {
        return false;
    };
    let value = |byte: &u8| place(ALPHABET, *byte).unwrap_or(0);
    let sum: u32 = text[..17].iter().zip((2..=18).rev()).map(|(byte, w)| value(byte) * w).sum();
    u32::from(text[17]) == u32::from(b'0') + (10 - sum % 10) % 10
}

/// Eleven digits after a prefix that tells persons from firms; weights 5 to 2 and 7 to 2 modulo 11, 9 for ten.
pub(super) fn cuit_ar(text: &[u8]) -> bool {
    number::<11>(text).is_some_and(|digits| {
        matches!(digits[0] * 10 + digits[1], 20 | 23..=27 | 30 | 33 | 34 | 50 | 51 | 55)
            && match 11 - weighted(&digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11 {
                11 => digits[10] == 0,
                10 => digits[10] == 9,
                check => digits[10] == check,
            }
    })
}

/// Seven or eight digits and a check character: weights 2 to 7 from the right, K for ten.
pub(super) fn rut_cl(text: &[u8]) -> bool {
    let split = |body: &[u8], check: u8| {
        let sum: u32 = body
            .iter()
            .rev()
            .zip([2, 3, 4, 5, 6, 7].iter().cycle())
            .map(|(byte, weight)| (u32::from(*byte) - 48) * weight)
            .sum();
        let varied = body.iter().any(|byte| Some(byte) != body.first());
        varied
            && body.iter().all(u8::is_ascii_digit)
            && match 11 - sum % 11 {
                11 => check == b'0',
                10 => check == b'K',
                rest => u32::from(check) == 48 + rest,
            }
    };
    match (characters::<9>(text), characters::<8>(text)) {
        (Some([body @ .., check]), _) => split(&body, check),
        (_, Some([body @ .., check])) => split(&body, check),
        _ => false,
    }
}

/// Nine digits and a check digit: prime weights, modulo 11.
pub(super) fn nit_co(text: &[u8]) -> bool {
    number::<10>(text).is_some_and(|digits| {
        let rest = weighted(&digits, &[41, 37, 29, 23, 19, 17, 13, 7, 3]) % 11;
        digits[9] == if rest > 1 { 11 - rest } else { rest }
    })
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    #[test]
    fn numbers_of_the_americas() {
        // from the issuers' and the tax offices' own pages, and companies' public numbers
        vectors(itin_us, &["912-90-3456", "900-70-0000"], &["912-93-4567", "812-90-3456"]);
        vectors(ein_us, &["91-1144442", "04-2103594"], &["07-1144442", "911-144442-1"]);
        vectors(npi_us, &["1234567893", "1245319599"], &["1234567890", "3234567893"]);
        vectors(dea_us, &["AB1234563", "F91234563"], &["AB1234564", "QB1234563", "AB123456"]);
        vectors(sin_ca, &["123 456 782", "193-456-787"], &["123 456 783", "046 454 286"]);
        vectors(cpf_br, &["390.533.447-05", "52998224725"], &["390.533.447-06", "111.111.111-11"]);
        vectors(
            cnpj_br,
            &["33.000.167/0001-01", "16.727.230/0001-97", "12.ABC.345/01DE-35"],
            &["33.000.167/0001-02", "00.000.000/0000-00", "12.ABC.345/01DE-36"],
        );
        vectors(curp_mx, &["BOXW310820HNERXN09"], &["BOXW310820HNERXN08", "BOXW310820HNERXN0"]);
        vectors(cuit_ar, &["20-05536168-2", "30-50001091-2"], &["20-05536168-1", "40-05536168-2"]);
        vectors(rut_cl, &["12.531.909-2", "76086428-5"], &["12.531.909-3", "11.111.111-1"]);
        vectors(nit_co, &["213.123.432-1", "800.197.268-4"], &["213.123.432-2"]);
    }
}
