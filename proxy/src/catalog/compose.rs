//! Composite tools: a sequence of calls that looks like one tool. Each call passes the whole
//! pipeline of its server, as if the client had made it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use super::lists::Start;
use super::names::Target;
use super::page::Kind;
use super::template::{TemplateError, fill};
use super::wire::{Answer, Members, Object, request};
use super::{Desk, Mirrored, headers, unknown};
use crate::config::{Composite, OnStepError, Step, When};
use crate::envelope::{Head, Reply};
use crate::policy::Denied;

/// What came of one call.
struct Outcome {
    /// The result's bytes, links as they are called here.
    raw: String,
    value: Value,
    failed: Option<String>,
}

impl Desk {
    /// The tools of the gateway's own, as a list shows them.
    pub(super) fn own_tools(&self) -> Vec<Bytes> {
        let one = |(name, tool): (&String, &Arc<Composite>)| {
            let mut schema = tool.input.clone();
            schema.entry("type").or_insert_with(|| "object".into());
            let tool =
                json!({ "name": name, "description": tool.description, "inputSchema": schema });
            Bytes::from(tool.to_string())
        };
        self.face.composites.iter().map(one).collect()
    }

    /// Runs a composite tool.
    pub(super) async fn compose(
        &self,
        name: &str,
        tool: &Composite,
        head: &Head,
        arguments: Option<&RawValue>,
        meta: Option<&RawValue>,
    ) -> Result<Reply, Denied> {
        let input: Map<String, Value> =
            match arguments.map(|raw| serde_json::from_str(raw.get())).transpose() {
                Ok(input) => input.unwrap_or_default(),
                Err(_) => return Err(unknown("arguments: an object")),
            };
        let modern = self.cx.is_modern(head);
        let ran = match missing(tool, &input) {
            Some(required) => Err(format!("the argument {required} is missing")),
            None => self.run(tool, input, meta, modern).await,
        };
        let told = match ran {
            Ok(told) => told,
            Err(why) => {
                tracing::warn!(tool = name, "a composite tool failed");
                let mut failed = json!({
                    "content": [{ "type": "text", "text": format!("{name}: {why}") }],
                    "isError": true,
                });
                if modern {
                    failed["resultType"] = "complete".into();
                }
                failed.to_string()
            }
        };
        Ok(self.tell(head, &told))
    }

    /// Makes the calls, and gives the result; an error names the step.
    async fn run(
        &self,
        tool: &Composite,
        input: Map<String, Value>,
        meta: Option<&RawValue>,
        modern: bool,
    ) -> Result<String, String> {
        let until = Instant::now() + tool.timeout.get();
        let limit = self.cx.snapshot.config.limits.body.bytes();
        let mut left = limit.saturating_mul(4);
        let mut data = json!({ "input": input, "steps": {} });
        let mut last = None;
        for (n, step) in tool.steps.iter().enumerate() {
            let called = step.name.clone().unwrap_or_else(|| (n + 1).to_string());
            let at = |why: String| format!("step {called} ({}): {why}", step.tool);
            if !step.when.as_ref().is_none_or(|when| holds(when, &data)) {
                continue;
            }
            let template = Value::Object(step.arguments.clone());
            let arguments = match fill(&template, &data, limit) {
                Ok(arguments) => Ok(arguments),
                Err(error @ TemplateError::Missing(_)) => Err(error.to_string()),
                Err(error) => return Err(at(error.to_string())),
            };
            let outcome = match arguments {
                Ok(arguments) => {
                    match timeout_at(until, self.step(step, &arguments, meta, modern)).await {
                        Ok(outcome) => outcome,
                        Err(_) => return Err(at("the time for the whole tool ran out".into())),
                    }
                }
                Err(why) => Outcome::failed(why),
            };
            left = left
                .checked_sub(outcome.raw.len())
                .ok_or_else(|| at("the results are too large together".into()))?;
            match (&outcome.failed, step.on_error) {
                (Some(why), OnStepError::Stop) => return Err(at(why.clone())),
                (Some(_), OnStepError::Continue) | (None, _) => {}
            }
            data["steps"][called] = outcome.value;
            last = Some(outcome.raw);
        }
        if tool.result.is_null() {
            return last.ok_or_else(|| "no step was to be made".to_owned());
        }
        let made = fill(&tool.result, &data, limit).map_err(|e| format!("result: {e}"))?;
        Ok(finished(&made, modern))
    }

    /// One call, through the pipeline of its server.
    async fn step(
        &self,
        step: &Step,
        arguments: &Value,
        meta: Option<&RawValue>,
        modern: bool,
    ) -> Outcome {
        let found = step.tool.split_once('/');
        let found = found.and_then(|(server, tool)| Some((self.face.server(server)?, tool)));
        let Some((server, tool)) = found else { return Outcome::failed("no such server".into()) };
        let mirror = Mirrored { method: Some("tools/call"), name: Some(tool), params: false };
        let mut cx = self.to(server, modern, mirror);
        if modern && cx.transport.has_headers() {
            let target = self.at(server, tool, meta).await;
            let mirrors = target.map(|target| target.mirrors).unwrap_or_default();
            cx.headers.params =
                headers::of_call(&mirrors, arguments.as_object().unwrap_or(&Map::new()));
        }
        let mut params = Object::new();
        if let Some(meta) = meta.filter(|_| modern) {
            params = params.raw("_meta", &alone(meta));
        }
        let params = params.with("name", &tool).with("arguments", arguments).end();
        let frame = request(&self.pipeline.catalog.next_id(), "tools/call", &params);
        match self.ask(cx, frame).await {
            Ok(answer) => Outcome::of(&self.links(&server.name, None).outward(answer)),
            Err(why) => Outcome::failed(why.into()),
        }
    }

    /// What is known of a server's tool by its own name; its list is fetched when nothing is.
    async fn at(
        &self,
        server: &Arc<crate::snapshot::ServerSpec>,
        tool: &str,
        meta: Option<&RawValue>,
    ) -> Option<Target> {
        let of = |desk: &Desk| {
            let names = desk.known(Kind::Tools);
            let mut all = names.iter().map(|(_, target)| target);
            all.find(|t| t.server == server.name && &*t.name == tool).cloned()
        };
        if let Some(known) = of(self) {
            return Some(known);
        }
        let from = vec![Start { server: Arc::clone(server), cursor: None }];
        let round = self.round(Kind::Tools, from, meta, true, usize::MAX).await;
        self.learn(Kind::Tools, &round);
        of(self)
    }
}

impl Outcome {
    fn failed(why: String) -> Outcome {
        let value = json!({ "isError": true, "text": why });
        Outcome { raw: failure(&why), value, failed: Some(why) }
    }

    /// Reads a server's answer: what it says, and whether it is a failure.
    fn of(answer: &Bytes) -> Outcome {
        let Ok(read) = serde_json::from_slice::<Answer<'_>>(answer) else {
            return Outcome::failed("it did not answer".into());
        };
        let Some(raw) = read.result else {
            let said = read.error.and_then(|e| e.message).and_then(super::wire::string);
            return Outcome::failed(said.map_or("an error".into(), |said| clipped(&said)));
        };
        let mut value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        if value["resultType"].as_str().is_some_and(|kind| kind != "complete") {
            return Outcome::failed("it asked for more, which a composite tool cannot give".into());
        }
        let blocks = value["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
        let text = texts.join("\n");
        let failed = (value["isError"] == true).then(|| clipped(&text));
        if let Value::Object(members) = &mut value {
            members.insert("text".into(), text.into());
        }
        Outcome { raw: raw.get().to_owned(), value, failed }
    }
}

/// The first required argument that is not there.
fn missing<'a>(tool: &'a Composite, input: &Map<String, Value>) -> Option<&'a str> {
    let required = tool.input.get("required").and_then(Value::as_array)?;
    required.iter().filter_map(Value::as_str).find(|name| !input.contains_key(*name))
}

/// Whether a condition holds.
fn holds(when: &When, data: &Value) -> bool {
    let found = data.pointer(&when.at);
    when.exists.is_none_or(|exists| found.is_some() == exists)
        && when.equals.as_ref().is_none_or(|value| found == Some(value))
        && when.not.as_ref().is_none_or(|value| found != Some(value))
}

/// The client's `_meta` for a call of the gateway's own: nobody is there to be asked or told.
fn alone(meta: &RawValue) -> String {
    let mut out = Object::new();
    for (key, value) in Members::of(meta.get()).0 {
        match &*key {
            "progressToken" => {}
            "io.modelcontextprotocol/clientCapabilities" => out = out.raw(&key, "{}"),
            _ => out = out.raw(&key, value.get()),
        }
    }
    out.end()
}

/// A result made by a template: an object is structured content too.
fn finished(made: &Value, modern: bool) -> String {
    let text = made.as_str().map_or_else(|| made.to_string(), str::to_owned);
    let mut told = json!({ "content": [{ "type": "text", "text": text }] });
    if made.is_object() {
        told["structuredContent"] = made.clone();
    }
    if modern {
        told["resultType"] = "complete".into();
    }
    told.to_string()
}

fn failure(why: &str) -> String {
    json!({ "content": [{ "type": "text", "text": why }], "isError": true }).to_string()
}

/// As much of what a server says of its failure as is repeated.
fn clipped(text: &str) -> String {
    text[..text.floor_char_boundary(2000)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_condition_must_hold() {
        let data = json!({ "input": { "deep": true }, "steps": { "a": { "isError": false } } });
        let when = |text: &str| holds(&serde_json::from_str(text).unwrap(), &data);
        assert!(when(r#"{"at":"/input/deep","equals":true}"#));
        assert!(!when(r#"{"at":"/input/deep","equals":true,"not":true}"#));
        assert!(when(r#"{"at":"/input/x","exists":false}"#));
        assert!(!when(r#"{"at":"/input/x","exists":true}"#));
        assert!(when(r#"{"at":"/steps/a/isError","not":true}"#));
    }

    #[test]
    fn a_result_is_read_and_what_is_not_complete_is_a_failure() {
        let answer = |result: Value| {
            Outcome::of(&json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string().into())
        };
        let fine = answer(json!({ "content": [{ "type": "text", "text": "a" }, { "text": "b" }],
            "structuredContent": { "n": 1 } }));
        assert_eq!(fine.failed, None);
        assert_eq!(fine.value["text"], "a\nb");
        let error = answer(json!({ "content": [{ "text": "no" }], "isError": true }));
        assert_eq!(error.failed.as_deref(), Some("no"));
        assert!(answer(json!({ "resultType": "input_required" })).failed.is_some());
        let refused = Bytes::from_static(br#"{"id":1,"error":{"code":1,"message":"not you"}}"#);
        assert_eq!(Outcome::of(&refused).failed.as_deref(), Some("not you"));
    }

    #[test]
    fn nobody_is_asked_during_a_step() {
        let meta: &RawValue = serde_json::from_str(
            r#"{"progressToken":1,"io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"x/y":1.0}"#,
        )
        .unwrap();
        let expected = r#"{"io.modelcontextprotocol/clientCapabilities":{},"x/y":1.0}"#;
        assert_eq!(alone(meta), expected);
    }
}
