//! What a set of rules is called: its name and its version. What identifies it is its digest.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Characters of a name.
const MAX_NAME: usize = 64;
/// Digits of one number of a version.
const MAX_DIGITS: usize = 9;

/// The name and the version of a set of rules, as a rule file writes them.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct SetDef {
    /// Lower-case letters, digits and hyphens: `acme-rules`.
    pub name: String,
    /// One to four numbers, `1.4.0` or `2026.11`; in quotes where it is a number by itself.
    pub version: String,
}

impl SetDef {
    /// What is wrong with it, if anything: the field, and why.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, &'static str)> {
        if !is_set_name(&self.name) {
            return Some((
                "name",
                "a name is 1 to 64 of a-z, 0-9 and `-`, the first no hyphen, as `acme-rules`",
            ));
        }
        self.version.parse::<Version>().err().map(|_| ("version", VERSION_FORM))
    }
}

impl fmt::Display for SetDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Whether a set may have this name.
#[must_use]
pub fn is_set_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !name.starts_with('-')
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

const VERSION_FORM: &str =
    "a version is one to four numbers without leading zeros, as `1.4.0` or `2026.11`";

/// A version that can be compared: one to four numbers. `1.0` and `1.0.0` are two versions, the shorter one older, so
/// that what is equal is also written alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(Vec<u32>);

/// A text that is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{VERSION_FORM}")]
pub struct NoVersion;

impl FromStr for Version {
    type Err = NoVersion;
    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let numbers: Result<Vec<u32>, NoVersion> = text.split('.').map(number).collect();
        numbers.and_then(|all| if all.len() <= 4 { Ok(Self(all)) } else { Err(NoVersion) })
    }
}

fn number(text: &str) -> Result<u32, NoVersion> {
    let plain = (1..=MAX_DIGITS).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| NoVersion) } else { Err(NoVersion) }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, number) in self.0.iter().enumerate() {
            write!(f, "{}{number}", if at > 0 { "." } else { "" })?;
        }
        Ok(())
    }
}

/// Reads one set or a list of them.
pub(crate) fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SetDef>, D::Error> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Vec<SetDef>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("{name: …, version: …}")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            SetDef::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                .map(|one| vec![one])
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))
        }
    }
    deserializer.deserialize_any(Visitor)
}

pub(crate) fn one_or_many_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let one = generator.subschema_for::<SetDef>();
    schemars::json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let sorted = ["0", "0.9", "1", "1.0", "1.0.0", "1.9", "1.10", "1.10.0.1", "2026.11"];
        let versions: Vec<Version> = sorted.iter().map(|v| v.parse().unwrap()).collect();
        assert!(versions.is_sorted_by(|a, b| a < b));
        for (version, text) in versions.iter().zip(sorted) {
            assert_eq!(version.to_string(), text);
        }
        for wrong in ["", ".", "1.", "v1", "01", "1.00", "1.2.3.4.5", "1-2", "9999999999", "+1"] {
            assert_eq!(wrong.parse::<Version>(), Err(NoVersion), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_also_a_folders() {
        assert!(is_set_name("acme-rules-2"));
        for wrong in ["", "-a", "A", "a.b", "a/b", "..", "ä", &"a".repeat(65)] {
            assert!(!is_set_name(wrong), "{wrong}");
        }
    }
}
