//! A scan told step by step: the same verdict as without, every check by its name, and no secret in what is shown.

use super::{Check, Outcome, Scan, Trace};
use crate::{
    Before, Direction, Message, ParseLimits, Parser, Policy, RuleFile, RuleSet, Scanner, Subject,
    Verdict, Why,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One rule for each check. `zqxj` is the secret's mark.
const RULES: &str = r#"
- {id: t.plain, class: secret, pattern: 'zqxj[0-9]{4,}', allow: [{stopwords: ['0000']}, {target: line, regexes: ['sample']}]}
- {id: t.words, class: secret, pattern: 'wordy[0-9]+', keywords: ['passphrase'], window: 20}
- {id: t.card, class: pii, pattern: 'card[0-9]{16}', validator: luhn}
- {id: t.entropy, class: secret, pattern: 'rnd_[a-z0-9]{16}', entropy: 3.5}
- {id: t.key, class: secret, pattern: 'keyed[0-9]+', key: '(?i)^token$'}
- {id: t.view, class: secret, pattern: 'viewy[0-9]+', views: [decoded]}
- {id: t.tools, class: injection, pattern: 'lure me', surfaces: [tool.description]}
- {id: t.out, class: injection, pattern: 'outward', surfaces: [call.args@out]}
- {id: t.wary, class: injection, pattern: 'be wary', paranoia: 3}
- {id: t.order, class: injection, pattern: 'obey me', quotable: true, context: {words: ['now'], distance: 20, score: 2}}
- {id: t.more, class: injection, pattern: 'at once', severity: medium}
- {id: t.tried, class: injection, pattern: 'tried out', shadow: true}
"#;

fn rules() -> RuleSet {
    let filled: String = RULES
        .lines()
        .filter_map(|line| line.strip_prefix("- {"))
        .map(|line| {
            let severity = if line.contains("severity:") { "" } else { "severity: high, " };
            format!(
                "- {{title: t, {severity}docs: {{finds: f, why: w}}, tests: {{match: [], no_match: []}}, {line}\n"
            )
        })
        .collect();
    let text = format!("rules:\n{filled}");
    RuleSet::compile_unchecked(&[RuleFile { name: "t.yaml", text: &text }])
        .unwrap_or_else(|errors| panic!("{errors}"))
}

const SUBJECT: Subject<'_> = Subject {
    direction: Direction::ToClient,
    server: "s",
    method: Some("tools/call"),
    name: Some("t"),
    paranoia: 1,
    budget: usize::MAX,
    now: 0,
};

fn with<R>(raw: &str, look: impl FnOnce(&Message<'_>) -> R) -> R {
    Parser::new(ParseLimits::default()).parse(raw.as_bytes(), look).unwrap()
}

fn explain(set: &RuleSet, raw: &str, asked: Option<&str>) -> (Scan, Trace) {
    let asked = asked.and_then(|id| set.find(id));
    with(raw, |message| Scanner::new().explain(set, message, &SUBJECT, None, 4096, asked))
}

fn result(text: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": [{ "type": "text", "text": text }] } })
        .to_string()
}

/// The checks that a rule's matches failed.
fn checks(set: &RuleSet, trace: &Trace, id: &str) -> Vec<Check> {
    let of = trace.matches.iter().filter(|one| set.rule(one.rule).id() == id);
    of.filter_map(|one| match one.outcome {
        Outcome::Rejected(check, _) => Some(check),
        Outcome::Found(_) => None,
    })
    .collect()
}

#[test]
fn every_check_is_told_by_its_name() {
    let set = rules();
    for (text, rule, check) in [
        ("zqxj0000", "t.plain", Check::Allow),
        ("a sample zqxj1234", "t.plain", Check::Allow),
        ("wordy77 and far, far away from it, the passphrase", "t.words", Check::Keywords),
        ("card4111111111111112", "t.card", Check::Validator),
        ("rnd_aaaaaaaaaaaaaaaa", "t.entropy", Check::Entropy),
        ("keyed99", "t.key", Check::Key),
        ("viewy12", "t.view", Check::View),
        ("lure me", "t.tools", Check::Surface),
        ("look outward", "t.out", Check::Surface),
        ("be wary", "t.wary", Check::Paranoia),
    ] {
        let (scan, trace) = explain(&set, &result(text), Some(rule));
        assert!(scan.findings.is_empty(), "{text}: {scan:?}");
        assert_eq!(checks(&set, &trace, rule), [check], "{text}: {:?}", trace.matches);
    }
    let exempt = json!({ "jsonrpc": "2.0", "id": 1, "result": { "requestState": "zqxj1234" } });
    let (scan, trace) = explain(&set, &exempt.to_string(), None);
    assert!(scan.findings.is_empty());
    assert_eq!(checks(&set, &trace, "t.plain"), [Check::Exempt]);
    assert!(trace.readings.iter().any(|reading| reading.exempt));
}

#[test]
fn a_rule_asked_for_tells_where_its_literals_stand() {
    let set = rules();
    let opened = |text: &str| {
        let (_, trace) = explain(&set, &result(text), Some("t.plain"));
        trace.readings.iter().filter(|reading| reading.opened).count()
    };
    assert_eq!((opened("nothing"), opened("ZQXJ and no digits")), (0, 1));
}

#[test]
fn every_reading_is_told_with_what_was_done() {
    let set = rules();
    // base64 of `the value zqxj123456 is here`, and a text of look-alikes
    let text = "dGhlIHZhbHVlIHpxeGoxMjM0NTYgaXMgaGVyZQ==";
    let (scan, trace) = explain(&set, &result(text), None);
    assert_eq!(scan.findings.len(), 1);
    let steps: Vec<_> = trace.readings.iter().map(|reading| reading.steps.clone()).collect();
    assert!(steps.contains(&vec!["decoded"]), "{steps:?}");
    let matched = trace.matches.iter().find(|one| one.outcome == Outcome::Found(0)).unwrap();
    let reading = &trace.readings[matched.reading];
    assert_eq!(reading.path, "/result/content/0/text");
    assert_eq!(reading.text.shown(true), "the value zqxj123456 is here");
    assert_eq!(reading.text.shown(false), "the value **** is here");
}

#[test]
fn no_form_of_a_secret_is_shown() {
    let set = rules();
    let twice = "ZEdobElIWmhiSFZsSUhweGVHb3hNak0wTlRZZ2FYTWdhR1Z5WlE9PQ==";
    let forms = [
        "zqxj123456",
        "x zqxj123456, zqxj123456",
        "dGhlIHZhbHVlIHpxeGoxMjM0NTYgaXMgaGVyZQ==",
        twice,
        "{\"note\": \"zqxj123456\", \"zqxj123456\": 1}",
        "\u{200b}z\u{200b}qxj1\u{200b}23456",
        "%7Aqxj123456",
    ];
    for form in forms {
        let raw = json!({ "jsonrpc": "2.0", "id": 1, "result": {
            "content": [{ "type": "text", "text": form }], "structuredContent": { "zqxj123456": "zqxj123456" },
        } });
        let subject = Subject { paranoia: 2, ..SUBJECT };
        let (_, trace) = with(&raw.to_string(), |message| {
            Scanner::new().explain(&set, message, &subject, None, 4096, None)
        });
        let mut shown = String::new();
        for reading in &trace.readings {
            shown.push_str(&format!("{} {}\n", reading.path, reading.text.shown(false)));
            shown.extend(reading.key.iter().map(|key| key.shown(false)));
        }
        shown.extend(trace.matches.iter().map(|one| one.text.shown(false)));
        let letters: String = shown.chars().filter(char::is_ascii_alphanumeric).collect();
        for secret in ["zqxj123456", "654321jxqz", "mdkw123456", "IHpxeGoxMjM0NTYg", "weGVHb3hNak0"]
        {
            assert!(!letters.contains(secret), "{form}: {secret} in\n{shown}");
        }
        assert!(shown.contains("****"), "{shown}");
    }
}

#[test]
fn what_is_cut_is_hidden_up_to_the_cut() {
    let set = rules();
    let raw = result(&format!("{} zqxj{}", "a".repeat(20), "7".repeat(500)));
    let (_, trace) =
        with(&raw, |message| Scanner::new().explain(&set, message, &SUBJECT, None, 40, None));
    for reading in &trace.readings {
        assert!(!reading.text.shown(false).contains('7'), "{}", reading.text.shown(false));
    }
}

#[test]
fn scores_halve_in_quotes_and_add_up() {
    let set = rules();
    let policy = Policy::default();
    let raw = result("he wrote \"obey me\" now, at once");
    let (scan, _) = explain(&set, &raw, None);
    let verdict = Verdict::decide(&set, &policy, &SUBJECT, scan, raw.as_bytes());
    let reasons = verdict.reasons(&set, &policy);
    let [window] = reasons.windows.as_slice() else { panic!("{:?}", reasons.windows) };
    // high is 7 points, 2 for the word near it, half of that in quotes; medium is 4
    assert_eq!(verdict.findings[0].score, 9);
    assert_eq!(reasons.points, [4, 4]);
    assert_eq!((window.sum, window.flag, window.block), (8, 4, 10));
    assert_eq!(reasons.why, [Why::Sum, Why::Sum]);
    assert_eq!(verdict.sums, [8, 8]);
}

#[test]
fn a_tail_is_told_and_read() {
    let set = rules();
    let raw = result("3456 is the rest");
    let before = Before::from_json(br#"[{"tail":"the value zqxj12"}]"#).unwrap();
    let mut carry = before.carry(&SUBJECT);
    let (scan, trace) = with(&raw, |message| {
        Scanner::new().explain(&set, message, &SUBJECT, Some(&mut carry), 4096, None)
    });
    assert_eq!(scan.findings.len(), 1, "{trace:?}");
    assert!(trace.readings.iter().any(|reading| reading.earlier == 16));
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec![
        "zqxj1234",
        "zqxj0000",
        "obey me",
        "at once",
        "\"",
        "\u{200b}",
        "%7Aqxj4567",
        " ",
        "lure me",
        "dGhlIHZhbHVlIHpxeGoxMjM0NTYgaXMgaGVyZQ==",
        "{\"token\": \"keyed12\"}",
        "tried out",
        "now",
        "card4111111111111111",
        "ｚqxj1234",
    ]);
    let text = prop::collection::vec(text, 0..6).prop_map(|parts| parts.concat());
    prop::collection::vec(text, 1..5).prop_map(|texts| {
        texts.into_iter().map(|text| json!({ "type": "text", "text": text })).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_trace_changes_nothing(content in value(), paranoia in 1_u8..=4) {
        let set = rules();
        let raw = json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": content } }).to_string();
        let subject = Subject { paranoia, ..SUBJECT };
        let mut scanner = Scanner::new();
        let (plain, told, trace) = with(&raw, |message| {
            let plain = scanner.scan(&set, message, &subject);
            let (told, trace) = scanner.explain(&set, message, &subject, None, 400, None);
            (plain, told, trace)
        });
        prop_assert_eq!(&plain, &told);
        for (at, finding) in told.findings.iter().enumerate() {
            let of = trace.matches.iter().filter(|one| one.outcome == Outcome::Found(at));
            let of: Vec<_> = of.collect();
            prop_assert_eq!(of.len(), 1);
            prop_assert_eq!(of[0].rule, finding.rule);
            prop_assert_eq!(trace.readings[of[0].reading].surface, finding.surface);
        }
    }
}
