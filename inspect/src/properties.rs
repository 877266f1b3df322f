//! Property tests over the whole crate: the cursor against `serde_json`, the engine against regexes run one by one.

use crate::cursor::{Escapes, PathWalker, Tokens};
use crate::{
    Direction, Message, ParseLimits, Parser, Policy, RuleFile, RuleSet, Scanner, Subject,
    ValueKind, Verdict, redact,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use simd_json::Node;

/// A string written as JSON, each character escaped or not as `choices` say.
fn write_string(text: &str, choices: &mut impl Iterator<Item = u8>, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        let choice = choices.next().unwrap_or(0) % 4;
        let short = match c {
            '"' => Some("\\\""),
            '\\' => Some("\\\\"),
            '/' => Some("\\/"),
            '\n' => Some("\\n"),
            '\t' => Some("\\t"),
            '\u{8}' => Some("\\b"),
            _ => None,
        };
        match short {
            Some(short) if choice < 2 => out.push_str(short),
            _ if choice == 3 || c < ' ' || c == '"' || c == '\\' => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

fn write(value: &Value, choices: &mut impl Iterator<Item = u8>, out: &mut String) {
    match value {
        Value::String(text) => write_string(text, choices, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { " " } else { " ,\n" });
                write(item, choices, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, item)) in members.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write_string(key, choices, out);
                out.push_str(" : ");
                write(item, choices, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// Texts with whatever makes offsets differ: escapes, two- to four-byte characters, secrets of the rule below.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -~]{0,6}",
        "[\u{e9}\u{4e16}\u{1F600}\n\t\"\\\\/]{0,4}",
        Just("zqxj-0a1b".to_owned()),
        Just("\u{0}".to_owned()),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text().prop_map(Value::String),
        any::<i32>().prop_map(|n| json!(n)),
        any::<bool>().prop_map(|b| json!(b)),
        Just(Value::Null),
        Just(json!(4_111_111_111_111_111_u64)),
        Just(json!(1.5)),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((text(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A message around `value`, written with odd escapes; and the same message as a value.
fn message(value: &Value, choices: &[u8]) -> (String, Value) {
    let whole = json!({ "jsonrpc": "2.0", "method": "tools/call", "id": 1, "params": { "arguments": value } });
    let mut raw = String::new();
    let mut choices = choices.iter().copied().cycle();
    write(&whole, &mut choices, &mut raw);
    (raw, whole)
}

fn parse<R>(raw: &str, f: impl FnOnce(&Message<'_>) -> R) -> R {
    Parser::new(ParseLimits::default()).parse(raw.as_bytes(), f).unwrap()
}

const SUBJECT: Subject<'_> = Subject {
    direction: Direction::ToServer,
    server: "s",
    method: Some("tools/call"),
    name: Some("t"),
    paranoia: 4,
    budget: usize::MAX,
    now: 0,
};

/// A rule file of (id, further fields) without examples' trouble: the check of examples is not what is tested here.
fn rules(entries: &[(&str, &str)]) -> RuleSet {
    let mut text = String::from("rules:\n");
    for (id, fields) in entries {
        text.push_str(&format!(
            "- id: test.{id}\n  title: t\n  class: secret\n  severity: high\n  docs: {{finds: f, why: w}}\n  tests: {{match: [], no_match: []}}\n  {fields}\n"
        ));
    }
    let file = RuleFile { name: "test.yaml", text: &text };
    RuleSet::compile_unchecked(&[file]).unwrap()
}

/// Replaces every secret in strings and keys, as the redaction should.
/// A rule's pattern in the engine that has nothing to do with ours.
fn regex(pattern: &crate::compile::Pattern) -> regex::bytes::Regex {
    let (text, unicode) = pattern.text();
    regex::bytes::RegexBuilder::new(text).unicode(unicode).build().unwrap()
}

fn replaced(value: &Value, keys: &mut usize) -> Value {
    match value {
        Value::String(text) => json!(text.replace("zqxj-0a1b", "[redacted:test.z]")),
        Value::Number(n) if n.as_u64() == Some(4_111_111_111_111_111) => {
            json!(1_000_000_000_000_000_u64)
        }
        Value::Array(items) => items.iter().map(|item| replaced(item, keys)).collect(),
        Value::Object(members) => {
            let mut out = Map::new();
            for (key, item) in members {
                let mut name = String::new();
                for (index, part) in key.split("zqxj-0a1b").enumerate() {
                    if index > 0 {
                        *keys += 1;
                        name.push_str(&format!("[redacted:test.z]#{keys}"));
                    }
                    name.push_str(part);
                }
                out.insert(name, replaced(item, keys));
            }
            Value::Object(out)
        }
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any part of any string or key can be replaced through the cursor, and nothing else changes.
    #[test]
    fn any_range_maps_to_its_raw_bytes(value in value(), choices in prop::collection::vec(any::<u8>(), 1..64), pick in any::<prop::sample::Index>(), cut in any::<(prop::sample::Index, prop::sample::Index)>()) {
        let (raw, whole) = message(&value, &choices);
        parse(&raw, |message| {
            let texts: Vec<(usize, &str, bool)> = message.entries().iter().map(|entry| {
                let Node::String(text) = message.nodes()[entry.node as usize] else { unreachable!() };
                (entry.node as usize, text, entry.is_key)
            }).collect();
            let (node, text, is_key) = texts[pick.index(texts.len())];
            let bounds: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
            let (a, b) = (bounds[cut.0.index(bounds.len())], bounds[cut.1.index(bounds.len())]);
            let (start, end) = (a.min(b), a.max(b));

            let token = Tokens::new(raw.as_bytes()).seek(node).unwrap();
            let inside = Escapes::new(&raw.as_bytes()[token.clone()]).map(&(start..end)).unwrap();
            let edited = format!("{}ZZ{}", &raw[..token.start + inside.start], &raw[token.start + inside.end..]);
            let edited: Value = serde_json::from_str(&edited).unwrap();
            let mut path = PathWalker::default();
            path.seek(message.nodes(), node);
            let expected = format!("{}ZZ{}", &text[..start], &text[end..]);
            if is_key {
                prop_assert!(edited.to_string().contains(&serde_json::to_string(&expected).unwrap()));
            } else {
                let pointer = path.pointer(message.nodes(), |_| false);
                prop_assert_eq!(whole.pointer(&pointer).unwrap(), &json!(text));
                prop_assert_eq!(edited.pointer(&pointer).unwrap(), &json!(expected));
                let mut rest = edited.clone();
                *rest.pointer_mut(&pointer).unwrap() = json!(text);
                prop_assert_eq!(&rest, &whole);
            }
            Ok(())
        })?;
    }

    /// Redaction hides every secret, changes nothing else, and leaves JSON.
    #[test]
    fn redaction_hides_exactly_the_secrets(value in value(), choices in prop::collection::vec(any::<u8>(), 1..64)) {
        let set = rules(&[("z", "pattern: 'zqxj-[0-9a-f]{4}'"), ("card", "pattern: '\\b4[0-9]{15}\\b'\n  slow: true\n  validator: luhn")]);
        let (raw, whole) = message(&value, &choices);
        let verdict = parse(&raw, |message| {
            let scan = Scanner::new().scan(&set, message, &SUBJECT);
            Verdict::decide(&set, &Policy { paranoia: 4, ..Policy::default() }, &SUBJECT, scan, message.raw())
        });
        let (out, redactions) = redact(raw.as_bytes(), &verdict, &set, false).unwrap();
        let after: Value = serde_json::from_slice(&out).unwrap();
        // repeated keys collapse in the oracle, and then numbers of key placeholders differ
        prop_assert_eq!(after, replaced(&whole, &mut 0));
        prop_assert_eq!(redactions.len(), verdict.findings.len());
        for redaction in redactions {
            let placeholder = &out[redaction.start..redaction.start + redaction.length];
            prop_assert!(placeholder.starts_with(b"[redacted:") || placeholder.iter().all(|b| b.is_ascii_digit()));
        }
    }

    /// Never a panic, whatever the bytes; and what parses is what `serde_json` parses.
    #[test]
    fn parsing_agrees_with_serde_json(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        "\\{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":\\{\"a\":[-0-9eE.+nul\\[\\]\\\\\"tru]{0,12}\\}\\}".prop_map(String::into_bytes),
    ]) {
        let ours = Parser::new(ParseLimits::default()).parse(&bytes, |message| message.texts().count());
        let theirs = serde_json::from_slice::<Value>(&bytes);
        match ours {
            Ok(_) => prop_assert!(theirs.is_ok()),
            Err(crate::ParseError::Syntax { .. } | crate::ParseError::Utf8 { .. }) => prop_assert!(theirs.is_err()),
            Err(_) => {}
        }
    }

    /// The engine finds what the rules' regexes find one by one.
    #[test]
    fn the_engine_equals_regexes_one_by_one(pieces in prop::collection::vec((0..WORDS.len(), any::<bool>()), 0..60), in_array in any::<bool>(), paranoia in 1..=4_u8) {
        let set = rules(POOL);
        // texts of words, each under some key; plain ASCII, so that raw offsets are text offsets
        let mut raw = String::from("{\"jsonrpc\":\"2.0\",\"method\":\"tools/call\",\"id\":1,\"params\":{\"arguments\":{");
        let mut texts: Vec<(usize, String, Option<String>)> = Vec::new();
        for (index, chunk) in pieces.chunks(7).enumerate() {
            let mut words = chunk.iter().map(|(word, _)| WORDS[*word]);
            let key = format!("{}{index}", words.next().unwrap());
            let value: String = chunk.iter().skip(1).map(|(word, space)| format!("{}{}", WORDS[*word], if *space { " " } else { "" })).collect();
            raw.push_str(if index > 0 { ",\"" } else { "\"" });
            texts.push((raw.len(), key.clone(), None));
            raw.push_str(&key);
            raw.push_str(if in_array { "\":[\"" } else { "\":\"" });
            texts.push((raw.len(), value.clone(), Some(key)));
            raw.push_str(&value);
            raw.push_str(if in_array { "\"]" } else { "\"" });
        }
        raw.push_str("}}}");
        let subject = Subject { paranoia, ..SUBJECT };
        let found = parse(&raw, |message| Scanner::new().scan(&set, message, &subject));
        // other readings and texts put together find more
        let plain = |finding: &&crate::Finding| finding.view == crate::rule::View::Raw && finding.spans.len() == 1;
        let mut found: Vec<(String, usize, usize)> = found.findings.iter().filter(plain).map(|finding| {
            (set.rule(finding.rule).id().to_owned(), finding.spans[0].start, finding.spans[0].end)
        }).collect();
        found.sort();
        let mut expected = Vec::new();
        for rule in set.rules().iter().filter(|rule| rule.paranoia() <= paranoia) {
            for (offset, text, key) in &texts {
                if rule.key.as_ref().is_some_and(|regex| !key.as_ref().is_some_and(|key| regex.is_match(key.as_bytes()))) {
                    continue;
                }
                for captures in regex(&rule.pattern).captures_iter(text.as_bytes()) {
                    let whole = captures.get(0).unwrap().range();
                    let secret = captures.name("secret").map_or(whole.clone(), |m| m.range());
                    let window = rule.def.window.unwrap_or(usize::MAX);
                    let near = &text[whole.start.saturating_sub(window)..whole.end.saturating_add(window).min(text.len())].to_lowercase();
                    let keyword = |word: &String| near.contains(&word.to_ascii_lowercase()) || key.as_ref().is_some_and(|key| key.to_lowercase().contains(&word.to_ascii_lowercase()));
                    if (rule.def().keywords.is_empty() || rule.def().keywords.iter().any(keyword))
                        && rule.validator.is_none_or(|v| v.check(text[secret.clone()].as_bytes()))
                    {
                        expected.push((rule.id().to_owned(), offset + secret.start, offset + secret.end));
                    }
                }
            }
        }
        expected.sort();
        prop_assert_eq!(found, expected);
    }
}

/// Rules of every kind of trigger, gate and window.
const POOL: &[(&str, &str)] = &[
    ("plain", "pattern: 'zqxj-[0-9a-f]{4}'"),
    ("fold", "pattern: '(?i)ZqXj.?PASS(?P<secret>[a-z]+)'"),
    ("bound", "pattern: '\\bpass[0-9]{2,4}\\b'"),
    ("end", "pattern: 'pass[0-9]{0,3}$'"),
    ("unbounded", "pattern: 'zqxj[^ ]*'"),
    ("before", "pattern: '[a-z]{0,5}zqxj'"),
    ("before-all", "pattern: '[a-z0-9]*-zqxj'"),
    ("alternatives", "pattern: '(?:alpha|omega[0-9]+)[a-z]{1,3}'"),
    ("short", "pattern: 'sk-[a-z0-9]{3}'"),
    ("keyed", "pattern: '^.{4,}$'\n  key: '(?i)password'"),
    ("keyed-slow", "pattern: '[0-9]{3}'\n  key: '^pw'\n  slow: true"),
    ("word", "pattern: '[0-9]{4}'\n  keywords: [account, Konto]"),
    ("word-near", "pattern: '[0-9]{4}'\n  keywords: [account]\n  window: 6"),
    (
        "card",
        "pattern: '\\b[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}\\b'\n  slow: true\n  validator: luhn",
    ),
    ("mail", "pattern: '[a-z0-9.]{1,20}@[a-z0-9.]{1,20}'\n  slow: true"),
    ("mail-long", "pattern: '[a-z0-9.]+@[a-z0-9.]+'\n  slow: true"),
    ("slow", "pattern: '[a-f]{3}'\n  slow: true"),
    ("wary", "pattern: 'zqxj'\n  paranoia: 3"),
];

const WORDS: &[&str] = &[
    "zqxj-0a1b",
    "zqxj",
    "zqxjzqxj-",
    "ZQXJ PASSword",
    "pass12",
    "pass",
    "12345",
    "pass1234",
    "alpha",
    "omega77",
    "omega",
    "abc",
    "sk-ab1",
    "sk-",
    "password",
    "pw",
    "account",
    "1234",
    "KONTO",
    "4111 1111 1111 1111",
    "4111",
    "5555555555554444",
    "a@b",
    "me@example.org",
    "@",
    "x",
    "-",
    "deadbeef",
    "-zqxj",
    "mailmailmailmailmailmailmail@x",
];

#[test]
fn kinds_of_values_are_told() {
    let set = rules(&[
        ("z", "pattern: 'zqxj-[0-9a-f]{4}'"),
        ("n", "pattern: '4[0-9]{15}'\n  slow: true"),
    ]);
    let raw = json!({ "jsonrpc": "2.0", "method": "tools/call", "id": 1, "params": {
        "name": "t", "arguments": { "zqxj-0a1b": { "card": 4_111_111_111_111_111_u64 }, "b": ["zqxj-0a1b"] },
    } }).to_string();
    let scan = parse(&raw, |message| Scanner::new().scan(&set, message, &SUBJECT));
    let told: Vec<_> = scan
        .findings
        .iter()
        .map(|f| (f.path.as_str(), f.kind_of_value, f.in_key, f.surface.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("/params/arguments/*", ValueKind::Key, true, "call.args"),
            ("/params/arguments/*/card", ValueKind::Number, false, "call.args"),
            ("/params/arguments/b/0", ValueKind::String, false, "call.args"),
        ]
    );
}
