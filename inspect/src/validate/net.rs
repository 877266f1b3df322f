//! Network addresses.

use core::net::{Ipv4Addr, Ipv6Addr};

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

/// Any IPv4 address.
pub(super) fn ipv4(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv4Addr>().is_ok())
}

/// The address without its zone, `%eth0`.
fn without_zone(text: &[u8]) -> Option<Ipv6Addr> {
    let address = text.split(|byte| *byte == b'%').next().unwrap_or(text);
    std::str::from_utf8(address).ok()?.parse().ok()
}

/// Any IPv6 address, also with a zone.
pub(super) fn ipv6(text: &[u8]) -> bool {
    without_zone(text).is_some()
}

/// Of 2000::/3, which is all that is given out, and not for documentation or tunnels.
pub(super) fn ipv6_public(text: &[u8]) -> bool {
    without_zone(text).is_some_and(|address| match address.segments() {
        [0x2001, 0 | 2 | 0xDB8, ..] | [0x3FFF, ..] => false,
        [first, ..] => (0x2000..0x4000).contains(&first),
    })
}

/// Twelve hex digits with one kind of sign between them; not the broadcast address, nor none.
pub(super) fn mac(text: &[u8]) -> bool {
    let sign = text.iter().find(|byte| !byte.is_ascii_hexdigit());
    let one = text.iter().all(|byte| byte.is_ascii_hexdigit() || Some(byte) == sign);
    let mut hex = [0; 12];
    let mut slots = hex.iter_mut();
    for byte in text.iter().filter(|byte| byte.is_ascii_hexdigit()) {
        let Some(slot) = slots.next() else { return false };
        *slot = byte.to_ascii_lowercase();
    }
    one && slots.next().is_none() && hex != [b'0'; 12] && hex != [b'f'; 12]
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    #[test]
    fn other_addresses() {
        vectors(ipv4, &["10.0.0.1", "8.8.8.8"], &["256.1.1.1", "01.2.3.4", "1.2.3"]);
        vectors(ipv6, &["::1", "fe80::1%eth0", "2001:db8::1", "::"], &["1:2:3", "::g", "1::2::3"]);
        vectors(
            ipv6_public,
            &["2606:4700:4700::1111", "2a00:1450:4001:81b::200e"],
            &["fe80::1", "fd00::1", "::1", "2001:db8::1", "::ffff:8.8.8.8", "ff02::1"],
        );
        vectors(
            mac,
            &["00:1A:2B:3C:4D:5E", "01-b3-4a-67-d9-cf", "aabb.ccdd.eeff"],
            &["FF:FF:FF:FF:FF:FF", "00:00:00:00:00:00", "10:2F:33-AC-29-C3", "00:1A:2B:3C:4D"],
        );
    }

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
