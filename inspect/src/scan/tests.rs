//! Where findings are reported, where they are not, and when a scan ends early.

use super::{Direction, MAX_FINDINGS, Scan, Scanner, Subject};
use crate::{Message, ParseLimits, Parser, RuleFile, RuleSet, Surface};
use serde_json::{Value, json};

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
