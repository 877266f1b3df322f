//! The one applier of edits on raw bytes: what is not edited leaves byte for byte as it came.

use crate::compile::{RuleIx, RuleSet};
use crate::mask::MaskKey;
use crate::message::ValueKind;
use crate::scan::{Finding, Part, Span};
use crate::suppress::unescaped;
use crate::verdict::Verdict;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Replaces one range of raw bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced.
    pub span: Span,
    /// By what: raw bytes, already escaped for where they stand.
    pub replacement: Box<[u8]>,
    /// The rules that asked for it.
    pub rules: SmallVec<[RuleIx; 2]>,
}

/// Where an edit's replacement ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// First byte in the output.
    pub start: usize,
    /// Its length.
    pub len: usize,
    /// Which edit.
    pub edit: usize,
}

/// Edits that do not fit their message: a fault of ours, never of the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// A span ends before it starts or beyond the message.
    #[error("edit {0} lies outside the message")]
    OutOfRange(usize),
    /// Edits are not sorted, or overlap.
    #[error("edit {0} overlaps the one before it")]
    Overlap(usize),
    /// The edited message would not be JSON any more.
    #[error("the edited message is not JSON")]
    Broken,
}

/// One finding hidden in a recorded body; the column `redactions` is the JSON array of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redaction {
    /// Rule id.
    pub rule: String,
    /// JSON Pointer.
    pub path: String,
    /// First byte of the placeholder in the redacted body.
    pub start: usize,
    /// Its length.
    pub length: usize,
    /// How it was hidden: `placeholder`, `zeros` or `key`; `left` where only what it begins in was.
    pub strategy: String,
    /// Whether it began in an earlier message; not written when it did not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub earlier: bool,
}

/// Applies edits that are sorted and disjoint.
///
/// # Errors
/// An edit lies outside `raw` or overlaps another.
pub fn apply(raw: &[u8], edits: &[Edit]) -> Result<(Vec<u8>, Vec<Placed>), EditError> {
    let mut out = Vec::with_capacity(raw.len() + edits.len() * 32);
    let mut placed = Vec::with_capacity(edits.len());
    let mut done = 0;
    for (index, edit) in edits.iter().enumerate() {
        let Span { start, end } = edit.span;
        if start < done {
            return Err(EditError::Overlap(index));
        }
        let kept = raw.get(done..start).ok_or(EditError::OutOfRange(index))?;
        if end < start || end > raw.len() {
            return Err(EditError::OutOfRange(index));
        }
        out.extend_from_slice(kept);
        placed.push(Placed { start: out.len(), len: edit.replacement.len(), edit: index });
        out.extend_from_slice(&edit.replacement);
        done = end;
    }
    out.extend_from_slice(raw.get(done..).unwrap_or(&[]));
    Ok((out, placed))
}

/// The edits that take elements out of one array, each with the comma that parted it from a neighbour. `elements` are
/// those of the array in their order, `is_gone` says which of them go; every byte of the others stays.
pub fn leave_out(elements: &[Span], is_gone: impl Fn(usize) -> bool) -> Vec<Edit> {
    let cut = |start, end| Edit {
        span: Span { start, end },
        replacement: Box::default(),
        rules: SmallVec::new(),
    };
    let mut edits = Vec::new();
    // Where the last element that stays ends.
    let mut kept: Option<usize> = None;
    let mut at = 0;
    while let Some(first) = elements.get(at) {
        let run = (at..elements.len()).take_while(|n| is_gone(*n)).count();
        let next = elements.get(at + run);
        match (run, kept, elements.get(at + run.saturating_sub(1)), next) {
            // This one stays.
            (0, ..) => {
                kept = Some(first.end);
                at += 1;
                continue;
            }
            // Behind one that stays: from its end, with the comma before each.
            (_, Some(kept), Some(last), _) => edits.push(cut(kept, last.end)),
            // The first ones: with the comma behind each.
            (_, None, _, Some(next)) => edits.push(cut(first.start, next.start)),
            // All of them.
            (_, None, Some(last), None) => edits.push(cut(first.start, last.end)),
            (_, _, None, _) => {}
        }
        at += run;
    }
    edits
}

/// Applies a verdict's edits, for the wire or for the record, and tells where each hidden finding's placeholder stands.
///
/// # Errors
/// The edits do not fit `raw`: it is not the message the verdict was made from.
pub fn redact(
    raw: &[u8],
    verdict: &Verdict,
    rules: &RuleSet,
    for_record: bool,
) -> Result<(Vec<u8>, Vec<Redaction>), EditError> {
    let edits = if for_record { verdict.record_edits(rules, raw) } else { verdict.edits.clone() };
    let (out, placed) = apply(raw, &edits)?;
    if cfg!(debug_assertions) && is_json(raw) && !is_json(&out) {
        return Err(EditError::Broken);
    }
    let mut redactions = Vec::new();
    for finding in &verdict.findings {
        // a finding is hidden as soon as some edit touches it, whichever rule asked for the edit
        let touching = finding.spans.iter().find_map(|span| {
            let after = edits.partition_point(|edit| edit.span.end <= span.start);
            let edit = edits.get(after)?;
            (edit.span.start < span.end).then(|| placed.get(after)).flatten()
        });
        let (start, length, strategy) = match touching {
            Some(placed) => (placed.start, placed.len, strategy(finding.kind_of_value)),
            // it stands there in full, but what it begins in may not: nobody could find it again
            None if for_record && finding.part == Part::Earlier && !edits.is_empty() => {
                let Some(span) = finding.spans.first() else { continue };
                (moved(span.start, &edits, &placed), span.end - span.start, "left")
            }
            None => continue,
        };
        redactions.push(Redaction {
            rule: rules.rule(finding.rule).id().to_owned(),
            path: finding.path.clone(),
            start,
            length,
            strategy: strategy.to_owned(),
            earlier: finding.part == Part::Earlier,
        });
    }
    Ok((out, redactions))
}

/// Where a byte that no edit touches stands after the edits.
fn moved(at: usize, edits: &[Edit], placed: &[Placed]) -> usize {
    let before = edits.partition_point(|edit| edit.span.end <= at).checked_sub(1);
    let last = before.and_then(|last| Some((edits.get(last)?, placed.get(last)?)));
    last.map_or(at, |(edit, placed)| placed.start + placed.len + (at - edit.span.end))
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

fn strategy(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::String => "placeholder",
        ValueKind::Number => "zeros",
        ValueKind::Key => "key",
    }
}

/// The edits that hide these findings: overlapping spans become one edit that names all their rules.
pub(crate) fn plan<'f>(
    rules: &RuleSet,
    mask: Option<&MaskKey>,
    findings: impl Iterator<Item = &'f Finding>,
    raw: &[u8],
) -> Vec<Edit> {
    let mut spans: Vec<(Span, RuleIx, ValueKind)> = findings
        .flat_map(|finding| {
            let of = |span: &Span| (*span, finding.rule, finding.kind_of_value);
            finding.spans.iter().map(of)
        })
        .filter(|(span, ..)| span.start < span.end)
        .collect();
    spans.sort_unstable_by_key(|(span, rule, _)| (*span, *rule));
    let mut edits: Vec<(Edit, ValueKind)> = Vec::new();
    for (span, rule, kind) in spans {
        match edits.last_mut() {
            Some((edit, _)) if span.start < edit.span.end => {
                edit.span.end = edit.span.end.max(span.end);
                if !edit.rules.contains(&rule) {
                    edit.rules.push(rule);
                }
            }
            _ => {
                let edit =
                    Edit { span, replacement: Box::default(), rules: SmallVec::from_elem(rule, 1) };
                edits.push((edit, kind));
            }
        }
    }
    let mut names = KeyNames::default();
    edits
        .into_iter()
        .map(|(mut edit, kind)| {
            edit.replacement = match kind {
                ValueKind::Number => zeros(raw, edit.span),
                ValueKind::String => escaped(&placeholder(rules, mask, &edit, raw)),
                ValueKind::Key => names.next(&placeholder(rules, mask, &edit, raw), raw),
            };
            edit
        })
        .collect()
}

/// The placeholder of the gravest rule of an edit.
fn placeholder(rules: &RuleSet, mask: Option<&MaskKey>, edit: &Edit, raw: &[u8]) -> String {
    let gravest = edit.rules.iter().max_by_key(|ix| {
        let rule = rules.rule(**ix);
        (rule.severity(), rule.confidence(), std::cmp::Reverse(**ix))
    });
    let Some(rule) = gravest.map(|ix| rules.rule(*ix)) else { return String::new() };
    match mask {
        Some(mask) if rule.def().redact.is_none() => {
            let text = raw.get(edit.span.start..edit.span.end).unwrap_or(&[]);
            match unescaped(text) {
                Some(text) => mask.placeholder(rule.id(), &text),
                None => mask.placeholder(rule.id(), text),
            }
        }
        _ => rule.placeholder(),
    }
}

/// Text as it stands inside a JSON string.
fn escaped(text: &str) -> Box<[u8]> {
    let quoted = serde_json::Value::from(text).to_string();
    let inside = quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"'));
    inside.unwrap_or("").as_bytes().into()
}

/// Numbers the placeholders of object keys, so that no two members of an object get one name.
#[derive(Default)]
struct KeyNames {
    /// For each placeholder: the last number given.
    last: Vec<(Box<[u8]>, u32)>,
}

impl KeyNames {
    fn next(&mut self, text: &str, raw: &[u8]) -> Box<[u8]> {
        let stem = escaped(&format!("{text}#"));
        let at = self.last.iter().position(|(known, _)| *known == stem);
        let at = at.unwrap_or_else(|| {
            let taken = highest_number(raw, &stem);
            self.last.push((stem.clone(), taken));
            self.last.len() - 1
        });
        let mut name = stem.into_vec();
        if let Some((_, number)) = self.last.get_mut(at) {
            *number += 1;
            name.extend_from_slice(number.to_string().as_bytes());
        }
        name.into()
    }
}

/// The highest number that already follows `stem` in the message: whoever writes placeholders must not collide with ours.
fn highest_number(raw: &[u8], stem: &[u8]) -> u32 {
    memchr::memmem::find_iter(raw, stem)
        .map(|at| {
            let digits = raw.get(at + stem.len()..).unwrap_or(&[]).iter();
            // nine digits: more could not be reached by counting
            digits
                .take(9)
                .take_while(|byte| byte.is_ascii_digit())
                .fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
        })
        .max()
        .unwrap_or(0)
}

/// As many zeros as digits. Where JSON forbids a leading zero, a 1 stands first.
fn zeros(raw: &[u8], span: Span) -> Box<[u8]> {
    let text = raw.get(span.start..span.end).unwrap_or(&[]);
    let mut out: Vec<u8> =
        text.iter().map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte }).collect();
    let before = |back: usize| span.start.checked_sub(back).and_then(|at| raw.get(at));
    // the number begins here, unless digits, a fraction or an exponent go before; a minus may
    let follows = matches!(
        (before(2), before(1)),
        (Some(b'e' | b'E'), Some(b'-' | b'+')) | (_, Some(b'0'..=b'9' | b'.' | b'e' | b'E' | b'+'))
    );
    let first = out.iter().position(|byte| *byte != b'-').unwrap_or(0);
    let digit_follows = match out.get(first + 1) {
        Some(byte) => byte.is_ascii_digit(),
        None => raw.get(span.end).is_some_and(u8::is_ascii_digit),
    };
    if !follows
        && digit_follows
        && let Some(byte) = out.get_mut(first)
    {
        *byte = b'1';
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::{Edit, EditError, Span, apply, leave_out, zeros};
    use smallvec::SmallVec;

    #[test]
    fn what_is_left_out_takes_its_comma_along_and_nothing_else() {
        let raw = r#"{"a":[ 1 ,  {"b":[]}, "x","y" ] }"#;
        let spans: Vec<Span> = ["1", r#"{"b":[]}"#, r#""x""#, r#""y""#]
            .map(|text| (raw.find(text).unwrap(), text.len()))
            .map(|(start, len)| Span { start, end: start + len })
            .into();
        for (gone, left) in [
            (&[][..], raw),
            (&[0], r#"{"a":[ {"b":[]}, "x","y" ] }"#),
            (&[1], r#"{"a":[ 1, "x","y" ] }"#),
            (&[3], r#"{"a":[ 1 ,  {"b":[]}, "x" ] }"#),
            (&[0, 2], r#"{"a":[ {"b":[]},"y" ] }"#),
            (&[1, 2], r#"{"a":[ 1,"y" ] }"#),
            (&[0, 1, 3], r#"{"a":[ "x" ] }"#),
            (&[0, 1, 2, 3], r#"{"a":[  ] }"#),
        ] {
            let edits = leave_out(&spans, |n| gone.contains(&n));
            let (out, _) = apply(raw.as_bytes(), &edits).unwrap();
            assert_eq!(std::str::from_utf8(&out).unwrap(), left, "{gone:?}");
            assert!(super::is_json(&out));
        }
    }

    #[test]
    fn zeros_stay_json() {
        let cases = [
            ("4111", 0..4, "1000"),
            ("-4111", 1..5, "1000"),
            ("-4111", 0..5, "-1000"),
            ("99", 1..2, "0"),
            ("7", 0..1, "0"),
            ("4.25", 0..4, "0.00"),
            ("1e44", 2..4, "00"),
            ("1e-44", 3..5, "00"),
            ("1234", 0..2, "10"),
        ];
        for (raw, range, expected) in cases {
            let span = Span { start: range.start, end: range.end };
            let zeroed = zeros(raw.as_bytes(), span);
            assert_eq!(std::str::from_utf8(&zeroed).unwrap(), expected, "{raw}");
            let whole =
                [&raw.as_bytes()[..span.start], &zeroed, &raw.as_bytes()[span.end..]].concat();
            assert!(super::is_json(&whole), "{raw}");
        }
    }

    #[test]
    fn key_names_do_not_collide_with_what_is_there() {
        let mut names = super::KeyNames::default();
        let raw = br#"{"[x]#7":1,"[x]#":2}"#;
        assert_eq!(&*names.next("[x]", raw), b"[x]#8");
        assert_eq!(&*names.next("[x]", raw), b"[x]#9");
        assert_eq!(&*names.next("[y]", raw), b"[y]#1");
    }

    #[test]
    fn refuses_edits_that_do_not_fit() {
        let edit = |start, end| Edit {
            span: Span { start, end },
            replacement: b"x".as_slice().into(),
            rules: SmallVec::new(),
        };
        assert_eq!(apply(b"abcdef", &[edit(1, 2), edit(4, 5)]).unwrap().0, b"axcdxf");
        assert_eq!(apply(b"abc", &[edit(0, 2), edit(1, 3)]).unwrap_err(), EditError::Overlap(1));
        assert_eq!(apply(b"abc", &[edit(2, 9)]).unwrap_err(), EditError::OutOfRange(0));
        assert_eq!(apply(b"abc", &[edit(3, 2)]).unwrap_err(), EditError::OutOfRange(0));
    }
}
