//! Rules as written → a rule file for people: plain YAML, patterns in single quotes or blocks.

use std::fmt::Write as _;

use inspect::rule::{AllowTarget, Confidence, Example, RuleDef};

/// What the compiler asks for.
pub(super) const NEEDED: usize = 2;

/// The file; rules without examples as comments, so that the others compile.
pub(super) fn yaml(defs: &[RuleDef], source: &str) -> String {
    let source: String = source.chars().filter(|c| !::scan::text::is_hostile(*c)).collect();
    let mut out = format!(
        "# Written by `wiregate-replay import {source}`. Patterns and texts are the source's and keep its licence.\n"
    );
    let (whole, untested): (Vec<_>, Vec<_>) = defs.iter().partition(|def| tested(def));
    out.push_str(if whole.is_empty() { "rules: []\n" } else { "rules:\n" });
    for (index, def) in whole.into_iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        rule(&mut out, def);
    }
    if !untested.is_empty() {
        out.push_str(
            "\n# These want two examples and two counter-examples, and none could be made.\n",
        );
    }
    for def in untested {
        let mut text = String::new();
        rule(&mut text, def);
        for line in text.lines() {
            out.push_str(format!("#{line}").trim_end());
            out.push('\n');
        }
    }
    out
}

/// Whether a rule has the examples that the compiler asks for.
pub(super) fn tested(def: &RuleDef) -> bool {
    def.tests.matches.len() >= NEEDED && def.tests.no_match.len() >= NEEDED
}

/// One rule. What an import never sets is not written.
fn rule(out: &mut String, def: &RuleDef) {
    // writing to a String cannot fail, here and below
    let _ = writeln!(out, "  - id: {}", scalar(&def.id, 4));
    let _ = writeln!(out, "    title: {}", scalar(&def.title, 4));
    let _ = writeln!(out, "    class: {}\n    severity: {}", def.class, def.severity);
    if def.confidence != Confidence::Medium {
        let _ = writeln!(out, "    confidence: {}", def.confidence);
    }
    let _ = writeln!(out, "    pattern: {}", scalar(&def.pattern, 4));
    list(out, 4, "keywords", &def.keywords);
    for (name, set) in [("slow", def.slow), ("unicode", def.unicode), ("shadow", def.shadow)] {
        if set {
            let _ = writeln!(out, "    {name}: true");
        }
    }
    if let Some(entropy) = def.entropy {
        let _ = writeln!(out, "    entropy: {entropy}");
    }
    if !def.allow.is_empty() {
        out.push_str("    allow:\n");
    }
    for allow in &def.allow {
        let target = match allow.target {
            AllowTarget::Match => "match",
            AllowTarget::Line => "line",
            AllowTarget::Tool => "tool",
            AllowTarget::Server => "server",
            AllowTarget::Secret => "secret",
        };
        let _ = writeln!(out, "      - target: {target}");
        list(out, 8, "regexes", &allow.regexes);
        list(out, 8, "stopwords", &allow.stopwords);
        list(out, 8, "hashes", &allow.hashes);
    }
    let _ = writeln!(out, "    docs:\n      finds: {}", scalar(&def.docs.finds, 6));
    let _ = writeln!(out, "      why: {}", scalar(&def.docs.why, 6));
    list(out, 6, "references", &def.docs.references);
    out.push_str("    tests:\n");
    for (name, examples) in [("match", &def.tests.matches), ("no_match", &def.tests.no_match)] {
        let texts: Vec<String> = examples
            .iter()
            .map(|example| match example {
                Example::Text(text) => text.clone(),
                Example::Keyed(keyed) => keyed.value.clone(),
            })
            .collect();
        if texts.is_empty() {
            let _ = writeln!(out, "      {name}: []");
        }
        list(out, 6, name, &texts);
    }
}

fn list(out: &mut String, indent: usize, name: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "{:indent$}{name}:", "");
    for item in items {
        let _ = writeln!(out, "{:indent$}  - {}", "", scalar(item, indent + 2));
    }
}

/// A string in the plainest form that reads back as itself. `indent` is that of the line it stands on.
fn scalar(text: &str, indent: usize) -> String {
    let plain = |c: char| !::scan::text::is_hostile(c) && !matches!(c, '\u{fffe}' | '\u{ffff}');
    if text.chars().all(plain) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let lines: Vec<&str> = text.split('\n').collect();
    let first = lines.first().copied().unwrap_or_default();
    let blank = |line: &&str| !line.is_empty() && line.trim().is_empty();
    let block = lines.len() > 1
        && lines.iter().all(|line| line.chars().all(plain))
        && !first.is_empty()
        && !lines.iter().any(blank)
        && !first.starts_with(' ')
        && !text.ends_with("\n\n");
    if block {
        let (sign, body) = match text.strip_suffix('\n') {
            Some(body) => ("|", body),
            None => ("|-", text),
        };
        let mut out = sign.to_owned();
        for line in body.split('\n') {
            out.push('\n');
            if !line.is_empty() {
                let _ = write!(out, "{:indent$}  {line}", "");
            }
        }
        return out;
    }
    // JSON's string is YAML's, but for characters that YAML wants escaped
    let json = serde_json::Value::from(text).to_string();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if plain(c) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]).iter().take(2) {
                // YAML takes characters beyond the first plane by eight digits, not by halves
                if c.len_utf16() == 1 {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            if c.len_utf16() == 2 {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::scalar;

    #[test]
    fn every_scalar_reads_back() {
        for text in [
            "",
            "it's",
            " a: b # c ",
            "- x",
            "{{hex:40}}",
            "a\nb",
            "a\n\n  b\n",
            "a\nb\n\n",
            " a\nb",
            "\na",
            "a\n \nb",
            "tab\there\nand",
            "a\\b\"c\n\tq",
            "\u{0}\u{7f}\u{85}\u{2028}\u{feff}",
            "\u{e0041}\u{1f600}x\n\u{e0042}",
            "# a\n#b",
            "'",
            "a\r\nb",
        ] {
            let yaml = format!("a:\n  - b: {}\n    c: 1\n", scalar(text, 4));
            let (value, _) =
                inspect::yaml::from_str::<serde_json::Value>("t", &yaml, None).unwrap();
            assert_eq!(value["a"][0]["b"], text, "{yaml}");
            assert_eq!(value["a"][0]["c"], 1, "{yaml}");
        }
    }
}
