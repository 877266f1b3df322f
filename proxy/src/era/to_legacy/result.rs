//! What a server of an older revision answers and tells, as a client of 2026-07-28 knows it.

use bytes::Bytes;
use http::StatusCode;
use inspect::Edit;

use super::request::Terms;
use crate::era::REVISIONS;
use crate::era::splice::{Object, applied, element, elements};
use crate::era::upstream_session::{Hello, LEVELS};
use crate::upstream::UpstreamError;

pub(super) const SERVER: &str = "io.modelcontextprotocol/serverInfo";
/// The annotation that asks clients to mirror an argument in a header.
const MIRRORED: &str = "x-mcp-header";
/// Schemas nested deeper are left alone; messages nested deeper are refused before.
const DEEPEST: usize = 64;

/// An answer in the client's terms, and the status it has there. `theirs` is the server's status.
pub(super) fn answer(
    raw: &Bytes,
    terms: &Terms,
    hello: &Hello,
    theirs: StatusCode,
) -> Result<(StatusCode, Bytes), UpstreamError> {
    let broken = || UpstreamError::Protocol { detail: "its answer is no message".to_owned() };
    let message = Object::of(raw).ok_or_else(broken)?;
    let mut edits = message.edits(&[], &[("id", &terms.id)]);
    let mut status = StatusCode::OK;
    if let Some(error) = message.object(raw, "error") {
        let code = error.get("code").and_then(|code| code.text.parse::<i64>().ok());
        let code = code.unwrap_or(-32603);
        let ours = match code {
            // A server that says what the client lacks, in the newer revision's own way, is right.
            -32021 if lacks(raw, &error) => code,
            code => modern_code(code),
        };
        edits.extend(error.edits(&[], &[("code", &ours.to_string())]));
        status = match (ours, theirs) {
            (-32601, _) => StatusCode::NOT_FOUND,
            (-32021, _) => StatusCode::BAD_REQUEST,
            (_, theirs) if theirs.is_success() => StatusCode::OK,
            // A session or endpoint that is not there is the gateway's business, not the client's.
            (_, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => StatusCode::BAD_GATEWAY,
            (_, theirs) => theirs,
        };
    } else {
        let result = message.object(raw, "result").ok_or_else(broken)?;
        edits.extend(complete(raw, &result, &terms.method, hello)?);
    }
    Ok((status, applied(raw, edits).ok_or_else(broken)?))
}

/// Whether an error names the capabilities that the client lacks.
fn lacks(raw: &Bytes, error: &Object<'_>) -> bool {
    let data = error.object(raw, "data");
    data.is_some_and(|data| data.object(raw, "requiredCapabilities").is_some())
}

/// The edits that make a result complete.
fn complete(
    raw: &Bytes,
    result: &Object<'_>,
    method: &str,
    hello: &Hello,
) -> Result<Vec<Edit>, UpstreamError> {
    let mut set = vec![("resultType", "\"complete\"")];
    let cacheable = matches!(
        method,
        "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
    );
    if cacheable {
        set.extend([("ttlMs", "0"), ("cacheScope", "\"private\"")]);
    }
    // What is there twice would be read differently by different clients.
    let twice = |(key, _): &(&str, &str)| {
        result.members().iter().filter(|member| member.key == *key).count() > 1
    };
    if set.iter().any(twice) {
        let detail = "a member of its result is there twice".to_owned();
        return Err(UpstreamError::Protocol { detail });
    }
    let server = hello.server.as_deref().map(|info| (SERVER, info));
    let meta = server.map(|(key, info)| format!("{{\"{key}\":{info}}}"));
    let mut edits = Vec::new();
    match (result.object(raw, "_meta"), &meta) {
        (Some(meta), Some(_)) if meta.get(SERVER).is_none() => {
            edits.extend(meta.edits(&[], server.as_slice()));
        }
        (None, Some(meta)) if result.get("_meta").is_none() => set.push(("_meta", meta)),
        _ => {}
    }
    edits.extend(result.edits(&[], &set));
    if method == "tools/list" {
        edits.extend(unmirrored(raw, result));
    }
    Ok(edits)
}

/// The edits that take out the annotations for headers: no server of these revisions reads such.
fn unmirrored(raw: &Bytes, result: &Object<'_>) -> Vec<Edit> {
    let mut edits = Vec::new();
    let tools = result.get("tools").and_then(|tools| elements(raw, tools.text));
    for (_, tool) in tools.unwrap_or_default() {
        // A key may be written with escapes.
        if !tool.contains(MIRRORED) && !tool.contains("\\u") {
            continue;
        }
        let schema = element(raw, tool).and_then(|tool| Some(tool.get("inputSchema")?.text));
        if let Some(schema) = schema {
            strip(raw, schema, DEEPEST, &mut edits);
        }
    }
    edits
}

fn strip<'a>(raw: &'a Bytes, schema: &'a str, depth: usize, edits: &mut Vec<Edit>) {
    let Some(object) = element(raw, schema).filter(|_| depth > 0) else { return };
    edits.extend(object.edits(&[MIRRORED], &[]));
    for member in object.members() {
        match &*member.key {
            "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                let schemas = element(raw, member.text);
                for member in schemas.iter().flat_map(|schemas| schemas.members()) {
                    strip(raw, member.text, depth - 1, edits);
                }
            }
            "allOf" | "anyOf" | "oneOf" | "prefixItems" | "items"
                if member.text.starts_with('[') =>
            {
                for (_, schema) in elements(raw, member.text).unwrap_or_default() {
                    strip(raw, schema, depth - 1, edits);
                }
            }
            "items"
            | "additionalProperties"
            | "not"
            | "if"
            | "then"
            | "else"
            | "contains"
            | "propertyNames"
            | "unevaluatedItems"
            | "unevaluatedProperties" => {
                strip(raw, member.text, depth - 1, edits);
            }
            _ => {}
        }
    }
}

/// The code of an error, where the newer revision has another for it, or forbids it.
fn modern_code(code: i64) -> i64 {
    match code {
        // A resource that is not found.
        -32002 => -32602,
        // An URL must be visited first: what can be asked of the client was asked before.
        -32042 => -32603,
        // Reserved there for errors that older revisions do not have.
        -32099..=-32020 => -32603,
        code => code,
    }
}

/// The answer to `server/discover`.
pub(super) fn discovered(terms: &Terms, hello: &Hello) -> Bytes {
    let capabilities = offered(&hello.capabilities);
    let versions = serde_json::json!(REVISIONS);
    let mut out = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"complete","supportedVersions":{versions},"capabilities":{capabilities}"#,
        terms.id
    );
    if let Some(instructions) = &hello.instructions {
        out += &format!(r#","instructions":{instructions}"#);
    }
    out += r#","ttlMs":0,"cacheScope":"private""#;
    if let Some(server) = &hello.server {
        out += &format!(r#","_meta":{{"{SERVER}":{server}}}"#);
    }
    out += "}}";
    out.into()
}

/// What the server can do, without what the bridge does not carry.
fn offered(capabilities: &str) -> String {
    let raw = Bytes::from(capabilities.to_owned());
    let Some(all) = Object::of(&raw) else { return "{}".to_owned() };
    let mut edits = all.edits(&["tasks"], &[]);
    if let Some(extensions) = all.object(&raw, "extensions") {
        edits.extend(extensions.edits(&["io.modelcontextprotocol/tasks"], &[]));
    }
    let left = applied(&raw, edits).unwrap_or_else(|| Bytes::from_static(b"{}"));
    String::from_utf8_lossy(&left).into_owned()
}

/// A notification beside an answer, in the client's terms; nothing when it is not for it. `id` is
/// the id of the request, and the token of its progress, at the server.
pub(super) fn told(raw: &Bytes, id: u64, terms: &Terms) -> Option<Bytes> {
    let message = Object::of(raw)?;
    let method = message.string("method")?;
    let params = message.object(raw, "params");
    match method.as_str() {
        "notifications/progress" => {
            let params = params?;
            let token = params.get("progressToken")?;
            (token.text == id.to_string()).then_some(())?;
            applied(raw, vec![token.replaced(terms.token.as_deref()?)])
        }
        "notifications/message" => {
            let level = params?.string("level")?;
            let level = LEVELS.iter().position(|known| *known == level)?;
            (level >= terms.level?).then(|| raw.clone())
        }
        // These have no place beside an answer, or none at all.
        "notifications/cancelled" | "notifications/elicitation/complete" => None,
        method if is_for_listeners(method) || method.starts_with("notifications/tasks/") => None,
        _ => Some(raw.clone()),
    }
}

/// Whether a notification is one that clients subscribe to.
pub(super) fn is_for_listeners(method: &str) -> bool {
    matches!(
        method,
        "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed"
            | "notifications/resources/updated"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::era::upstream_session::Client;

    fn terms(method: &str) -> Terms {
        let client = Client { capabilities: "{}".into(), info: "{}".into() };
        let (token, level) = (Some("\"tok\"".into()), Some(3));
        let (state, answers, digest) = (None, None, "".into());
        Terms {
            id: "\"c\"".into(),
            method: method.into(),
            client,
            level,
            token,
            state,
            answers,
            digest,
        }
    }

    fn hello() -> Hello {
        let capabilities = r#"{"tasks":{},"tools":{"listChanged":true}}"#.to_owned();
        let server = Some(r#"{"name":"s","version":"1"}"#.to_owned());
        Hello { capabilities, server, instructions: Some("\"do\"".to_owned()) }
    }

    fn answered(method: &str, raw: &str, status: u16) -> (u16, String) {
        let status = StatusCode::from_u16(status).unwrap();
        let (status, out) =
            answer(&Bytes::from(raw.to_owned()), &terms(method), &hello(), status).unwrap();
        (status.as_u16(), String::from_utf8(out.to_vec()).unwrap())
    }

    const META: &str =
        r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}"#;

    #[test]
    fn a_result_is_completed_and_the_rest_of_it_stays_as_it_came() {
        let (status, out) =
            answered("tools/call", r#"{"id":7, "result":{"content" : [1.0]}}"#, 200);
        assert_eq!(status, 200);
        assert_eq!(
            out,
            format!(
                r#"{{"id":"c", "result":{{"content" : [1.0],"resultType":"complete",{META}}}}}"#
            )
        );
        let own = r#"{"id":7,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":1},"resultType":"task","ttlMs":9,"contents":[]}}"#;
        let (_, out) = answered("resources/read", own, 200);
        assert_eq!(
            out,
            r#"{"id":"c","result":{"_meta":{"io.modelcontextprotocol/serverInfo":1},"resultType":"complete","ttlMs":0,"contents":[],"cacheScope":"private"}}"#
        );
    }

    #[test]
    fn a_result_that_clients_could_read_in_two_ways_is_none() {
        let raw = r#"{"id":7,"result":{"resultType":"complete","resultType":"input_required"}}"#;
        let out = answer(&Bytes::from(raw), &terms("tools/call"), &hello(), StatusCode::OK);
        assert!(matches!(out, Err(UpstreamError::Protocol { .. })));
    }

    #[test]
    fn errors_have_the_codes_and_statuses_of_the_newer_revision() {
        for (code, theirs, ours, status) in [
            (-32002, 200, -32602, 200),
            (-32601, 200, -32601, 404),
            (-32602, 400, -32602, 400),
            (-32042, 200, -32603, 200),
            (-32021, 200, -32603, 200),
            (-32022, 200, -32603, 200),
            (-32001, 404, -32001, 502),
            (7, 200, 7, 200),
        ] {
            let raw = format!(r#"{{"id":null,"error":{{"code":{code},"message":"m"}}}}"#);
            let (got, out) = answered("tools/call", &raw, theirs);
            assert_eq!(out, format!(r#"{{"id":"c","error":{{"code":{ours},"message":"m"}}}}"#));
            assert_eq!(got, status, "{code}");
        }
        let lacking = r#"{"id":"c","error":{"code":-32021,"message":"m","data":{"requiredCapabilities":{"roots":{}}}}}"#;
        assert_eq!(answered("tools/call", lacking, 200), (400, lacking.to_owned()));
    }

    #[test]
    fn annotations_for_headers_go_wherever_a_schema_can_have_them() {
        let raw = r#"{"id":7,"result":{"tools":[{"name":"x-mcp-header","inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"},"x-mcp-header":{"type":"string"}},"anyOf":[{"x\u002dmcp-header":1,"not":{"x-mcp-header":2}}]}}]}}"#;
        let (_, out) = answered("tools/list", raw, 200);
        let schema = r#"{"properties":{"a":{"type":"string"},"x-mcp-header":{"type":"string"}},"anyOf":[{"not":{}}]}"#;
        assert!(out.contains(&format!(r#""inputSchema":{schema}"#)), "{out}");
    }

    #[test]
    fn discovery_says_what_the_handshake_said() {
        let out = discovered(&terms("server/discover"), &hello());
        let out: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(out["id"], "c");
        let result = &out["result"];
        assert_eq!(result["capabilities"], serde_json::json!({"tools": {"listChanged": true}}));
        assert_eq!(result["instructions"], "do");
        assert_eq!(result["supportedVersions"][0], "2026-07-28");
        assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&0.into(), &"private".into()));
        assert_eq!(result["_meta"][SERVER]["name"], "s");
    }

    #[test]
    fn notifications_reach_the_request_they_belong_to() {
        let told = |raw: &str| {
            told(&Bytes::from(raw.to_owned()), 7, &terms("tools/call"))
                .map(|out| String::from_utf8(out.to_vec()).unwrap())
        };
        let progress =
            r#"{"method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#;
        assert_eq!(told(progress), Some(progress.replace('7', "\"tok\"")));
        assert_eq!(told(&progress.replace('7', "8")), None);
        let log = |level| {
            told(&format!(r#"{{"method":"notifications/message","params":{{"level":"{level}"}}}}"#))
        };
        assert!(log("warning").is_some() && log("emergency").is_some());
        assert!(log("info").is_none() && log("loud").is_none());
        assert!(told(r#"{"method":"notifications/tools/list_changed"}"#).is_none());
        assert!(told(r#"{"method":"notifications/cancelled","params":{}}"#).is_none());
    }
}
