//! Base 58: addresses and keys of Bitcoin's kin, with and without their checksum.

use sha2::{Digest, Sha256};

/// Bitcoin's digits.
pub(crate) const BITCOIN: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Ripple's order of the same.
pub(crate) const RIPPLE: &[u8; 58] = b"rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz";
/// What an extended private key takes, the longest that is read here.
const MAX_BYTES: usize = 82;
/// More characters can't be so few bytes.
const MAX_CHARACTERS: usize = 112;

/// The bytes a text stands for, at the end of the array, and how many they are.
fn decode(text: &[u8], alphabet: &[u8; 58]) -> Option<([u8; MAX_BYTES], usize)> {
    if text.len() > MAX_CHARACTERS {
        return None;
    }
    let mut bytes = [0_u8; MAX_BYTES];
    for character in text {
        let mut carry = super::sums::place(alphabet, *character)?;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = u8::try_from(carry & 0xFF).unwrap_or(0);
            carry >>= 8;
        }
        if carry != 0 {
            return None;
        }
    }
    let zeros = text.iter().take_while(|c| Some(*c) == alphabet.first()).count();
    let significant = MAX_BYTES - bytes.iter().take_while(|byte| **byte == 0).count();
    let len = zeros + significant;
    (len <= MAX_BYTES).then_some((bytes, len))
}

/// The first four bytes of the double SHA-256, which end what is in Base58Check.
pub(crate) fn checksum(payload: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(Sha256::digest(payload)).into();
    [a, b, c, d]
}

/// The payload of a text in Base58Check, at the end of the array before the checksum.
fn payload_passes(text: &[u8], alphabet: &[u8; 58], fits: impl Fn(&[u8]) -> bool) -> bool {
    let Some((bytes, len)) = decode(text, alphabet) else {
        return false;
    };
    let bytes = bytes.get(MAX_BYTES - len..).unwrap_or(&[]);
    bytes
        .split_last_chunk::<4>()
        .is_some_and(|(payload, sum)| fits(payload) && checksum(payload) == *sum)
}

/// Base58Check of at least a version and twenty bytes.
pub(super) fn base58check(text: &[u8]) -> bool {
    payload_passes(text, BITCOIN, |payload| payload.len() > 20)
}

/// A Bitcoin address in Base58Check: version 0 or 5 and a hash.
pub(super) fn is_bitcoin_address(text: &[u8]) -> bool {
    payload_passes(text, BITCOIN, |payload| {
        payload.len() == 21 && matches!(payload.first(), Some(0 | 5))
    })
}

/// An address of the XRP ledger (version 0 and a hash) or a seed (version 33 and 16 bytes), in Ripple's order of digits.
pub(super) fn xrp(text: &[u8]) -> bool {
    payload_passes(text, RIPPLE, |payload| {
        matches!((payload.first(), payload.len()), (Some(0), 21) | (Some(33), 17))
    })
}

/// An address of Solana: any 32 bytes; there is no checksum.
pub(super) fn solana(text: &[u8]) -> bool {
    decode(text, BITCOIN).is_some_and(|(_, len)| len == 32)
}

/// The value of up to eleven digits, as Monero writes eight bytes.
pub(super) fn block(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |value, character| {
        let digit = super::sums::place(BITCOIN, *character)?;
        value.checked_mul(58)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::{base58check, solana, xrp};

    #[test]
    fn base58() {
        // Bitcoin's wiki and BIP 32; the documents of the other ledgers
        vectors(
            base58check,
            &[
                "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
                "5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ",
                "KwdMAjGmerYanjeui5SHS7JkmpZvVipYvB2LJGU1ZxJwYvP98617",
                "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
            ],
            &["1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3", "1111", "0OIl", "z"],
        );
        vectors(
            xrp,
            &["rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh", "snoPBrXtMeMyMHUVTgbuqAfg1SUTb"],
            &["rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTi"],
        );
        vectors(
            solana,
            &["TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA", "11111111111111111111111111111111"],
            &[
                "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5D",
                "0okenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
            ],
        );
    }
}
