//! SARIF 2.1.0, as code hosts and editors read it: a run of this tool with its codes and what it found.

use serde_json::{Value, json};

use super::Problem;

/// One log with one run. `meanings` are the codes that can occur, in their order.
pub(crate) fn log(level: &str, meanings: &[(&str, &str)], problems: &[Problem]) -> Value {
    let rules: Vec<Value> = meanings
        .iter()
        .map(|(code, meaning)| json!({ "id": code, "shortDescription": { "text": meaning } }))
        .collect();
    let results: Vec<Value> =
        problems.iter().map(|problem| result(level, meanings, problem)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "wiregate-replay",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(level: &str, meanings: &[(&str, &str)], problem: &Problem) -> Value {
    let mut physical = json!({ "artifactLocation": { "uri": uri(&problem.file) } });
    if problem.line > 0 {
        physical["region"] =
            json!({ "startLine": problem.line, "startColumn": problem.column.max(1) });
    }
    let mut location = json!({ "physicalLocation": physical });
    if !problem.rule().is_empty() {
        location["logicalLocations"] = json!([{ "fullyQualifiedName": problem.rule() }]);
    }
    let text = match problem.label.as_str() {
        "" => problem.message.clone(),
        label => format!("{label}: {}", problem.message),
    };
    let mut result = json!({
        "ruleId": problem.code,
        "level": level,
        "message": { "text": text },
        "locations": [location],
    });
    if let Some(index) = meanings.iter().position(|(code, _)| *code == problem.code) {
        result["ruleIndex"] = json!(index);
    }
    result
}

/// A path as a relative or absolute URI reference.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    if path.starts_with('/') { format!("file://{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::{Problem, log};

    #[test]
    fn a_result_says_what_and_where() {
        let problem = Problem {
            file: "my rules/ä.yaml".to_owned(),
            line: 3,
            column: 5,
            code: "R005",
            label: "a.b: tests.match.0".to_owned(),
            message: "the rule does not find it".to_owned(),
        };
        let log = log("error", &[("R004", "few"), ("R005", "missed")], &[problem]);
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        let result = &run["results"][0];
        assert_eq!(result["ruleIndex"], 1);
        assert_eq!(run["tool"]["driver"]["rules"][1]["id"], result["ruleId"]);
        let place = &result["locations"][0];
        let file = &place["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(file, "my%20rules/%C3%A4.yaml");
        assert_eq!(place["physicalLocation"]["region"]["startColumn"], 5);
        assert_eq!(place["logicalLocations"][0]["fullyQualifiedName"], "a.b");
    }
}
