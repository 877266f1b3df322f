//! Bech32 and Bech32m: a readable part, a `1`, and data with a checksum over both.

use super::sums::place;

/// The digits, lower case.
pub(crate) const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// What a right checksum leaves, in the two versions.
const RESIDUES: [u32; 2] = [1, 0x2BC8_30A3];
/// Addresses of Cardano have 108; the limit of BIP 173 is 90.
const MAX_LEN: usize = 128;

/// A text of one case with a right checksum.
pub(super) fn bech32(text: &[u8]) -> bool {
    let mixed = text.iter().any(u8::is_ascii_uppercase) && text.iter().any(u8::is_ascii_lowercase);
    let Some(cut) = text.iter().rposition(|byte| *byte == b'1') else {
        return false;
    };
    let (readable, data) = (text.get(..cut).unwrap_or(&[]), text.get(cut + 1..).unwrap_or(&[]));
    if mixed || text.len() > MAX_LEN || readable.is_empty() || data.len() < 8 {
        return false;
    }
    let sum = data.iter().try_fold(expanded(readable), |sum, byte| {
        place(ALPHABET, byte.to_ascii_lowercase()).map(|value| polymod(sum, value))
    });
    sum.is_some_and(|sum| RESIDUES.contains(&sum))
}

/// The six values that end the data of a text in Bech32.
pub(crate) fn checksum(readable: &[u8], data: &[u8]) -> [u32; 6] {
    let sum = data
        .iter()
        .fold(expanded(readable), |sum, byte| polymod(sum, place(ALPHABET, *byte).unwrap_or(0)));
    let sum = (0..6).fold(sum, |sum, _| polymod(sum, 0)) ^ 1;
    [25, 20, 15, 10, 5, 0].map(|shift| sum >> shift & 31)
}

/// The readable part goes in twice: the high bits, a zero, the low bits.
fn expanded(readable: &[u8]) -> u32 {
    let lower = || readable.iter().map(|byte| u32::from(byte.to_ascii_lowercase()));
    let high = polymod(lower().fold(1, |sum, c| polymod(sum, c >> 5)), 0);
    lower().fold(high, |sum, c| polymod(sum, c & 31))
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
    use super::super::vectors;
    use super::bech32;

    #[test]
    fn checksums() {
        // from BIP 173, BIP 350, CIP 19 and NIP 19
        vectors(
            bech32,
            &[
                "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
                "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
                "addr1vx2fxv2umyhttkxyxp8x0dlpdt3k6cwng5pxj3jhsydzers66hrl8",
                "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg",
            ],
            &[
                "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxx",
                "abcdef1Qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
                "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptf",
            ],
        );
    }
}
