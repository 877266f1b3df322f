//! Findings → sums of points in windows. One weak sign says little; several close together say much.

use crate::compile::RuleSet;
use crate::rule::Class;
use crate::scan::Finding;
use crate::surface::Surface;
use crate::verdict::{Policy, Preset};
use std::collections::{BTreeMap, HashMap};

/// Raw bytes within which findings add up.
const WINDOW: usize = 600;

/// The sums from which something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) flag: u32,
    pub(crate) block: u32,
}

impl Thresholds {
    /// Those of a surface. Tool definitions have the lower ones: nobody quotes an attack there.
    pub(crate) fn of(policy: &Policy, surface: Surface) -> Self {
        let less = u32::from(policy.paranoia.clamp(1, 4) - 1);
        let (flag, block) = match (policy.preset, is_tool(surface)) {
            (Preset::Strict, _) => (2, 4),
            (_, true) => (3, 8 - less.min(2)),
            (_, false) => (4, 10 - less),
        };
        Self { flag: policy.flag_at.unwrap_or(flag), block: policy.block_at.unwrap_or(block) }
    }
}

fn is_tool(surface: Surface) -> bool {
    matches!(surface, Surface::ToolDescription | Surface::ToolSchema | Surface::ToolDefinition)
}

/// Whether findings of this class add up, instead of each deciding for itself.
pub(crate) fn is_summed(class: Class) -> bool {
    !matches!(class, Class::Secret | Class::Pii)
}

/// What a finding adds: half of it inside quotes, if the rule says so, but never less than makes a flag.
pub(crate) fn points(finding: &Finding, thresholds: Thresholds) -> u32 {
    if !finding.quoted || is_tool(finding.surface) {
        return finding.score;
    }
    let half = finding.score / 2;
    if finding.score >= thresholds.flag { half.max(thresholds.flag) } else { half }
}

/// For each finding: the highest sum of a window it is in. Findings of one rule count once in a window; those that
/// `counts` leaves out have 0. Windows are within one surface, in tool definitions within one tool.
pub(crate) fn sums(
    rules: &RuleSet,
    policy: &Policy,
    findings: &[Finding],
    counts: impl Fn(&Finding) -> bool,
) -> Vec<u32> {
    let mut groups: BTreeMap<(Surface, &str), Vec<usize>> = BTreeMap::new();
    for (index, finding) in findings.iter().enumerate() {
        if is_summed(rules.rule(finding.rule).class()) && counts(finding) {
            groups.entry(group(finding)).or_default().push(index);
        }
    }
    let start = |index: usize| {
        findings.get(index).and_then(|f| f.spans.first()).map_or(0, |span| span.start)
    };
    let mut best = vec![0_u32; findings.len()];
    let mut in_window = HashMap::new();
    for mut group in groups.into_values() {
        group.sort_by_key(|index| start(*index));
        let mut reached = 0;
        for (at, first) in group.iter().enumerate() {
            let rest = group.get(at..).unwrap_or(&[]);
            let len = rest.partition_point(|index| start(*index) <= start(*first) + WINDOW);
            if at + len <= reached {
                // part of the window before it
                continue;
            }
            reached = at + len;
            let window = rest.get(..len).unwrap_or(&[]);
            in_window.clear();
            for finding in window.iter().filter_map(|index| findings.get(*index)) {
                let points = points(finding, Thresholds::of(policy, finding.surface));
                let most = in_window.entry(finding.rule).or_insert(0);
                *most = points.max(*most);
            }
            let sum = in_window.values().fold(0_u32, |sum, points| sum.saturating_add(*points));
            for index in window {
                if let Some(best) = best.get_mut(*index) {
                    *best = sum.max(*best);
                }
            }
        }
    }
    best
}

/// What findings may add up with: those of one surface; in tool definitions those of the same tool.
fn group(finding: &Finding) -> (Surface, &str) {
    if !is_tool(finding.surface) {
        return (finding.surface, "");
    }
    // `/result/tools/3/…`: the fourth slash ends the tool
    let end = finding.path.match_indices('/').nth(3).map_or(finding.path.len(), |(at, _)| at);
    (Surface::ToolDefinition, finding.path.get(..end).unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::{Thresholds, points, sums};
    use crate::compile::RuleIx;
    use crate::message::ValueKind;
    use crate::rule::View;
    use crate::scan::{Finding, Part, Span, Standing};
    use crate::surface::Surface;
    use crate::{Policy, Preset, RuleFile, RuleSet};
    use smallvec::smallvec;

    fn rules() -> RuleSet {
        let rule = |id: &str| {
            format!(
                "- id: t.{id}\n  title: t\n  class: injection\n  severity: low\n  pattern: '{id}{id}'\n  docs: {{finds: f, why: w}}\n  tests: {{match: [], no_match: []}}\n"
            )
        };
        let text = format!("rules:\n{}{}", rule("aaaa"), rule("bbbb"));
        RuleSet::compile_unchecked(&[RuleFile { name: "t.yaml", text: &text }]).unwrap()
    }

    fn finding(rule: u32, start: usize, score: u32, path: &str, surface: Surface) -> Finding {
        Finding {
            rule: RuleIx(rule),
            spans: smallvec![Span { start, end: start + 4 }],
            surface,
            path: path.to_owned(),
            in_key: false,
            kind_of_value: ValueKind::String,
            score,
            view: View::Raw,
            quoted: false,
            part: Part::This,
            standing: Standing::Enforced,
        }
    }

    #[test]
    fn different_rules_add_up_within_a_window() {
        let rules = rules();
        let text = |rule, start, score| finding(rule, start, score, "/x", Surface::ResultText);
        let sum = |findings: &[Finding]| sums(&rules, &Policy::default(), findings, |_| true);
        assert_eq!(sum(&[text(0, 0, 4), text(1, 600, 3)]), [7, 7]);
        assert_eq!(sum(&[text(0, 0, 4), text(1, 601, 3)]), [4, 3]);
        assert_eq!(sum(&[text(0, 0, 4), text(0, 10, 5)]), [5, 5], "one rule counts once");
        assert_eq!(
            sum(&[text(0, 0, 4), text(1, 500, 3), text(0, 1000, 9)]),
            [7, 12, 12],
            "the best window of each"
        );
    }

    #[test]
    fn tools_and_surfaces_are_kept_apart() {
        let rules = rules();
        let description = Surface::ToolDescription;
        let found = [
            finding(0, 0, 4, "/result/tools/0/description", description),
            finding(1, 10, 3, "/result/tools/0/inputSchema/a", Surface::ToolSchema),
            finding(1, 20, 3, "/result/tools/1/description", description),
            finding(1, 30, 3, "/result/content/0/text", Surface::ResultText),
        ];
        assert_eq!(sums(&rules, &Policy::default(), &found, |_| true), [7, 7, 3, 3]);
        assert_eq!(sums(&rules, &Policy::default(), &found, |f| f.score == 3), [0, 3, 3, 3]);
    }

    #[test]
    fn quotes_count_half_but_never_below_a_flag_and_never_in_tools() {
        let at = Thresholds { flag: 4, block: 10 };
        let quoted = |score, surface| Finding { quoted: true, ..finding(0, 0, score, "", surface) };
        assert_eq!(points(&quoted(10, Surface::ResultText), at), 5);
        assert_eq!(points(&quoted(6, Surface::ResultText), at), 4);
        assert_eq!(points(&quoted(3, Surface::ResultText), at), 1);
        assert_eq!(points(&quoted(10, Surface::ToolDescription), at), 10);
    }

    #[test]
    fn thresholds_fall_with_wariness() {
        let of = |preset, paranoia, surface| {
            let at = Thresholds::of(&Policy { preset, paranoia, ..Policy::default() }, surface);
            (at.flag, at.block)
        };
        assert_eq!(of(Preset::Balanced, 1, Surface::ResultText), (4, 10));
        assert_eq!(of(Preset::Audit, 4, Surface::ResultText), (4, 7));
        assert_eq!(of(Preset::Balanced, 1, Surface::ToolDescription), (3, 8));
        assert_eq!(of(Preset::Balanced, 4, Surface::ToolSchema), (3, 6));
        assert_eq!(of(Preset::Strict, 1, Surface::ResultText), (2, 4));
        let own = Policy { flag_at: Some(1), block_at: Some(99), ..Policy::default() };
        assert_eq!(Thresholds::of(&own, Surface::ToolSchema), Thresholds { flag: 1, block: 99 });
    }
}
