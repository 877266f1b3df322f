//! Test strings with made-up secrets: `{{alnum:36}}` becomes 36 random letters and digits.
//!
//! A rule's examples must look like real secrets to this engine and like nothing at all to the
//! scanners that read this repository, so rule files keep the secret part as a template. The
//! expansion is a pure function of the text and a seed; it is no general template language.
//!
//! `{{name}}`, `{{name:length}}` and `{{name:length:prefix}}` are templates. Two braces followed
//! by anything but a lower-case letter (`{{ user }}`, `{{#each}}`) stay as they are.

use crate::validate::{base58, bech32, coin, token};
use std::fmt;

const DIGITS: &str = "0123456789";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const HEX: &str = "0123456789abcdef";
const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE58: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Digits, upper case, lower case: also the digit order of base 62.
const ALNUM: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The digits of Bech32, in the upper case age uses.
const BECH32: &str = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The longest run one template may make.
const MAX_LENGTH: usize = 8192;

/// Why a template cannot be expanded; the rule's author wrote it wrongly.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// The name is none of the classes.
    UnknownClass(String),
    /// The length is missing, no number, too short for the prefix or too long.
    BadLength(String),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownClass(body) => write!(f, "unknown template class in `{{{{{body}}}}}`"),
            Self::BadLength(body) => write!(f, "bad length in template `{{{{{body}}}}}`"),
        }
    }
}

impl std::error::Error for TemplateError {}

/// Expands every template of `text`; equal text and seed give equal output on every machine.
///
/// Classes with a length: `hex`, `upperhex`, `alnum`, `lower`, `upper`, `loweralnum`,
/// `upperalnum`, `digits`, `base32`, `base58`, `bech32`, `base64`, `base64url` (each with an optional
/// prefix that counts towards the length) and `luhn` (digits whose last is the check digit).
/// With a checksum: `ghcrc:PREFIX` (a token of GitHub or npm), `glcrc:LENGTH:PREFIX` (a routable one
/// of GitLab), `grafanacrc:PREFIX`, `base58check:LENGTH:VERSION` (so many bytes after the version,
/// which is hex; `ripple58check` in the digits of the XRP ledger), `bech32check:LENGTH:HRP` (so many
/// digits), `strkey` (a secret seed of Stellar).
/// Without a length: `jwt`, `uuid`, and the signs that would complete a secret's shape in the
/// source: `at` (`@`), `dashes` (`-----`).
///
/// ```
/// let token = inspect::template::expand("key: {{hex:8}}", "my.rule/0")?;
/// assert_eq!(token.len(), "key: ".len() + 8);
/// assert_eq!(token, inspect::template::expand("key: {{hex:8}}", "my.rule/0")?);
/// # Ok::<(), inspect::template::TemplateError>(())
/// ```
pub fn expand(text: &str, seed: &str) -> Result<String, TemplateError> {
    let mut random = Random::new(seed);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        let after = &rest[open + 2..];
        let close =
            after.find("}}").filter(|_| after.starts_with(|c: char| c.is_ascii_lowercase()));
        let Some(close) = close else {
            out.push_str(&rest[..open + 2]);
            rest = after;
            continue;
        };
        out.push_str(&rest[..open]);
        out.push_str(&one(&after[..close], &mut random)?);
        rest = &after[close + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

fn one(body: &str, random: &mut Random) -> Result<String, TemplateError> {
    let mut parts = body.splitn(3, ':');
    let name = parts.next().unwrap_or_default();
    let second = parts.next().unwrap_or_default();
    let prefix = parts.next().unwrap_or_default();
    let alphabet = match name {
        "at" => return Ok("@".to_owned()),
        "dashes" => return Ok("-----".to_owned()),
        "uuid" => return Ok(uuid(random)),
        "jwt" => return Ok(jwt(random)),
        "ghcrc" => return Ok(github(second, random)),
        "grafanacrc" => {
            let body = random.fill("", 32, ALNUM);
            return Ok(grafana(&format!("{second}{body}")));
        }
        "strkey" => return Ok(strkey(random)),
        "base58check" | "ripple58check" | "glcrc" | "bech32check" => String::new(),
        "hex" => HEX.to_owned(),
        "upperhex" => HEX.to_ascii_uppercase(),
        "alnum" => ALNUM.to_owned(),
        "lower" => LOWER.to_owned(),
        "upper" => UPPER.to_owned(),
        "loweralnum" => format!("{DIGITS}{LOWER}"),
        "upperalnum" => format!("{DIGITS}{UPPER}"),
        "digits" | "luhn" => DIGITS.to_owned(),
        "base32" => BASE32.to_owned(),
        "base58" => BASE58.to_owned(),
        "bech32" => BECH32.to_owned(),
        "base64" => BASE64.to_owned(),
        "base64url" => BASE64_URL.to_owned(),
        _ => return Err(TemplateError::UnknownClass(body.to_owned())),
    };
    let length = second.parse().ok().filter(|n| (1..=MAX_LENGTH).contains(n));
    let length: usize = length.ok_or_else(|| TemplateError::BadLength(body.to_owned()))?;
    if name == "luhn" {
        if prefix.len() >= length || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(TemplateError::BadLength(body.to_owned()));
        }
        let digits = random.fill(prefix, length - 1, &alphabet);
        let check = luhn_check_digit(&digits);
        return Ok(format!("{digits}{check}"));
    }
    if name.ends_with("58check") {
        let digits = if name == "base58check" { base58::BITCOIN } else { base58::RIPPLE };
        let made = base58check(length, prefix, digits, random);
        return made.ok_or_else(|| TemplateError::BadLength(body.to_owned()));
    }
    if name == "bech32check" {
        return Ok(bech32check(length, prefix, random));
    }
    if prefix.len() > length {
        return Err(TemplateError::BadLength(body.to_owned()));
    }
    if name == "glcrc" {
        let body = random.fill(prefix, length, BASE64_URL);
        return Ok(gitlab(&body, length - prefix.len()));
    }
    Ok(random.fill(prefix, length, &alphabet))
}

fn uuid(random: &mut Random) -> String {
    let groups = [8, 4, 4, 4, 12].map(|n| random.fill("", n, HEX));
    groups.join("-")
}

/// Three base64url segments; the first two open as JSON objects do.
fn jwt(random: &mut Random) -> String {
    // {"alg":"HS256","typ":"JWT"} and {"sub":"…, cut so that no scanner sees a token here
    let header = ["eyJhbGciOiJIUzI1", "NiIsInR5cCI6IkpXVCJ9"].concat();
    let subject = ["eyJzdWIiOiIx", "MjM0NTY3ODkwIn0"].concat();
    format!("{header}.{subject}.{}", random.fill("", 43, BASE64_URL))
}

/// Prefix, 30 characters, and their CRC-32 in six base-62 digits.
fn github(prefix: &str, random: &mut Random) -> String {
    let body = random.fill("", 30, ALNUM);
    let check = token::based::<6>(token::crc32(body.as_bytes()), token::BASE62);
    format!("{prefix}{body}{}", String::from_utf8_lossy(&check))
}

/// A version, the payload's length in base 36, and the CRC-32 of all that in base 36.
fn gitlab(body: &str, length: usize) -> String {
    let length = token::based::<2>(u32::try_from(length).unwrap_or(0), token::LOWER_BASE36);
    let rest = format!("{body}.01.{}", String::from_utf8_lossy(&length));
    let check = token::based::<7>(token::crc32(rest.as_bytes()), token::LOWER_BASE36);
    format!("{rest}{}", String::from_utf8_lossy(&check))
}

fn grafana(rest: &str) -> String {
    format!("{rest}_{}", String::from_utf8_lossy(&token::grafana_sum(rest.as_bytes())))
}

/// Base58Check of a version in hex and so many bytes; `None` when that is too long or the version is no hex.
fn base58check(
    length: usize,
    version: &str,
    alphabet: &[u8; 58],
    random: &mut Random,
) -> Option<String> {
    let digits: Vec<u8> = version
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let mut bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |n, d| n << 4 | d)).collect();
    bytes.extend(random.bytes(length));
    bytes.extend(base58::checksum(&bytes));
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let mut out: Vec<u8> = Vec::new();
    for byte in &bytes {
        let mut carry = usize::from(*byte);
        for digit in &mut out {
            carry += usize::from(*digit) << 8;
            *digit = u8::try_from(carry % 58).unwrap_or(0);
            carry /= 58;
        }
        while carry > 0 {
            out.push(u8::try_from(carry % 58).unwrap_or(0));
            carry /= 58;
        }
    }
    out.extend(std::iter::repeat_n(0, zeros));
    (bytes.len() <= 82)
        .then(|| out.iter().rev().map(|d| char::from(alphabet[usize::from(*d)])).collect())
}

/// A readable part, random digits, and the checksum of Bech32 over both; in the case of the readable part.
fn bech32check(length: usize, readable: &str, random: &mut Random) -> String {
    let data = random.fill("", length, &BECH32.to_ascii_lowercase());
    let sum = bech32::checksum(readable.as_bytes(), data.as_bytes());
    let sum = sum.map(|value| char::from(bech32::ALPHABET[value as usize]));
    let text = format!("{readable}1{data}{}", String::from_iter(sum));
    if readable.bytes().any(|b| b.is_ascii_uppercase()) { text.to_ascii_uppercase() } else { text }
}

/// Base 32 of the version of a secret seed, 32 bytes, and their CRC-16.
fn strkey(random: &mut Random) -> String {
    let mut bytes = vec![18 << 3];
    bytes.extend(random.bytes(32));
    bytes.extend(coin::crc16(&bytes).to_le_bytes());
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let digit = |five: &[u8]| five.iter().fold(0, |n, bit| n << 1 | usize::from(bit & 1));
    bits.as_bytes().chunks(5).map(|five| char::from(BASE32.as_bytes()[digit(five)])).collect()
}

fn luhn_check_digit(digits: &str) -> u32 {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| match (place % 2, u32::from(byte - b'0')) {
            (0, digit) if digit > 4 => digit * 2 - 9,
            (0, digit) => digit * 2,
            (_, digit) => digit,
        })
        .sum();
    (10 - sum % 10) % 10
}

/// SplitMix64, seeded by the FNV-1a hash of the seed text: enough for examples, no more.
struct Random(u64);

impl Random {
    fn new(seed: &str) -> Self {
        let start = 0xcbf2_9ce4_8422_2325_u64;
        Self(
            seed.bytes()
                .fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
        )
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| u8::try_from(self.next() >> 56).unwrap_or(0)).collect()
    }

    /// `prefix`, then characters of `alphabet` up to `length`; no character twice in a row.
    fn fill(&mut self, prefix: &str, length: usize, alphabet: &str) -> String {
        let alphabet = alphabet.as_bytes();
        let mut out = prefix.to_owned();
        while out.len() < length {
            let pick = alphabet[(self.next() >> 33) as usize % alphabet.len()];
            if out.as_bytes().last() != Some(&pick) {
                out.push(char::from(pick));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::Validator;

    #[test]
    fn expansion_is_a_function_of_text_and_seed() {
        let text = "a {{hex:40}} b {{base64url:20:x-}}";
        let first = expand(text, "s").unwrap();
        assert_eq!(first, expand(text, "s").unwrap());
        assert_ne!(first, expand(text, "t").unwrap());
        assert!(first.contains(" b x-"));
    }

    #[test]
    fn what_is_no_template_stays() {
        for text in ["{{ user }}", "{{#each x}}", "{{", "a {{hex", "}} {{}}", "{\"a\": {\"b\": 1}}"]
        {
            assert_eq!(expand(text, "s").unwrap(), text);
        }
    }

    #[test]
    fn wrong_templates_are_errors() {
        assert_eq!(expand("{{nope:3}}", "s"), Err(TemplateError::UnknownClass("nope:3".into())));
        for text in [
            "{{hex}}",
            "{{hex:0}}",
            "{{hex:x}}",
            "{{hex:2:abc}}",
            "{{luhn:4:4444}}",
            "{{hex:9999}}",
        ] {
            assert!(matches!(expand(text, "s"), Err(TemplateError::BadLength(_))), "{text}");
        }
    }

    #[test]
    fn luhn_numbers_have_their_check_digit() {
        assert_eq!(luhn_check_digit("411111111111111"), 1);
        let card = expand("{{luhn:16:5105}}", "s").unwrap();
        assert!(card.starts_with("5105") && card.len() == 16);
    }

    #[test]
    fn what_has_a_checksum_has_a_right_one() {
        for (template, validator, length) in [
            ("{{ghcrc:ghx_}}", Validator::GithubCrc, 40),
            ("{{glcrc:50:glpat-}}", Validator::GitlabCrc, 63),
            ("{{grafanacrc:glsa_}}", Validator::GrafanaCrc, 46),
            ("{{base58check:32:80}}", Validator::Base58Check, 51),
            ("{{base58check:20:00}}", Validator::Btc, 34),
            ("{{base58check:77:04}}", Validator::Base58Check, 111),
            ("{{ripple58check:16:21}}", Validator::Xrp, 29),
            ("{{bech32check:52:nsec}}", Validator::Bech32, 63),
            ("{{bech32check:52:AGE-SECRET-KEY-}}", Validator::Bech32, 74),
            ("{{strkey}}", Validator::Stellar, 56),
        ] {
            let text = expand(template, "s").unwrap();
            assert!(validator.check(text.as_bytes()), "{template}: {text}");
            assert_eq!(text.len(), length, "{template}: {text}");
        }
        for template in ["{{base58check:90:00}}", "{{base58check:32:xy}}", "{{glcrc:3:glpat-}}"] {
            assert!(
                matches!(expand(template, "s"), Err(TemplateError::BadLength(_))),
                "{template}"
            );
        }
    }
}
