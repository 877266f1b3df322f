//! The verbs of rule authors on small files: corpora and floors, reports, lint, imports.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const RULES: &str = r#"rules:
  - id: test.secret.token
    title: Test token
    class: secret
    severity: high
    pattern: '\btok_[a-z0-9]{20}\b'
    docs: {finds: A made-up token., why: It stands for a credential.}
    tests:
      match: ["use tok_{{loweralnum:20}} here", "tok_{{loweralnum:20}}"]
      no_match: ["tok_short", "token of thanks"]
  - id: test.pii.badge
    title: Test badge
    class: pii
    severity: low
    action: flag
    pattern: '\bbadge-[0-9]{4}\b'
    docs: {finds: A badge number., why: It stands for a person.}
    tests:
      match: ["see badge-1234", "badge-0000"]
      no_match: ["badge-12", "badge of honour"]
"#;

const ATTACKS: &str = r#"{"id": 1, "kind": "plain", "class": "secret", "surface": "result.text", "text": "a tok_{{loweralnum:20}}"}
{"id": 2, "kind": "plain", "class": "secret", "surface": "call.args", "text": "tok_{{loweralnum:20}}."}
{"id": "three", "kind": "short", "class": "secret", "surface": "result.text", "text": "tok_{{loweralnum:9}}"}
{"id": 4, "kind": "plain", "class": "pii", "surface": "result.text", "text": "badge-4711 lost"}
"#;

const BENIGN: &str = r#"{"id": 5, "kind": "chat", "surface": "result.text", "text": "a badge of honour"}

{"id": 6, "kind": "chat", "surface": "result.text", "text": "the part badge-0815 fits {{ here }}"}
{"id": 7, "label": "attack", "kind": "plain", "class": "pii", "surface": "log", "text": "badge-1111"}
"#;

/// Runs the binary in a folder, away from any terminal.
fn run(dir: &TempDir, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wiregate-replay"))
        .args(args)
        .current_dir(dir.path())
        .output()
        .unwrap()
}

fn text(output: Output) -> String {
    let [stdout, stderr] = [output.stdout, output.stderr].map(|s| String::from_utf8(s).unwrap());
    format!("{stdout}--- stderr\n{stderr}--- exit code {}\n", output.status.code().unwrap())
}

fn snapshot(name: &str, text: &str) {
    insta::with_settings!({
        omit_expression => true,
        prepend_module_to_snapshot => false,
        filters => vec![(r"\b[0-9a-f]{64}\b", "DIGEST")],
    }, { insta::assert_snapshot!(name, text) });
}

/// A folder of files; folders in their names are made.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn read(dir: &TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).unwrap()
}

fn with_corpus() -> TempDir {
    folder(&[
        ("rules/a.yaml", RULES),
        ("corpus/attack/made.jsonl", ATTACKS),
        ("corpus/benign/everyday.jsonl", BENIGN),
    ])
}

#[test]
fn corpora_are_counted_by_class_kind_and_file() {
    let dir = with_corpus();
    let test = |args: &[&str]| {
        text(run(&dir, &[&["test", "rules", "rules", "--corpus", "corpus"], args].concat()))
    };
    snapshot("corpus", &test(&["--list", "5"]));
    snapshot("corpus_at_redact", &test(&["--at", "redact"]));
    snapshot("corpus_json", &test(&["--json"]));
}

#[test]
fn floors_hold_or_fail_and_name_what_is_measured() {
    let dir = with_corpus();
    let code = |args: &[&str]| {
        run(&dir, &[&["test", "rules", "rules", "--corpus", "corpus"], args].concat()).status.code()
    };
    // 4 of 5 attacks are caught, 1 of 2 benign lines is hit
    assert_eq!(code(&["--min-recall", "0.8", "--max-false-positives", ".5"]), Some(0));
    assert_eq!(code(&["--min-recall", "0.81"]), Some(1));
    assert_eq!(code(&["--max-false-positives", "0.4"]), Some(1));
    assert_eq!(code(&["--min-recall", "pii=1", "--min-recall", "class:secret=.6"]), Some(0));
    assert_eq!(code(&["--min-recall", "secret=.7"]), Some(1));
    assert_eq!(code(&["--min-recall", "short=.1"]), Some(1));
    assert_eq!(code(&["--min-recall", "corpus:made=.75"]), Some(0));
    assert_eq!(code(&["--min-recall", "corpus:made=.75", "--at", "redact"]), Some(1));
    // what names nothing, or nothing of its label, would hold for ever
    assert_eq!(code(&["--min-recall", "secrets=.1"]), Some(2));
    assert_eq!(code(&["--min-recall", "chat=.1"]), Some(2));
    assert_eq!(code(&["--min-recall", "2"]), Some(2));
    let alone = run(&dir, &["test", "rules", "rules", "--min-recall", "1"]);
    assert_eq!(alone.status.code(), Some(2));
}

#[test]
fn a_line_that_cannot_be_judged_is_an_error_with_its_place() {
    for (name, line, said) in [
        ("c.jsonl", r#"{"id": 1, "text": "x"}"#, "c.jsonl:2: no `label`"),
        ("c.jsonl", r#"{"id": 1, "label": "bad", "text": "x"}"#, "a label is"),
        ("c.jsonl", r#"{"label": "attack", "text": "x"}"#, "missing field `id`"),
        ("attack/c.jsonl", r#"{"id": 1, "surface": "moon", "text": "x"}"#, "no surface"),
        ("attack/c.jsonl", r#"{"id": 1"#, "attack/c.jsonl:2"),
    ] {
        let dir = folder(&[("rules/a.yaml", RULES), (name, &format!("\n{line}\n"))]);
        let output = run(&dir, &["test", "rules", "rules", "--corpus", name]);
        assert_eq!(output.status.code(), Some(2), "{line}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(said), "{line}: {told}");
    }
}

#[test]
fn the_built_in_rules_have_a_corpus_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let floors = ["--min-recall", "corpus:dlp=1", "--max-false-positives", "0"];
    let output = run(&dir, &[&["test", "rules", "--json"], &floors[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told["corpora"]["rows"]["class:secret"]["attacks"].as_u64().unwrap() > 5);
}

#[test]
fn junit_and_sarif_tell_what_fails_and_where() {
    let failing = RULES.replace("see badge-1234", "see badge 1234");
    let dir = folder(&[("rules/a.yaml", &failing), ("rules/b.yaml", "rules: 7\n")]);
    let output = run(&dir, &["test", "rules", "rules", "--junit", "j.xml", "--sarif", "s.json"]);
    assert_eq!(output.status.code(), Some(1));
    let xml = read(&dir, "j.xml");
    let document = roxmltree::Document::parse(&xml).unwrap();
    let suites: Vec<_> = document.root_element().children().filter(|n| n.is_element()).collect();
    let names: Vec<_> = suites.iter().map(|suite| suite.attribute("name").unwrap()).collect();
    assert_eq!(names, ["rules/a.yaml", "rules/b.yaml"]);
    let cases: Vec<_> = suites[0].children().filter(|n| n.has_tag_name("testcase")).collect();
    assert_eq!(cases.len(), 2);
    for case in cases {
        let failed = case.children().any(|n| n.has_tag_name("failure"));
        assert_eq!(failed, case.attribute("name") == Some("test.pii.badge"));
    }

    let sarif: Value = serde_json::from_str(&read(&dir, "s.json")).unwrap();
    check_sarif(&sarif);
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let missed = results.iter().find(|result| result["ruleId"] == "R005").unwrap();
    let place = &missed["locations"][0];
    assert_eq!(place["physicalLocation"]["artifactLocation"]["uri"], "rules/a.yaml");
    assert_eq!(place["physicalLocation"]["region"]["startLine"], 19);
    assert_eq!(place["logicalLocations"][0]["fullyQualifiedName"], "test.pii.badge");
}

#[test]
fn reports_hold_a_case_for_each_floor() {
    let dir = with_corpus();
    let floors = ["--min-recall", "secret=1", "--min-recall", "pii=1"];
    let reports = ["--junit", "j.xml", "--sarif", "s.json"];
    let args = [&["test", "rules", "rules", "--corpus", "corpus"], &floors[..], &reports].concat();
    assert_eq!(run(&dir, &args).status.code(), Some(1));
    let xml = read(&dir, "j.xml");
    let document = roxmltree::Document::parse(&xml).unwrap();
    assert_eq!(document.root_element().attribute("failures"), Some("1"));
    let failed: Vec<_> = document
        .descendants()
        .filter(|node| node.has_tag_name("failure"))
        .map(|node| node.parent().unwrap().attribute("name").unwrap().to_owned())
        .collect();
    assert_eq!(failed, ["recall of class secret"]);
    let sarif: Value = serde_json::from_str(&read(&dir, "s.json")).unwrap();
    check_sarif(&sarif);
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "FLOOR");
}

/// What the schema of SARIF 2.1.0 asks of the parts that are used.
fn check_sarif(log: &Value) {
    assert_eq!(log["version"], "2.1.0");
    let runs = log["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    for run in runs {
        let driver = &run["tool"]["driver"];
        assert!(driver["name"].is_string());
        let rules = driver["rules"].as_array().unwrap();
        assert!(rules.iter().all(|rule| rule["id"].is_string()));
        for result in run["results"].as_array().unwrap() {
            assert!(result["message"]["text"].as_str().is_some_and(|text| !text.is_empty()));
            assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            for location in result["locations"].as_array().unwrap() {
                let physical = &location["physicalLocation"];
                assert!(physical["artifactLocation"]["uri"].is_string());
                if let Some(region) = physical.get("region") {
                    assert!(region["startLine"].as_u64().unwrap() >= 1);
                    assert!(region["startColumn"].as_u64().unwrap() >= 1);
                }
            }
        }
    }
}

#[test]
fn time_is_measured_for_every_rule_the_dearest_first() {
    let dir = with_corpus();
    let output = run(&dir, &["test", "rules", "rules", "--corpus", "corpus", "--time", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rules = told["time"]["rules"].as_array().unwrap();
    let costs: Vec<f64> = rules.iter().map(|rule| rule["ns_per_kib"].as_f64().unwrap()).collect();
    assert_eq!(costs.len(), 2);
    assert!(costs.is_sorted_by(|a, b| a >= b));
    assert!(rules.iter().all(|rule| rule["looks_per_mb"].is_f64()));
    let shown = run(&dir, &["test", "rules", "rules", "--time", "1"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.lines().filter(|line| line.starts_with("test.")).count(), 1, "{shown}");
}

#[test]
fn lint_tells_codes_and_places() {
    let dir = folder(&[("rules/a.yaml", RULES)]);
    snapshot("lint", &text(run(&dir, &["lint", "rules", "--sarif", "s.json"])));
    check_sarif(&serde_json::from_str(&read(&dir, "s.json")).unwrap());
    let json = run(&dir, &["lint", "rules", "--json"]);
    let found: Vec<Value> = serde_json::from_slice(&json.stdout).unwrap();
    assert!(found.iter().all(|one| one["line"].as_u64().unwrap() > 0 && one["code"].is_string()));
    let quiet = run(&dir, &["lint", "rules", "--ignore", "L003", "--ignore", "L004"]);
    assert_eq!((quiet.status.code(), quiet.stdout.len()), (Some(0), 0));
    assert_eq!(run(&dir, &["lint", "rules", "--ignore", "L999"]).status.code(), Some(2));
    assert_eq!(run(&dir, &["lint", "nowhere"]).status.code(), Some(2));
}

#[test]
fn lint_compares_with_the_rules_as_they_were() {
    let changed = RULES.replace("tok_[a-z0-9]{20}", "tok_[a-z0-9]{20,24}");
    let raised = changed.replacen("    title: Test token", "    rev: 2\n    title: Test token", 1);
    let dir = folder(&[("old/a.yaml", RULES), ("new/a.yaml", &changed), ("rev/a.yaml", &raised)]);
    let lint = |new: &str| {
        let args = ["lint", new, "--against", "old", "--ignore", "L003", "--ignore", "L004"];
        run(&dir, &args)
    };
    let told = String::from_utf8(lint("new").stdout).unwrap();
    let place = told.starts_with("new/a.yaml:2:");
    assert!(place && told.contains(" L011 test.secret.token: rev: pattern "), "{told}");
    assert_eq!(lint("rev").status.code(), Some(0));
    assert_eq!(lint("old").status.code(), Some(0));
}

const GITLEAKS: &str = r#"
title = "mine"
[allowlist]
paths = ["vendor/"]
regexes = ['''^\${[A-Z_]+}$''']
stopwords = ["dummy"]

[[rules]]
id = "acme-key"
description = "An Acme key."
regex = '''(?i)acme[\w.-]{0,20}?\s*[=:]\s*["']?([a-z0-9]{32,40})\b'''
secretGroup = 1
entropy = 3.0
keywords = ["acme"]
tags = ["key"]

[[rules]]
id = "Look_Ahead"
regex = '''acme(?=[0-9]{4})'''

[[rules]]
id = "dotenv"
path = '''\.env$'''

[[rules]]
id = "two-ways"
regex = '''wide_(?:a([0-9]{12})|b([a-f]{12}))'''
path = '''\.tf$'''
[[rules.allowlists]]
condition = "AND"
regexes = ['''000''']
paths = ['''test''']
[[rules.allowlists]]
regexTarget = "line"
regexes = ['''# example''']

[[rules]]
id = "short"
regex = '''\bq[0-9]{14}z\b'''
[[rules.required]]
id = "acme-key"
"#;

const NOSEYPARKER: &str = r"rules:
- name: Acme Token
  id: np.acme.1
  pattern: |
    (?x)(?i)
    \b acme [_-]? token        (?# the name )
    \s* [:=] \s*
    (?P<TOKEN> [a-z0-9]{24} )   # the token
    \b
  min_entropy: 3.0
  confidence: high
  categories: [api, secret]
  references: ['https://acme.example/tokens']
  examples:
  - 'acme_token = abcdefghijklmnopqrstuvwx'
  - 'acme_token = aaaaaaaaaaaaaaaaaaaaaaaa'
  - '{{ acme }} {{user:x}}'
  negative_examples:
  - 'acme_token = short'
  - 'acme_token = bcdefghijklmnopqrstuvwxy'
  validation:
    type: Http
- name: Acme Id
  id: np.acme.1
  pattern: 'acme-id-(\d{9})'
  categories: [identifier]
  visible: false
  examples:
- name: Broken
  id: np.acme.3
  pattern: 'acme(?!x)'
- name: Dull
  id: np.acme.5
  pattern: 'acme-pin-(\d{4})'
  min_entropy: 3.5
- name: No Pattern
  id: np.acme.4
";

/// Imports, and compiles what came of it.
fn import(dir: &TempDir, args: &[&str]) -> String {
    let told = text(run(dir, &[&["import"], args].concat()));
    let tested = run(dir, &["test", "rules", "out.yaml"]);
    assert_eq!(tested.status.code(), Some(0), "{}", String::from_utf8_lossy(&tested.stdout));
    format!("{}{told}", read(dir, "out.yaml"))
}

#[test]
fn gitleaks_rules_come_along_or_are_told_of() {
    let dir = folder(&[("g.toml", GITLEAKS)]);
    snapshot("import_gitleaks", &import(&dir, &["gitleaks", "g.toml", "--out", "out.yaml"]));
    let how = ["--prefix", "my.own", "--shadow", "--json", "--out", "own.yaml"];
    let json = run(&dir, &[&["import", "gitleaks", "g.toml"], &how[..]].concat());
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["rules"], 5);
    let parts = ["whole", "changed", "left_out"].map(|part| report[part].as_u64().unwrap());
    assert_eq!(parts, [1, 2, 2]);
    let own = read(&dir, "own.yaml");
    assert!(own.contains("id: 'my.own.acme-key'") && own.contains("shadow: true"));
    assert_eq!(json.status.code(), Some(1));
}

#[test]
fn noseyparker_rules_come_along_or_are_told_of() {
    let dir = folder(&[("rules/acme.yml", NOSEYPARKER), ("rules/set.yml", "rulesets: []\n")]);
    let args = ["noseyparker", "rules", "--out", "out.yaml", "--severity", "medium"];
    snapshot("import_noseyparker", &import(&dir, &args));
}

#[test]
fn an_import_finds_what_the_source_found() {
    let dir = folder(&[("g.toml", GITLEAKS)]);
    run(&dir, &["import", "gitleaks", "g.toml", "--out", "out.yaml"]);
    let key = inspect::template::expand("{{hex:32}}", "key").unwrap();
    let lines = [
        (format!("ACME_SECRET = '{key}'"), true),
        (format!("acme.key: {key}dummy"), false),
        (format!("other = {key}"), false),
        ("wide_a123456789012".to_owned(), true),
        ("wide_a123456789012 # example".to_owned(), false),
    ];
    let input: Vec<String> = lines
        .iter()
        .enumerate()
        .map(|(id, (text, _))| serde_json::json!({ "id": id, "text": text }).to_string())
        .collect();
    fs::write(dir.path().join("in.jsonl"), input.join("\n")).unwrap();
    let judged = run(&dir, &["judge", "--in", "in.jsonl", "--out", "-", "--rules", "out.yaml"]);
    let answers = String::from_utf8(judged.stdout).unwrap();
    assert_eq!(answers.lines().count(), lines.len());
    for ((text, found), answer) in lines.iter().zip(answers.lines()) {
        let answer: Value = serde_json::from_str(answer).unwrap();
        assert_eq!(answer["flagged"], *found, "{text}: {answer}");
    }
    // the group is what is redacted, not what stands around it
    let first: Value = serde_json::from_str(answers.lines().next().unwrap()).unwrap();
    assert_eq!(first["output"], "ACME_SECRET = '[redacted:gitleaks.acme-key]'");
}

#[test]
fn files_that_are_no_rules_are_errors() {
    let dir = folder(&[("bad.toml", "rules = [\n"), ("bad.yml", "rules: [\n")]);
    for args in [["gitleaks", "bad.toml"], ["noseyparker", "bad.yml"], ["gitleaks", "no.toml"]] {
        let output = run(&dir, &[&["import"], &args[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
