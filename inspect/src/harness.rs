//! What the fuzz targets run, so that the corpus runs as an ordinary test too: whatever the bytes, no panic, and the
//! promises of the crate hold.

use crate::pin::{Item, PinLimits, canonical, diff, list, places};
use crate::{
    Carry, Direction, ParseLimits, Parser, Policy, RuleFile, RuleSet, Scanner, Subject, Verdict,
    apply, leave_out, redact, split_batch,
};
use std::sync::LazyLock;

/// Rules that find much in little.
const RULES: &str = r#"
rules:
  - id: fuzz.token
    title: t
    class: secret
    severity: high
    pattern: 'key-[0-9a-z]+'
    docs: {finds: f, why: w}
    tests: {match: [key-1, a key-b], no_match: [key, 'key-']}
  - id: fuzz.digits
    title: t
    class: pii
    severity: high
    pattern: '[0-9]{9,12}'
    slow: true
    docs: {finds: f, why: w}
    tests: {match: ['123456789', '1234567890'], no_match: ['1', '12345678']}
  - id: fuzz.named
    title: t
    class: secret
    severity: high
    pattern: '.+'
    key: '^pass'
    slow: true
    docs: {finds: f, why: w}
    tests: {match: ['{"pass": "x"}', '{"passed": "y"}'], no_match: ['{"pas": "x"}', 'x']}
"#;

static SET: LazyLock<RuleSet> = LazyLock::new(|| {
    let file = RuleFile { name: "fuzz.yaml", text: RULES };
    // a constant that the corpus test compiles
    RuleSet::compile(&[file]).unwrap_or_default()
});

const SUBJECT: Subject<'_> = Subject {
    direction: Direction::ToClient,
    server: "s",
    method: Some("tools/call"),
    name: Some("t"),
    paranoia: 4,
    budget: 1 << 20,
    now: 0,
};

/// Parses bytes as a message and as a batch; what is accepted is JSON.
///
/// # Panics
/// A promise is broken.
pub fn parse(bytes: &[u8]) {
    let limits = ParseLimits::default();
    let accepted = Parser::new(limits).parse(bytes, |message| message.texts().count()).is_ok();
    let json = serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    assert!(json || !accepted, "accepted what is no JSON");
    if let Ok(Some(items)) = split_batch(bytes, &limits, 100) {
        for item in items {
            assert!(item.start < item.end && item.end <= bytes.len());
        }
    }
}

/// Redacts a message: the result is a message again, with all that is outside the edits unchanged.
///
/// # Panics
/// A promise is broken.
pub fn redaction(bytes: &[u8]) {
    assert!(!SET.is_empty(), "the rules compile");
    let mut parser = Parser::new(ParseLimits::default());
    let mut scanner = Scanner::new();
    let policy = Policy { paranoia: 4, ..Policy::default() };
    let decided = parser.parse(bytes, |message| {
        let scan = scanner.scan(&SET, message, &SUBJECT);
        Verdict::decide(&SET, &policy, &SUBJECT, scan, bytes)
    });
    let Ok(verdict) = decided else { return };
    for for_record in [false, true] {
        let out = redact(bytes, &verdict, &SET, for_record);
        let Ok((out, _)) = out else {
            panic!("edits do not fit: {out:?}");
        };
        assert!(parser.parse(&out, |_| ()).is_ok(), "no message any more");
    }
    let Ok((out, placed)) = apply(bytes, &verdict.edits) else {
        panic!("edits do not fit");
    };
    let (mut from, mut to) = (0, 0);
    for place in placed {
        let span = verdict.edits[place.edit].span;
        assert_eq!(bytes.get(from..span.start), out.get(to..place.start));
        (from, to) = (span.end, place.start + place.len);
    }
    assert_eq!(bytes.get(from..), out.get(to..));
}

/// Reads a text in every view: what is found lies in the message, and redacting it leaves the message whole.
///
/// # Panics
/// A promise is broken.
pub fn views(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    redaction(&answer(&text));
}

/// A stream of texts, parted by zero bytes: whatever was carried over, each message can be redacted, and nothing is
/// said to begin here that does not.
///
/// # Panics
/// A promise is broken.
pub fn carry(bytes: &[u8]) {
    let mut carry = Carry::new();
    for part in bytes.split(|byte| *byte == 0).take(20) {
        let raw = answer(&String::from_utf8_lossy(part));
        let mut scanner = Scanner::new();
        let policy = Policy { paranoia: 4, ..Policy::default() };
        let decided = Parser::new(ParseLimits::default()).parse(&raw, |message| {
            let scan = scanner.scan_after(&SET, message, &SUBJECT, Some(&mut carry));
            Verdict::decide(&SET, &policy, &SUBJECT, scan, &raw)
        });
        let Ok(verdict) = decided else { continue };
        for finding in &verdict.findings {
            assert!(
                finding.spans.iter().all(|span| span.start < span.end && span.end <= raw.len())
            );
            assert!(!finding.spans.is_empty());
        }
        for for_record in [false, true] {
            let out = redact(&raw, &verdict, &SET, for_record);
            let Ok((out, _)) = out else {
                panic!("edits do not fit: {out:?}");
            };
            assert!(Parser::new(ParseLimits::default()).parse(&out, |_| ()).is_ok());
        }
    }
}

/// A tool's answer of one text.
fn answer(text: &str) -> Vec<u8> {
    let content = serde_json::json!([{ "type": "text", "text": text }]);
    serde_json::json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": content } })
        .to_string()
        .into_bytes()
}

/// Compiles text as a rule file; a set that compiles is equal to its own canonical source.
///
/// # Panics
/// A promise is broken.
pub fn rules_yaml(text: &str) {
    let file = RuleFile { name: "f", text };
    match RuleSet::compile(&[file]) {
        Ok(set) => {
            let source = RuleFile { name: "s", text: set.source() };
            match RuleSet::compile(&[source]) {
                Ok(again) => assert_eq!(set.digest(), again.digest()),
                Err(errors) => panic!("the canonical source does not compile: {errors}"),
            }
        }
        Err(errors) => assert!(!errors.is_empty() && !errors.to_string().is_empty()),
    }
}

/// Reads a message as lists of definitions: forms are canonical, a definition does not differ from itself, and what is
/// left when every other one is taken out is the rest of the list.
///
/// # Panics
/// A promise is broken.
pub fn pins(bytes: &[u8]) {
    let limits = PinLimits { items: 1000, definition: 1 << 16 };
    let items = |bytes: &[u8]| -> Option<Vec<Option<Item>>> {
        let listed = list(bytes, None, &limits).ok()?;
        Some(listed.into_iter().map(|listed| listed.item.ok()).collect())
    };
    let (Ok(places), Some(all)) = (places(bytes, None), items(bytes)) else { return };
    for item in all.iter().flatten() {
        assert_eq!(canonical(&item.canonical).as_ref(), Ok(&item.canonical));
        assert_eq!(diff(&item.canonical, &item.canonical), Ok(Vec::new()));
    }
    let mut edits = Vec::new();
    let mut kept = Vec::new();
    let mut all = all.into_iter();
    for (_, spans) in places {
        edits.extend(leave_out(&spans, |n| n % 2 == 1));
        let of_this = all.by_ref().take(spans.len()).enumerate();
        kept.extend(of_this.filter(|(n, _)| n % 2 == 0).map(|(_, item)| item));
    }
    edits.sort_by_key(|edit| edit.span);
    let Ok((out, _)) = apply(bytes, &edits) else { panic!("edits do not fit") };
    assert_eq!(items(&out), Some(kept), "other items than those that stay");
}
