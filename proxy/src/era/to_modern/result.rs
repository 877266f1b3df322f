//! An answer of a server of 2026-07-28 as a legacy client takes it: what legacy results do not have
//! is taken out of the bytes, codes are those of its revision, and `input_required` is told apart.

use bytes::Bytes;
use capture::Str;
use inspect::{Edit, leave_out};
use serde_json::{Value, json};

use super::params::{Tool, Tools, mirrored};
use crate::era::splice::{Object, applied, element, elements};

/// The gateway's code for what can't be translated between the eras.
pub(super) const UNTRANSLATABLE: i32 = 1030;
/// What one result may ask of a client at once.
const MAX_REQUESTS: usize = 16;
/// Members that legacy results do not have.
const MODERN_ONLY: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// The request an answer belongs to.
pub(super) struct Asking {
    pub(super) method: Str,
    /// The tool, prompt or resource.
    pub(super) name: Option<Str>,
    /// The client's own id, JSON text.
    pub(super) id: Str,
    /// Whether a list was asked for from its beginning.
    pub(super) first_page: bool,
}

/// What an answer means.
#[derive(Debug)]
pub(super) enum Judged {
    /// The answer, as the client takes it.
    Done(Bytes),
    /// The server wants to know something first.
    Ask(Asked),
    /// Headers and body differ in the server's eyes: its tools are others than we know.
    Mismatch,
    /// The server does not speak this era.
    Strange,
    /// No answer of MCP.
    Broken(&'static str),
}

/// What a server wants to know (spec: multi round-trip requests).
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) requests: Vec<InputRequest>,
    /// As it stands there, JSON text: it goes back to the byte.
    pub(super) state: Option<String>,
}

/// One thing a server wants to know.
#[derive(Debug)]
pub(super) struct InputRequest {
    pub(super) key: String,
    pub(super) method: String,
    /// JSON text.
    pub(super) params: Option<String>,
}

/// Judges the answer `raw` to `asking`.
pub(super) fn judge(raw: &Bytes, asking: &Asking, tools: &Tools) -> Judged {
    let Some(message) = Object::of(raw) else { return Judged::Broken("it is no JSON object") };
    let Some(id) = message.get("id") else { return Judged::Broken("an answer without an id") };
    // It came as the reply to this very request: some servers leave the id of an error out.
    let mut edits: Vec<Edit> =
        if id.text == &*asking.id { vec![] } else { vec![id.replaced(&asking.id)] };
    if message.get("error").is_some() {
        return error(raw, &message, asking, edits);
    }
    let Some(result) = message.object(raw, "result") else {
        return Judged::Broken("the result is no object");
    };
    match result.get("resultType").map(|member| member.text) {
        None | Some("\"complete\"") => {}
        Some("\"input_required\"") => return asked(raw, &result),
        Some(_) => return Judged::Broken("a result of an unknown type"),
    }
    let Some(more) = complete(raw, &result, asking, tools) else {
        return Judged::Broken("the result can't be read");
    };
    edits.extend(more);
    match applied(raw, edits) {
        Some(done) => Judged::Done(done),
        None => Judged::Broken("the result can't be translated"),
    }
}

/// The edits on a complete result.
fn complete(raw: &Bytes, result: &Object<'_>, asking: &Asking, tools: &Tools) -> Option<Vec<Edit>> {
    let (mut edits, mut gone, mut set) = (Vec::new(), MODERN_ONLY.to_vec(), Vec::new());
    if let Some(meta) = result.object(raw, "_meta")
        && meta.get(SERVER_INFO).is_some()
    {
        match meta.len() {
            1 => gone.push("_meta"),
            _ => edits.extend(meta.edits(&[SERVER_INFO], &[])),
        }
    }
    let wrapped;
    if &*asking.method == "tools/call"
        && let Some(content) = result.get("structuredContent")
    {
        let promised = asking.name.as_deref().is_some_and(|name| tools.wraps(name));
        if promised || !content.text.starts_with('{') {
            wrapped = format!("{{\"result\":{}}}", content.text);
            set.push(("structuredContent", wrapped.as_str()));
        }
    }
    edits.extend(result.edits(&gone, &set));
    if &*asking.method == "tools/list"
        && let Some(list) = result.get("tools")
    {
        edits.extend(listed(raw, list.text, tools)?);
        if asking.first_page && result.get("nextCursor").is_none() {
            tools.is_complete();
        }
    }
    Some(edits)
}

/// Remembers listed tools. The edits leave out tools that may not be offered, and put results that
/// are no objects into one.
fn listed(raw: &Bytes, list: &str, tools: &Tools) -> Option<Vec<Edit>> {
    let all = elements(raw, list)?;
    let mut bad = vec![false; all.len()];
    let mut edits = Vec::new();
    for ((_, text), bad) in all.iter().zip(&mut bad) {
        let Some(tool) = element(raw, text) else { continue };
        let name = tool.string("name").unwrap_or_default();
        let read = |key| tool.get(key).and_then(|m| serde_json::from_str::<Value>(m.text).ok());
        match mirrored(&read("inputSchema").unwrap_or_default()) {
            Err(why) => {
                tracing::warn!(why, "a tool is left out: its headers are not as the spec has them");
                *bad = true;
            }
            Ok(mirrored) => {
                let output = read("outputSchema");
                let wrapped = output.as_ref().is_some_and(|schema| schema["type"] != "object");
                if let (true, Some(schema)) = (wrapped, tool.get("outputSchema")) {
                    edits.push(schema.replaced(&wrap(schema.text)));
                }
                tools.learn(&name, Tool { mirrored, wrapped });
            }
        }
    }
    if bad.contains(&true) {
        let spans: Vec<_> = all.iter().map(|(span, _)| *span).collect();
        edits.extend(leave_out(&spans, |n| bad.get(n).copied().unwrap_or_default()));
    }
    Some(edits)
}

/// A schema as that of the only member of an object. What it refers to by `#/$defs` stays in reach.
fn wrap(schema: &str) -> String {
    let mut wrapper = format!(
        "{{\"type\":\"object\",\"properties\":{{\"result\":{schema}}},\"required\":[\"result\"]"
    );
    let inner = Object::of(schema.as_bytes());
    for key in ["$schema", "$defs", "definitions"] {
        if let Some(member) = inner.as_ref().and_then(|inner| inner.get(key)) {
            wrapper.push_str(&format!(",\"{key}\":{}", member.text));
        }
    }
    wrapper.push('}');
    wrapper
}

fn asked(raw: &Bytes, result: &Object<'_>) -> Judged {
    let state = result.get("requestState").map(|state| state.text.to_owned());
    if state.as_ref().is_some_and(|state| !state.starts_with('"')) {
        return Judged::Broken("a requestState that is no string");
    }
    let mut asked = Asked { requests: Vec::new(), state };
    if result.get("inputRequests").is_some() {
        let Some(requests) = result.object(raw, "inputRequests") else {
            return Judged::Broken("inputRequests is no object");
        };
        for (key, request) in requests.objects(raw) {
            let method = request.as_ref().and_then(|request| request.string("method"));
            let Some((request, method)) = request.zip(method) else {
                return Judged::Broken("an input request without a method");
            };
            let params = request.get("params").map(|params| params.text.to_owned());
            asked.requests.push(InputRequest { key, method, params });
        }
    }
    match (asked.requests.len(), &asked.state) {
        (0, None) => Judged::Broken("it asks for nothing and gives no state"),
        (n, _) if n > MAX_REQUESTS => Judged::Broken("it asks for too much at once"),
        _ => Judged::Ask(asked),
    }
}

fn error(raw: &Bytes, message: &Object<'_>, asking: &Asking, mut edits: Vec<Edit>) -> Judged {
    let Some(error) = message.object(raw, "error") else {
        return Judged::Broken("the error is no object");
    };
    let code = error.get("code").and_then(|code| code.text.parse::<i64>().ok());
    match code {
        Some(-32020) => return Judged::Mismatch,
        Some(-32022) => return Judged::Strange,
        Some(-32021) => {
            let sentence = "the server needs a capability that the client does not have";
            return Judged::Done(refusal(&asking.id, &asking.method, sentence));
        }
        // Until 2025-11-25 a resource that is not there has a code of its own.
        Some(-32602) if &*asking.method == "resources/read" && asking.name.is_some() => {
            edits.extend(error.edits(&[], &[("code", "-32002")]));
        }
        _ => {}
    }
    match applied(raw, edits) {
        Some(done) => Judged::Done(done),
        None => Judged::Broken("the error can't be translated"),
    }
}

/// What a client gets whose request can't be carried through: for a tool call a result that says so,
/// which a model can read, else an error.
pub(super) fn refusal(id: &str, method: &str, sentence: &str) -> Bytes {
    let sentence = format!("wiregate: {sentence}");
    let (member, value) = match method {
        "tools/call" => {
            ("result", json!({"content": [{"type": "text", "text": sentence}], "isError": true}))
        }
        _ => ("error", json!({"code": UNTRANSLATABLE, "message": sentence})),
    };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":{value}}}"#).into()
}

/// An error with this code.
pub(super) fn failure(id: &str, code: i32, sentence: &str) -> Bytes {
    let error = json!({"code": code, "message": format!("wiregate: {sentence}")});
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into()
}

/// A result with this JSON text.
pub(super) fn success(id: &str, result: &str) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(method: &str, name: Option<&str>) -> Asking {
        let name = name.map(Str::from);
        Asking { method: method.into(), name, id: "7".into(), first_page: true }
    }

    fn done(raw: &str, asking: &Asking, tools: &Tools) -> String {
        match judge(&Bytes::copy_from_slice(raw.as_bytes()), asking, tools) {
            Judged::Done(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_legacy_client_gets_nothing_its_revision_does_not_have() {
        let tools = Tools::default();
        for (raw, expected) in [
            (
                r#"{"id":7,"result":{"resultType":"complete","ttlMs":0, "a" : 1,"cacheScope":"private"}}"#,
                r#"{"id":7,"result":{"a" : 1}}"#,
            ),
            (
                r#"{"id":"x","result":{"_meta":{"io.modelcontextprotocol/serverInfo":{}},"a":1}}"#,
                r#"{"id":7,"result":{"a":1}}"#,
            ),
            (
                r#"{"id":7,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{},"k":2}}}"#,
                r#"{"id":7,"result":{"_meta":{"k":2}}}"#,
            ),
            (r#"{"id":7,"result":{"resultType":"complete"}}"#, r#"{"id":7,"result":{}}"#),
        ] {
            assert_eq!(done(raw, &asking("prompts/list", None), &tools), expected);
        }
    }

    #[test]
    fn content_that_is_no_object_is_put_into_one_and_so_is_its_schema() {
        let tools = Tools::default();
        let list = r##"{"id":7,"result":{"tools":[{"name":"n","inputSchema":{},"outputSchema":{"$defs":{"d":{}},"type":"array","items":{"$ref":"#/$defs/d"}}},{"name":"o","inputSchema":{},"outputSchema":{"type":"object"}}]}}"##;
        let expected = r##"{"id":7,"result":{"tools":[{"name":"n","inputSchema":{},"outputSchema":{"type":"object","properties":{"result":{"$defs":{"d":{}},"type":"array","items":{"$ref":"#/$defs/d"}}},"required":["result"],"$defs":{"d":{}}}},{"name":"o","inputSchema":{},"outputSchema":{"type":"object"}}]}}"##;
        assert_eq!(done(list, &asking("tools/list", None), &tools), expected);
        assert!(tools.wraps("n") && !tools.wraps("o") && tools.of("p").is_ok());
        let call = r#"{"id":7,"result":{"content":[],"structuredContent":[1]}}"#;
        let wrapped = r#"{"id":7,"result":{"content":[],"structuredContent":{"result":[1]}}}"#;
        assert_eq!(done(call, &asking("tools/call", Some("n")), &tools), wrapped);
        let call = r#"{"id":7,"result":{"content":[],"structuredContent":{}}}"#;
        assert_eq!(done(call, &asking("tools/call", Some("o")), &tools), call);
    }

    #[test]
    fn a_tool_whose_headers_are_wrong_is_not_offered() {
        let tools = Tools::default();
        let list = r#"{"id":7,"result":{"tools":[{"name":"bad","inputSchema":{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}},{"name":"good","inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}]}}"#;
        let left = done(list, &asking("tools/list", None), &tools);
        assert!(!left.contains("bad") && left.contains("good"), "{left}");
        assert_eq!(tools.of("good").unwrap().mirrored.len(), 1);
    }

    #[test]
    fn errors_have_the_codes_of_the_clients_revision() {
        let tools = Tools::default();
        let missing = r#"{"id":7,"error":{"code":-32602,"message":"no"}}"#;
        let read = done(missing, &asking("resources/read", Some("x://y")), &tools);
        assert_eq!(read, missing.replace("-32602", "-32002"));
        assert_eq!(done(missing, &asking("tools/call", Some("n")), &tools), missing);
        let lacks = r#"{"id":7,"error":{"code":-32021,"message":"no"}}"#;
        assert!(
            done(lacks, &asking("tools/call", Some("n")), &tools).contains(r#""isError":true"#)
        );
        assert!(done(lacks, &asking("prompts/get", Some("n")), &tools).contains(r#""code":1030"#));
        let of = |code: i32| Bytes::from(format!(r#"{{"id":7,"error":{{"code":{code}}}}}"#));
        let call = asking("tools/call", Some("n"));
        assert!(matches!(judge(&of(-32020), &call, &tools), Judged::Mismatch));
        assert!(matches!(judge(&of(-32022), &call, &tools), Judged::Strange));
    }

    #[test]
    fn what_a_server_wants_to_know_is_read_with_its_state_to_the_byte() {
        let tools = Tools::default();
        let raw = r#"{"id":7,"result":{"resultType":"input_required","requestState":"\u0061","inputRequests":{"k":{"method":"roots/list"},"l":{"method":"elicitation/create","params":{"x":1}}}}}"#;
        let call = asking("tools/call", Some("n"));
        let Judged::Ask(asked) = judge(&Bytes::from_static(raw.as_bytes()), &call, &tools) else {
            panic!("it asks");
        };
        assert_eq!(asked.state.as_deref(), Some(r#""\u0061""#));
        let keys: Vec<_> = asked.requests.iter().map(|r| (&*r.key, r.params.as_deref())).collect();
        assert_eq!(keys, [("k", None), ("l", Some(r#"{"x":1}"#))]);
        for broken in [
            r#"{"id":7,"result":{"resultType":"input_required"}}"#,
            r#"{"id":7,"result":{"resultType":"input_required","requestState":1}}"#,
            r#"{"id":7,"result":{"resultType":"task","taskId":"1"}}"#,
            r#"{"id":7,"result":1}"#,
            "[]",
        ] {
            let judged = judge(&Bytes::from_static(broken.as_bytes()), &call, &tools);
            assert!(matches!(judged, Judged::Broken(_)), "{broken}: {judged:?}");
        }
    }
}
