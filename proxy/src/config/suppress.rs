//! The list `inspect.suppress`: findings known to be no harm.

use inspect::{MaskKey, Policy, Suppression};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Inspect;

/// Findings that count no more, though they are still recorded. All that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suppress {
    /// The rule's id, or its first letters and a `*`.
    pub rule: String,
    /// The server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The tool, prompt or resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// JSON Pointer (RFC 6901) of the value in the message, or its beginning and a `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// SHA-256 of the text found, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_sha256: Option<String>,
    /// Why it is no harm.
    pub reason: String,
    /// The last day on which this holds, `YYYY-MM-DD` in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

impl Suppress {
    /// When it ends, in seconds since 1970.
    fn end(&self) -> Result<Option<i64>, jiff::Error> {
        let Some(day) = &self.expires else { return Ok(None) };
        let after = day.parse::<Date>()?.tomorrow()?;
        Ok(Some(after.to_zoned(TimeZone::UTC)?.timestamp().as_second()))
    }

    /// What is wrong with it: the field, and why.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        if self.rule.trim_end_matches('*').is_empty() {
            return Some(("rule", "name a rule, or the first letters of several".to_owned()));
        }
        if self.reason.trim().is_empty() {
            return Some(("reason", "say why it is no harm".to_owned()));
        }
        let is_hash =
            |hash: &String| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if !self.value_sha256.iter().all(is_hash) {
            return Some(("value_sha256", "a SHA-256 has 64 hexadecimal digits".to_owned()));
        }
        self.end().err().map(|error| ("expires", format!("no day as 2027-01-31: {error}")))
    }
}

impl Inspect {
    /// What is done about findings.
    pub fn policy(&self) -> Policy {
        let suppress = |one: &Suppress| Suppression {
            rule: one.rule.clone(),
            server: one.server.clone(),
            tool: one.tool.clone(),
            path: one.path.clone(),
            value_sha256: one.value_sha256.clone(),
            reason: one.reason.clone(),
            // a day that is none was told by then; it ends at once
            expires: one.end().unwrap_or(Some(0)),
        };
        Policy {
            preset: self.preset,
            paranoia: self.paranoia,
            flag_at: self.flag_at,
            block_at: self.block_at,
            suppress: self.suppress.iter().map(suppress).collect(),
            mask: self.mask_key.as_ref().and_then(|key| MaskKey::new(key.expose().as_bytes()).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Suppress;

    fn one(expires: &str) -> Suppress {
        Suppress {
            rule: "pii.*".to_owned(),
            reason: "test".to_owned(),
            expires: Some(expires.to_owned()),
            ..Suppress::default()
        }
    }

    #[test]
    fn it_holds_to_the_end_of_its_day() {
        assert_eq!(one("1970-01-02").end().unwrap(), Some(2 * 86_400));
        assert_eq!(one("2026-11-23").problem(), None);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let problem = |one: Suppress| one.problem().map(|(field, _)| field);
        assert_eq!(problem(one("soon")), Some("expires"));
        assert_eq!(problem(Suppress { rule: "*".to_owned(), ..one("2026-01-01") }), Some("rule"));
        assert_eq!(
            problem(Suppress { reason: " ".to_owned(), ..one("2026-01-01") }),
            Some("reason")
        );
        let hash = Some("abc".to_owned());
        let hash = Suppress { value_sha256: hash, ..one("2026-01-01") };
        assert_eq!(problem(hash), Some("value_sha256"));
    }
}
