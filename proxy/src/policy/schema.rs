//! What a tool promised of its structured content (MCP, tools: `outputSchema`), as far as a redaction could break it.
//!
//! A placeholder is a string; where the schema asks for one of certain strings, or for a certain form, the client would
//! refuse the whole result, or worse, take the placeholder for an answer. Such a result is blocked instead.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use capture::Str;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Bytes of one schema at most; a larger one counts as none.
const MAX_SCHEMA: usize = 64 << 10;
/// Schemas remembered at most, of all servers.
const MAX_SCHEMAS: usize = 4096;
/// Steps of one walk through a schema, at most: schemas may refer to themselves.
const MAX_STEPS: usize = 300;

/// Server and tool.
type Key = (Str, Str);

/// The output schemas of the tools that were listed last, bounded: the oldest make room.
#[derive(Debug, Default)]
pub struct OutputSchemas {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    schemas: HashMap<Key, Arc<Value>>,
    order: VecDeque<Key>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Tools<'a>,
}

#[derive(Deserialize)]
struct Tools<'a> {
    #[serde(borrow)]
    tools: Vec<Tool<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    name: Str,
    #[serde(borrow, default)]
    output_schema: Option<&'a RawValue>,
}

impl OutputSchemas {
    /// Remembers what an answer to `tools/list` says. One of another shape says nothing.
    pub fn learn(&self, server: &Str, answer: &Bytes) {
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(answer) else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for tool in answer.result.tools {
            let key = (server.clone(), tool.name);
            let schema = tool.output_schema.filter(|schema| schema.get().len() <= MAX_SCHEMA);
            let schema = schema.and_then(|schema| serde_json::from_str(schema.get()).ok());
            let Some(schema) = schema else {
                known.schemas.remove(&key);
                continue;
            };
            if known.schemas.insert(key.clone(), Arc::new(schema)).is_none() {
                known.order.push_back(key);
            }
            while known.order.len() > MAX_SCHEMAS {
                if let Some(oldest) = known.order.pop_front() {
                    known.schemas.remove(&oldest);
                }
            }
        }
    }

    /// Whether a placeholder at `path` (JSON Pointer into the message) would break what the tool promised.
    pub fn forbids(&self, server: &Str, tool: &Str, path: &str) -> bool {
        let Some(path) = path.strip_prefix("/result/structuredContent") else { return false };
        let key = (server.clone(), tool.clone());
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(schema) = known.schemas.get(&key).cloned() else { return false };
        drop(known);
        let unescape = |word: &str| word.replace("~1", "/").replace("~0", "~");
        let words: Vec<String> = path.split('/').skip(1).map(unescape).collect();
        Walk { root: &schema, steps: MAX_STEPS }.forbids(&schema, &words)
    }
}

struct Walk<'s> {
    root: &'s Value,
    steps: usize,
}

impl<'s> Walk<'s> {
    /// Whether the value at `path` below this schema must have a certain form. What cannot be followed to its end in
    /// the steps there are counts as such.
    fn forbids(&mut self, schema: &'s Value, path: &[String]) -> bool {
        let Some(left) = self.steps.checked_sub(1) else { return true };
        self.steps = left;
        let Value::Object(members) = schema else { return false };
        for (key, value) in members {
            let here = match (key.as_str(), value, path) {
                ("$ref", Value::String(to), _) => to
                    .strip_prefix('#')
                    .and_then(|pointer| self.root.pointer(pointer))
                    .is_some_and(|to| self.forbids(to, path)),
                ("allOf" | "anyOf" | "oneOf", Value::Array(all), _) => {
                    all.iter().any(|one| self.forbids(one, path))
                }
                ("if" | "then" | "else" | "not", one, _) => self.forbids(one, path),
                ("properties", Value::Object(all), [name, rest @ ..]) => {
                    all.get(name).is_some_and(|one| self.forbids(one, rest))
                }
                ("patternProperties" | "dependentSchemas", Value::Object(all), [_, rest @ ..]) => {
                    all.values().any(|one| self.forbids(one, rest))
                }
                (
                    "additionalProperties" | "items" | "unevaluatedProperties",
                    one,
                    [_, rest @ ..],
                ) => self.forbids(one, rest),
                ("prefixItems", Value::Array(all), [at, rest @ ..]) => {
                    let at = at.parse::<usize>().ok();
                    at.and_then(|at| all.get(at)).is_some_and(|one| self.forbids(one, rest))
                }
                (
                    "enum" | "const" | "pattern" | "format" | "maxLength" | "contentEncoding",
                    _,
                    [],
                ) => true,
                _ => false,
            };
            if here {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn learned(schema: Value) -> OutputSchemas {
        let schemas = OutputSchemas::default();
        let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": [
            { "name": "plain" }, { "name": "t", "outputSchema": schema },
        ] } });
        schemas.learn(&"s".into(), &answer.to_string().into());
        schemas
    }

    fn forbids(schemas: &OutputSchemas, path: &str) -> bool {
        schemas.forbids(&"s".into(), &"t".into(), path)
    }

    #[test]
    fn only_strings_of_a_certain_form_are_forbidden() {
        let schemas = learned(json!({ "type": "object", "properties": {
            "state": { "enum": ["on", "off"] },
            "mail": { "type": "string", "format": "email" },
            "note": { "type": "string" },
            "list": { "items": { "properties": { "id": { "pattern": "^[a-z]+$" } } } },
            "pair": { "prefixItems": [{ "type": "string" }, { "const": "x" }] },
            "any/of": { "anyOf": [{ "type": "null" }, { "maxLength": 3 }] },
            "ref": { "$ref": "#/$defs/word" },
        }, "additionalProperties": { "$ref": "#/$defs/word" },
        "$defs": { "word": { "properties": { "deep": { "format": "uuid" } } } } }));
        let at = |path: &str| forbids(&schemas, &format!("/result/structuredContent{path}"));
        for path in
            ["/state", "/mail", "/list/7/id", "/pair/1", "/any~1of", "/ref/deep", "/more/deep"]
        {
            assert!(at(path), "{path}");
        }
        for path in ["", "/note", "/list", "/list/7/name", "/pair/0", "/ref", "/unheard"] {
            assert!(!at(path), "{path}");
        }
        assert!(!forbids(&schemas, "/result/content/0/text"));
        assert!(!schemas.forbids(&"s".into(), &"plain".into(), "/result/structuredContent/state"));
        assert!(!schemas.forbids(&"other".into(), &"t".into(), "/result/structuredContent/state"));
    }

    #[test]
    fn a_schema_that_refers_to_itself_has_an_end() {
        let schemas = learned(json!({ "allOf": [{ "$ref": "#" }, { "$ref": "#" }] }));
        assert!(forbids(&schemas, "/result/structuredContent/a"));
    }

    #[test]
    fn a_tool_that_promises_nothing_any_more_is_forgotten_and_so_are_the_oldest() {
        let schemas = learned(json!({ "properties": { "a": { "enum": [] } } }));
        assert!(forbids(&schemas, "/result/structuredContent/a"));
        let list = |tools: Value| Bytes::from(json!({ "result": { "tools": tools } }).to_string());
        schemas.learn(&"s".into(), &list(json!([{ "name": "t" }])));
        assert!(!forbids(&schemas, "/result/structuredContent/a"));
        let many: Vec<Value> = (0..MAX_SCHEMAS + 1)
            .map(|n| json!({ "name": format!("t{n}"), "outputSchema": { "properties": { "a": { "const": 1 } } } }))
            .collect();
        schemas.learn(&"s".into(), &list(json!(many)));
        let known =
            |tool: &str| schemas.forbids(&"s".into(), &tool.into(), "/result/structuredContent/a");
        assert!(known(&format!("t{MAX_SCHEMAS}")) && !known("t0"));
    }
}
