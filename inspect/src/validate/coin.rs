//! Bitcoin addresses: Base58Check and Bech32.

use sha2::{Digest, Sha256};

/// Either kind of address.
pub(super) fn btc(text: &[u8]) -> bool {
    match text.first() {
        Some(b'1' | b'3') => base58check(text),
        Some(b'b' | b'B') => bech32(text),
        _ => false,
    }
}

/// 25 bytes: version, hash, and four bytes of the double SHA-256 of both.
fn base58check(text: &[u8]) -> bool {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    if !(26..=35).contains(&text.len()) {
        return false;
    }
    let mut bytes = [0_u8; 25];
    for character in text {
        let Some(digit) = ALPHABET.iter().position(|c| c == character) else {
            return false;
        };
        let mut carry = u32::try_from(digit).unwrap_or(0);
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = u8::try_from(carry & 0xFF).unwrap_or(0);
            carry >>= 8;
        }
        if carry != 0 {
            return false;
        }
    }
    let (payload, sum) = bytes.split_at(21);
    let twice = Sha256::digest(Sha256::digest(payload));
    matches!(payload.first(), Some(0 | 5)) && twice.get(..4) == Some(sum)
}

/// The checksum polynomial over `bc` and the data is 1 (Bech32) or a constant (Bech32m).
fn bech32(text: &[u8]) -> bool {
    const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const BECH32M: u32 = 0x2BC8_30A3;
    let upper = text.iter().any(u8::is_ascii_uppercase);
    if upper && text.iter().any(u8::is_ascii_lowercase) || text.len() > 90 {
        return false;
    }
    let lower: smallvec::SmallVec<[u8; 128]> = text.iter().map(u8::to_ascii_lowercase).collect();
    let Some(data) = lower.strip_prefix(b"bc1") else {
        return false;
    };
    if data.len() < 14 {
        return false;
    }
    let mut sum = [3, 3, 0, 2, 3].into_iter().fold(1, polymod);
    for character in data {
        match ALPHABET.iter().position(|c| c == character) {
            Some(value) => sum = polymod(sum, u32::try_from(value).unwrap_or(0)),
            None => return false,
        }
    }
    sum == 1 || sum == BECH32M
}

fn polymod(sum: u32, value: u32) -> u32 {
    const GENERATOR: [u32; 5] = [0x3B6A_57B2, 0x2650_8E6D, 0x1EA1_19FA, 0x3D42_33DD, 0x2A14_62B3];
    let top = sum >> 25;
    let shifted = (sum & 0x01FF_FFFF) << 5 ^ value;
    GENERATOR.iter().enumerate().fold(
        shifted,
        |sum, (bit, term)| {
            if top >> bit & 1 == 1 { sum ^ term } else { sum }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::btc;

    #[test]
    fn addresses() {
        for address in [
            // the first block's, and the examples of BIP 173 and BIP 350
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        ] {
            assert!(btc(address.as_bytes()), "{address}");
        }
        for other in [
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
            "bc1Qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            "1111111111111111111111111111",
        ] {
            assert!(!btc(other.as_bytes()), "{other}");
        }
    }
}
