//! Network addresses.

use core::net::Ipv4Addr;

/// Public: not private, shared, loopback, link-local, multicast, reserved, or for documentation and benchmarks.
pub(super) fn ipv4_public(text: &[u8]) -> bool {
    let address = std::str::from_utf8(text).ok().and_then(|text| text.parse::<Ipv4Addr>().ok());
    let Some(address) = address else {
        return false;
    };
    let [a, b, c, _] = address.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special
}

#[cfg(test)]
mod tests {
    use super::ipv4_public;

    #[test]
    fn tells_public_from_the_rest() {
        for public in ["8.8.8.8", "1.1.1.1", "172.32.0.1"] {
            assert!(ipv4_public(public.as_bytes()), "{public}");
        }
        for other in [
            "10.0.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "203.0.113.7",
            "255.255.255.255",
            "1.2.3",
            "01.2.3.4",
        ] {
            assert!(!ipv4_public(other.as_bytes()), "{other}");
        }
    }
}
