//! `initialize`, answered by the gateway from the server's `server/discover`.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::request::meta;
use super::result::success;
use super::session::{Session, TASKS, lock};
use super::{ToModern, answer, of_ours};
use crate::envelope::{Context, Reply};
use crate::era::splice::Object;
use crate::era::{FIRST_MODERN, REVISIONS};
use crate::session::Front;
use crate::upstream::{Outgoing, UpstreamError};

/// What a server says of itself.
pub(super) struct Discovered {
    /// Its capabilities.
    pub(super) capabilities: Arc<Value>,
    /// `instructions`, if it has some.
    instructions: Option<Value>,
    /// Its name and version, unverified.
    server_info: Option<Value>,
}

impl ToModern {
    /// Answers a client's handshake in the server's name.
    pub(super) async fn initialize(
        &self,
        cx: &Context,
        out: &Outgoing,
    ) -> Result<Reply, UpstreamError> {
        let front = front(out);
        let session = Session::new(&front, None);
        let found = self.discover(cx, &session).await?;
        let name = || json!({"name": &*self.name, "version": "unknown"});
        let mut result = json!({
            "protocolVersion": &*session.revision,
            "capabilities": legacy(&found.capabilities, &session.capabilities),
            "serverInfo": found.server_info.unwrap_or_else(name),
        });
        if let Some(instructions) = found.instructions {
            result["instructions"] = instructions;
        }
        let id = out.head.id.as_deref().unwrap_or("null");
        let mut reply = Reply::one(StatusCode::OK, success(id, &result.to_string()));
        reply.begins = true;
        Ok(reply)
    }

    /// Asks the server what it is, as the client of this session.
    pub(super) async fn discover(
        &self,
        cx: &Context,
        session: &Session,
    ) -> Result<Discovered, UpstreamError> {
        let id = self.mint();
        let members = meta(session).into_iter();
        let meta: Vec<String> =
            members.map(|(key, value)| format!("{}:{value}", Value::from(key))).collect();
        let raw = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"server/discover","params":{{"_meta":{{{}}}}}}}"#,
            meta.join(",")
        );
        let reply = self.inner.call(cx, of_ours(raw.into(), "server/discover", None)).await?;
        let raw = answer(reply).await?;
        let found: Option<Value> = raw.and_then(|raw| serde_json::from_slice(&raw).ok());
        let result = found.map(|mut found| found["result"].take()).filter(Value::is_object);
        let Some(mut result) = result else {
            let detail = "it does not say what it offers (server/discover)".to_owned();
            return Err(UpstreamError::Protocol { detail });
        };
        let capabilities = Arc::new(result["capabilities"].take());
        *lock(&self.offered) = Some(Arc::clone(&capabilities));
        Ok(Discovered {
            capabilities,
            instructions: Some(result["instructions"].take()).filter(Value::is_string),
            server_info: Some(result["_meta"]["io.modelcontextprotocol/serverInfo"].take())
                .filter(Value::is_object),
        })
    }
}

/// What a client's `initialize` says of it, with the revision it is answered with: its own where
/// that has a handshake, else the latest that has.
fn front(out: &Outgoing) -> Front {
    let message = Object::of(&out.raw);
    let params = message.as_ref().and_then(|message| message.object(&out.raw, "params"));
    let text = |key| {
        let found = params.as_ref().and_then(|params| params.get(key));
        found.map_or("", |member| member.text).into()
    };
    let asked = params.as_ref().and_then(|params| params.string("protocolVersion"));
    let mut legacy = REVISIONS.iter().filter(|revision| **revision < FIRST_MODERN);
    let latest = legacy.clone().next().copied();
    let agreed = legacy.find(|known| asked.as_deref() == Some(**known)).copied().or(latest);
    Front {
        revision: agreed.map(Into::into),
        capabilities: text("capabilities"),
        client: text("clientInfo"),
        ..Front::default()
    }
}

/// A server's capabilities as legacy clients know them: of extensions those that the client has
/// too, and tasks not at all.
fn legacy(offered: &Value, client: &Value) -> Value {
    let mut all = offered.as_object().cloned().unwrap_or_default();
    all.shift_remove("tasks");
    if let Some(Value::Object(extensions)) = all.shift_remove("extensions") {
        let known = |name: &String| name != TASKS && client["extensions"].get(name).is_some();
        let both: Map<_, _> = extensions.into_iter().filter(|(name, _)| known(name)).collect();
        if !both.is_empty() {
            all.insert("extensions".into(), both.into());
        }
    }
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Head;

    fn asked(version: &str) -> Front {
        let raw = json!({"params": {"protocolVersion": version, "capabilities": {"roots": {}},
            "clientInfo": {"name": "c"}}});
        front(&Outgoing::intact(raw.to_string().into(), &Head::error()))
    }

    #[test]
    fn the_clients_revision_is_agreed_to_where_it_has_a_handshake() {
        for (asks, gets) in [
            ("2024-11-05", "2024-11-05"),
            ("2025-03-26", "2025-03-26"),
            ("2025-11-25", "2025-11-25"),
            ("2026-07-28", "2025-11-25"),
            ("made up", "2025-11-25"),
        ] {
            let front = asked(asks);
            assert_eq!(front.revision.as_deref(), Some(gets));
            assert_eq!(
                (&*front.capabilities, &*front.client),
                (r#"{"roots":{}}"#, r#"{"name":"c"}"#)
            );
        }
    }

    #[test]
    fn capabilities_are_those_a_legacy_client_can_use() {
        let offered = json!({"tools": {"listChanged": true}, "logging": {}, "tasks": {},
            "extensions": {TASKS: {}, "io.modelcontextprotocol/ui": {}, "com.example/x": {}}});
        assert_eq!(
            legacy(&offered, &json!({})),
            json!({"tools": {"listChanged": true}, "logging": {}})
        );
        let client = json!({"extensions": {TASKS: {}, "io.modelcontextprotocol/ui": {}}});
        let extensions = json!({"io.modelcontextprotocol/ui": {}});
        assert_eq!(legacy(&offered, &client)["extensions"], extensions);
        assert_eq!(legacy(&Value::Null, &client), json!({}));
    }
}
