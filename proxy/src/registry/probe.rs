//! Asking a server what it is and what it offers, in the words of the newest revision; the bridge
//! between eras makes them the server's.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use capture::Str;
use futures::StreamExt;
use inspect::message::Kind;
use inspect::{Action, Direction};
use serde_json::{Value, json};

use crate::envelope::{Body, Claim, Context, Head, McpHeaders, Reply, Transport};
use crate::era;
use crate::policy::inspect as look;
use crate::session::Exchange;
use crate::snapshot::{ServerSpec, Snapshot};
use crate::upstream::{Outgoing, Upstream, UpstreamError};

/// Pages of one list that are asked for.
const PAGES: usize = 100;

/// What a server answered.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Its name, unverified.
    pub name: String,
    /// Its version, unverified.
    pub version: String,
    /// The revisions it says it speaks.
    pub revisions: Vec<String>,
    /// Its capabilities, as it gave them.
    pub offers: Value,
    /// The names of its tools.
    pub tools: Vec<String>,
    /// How many tools, prompts, resources and templates it listed.
    pub items: usize,
    /// What the rules found in its lists.
    pub findings: Vec<Found>,
    /// Tools without a word on whether they change anything.
    pub unannotated: Vec<String>,
    /// Tools whose schema points to another machine.
    pub remote_schemas: Vec<String>,
    /// Lists it promised that did not come.
    pub failed: Vec<String>,
}

/// One finding in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The rule.
    pub rule: String,
    /// The list.
    pub list: &'static str,
    /// Whether the list would be blocked for it, or changed.
    pub blocks: bool,
}

impl Answers {
    /// The names of its capabilities, with commas between.
    pub fn capabilities(&self) -> String {
        let names: Vec<&str> =
            self.offers.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    }
}

/// Asks `upstream` what it is, and for every list it has; each answer is inspected.
///
/// # Errors
/// When it can't be reached, or does not answer `server/discover`.
pub async fn ask(
    upstream: &dyn Upstream,
    snapshot: &Arc<Snapshot>,
    spec: &Arc<ServerSpec>,
) -> Result<Answers, UpstreamError> {
    let asker = Asker { upstream, snapshot, spec };
    let discovered = asker.request("server/discover", &json!({})).await?;
    let text = |value: Option<&Value>| {
        value.and_then(Value::as_str).unwrap_or("unnamed").chars().take(100).collect::<String>()
    };
    let info = discovered.1.pointer("/_meta/io.modelcontextprotocol~1serverInfo");
    let mut answers = Answers {
        name: text(info.and_then(|info| info.get("name"))),
        version: text(info.and_then(|info| info.get("version"))),
        offers: discovered.1.get("capabilities").cloned().unwrap_or_default(),
        revisions: strings(discovered.1.get("supportedVersions")),
        findings: discovered.0,
        ..Answers::default()
    };
    for (capability, list, member) in [
        ("tools", "tools/list", "tools"),
        ("prompts", "prompts/list", "prompts"),
        ("resources", "resources/list", "resources"),
        ("resources", "resources/templates/list", "resourceTemplates"),
    ] {
        if answers.offers.get(capability).is_some() {
            asker.list(&mut answers, list, member).await;
        }
    }
    Ok(answers)
}

struct Asker<'a> {
    upstream: &'a dyn Upstream,
    snapshot: &'a Arc<Snapshot>,
    spec: &'a Arc<ServerSpec>,
}

impl Asker<'_> {
    async fn list(&self, answers: &mut Answers, list: &'static str, member: &str) {
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES {
            let params = cursor.as_ref().map_or_else(|| json!({}), |at| json!({ "cursor": at }));
            let (found, result) = match self.request(list, &params).await {
                Ok(answer) => answer,
                Err(error) => {
                    answers.failed.push(format!("{list} ({error})"));
                    return;
                }
            };
            answers.findings.extend(found);
            for item in result.get(member).and_then(Value::as_array).into_iter().flatten() {
                answers.items += 1;
                if member == "tools" {
                    tool(answers, item);
                }
            }
            match result.get("nextCursor").and_then(Value::as_str) {
                Some(next) => cursor = Some(next.to_owned()),
                None => return,
            }
        }
        answers.failed.push(format!("{list} (more than {PAGES} pages)"));
    }

    /// One request's result, and what was found in it.
    async fn request(
        &self,
        method: &'static str,
        params: &Value,
    ) -> Result<(Vec<Found>, Value), UpstreamError> {
        let mut params = params.clone();
        if let Some(params) = params.as_object_mut() {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": era::REVISIONS[0],
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo":
                    { "name": "wiregate", "version": env!("CARGO_PKG_VERSION") },
            });
            params.insert("_meta".into(), meta);
        }
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let raw = Bytes::from(message.to_string());
        let cx = self.context(method);
        let outgoing = Outgoing::intact(raw, &head(method));
        let reply = self.upstream.call(&cx, outgoing).await?;
        let answer = answer(reply).await?;
        let found = self.inspect(method, &answer)?;
        let mut whole: Value = serde_json::from_slice(&answer)
            .map_err(|error| UpstreamError::Protocol { detail: error.to_string() })?;
        match whole.get_mut("result") {
            Some(result) => Ok((found, result.take())),
            None => {
                let code = whole.pointer("/error/code").and_then(Value::as_i64).unwrap_or(0);
                Err(UpstreamError::Protocol { detail: format!("{method}: error {code}") })
            }
        }
    }

    fn inspect(&self, method: &'static str, answer: &Bytes) -> Result<Vec<Found>, UpstreamError> {
        let exchange = Arc::new(Exchange {
            id: "probe".into(),
            method: method.into(),
            name: None,
            rpc_id: "1".into(),
            started: std::time::Instant::now(),
            direction: Direction::ToServer,
            version: None,
            modern: true,
            parent: None,
            tie: crate::linkage::Tie::default(),
        });
        let (snapshot, name) = (self.snapshot, &self.spec.name);
        let seen = look::read(snapshot, name, answer.clone(), Direction::ToClient, None, |_| {
            Some(Arc::clone(&exchange))
        })
        .map_err(|error| UpstreamError::Protocol { detail: error.to_string() })?;
        let found = |(finding, action): (&inspect::Finding, &Action)| Found {
            rule: snapshot.rules.rule(finding.rule).id().to_owned(),
            list: method,
            blocks: seen.verdict.action == Action::Block || *action >= Action::Redact,
        };
        Ok(seen.verdict.findings.iter().zip(&seen.verdict.asked).map(found).collect())
    }

    fn context(&self, method: &str) -> Context {
        let header = |text: &str| http::HeaderValue::from_str(text).ok();
        let headers = McpHeaders {
            version: header(era::REVISIONS[0]),
            method: header(method).into_iter().collect(),
            ..McpHeaders::default()
        };
        Context {
            snapshot: Arc::clone(self.snapshot),
            server: Arc::clone(self.spec),
            transport: Transport::Http1,
            http_method: Some("POST".into()),
            headers,
            conn_id: "probe".into(),
            session: None,
            principal: None,
            negotiated: OnceLock::new(),
            front: OnceLock::new(),
            owned: false,
            arrival: crate::linkage::Arrival::default(),
            rows: crate::audit::Rows::default(),
        }
    }
}

fn head(method: &str) -> Head {
    Head {
        kind: Kind::Request,
        id: Some("1".into()),
        method: Some(method.into()),
        claim: Claim::Complete(Str::from(era::REVISIONS[0])),
        ..Head::error()
    }
}

/// The answer in a reply; what comes before it on a stream is left.
async fn answer(reply: Reply) -> Result<Bytes, UpstreamError> {
    let none = || UpstreamError::Protocol { detail: "no answer came".into() };
    match reply.body {
        Body::One(answer) => Ok(answer),
        Body::Empty => Err(none()),
        Body::Stream(mut events) => {
            while let Some(event) = events.next().await {
                let Some(data) = event?.data else { continue };
                let is_answer = serde_json::from_slice::<Value>(&data)
                    .is_ok_and(|value| value.get("method").is_none());
                if is_answer {
                    return Ok(data);
                }
            }
            Err(none())
        }
    }
}

fn tool(answers: &mut Answers, tool: &Value) {
    let name: String =
        tool.get("name").and_then(Value::as_str).unwrap_or("unnamed").chars().take(128).collect();
    let hint = |hint: &str| tool.pointer(&format!("/annotations/{hint}")).is_some();
    if !hint("readOnlyHint") && !hint("destructiveHint") {
        answers.unannotated.push(name.clone());
    }
    if points_elsewhere(tool.get("inputSchema")) || points_elsewhere(tool.get("outputSchema")) {
        answers.remote_schemas.push(name.clone());
    }
    answers.tools.push(name);
}

/// Whether a schema has a `$ref` that would be fetched.
fn points_elsewhere(schema: Option<&Value>) -> bool {
    let mut open: Vec<&Value> = schema.into_iter().collect();
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                let to = members.get("$ref").and_then(Value::as_str).unwrap_or_default();
                if to.contains("://") {
                    return true;
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    false
}

fn strings(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    items.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests;
