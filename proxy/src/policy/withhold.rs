//! What is blocked of a list is taken out of it: poisoned tools, and definitions that are not
//! approved. The rest stays usable, and byte for byte as it came.

use std::collections::BTreeSet;

use inspect::pin::{ItemKind, places};
use inspect::{Action, Class, Edit};

use super::inspect::Seen;
use crate::snapshot::Snapshot;

/// The edits that take everything out of a list for which its answer is blocked; `None` when the
/// answer is of another method or shape, or what is wrong with it has no place in a list. What is
/// left is judged anew.
pub fn withhold(snapshot: &Snapshot, seen: &Seen) -> Option<Vec<Edit>> {
    let poisoned = match seen.verdict.action {
        Action::Block => poisoned(snapshot, seen)?,
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
fn poisoned(snapshot: &Snapshot, seen: &Seen) -> Option<BTreeSet<usize>> {
    if seen.exchange.as_deref().map(|e| &*e.method) != Some("tools/list") {
        return None;
    }
    let mut poisoned = BTreeSet::new();
    for finding in &seen.verdict.findings {
        let rule = snapshot.rules.rule(finding.rule);
        let datum = matches!(rule.class(), Class::Secret | Class::Pii);
        if datum && rule.action() != Action::Block {
            continue;
        }
        let rest = finding.path.strip_prefix("/result/tools/")?;
        poisoned.insert(rest.split('/').next()?.parse::<usize>().ok()?);
    }
    Some(poisoned)
}
