//! Tokens that carry their own proof.

/// Three parts; the first decodes to a JSON object that names an algorithm.
pub(super) fn jwt(text: &[u8]) -> bool {
    let mut parts = text.split(|b| *b == b'.');
    let (Some(header), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    // A header is short: a long one is no reason to decode megabytes.
    let Some(header) = (header.len() <= 4096).then(|| base64url(header)).flatten() else {
        return false;
    };
    let header: Option<serde_json::Value> = serde_json::from_slice(&header).ok();
    let alg = header.as_ref().and_then(|h| h.get("alg")).and_then(|a| a.as_str());
    alg.is_some_and(|alg| !alg.is_empty()) && !payload.is_empty()
}

/// Decodes URL-safe base64 without padding.
fn base64url(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let mut bits = 0_u32;
    let mut held = 0;
    for byte in text {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xFF).ok()?);
        }
    }
    Some(out)
}

/// `prefix_` + random + six base62 digits of the CRC-32 of the random part.
pub(super) fn github(text: &[u8]) -> bool {
    let Some(underscore) = text.iter().rposition(|b| *b == b'_') else {
        return false;
    };
    let body = text.get(underscore + 1..).unwrap_or(&[]);
    let Some(cut) = body.len().checked_sub(6).filter(|cut| *cut > 0) else {
        return false;
    };
    let (random, sum) = body.split_at(cut);
    base62(crc32(random)) == sum
}

/// CRC-32 of IEEE 802.3, bit by bit: it runs only on matches.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}

/// Six base62 digits, `0-9A-Za-z`, most significant first.
fn base62(mut n: u32) -> [u8; 6] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut out = [b'0'; 6];
    for slot in out.iter_mut().rev() {
        *slot = DIGITS.get((n % 62) as usize).copied().unwrap_or(b'0');
        n /= 62;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{base62, crc32, github, jwt};

    #[test]
    fn checks_the_crc() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let random = "a1B2c3D4e5".repeat(3);
        let sum = String::from_utf8(base62(crc32(random.as_bytes())).to_vec()).unwrap();
        assert!(github(format!("ghp_{random}{sum}").as_bytes()));
        assert!(!github(format!("ghp_{random}x{sum}").as_bytes()));
        assert!(!github(b"ghp_"));
    }

    #[test]
    fn reads_a_jwt_header() {
        // {"alg":"HS256"} and {"typ":"JWT"}
        let with_alg = "eyJhbGciOiJIUzI1NiJ9";
        let without = "eyJ0eXAiOiJKV1QifQ";
        assert!(jwt(format!("{with_alg}.e30.c2ln").as_bytes()));
        assert!(!jwt(format!("{without}.e30.c2ln").as_bytes()));
        assert!(!jwt(format!("{with_alg}.e30").as_bytes()));
    }
}
