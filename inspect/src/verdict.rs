//! Findings + policy → what is done with the message.

use crate::compile::{Rule, RuleSet};
use crate::edit::{self, Edit};
use crate::mask::MaskKey;
use crate::rule::{Action, Class, Confidence, Severity, words};
use crate::scan::{Finding, Part, Scan, Standing, Subject};
use crate::score::{self, Thresholds, Window};
use crate::suppress::Suppression;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How findings become actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Secrets of high severity block, and low sums of points do.
    Strict,
    /// Each rule's own action, and sums of points by the thresholds.
    #[default]
    Balanced,
    /// Nothing is changed or refused; findings are recorded.
    Audit,
}

words!(Preset { Strict = "strict", Balanced = "balanced", Audit = "audit" });

/// What a deployment wants of the rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How findings become actions.
    pub preset: Preset,
    /// Rules above this level stay out (1 to 4).
    pub paranoia: u8,
    /// The sum of points that makes a flag, instead of the preset's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag_at: Option<u32>,
    /// The sum of points that blocks, instead of the preset's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_at: Option<u32>,
    /// Findings known to be no harm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suppress: Vec<Suppression>,
    /// What makes placeholders of equal secrets equal; never written.
    #[serde(skip)]
    pub mask: Option<MaskKey>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            preset: Preset::Balanced,
            paranoia: 1,
            flag_at: None,
            block_at: None,
            suppress: Vec::new(),
            mask: None,
        }
    }
}

/// What is done with a message, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is enforced.
    pub action: Action,
    /// What would be, if shadow rules counted and no audit preset softened it.
    pub would_be: Action,
    /// What the wire applies: sorted, disjoint.
    pub edits: Vec<Edit>,
    /// Everything found.
    pub findings: Vec<Finding>,
    /// What each of them asks for, in their order, whether or not it is enforced.
    pub asked: Vec<Action>,
    /// For each of them the highest sum of points of a window it is in, or its own points if it does not add up.
    pub sums: Vec<u32>,
    /// The highest of these sums.
    pub score: u32,
    mask: Option<MaskKey>,
}

impl Verdict {
    /// Decides about one message from its scan.
    #[must_use]
    pub fn decide(
        rules: &RuleSet,
        policy: &Policy,
        subject: &Subject<'_>,
        scan: Scan,
        raw: &[u8],
    ) -> Self {
        let mut findings = scan.findings;
        findings.retain(|finding| rules.rule(finding.rule).paranoia() <= policy.paranoia);
        for finding in &mut findings {
            let suppresses = |one: &Suppression| one.fits(rules, subject, finding, raw);
            if policy.suppress.iter().any(suppresses) {
                finding.standing = Standing::Suppressed;
            }
        }
        let ask = |sums: &[u32]| -> Vec<Action> {
            let each = findings.iter().zip(sums);
            each.map(|(finding, sum)| asked(rules.rule(finding.rule), policy, finding, *sum).0)
                .collect()
        };
        let most = |asked: &[Action], standing: &[Standing]| {
            let each = findings.iter().zip(asked).filter(|(f, _)| standing.contains(&f.standing));
            each.map(|(_, action)| *action).max().unwrap_or(Action::Allow)
        };
        let sums_of = |standing: &[Standing]| {
            score::sums(rules, policy, &findings, |f| standing.contains(&f.standing))
        };
        let mut sums = sums_of(&[Standing::Enforced]);
        let mut asked = ask(&sums);
        let enforced = most(&asked, &[Standing::Enforced]);
        let mut would_be = enforced;
        if findings.iter().any(|finding| finding.standing == Standing::Shadow) {
            sums = sums_of(&[Standing::Enforced, Standing::Shadow]);
            let with_shadows = ask(&sums);
            would_be = most(&with_shadows, &[Standing::Enforced, Standing::Shadow]);
            for ((asked, more), finding) in asked.iter_mut().zip(with_shadows).zip(&findings) {
                if finding.standing == Standing::Shadow {
                    *asked = more;
                }
            }
        }
        let action = match policy.preset {
            Preset::Audit => enforced.min(Action::Flag),
            _ => enforced,
        };
        let edits = match action {
            Action::Redact => {
                let hidden = findings.iter().zip(&asked).filter(|(finding, asked)| {
                    **asked == Action::Redact && finding.standing == Standing::Enforced
                });
                edit::plan(rules, policy.mask.as_ref(), hidden.map(|(finding, _)| finding), raw)
            }
            _ => Vec::new(),
        };
        for (sum, finding) in sums.iter_mut().zip(&findings) {
            if !score::is_summed(rules.rule(finding.rule).class()) {
                *sum = finding.score;
            }
        }
        let counted =
            findings.iter().zip(&sums).filter(|(f, _)| f.standing != Standing::Suppressed);
        let score = counted.map(|(_, sum)| *sum).max().unwrap_or(0);
        Self { action, would_be, edits, findings, asked, sums, score, mask: policy.mask }
    }

    /// The edits that hide every secret and personal datum found, and whatever else is redacted or blocked: for the
    /// recorder, whatever the preset lets pass on the wire.
    #[must_use]
    pub fn record_edits(&self, rules: &RuleSet, raw: &[u8]) -> Vec<Edit> {
        let hidden = self.findings.iter().filter(|finding| {
            let rule = rules.rule(finding.rule);
            matches!(rule.class(), Class::Secret | Class::Pii) || rule.action() >= Action::Redact
        });
        edit::plan(rules, self.mask.as_ref(), hidden, raw)
    }

    /// How this verdict came about, by the same steps; `policy` is the one it was decided by.
    #[must_use]
    pub fn reasons(&self, rules: &RuleSet, policy: &Policy) -> Reasons {
        let windows = |standing: &[Standing]| {
            score::windows(rules, policy, &self.findings, |f| standing.contains(&f.standing))
        };
        let best = |windows: &[Window], at: usize| {
            let of = windows.iter().filter(|w| w.points.iter().any(|(index, _)| *index == at));
            of.map(|window| window.sum).max().unwrap_or(0)
        };
        let enforced = windows(&[Standing::Enforced]);
        let with_shadows = windows(&[Standing::Enforced, Standing::Shadow]);
        let each = self.findings.iter().enumerate();
        let why = each.map(|(at, finding)| {
            let sum = match finding.standing {
                Standing::Shadow => best(&with_shadows, at),
                _ => best(&enforced, at),
            };
            asked(rules.rule(finding.rule), policy, finding, sum).1
        });
        let why = why.collect();
        let points = self.findings.iter().map(|finding| {
            match score::is_summed(rules.rule(finding.rule).class()) {
                true => score::points(finding, Thresholds::of(policy, finding.surface)),
                false => finding.score,
            }
        });
        Reasons { why, points: points.collect(), windows: with_shadows }
    }

    /// The ids of the rules that found something, sorted, with repeats: one for each finding.
    #[must_use]
    pub fn rule_ids<'r>(&self, rules: &'r RuleSet) -> Vec<&'r str> {
        let mut ids: Vec<&str> = self.findings.iter().map(|f| rules.rule(f.rule).id()).collect();
        ids.sort_unstable();
        ids
    }
}

/// Why a finding asks for what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A suppression says that it is no harm.
    Suppressed,
    /// The rule's own action.
    Rule,
    /// `strict` blocks secrets of high severity.
    Strict,
    /// It begins in a message that was forwarded, so that only the rest can be withheld.
    Forwarded,
    /// The sum of its window.
    Sum,
    /// The sum of its window, less what the rule's own action keeps it from.
    FlagAtMost,
    /// A rule that blocks, quoted: a flag, or what the sum says.
    Quoted,
}

words!(Why {
    Suppressed = "suppressed",
    Rule = "rule",
    Strict = "strict",
    Forwarded = "forwarded",
    Sum = "sum",
    FlagAtMost = "flag_at_most",
    Quoted = "quoted",
});

/// How a verdict came about: see [`Verdict::reasons`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reasons {
    /// For each finding, in their order, why it asks for what it does.
    pub why: Vec<Why>,
    /// What each finding adds to a sum, halved when it is quoted; its own points when it adds to none.
    pub points: Vec<u32>,
    /// The windows of what is enforced; when a shadow rule found something, of shadow rules too.
    pub windows: Vec<Window>,
}

/// What a finding asks for under a policy, given the sum of its window, and why.
fn asked(rule: &Rule, policy: &Policy, finding: &Finding, sum: u32) -> (Action, Why) {
    if finding.standing == Standing::Suppressed {
        return (Action::Allow, Why::Suppressed);
    }
    if rule.action() == Action::Allow {
        return (Action::Allow, Why::Rule);
    }
    if !score::is_summed(rule.class()) {
        let strict = policy.preset == Preset::Strict && rule.class() == Class::Secret;
        return match rule.action() {
            _ if strict && rule.severity() >= Severity::High => (Action::Block, Why::Strict),
            // what was forwarded can't be hidden any more
            Action::Redact if finding.part == Part::Earlier => match rule.confidence() {
                Confidence::High => (Action::Block, Why::Forwarded),
                _ => (Action::Flag, Why::Forwarded),
            },
            action => (action, Why::Rule),
        };
    }
    let thresholds = Thresholds::of(policy, finding.surface);
    let by_sum = match sum {
        sum if sum >= thresholds.block => Action::Block,
        sum if sum >= thresholds.flag => Action::Flag,
        _ => Action::Allow,
    };
    match rule.def().action {
        Some(Action::Block) if score::points(finding, thresholds) < finding.score => {
            (by_sum.max(Action::Flag), Why::Quoted)
        }
        Some(Action::Block) => (Action::Block, Why::Rule),
        Some(Action::Redact) if by_sum <= Action::Redact => (Action::Redact, Why::Rule),
        // a signal that adds nothing flags by itself, under every preset
        Some(Action::Flag) if rule.score() == 0 => (Action::Flag, Why::Rule),
        Some(Action::Flag) if policy.preset != Preset::Strict && by_sum > Action::Flag => {
            (Action::Flag, Why::FlagAtMost)
        }
        _ => (by_sum, Why::Sum),
    }
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
            now: 0,
        };
        let policy = Policy { preset, ..Policy::default() };
        let mut scanner = Scanner::new();
        let verdict = Parser::new(ParseLimits::default())
            .parse(raw.as_bytes(), |message| {
                let scan = scanner.scan(rules, message, &subject);
                Verdict::decide(rules, &policy, &subject, scan, raw.as_bytes())
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
