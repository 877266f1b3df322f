//! Cards, IBANs, US routing numbers.

use super::digits;

/// Luhn: from the right, every second digit doubled.
pub(super) fn luhn(text: &[u8]) -> bool {
    let Some(digits) = digits(text) else {
        return false;
    };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, u32::from(*digit)) {
            (1, digit) if digit > 4 => digit * 2 - 9,
            (1, digit) => digit * 2,
            (_, digit) => digit,
        })
        .sum();
    let varied = digits.iter().any(|d| Some(d) != digits.first());
    (12..=19).contains(&digits.len()) && varied && sum.is_multiple_of(10)
}

/// Country codes and IBAN lengths, from the SWIFT registry.
const IBAN_LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NL", 18),
    (b"NO", 15),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"SA", 24),
    (b"SC", 31),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
];

/// The first four characters move to the end, letters become two digits, the number modulo 97 is 1.
pub(super) fn iban(text: &[u8]) -> bool {
    let mut compact: smallvec::SmallVec<[u8; 64]> = smallvec::SmallVec::new();
    for byte in text.iter().filter(|b| !matches!(b, b' ' | b'-')) {
        if compact.len() == 64 || !byte.is_ascii_alphanumeric() {
            return false;
        }
        compact.push(byte.to_ascii_uppercase());
    }
    let (Some(country), Some(head), Some(tail)) =
        (compact.get(..2), compact.get(..4), compact.get(4..))
    else {
        return false;
    };
    let fits =
        IBAN_LENGTHS.iter().any(|(code, len)| code.as_slice() == country && compact.len() == *len);
    let remainder = tail.iter().chain(head).fold(0_u32, |remainder, byte| match byte {
        b'0'..=b'9' => (remainder * 10 + u32::from(byte - b'0')) % 97,
        _ => (remainder * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    fits && remainder == 1
}

/// Weights 3, 7, 1; the first two digits name a Federal Reserve district or a purpose.
pub(super) fn aba(text: &[u8]) -> bool {
    let Some(digits) = digits(text) else {
        return false;
    };
    let [a, b, ..] = digits.as_slice() else {
        return false;
    };
    let prefix = a * 10 + b;
    let sum: u32 = digits
        .iter()
        .zip([3, 7, 1].iter().cycle())
        .map(|(digit, weight)| u32::from(*digit) * weight)
        .sum();
    digits.len() == 9 && matches!(prefix, 1..=12 | 21..=32 | 61..=72 | 80) && sum.is_multiple_of(10)
}

/// The countries of ISO 3166 and Kosovo's XK, which is in use too.
const COUNTRIES: &[u8] = b"ADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZCACCCDCFCGCH\
    CICKCLCMCNCOCRCUCVCWCXCYCZDEDJDKDMDODZECEEEGEHERESETFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGSGTGUGWGYHKHMHNHRHTHU\
    IDIEILIMINIOIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULVLYMAMCMDMEMFMGMHMKMLMMMNMOMPMQMRMSMTMUMVMWMX\
    MYMZNANCNENFNGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPNPRPSPTPWPYQARERORSRURWSASBSCSDSESGSHSISJSKSLSMSNSOSRSSSTSVSXSYSZTC\
    TDTFTGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUMUSUYUZVAVCVEVGVIVNVUWFWSXKYEYTZAZMZW";

/// Eight or eleven characters: a bank's four letters, a country in use, a place, perhaps a branch.
pub(super) fn bic(text: &[u8]) -> bool {
    let [bank @ .., b4, b5, _, _] = text.get(..8).unwrap_or(&[]) else {
        return false;
    };
    let (pairs, _) = COUNTRIES.as_chunks::<2>();
    matches!(text.len(), 8 | 11)
        && bank.iter().all(u8::is_ascii_uppercase)
        && pairs.contains(&[*b4, *b5])
        && text.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::{aba, bic, iban, luhn};

    #[test]
    fn bank_codes() {
        vectors(
            bic,
            &["DEUTDEFF", "NEDSZAJJXXX", "COBADEFFXXX"],
            &["DEUTXXFF", "PASSWORD", "DEUTDEFFX", "deutdeff"],
        );
    }

    #[test]
    fn cards() {
        // documented test numbers
        for card in ["4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005"] {
            assert!(luhn(card.as_bytes()), "{card}");
        }
        for other in ["4111111111111112", "0000000000000000", "41111111111", "4111x"] {
            assert!(!luhn(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn ibans() {
        for iban_text in
            ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "no9386011117947"]
        {
            assert!(iban(iban_text.as_bytes()), "{iban_text}");
        }
        for other in ["GB82WEST12345698765433", "XX89370400440532013000", "DE8937040044053201300"] {
            assert!(!iban(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn routing_numbers() {
        assert!(aba(b"021000021"));
        assert!(!aba(b"021000022"));
        assert!(!aba(b"991000021"));
    }
}
