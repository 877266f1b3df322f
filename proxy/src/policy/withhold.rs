//! A poisoned tool definition is taken out of its list; the other tools stay usable.

use inspect::{Action, Edit, Span};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::inspect::Seen;
use crate::snapshot::Snapshot;

/// The edits that take every tool with a blocking finding out of a `tools/list` answer; `None`
/// when something else in it is to be blocked, or the answer has another shape.
pub fn withhold(snapshot: &Snapshot, seen: &Seen) -> Option<Vec<Edit>> {
    if seen.exchange.as_deref().map(|e| &*e.method) != Some("tools/list") {
        return None;
    }
    let mut poisoned: Vec<(usize, inspect::RuleIx)> = Vec::new();
    let mut lesser = false;
    for finding in &seen.verdict.findings {
        let rest = finding.path.strip_prefix("/result/tools/");
        let index = rest.and_then(|rest| rest.split('/').next()).and_then(|n| n.parse().ok());
        match index {
            Some(index) => poisoned.push((index, finding.rule)),
            None => lesser = true,
        }
    }
    let asked = |rule| snapshot.policy.action_of(snapshot.rules.rule(rule));
    poisoned.retain(|(_, rule)| asked(*rule) == Action::Block);
    if poisoned.is_empty() || lesser {
        return None;
    }
    poisoned.sort_unstable_by_key(|(index, _)| *index);
    poisoned.dedup_by_key(|(index, _)| *index);
    let tools = spans(&seen.envelope.raw)?;
    poisoned.iter().map(|(index, rule)| cut(&tools, *index, *rule)).collect()
}

/// One element goes with the comma after it, the last with the comma before it.
fn cut(tools: &[Span], index: usize, rule: inspect::RuleIx) -> Option<Edit> {
    let tool = tools.get(index)?;
    let start = match index.checked_sub(1) {
        Some(before) => tools[before].end,
        None => tool.start,
    };
    let end = match (index, tools.get(index + 1)) {
        (0, Some(next)) => next.start,
        _ => tool.end,
    };
    Some(Edit { span: Span { start, end }, replacement: Box::default(), rules: [rule].into_iter().collect() })
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Tools<'a>,
}

#[derive(Deserialize)]
struct Tools<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

/// Where each tool stands in the raw bytes.
fn spans(raw: &[u8]) -> Option<Vec<Span>> {
    let text = std::str::from_utf8(raw).ok()?;
    let answer: Answer<'_> = serde_json::from_str(text).ok()?;
    let base = text.as_ptr() as usize;
    let span = |tool: &&RawValue| {
        let start = tool.get().as_ptr() as usize - base;
        Span { start, end: start + tool.get().len() }
    };
    Some(answer.result.tools.iter().map(span).collect())
}
