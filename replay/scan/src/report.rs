//! What a scan tells: counts, per-rule differences, changed actions, samples.
//!
//! Only the data; it is filled in `tally` and made text in `render`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::labelled::LabelReport;

/// The differences between what was recorded and what the rules say now.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// What the rows were judged with.
    pub judged_with: JudgedWith,
    /// Rows read.
    pub rows: u64,
    /// Bytes of recorded bodies read.
    pub body_bytes: u64,
    /// Rows judged again.
    pub judged: u64,
    /// Judged rows whose recorded body had been redacted: new rules see placeholders there.
    pub judged_redacted: u64,
    /// Rows that could not be judged again, by reason.
    pub unjudged: Unjudged,
    /// Judged rows with a difference in findings or in the action.
    pub differing: u64,
    /// Judged rows of which something is blocked now that was not: the message, or a tool of a list
    /// that was blocked for another. Only where two sets are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newly_blocked: Option<u64>,
    /// Damaged files and rule sets or policies missing or not compiling.
    pub errors: u64,
    /// The first of those errors, in words, sorted.
    pub error_texts: BTreeSet<String>,
    /// Per rule: findings then and now.
    pub rules: BTreeMap<String, RuleDiff>,
    /// Rows whose enforced action changed, by old and new action.
    pub actions: Vec<ActionChange>,
    /// Rows whose asked-for action changed (what the rules wanted before `audit` softened it).
    pub would_be: Vec<ActionChange>,
    /// What people's labels make of it; none where nobody labelled anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labelled: Option<LabelReport>,
    /// Differing findings to look at, a few per rule.
    pub samples: Vec<Sample>,
}

/// The rule sets and policies of a scan.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct JudgedWith {
    /// `recorded`, or the digest of the rule set given.
    pub rules: String,
    /// Names and versions of the rule set given; none where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The digest of the set that stands in for what was recorded: see [`crate::compare`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// Rule ids taken out of the sets first.
    pub without: Vec<String>,
    /// Preset given instead of the recorded ones.
    pub preset: Option<String>,
    /// Paranoia given instead of the recorded ones.
    pub paranoia: Option<u8>,
    /// Digests of the rule sets that the judged rows were recorded under, with their rows.
    pub recorded_rulesets: BTreeMap<String, u64>,
    /// Names and versions of those sets, by digest, as the capture tells them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub recorded_titles: BTreeMap<String, String>,
}

/// Rows that `scan` did not judge, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unjudged {
    /// Transport events and gaps: no messages.
    pub not_messages: u64,
    /// Rows without a verdict: the other leg of a message whose verdict sits on its first row.
    pub not_judged_live: u64,
    /// The body was not recorded.
    pub withheld: u64,
    /// The body was recorded in part, or the live scan stopped at its budget.
    pub truncated: u64,
    /// The recorded body is no message.
    pub unparseable: u64,
    /// The rule set named by the row is not in the capture or does not compile.
    pub rules_missing: u64,
    /// The policy named by the row is not in the capture or cannot be read.
    pub policy_missing: u64,
}

/// Why one row was not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of Unjudged say it, one for one")]
pub enum Reason {
    NotMessage,
    NotJudgedLive,
    Withheld,
    Truncated,
    Unparseable,
    RulesMissing,
    PolicyMissing,
}

impl Unjudged {
    pub(crate) fn count(&mut self, reason: Reason) {
        *match reason {
            Reason::NotMessage => &mut self.not_messages,
            Reason::NotJudgedLive => &mut self.not_judged_live,
            Reason::Withheld => &mut self.withheld,
            Reason::Truncated => &mut self.truncated,
            Reason::Unparseable => &mut self.unparseable,
            Reason::RulesMissing => &mut self.rules_missing,
            Reason::PolicyMissing => &mut self.policy_missing,
        } += 1;
    }

    /// Reason and count, in the order of the fields.
    #[must_use]
    pub fn by_reason(&self) -> [(&'static str, u64); 7] {
        [
            ("no message (transport event, gap)", self.not_messages),
            ("no verdict recorded (other leg)", self.not_judged_live),
            ("body withheld", self.withheld),
            ("recorded or scanned in part", self.truncated),
            ("body not parseable", self.unparseable),
            ("recorded rule set missing", self.rules_missing),
            ("recorded policy missing", self.policy_missing),
        ]
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, n)| n).sum()
    }
}

/// One rule's findings then and now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleDiff {
    /// Findings recorded.
    pub recorded: u64,
    /// Findings now.
    pub now: u64,
    /// Of those now: taken over from the row's list of redactions, because the text is gone.
    pub now_from_redactions: u64,
    /// Findings now that were not recorded.
    pub newly_caught: u64,
    /// Of these, findings on traffic that was labelled clean: new false positives.
    pub newly_caught_on_clean: u64,
    /// Findings recorded that are not found now.
    pub newly_missed: u64,
}

/// Rows whose action went from one to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionChange {
    /// The recorded action.
    pub from: String,
    /// The action now.
    pub to: String,
    /// How many rows.
    pub rows: u64,
}

/// Which way a finding differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Found now, not recorded, on traffic labelled clean.
    NewlyCaughtOnClean,
    /// Found now, not recorded.
    NewlyCaught,
    /// Recorded, not found now.
    NewlyMissed,
}

impl What {
    /// As written in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewlyCaughtOnClean => "new false positive",
            Self::NewlyCaught => "newly caught",
            Self::NewlyMissed => "newly missed",
        }
    }
}

/// One differing finding: where to look, never what was matched.
///
/// The order of the fields is the order samples are kept in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Sample {
    /// The rule.
    pub rule: String,
    /// Caught or missed.
    pub what: What,
    /// The row's writer.
    pub writer_id: String,
    /// The row's number within its writer.
    pub seq: i64,
    /// JSON Pointer into the message; none where the record doesn't tell.
    pub path: Option<String>,
    /// The server.
    pub server: Option<String>,
    /// The message's method, or its request's.
    pub method: Option<String>,
    /// Tool, prompt or resource.
    pub name: Option<String>,
    /// `to_server` or `to_client`.
    pub direction: Option<String>,
}

impl Report {
    /// Whether any finding or action differs.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.differing > 0
    }

    /// Sum of one number over all rules.
    pub(crate) fn total(&self, of: impl Fn(&RuleDiff) -> u64) -> u64 {
        self.rules.values().map(of).sum()
    }
}
