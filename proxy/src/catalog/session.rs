//! What the gateway says in the name of all its servers: who it is and what it can; and what
//! concerns all of them: the end of a handshake, a level of logging, roots, cancellations.

use std::sync::Arc;

use bytes::Bytes;
use capture::Str;
use futures::future::join_all;
use http::StatusCode;
use inspect::message::Kind as MessageKind;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use super::lists::MISSING;
use super::wire::{Answer, Asked, Members, Object, request, string};
use super::{Desk, Mirrored, answer_in, unknown};
use crate::config::OnFailure;
use crate::envelope::{Body, Head, Reply};
use crate::era;
use crate::policy::{Denied, UNREACHABLE};
use crate::session::{Front, digest};
use crate::snapshot::ServerSpec;

/// What one server says of itself.
#[derive(Debug, Default)]
struct Said {
    capabilities: Map<String, Value>,
    instructions: Option<String>,
    version: Option<String>,
    ttl: u64,
    private: bool,
}

/// What all of them say.
#[derive(Debug, Default)]
struct All {
    said: Vec<(Str, Said)>,
    missing: Vec<Str>,
}

/// Bytes of all instructions together at most.
const MOST_INSTRUCTIONS: usize = 64 << 10;

impl Desk {
    /// Answers `server/discover`.
    pub(super) async fn discover(&self, head: &Head, asked: &Asked<'_>) -> Result<Reply, Denied> {
        let mut params = Object::new();
        if let Some(meta) = asked.params.meta {
            params = params.raw("_meta", meta.get());
        }
        let params = params.end();
        let all = self
            .of_all("server/discover", |server| {
                let id = self.pipeline.catalog.next_id();
                let mirror = Mirrored { method: Some("server/discover"), ..Mirrored::default() };
                let cx = self.to(server, true, mirror);
                self.ask(cx, request(&id, "server/discover", &params))
            })
            .await?;
        let whole = all.missing.is_empty();
        let ttl = all.said.iter().map(|(_, said)| said.ttl).min().filter(|_| whole).unwrap_or(0);
        let private = !whole || all.said.iter().any(|(_, said)| said.private);
        let mut meta = json!({ "io.modelcontextprotocol/serverInfo": server_info() });
        if !whole {
            meta[MISSING] = json!(all.missing);
        }
        let mut result = json!({
            "resultType": "complete",
            "supportedVersions": era::REVISIONS,
            "capabilities": self.capabilities(&all),
            "ttlMs": ttl,
            "cacheScope": if private { "private" } else { "public" },
            "_meta": meta,
        });
        if let Some(instructions) = self.instructions(&all) {
            result["instructions"] = instructions.into();
        }
        Ok(self.tell(head, &result.to_string()))
    }

    /// Answers `initialize`: each server is greeted as the client greets the gateway.
    pub(super) async fn initialize(&self, frame: &Bytes, head: &Head) -> Result<Reply, Denied> {
        let _ = self.cx.front.set(Arc::new(front(frame)));
        let all = self.of_all("initialize", |server| self.greet(server, frame.clone())).await?;
        let spoken = |version: &&str| {
            era::REVISIONS.contains(version) && !era::is_modern(version.as_bytes())
        };
        let newest = era::REVISIONS.iter().copied().find(|version| spoken(version));
        let asked = head.handshake_version.as_deref().filter(spoken).or(newest);
        // No newer one than each of them speaks. Revisions are dates: their order is the text's.
        let theirs = all.said.iter().filter_map(|(_, said)| said.version.as_deref());
        let version = theirs.filter(spoken).chain(asked).min().unwrap_or_default();
        let _ = self.cx.negotiated.set(version.into());
        let mut result = json!({
            "protocolVersion": version,
            "capabilities": self.capabilities(&all),
            "serverInfo": server_info(),
        });
        if let Some(instructions) = self.instructions(&all) {
            result["instructions"] = instructions.into();
        }
        if !all.missing.is_empty() {
            result["_meta"] = json!({ MISSING: all.missing });
        }
        Ok(Reply { begins: true, ..self.tell(head, &result.to_string()) })
    }

    /// Asks every server who it is.
    async fn of_all<'a, F>(
        &'a self,
        method: &'static str,
        ask: impl Fn(&'a Arc<ServerSpec>) -> F,
    ) -> Result<All, Denied>
    where
        F: Future<Output = Result<Bytes, &'static str>>,
    {
        let until = Instant::now() + self.config().deadline.get();
        let calls = self.face.servers.iter().map(|server| {
            let asked = ask(server);
            async move {
                let said = match timeout_at(until, asked).await {
                    Ok(answer) => answer.and_then(|answer| Said::of(&answer)),
                    Err(_) => Err("slower than the deadline"),
                };
                (server.name.clone(), said)
            }
        });
        let mut all = All::default();
        for (server, said) in join_all(calls).await {
            match said {
                Ok(said) => all.said.push((server, said)),
                Err(why) => {
                    tracing::warn!(%server, method, why, "missing");
                    self.pipeline.metrics.left_out(&server, "missing");
                    all.missing.push(server);
                }
            }
        }
        let strict = self.config().on_failure == OnFailure::Error && !all.missing.is_empty();
        if strict || (all.said.is_empty() && !all.missing.is_empty()) {
            let message = format!("{method}: no answer from {}", all.missing.join(", "));
            let status = StatusCode::BAD_GATEWAY;
            return Err(Denied::new(status, UNREACHABLE, "upstream_missing", message));
        }
        Ok(all)
    }

    /// Greets one server to hear what it can. A session that it begins for that is ended again: the
    /// client's own with it is begun with its first message.
    async fn greet(&self, server: &Arc<ServerSpec>, frame: Bytes) -> Result<Bytes, &'static str> {
        let mut cx = self.to(server, false, Mirrored::default());
        cx.owned = false;
        let mut reply = self.send(cx.clone(), frame).await;
        if let Some(session) = reply.session.take() {
            cx.session = Some(digest(&server.name, session.as_bytes()));
            cx.headers.session = Some(session);
            tokio::spawn(Arc::clone(&self.pipeline).close(Arc::new(cx)));
        }
        answer_in(reply).await
    }

    /// What any of them can. Tasks are left out: their ids do not say whose they are.
    fn capabilities(&self, all: &All) -> Value {
        let mut union = Map::new();
        for (_, said) in &all.said {
            for (name, value) in &said.capabilities {
                if name != "tasks" {
                    unite(union.entry(name.clone()).or_insert(Value::Null), value, 0);
                }
            }
        }
        if let Some(Value::Object(extensions)) = union.get_mut("extensions") {
            extensions.retain(|name, _| !name.ends_with("/tasks"));
        }
        if let Some(selection) = &self.face.selection {
            let offered = [
                ("tools", !selection.tools.is_empty() || !self.face.composites.is_empty()),
                ("prompts", !selection.prompts.is_empty()),
                ("resources", !selection.resources.is_empty()),
            ];
            union.retain(|name, _| offered.iter().all(|(part, any)| name != part || *any));
        }
        if !self.face.composites.is_empty() || self.face.search {
            union.entry("tools").or_insert_with(|| json!({}));
        }
        Value::Object(union)
    }

    /// The instructions of all, each below its server's name.
    fn instructions(&self, all: &All) -> Option<String> {
        if let Some(selection) = &self.face.selection {
            return selection.instructions.clone();
        }
        let mut joined = String::new();
        for (server, said) in &all.said {
            let Some(text) = &said.instructions else { continue };
            if joined.len() + text.len() > MOST_INSTRUCTIONS {
                continue;
            }
            if !joined.is_empty() {
                joined.push_str("\n\n");
            }
            joined.push_str(&format!("# {server}\n\n{text}"));
        }
        (!joined.is_empty()).then_some(joined)
    }

    /// Passes a level of logging on to all that have one.
    pub(super) async fn set_level(&self, frame: &Bytes, head: &Head) -> Result<Reply, Denied> {
        let replies = self.to_all(&self.face.servers, frame).await;
        let took = |reply: &Reply| match &reply.body {
            Body::One(answer) => {
                serde_json::from_slice::<Answer<'_>>(answer).is_ok_and(|a| a.result.is_some())
            }
            _ => false,
        };
        match replies.iter().any(took) {
            true => Ok(self.tell(head, "{}")),
            false => Err(unknown("no server has a level of logging")),
        }
    }

    /// Passes on a notification: a cancellation to the server that has the call, what concerns
    /// the client itself to all.
    pub(super) async fn notify(
        &self,
        frame: &Bytes,
        head: &Head,
        asked: &Asked<'_>,
    ) -> Result<Reply, Denied> {
        let all = &self.face.servers;
        let these: Vec<Arc<ServerSpec>> = match head.method.as_deref().unwrap_or_default() {
            "notifications/cancelled" => {
                let id = asked.params.request_id.map(|raw| raw.get());
                let server =
                    id.and_then(|id| self.pipeline.catalog.where_is(&self.cx.sender(), id));
                server.and_then(|server| self.face.server(&server).cloned()).into_iter().collect()
            }
            "notifications/initialized" | "notifications/roots/list_changed" => all.clone(),
            // Nothing else from a client says whom it concerns.
            _ => Vec::new(),
        };
        self.to_all(&these, frame).await;
        Ok(Reply::empty(StatusCode::ACCEPTED))
    }

    /// Passes a client's answer on to the server that asked: its name stands in the id.
    pub(super) async fn answer(&self, frame: &Bytes, head: &Head) -> Result<Reply, Denied> {
        let id = head.id.as_deref().and_then(|id| serde_json::from_str::<String>(id).ok());
        let server = id.as_deref().and_then(|id| id.split_once('/')).map(|(server, _)| server);
        match server.and_then(|server| self.face.server(server)) {
            Some(server) => {
                Ok(self.send(self.to(server, false, Mirrored::default()), frame.clone()).await)
            }
            None => Err(Denied::invalid_request("no server asked this")),
        }
    }

    /// Sends the same message to several servers, and waits no longer than the deadline.
    async fn to_all(&self, servers: &[Arc<ServerSpec>], frame: &Bytes) -> Vec<Reply> {
        let until = Instant::now() + self.config().deadline.get();
        let calls = servers.iter().map(|server| {
            let cx = self.to(server, false, Mirrored::default());
            timeout_at(until, self.send(cx, frame.clone()))
        });
        join_all(calls).await.into_iter().filter_map(Result::ok).collect()
    }

    /// Ends the sessions with all servers.
    pub(super) async fn close(&self) -> Reply {
        let until = Instant::now() + self.config().deadline.get();
        let calls = self.face.servers.iter().map(|server| {
            let cx = Arc::new(self.to(server, false, Mirrored::default()));
            timeout_at(until, Arc::clone(&self.pipeline).close(cx))
        });
        let replies = join_all(calls).await.into_iter().filter_map(Result::ok);
        let ended = |reply: Reply| reply.status.filter(StatusCode::is_success);
        let ended = replies.filter_map(ended).next();
        Reply::empty(ended.unwrap_or(StatusCode::METHOD_NOT_ALLOWED))
    }
}

impl Said {
    fn of(answer: &Bytes) -> Result<Said, &'static str> {
        let read: Answer<'_> = serde_json::from_slice(answer).map_err(|_| "not an answer")?;
        let result = read.result.ok_or("it answered with an error")?;
        let result = Members::of(result.get());
        let capabilities = result.get("capabilities").ok_or("no capabilities in its answer")?;
        let number = |name| result.get(name).and_then(|raw| raw.get().parse::<u64>().ok());
        let text = |name| result.get(name).and_then(string).map(|text| text.into_owned());
        Ok(Said {
            capabilities: serde_json::from_str(capabilities.get())
                .map_err(|_| "no capabilities in its answer")?,
            instructions: text("instructions").filter(|text| !text.is_empty()),
            version: text("protocolVersion"),
            ttl: number("ttlMs").unwrap_or(0),
            private: text("cacheScope").as_deref() != Some("public"),
        })
    }
}

/// What a client says of itself in its `initialize`.
fn front(frame: &Bytes) -> Front {
    let text = std::str::from_utf8(frame).unwrap_or_default();
    let params = Members::of(text).get("params").map(|raw| Members::of(raw.get()));
    let params = params.unwrap_or_default();
    let said = |name| params.get(name).map_or("{}", |raw| raw.get()).into();
    Front { capabilities: said("capabilities"), client: said("clientInfo"), ..Front::default() }
}

/// How the gateway calls itself.
fn server_info() -> Value {
    json!({ "name": "wiregate", "version": env!("CARGO_PKG_VERSION") })
}

/// What either can: of two switches, on; of two objects, the members of both.
fn unite(union: &mut Value, more: &Value, depth: usize) {
    match (union, more) {
        (Value::Object(union), Value::Object(more)) if depth < 8 => {
            for (key, value) in more {
                unite(union.entry(key.clone()).or_insert(Value::Null), value, depth + 1);
            }
        }
        (union @ (Value::Null | Value::Bool(false)), more) => *union = more.clone(),
        _ => {}
    }
}

/// Whether this is an answer.
pub(super) fn is_answer(kind: Option<MessageKind>) -> bool {
    matches!(kind, Some(MessageKind::Response | MessageKind::Error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_those_of_any() {
        let mut union = json!({ "tools": { "listChanged": false }, "logging": {} });
        unite(&mut union, &json!({ "tools": { "listChanged": true }, "prompts": {} }), 0);
        unite(&mut union, &json!({ "tools": {} }), 0);
        let expected = json!({ "tools": { "listChanged": true }, "logging": {}, "prompts": {} });
        assert_eq!(union, expected);
    }
}
