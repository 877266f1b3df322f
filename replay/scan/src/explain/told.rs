//! What an explanation tells, as data. Filled in the module above; made text by whoever shows it.

use serde::Serialize;

/// Why a message got its verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The record it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Recorded>,
    /// What is done.
    pub action: String,
    /// What would be, if shadow rules counted and no preset softened it.
    pub would_be: String,
    /// The highest sum of points, or the points of one secret.
    pub score: u32,
    /// In a few words, why.
    pub reason: String,
    /// Whether a limit ended the scan early.
    pub truncated: bool,
    /// Whether the action is another than the recorded one.
    pub differs: bool,
    /// Digest of the rule set.
    pub rules: String,
    /// The policy.
    pub policy: Told,
    /// The end of what the stream sent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<String>,
    /// Each way each text was read.
    pub readings: Vec<Reading>,
    /// What counts.
    pub findings: Vec<Found>,
    /// What matched and does not count.
    pub rejected: Vec<Rejected>,
    /// What adds up with what.
    pub windows: Vec<Window>,
    /// About the rule asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<AskedRule>,
    /// Whether there was more than is told.
    pub partial: bool,
}

/// What a capture says of a message.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "columns of the capture, by their names")]
pub struct Recorded {
    pub writer_id: String,
    pub seq: i64,
    pub ts_us: i64,
    pub direction: String,
    pub kind: String,
    pub server: String,
    pub method: Option<String>,
    pub name: Option<String>,
    pub redaction_state: Option<String>,
    pub action: Option<String>,
    pub would_be: Option<String>,
    pub score: Option<i64>,
    pub rule_ids: Vec<String>,
    pub ruleset_digest: Option<String>,
    pub deny_reason: Option<String>,
}

/// The policy, as far as it decided.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields of inspect::Policy")]
pub struct Told {
    pub preset: String,
    pub paranoia: u8,
    pub flag_at: Option<u32>,
    pub block_at: Option<u32>,
    pub suppressions: usize,
}

/// One way a text was read.
#[derive(Clone, Debug, Serialize)]
pub struct Reading {
    /// JSON Pointer.
    pub path: String,
    /// Where in the protocol.
    pub surface: String,
    /// `string`, `number` or `key`.
    pub kind: &'static str,
    /// The key above it.
    pub key: Option<String>,
    /// Which view.
    pub view: &'static str,
    /// What was done to the text, first to last.
    pub steps: Vec<&'static str>,
    /// What it reads as.
    pub text: String,
    /// Its whole length in bytes.
    pub bytes: usize,
    /// How much of it stands in earlier messages.
    #[serde(skip_serializing_if = "is_zero")]
    pub earlier: usize,
    /// Whether nothing is found there because only its maker reads it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exempt: bool,
    /// With a rule asked for: whether a literal that opens texts for it stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened: Option<bool>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// A finding.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The rule.
    pub rule: String,
    /// What it finds.
    pub title: String,
    /// Its class.
    pub class: &'static str,
    /// Its severity.
    pub severity: &'static str,
    /// The index of the reading; none where a placeholder hides the text.
    pub reading: Option<usize>,
    /// Where.
    pub path: String,
    /// Where in the protocol.
    pub surface: &'static str,
    /// What matched.
    pub text: Option<String>,
    /// Byte ranges in the message.
    pub spans: Vec<[usize; 2]>,
    /// Points of the rule.
    pub base: u32,
    /// Points that words near it added.
    pub context: u32,
    /// Whether it is quoted.
    pub quoted: bool,
    /// Points it counts with, halved when quoted.
    pub points: u32,
    /// The highest sum of a window it is in, or its own points.
    pub sum: u32,
    /// Whether it counts.
    pub standing: &'static str,
    /// Whether part of it stands in an earlier message.
    pub earlier: bool,
    /// What it asks for.
    pub asks: &'static str,
    /// Why it asks for that.
    pub why: &'static str,
}

/// A match that is no finding.
#[derive(Clone, Debug, Serialize)]
pub struct Rejected {
    /// The rule.
    pub rule: String,
    /// The index of the reading.
    pub reading: usize,
    /// What matched.
    pub text: String,
    /// Where in the reading.
    pub range: [usize; 2],
    /// Which check it failed.
    pub check: &'static str,
    /// What that check saw.
    pub saw: String,
}

/// Findings that add up.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields of inspect::Window")]
pub struct Window {
    pub surface: &'static str,
    /// Indices into the findings, and what each adds.
    pub points: Vec<(usize, u32)>,
    pub sum: u32,
    pub flag: u32,
    pub block: u32,
}

/// The rule that the question is about.
#[derive(Clone, Debug, Serialize)]
pub struct AskedRule {
    /// Its id.
    pub id: String,
    /// In a sentence, what it did here.
    pub answer: String,
    /// What opens texts for it: one of these must stand in the text or its key.
    pub literals: Vec<String>,
    /// Whether it looks at every text.
    pub slow: bool,
    /// Its level.
    pub paranoia: u8,
    /// Where it looks; everywhere when empty.
    pub surfaces: Vec<String>,
    /// Readings a literal of it stands in.
    pub opened: usize,
}
