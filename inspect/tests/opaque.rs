//! What only its maker reads is never edited: `requestState`, cursors, task ids, progress tokens, whatever stands in
//! them, in whatever disguise, and even when the same secret is redacted beside them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use inspect::{
    Direction, ParseLimits, Parser, Policy, RuleFile, RuleSet, Scanner, Subject, Verdict, redact,
};
use serde_json::{Value, json};

const RULES: &str = r#"
rules:
  - id: test.token
    title: t
    class: secret
    severity: critical
    pattern: 'zqxj[0-9]{8}'
    docs: {finds: f, why: w}
    tests: {match: ['zqxj12345678', 'a zqxj00112233 b'], no_match: ['zqxj', 'zqxj1234567']}
  - id: test.word
    title: t
    class: secret
    severity: critical
    pattern: '^.{8,}$'
    key: '(?i)(?:state|cursor|task.?id|token)$'
    docs: {finds: f, why: w}
    tests: {match: ['{"token": "longer than 8"}', '{"cursor": "longer than 8"}'], no_match: ['{"token": "x"}', 'token']}
"#;

/// Base64 of `the secret is zqxj12345678, take it`.
const ENCODED: &str = "dGhlIHNlY3JldCBpcyB6cXhqMTIzNDU2NzgsIHRha2UgaXQ=";

/// What is written to the wire or the record after inspection.
fn inspected(raw: &str, method: &str, direction: Direction, for_record: bool) -> Value {
    let set = RuleSet::compile(&[RuleFile { name: "t.yaml", text: RULES }]).unwrap();
    let subject = Subject {
        direction,
        server: "s",
        method: Some(method),
        name: Some("t"),
        paranoia: 4,
        budget: usize::MAX,
        now: 0,
    };
    let policy = Policy { paranoia: 4, ..Policy::default() };
    let verdict = Parser::new(ParseLimits::default())
        .parse(raw.as_bytes(), |message| {
            let scan = Scanner::new().scan(&set, message, &subject);
            Verdict::decide(&set, &policy, &subject, scan, raw.as_bytes())
        })
        .unwrap();
    let (out, _) = redact(raw.as_bytes(), &verdict, &set, for_record).unwrap();
    serde_json::from_slice(&out).unwrap()
}

/// Puts a value at a place of a message, beside a text that holds a secret.
fn message(base: &Value, pointer: &str, value: &Value) -> Value {
    let mut message = base.clone();
    let mut at = &mut message;
    for key in pointer.split('/').skip(1) {
        at = &mut at[key];
    }
    *at = value.clone();
    message
}

#[test]
fn opaque_values_are_never_edited() {
    let secret = "zqxj12345678";
    let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": [{ "type": "text", "text": secret }] } });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "t", "arguments": { "q": secret } } });
    let told = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progress": 1, "message": secret } });
    let related = "io.modelcontextprotocol~1related-task".replace("~1", "/");
    let places: Vec<(&Value, Direction, &str, String, &str)> = [
        (&answer, Direction::ToClient, "tools/call", "/result/requestState"),
        (&answer, Direction::ToClient, "tools/list", "/result/nextCursor"),
        (&answer, Direction::ToClient, "tools/call", "/result/taskId"),
        (&answer, Direction::ToClient, "tools/call", "/result/task/taskId"),
        (&answer, Direction::ToClient, "tools/call", "/id"),
        (&call, Direction::ToServer, "tools/call", "/params/requestState"),
        (&call, Direction::ToServer, "tools/call", "/params/_meta/progressToken"),
        (&call, Direction::ToServer, "tools/call", "/params/cursor"),
        (&call, Direction::ToServer, "tasks/get", "/params/taskId"),
        (&call, Direction::ToServer, "tools/call", "/id"),
        (&told, Direction::ToClient, "notifications/progress", "/params/progressToken"),
    ]
    .into_iter()
    .map(|(base, direction, method, pointer)| {
        let beside = match direction {
            Direction::ToServer => "/params/arguments/q",
            Direction::ToClient if base["result"].is_object() => "/result/content/0/text",
            Direction::ToClient => "/params/message",
        };
        (base, direction, method, pointer.to_owned(), beside)
    })
    .collect();
    for (base, direction, method, pointer, beside) in places {
        for value in [
            json!(secret),
            json!(ENCODED),
            json!("z\u{200b}qxj12345678"),
            json!(4_111_111_111_111_111_u64),
        ] {
            let whole = message(base, &pointer, &value);
            for for_record in [false, true] {
                let out = inspected(&whole.to_string(), method, direction, for_record);
                assert_eq!(out.pointer(&pointer), Some(&value), "{pointer} {out}");
                assert_eq!(out.pointer(beside), Some(&json!("[redacted:test.token]")), "{out}");
            }
        }
    }
    let mut of_task = answer;
    of_task["result"]["_meta"][&related]["taskId"] = json!(secret);
    let out = inspected(&of_task.to_string(), "tasks/result", Direction::ToClient, false);
    assert_eq!(out["result"]["_meta"][&related]["taskId"], json!(secret));
    assert_eq!(out["result"]["content"][0]["text"], json!("[redacted:test.token]"));
}
