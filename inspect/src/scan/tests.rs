//! Where findings are reported, where they are not, and when a scan ends early.

use super::{Carry, Direction, MAX_FINDINGS, Part, Scan, Scanner, Standing, Subject};
use crate::{
    Action, MaskKey, Message, ParseLimits, Parser, Policy, RuleFile, RuleSet, Suppression, Surface,
    Verdict, redact,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn rules() -> RuleSet {
    let rule = |id: &str, pattern: &str, more: &str| {
        format!(
            "- id: t.{id}\n  title: t\n  class: secret\n  severity: high\n  pattern: '{pattern}'\n  docs: {{finds: f, why: w}}\n  tests: {{match: [], no_match: []}}\n  {more}\n"
        )
    };
    let text = format!(
        "rules:\n{}{}{}{}",
        rule(
            "any",
            "zqxj[0-9]+",
            "allow: [{target: server, regexes: ['^trusted$']}, {stopwords: ['00']}]"
        ),
        rule("tool", "lure me", "surfaces: [tool@in]"),
        rule("random", "rnd_(?P<secret>[a-z0-9]{16})", "entropy: 3.0"),
        rule("line", "leak=[a-z]+", "allow: {target: line, regexes: ['^# ']}"),
    );
    RuleSet::compile_unchecked(&[RuleFile { name: "t.yaml", text: &text }]).unwrap()
}

const TO_CLIENT: Subject<'_> = Subject {
    direction: Direction::ToClient,
    server: "s",
    method: Some("tools/call"),
    name: Some("t"),
    paranoia: 1,
    budget: usize::MAX,
    now: 0,
};

fn scan(message: &Value, subject: &Subject<'_>) -> Scan {
    let raw = message.to_string();
    let run = |message: &Message<'_>| Scanner::new().scan(&rules(), message, subject);
    Parser::new(ParseLimits::default()).parse(raw.as_bytes(), run).unwrap()
}

fn result(result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "result": result })
}

fn paths(message: &Value, subject: &Subject<'_>) -> Vec<String> {
    scan(message, subject).findings.into_iter().map(|f| f.path).collect()
}

#[test]
fn opaque_values_are_exempt_only_where_the_protocol_puts_them() {
    let message = result(&json!({
        "requestState": "zqxj1", "nextCursor": "zqxj1", "taskId": "zqxj1",
        "content": [
            { "type": "image", "data": "zqxj1", "mimeType": "zqxj1" },
            { "type": "text", "data": "zqxj1", "text": "zqxj1" },
            { "type": "resource", "resource": { "blob": "zqxj1", "uri": "zqxj1" } },
        ],
        "structuredContent": { "requestState": "zqxj1", "type": "image", "data": "zqxj1" },
    }));
    assert_eq!(
        paths(&message, &TO_CLIENT),
        [
            "/result/content/0/mimeType",
            "/result/content/1/data",
            "/result/content/1/text",
            "/result/content/2/resource/uri",
            "/result/structuredContent/requestState",
            "/result/structuredContent/data",
        ]
    );
    let call = json!({ "jsonrpc": "2.0", "id": "zqxj1", "method": "tools/call", "params": {
        "requestState": "zqxj1", "_meta": { "progressToken": "zqxj1" },
        "arguments": { "cursor": "zqxj1", "id": "zqxj1" },
    } });
    let subject = Subject { direction: Direction::ToServer, ..TO_CLIENT };
    assert_eq!(paths(&call, &subject), ["/params/arguments/cursor", "/params/arguments/id"]);
}

#[test]
fn rules_keep_to_their_surfaces() {
    let listed = result(&json!({ "tools": [{ "name": "x", "description": "lure me" }] }));
    let list = Subject { method: Some("tools/list"), ..TO_CLIENT };
    assert_eq!(paths(&listed, &list), ["/result/tools/0/description"]);
    assert!(paths(&listed, &Subject { direction: Direction::ToServer, ..list }).is_empty());
    assert!(paths(&listed, &TO_CLIENT).is_empty());
}

#[test]
fn conditions_after_the_regex() {
    let message = |text: &str| result(&json!({ "content": [{ "type": "text", "text": text }] }));
    let count = |text: &str, subject: &Subject<'_>| scan(&message(text), subject).findings.len();
    assert_eq!(count("zqxj1", &TO_CLIENT), 1);
    assert_eq!(count("zqxj1", &Subject { server: "trusted", ..TO_CLIENT }), 0);
    assert_eq!(count("zqxj1001", &TO_CLIENT), 0);
    assert_eq!(count("rnd_aaaaaaaaaaaaaaaa", &TO_CLIENT), 0);
    assert_eq!(count("rnd_a1b2c3d4e5f6g7h8", &TO_CLIENT), 1);
    assert_eq!(count("x\nleak=a\n# leak=b\nleak=c", &TO_CLIENT), 2);
}

#[test]
fn scans_end_at_their_limits() {
    let many = result(
        &json!({ "content": [{ "type": "text", "text": "zqxj1 ".repeat(2 * MAX_FINDINGS) }] }),
    );
    let flooded = scan(&many, &TO_CLIENT);
    assert_eq!((flooded.findings.len(), flooded.truncated), (MAX_FINDINGS, true));
    let tight = Subject { budget: 100, ..TO_CLIENT };
    let cut = scan(&many, &tight);
    assert!(cut.truncated && cut.findings.len() < 20);
    let none = scan(&many, &Subject { budget: 0, ..TO_CLIENT });
    assert!(none.truncated && none.findings.is_empty());
}

#[test]
fn a_text_of_its_own() {
    let scan = Scanner::new().scan_text(&rules(), "Bearer zqxj1é", Surface::Other, &TO_CLIENT);
    let finding = &scan.findings[0];
    assert_eq!((finding.spans[0].start, finding.spans[0].end), (7, 12));
    assert_eq!(finding.path, "");
}

/// A scan of several messages of one stream or session.
fn scan_all(set: &RuleSet, messages: &[Value], subject: &Subject<'_>) -> Vec<Scan> {
    let mut carry = Carry::new();
    let mut one = |message: &Value| {
        let raw = message.to_string();
        let run = |message: &Message<'_>| {
            let subject = Subject { method: message.method().or(subject.method), ..*subject };
            Scanner::new().scan_after(set, message, &subject, Some(&mut carry))
        };
        Parser::new(ParseLimits::default()).parse(raw.as_bytes(), run).unwrap()
    };
    messages.iter().map(&mut one).collect()
}

fn sure(pattern: &str, more: &str) -> RuleSet {
    let text = format!(
        "rules:\n- id: t.sure\n  title: t\n  class: secret\n  severity: high\n  confidence: high\n  pattern: '{pattern}'\n  docs: {{finds: f, why: w}}\n  tests: {{match: [], no_match: []}}\n{more}"
    );
    RuleSet::compile_unchecked(&[RuleFile { name: "t.yaml", text: &text }]).unwrap()
}

fn text_of(text: &str) -> Value {
    result(&json!({ "content": [{ "type": "text", "text": text }] }))
}

#[test]
fn what_is_split_over_messages_begins_earlier() {
    let set = sure("zqxj[0-9]{6}", "");
    let parts = |scans: &[Scan]| {
        scans
            .iter()
            .map(|s| s.findings.iter().map(|f| f.part).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let split = scan_all(&set, &[text_of("a zqxj12"), text_of("3456 b")], &TO_CLIENT);
    assert_eq!(parts(&split), [vec![], vec![Part::Earlier]]);
    assert_eq!(split[1].findings[0].spans.len(), 1, "only what is here");
    // three parts, the middle one short
    let thin = [text_of("zqxj1"), text_of("23"), text_of("456")];
    assert_eq!(parts(&scan_all(&set, &thin, &TO_CLIENT)), [vec![], vec![], vec![Part::Earlier]]);
    // what was found whole is not found again with the next message
    let whole = scan_all(&set, &[text_of("zqxj123456"), text_of("fine")], &TO_CLIENT);
    assert_eq!(parts(&whole), [vec![Part::This], vec![]]);
}

#[test]
fn arguments_of_one_name_follow_each_other() {
    let set = sure("zqxj[0-9]{6}", "");
    let call = |tool: &str, key: &str, text: &str| json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": { key: text } } });
    let out = Subject { direction: Direction::ToServer, ..TO_CLIENT };
    let counts = |messages: &[Value]| {
        scan_all(&set, messages, &out).iter().map(|s| s.findings.len()).collect::<Vec<_>>()
    };
    assert_eq!(counts(&[call("t", "q", "zqxj12"), call("t", "q", "3456")]), [0, 1]);
    assert_eq!(counts(&[call("t", "q", "zqxj12"), call("t", "other", "3456")]), [0, 0]);
    // other arguments in between do not cut the thread, too many do
    let between = |n: usize| {
        let mut all = vec![call("t", "q", "zqxj12")];
        all.extend((0..n).map(|i| call("t", &format!("k{i}"), "x")));
        all.push(call("t", "q", "3456"));
        counts(&all).pop()
    };
    assert_eq!(between(3), Some(1));
    assert_eq!(between(16), Some(0));
}

#[test]
fn a_secret_named_in_one_place_is_hidden_in_the_other() {
    let set = sure("^[a-z0-9]{8,}$", "  key: '(?i)api_key'");
    let message = result(&json!({
        "content": [{ "type": "text", "text": "your key is aaa11bb22cc33, keep it" }],
        "structuredContent": { "api_key": "aaa11bb22cc33", "other": "aaa11bb22cc33" },
    }));
    let raw = message.to_string();
    let scan = Parser::new(ParseLimits::default())
        .parse(raw.as_bytes(), |message| Scanner::new().scan(&set, message, &TO_CLIENT))
        .unwrap();
    let paths: Vec<&str> = scan.findings.iter().map(|f| f.path.as_str()).collect();
    let expected = [
        "/result/content/0/text",
        "/result/structuredContent/api_key",
        "/result/structuredContent/other",
    ];
    assert_eq!(paths, expected);
    let policy = Policy::default();
    let verdict = Verdict::decide(&set, &policy, &TO_CLIENT, scan, raw.as_bytes());
    let (out, _) = redact(raw.as_bytes(), &verdict, &set, false).unwrap();
    assert!(!String::from_utf8(out).unwrap().contains("aaa11"));
}

#[test]
fn shadow_rules_count_for_what_would_be() {
    let set = sure("zqxj[0-9]+", "  shadow: true\n  action: block");
    let raw = text_of("zqxj1").to_string();
    let scan = Parser::new(ParseLimits::default())
        .parse(raw.as_bytes(), |message| Scanner::new().scan(&set, message, &TO_CLIENT))
        .unwrap();
    let verdict = Verdict::decide(&set, &Policy::default(), &TO_CLIENT, scan, raw.as_bytes());
    assert_eq!((verdict.action, verdict.would_be), (Action::Allow, Action::Block));
    assert_eq!(verdict.findings[0].standing, Standing::Shadow);
    let (record, hidden) = redact(raw.as_bytes(), &verdict, &set, true).unwrap();
    assert!(hidden.len() == 1 && !String::from_utf8(record).unwrap().contains("zqxj"));
}

#[test]
fn suppressions_fit_by_rule_server_tool_path_and_value_until_they_end() {
    let set = sure("zqxj[0-9]+", "");
    let raw = text_of("zqxj1").to_string();
    let decide = |suppress: Suppression, now: i64| {
        let policy = Policy { suppress: vec![suppress], ..Policy::default() };
        let subject = Subject { now, ..TO_CLIENT };
        Parser::new(ParseLimits::default())
            .parse(raw.as_bytes(), |message| {
                let scan = Scanner::new().scan(&set, message, &subject);
                Verdict::decide(&set, &policy, &subject, scan, raw.as_bytes()).action
            })
            .unwrap()
    };
    let one =
        || Suppression { rule: "t.sure".into(), reason: "test".into(), ..Suppression::default() };
    let some = |text: &str| Some(text.to_owned());
    let real = crate::compile::hex(&Sha256::digest("zqxj1"));
    let other = crate::compile::hex(&Sha256::digest("zqxj2"));
    for fits in [
        one(),
        Suppression { rule: "t.*".into(), ..one() },
        Suppression {
            server: some("s"),
            tool: some("t"),
            path: some("/result/content/*"),
            ..one()
        },
        Suppression { value_sha256: Some(real.to_uppercase()), ..one() },
        Suppression { expires: Some(101), ..one() },
    ] {
        assert_eq!(decide(fits.clone(), 100), Action::Allow, "{fits:?}");
    }
    for fails in [
        Suppression { rule: "t".into(), ..one() },
        Suppression { server: some("other"), ..one() },
        Suppression { tool: some("other"), ..one() },
        Suppression { path: some("/result/structuredContent"), ..one() },
        Suppression { value_sha256: Some(other), ..one() },
        Suppression { expires: Some(100), ..one() },
    ] {
        assert_eq!(decide(fails.clone(), 100), Action::Redact, "{fails:?}");
    }
}

#[test]
fn placeholders_of_equal_secrets_are_equal_under_a_key() {
    let set = sure("zqxj[0-9]+", "");
    let raw = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"zqxj1 \u007aqxj1 zqxj2"}]}}"#;
    let mask = MaskKey::new(b"0123456789abcdef").ok();
    let policy = Policy { mask, ..Policy::default() };
    let verdict = Parser::new(ParseLimits::default())
        .parse(raw.as_bytes(), |message| {
            let scan = Scanner::new().scan(&set, message, &TO_CLIENT);
            Verdict::decide(&set, &policy, &TO_CLIENT, scan, raw.as_bytes())
        })
        .unwrap();
    let (out, _) = redact(raw.as_bytes(), &verdict, &set, false).unwrap();
    let out: Value = serde_json::from_slice(&out).unwrap();
    let text = out.pointer("/result/content/0/text").and_then(Value::as_str).unwrap();
    let words: Vec<&str> = text.split(' ').collect();
    assert!(words[0].starts_with("[wg:t.sure:") && words[0] == words[1], "{text}");
    assert_ne!(words[0], words[2]);
}

/// What goes on of a result's text.
fn forwarded(set: &RuleSet, text: &str) -> String {
    let raw = text_of(text).to_string();
    let out = Parser::new(ParseLimits::default()).parse(raw.as_bytes(), |message| {
        let scan = Scanner::new().scan(set, message, &TO_CLIENT);
        let verdict = Verdict::decide(set, &Policy::default(), &TO_CLIENT, scan, raw.as_bytes());
        redact(raw.as_bytes(), &verdict, set, false).unwrap().0
    });
    let out: Value = serde_json::from_slice(&out.unwrap()).unwrap();
    out["result"]["content"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn a_secret_whose_context_is_disguised_is_redacted() {
    let set = sure(r"Bearer\s+(?P<secret>[a-z0-9]{12,40})", "");
    for between in
        ["\u{a0}", "\u{2003}\u{3000}", &" ".repeat(40), &"\u{a0}".repeat(40), " \u{200b} "]
    {
        let text = forwarded(&set, &format!("Bearer{between}abcdefgh1234 and so on"));
        assert!(!text.contains("abcdefgh1234") && text.ends_with(" and so on"), "{text}");
    }
    // and the rest of one that an invisible character divides
    let text = forwarded(&set, "Bearer abcdefgh1234\u{200b}ijklmnop5678 and so on");
    assert!(!text.contains("5678") && text.ends_with(" and so on"), "{text}");
}

#[test]
fn what_an_attacker_writes_many_times_is_read_to_its_end() {
    let set = sure("zqxj[0-9]{4}", "");
    // inputs that once cost the square of their length; how long they take is for the benches
    let values = vec!["a\n"; 6000];
    let nested = json!({ "k".repeat(100_000): values }).to_string();
    for text in [nested, "\\u{".repeat(200_000)] {
        assert_eq!(forwarded(&set, &text), text);
    }
    let repeated = "zqxj1234 ".repeat(200);
    let message = result(&json!({ "content": [{ "type": "text", "text": repeated }] }));
    assert_eq!(scan_all(&set, &[message], &TO_CLIENT)[0].findings.len(), 200);
}
