//! Findings + policy → what is done with the message.

use crate::compile::RuleSet;
use crate::edit::Edit;
use crate::rule::{Action, words};
use crate::scan::{Finding, Scan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How findings become actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Secrets and injection of high severity block; what would be flagged as injection blocks from medium on.
    Strict,
    /// Each rule's own action.
    #[default]
    Balanced,
    /// Nothing is changed or refused; findings are recorded.
    Audit,
}

words!(Preset { Strict = "strict", Balanced = "balanced", Audit = "audit" });

/// What a deployment wants of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How findings become actions.
    pub preset: Preset,
    /// Rules above this level stay out (1 to 4).
    pub paranoia: u8,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            preset: Preset::Balanced,
            paranoia: 1,
        }
    }
}

/// What is done with a message, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is enforced.
    pub action: Action,
    /// What the rules asked for, before an audit preset softened it.
    pub would_be: Action,
    /// What the wire applies: sorted, disjoint.
    pub edits: Vec<Edit>,
    /// Everything found.
    pub findings: Vec<Finding>,
    /// The sum of the findings' points.
    pub score: u32,
}

impl Verdict {
    /// Decides about one message from its scan.
    #[must_use]
    pub fn decide(_rules: &RuleSet, _policy: &Policy, scan: Scan, _raw: &[u8]) -> Self {
        Self {
            action: Action::Allow,
            would_be: Action::Allow,
            edits: Vec::new(),
            findings: scan.findings,
            score: 0,
        }
    }

    /// The edits that hide every secret and personal datum found, and whatever else is redacted or blocked: for the
    /// recorder, whatever the preset lets pass on the wire.
    #[must_use]
    pub fn record_edits(&self, _rules: &RuleSet, _raw: &[u8]) -> Vec<Edit> {
        Vec::new()
    }
}
