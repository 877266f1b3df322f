//! Every rule file compiles, which runs every example and counter-example; every rule is documented; and the whole
//! set is held against the corpus of attacks and of everyday traffic beside it.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use inspect::rule::{RuleDef, RuleDefs};
use inspect::template::expand;
use inspect::{Action, Direction, ParseLimits, Parser, RuleFile, RuleSet, Scanner, Subject, yaml};
use serde_json::{Value, json};
use std::path::Path;

fn files(parts: &[&[(&'static str, &'static str)]]) -> Vec<RuleFile<'static>> {
    let all = parts.iter().flat_map(|part| part.iter());
    all.map(|(name, text)| RuleFile { name, text }).collect()
}

fn compiled(parts: &[&[(&'static str, &'static str)]]) -> RuleSet {
    match RuleSet::compile(&files(parts)) {
        Ok(set) => set,
        Err(errors) => panic!("{} errors\n{errors}", errors.len()),
    }
}

fn defs() -> Vec<(&'static str, RuleDef)> {
    let all = rules::builtin().iter().chain(rules::packs());
    all.flat_map(|(name, text)| {
        let (file, _) = yaml::from_str::<RuleDefs>(name, text, None).unwrap();
        file.rules.into_iter().map(|rule| (*name, rule))
    })
    .collect()
}

#[test]
fn the_builtin_set_compiles() {
    let set = compiled(&[rules::builtin()]);
    assert!(set.len() >= 75, "only {} rules", set.len());
}

#[test]
fn the_builtin_set_compiles_with_each_pack() {
    for pack in rules::packs() {
        compiled(&[rules::builtin(), std::slice::from_ref(pack)]);
    }
}

#[test]
fn each_set_has_its_name_and_the_version_of_the_release() {
    let title = |name: &str| format!("{name} {}", rules::VERSION);
    assert_eq!(compiled(&[rules::builtin()]).title(), title(rules::NAME));
    for (path, text) in rules::packs() {
        let name = path.trim_start_matches("packs/").trim_end_matches(".yaml");
        let (file, _) = yaml::from_str::<RuleDefs>(path, text, None).unwrap();
        let sets: Vec<String> = file.set.iter().map(ToString::to_string).collect();
        assert_eq!(sets, [title(&format!("wiregate-{name}"))]);
    }
}

#[test]
fn every_file_is_embedded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec!["set.yaml".to_owned()];
    for folder in ["dlp", "injection", "pii", "packs"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            found.push(format!("{folder}/{name}"));
        }
    }
    let embedded = rules::builtin().iter().chain(rules::packs());
    let mut embedded: Vec<String> = embedded.map(|(name, _)| (*name).to_owned()).collect();
    found.sort();
    embedded.sort();
    assert_eq!(found, embedded);
}

#[test]
fn every_corpus_is_embedded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut found = Vec::new();
    for label in ["attack", "benign"] {
        for entry in std::fs::read_dir(root.join(label)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            found.push(format!("corpus/{label}/{name}"));
        }
    }
    found.sort();
    let embedded: Vec<&str> = rules::corpus().iter().map(|(name, _)| *name).collect();
    assert_eq!(found, embedded);
}

#[test]
fn ids_match_their_folder() {
    for (file, rule) in defs() {
        let (folder, name) = file.split_once('/').unwrap();
        let first = match folder {
            "packs" => name.trim_end_matches(".yaml"),
            folder => folder,
        };
        assert!(rule.id.starts_with(&format!("{first}.")), "{} in {file}", rule.id);
    }
}

#[test]
fn every_rule_is_documented() {
    for (_, rule) in defs() {
        let docs = &rule.docs;
        let sections =
            [Some(&docs.finds), Some(&docs.why), docs.example.as_ref(), docs.instead.as_ref()];
        for section in sections {
            let text = section.map_or("", |text| text.trim());
            assert!(text.len() > 4, "{}: a section is missing", rule.id);
        }
        assert!(!docs.references.is_empty(), "{}: no reference", rule.id);
        for reference in &docs.references {
            assert!(reference.starts_with("https://"), "{}: {reference}", rule.id);
        }
    }
}

#[test]
fn slow_rules_stay_few_at_the_first_level() {
    let slow = defs()
        .into_iter()
        .filter(|(file, rule)| rule.slow && rule.paranoia == 1 && !file.starts_with("packs/"));
    let slow: Vec<String> = slow.map(|(_, rule)| rule.id).collect();
    assert!(slow.len() <= 16, "{slow:?}");
}

#[test]
fn the_files_hold_no_secret_of_their_own() {
    // the examples are templates: as written, no high-confidence secret rule may find one
    let set = compiled(&[rules::builtin()]);
    let subject = Subject { direction: Direction::ToClient, ..subject("result.text") };
    let mut scanner = Scanner::new();
    for (name, text) in rules::builtin().iter().chain(rules::packs()) {
        let scan = scanner.scan_text(&set, text, inspect::Surface::ResultText, &subject);
        let mut ids: Vec<&str> = Vec::new();
        for finding in &scan.findings {
            let rule = set.rule(finding.rule);
            let sure = rule.confidence() == inspect::Confidence::High;
            if rule.class() == inspect::Class::Secret && sure {
                ids.push(rule.id());
            }
        }
        assert!(ids.is_empty(), "{name}: {ids:?}");
    }
}

#[test]
fn attacks_are_found_and_everyday_traffic_passes() {
    let set = compiled(&[rules::builtin()]);
    let mut wrong = Vec::new();
    let mut counts = [0_usize; 2];
    for (index, folder) in ["attack", "benign"].into_iter().enumerate() {
        for line in corpus(folder) {
            counts[index] += 1;
            let found = found(&set, &line);
            if folder == "benign" && !found.is_empty() {
                wrong.push(format!("{} is found by {found:?}", line["id"]));
            }
            for rule in line["rules"].as_array().unwrap() {
                if !found.iter().any(|id| id == rule.as_str().unwrap()) {
                    wrong.push(format!("{} is not found by {rule}, only by {found:?}", line["id"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(counts.iter().all(|count| *count >= 30), "{counts:?}");
}

fn corpus(folder: &str) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(folder);
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    lines
}

/// The ids of the rules with an action of flag or more that find something in a line of the corpus.
fn found(set: &RuleSet, line: &Value) -> Vec<String> {
    let surface = line["surface"].as_str().unwrap();
    let text = expand(line["text"].as_str().unwrap(), line["id"].as_str().unwrap()).unwrap();
    let message = message(surface, &text).to_string();
    let mut parser = Parser::new(ParseLimits::default());
    let mut scanner = Scanner::new();
    let subject = subject(surface);
    let scan =
        parser.parse(message.as_bytes(), |message| scanner.scan(set, message, &subject)).unwrap();
    let mut ids: Vec<String> = Vec::new();
    for finding in &scan.findings {
        let rule = set.rule(finding.rule);
        if rule.action() >= Action::Flag {
            ids.push(rule.id().to_owned());
        }
    }
    ids
}

fn subject(surface: &str) -> Subject<'static> {
    let (direction, method) = match surface {
        "call.args" => (Direction::ToServer, "tools/call"),
        "tool.description" | "tool.schema" | "tool.definition" => {
            (Direction::ToClient, "tools/list")
        }
        "resource" => (Direction::ToClient, "resources/read"),
        "prompt" => (Direction::ToClient, "prompts/get"),
        "sampling" => (Direction::ToClient, "sampling/createMessage"),
        "elicitation" => (Direction::ToClient, "elicitation/create"),
        "log" => (Direction::ToClient, "notifications/message"),
        _ => (Direction::ToClient, "tools/call"),
    };
    Subject {
        direction,
        server: "corpus",
        method: Some(method),
        name: Some("tool"),
        paranoia: 1,
        budget: usize::MAX,
        now: 0,
    }
}

/// A message that carries the text on the surface; text that is a JSON object stands as that object.
fn message(surface: &str, text: &str) -> Value {
    let value = match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => object,
        _ => json!({ "text": text }),
    };
    let tool = |description: &str, schema: &str| {
        let parameter = json!({ "type": "string", "description": schema });
        json!({ "name": "t", "description": description,
            "inputSchema": { "type": "object", "properties": { "p": parameter } } })
    };
    let result = |result: Value| json!({ "jsonrpc": "2.0", "id": 1, "result": result });
    let request = |method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let content = json!({ "type": "text", "text": text });
    match surface {
        "call.args" => request("tools/call", json!({ "name": "tool", "arguments": value })),
        "result.text" => result(json!({ "content": [content] })),
        "result.structured" => result(json!({ "content": [], "structuredContent": value })),
        "tool.description" => result(json!({ "tools": [tool(text, "a value")] })),
        "tool.schema" => result(json!({ "tools": [tool("a tool", text)] })),
        "tool.definition" => result(json!({ "tools": [value] })),
        "resource" => result(json!({ "contents": [{ "uri": "file:///a", "text": text }] })),
        "prompt" => result(json!({ "messages": [{ "role": "user", "content": content }] })),
        "sampling" => request(
            "sampling/createMessage",
            json!({ "maxTokens": 9, "messages": [{ "role": "user", "content": content }] }),
        ),
        "elicitation" => request("elicitation/create", json!({ "message": "?", "more": value })),
        "log" => json!({ "jsonrpc": "2.0", "method": "notifications/message",
            "params": { "level": "info", "data": text } }),
        other => panic!("no surface {other}"),
    }
}
