//! Points in time on the command line and in tables: always UTC, never the machine's zone.

use jiff::Timestamp;

/// RFC 3339, or seconds since 1970 with an optional fraction → µs since 1970.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    if text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(['-', ':', 'T']) {
        return parse_seconds(text).ok_or_else(|| "not a number of seconds".to_owned());
    }
    text.parse::<Timestamp>().map(Timestamp::as_microsecond).map_err(|_| {
        "expected RFC 3339 with a zone (2026-11-21T09:00:00Z) or seconds since 1970".to_owned()
    })
}

fn parse_seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

/// µs since 1970 as RFC 3339 with exactly `digits` of the second's fraction.
pub(crate) fn format_time(us: i64, digits: usize) -> String {
    match Timestamp::from_microsecond(us) {
        Ok(time) => format!("{time:.digits$}"),
        Err(_) => format!("{us}us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations_mean_the_same() {
        let us = 1_795_338_000_250_000;
        assert_eq!(parse_time("2026-11-22T09:00:00.25Z"), Ok(us));
        assert_eq!(parse_time("2026-11-22T10:00:00.25+01:00"), Ok(us));
        assert_eq!(parse_time("1795338000.25"), Ok(us));
        assert_eq!(parse_time("1795338000"), Ok(us - 250_000));
        assert_eq!(format_time(us, 3), "2026-11-22T09:00:00.250Z");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "yesterday", "1.2.3", "12e4", "2026-11-22", "99999999999999999999", "-5"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
