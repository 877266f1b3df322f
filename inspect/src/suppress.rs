//! Findings that a deployment knows to be no harm: by rule, server, tool, place and value, with a reason and an end.

use crate::compile::{RuleSet, hex};
use crate::scan::{Finding, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Findings that count no more. Everything given must fit; what is not given fits all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suppression {
    /// The rule, or the first letters of several and a `*`.
    pub rule: String,
    /// The server, as the configuration names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The tool, prompt or resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// JSON Pointer (RFC 6901) of the value in the message, or its beginning and a `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// SHA-256 of the text found, in hexadecimal digits: of the text as it stands in the message, its JSON escapes
    /// undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_sha256: Option<String>,
    /// Why it is no harm.
    pub reason: String,
    /// When it ends: seconds since 1970, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
}

impl Suppression {
    pub(crate) fn fits(
        &self,
        rules: &RuleSet,
        subject: &Subject<'_>,
        finding: &Finding,
        raw: &[u8],
    ) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        self.expires.is_none_or(|end| subject.now < end)
            && fits_start(&self.rule, rules.rule(finding.rule).id())
            && is(&self.server, subject.server)
            && is(&self.tool, subject.name.unwrap_or(""))
            && self.path.as_ref().is_none_or(|path| fits_start(path, &finding.path))
            && self.value_sha256.as_ref().is_none_or(|hash| {
                hash.eq_ignore_ascii_case(&hex(&Sha256::digest(value(finding, raw))))
            })
    }
}

/// Whether a text is the wanted one, or begins as it does before a `*`.
fn fits_start(wanted: &str, text: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => text == wanted,
    }
}

/// What was found, its JSON escapes undone.
pub(crate) fn value(finding: &Finding, raw: &[u8]) -> Vec<u8> {
    let mut inside = Vec::new();
    for span in &finding.spans {
        inside.extend_from_slice(raw.get(span.start..span.end).unwrap_or(&[]));
    }
    unescaped(&inside).unwrap_or(inside)
}

/// The inside of a JSON string, its escapes undone; `None` when it is none.
pub(crate) fn unescaped(inside: &[u8]) -> Option<Vec<u8>> {
    if !inside.contains(&b'\\') {
        return None;
    }
    let quoted = [b"\"", inside, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).ok().map(String::into_bytes)
}
