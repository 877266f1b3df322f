//! Sizes and durations as a configuration writes them: with their units.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A count of bytes, written as an integer or with a unit: `4194304`, `4MiB`, `10GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// The units a size is written with, largest first, so that showing finds the shortest form.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl Size {
    /// A size of so many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The bytes as a length in memory; on a narrower machine, the most it can address.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE_UNITS.iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some(("B", _)) | None => write!(f, "{}", self.0),
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text);
        let factor = SIZE_UNITS
            .iter()
            .find(|(name, _)| *name == unit || (unit == "KB" && *name == "kB"))
            .map(|(_, factor)| *factor);
        let factor = if unit.is_empty() { Some(1) } else { factor };
        let count: Option<u64> = number.parse().ok();
        count
            .zip(factor)
            .and_then(|(count, factor)| count.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| "not a size; write bytes or a unit, as in 4MiB or 10GB".into())
    }
}

/// A length of time, written with its unit: `5ms`, `30s`, `2m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(Duration);

/// The units a period is written with, in milliseconds, largest first.
const PERIOD_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// No wait is longer than this; it keeps every sum of periods far from overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

impl Period {
    /// So many seconds.
    pub const fn secs(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// So many milliseconds.
    pub const fn millis(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match PERIOD_UNITS.iter().find(|(_, unit)| {
            millis >= u128::from(*unit) && millis.is_multiple_of(u128::from(*unit))
        }) {
            Some((name, unit)) => write!(f, "{}{name}", millis / u128::from(*unit)),
            None => f.write_str("0s"),
        }
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text);
        let factor = PERIOD_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let count: Option<u64> = number.parse().ok();
        let period = count
            .zip(factor)
            .and_then(|(count, factor)| count.checked_mul(factor))
            .map(Duration::from_millis)
            .ok_or("not a duration; write a number and a unit: 5ms, 30s, 2m, 1h")?;
        if period > LONGEST {
            return Err("a duration of more than a year".into());
        }
        Ok(Self(period))
    }
}

/// Splits `4MiB` into `4` and `MiB`, with or without a space between.
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    (number, unit.trim_start())
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, as in 4194304, 4MiB or 10GB")
            }
            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }
            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom("a size below zero"))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PeriodVisitor;
        impl Visitor<'_> for PeriodVisitor {
            type Value = Period;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit: 5ms, 30s, 2m, 1h")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(PeriodVisitor)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"],
            "format": "size",
            "minimum": 0,
            "pattern": "^[0-9]+ *(B|[kK]B|KiB|MB|MiB|GB|GiB|TB|TiB)?$",
        })
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "period", "pattern": "^[0-9]+ *(ms|s|m|h)$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_show() {
        for (text, bytes, shown) in [
            ("0", 0, "0"),
            ("17", 17, "17"),
            ("4MiB", 4 << 20, "4MiB"),
            ("4 MiB", 4 << 20, "4MiB"),
            ("10GB", 10_000_000_000, "10GB"),
            ("1000000", 1_000_000, "1MB"),
            ("16KiB", 16_384, "16KiB"),
            ("5KB", 5_000, "5kB"),
            ("3B", 3, "3"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.get(), size.to_string().as_str()), (bytes, shown), "{text}");
            assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
        }
        for bad in ["", "MiB", "4mib", "-1", "1.5MiB", "4 MiB x", "99999999TiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn periods_read_and_show() {
        for (text, millis, shown) in [
            ("5ms", 5, "5ms"),
            ("30s", 30_000, "30s"),
            ("120s", 120_000, "2m"),
            ("1h", 3_600_000, "1h"),
            ("0s", 0, "0s"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.get().as_millis(), period.to_string().as_str()), (millis, shown));
        }
        for bad in ["", "5", "s", "1.5s", "1d", "-1s", "9000000h", "99999999999999999h"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Period>("30").unwrap_err().to_string().contains("its unit"));
    }
}
