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
    let Some((random, sum)) = body.split_last_chunk::<6>().filter(|(rest, _)| !rest.is_empty())
    else {
        return false;
    };
    based::<6>(crc32(random), BASE62) == *sum
}

/// GitLab's tokens: of those with a dot, which are routable, the last seven characters are the base-36 CRC-32 of all
/// before them; the others have no checksum.
pub(super) fn gitlab(text: &[u8]) -> bool {
    let routable = text.contains(&b'.');
    let fits = |(rest, sum): (&[u8], &[u8; 7])| based::<7>(crc32(rest), LOWER_BASE36) == *sum;
    text.starts_with(b"gl")
        && text.len() > 20
        && (!routable || text.split_last_chunk::<7>().is_some_and(fits))
}

/// Service account tokens of Grafana: after the last `_`, the CRC-32 of all before it, lowest byte first, in hex.
pub(super) fn grafana(text: &[u8]) -> bool {
    text.split_last_chunk::<9>().is_some_and(|(rest, [underscore, sum @ ..])| {
        *underscore == b'_' && rest.contains(&b'_') && grafana_sum(rest) == *sum
    })
}

/// The eight hex digits that end a token of Grafana.
pub(crate) fn grafana_sum(rest: &[u8]) -> [u8; 8] {
    based(crc32(rest).swap_bytes(), b"0123456789abcdef")
}

/// CRC-32 of IEEE 802.3, bit by bit: it runs only on matches.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}

/// The digits of base 36 in lower case.
pub(crate) const LOWER_BASE36: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// The digits of base 62 as GitHub and npm order them.
pub(crate) const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `N` digits of a number, most significant first.
pub(crate) fn based<const N: usize>(number: u32, digits: &[u8]) -> [u8; N] {
    let (mut n, base) = (number as usize, digits.len());
    let mut out = [b'0'; N];
    for slot in out.iter_mut().rev() {
        *slot = digits.get(n % base).copied().unwrap_or(b'0');
        n /= base;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::{BASE62, based, crc32, github, gitlab, grafana, grafana_sum, jwt};

    #[test]
    fn checks_the_crc() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let random = "a1B2c3D4e5".repeat(3);
        let sum = String::from_utf8(based::<6>(crc32(random.as_bytes()), BASE62).to_vec()).unwrap();
        assert!(github(format!("ghp_{random}{sum}").as_bytes()));
        assert!(!github(format!("ghp_{random}x{sum}").as_bytes()));
        assert!(!github(b"ghp_"));
    }

    #[test]
    fn checks_crcs_of_others() {
        // the token in the tests of GitLab's own decoder, in two parts so that no scanner sees one here
        let token = ["glrtr-W5m1cHR6skC98Bx7XkuYjmM6MQpnOj", "gKbzpyegp0OjIQ.01.181uebm4"].concat();
        vectors(gitlab, &[&format!("{token}k")], &[&format!("{token}l"), "glpat-"]);
        // the dummy of an issue that shows npm's format
        let token = ["npm_qkJaB6MffYVzZXWq", "mcoF49yrUxP3wf0Lsak"].concat();
        vectors(github, &[&format!("{token}P")], &[&format!("{token}Q")]);
        let token = format!("glsa_{}", "a1B2c3D4".repeat(4));
        let sum = String::from_utf8(grafana_sum(token.as_bytes()).to_vec()).unwrap();
        vectors(
            grafana,
            &[&format!("{token}_{sum}")],
            &[&format!("{token}x_{sum}"), "glsa_", &sum],
        );
        assert_eq!(grafana_sum(b"123456789"), *b"2639f4cb");
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
