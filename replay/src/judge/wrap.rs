//! A text → an MCP message of a surface, and where in it the text stands.

use inspect::{Direction, Surface};
use serde_json::{Value, json};

/// A text wrapped in a message.
#[derive(Debug)]
pub(crate) struct Wrapped {
    pub(crate) raw: Vec<u8>,
    pub(crate) direction: Direction,
    pub(crate) method: &'static str,
    pub(crate) name: Option<&'static str>,
    /// JSON Pointer of the text; of the tool, when the text was one whole definition.
    pub(crate) pointer: &'static str,
}

/// Wraps a text as it would come over the wire. A `tool.*` text that is a JSON object is one whole tool definition.
pub(crate) fn wrap(surface: Surface, text: &str) -> Wrapped {
    use Direction::{ToClient, ToServer};
    let tool = |definition: Value, pointer| {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": [definition] } });
        (body, ToClient, "tools/list", None, pointer)
    };
    let result = |result: Value| json!({ "jsonrpc": "2.0", "id": 1, "result": result });
    let params = |method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let schema = || json!({ "type": "object", "properties": {} });
    let (body, direction, method, name, pointer) = match surface {
        Surface::ToolDescription | Surface::ToolSchema | Surface::ToolDefinition => {
            match (serde_json::from_str::<Value>(text), surface) {
                (Ok(definition @ Value::Object(_)), _) => tool(definition, "/result/tools/0"),
                (_, Surface::ToolSchema) => tool(
                    json!({ "name": "tool", "inputSchema": { "type": "object", "properties": { "value": { "type": "string", "description": text } } } }),
                    "/result/tools/0/inputSchema/properties/value/description",
                ),
                (_, Surface::ToolDefinition) => {
                    tool(json!({ "name": text, "inputSchema": schema() }), "/result/tools/0/name")
                }
                _ => tool(
                    json!({ "name": "tool", "description": text, "inputSchema": schema() }),
                    "/result/tools/0/description",
                ),
            }
        }
        Surface::CallArgs => (
            params("tools/call", json!({ "name": "tool", "arguments": { "text": text } })),
            ToServer,
            "tools/call",
            Some("tool"),
            "/params/arguments/text",
        ),
        Surface::ResultText | Surface::Other => (
            result(json!({ "content": [{ "type": "text", "text": text }] })),
            ToClient,
            "tools/call",
            Some("tool"),
            "/result/content/0/text",
        ),
        Surface::ResultStructured => (
            result(json!({ "content": [], "structuredContent": { "text": text } })),
            ToClient,
            "tools/call",
            Some("tool"),
            "/result/structuredContent/text",
        ),
        Surface::Resource => (
            result(json!({ "contents": [{ "uri": "file:///text", "text": text }] })),
            ToClient,
            "resources/read",
            Some("file:///text"),
            "/result/contents/0/text",
        ),
        Surface::Prompt => (
            result(
                json!({ "messages": [{ "role": "user", "content": { "type": "text", "text": text } }] }),
            ),
            ToClient,
            "prompts/get",
            Some("prompt"),
            "/result/messages/0/content/text",
        ),
        Surface::Sampling => (
            params(
                "sampling/createMessage",
                json!({ "messages": [{ "role": "user", "content": { "type": "text", "text": text } }], "maxTokens": 100 }),
            ),
            ToClient,
            "sampling/createMessage",
            None,
            "/params/messages/0/content/text",
        ),
        Surface::Elicitation => (
            params("elicitation/create", json!({ "message": text, "requestedSchema": schema() })),
            ToClient,
            "elicitation/create",
            None,
            "/params/message",
        ),
        Surface::Log => (
            json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": text } }),
            ToClient,
            "notifications/message",
            None,
            "/params/data",
        ),
    };
    Wrapped { raw: body.to_string().into_bytes(), direction, method, name, pointer }
}

#[cfg(test)]
mod tests {
    use super::wrap;
    use inspect::Surface;
    use inspect::{ParseLimits, Parser, surface::surface_of};

    #[test]
    fn a_text_stands_where_its_surface_says() {
        for surface in Surface::ALL {
            let wrapped = wrap(surface, "a \"text\"");
            let value: serde_json::Value = serde_json::from_slice(&wrapped.raw).unwrap();
            assert_eq!(value.pointer(wrapped.pointer).unwrap(), "a \"text\"", "{surface}");
            let path: Vec<&str> = wrapped.pointer.split('/').skip(1).collect();
            let kind = Parser::new(ParseLimits::default())
                .parse(&wrapped.raw, |message| message.kind())
                .unwrap();
            let found = surface_of(kind, wrapped.direction, Some(wrapped.method), &path);
            let expected = if surface == Surface::Other { Surface::ResultText } else { surface };
            assert_eq!(found, expected);
        }
    }
}
