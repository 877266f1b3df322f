//! A request of 2026-07-28, read, and as a server of an older revision knows it.

use bytes::Bytes;
use capture::Str;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::envelope::Head;
use crate::era::splice::{Object, applied};
use crate::era::upstream_session::{Client, LEVELS};
use crate::policy::{Denied, LIMIT};
use crate::snapshot::hex;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
const LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// The extension that the bridge does not carry.
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// The most that a client may say of itself, in bytes: it is kept with its session.
const LONGEST_CLIENT: usize = 16 << 10;

/// What a request says beside what it asks for.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// Its id, as JSON text.
    pub(super) id: Str,
    pub(super) method: Str,
    /// What the client can do and what it is.
    pub(super) client: Client,
    /// The least level of log messages that it wants; none without.
    pub(super) level: Option<usize>,
    /// The token for its progress, as JSON text.
    pub(super) token: Option<Str>,
    /// The state of an earlier result that asked for something.
    pub(super) state: Option<String>,
    /// The answers to what that asked for, as JSON text.
    pub(super) answers: Option<String>,
    /// A digest of what it asks for.
    pub(super) digest: Str,
}

impl Terms {
    /// Reads a request; its envelope was checked on the way in.
    pub(super) fn of(raw: &Bytes, head: &Head) -> Result<Terms, Denied> {
        let unreadable = || Denied::invalid_params("the request can't be read");
        let message = Object::of(raw).ok_or_else(unreadable)?;
        let params = message.object(raw, "params");
        let meta = params.as_ref().and_then(|params| params.object(raw, "_meta"));
        let said = |key| meta.as_ref().and_then(|meta| meta.get(key)).map(|member| member.text);
        let of_params = |key| params.as_ref().and_then(|params| params.get(key));
        let capabilities = said(CAPABILITIES).unwrap_or("{}");
        let info = said(CLIENT);
        if capabilities.len() + info.map_or(0, str::len) > LONGEST_CLIENT {
            let message = "the client says too much of itself";
            return Err(Denied::new(http::StatusCode::BAD_REQUEST, LIMIT, "too_large", message));
        }
        let level = meta.as_ref().and_then(|meta| meta.string(LEVEL));
        let level = match level {
            None if said(LEVEL).is_some() => {
                return Err(Denied::invalid_params("no such logLevel"));
            }
            None => None,
            Some(level) => {
                let found = LEVELS.iter().position(|known| *known == level);
                Some(found.ok_or_else(|| Denied::invalid_params("no such logLevel"))?)
            }
        };
        let state = match of_params("requestState") {
            None => None,
            Some(_) => {
                let text = params.as_ref().and_then(|params| params.string("requestState"));
                Some(text.ok_or_else(|| Denied::invalid_params("requestState is no string"))?)
            }
        };
        Ok(Terms {
            id: head.id.clone().ok_or_else(unreadable)?,
            method: head.method.clone().ok_or_else(unreadable)?,
            client: Client { capabilities: can(capabilities), info: is(info) },
            level,
            token: said("progressToken").map(Into::into),
            state,
            answers: of_params("inputResponses").map(|member| member.text.to_owned()),
            digest: digest(head, params.as_ref()),
        })
    }

    /// Whether the client said that it can do this: a path into its capabilities.
    pub(super) fn can(&self, path: &[&str]) -> bool {
        let all: Value = serde_json::from_str(&self.client.capabilities).unwrap_or_default();
        path.iter().try_fold(&all, |at, key| at.get(key)).is_some_and(Value::is_object)
    }
}

/// The request for the server: with this id, and its progress under the same.
pub(super) fn to_legacy(raw: &Bytes, id: u64) -> Option<Bytes> {
    let message = Object::of(raw)?;
    let id = id.to_string();
    let mut edits = message.edits(&[], &[("id", &id)]);
    let Some(params) = message.object(raw, "params") else { return applied(raw, edits) };
    let mut gone = vec!["inputResponses", "requestState"];
    if let Some(meta) = params.object(raw, "_meta") {
        let own = [VERSION, CAPABILITIES, CLIENT, LEVEL];
        if meta.members().iter().all(|member| own.contains(&&*member.key)) {
            gone.push("_meta");
        } else {
            let token: &[(&str, &str)] = match meta.get("progressToken") {
                Some(_) => &[("progressToken", &id)],
                None => &[],
            };
            edits.extend(meta.edits(&own, token));
        }
    }
    edits.extend(params.edits(&gone, &[]));
    applied(raw, edits)
}

/// What a client can do, as a server with sessions may know it; equal texts for equal meaning.
fn can(capabilities: &str) -> Str {
    let mut all: Value = serde_json::from_str(capabilities).unwrap_or_default();
    if let Some(all) = all.as_object_mut() {
        all.remove("tasks");
        if let Some(extensions) = all.get_mut("extensions").and_then(Value::as_object_mut) {
            extensions.remove(TASKS);
        }
        if all.get("extensions").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            all.remove("extensions");
        }
    }
    if all.is_object() { sorted(all).to_string().into() } else { "{}".into() }
}

/// What a client is; the gateway's own name where it does not say.
fn is(info: Option<&str>) -> Str {
    let said = info.and_then(|info| serde_json::from_str::<Value>(info).ok());
    match said {
        Some(info) if info["name"].is_string() && info["version"].is_string() => {
            sorted(info).to_string().into()
        }
        _ => {
            concat!(r#"{"name":"wiregate","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#).into()
        }
    }
}

/// Names what a request asks for, however it is written down.
fn digest(head: &Head, params: Option<&Object<'_>>) -> Str {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    add(head.method.as_deref().unwrap_or_default());
    let mut members: Vec<_> = params.map(Object::members).unwrap_or_default().iter().collect();
    members.retain(|m| !matches!(&*m.key, "_meta" | "inputResponses" | "requestState"));
    members.sort_by(|a, b| a.key.cmp(&b.key));
    for member in members {
        add(&member.key);
        match serde_json::from_str(member.text) {
            Ok(value) => add(&sorted(value).to_string()),
            Err(_) => add(member.text),
        }
    }
    hex(&hash.finalize()).into()
}

/// The same value with every object's members in order of their names.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            members.into_iter().map(|(key, value)| (key, sorted(value))).collect()
        }
        Value::Array(elements) => elements.into_iter().map(sorted).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::era::upstream_session::head;
    use inspect::message::Kind;

    fn terms(raw: &str) -> Result<Terms, Denied> {
        Terms::of(&Bytes::from(raw.to_owned()), &head(Kind::Request, Some("tools/call"), Some("1")))
    }

    fn request(params: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{params}}}"#)
    }

    #[test]
    fn the_envelope_goes_and_every_other_byte_stays() {
        let raw = r#"{ "id" : "a", "params":{"name":"x", "arguments":{"n":1.0e0,"inputResponses":1},
            "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","traceparent":"t","progressToken":"p","io.modelcontextprotocol/logLevel":"info"}, "requestState":"s"}}"#;
        let out = to_legacy(&Bytes::from(raw), 7).unwrap();
        let expected = r#"{ "id" : 7, "params":{"name":"x", "arguments":{"n":1.0e0,"inputResponses":1},
            "_meta":{"traceparent":"t","progressToken":7}}}"#;
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
        let bare = request(r#"{"_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}"#);
        let out = to_legacy(&bare.into(), 7).unwrap();
        assert_eq!(out, request("{}").replace("\"a\"", "7"));
    }

    #[test]
    fn who_says_the_same_is_the_same_client() {
        let of = |capabilities: &str, info: &str| {
            let meta =
                format!(r#"{{"_meta":{{"{CAPABILITIES}":{capabilities},"{CLIENT}":{info}}}}}"#);
            terms(&request(&meta)).unwrap().client
        };
        let info = r#"{"name":"c","version":"1"}"#;
        let one = of(r#"{"roots":{},"elicitation":{"form":{}}}"#, info);
        assert_eq!(
            one,
            of(r#"{ "elicitation":{"form":{}},"roots":{} }"#, r#"{"version":"1","name":"c"}"#)
        );
        assert_ne!(one, of(r#"{"roots":{}}"#, info));
        assert_ne!(
            one,
            of(r#"{"roots":{},"elicitation":{"form":{}}}"#, r#"{"name":"c","version":"2"}"#)
        );
        let tasks = r#"{"roots":{},"elicitation":{"form":{}},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
        assert_eq!(one, of(tasks, info));
        assert!(of("{}", "7").info.contains("wiregate"));
    }

    #[test]
    fn a_request_is_the_same_however_it_is_written_and_whatever_it_brings_back() {
        let of = |params: &str| terms(&request(params)).unwrap().digest;
        let one = of(r#"{"name":"x","arguments":{"a":1,"b":[2]}}"#);
        let again = r#"{"arguments":{ "b":[2],"a":1},"name":"x","requestState":"s","inputResponses":{},"_meta":{}}"#;
        assert_eq!(one, of(again));
        assert_ne!(one, of(r#"{"name":"x","arguments":{"a":1,"b":[3]}}"#));
        assert_ne!(one, of(r#"{"name":"y","arguments":{"a":1,"b":[2]}}"#));
    }

    #[test]
    fn terms_are_checked() {
        let level = |level: &str| terms(&request(&format!(r#"{{"_meta":{{"{LEVEL}":{level}}}}}"#)));
        assert_eq!(level("\"debug\"").unwrap().level, Some(0));
        assert!(level("\"loud\"").is_err() && level("3").is_err());
        assert!(terms(&request(r#"{"requestState":7}"#)).is_err());
        let large = format!(r#"{{"_meta":{{"{CLIENT}":{{"name":"{}"}}}}}}"#, "x".repeat(20_000));
        assert_eq!(terms(&request(&large)).unwrap_err().reason, "too_large");
    }
}
