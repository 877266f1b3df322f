//! Findings + policy → what is done with the message.

use crate::compile::{Rule, RuleSet};
use crate::edit::{self, Edit};
use crate::rule::{Action, Class, Severity, words};
use crate::scan::{Finding, Scan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How findings become actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Secrets of high severity block, and everything but personal data from medium severity on.
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
    pub fn decide(rules: &RuleSet, policy: &Policy, scan: Scan, raw: &[u8]) -> Self {
        let mut findings = scan.findings;
        findings.retain(|finding| rules.rule(finding.rule).paranoia() <= policy.paranoia);
        let asked = |finding: &Finding| asked(rules.rule(finding.rule), policy.preset);
        let would_be = findings.iter().map(asked).max().unwrap_or(Action::Allow);
        let action = match policy.preset {
            Preset::Audit => would_be.min(Action::Flag),
            _ => would_be,
        };
        let edits = match action {
            Action::Redact => {
                let hidden = findings.iter().filter(|f| asked(f) == Action::Redact);
                edit::plan(rules, hidden, raw)
            }
            _ => Vec::new(),
        };
        let score = findings
            .iter()
            .fold(0_u32, |sum, f| sum.saturating_add(f.score));
        Self {
            action,
            would_be,
            edits,
            findings,
            score,
        }
    }

    /// The edits that hide every secret and personal datum found, and whatever else is redacted or blocked: for the
    /// recorder, whatever the preset lets pass on the wire.
    #[must_use]
    pub fn record_edits(&self, rules: &RuleSet, raw: &[u8]) -> Vec<Edit> {
        let hidden = self.findings.iter().filter(|finding| {
            let rule = rules.rule(finding.rule);
            matches!(rule.class(), Class::Secret | Class::Pii) || rule.action() >= Action::Redact
        });
        edit::plan(rules, hidden, raw)
    }

    /// The ids of the rules that found something, sorted, with repeats: one for each finding.
    #[must_use]
    pub fn rule_ids<'r>(&self, rules: &'r RuleSet) -> Vec<&'r str> {
        let mut ids: Vec<&str> = self
            .findings
            .iter()
            .map(|f| rules.rule(f.rule).id())
            .collect();
        ids.sort_unstable();
        ids
    }
}

/// What a finding asks for under a preset.
fn asked(rule: &Rule, preset: Preset) -> Action {
    let worse = match (preset, rule.class()) {
        (Preset::Balanced | Preset::Audit, _) | (_, Class::Pii) => false,
        (Preset::Strict, Class::Secret) => rule.severity() >= Severity::High,
        (Preset::Strict, _) => rule.severity() >= Severity::Medium,
    };
    if worse && rule.action() > Action::Allow {
        Action::Block
    } else {
        rule.action()
    }
}
