//! Second looks at a match: checksums and structure, one function each. A rule names one in `validator`.

mod bank;
mod coin;
mod net;
mod person;
mod token;

/// Declares the validators once: names, functions and what each checks.
macro_rules! validators {
    ($($variant:ident = $name:literal, $check:path, $meaning:literal;)+) => {
        /// A second look at a secret.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Validator { $(#[doc = $meaning] $variant),+ }

        impl Validator {
            /// Every validator.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name rules use.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it checks, in one line.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }

            /// Whether the text passes.
            #[must_use]
            pub fn check(self, text: &[u8]) -> bool {
                match self { $(Self::$variant => $check(text)),+ }
            }

            /// The validator of this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

validators! {
    Luhn = "luhn", bank::luhn, "a card number: 12 to 19 digits, not all equal, with a right Luhn check digit";
    Iban = "iban97", bank::iban, "an IBAN: the country's length and a remainder of 1 modulo 97";
    Aba = "aba", bank::aba, "a US bank routing number: nine digits, a range in use, a right checksum";
    Ssn = "ssn", person::ssn, "a US social security number outside the ranges never issued";
    Nhs = "nhs", person::nhs, "a British NHS number: ten digits, a right check digit modulo 11";
    Verhoeff = "verhoeff", person::verhoeff, "a number with a right Verhoeff check digit (Aadhaar: twelve digits, not from 0 or 1)";
    DniEs = "dni_es", person::dni_es, "a Spanish DNI or NIE: the letter fits the number modulo 23";
    NinoUk = "nino_uk", person::nino_uk, "a British national insurance number with a prefix in use";
    PhoneE164 = "phone_e164", person::phone_e164, "an international phone number: a country code in use and 8 to 15 digits";
    Jwt = "jwt", token::jwt, "a JSON Web Token: the header decodes to a JSON object with an `alg`";
    GithubCrc = "crc32", token::github, "a token of GitHub's form whose last six characters are the base62 CRC-32 of the rest";
    Btc = "btc", coin::btc, "a Bitcoin address: Base58Check or Bech32 with a right checksum";
    LearnedInjection1 = "learned_injection_1", crate::learned::is_suspicious, "a text that reads like those written to instruct a model, by the weights of version 1";
    Ipv4Public = "ipv4_public", net::ipv4_public, "an IPv4 address that is public: not private, local, reserved or for documentation";
}

/// Shannon entropy in bits a byte.
#[must_use]
pub fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "texts are far below 2^52 bytes")]
    let len = text.len() as f64;
    let mut bits = 0.0;
    for count in counts.into_iter().filter(|count| *count > 0) {
        let share = f64::from(count) / len;
        bits -= share * share.log2();
    }
    bits
}

/// The digits of a text that otherwise holds only separators; `None` when it holds something else or too many.
pub(crate) fn digits(text: &[u8]) -> Option<smallvec::SmallVec<[u8; 24]>> {
    let mut digits = smallvec::SmallVec::new();
    for byte in text {
        match byte {
            b'0'..=b'9' if digits.len() < 24 => digits.push(byte - b'0'),
            b' ' | b'-' | b'.' | b'/' | b'(' | b')' | b'+' | b'_' => {}
            _ => return None,
        }
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::{Validator, entropy};

    #[test]
    fn entropy_counts_bits() {
        assert!((entropy(b"aaaa") - 0.0).abs() < 1e-9);
        assert!((entropy(b"abcd") - 2.0).abs() < 1e-9);
        assert!((entropy(b"") - 0.0).abs() < 1e-9);
    }

    #[test]
    fn names_are_found_and_nothing_panics_on_odd_texts() {
        for validator in Validator::ALL {
            assert_eq!(Validator::named(validator.as_str()), Some(*validator));
            for text in ["", "0", "é", "1.1", "....", "bc1", "1111", "GB", "\u{0}"] {
                assert!(!validator.check(text.as_bytes()), "{validator:?} {text:?}");
            }
        }
    }
}
