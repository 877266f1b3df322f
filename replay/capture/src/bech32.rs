//! Bech32 (BIP 173) of 32-byte keys, as age spells recipients and identities. No segwit, no error location.

const CHARSET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// Symbols of the checksum.
const CHECK: usize = 6;
/// No text of ours is longer.
const MAX_TEXT: usize = 128;

/// The key in `text`, if it is Bech32 in one case, its prefix is `prefix` (lower case) and it holds 32 bytes.
pub(crate) fn decode(prefix: &str, text: &str) -> Option<[u8; 32]> {
    let (found, data) = symbols(text)?;
    if found != prefix {
        return None;
    }
    let bytes = bytes(&data)?;
    bytes.try_into().ok()
}

/// The key as Bech32, in lower case.
pub(crate) fn encode(prefix: &str, key: &[u8; 32]) -> String {
    let mut data = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for byte in key {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            data.push((held >> bits & 31) as u8);
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        data.push((held << (5 - bits) & 31) as u8);
    }
    let sum = checksum(prefix, data.iter().copied().chain([0; CHECK])) ^ 1;
    data.extend((0..CHECK).map(|at| (sum >> (5 * (CHECK - 1 - at)) & 31) as u8));
    let letters = data.into_iter().map(|symbol| char::from(CHARSET[usize::from(symbol)]));
    format!("{prefix}1{}", letters.collect::<String>())
}

/// Prefix and symbols of a text whose checksum holds.
fn symbols(text: &str) -> Option<(String, Vec<u8>)> {
    let is_mixed = text.bytes().any(|b| b.is_ascii_lowercase())
        && text.bytes().any(|b| b.is_ascii_uppercase());
    if text.len() > MAX_TEXT || is_mixed || !text.bytes().all(|b| (33..127).contains(&b)) {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let (prefix, data) = text.rsplit_once('1')?;
    if prefix.is_empty() {
        return None;
    }
    let symbol = |letter| CHARSET.iter().position(|one| *one == letter);
    let data = data.bytes().map(|b| symbol(b).map(|at| at as u8));
    let mut data: Vec<u8> = data.collect::<Option<_>>()?;
    if data.len() < CHECK || checksum(prefix, data.iter().copied()) != 1 {
        return None;
    }
    data.truncate(data.len() - CHECK);
    Some((prefix.to_owned(), data))
}

/// Groups of five bits as bytes; what is left over must be less than five bits, all 0.
fn bytes(symbols: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for symbol in symbols {
        held = (held << 5) | u32::from(*symbol);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 255) as u8);
        }
        held &= (1 << bits) - 1;
    }
    (bits < 5 && held == 0).then_some(bytes)
}

fn checksum(prefix: &str, data: impl Iterator<Item = u8>) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let high = prefix.bytes().map(|b| b >> 5);
    let low = prefix.bytes().map(|b| b & 31);
    high.chain([0]).chain(low).chain(data).fold(1, |sum: u32, value| {
        let top = sum >> 25;
        let sum = ((sum & 0x01ff_ffff) << 5) ^ u32::from(value);
        let of = |at: usize| if top >> at & 1 == 1 { GENERATOR[at] } else { 0 };
        (0..5).fold(sum, |sum, at| sum ^ of(at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_vectors_of_bip_173() {
        for text in [
            "A12UEL5L",
            "a12uel5l",
            "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
            "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
            "11qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqc8247j",
            "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
            "?1ezyfcl",
        ] {
            assert!(symbols(text).is_some(), "{text}");
        }
        for text in [
            "\u{20}1nwldj5",
            "\u{7f}1axkwrx",
            "pzry9x0s0muk",
            "1pzry9x0s0muk",
            "x1b4n0q5v",
            "li1dgmt3",
            "A1G7SGD8",
            "10a06t8",
            "1qzzfhee",
            "A12uEL5L",
        ] {
            assert!(symbols(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn keys_survive_and_a_wrong_letter_shows(key: [u8; 32], at in 4_usize..62) {
            let text = encode("age", &key);
            prop_assert_eq!(text.len(), 62);
            prop_assert_eq!(decode("age", &text), Some(key));
            prop_assert_eq!(decode("age", &text.to_uppercase()), Some(key));
            prop_assert_eq!(decode("other", &text), None);
            let mut wrong = text.into_bytes();
            wrong[at] = if wrong[at] == b'q' { b'p' } else { b'q' };
            prop_assert_eq!(decode("age", std::str::from_utf8(&wrong).unwrap()), None);
        }

        #[test]
        fn any_text_is_a_key_or_none(text in "\\PC{0,140}") {
            let _ = decode("age", &text);
        }
    }
}
