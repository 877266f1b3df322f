//! Tools as the server listed them: which arguments it wants repeated in headers (`x-mcp-header`),
//! and which promise results that legacy clients cannot take as they are.

use std::sync::{Arc, Mutex};

use capture::Str;
use serde_json::Value;

use super::session::lock;
use crate::session::Table;

/// Tools remembered of one server at most; the oldest make room.
const MAX_TOOLS: usize = 4096;
/// Bytes of one name at most.
const MAX_NAME: usize = 1024;
/// Levels of `properties` that are followed.
const MAX_DEPTH: usize = 16;
/// Headers of one tool at most.
const MAX_HEADERS: usize = 64;

/// An argument that is repeated in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirrored {
    /// The header's name behind `Mcp-Param-`.
    pub(super) header: Str,
    /// Where the argument stands.
    pub(super) path: Vec<Str>,
}

impl Mirrored {
    /// What the header says; nothing when the argument is not there.
    pub(super) fn value(&self, arguments: &Value) -> Option<String> {
        let value = self.path.iter().try_fold(arguments, |at, word| at.get(&**word))?;
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(yes) => Some(yes.to_string()),
            _ => None,
        }
    }
}

/// What is remembered of a tool.
#[derive(Clone, Debug, Default)]
pub(super) struct Tool {
    pub(super) mirrored: Vec<Mirrored>,
    /// Whether its results are put into an object for legacy clients.
    pub(super) wrapped: bool,
}

/// The tools of one server, as far as its lists were seen.
#[derive(Default)]
pub(super) struct Tools {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    tools: Table<Str, Arc<Tool>>,
    /// Whether a list was seen to its end.
    complete: bool,
}

impl Tools {
    /// What is known of a tool. `Err`: nothing, and it is worth asking for the list.
    pub(super) fn of(&self, name: &str) -> Result<Arc<Tool>, ()> {
        let known = lock(&self.known);
        match known.tools.get(&name.into()) {
            Some(tool) => Ok(Arc::clone(tool)),
            None if known.complete => Ok(Arc::default()),
            None => Err(()),
        }
    }

    /// Whether a tool's results are put into an object.
    pub(super) fn wraps(&self, name: &str) -> bool {
        self.of(name).is_ok_and(|tool| tool.wrapped)
    }

    /// Remembers a tool.
    pub(super) fn learn(&self, name: &str, tool: Tool) {
        if name.len() > MAX_NAME {
            return;
        }
        lock(&self.known).tools.put(name.into(), Arc::new(tool), MAX_TOOLS);
    }

    /// A list was seen from its beginning to its end.
    pub(super) fn is_complete(&self) {
        lock(&self.known).complete = true;
    }
}

/// The arguments a tool wants repeated in headers.
///
/// # Errors
/// What is wrong with an annotation: such a tool must not be offered (spec: transports, custom
/// headers).
pub(super) fn mirrored(schema: &Value) -> Result<Vec<Mirrored>, &'static str> {
    let mut found = Vec::new();
    let mut inside = Vec::new();
    walk(schema, &mut inside, &mut found, 0)?;
    let annotated = count(schema, 0);
    if annotated != found.len() {
        return Err("an annotation that is not reached by properties alone");
    }
    let mut names: Vec<String> = found.iter().map(|m| m.header.to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() != found.len() {
        return Err("two annotations of one name");
    }
    Ok(found)
}

fn walk(
    schema: &Value,
    inside: &mut Vec<Str>,
    found: &mut Vec<Mirrored>,
    depth: usize,
) -> Result<(), &'static str> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Ok(());
    };
    if depth > MAX_DEPTH {
        return Err("nested too deeply");
    }
    for (name, property) in properties {
        inside.push(name.as_str().into());
        if let Some(header) = property.get("x-mcp-header") {
            let header = header.as_str().ok_or("an annotation that is no string")?;
            if header.is_empty() || !header.bytes().all(is_token) {
                return Err("an annotation that is no header's name");
            }
            if !matches!(property["type"].as_str(), Some("string" | "integer" | "boolean")) {
                return Err("an annotation of what is neither a string, an integer nor a boolean");
            }
            if header.len() > MAX_NAME || inside.iter().any(|word| word.len() > MAX_NAME) {
                return Err("an annotation with a name that is too long");
            }
            if found.len() == MAX_HEADERS {
                return Err("too many annotations");
            }
            found.push(Mirrored { header: header.into(), path: inside.clone() });
        }
        walk(property, inside, found, depth + 1)?;
        inside.pop();
    }
    Ok(())
}

/// How many annotations there are anywhere in a schema. Deeper than the parser goes there is none.
fn count(schema: &Value, depth: usize) -> usize {
    match schema {
        _ if depth > 128 => 0,
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| {
                // A property may be called so itself: then its value is a schema.
                let own = usize::from(key == "x-mcp-header" && !value.is_object());
                own + count(value, depth + 1)
            })
            .sum(),
        Value::Array(all) => all.iter().map(|one| count(one, depth + 1)).sum(),
        _ => 0,
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn annotations_are_found_by_properties_alone() {
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
            "plain": {"type": "number"},
        }});
        let found = mirrored(&schema).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].path, ["deep".into(), "n".into()] as [Str; 2]);
        assert_eq!(found[1].value(&json!({"deep": {"n": 42}})).as_deref(), Some("42"));
        assert_eq!(found[1].value(&json!({"deep": null})), None);
        assert!(mirrored(&json!({"type": "object"})).unwrap().is_empty());
    }

    #[test]
    fn a_bad_annotation_costs_the_tool() {
        let one = |property: Value| json!({"properties": {"a": property}});
        for bad in [
            one(json!({"type": "string", "x-mcp-header": ""})),
            one(json!({"type": "string", "x-mcp-header": "a b"})),
            one(json!({"type": "string", "x-mcp-header": "a\r\nb"})),
            one(json!({"type": "string", "x-mcp-header": 7})),
            one(json!({"type": "number", "x-mcp-header": "A"})),
            one(json!({"type": "object", "x-mcp-header": "A"})),
            one(json!({"type": "array", "items": {"type": "string", "x-mcp-header": "A"}})),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": "A"},
                "b": {"type": "string", "x-mcp-header": "a"}}}),
            json!({"$defs": {"a": {"type": "string", "x-mcp-header": "A"}}}),
        ] {
            assert!(mirrored(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_tool_is_worth_asking_for_once() {
        let tools = Tools::default();
        assert!(tools.of("a").is_err());
        tools.learn("a", Tool { wrapped: true, ..Tool::default() });
        assert!(tools.wraps("a") && tools.of("b").is_err());
        tools.is_complete();
        assert!(tools.of("b").is_ok_and(|tool| tool.mirrored.is_empty()));
    }
}
