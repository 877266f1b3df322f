//! What is blocked of a list is taken out of it: poisoned tools, and definitions that are not
//! approved. The rest stays usable, and byte for byte as it came.

use std::collections::BTreeSet;

use inspect::pin::{ItemKind, places};
use inspect::{Action, Edit, Standing};

use super::inspect::Seen;

/// The edits that take everything out of a list for which its answer is blocked; `None` when the
/// answer is of another method or shape, or what is wrong with it has no place in a list. What is
/// left is judged anew.
pub fn withhold(seen: &Seen) -> Option<Vec<Edit>> {
    let poisoned = match seen.verdict.action {
        Action::Block => poisoned(seen)?,
        _ => BTreeSet::new(),
    };
    let unapproved = &seen.pins.left_out;
    if seen.pins.action == Action::Block && unapproved.is_empty() {
        return None;
    }
    let method = seen.exchange.as_deref().map(|asked| &*asked.method);
    let mut edits = Vec::new();
    for (kind, items) in places(&seen.envelope.raw, method).ok()? {
        let is_poisoned = |n: usize| kind == ItemKind::Tool && poisoned.contains(&n);
        let is_unapproved =
            |n: usize| items.get(n).is_some_and(|item| unapproved.contains(&item.start));
        edits.extend(inspect::leave_out(&items, |n| is_poisoned(n) || is_unapproved(n)));
    }
    // Lists of several kinds stand in any order.
    edits.sort_by_key(|edit| edit.span);
    (!edits.is_empty()).then_some(edits)
}

/// The tools of a `tools/list` answer that are poisoned, by their number; `None` when a rule
/// blocks it for anything else.
fn poisoned(seen: &Seen) -> Option<BTreeSet<usize>> {
    if seen.exchange.as_deref().map(|e| &*e.method) != Some("tools/list") {
        return None;
    }
    let mut poisoned = BTreeSet::new();
    for (finding, asked) in seen.verdict.findings.iter().zip(&seen.verdict.asked) {
        if *asked != Action::Block || finding.standing != Standing::Enforced {
            continue;
        }
        let rest = finding.path.strip_prefix("/result/tools/")?;
        poisoned.insert(rest.split('/').next()?.parse::<usize>().ok()?);
    }
    Some(poisoned)
}
