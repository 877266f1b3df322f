//! Templates of composite tools: values in which `{{POINTER}}` stands for a part of the arguments
//! or of an earlier result. Not a language: there are no expressions, loops or functions.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Why a template gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// Nothing is where it points to. Caused by the arguments or an earlier result.
    #[error("nothing is at {0}")]
    Missing(String),
    /// What came of it is larger than a message may be.
    #[error("what it makes is larger than {0} bytes")]
    TooLarge(usize),
}

/// A template filled in from `data`, no larger than `limit` bytes of text.
///
/// # Errors
/// When something is missing or too large.
pub fn fill(template: &Value, data: &Value, limit: usize) -> Result<Value, TemplateError> {
    let mut left = limit;
    let filled = Filler { data, limit, left: &mut left }.value(template)?;
    Ok(filled.unwrap_or(Value::Null))
}

struct Filler<'a> {
    data: &'a Value,
    limit: usize,
    left: &'a mut usize,
}

impl Filler<'_> {
    /// A value filled in; `None` for one that may be missing and is.
    fn value(&mut self, template: &Value) -> Result<Option<Value>, TemplateError> {
        Ok(Some(match template {
            Value::String(text) => match whole(text) {
                Some((pointer, may_miss)) => match self.data.pointer(pointer) {
                    Some(found) => {
                        self.spend(size(found))?;
                        found.clone()
                    }
                    None if may_miss => return Ok(None),
                    None => return Err(TemplateError::Missing(pointer.to_owned())),
                },
                None => Value::String(self.text(text)?),
            },
            Value::Array(items) => {
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    out.extend(self.value(item)?);
                }
                Value::Array(out)
            }
            Value::Object(members) => {
                let mut out = Map::new();
                for (key, value) in members {
                    if let Some(value) = self.value(value)? {
                        out.insert(key.clone(), value);
                    }
                }
                Value::Object(out)
            }
            other => other.clone(),
        }))
    }

    fn text(&mut self, template: &str) -> Result<String, TemplateError> {
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, pointer, may_miss, after)) = next(rest) {
            out.push_str(before);
            match self.data.pointer(pointer) {
                Some(Value::String(text)) => out.push_str(text),
                Some(other) => {
                    self.spend(size(other))?;
                    out.push_str(&other.to_string());
                }
                None if may_miss => {}
                None => return Err(TemplateError::Missing(pointer.to_owned())),
            }
            rest = after;
            if out.len() > *self.left {
                return Err(TemplateError::TooLarge(self.limit));
            }
        }
        out.push_str(rest);
        self.spend(out.len())?;
        Ok(out)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), TemplateError> {
        let left = self.left.checked_sub(bytes).ok_or(TemplateError::TooLarge(self.limit))?;
        *self.left = left;
        Ok(())
    }
}

/// About how long a value is as text.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| size(item) + 1).sum::<usize>() + 2,
        Value::Object(all) => all.iter().map(|(k, v)| k.len() + size(v) + 4).sum::<usize>() + 2,
        _ => 8,
    }
}

/// The pointer of a text that is nothing but one, and whether it may be missing.
fn whole(text: &str) -> Option<(&str, bool)> {
    match next(text) {
        Some(("", pointer, may_miss, "")) => Some((pointer, may_miss)),
        _ => None,
    }
}

/// The first pointer in a text: what is before it, itself, whether it may be missing, the rest.
fn next(text: &str) -> Option<(&str, &str, bool, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (inner, after) = rest.split_once("}}")?;
    match inner.strip_prefix('?') {
        Some(pointer) => Some((before, pointer, true, after)),
        None => Some((before, inner, false, after)),
    }
}

/// Every pointer in a template.
pub fn pointers(template: &Value) -> Vec<String> {
    let mut found = Vec::new();
    gather(template, &mut found);
    found
}

fn gather(template: &Value, found: &mut Vec<String>) {
    match template {
        Value::String(text) => {
            let mut rest = text.as_str();
            while let Some((_, pointer, _, after)) = next(rest) {
                found.push(pointer.to_owned());
                rest = after;
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, found)),
        Value::Object(members) => members.values().for_each(|value| gather(value, found)),
        _ => {}
    }
}

/// Whether a pointer leads to the arguments or to one of these steps.
pub fn is_known(pointer: &str, steps: &BTreeSet<String>) -> bool {
    if pointer == "/input" || pointer.starts_with("/input/") {
        return true;
    }
    let step = pointer.strip_prefix("/steps/").map(|rest| rest.split('/').next().unwrap_or(rest));
    step.is_some_and(|step| steps.contains(step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn data() -> Value {
        json!({ "input": { "city": "Graz", "n": 3, "a/b": true },
                "steps": { "one": { "structuredContent": { "ids": [7, 8] }, "text": "fine" } } })
    }

    #[test]
    fn a_pointer_alone_keeps_its_type_and_within_a_text_becomes_text() {
        let template = json!({
            "n": "{{/input/n}}",
            "ids": "{{/steps/one/structuredContent/ids}}",
            "b": "{{/input/a~1b}}",
            "said": "in {{/input/city}}: {{/steps/one/structuredContent/ids/1}} ({{/input/n}})",
            "plain": ["as it is", 1, null],
        });
        let filled = fill(&template, &data(), 1000).unwrap();
        let expected = json!({
            "n": 3, "ids": [7, 8], "b": true, "said": "in Graz: 8 (3)",
            "plain": ["as it is", 1, null],
        });
        assert_eq!(filled, expected);
    }

    #[test]
    fn what_is_missing_is_told_unless_it_may_be() {
        let missing = fill(&json!("{{/input/gone}}"), &data(), 1000);
        assert_eq!(missing, Err(TemplateError::Missing("/input/gone".into())));
        assert_eq!(fill(&json!({"a": "{{?/input/gone}}"}), &data(), 1000), Ok(json!({})));
        assert_eq!(fill(&json!("x{{?/input/gone}}y"), &data(), 1000), Ok(json!("xy")));
    }

    #[test]
    fn what_it_makes_is_bounded_and_never_read_again() {
        let data = json!({ "input": { "x": "{{/input/y}}", "y": "z".repeat(600) } });
        assert_eq!(fill(&json!("{{/input/x}}"), &data, 1000), Ok(json!("{{/input/y}}")));
        let twice = json!(["{{/input/y}}", "{{/input/y}}"]);
        assert_eq!(fill(&twice, &data, 1000), Err(TemplateError::TooLarge(1000)));
        let text = json!("{{/input/y}}{{/input/y}}");
        assert_eq!(fill(&text, &data, 1000), Err(TemplateError::TooLarge(1000)));
    }

    #[test]
    fn pointers_are_found_wherever_they_stand() {
        let found = pointers(&json!({"a": ["{{/input/x}} and {{?/steps/s/text}}"], "b": "{{ "}));
        assert_eq!(found, ["/input/x", "/steps/s/text"]);
        let steps = BTreeSet::from(["s".to_owned()]);
        assert!(found.iter().all(|pointer| is_known(pointer, &steps)));
        assert!(!is_known("/steps/t/text", &steps) && !is_known("/inputs", &steps));
    }
}
