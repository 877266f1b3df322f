//! What is measured: messages of the sizes that matter, made here, and the built-in rule set.
//!
//! Every bench asserts its answer, so that a figure never stands for work that was not done.
//! Machines differ and are noisy: compare figures of one run with each other, not across runs.

use inspect::{RuleFile, RuleSet};

/// A message to measure with.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its name in reports.
    pub name: &'static str,
    /// Its bytes.
    pub raw: Vec<u8>,
    /// How many findings the built-in rules have in it.
    pub findings: usize,
}

/// A small call, results of 4, 16 and 256 KB of text, and a 16 KB result with one key in it.
pub fn samples() -> Vec<Sample> {
    let call = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"search_files","arguments":{"path":"/srv/project/src","pattern":"**/*.rs","excludePatterns":["target","node_modules"],"maxResults":50},"_meta":{"progressToken":"p-7","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}}"#;
    vec![
        Sample { name: "call 300 B", raw: call.to_vec(), findings: 0 },
        Sample { name: "result 4 KB", raw: result(&prose(4 << 10)), findings: 0 },
        Sample { name: "result 16 KB", raw: result(&prose(16 << 10)), findings: 0 },
        Sample { name: "result 256 KB", raw: result(&prose(256 << 10)), findings: 0 },
        leaky(),
    ]
}

/// A 16 KB result with one key of the form AWS gives out in its middle.
pub fn leaky() -> Sample {
    let half = prose(8 << 10);
    let key = ["AKIA", "QYLPMN5HHHFPZAM2"].concat();
    let text = format!("{half}\naws_access_key_id = {key}\n{half}");
    Sample { name: "result 16 KB, one key", raw: result(&text), findings: 1 }
}

/// The tool result that holds `text`.
pub fn result(text: &str) -> Vec<u8> {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"content":[{{"type":"text","text":"{escaped}"}}]}}}}"#).into_bytes()
}

/// About `length` bytes of text as tools give it: sentences, a little code, line ends.
pub fn prose(length: usize) -> String {
    const LINES: [&str; 6] = [
        "The build finished in 41 seconds; three tests were skipped on this platform.\n",
        "    let total: usize = rows.iter().map(|row| row.len()).sum();\n",
        "See the section on retries for what happens when the queue is full.\n",
        "- src/server/mod.rs: 214 lines, last changed by the release of March\n",
        "Prices are shown without tax, and delivery takes two to four days.\n",
        "if status != 200 { return Err(Error::Status(status)); }\n",
    ];
    LINES
        .iter()
        .cycle()
        .scan(0, |size, line| {
            *size += line.len();
            (*size <= length).then_some(*line)
        })
        .collect()
}

/// Kinds of text that tools give.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Sentences, a little code.
    Ascii,
    /// Code.
    Code,
    /// JSON in a string.
    Json,
    /// One long run of base64, as of an image.
    Base64,
    /// Sentences in several scripts.
    NonAscii,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 5] = [Kind::Ascii, Kind::Code, Kind::Json, Kind::Base64, Kind::NonAscii];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ascii => "ASCII text",
            Kind::Code => "code",
            Kind::Json => "JSON",
            Kind::Base64 => "base64",
            Kind::NonAscii => "non-ASCII",
        }
    }

    /// About `length` bytes of it.
    pub fn text(self, length: usize) -> String {
        let lines: &[&str] = match self {
            Kind::Ascii => return prose(length),
            Kind::Code => &[
                "pub fn merge(left: &[Row], right: &[Row]) -> Vec<Row> {\n",
                "    let mut out = Vec::with_capacity(left.len() + right.len());\n",
                "    for (i, row) in left.iter().enumerate() {\n",
                "        if row.key <= right[i].key { out.push(row.clone()); }\n",
                "        // equal keys keep the order of the left side\n",
                "    }\n    out\n}\n\n",
            ],
            Kind::Json => {
                let rows = (0..length / 90).map(|n| {
                    serde_json::json!({ "id": n, "name": "a row of the table", "path": "/srv/data/rows", "ok": true, "size": 4096 + n })
                });
                return serde_json::Value::from_iter(rows).to_string();
            }
            Kind::Base64 => return noise(length),
            Kind::NonAscii => &[
                "Der Aufbau dauerte länger als geplant; drei Prüfungen fielen weg.\n",
                "La compilation s’est terminée après quarante et une secondes.\n",
                "Сборка завершилась успешно, три теста были пропущены.\n",
                "構築は四十一秒で終わり、三つの試験は省かれました。\n",
                "编译在四十一秒内完成，三个测试被跳过。\n",
            ],
        };
        let mut out = String::new();
        for line in lines.iter().cycle() {
            if out.len() + line.len() > length {
                return out;
            }
            out.push_str(line);
        }
        out
    }
}

/// Letters and figures without sense, the same each time.
fn noise(length: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let digit = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(DIGITS[(state >> 58) as usize])
    };
    (0..length).map(digit).collect()
}

/// A kind of flood: its name, and one of about so many bytes.
pub type Flood = (&'static str, fn(usize) -> Vec<u8>);

/// What an attacker sends to make inspection slow: many half matches, keys, runs and readings.
pub const HOSTILE: &[Flood] = &[
    ("half keys", |n| result(&"sk-ant-api03-".repeat(n / 13))),
    ("assignments", |n| result(&"api_key=password=".repeat(n / 17))),
    ("orders", |n| result(&"ignore all previous ".repeat(n / 20))),
    ("digits", |n| result(&"4111 1111 1111 1112 ".repeat(n / 20))),
    ("mails", |n| result(&"a@b.c@".repeat(n / 6))),
    ("percent signs", |n| result(&"%61%7a".repeat(n / 6))),
    ("look-alikes", |n| result(&"\u{430}\u{200b}".repeat(n / 5))),
    ("base64 of base64", |n| result(&"WVdGaFlXRmg".repeat(n / 11))),
    ("spaced letters", |n| result(&"i g n o r e  ".repeat(n / 13))),
    ("open brackets", |n| result(&"[{".repeat(n / 2))),
    ("JSON in a string", |n| {
        result(&format!("[{}]", "{\"password\":\"\\u0061\"},".repeat(n / 26)))
    }),
    ("keys", |n| {
        let members: Vec<String> =
            (0..n / 24).map(|i| format!("\"password{i}\":\"x{i}\"")).collect();
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{{\"structuredContent\":{{{}}}}}}}",
            members.join(",")
        )
        .into_bytes()
    }),
    ("opaque values", |n| {
        let members: Vec<String> =
            (0..n / 32).map(|i| format!("{{\"type\":\"image\",\"data\":\"AKIA{i}\"}}")).collect();
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{{\"content\":[{}]}}}}",
            members.join(",")
        )
        .into_bytes()
    }),
    ("short texts", |n| {
        let members: Vec<String> =
            (0..n / 30).map(|_| "{\"type\":\"text\",\"text\":\"eyJ\"}".to_owned()).collect();
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{{\"content\":[{}]}}}}",
            members.join(",")
        )
        .into_bytes()
    }),
];

/// A rule file of so many rules, each with a prefix of its own.
pub fn rules(count: usize) -> String {
    let mut out = String::from("rules:\n");
    for n in 0..count {
        let mut prefix = String::from("q");
        let mut rest = n;
        for _ in 0..4 {
            prefix.push(char::from(b'a' + (rest % 26) as u8));
            rest /= 26;
        }
        out.push_str(&format!(
            "- id: bench.rule-{n}\n  title: t\n  class: secret\n  severity: high\n  pattern: '\\b{prefix}_[A-Za-z0-9]{{32}}\\b'\n  entropy: 3.0\n  docs: {{finds: f, why: w}}\n  tests: {{match: ['{prefix}_{{{{alnum:32}}}}', 'k={prefix}_{{{{alnum:32}}}}'], no_match: ['{prefix}_', '{prefix}_x']}}\n"
        ));
    }
    out
}

/// The rules built into the gateway, compiled.
pub fn rule_set() -> RuleSet {
    let files: Vec<RuleFile<'_>> =
        rules::builtin().iter().map(|(name, text)| RuleFile { name, text }).collect();
    RuleSet::compile_beside(&files, &[]).unwrap_or_else(|errors| panic!("{errors}"))
}
