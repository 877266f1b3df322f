//! A legacy request as 2026-07-28 has it: the same bytes with `_meta` in `params`, and the headers
//! that repeat them.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use inspect::message::Kind;
use serde_json::Value;

use super::params::Mirrored;
use super::session::Session;
use crate::envelope::{Claim, Head, McpHeaders};
use crate::era::splice::{Object, applied};
use crate::era::{self, FIRST_MODERN};
use crate::upstream::Outgoing;
use crate::upstream::http::PARAM;

/// What another try of the same request adds (spec: multi round-trip requests).
#[derive(Debug, Default)]
pub(super) struct Again {
    /// Its id, JSON text: another than before.
    pub(super) id: String,
    /// `inputResponses`, JSON text.
    pub(super) responses: String,
    /// `requestState` as the server wrote it, JSON text.
    pub(super) state: Option<String>,
}

/// The request in the server's terms; the error is what its sender is told.
pub(super) fn modern(
    raw: &Bytes,
    session: &Session,
    head: &Head,
    mirrored: &[Mirrored],
    again: Option<&Again>,
) -> Result<Outgoing, &'static str> {
    let method = head.method.as_deref().unwrap_or_default();
    let body = body(raw, &meta(session), again)?;
    let headers = headers(raw, method, mirrored);
    let head =
        Head { kind: Kind::Request, claim: Claim::Complete(FIRST_MODERN.into()), ..head.clone() };
    let mut outgoing = Outgoing::intact(body, &head);
    outgoing.headers = Some(Box::new(headers));
    Ok(outgoing)
}

/// The members of `_meta` that every request has, each with its JSON text.
pub(super) fn meta(session: &Session) -> Vec<(&'static str, String)> {
    let mut meta = vec![
        ("io.modelcontextprotocol/protocolVersion", format!("\"{FIRST_MODERN}\"")),
        ("io.modelcontextprotocol/clientCapabilities", session.capabilities_text.clone()),
    ];
    if let Some(client) = &session.client {
        meta.push(("io.modelcontextprotocol/clientInfo", client.to_string()));
    }
    if let Some(level) = session.level() {
        meta.push(("io.modelcontextprotocol/logLevel", format!("\"{level}\"")));
    }
    meta
}

fn body(
    raw: &Bytes,
    meta: &[(&'static str, String)],
    again: Option<&Again>,
) -> Result<Bytes, &'static str> {
    const UNREADABLE: &str = "the message can't be read";
    let meta: Vec<(&str, &str)> = meta.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let fresh = || {
        let members = meta.iter().map(|(key, value)| format!("{}:{value}", Value::from(*key)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    let message = Object::of(raw).ok_or(UNREADABLE)?;
    let mut edits = Vec::new();
    // Legacy requests have none of these: a client may not pass for one that was asked, and tasks
    // of 2025-11-25 were not offered to it.
    const NEVER: [&str; 3] = ["task", "inputResponses", "requestState"];
    match message.get("params") {
        None => {
            let params = format!("{{\"_meta\":{}}}", fresh());
            edits.extend(message.edits(&[], &[("params", &params)]));
        }
        Some(_) => {
            let params = message.object(raw, "params").ok_or("params must be an object")?;
            let mut set = Vec::new();
            let whole = fresh();
            match params.get("_meta") {
                None => set.push(("_meta", whole.as_str())),
                Some(_) => {
                    let known = params.object(raw, "_meta").ok_or("_meta must be an object")?;
                    edits.extend(known.edits(&[], &meta));
                }
            }
            if let Some(again) = again {
                set.push(("inputResponses", &again.responses));
                set.extend(again.state.as_deref().map(|state| ("requestState", state)));
            }
            let gone: Vec<&str> =
                NEVER.into_iter().filter(|key| set.iter().all(|(set, _)| set != key)).collect();
            edits.extend(params.edits(&gone, &set));
        }
    }
    if let Some(again) = again {
        edits.push(message.get("id").ok_or(UNREADABLE)?.replaced(&again.id));
    }
    applied(raw, edits).ok_or(UNREADABLE)
}

/// The headers that repeat what the body says (spec: transports, standard request headers).
fn headers(raw: &Bytes, method: &str, mirrored: &[Mirrored]) -> McpHeaders {
    let params = Object::of(raw).and_then(|message| message.object(raw, "params"));
    let named = match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        _ => None,
    };
    let name = named.and_then(|key| params.as_ref()?.string(key));
    let arguments: Value = params
        .as_ref()
        .and_then(|params| serde_json::from_str(params.get("arguments")?.text).ok())
        .unwrap_or_default();
    let params = mirrored.iter().filter_map(|one| {
        let name = HeaderName::from_bytes(format!("{PARAM}{}", one.header).as_bytes()).ok()?;
        Some((name, era::encode(one.value(&arguments)?.as_bytes())?))
    });
    McpHeaders {
        version: Some(HeaderValue::from_static(FIRST_MODERN)),
        method: era::encode(method.as_bytes()).into_iter().collect(),
        name: name.and_then(|name| era::encode(name.as_bytes())).into_iter().collect(),
        params: params.collect(),
        ..McpHeaders::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(raw: &str, again: Option<&Again>) -> Result<String, &'static str> {
        let meta = [("v", "\"1\"".to_owned()), ("c", "{}".to_owned())];
        body(&Bytes::copy_from_slice(raw.as_bytes()), &meta, again)
            .map(|body| String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn meta_is_put_in_and_all_else_stays() {
        for (raw, expected) in [
            (r#"{"id":1}"#, r#"{"id":1,"params":{"_meta":{"v":"1","c":{}}}}"#),
            (r#"{"params": { } ,"id":1}"#, r#"{"params": { "_meta":{"v":"1","c":{}}} ,"id":1}"#),
            (
                r#"{"params":{"_meta":{"progressToken":7,"c":0},"name":"x"}}"#,
                r#"{"params":{"_meta":{"progressToken":7,"c":{},"v":"1"},"name":"x"}}"#,
            ),
            (
                r#"{"params":{"task":{"ttl":1},"requestState":"forged","name":"x"}}"#,
                r#"{"params":{"name":"x","_meta":{"v":"1","c":{}}}}"#,
            ),
        ] {
            assert_eq!(put(raw, None).unwrap(), expected);
        }
        assert!(put(r#"{"params":[1]}"#, None).is_err());
        assert!(put(r#"{"params":{"_meta":1}}"#, None).is_err());
    }

    #[test]
    fn another_try_has_another_id_and_the_state_as_it_was_written() {
        let again = Again {
            id: "\"s/2\"".into(),
            responses: r#"{"k":{"action":"accept"}}"#.into(),
            state: Some(r#""\u0061\/b""#.into()),
        };
        assert_eq!(
            put(r#"{"id":1,"params":{"name":"x"}}"#, Some(&again)).unwrap(),
            r#"{"id":"s/2","params":{"name":"x","_meta":{"v":"1","c":{}},"inputResponses":{"k":{"action":"accept"}},"requestState":"\u0061\/b"}}"#
        );
    }

    #[test]
    fn headers_repeat_the_body() {
        let raw = Bytes::from_static(
            br#"{"params":{"name":"sn\u00f6","arguments":{"region":"eu","deep":{"n":7},"no":null}}}"#,
        );
        let mirrored = [("Region", &["region"][..]), ("N", &["deep", "n"]), ("No", &["no"])];
        let mirrored = mirrored.map(|(header, path)| Mirrored {
            header: header.into(),
            path: path.iter().map(|word| (*word).into()).collect(),
        });
        let headers = headers(&raw, "tools/call", &mirrored);
        assert_eq!(era::decode(&headers.name[0]).unwrap(), "snö".as_bytes());
        assert_eq!(headers.method[0], "tools/call");
        let shown: Vec<_> =
            headers.params.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(shown, [("mcp-param-region", "eu"), ("mcp-param-n", "7")]);
    }
}
