//! One call under way. It runs in a task of its own: a legacy client that leaves does not cancel
//! what it asked for, while to a server of 2026-07-28 a closed stream is just that. So the call goes
//! on to its end without its client, and what comes of it then is dropped.

use std::sync::Arc;

use bytes::Bytes;
use capture::Str;
use futures::stream::{self, StreamExt};
use http::StatusCode;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::ToModern;
use super::request::{Again, modern};
use super::result::{Asked, Asking, InputRequest, Judged, failure, judge, refusal};
use super::session::{Question, Session};
use crate::envelope::{Body, Context, Event, Reply};
use crate::era::detect::refuses_modern;
use crate::era::splice::Object;
use crate::upstream::{Outgoing, UpstreamError};

/// What a call says to its client.
enum Said {
    Event(Event),
    Answer(Bytes),
    Failed(UpstreamError),
}

/// Events of one call that may wait for its client.
const WAITING: usize = 16;

/// A request that a client has made.
pub(super) struct Call {
    pub(super) bridge: Arc<ToModern>,
    pub(super) cx: Arc<Context>,
    pub(super) session: Arc<Session>,
    pub(super) out: Outgoing,
    pub(super) asking: Asking,
}

/// Why a call came to no answer of the server's.
enum Failure {
    Upstream(UpstreamError),
    /// The client is told why.
    Told(&'static str),
    /// Its `params` are not what they should be.
    Params(&'static str),
    /// The client has left, and with it who could answer.
    Gone,
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Failure {
        Failure::Upstream(error)
    }
}

impl Call {
    /// Starts the call, and gives what comes of it as it comes. `place` is kept to its end.
    pub(super) async fn start(self, place: OwnedSemaphorePermit) -> Result<Reply, UpstreamError> {
        let (say, mut said) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let _place = place;
            self.run(say).await;
        });
        let first = match said.recv().await {
            Some(Said::Event(event)) => event,
            Some(Said::Answer(answer)) => return Ok(Reply::one(StatusCode::OK, answer)),
            Some(Said::Failed(error)) => return Err(error),
            None => return Err(UpstreamError::Closed { detail: "the call was given up".into() }),
        };
        let rest = stream::unfold(said, |mut said| async {
            let next = match said.recv().await? {
                Said::Event(event) => Ok(event),
                Said::Answer(answer) => Ok(Event { data: Some(answer), ..Event::default() }),
                Said::Failed(error) => Err(error),
            };
            Some((next, said))
        });
        let events = stream::iter([Ok(first)]).chain(rest).boxed();
        Ok(Reply { body: Body::Stream(events), ..Reply::empty(StatusCode::OK) })
    }

    async fn run(self, say: mpsc::Sender<Said>) {
        let underway = self.session.call(&self.asking.id);
        let Asking { id, method, .. } = &self.asking;
        let said = tokio::select! {
            biased;
            // Dropping the rest closes the stream to the server, which cancels there too.
            () = underway.cancelled.cancelled() => {
                Said::Answer(failure(id, super::CANCELLED, "cancelled by the client"))
            }
            outcome = self.rounds(&say) => match outcome {
                Ok(answer) => Said::Answer(answer),
                Err(Failure::Upstream(error)) => Said::Failed(error),
                Err(Failure::Told(why)) => Said::Answer(refusal(id, method, why)),
                Err(Failure::Params(why)) => Said::Answer(failure(id, -32602, why)),
                Err(Failure::Gone) => return,
            },
        };
        // Nobody may be there any more to hear it.
        let _ = say.send(said).await;
    }

    /// The call, as often as the server asks back.
    async fn rounds(&self, say: &mpsc::Sender<Said>) -> Result<Bytes, Failure> {
        let mut again: Option<Again> = None;
        let mut completed: Vec<String> = Vec::new();
        let mut refreshed = false;
        let mut rounds = 0;
        loop {
            let raw = self.once(again.as_ref(), say).await?;
            match judge(&raw, &self.asking, &self.bridge.tools) {
                Judged::Done(answer) => {
                    for id in completed {
                        let params = serde_json::json!({"elicitationId": id});
                        tell(say, "notifications/elicitation/complete", &params).await;
                    }
                    return Ok(answer);
                }
                Judged::Ask(asked) if rounds < self.bridge.limits.rounds && self.may_ask() => {
                    rounds += 1;
                    again = Some(self.ask(asked, say, &mut completed).await?);
                }
                Judged::Ask(_) if rounds > 0 => {
                    return Err(Failure::Told("the server asked back too often"));
                }
                Judged::Ask(_) => return Err(broken("it asks back where it may not")),
                Judged::Mismatch if !refreshed && &*self.asking.method == "tools/call" => {
                    refreshed = true;
                    self.bridge.refresh(&self.cx, &self.session).await?;
                }
                Judged::Mismatch => return Err(broken("it finds headers and body to differ")),
                Judged::Strange => {
                    self.bridge.doubt();
                    return Err(broken("it speaks no revision without sessions any more"));
                }
                Judged::Broken(why) => return Err(broken(why)),
            }
        }
    }

    fn may_ask(&self) -> bool {
        matches!(&*self.asking.method, "tools/call" | "prompts/get" | "resources/read")
    }

    /// One request to the server, and its answer; what comes before that goes to the client.
    async fn once(
        &self,
        again: Option<&Again>,
        say: &mpsc::Sender<Said>,
    ) -> Result<Bytes, Failure> {
        let mut mirrored = Arc::default();
        if let ("tools/call", Some(tool)) = (&*self.asking.method, &self.asking.name) {
            mirrored = self.bridge.tool(&self.cx, &self.session, tool).await?;
        }
        let Outgoing { raw, head, .. } = &self.out;
        let out = modern(raw, &self.session, head, &mirrored.mirrored, again);
        let reply = self.bridge.inner.call(&self.cx, out.map_err(Failure::Params)?).await?;
        if refuses_modern(&reply) {
            self.bridge.doubt();
            return Err(broken("it speaks no revision without sessions any more"));
        }
        let status = reply.status.unwrap_or(StatusCode::OK);
        let mut events = match reply.body {
            Body::One(raw) => return Ok(raw),
            Body::Empty => {
                return Err(broken_owned(format!("HTTP {} without an answer", status.as_u16())));
            }
            Body::Stream(events) => events,
        };
        while let Some(event) = events.next().await {
            let event = event?;
            let Some(raw) = &event.data else { continue };
            let Some(message) = Object::of(raw) else {
                // Not ours to judge: the pipeline tells of it, and drops it.
                forward(say, raw.clone()).await;
                continue;
            };
            match (message.get("method").is_some(), message.get("id").is_some()) {
                (false, _) => return Ok(raw.clone()),
                (true, false) => forward(say, raw.clone()).await,
                (true, true) => {
                    let server = &self.cx.server.name;
                    tracing::warn!(%server, "the server sent a request, which its revision forbids");
                }
            }
        }
        Err(broken("the stream ended without the answer"))
    }

    /// Asks the client what the server wants to know, and waits for all of its answers.
    async fn ask(
        &self,
        asked: Asked,
        say: &mpsc::Sender<Said>,
        completed: &mut Vec<String>,
    ) -> Result<Again, Failure> {
        let mut questions: Vec<(String, String, Question)> = Vec::new();
        for request in asked.requests {
            let (params, elicitation) = self.translated(&request)?;
            completed.extend(elicitation);
            let id = self.bridge.mint();
            let question = self.session.ask(id.as_str().into());
            let method = Value::from(request.method.as_str());
            let params = params.map(|params| format!(",\"params\":{params}")).unwrap_or_default();
            let message = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method}{params}}}"#);
            let event = Event { data: Some(message.into()), ..Event::default() };
            say.send(Said::Event(event)).await.map_err(|_| Failure::Gone)?;
            questions.push((request.key, request.method, question));
        }
        let mut responses = Vec::with_capacity(questions.len());
        let ids: Vec<Str> = questions.iter().map(|(_, _, question)| question.id.clone()).collect();
        let patience = self.bridge.limits.answer.get();
        let all = async {
            for (key, method, question) in &mut questions {
                let answer = (&mut question.answer).await.map_err(|_| Failure::Gone)?;
                let result = response(&answer, method)?;
                responses.push(format!("{}:{result}", Value::from(key.as_str())));
            }
            Ok::<(), Failure>(())
        };
        match timeout(patience, all).await {
            Ok(all) => all?,
            Err(_) => {
                for id in ids {
                    let id: Value = serde_json::from_str(&id).unwrap_or_default();
                    let params = serde_json::json!({"requestId": id, "reason": "timed out"});
                    tell(say, "notifications/cancelled", &params).await;
                }
                return Err(Failure::Told("the client did not answer in time"));
            }
        }
        let responses = format!("{{{}}}", responses.join(","));
        Ok(Again { id: self.bridge.mint(), responses, state: asked.state })
    }

    /// The `params` of a question in the client's revision, and the id of an elicitation that it is
    /// told the end of.
    fn translated(
        &self,
        request: &InputRequest,
    ) -> Result<(Option<String>, Option<String>), Failure> {
        let lacks = Failure::Told("the server needs something of the client that it can't do");
        let can = |capability: &str| self.session.capabilities.get(capability);
        let capability = match request.method.as_str() {
            "elicitation/create" => "elicitation",
            "sampling/createMessage" => "sampling",
            "roots/list" => "roots",
            _ => return Err(broken("it asks for what no client has")),
        };
        let Some(capability) = can(capability) else { return Err(lacks) };
        let Some(params) = request.params.as_deref() else { return Ok((None, None)) };
        if request.method != "elicitation/create" {
            return Ok((Some(params.to_owned()), None));
        }
        let Some(read) = Object::of(params.as_bytes()) else {
            return Err(broken("an input request whose params are no object"));
        };
        let edited = |edits| {
            let bytes = crate::era::splice::applied(params.as_bytes(), edits);
            bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
        };
        let is_url = read.string("mode").as_deref() == Some("url");
        if !is_url {
            // Capabilities without a mode mean forms.
            let forms = capability.get("form").is_some() || capability.get("url").is_none();
            let gone: &[&str] = if self.session.speaks("2025-11-25") { &[] } else { &["mode"] };
            return if forms { Ok((edited(read.edits(gone, &[])), None)) } else { Err(lacks) };
        }
        if capability.get("url").is_none() {
            return Err(lacks);
        }
        let id = read
            .string("elicitationId")
            .unwrap_or_else(|| self.bridge.mint().trim_matches('"').to_owned());
        let quoted = Value::from(id.as_str()).to_string();
        Ok((edited(read.edits(&[], &[("elicitationId", &quoted)])), Some(id)))
    }
}

/// The bare result in a client's answer. Who does not answer an elicitation has cancelled it.
fn response(answer: &Bytes, method: &str) -> Result<String, Failure> {
    let message = Object::of(answer);
    match message.as_ref().and_then(|message| message.get("result")) {
        Some(result) => Ok(result.text.to_owned()),
        None if method == "elicitation/create" => Ok(r#"{"action":"cancel"}"#.to_owned()),
        None => Err(Failure::Told("the client refused what the server needs of it")),
    }
}

/// Sends a message on, unless the client has left: then the call goes on without it.
async fn forward(say: &mpsc::Sender<Said>, raw: Bytes) {
    let _ = say.send(Said::Event(Event { data: Some(raw), ..Event::default() })).await;
}

/// Sends the client a notification of the bridge's own.
async fn tell(say: &mpsc::Sender<Said>, method: &str, params: &Value) {
    let message = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#);
    forward(say, message.into()).await;
}

fn broken(why: &'static str) -> Failure {
    broken_owned(why.to_owned())
}

fn broken_owned(detail: String) -> Failure {
    Failure::Upstream(UpstreamError::Protocol { detail })
}
