//! Findings → sums of points in windows. One weak sign says little; several close together say much.

use crate::compile::{RuleIx, RuleSet};
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

/// Findings that add up, being close to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The surface they are on; of tool definitions, all of one tool are one.
    pub surface: Surface,
    /// Its findings, by their index, and what each adds: of those of one rule only the greatest adds anything.
    pub points: Vec<(usize, u32)>,
    /// What they come to.
    pub sum: u32,
    /// The sum that makes a flag.
    pub flag: u32,
    /// The sum that blocks.
    pub block: u32,
}

/// For each finding: the highest sum of a window it is in; 0 for those that `counts` leaves out.
pub(crate) fn sums(
    rules: &RuleSet,
    policy: &Policy,
    findings: &[Finding],
    counts: impl Fn(&Finding) -> bool,
) -> Vec<u32> {
    let mut best = vec![0_u32; findings.len()];
    for window in windows(rules, policy, findings, counts) {
        for (index, _) in window.points {
            if let Some(best) = best.get_mut(index) {
                *best = window.sum.max(*best);
            }
        }
    }
    best
}

/// The windows that findings add up in. Findings of one rule count once in a window; those that `counts` leaves out are
/// in none. Windows are within one surface, in tool definitions within one tool.
pub(crate) fn windows(
    rules: &RuleSet,
    policy: &Policy,
    findings: &[Finding],
    counts: impl Fn(&Finding) -> bool,
) -> Vec<Window> {
    let mut groups: BTreeMap<(Surface, &str), Vec<usize>> = BTreeMap::new();
    for (index, finding) in findings.iter().enumerate() {
        if is_summed(rules.rule(finding.rule).class()) && counts(finding) {
            groups.entry(group(finding)).or_default().push(index);
        }
    }
    let start = |index: usize| {
        findings.get(index).and_then(|f| f.spans.first()).map_or(0, |span| span.start)
    };
    let mut windows = Vec::new();
    for ((surface, _), mut group) in groups {
        group.sort_by_key(|index| start(*index));
        let thresholds = Thresholds::of(policy, surface);
        let mut reached = 0;
        for (at, first) in group.iter().enumerate() {
            let rest = group.get(at..).unwrap_or(&[]);
            let len = rest.partition_point(|index| start(*index) <= start(*first) + WINDOW);
            if at + len <= reached {
                // part of the window before it
                continue;
            }
            reached = at + len;
            let points = counted(findings, rest.get(..len).unwrap_or(&[]), thresholds);
            let sum = points.iter().fold(0_u32, |sum, (_, points)| sum.saturating_add(*points));
            let Thresholds { flag, block } = thresholds;
            windows.push(Window { surface, points, sum, flag, block });
        }
    }
    windows
}

/// What each finding of a window adds: the first of a rule's greatest all of its points, the others nothing.
fn counted(findings: &[Finding], window: &[usize], at: Thresholds) -> Vec<(usize, u32)> {
    let mut most: HashMap<RuleIx, (usize, u32)> = HashMap::new();
    let mut counted = Vec::with_capacity(window.len());
    for index in window {
        let Some(finding) = findings.get(*index) else { continue };
        let points = points(finding, at);
        counted.push((*index, 0));
        let place = counted.len() - 1;
        let best = most.entry(finding.rule).or_insert((place, 0));
        if points > best.1 {
            *best = (place, points);
        }
    }
    for (place, points) in most.into_values() {
        if let Some((_, slot)) = counted.get_mut(place) {
            *slot = points;
        }
    }
    counted
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
            around: (0, 0),
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
