//! Headers of the calls that the gateway makes or renames: they must say what the body says (spec
//! 2026-07-28, transports). A client can mirror only the arguments that it sends itself.

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::wire::Members;
use crate::era;
use crate::upstream::http::PARAM;

/// An argument that a tool wants in a header too (`x-mcp-header`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    /// The member's place in the arguments.
    path: Vec<String>,
    /// `mcp-param-…`.
    header: HeaderName,
}

/// Mirrored arguments of one tool at most, and how deep they may lie.
const MOST: usize = 64;
const DEEPEST: usize = 8;

/// The arguments that a tool, as its server lists it, wants mirrored.
pub(super) fn mirrors(tool: &str) -> Vec<Mirror> {
    let mut found = Vec::new();
    if tool.contains("x-mcp-header")
        && let Some(schema) = Members::of(tool).get("inputSchema")
    {
        gather(schema.get(), &mut Vec::new(), &mut found);
    }
    found
}

fn gather(schema: &str, path: &mut Vec<String>, found: &mut Vec<Mirror>) {
    let Some(properties) = Members::of(schema).get("properties") else { return };
    for (name, property) in Members::of(properties.get()).0 {
        if found.len() >= MOST || path.len() >= DEEPEST {
            return;
        }
        path.push(name.into_owned());
        let wanted = Members::of(property.get()).get("x-mcp-header");
        let wanted = wanted.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let header = wanted.map(|wanted| format!("{PARAM}{}", wanted.to_ascii_lowercase()));
        let header = header.and_then(|header| HeaderName::from_bytes(header.as_bytes()).ok());
        if let Some(header) = header {
            found.push(Mirror { path: path.clone(), header });
        }
        gather(property.get(), path, found);
        path.pop();
    }
}

/// The headers for a call with these arguments.
pub(super) fn of_call(
    mirrors: &[Mirror],
    arguments: &Map<String, Value>,
) -> Vec<(HeaderName, HeaderValue)> {
    let one = |mirror: &Mirror| {
        let (first, rest) = mirror.path.split_first()?;
        let value = rest.iter().try_fold(arguments.get(first)?, |value, key| value.get(key))?;
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            _ => return None,
        };
        Some((mirror.header.clone(), era::encode(text.as_bytes())?))
    };
    mirrors.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_mirrored_where_the_schema_asks_for_it() {
        let tool = json!({ "name": "t", "inputSchema": { "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "deep": { "properties": { "n": { "type": "integer", "x-mcp-header": "N" } } },
            "plain": { "type": "string" },
            "bad": { "x-mcp-header": "no header" },
        } } });
        let mirrors = mirrors(&tool.to_string());
        let arguments = json!({ "region": "snö", "deep": { "n": 7 }, "plain": "x", "bad": "y" });
        let headers = of_call(&mirrors, arguments.as_object().unwrap());
        let shown: Vec<_> =
            headers.iter().map(|(n, v)| (n.as_str(), era::decode(v).unwrap())).collect();
        let expected =
            [("mcp-param-region", "snö".as_bytes().to_vec()), ("mcp-param-n", b"7".to_vec())];
        assert_eq!(shown, expected);
        assert!(of_call(&mirrors, &Map::new()).is_empty());
    }
}
