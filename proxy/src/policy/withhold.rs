//! A poisoned tool definition is taken out of its list; the other tools stay usable.

use std::collections::BTreeSet;

use inspect::{Action, Edit, Span, Standing};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::inspect::Seen;

/// The edit that takes every poisoned tool out of a blocked `tools/list` answer; `None` when the
/// answer is of another method or shape, or no tool can be named. What is left is judged anew.
pub fn withhold(seen: &Seen) -> Option<Edit> {
    if seen.exchange.as_deref().map(|e| &*e.method) != Some("tools/list") {
        return None;
    }
    let mut edit = Edit {
        span: Span { start: 0, end: 0 },
        replacement: Box::default(),
        rules: Default::default(),
    };
    let mut poisoned = BTreeSet::new();
    for (finding, asked) in seen.verdict.findings.iter().zip(&seen.verdict.asked) {
        if *asked != Action::Block || finding.standing != Standing::Enforced {
            continue;
        }
        let rest = finding.path.strip_prefix("/result/tools/")?;
        poisoned.insert(rest.split('/').next()?.parse::<usize>().ok()?);
        edit.rules.push(finding.rule);
    }
    let text = std::str::from_utf8(&seen.envelope.raw).ok()?;
    let answer: Answer<'_> = serde_json::from_str(text).ok()?;
    let tools = &answer.result.tools;
    let (first, last) = (tools.first()?.get(), tools.last()?.get());
    // Slices of one text: their distance is their place in it.
    let base = text.as_ptr() as usize;
    edit.span.start = first.as_ptr() as usize - base;
    edit.span.end = last.as_ptr() as usize - base + last.len();
    let left =
        tools.iter().enumerate().filter(|(n, _)| !poisoned.contains(n)).map(|(_, tool)| tool.get());
    edit.replacement = left.collect::<Vec<_>>().join(",").into_bytes().into();
    Some(edit)
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
