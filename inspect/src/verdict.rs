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
        Self { preset: Preset::Balanced, paranoia: 1 }
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
        let score = findings.iter().fold(0_u32, |sum, f| sum.saturating_add(f.score));
        Self { action, would_be, edits, findings, score }
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
        let mut ids: Vec<&str> = self.findings.iter().map(|f| rules.rule(f.rule).id()).collect();
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
    if worse && rule.action() > Action::Allow { Action::Block } else { rule.action() }
}

#[cfg(test)]
mod tests {
    use super::{Policy, Preset, Verdict};
    use crate::{
        Action, Direction, ParseLimits, Parser, RuleFile, RuleSet, Scanner, Subject, redact,
    };

    fn rules() -> RuleSet {
        let rule = |id: &str, class: &str, severity: &str, pattern: &str, more: &str| {
            format!(
                "- id: t.{id}\n  title: t\n  class: {class}\n  severity: {severity}\n  pattern: '{pattern}'\n  docs: {{finds: f, why: w}}\n  tests: {{match: [], no_match: []}}\n  {more}\n"
            )
        };
        let text = format!(
            "rules:\n{}{}{}{}",
            rule("secret", "secret", "high", "zqxj[0-9]+", ""),
            rule("wide", "secret", "low", "zqxj[0-9]+ [a-z]+", ""),
            rule("order", "injection", "medium", "obey me", ""),
            rule("worst", "unsafe", "high", "rm -rf", "action: block"),
        );
        RuleSet::compile_unchecked(&[RuleFile { name: "t.yaml", text: &text }]).unwrap()
    }

    fn decide(rules: &RuleSet, text: &str, preset: Preset) -> (Verdict, String) {
        let raw = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": [{ "type": "text", "text": text }] } }).to_string();
        let subject = Subject {
            direction: Direction::ToClient,
            server: "s",
            method: Some("tools/call"),
            name: Some("t"),
            paranoia: 1,
            budget: usize::MAX,
        };
        let policy = Policy { preset, paranoia: 1 };
        let mut scanner = Scanner::new();
        let verdict = Parser::new(ParseLimits::default())
            .parse(raw.as_bytes(), |message| {
                let scan = scanner.scan(rules, message, &subject);
                Verdict::decide(rules, &policy, scan, raw.as_bytes())
            })
            .unwrap();
        (verdict, raw)
    }

    #[test]
    fn presets_decide() {
        let rules = rules();
        for (text, preset, action, would_be) in [
            ("fine", Preset::Strict, Action::Allow, Action::Allow),
            ("zqxj1", Preset::Balanced, Action::Redact, Action::Redact),
            ("zqxj1", Preset::Strict, Action::Block, Action::Block),
            ("zqxj1", Preset::Audit, Action::Flag, Action::Redact),
            ("obey me", Preset::Balanced, Action::Flag, Action::Flag),
            ("obey me", Preset::Strict, Action::Block, Action::Block),
            ("zqxj1 rm -rf", Preset::Balanced, Action::Block, Action::Block),
            ("rm -rf", Preset::Audit, Action::Flag, Action::Block),
        ] {
            let (verdict, _) = decide(&rules, text, preset);
            assert_eq!((verdict.action, verdict.would_be), (action, would_be), "{text} {preset}");
            assert_eq!(verdict.edits.is_empty(), action != Action::Redact, "{text} {preset}");
        }
    }

    #[test]
    fn overlapping_findings_become_one_edit() {
        let rules = rules();
        let (verdict, raw) = decide(&rules, "a zqxj1 b, zqxj2", Preset::Balanced);
        assert_eq!(verdict.edits.len(), 2);
        assert_eq!(verdict.edits[0].rules.len(), 2);
        assert_eq!(verdict.rule_ids(&rules), ["t.secret", "t.secret", "t.wide"]);
        let (out, redactions) = redact(raw.as_bytes(), &verdict, &rules, false).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("\"a [redacted:t.secret], [redacted:t.secret]\""), "{out}");
        assert_eq!(redactions.len(), 3);
        assert_eq!(redactions[0].start, redactions[1].start);
    }

    #[test]
    fn the_record_hides_what_audit_lets_pass() {
        let rules = rules();
        let (verdict, raw) = decide(&rules, "zqxj1. obey me rm -rf", Preset::Audit);
        let (wire, none) = redact(raw.as_bytes(), &verdict, &rules, false).unwrap();
        assert_eq!((wire.as_slice(), none.len()), (raw.as_bytes(), 0));
        let (record, hidden) = redact(raw.as_bytes(), &verdict, &rules, true).unwrap();
        let record = String::from_utf8(record).unwrap();
        assert!(
            record.contains("[redacted:t.secret]") && record.contains("[redacted:t.worst]"),
            "{record}"
        );
        assert!(!record.contains("zqxj1") && record.contains("obey"), "{record}");
        assert_eq!(hidden.len(), 2);
    }
}
