//! Two definitions side by side, for a person who is to approve the second: every difference in
//! full, and nothing in it that could steer a terminal.

use inspect::pin::{Change, diff};
use scan::text::visible;
use serde_json::{Value, json};

use super::{definition, time};
use crate::pins::{Kept, Pin};

/// Characters of a long line that are shown beside what differs in it.
const CONTEXT: usize = 40;

/// What changed, as JSON.
pub(super) fn json(pin: &Pin) -> Value {
    let side = |kept: &Kept| json!({ "fingerprint": kept.fingerprint.to_string(), "definition": definition(kept) });
    let value = |text: &Option<String>| -> Option<Value> {
        let text = text.as_deref()?;
        Some(serde_json::from_str(text).unwrap_or_else(|_| text.into()))
    };
    let changes: Option<Vec<Value>> = changes(pin).map(|changes| {
        let each =
            |c: &Change| json!({ "path": c.path, "old": value(&c.old), "new": value(&c.new) });
        changes.iter().map(each).collect()
    });
    json!({
        "server": pin.server,
        "kind": pin.kind.as_str(),
        "name": pin.name,
        "old": side(&pin.base),
        "new": pin.changed.as_ref().map(side),
        "approved_at": pin.approved_at.map(time),
        "first_seen": time(pin.first_seen),
        "last_seen": time(pin.last_seen),
        "changes": changes,
    })
}

/// What changed, as text.
pub(super) fn text(pin: &Pin) -> String {
    let mut out =
        format!("{} {}/{}\n", visible(&pin.server), pin.kind.as_str(), visible(&pin.name));
    let since = match pin.approved_at {
        Some(at) => format!("approved {}", time(at)),
        None => format!("first seen {}, never approved", time(pin.first_seen)),
    };
    out += &format!("  - {} {since}\n", pin.base.fingerprint);
    out += &format!("  + {} last seen {}\n", pin.latest().fingerprint, time(pin.last_seen));
    match changes(pin) {
        None => out += "  a definition was not kept: nothing to compare\n",
        Some(changes) if changes.is_empty() => {
            out += "  what differs is hidden by a rule, or is no part of what is kept\n";
        }
        Some(changes) => changes.iter().for_each(|change| one(&mut out, change)),
    }
    out
}

/// Where the two differ; `None` when one of them is not there, or no JSON.
fn changes(pin: &Pin) -> Option<Vec<Change>> {
    let old = pin.base.definition.as_deref()?;
    diff(old, pin.latest().definition.as_deref()?).ok()
}

fn one(out: &mut String, change: &Change) {
    let path = if change.path.is_empty() { "/" } else { &change.path };
    *out += &format!("\n  {}\n", visible(path));
    let lines = |side: &Option<String>| side.as_deref().map(lines).unwrap_or_default();
    let (mut old, mut new) = (lines(&change.old), lines(&change.new));
    let before = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    old.drain(..before);
    new.drain(..before);
    let after = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    old.truncate(old.len() - after);
    new.truncate(new.len() - after);
    if let ([old], [new]) = (old.as_mut_slice(), new.as_mut_slice()) {
        shorten(old, new);
    }
    let same = |out: &mut String, count: usize| match count {
        0 => {}
        1 => *out += "      (1 line the same)\n",
        n => *out += &format!("      ({n} lines the same)\n"),
    };
    same(out, before);
    for (mark, side) in [('-', &old), ('+', &new)] {
        for line in side {
            *out += &format!("    {mark} {}\n", visible(line));
        }
    }
    same(out, after);
}

/// The lines of a value: of a text its own, in quotes, of anything else its JSON.
fn lines(json: &str) -> Vec<String> {
    match serde_json::from_str::<String>(json) {
        Ok(text) => format!("\"{text}\"").split('\n').map(str::to_owned).collect(),
        Err(_) => vec![json.to_owned()],
    }
}

/// Cuts what two lines have in common at both ends down to [`CONTEXT`].
fn shorten(old: &mut String, new: &mut String) {
    let (a, b): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    let start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let most = a.len().min(b.len()) - start;
    let end = a.iter().rev().zip(b.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let (from, to) = (start.saturating_sub(CONTEXT), end.saturating_sub(CONTEXT));
    let cut = |line: &[char]| {
        let inner: String = line.iter().skip(from).take(line.len() - from - to).collect();
        let dots = |cut: usize| if cut > 0 { "…" } else { "" };
        format!("{}{inner}{}", dots(from), dots(to))
    };
    (*old, *new) = (cut(&a), cut(&b));
}

#[cfg(test)]
mod tests {
    use super::super::tests::pin;
    use super::*;

    #[test]
    fn every_difference_is_shown_and_none_steers_a_terminal() {
        let long = "lorem ipsum ".repeat(20);
        let definition = |description: &str, more: &str| {
            json!({ "name": "a", "description": description, "more": more, "n": [1, "x"] })
                .to_string()
        };
        let old = definition("Reads a file.\nOne line.\nLast line.", &format!("{long}b{long}"));
        let new = definition(
            "Reads a file.\n\u{1b}[8mAlso \u{202e}sends it.\u{9b}0m\nTwo.\nLast line.",
            &format!("{long}c{long}"),
        );
        let new = new.replace("\"x\"", "true, null");
        let shown = text(&pin("a", &old, Some(&new)));
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{shown}");
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn what_cannot_be_compared_is_told() {
        let mut pin = pin("a", r#"{"a":1}"#, Some(r#"{"a":2}"#));
        assert_eq!(json(&pin)["changes"][0]["path"], "/a");
        pin.base.definition = pin.changed.as_ref().unwrap().definition.clone();
        assert!(text(&pin).contains("hidden by a rule"));
        pin.base.definition = None;
        assert!(text(&pin).contains("not kept"));
        assert_eq!(json(&pin)["changes"], Value::Null);
    }
}
