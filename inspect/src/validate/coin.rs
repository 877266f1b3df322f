//! Addresses and keys of money without a bank.

use super::base58;
use super::bech32::bech32;
use super::keccak::keccak256;
use super::sums::place;

/// A Bitcoin address of either kind.
pub(super) fn btc(text: &[u8]) -> bool {
    match text {
        [b'1' | b'3', ..] => base58::is_bitcoin_address(text),
        [b'b' | b'B', b'c' | b'C', b'1', ..] => text.len() <= 90 && bech32(text),
        _ => false,
    }
}

/// `0x` and forty hex digits; in mixed case the case is the checksum of EIP-55.
pub(super) fn eth(text: &[u8]) -> bool {
    let Some(digits) = text.strip_prefix(b"0x").and_then(|t| <&[u8; 40]>::try_from(t).ok()) else {
        return false;
    };
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return false;
    }
    let mixed =
        digits.iter().any(u8::is_ascii_uppercase) && digits.iter().any(u8::is_ascii_lowercase);
    let Some(hash) = keccak256(&digits.map(|b| b.to_ascii_lowercase())).filter(|_| mixed) else {
        return true;
    };
    digits.iter().enumerate().filter(|(_, digit)| digit.is_ascii_alphabetic()).all(|(at, digit)| {
        let nibble = hash.get(at / 2).map_or(0, |byte| byte >> (4 - at % 2 * 4) & 15);
        digit.is_ascii_uppercase() == (nibble > 7)
    })
}

/// Monero: 95 digits in blocks of eleven, eight bytes each, and of seven, five bytes; the last four bytes are a
/// checksum. Integrated addresses have 106.
pub(super) fn xmr(text: &[u8]) -> bool {
    let mut bytes = [0_u8; 80];
    let mut len = 0;
    for digits in text.chunks(11) {
        let size = match digits.len() {
            11 => 8,
            7 => 5,
            _ => return false,
        };
        let Some(value) = base58::block(digits) else {
            return false;
        };
        let value = value.to_be_bytes();
        let (spare, value) = value.split_at(8 - size);
        let Some(slots) = bytes.get_mut(len..len + size).filter(|_| spare.iter().all(|b| *b == 0))
        else {
            return false;
        };
        slots.copy_from_slice(value);
        len += size;
    }
    let Some((payload, sum)) = bytes.get(..len).and_then(<[u8]>::split_last_chunk::<4>) else {
        return false;
    };
    matches!((payload.first(), len), (Some(18 | 42), 69) | (Some(19), 77))
        && keccak256(payload).is_some_and(|hash| hash.starts_with(sum))
}

/// A Stellar account or seed: base 32 of a version, 32 bytes, and their CRC-16.
pub(super) fn stellar(text: &[u8]) -> bool {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = [0_u8; 35];
    let mut slots = bytes.iter_mut();
    let (mut bits, mut held) = (0_u32, 0);
    for character in text {
        let Some(value) = place(ALPHABET, *character) else {
            return false;
        };
        bits = (bits << 5 | value) & 0xFFFF;
        held += 5;
        if held >= 8 {
            held -= 8;
            let Some(slot) = slots.next() else {
                return false;
            };
            *slot = u8::try_from(bits >> held & 0xFF).unwrap_or(0);
        }
    }
    let [payload @ .., low, high] = &bytes;
    text.len() == 56 && crc16(payload) == u16::from_le_bytes([*low, *high])
}

/// CRC-16 of XMODEM.
pub(crate) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}

/// A list of 64 bytes in decimal, as Solana's tools keep a key pair: none above 255, and not few over and over.
pub(super) fn solana_keypair(text: &[u8]) -> bool {
    let Some(list) = text.trim_ascii().strip_prefix(b"[").and_then(|t| t.strip_suffix(b"]")) else {
        return false;
    };
    let mut seen = [false; 256];
    let mut count = 0;
    for number in list.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
        let value = std::str::from_utf8(number).ok().and_then(|n| n.parse::<u8>().ok());
        let Some(slot) = value.and_then(|value| seen.get_mut(usize::from(value))) else {
            return false;
        };
        *slot = true;
        count += 1;
    }
    count == 64 && seen.iter().filter(|seen| **seen).count() > 32
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    #[test]
    fn bitcoin() {
        // the first block's, and the examples of BIP 173 and BIP 350
        vectors(
            btc,
            &[
                "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
                "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
                "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
                "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
                "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            ],
            &[
                "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
                "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
                "bc1Qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
                "1111111111111111111111111111",
            ],
        );
    }

    #[test]
    fn others() {
        // EIP-55; Monero's donation address; SEP-23
        vectors(
            eth,
            &[
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
                "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
                "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
            ],
            &[
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
            ],
        );
        vectors(
            xmr,
            &[
                "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A",
            ],
            &[
                "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3B",
            ],
        );
        assert_eq!(crc16(b"123456789"), 0x31C3);
        vectors(
            stellar,
            &["GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ"],
            &["GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGA", "GA7Q"],
        );
        let list = |n: usize| {
            let numbers: Vec<String> = (0..64).map(|i| (i * n % 256).to_string()).collect();
            format!("[{}]", numbers.join(", "))
        };
        assert!(solana_keypair(list(7).as_bytes()));
        assert!(!solana_keypair(list(64).as_bytes()));
        assert!(!solana_keypair(b"[1, 2, 256]"));
    }
}
