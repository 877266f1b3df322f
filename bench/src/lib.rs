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

/// The rules built into the gateway, compiled.
pub fn rule_set() -> RuleSet {
    let files: Vec<RuleFile<'_>> =
        rules::builtin().iter().map(|(name, text)| RuleFile { name, text }).collect();
    RuleSet::compile(&files).unwrap_or_else(|errors| panic!("{errors}"))
}
