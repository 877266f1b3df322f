//! The way back: what a server sends, read and inspected message by message, as it comes.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http::StatusCode;
use inspect::message::{Kind, split_batch};
use inspect::{Action, Direction};

use crate::audit::{Leg, Timing};
use crate::batch::join;
use crate::envelope::{Body, Context, Event, Head, Reply, clipped};
use crate::pipeline::Pipeline;
use crate::policy::inspect::{self as look, Seen};
use crate::policy::{BAD_UPSTREAM, Denied, blocked, withhold};
use crate::refusal::{denied_by, rule_names};
use crate::session::Exchange;
use crate::upstream::{Outgoing, UpstreamError};

/// A server's reply, inspected. A request that got a status alone gets an error to go with it.
pub(crate) fn reply(
    pipeline: Arc<Pipeline>,
    cx: Arc<Context>,
    exchange: Option<Arc<Exchange>>,
    is_request: bool,
    reply: Reply,
    sent: Instant,
) -> Reply {
    let status = reply.status.map(client_status);
    // Stateless revisions have no sessions: one that a server mints all the same is not passed on.
    let session = reply.session.filter(|_| !exchange.as_ref().is_some_and(|e| e.modern));
    let mut one = One { pipeline, cx, exchange: exchange.filter(|_| is_request), sent };
    let body = match reply.body {
        Body::Empty => match status {
            Some(status) if one.exchange.is_some() && status != StatusCode::ACCEPTED => {
                let theirs = reply.status.map_or(0, |s| s.as_u16());
                let denied =
                    one.broken(&format!("the server answered HTTP {theirs} without a message"));
                let status = if status.is_success() { StatusCode::BAD_GATEWAY } else { status };
                return Reply { status: Some(status), session: None, body: Body::One(denied) };
            }
            _ => Body::Empty,
        },
        Body::One(frame) => match one.frame(frame) {
            Ok(Some(answer)) => Body::One(answer),
            Ok(None) => Body::Empty,
            Err(answer) => {
                let status = status.filter(|s| !s.is_success()).unwrap_or(StatusCode::BAD_GATEWAY);
                return Reply { status: Some(status), session: None, body: Body::One(answer) };
            }
        },
        Body::Stream(events) => {
            let state = Relay { one, events, resumable: false, answered: false, over: false };
            Body::Stream(stream::unfold(Some(state), Relay::next).boxed())
        }
    };
    Reply { status, session, body }
}

/// The status a client may see. A challenge or a redirect is meant for the gateway, not for it.
fn client_status(theirs: StatusCode) -> StatusCode {
    match theirs.as_u16() {
        300..=399 | 401 | 407 => StatusCode::BAD_GATEWAY,
        _ => theirs,
    }
}

/// A stream under way.
struct Relay {
    one: One,
    events: BoxStream<'static, Result<Event, UpstreamError>>,
    /// Whether the client can come back for the rest (`Last-Event-ID`).
    resumable: bool,
    answered: bool,
    /// Whether the server's side of it has ended.
    over: bool,
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let (Some(exchange), false) = (&self.one.exchange, self.over) {
            self.one.pipeline.gone(&self.one.cx, exchange);
        }
    }
}

impl Relay {
    async fn next(state: Option<Relay>) -> Option<(Result<Event, UpstreamError>, Option<Relay>)> {
        let mut state = state?;
        loop {
            let Some(next) = state.events.next().await else {
                state.over = true;
                return state.ended().map(|event| (Ok(event), None));
            };
            match next {
                Ok(event) => {
                    if let Some(event) = state.pass(event) {
                        return Some((Ok(event), Some(state)));
                    }
                }
                Err(error @ UpstreamError::TooLarge { what: "line", .. }) => {
                    // On a channel for all, one line too long is not the end of the others.
                    tracing::warn!(server = %state.one.cx.server.name, %error, "upstream message dropped");
                    state.one.pipeline.metrics.denied("upstream_protocol");
                    state.one.pipeline.audit.transport(
                        &state.one.cx,
                        502,
                        Some("upstream_protocol"),
                    );
                }
                Err(error) => {
                    state.over = true;
                    tracing::warn!(server = %state.one.cx.server.name, %error, "upstream stream broke");
                    let broken = matches!(error, UpstreamError::Closed { .. });
                    if (state.resumable && broken) || state.answered || state.one.exchange.is_none()
                    {
                        return Some((Err(error), None));
                    }
                    let answer = state.one.fail(&Denied::of_upstream(&error));
                    let event = Event { data: Some(answer), ..Event::default() };
                    return Some((Ok(event), None));
                }
            }
        }
    }

    /// A stream that ends without the answer, and can't be resumed, would leave the client waiting.
    fn ended(&mut self) -> Option<Event> {
        let asked = self.one.exchange.as_ref()?;
        if self.resumable || &*asked.method == "subscriptions/listen" {
            return None;
        }
        let answer = self.one.broken("the stream ended without the answer");
        Some(Event { data: Some(answer), ..Event::default() })
    }

    /// The event with what may pass of its message; nothing when nothing is left of it.
    fn pass(&mut self, mut event: Event) -> Option<Event> {
        if event.name.is_some() {
            // MCP has no other events than messages: a client would not read it, nor do we.
            self.one.pipeline.metrics.denied("upstream_protocol");
            event = Event { id: event.id, is_comment: true, ..Event::default() };
        }
        self.resumable |= event.id.is_some();
        if let Some(frame) = event.data.take() {
            event.data = self.one.frame(frame).unwrap_or_else(|answer| {
                self.one.exchange = None;
                Some(answer)
            });
            self.answered |= self.one.exchange.is_none();
        }
        let empty = event.data.is_none() && event.id.is_none() && event.retry.is_none();
        (!empty || event.is_comment).then_some(event)
    }
}

/// What one reply's messages are read with.
struct One {
    pipeline: Arc<Pipeline>,
    cx: Arc<Context>,
    /// The request that waits; taken when its answer came.
    exchange: Option<Arc<Exchange>>,
    sent: Instant,
}

impl One {
    /// What passes of one frame, a message or a batch; `Err` is the answer in place of rubbish.
    fn frame(&mut self, frame: Bytes) -> Result<Option<Bytes>, Bytes> {
        let limits = look::parse_limits(&self.cx.snapshot.config.limits);
        match split_batch(&frame, &limits, self.cx.snapshot.config.limits.batch) {
            Ok(None) => self.message(frame),
            Ok(Some(items)) => {
                let items: Vec<Bytes> = items.into_iter().map(|range| frame.slice(range)).collect();
                let passed: Result<Vec<_>, Bytes> =
                    items.iter().map(|item| self.message(item.clone())).collect();
                let passed: Vec<Bytes> = passed?.into_iter().flatten().collect();
                if passed == items {
                    return Ok(Some(frame));
                }
                Ok((!passed.is_empty()).then(|| join(&passed)))
            }
            Err(e) => self.unreadable(&frame, &e.to_string()),
        }
    }

    fn message(&mut self, frame: Bytes) -> Result<Option<Bytes>, Bytes> {
        let started = Instant::now();
        let cx = Arc::clone(&self.cx);
        let (snapshot, server) = (&cx.snapshot, &cx.server.name);
        let find = |head: &Head| self.exchange_of(head, started);
        let seen = match look::read(snapshot, server, frame.clone(), Direction::ToClient, find) {
            Ok(seen) => seen,
            Err(e) => return self.unreadable(&frame, &e.to_string()),
        };
        let (pipeline, audit) = (&self.pipeline, &self.pipeline.audit);
        let kind = seen.envelope.head.kind;
        pipeline.metrics.message(Direction::ToClient.as_str(), kind.as_str());
        pipeline.count_findings(&cx, &seen);
        let upstream = seen.envelope.head.is_answer().then(|| self.sent.elapsed());
        let record = |leg, reason| {
            let timing = Timing { processing: Some(started.elapsed()), upstream };
            audit.received(&cx, &pipeline.sessions, &seen, leg, timing, reason)
        };
        let id = seen.envelope.head.id.as_deref();
        let passed = match self.decide(&seen) {
            Err(denied) => {
                record(Leg::Upstream, Some(denied.reason));
                self.instead(&seen, denied.answer(id), denied.reason)
            }
            Ok(Action::Block) => {
                record(Leg::Upstream, Some("blocked"));
                self.block(&seen)
            }
            Ok(Action::Redact) => match inspect::apply(&frame, &seen.verdict.edits) {
                Ok((edited, _)) => {
                    let kept = record(Leg::Upstream, None);
                    let edited = Bytes::from(edited);
                    audit.sent(&cx, &pipeline.sessions, &seen, Leg::Client, &edited, kept);
                    Some(edited)
                }
                Err(e) => {
                    record(Leg::Upstream, Some("undecided"));
                    let denied = Denied::undecided(&e.to_string());
                    self.instead(&seen, denied.answer(id), denied.reason)
                }
            },
            Ok(Action::Allow | Action::Flag) => {
                record(Leg::Client, None);
                Some(frame)
            }
        };
        pipeline.metrics.processing(Direction::ToClient.as_str(), started.elapsed());
        self.settle(&seen);
        Ok(passed)
    }

    /// What is done with a message; an error for one that goes no further whatever the rules say.
    fn decide(&self, seen: &Seen) -> Result<Action, Denied> {
        // Stateless revisions forbid requests from servers: one that comes is refused.
        let modern = self.exchange.as_ref().is_some_and(|e| e.modern);
        if seen.envelope.head.kind == Kind::Request && modern {
            let message = "this revision has no requests from servers";
            return Err(Denied::new(StatusCode::OK, -32600, "server_request", message));
        }
        if seen.envelope.head.kind == Kind::Request && seen.envelope.head.has_long_id() {
            return Err(Denied::invalid_request("the id is too long"));
        }
        look::decided(&self.cx.snapshot, seen)?;
        Ok(seen.verdict.action)
    }

    /// What a message from the server belongs to.
    fn exchange_of(&self, head: &Head, started: Instant) -> Option<Arc<Exchange>> {
        let session = self.cx.session.as_ref();
        match head.kind {
            Kind::Response | Kind::Error => {
                let waiting = self.exchange.as_ref();
                // Older servers answer some errors with a null id.
                let mine = waiting.filter(|e| {
                    head.id.as_deref() == Some(&*e.rpc_id)
                        || head.id.as_deref().is_none_or(|id| id == "null")
                });
                let kept = session.zip(head.id.as_deref());
                let kept = kept
                    .and_then(|(s, id)| self.pipeline.sessions.close(s, Direction::ToClient, id));
                mine.cloned().or(kept)
            }
            Kind::Request if head.has_long_id() => None,
            Kind::Request => {
                let exchange = Arc::new(Exchange {
                    id: self.pipeline.sessions.next_id(),
                    method: clipped(head.method.as_ref()?),
                    name: head.name.as_ref().map(clipped),
                    rpc_id: head.id.clone()?,
                    started,
                    direction: Direction::ToClient,
                    version: self.cx.version(None),
                    modern: false,
                });
                if let Some(session) = session {
                    self.pipeline.sessions.open(session, Arc::clone(&exchange));
                }
                Some(exchange)
            }
            // A notification beside an answer belongs to the same request.
            Kind::Notification => self.exchange.clone(),
        }
    }

    /// Marks the request as answered, and learns from a handshake.
    fn settle(&mut self, seen: &Seen) {
        let head = &seen.envelope.head;
        let Some(exchange) = seen.exchange.as_ref().filter(|_| head.is_answer()) else {
            return;
        };
        if self.exchange.as_ref().is_some_and(|e| e.id == exchange.id) {
            self.exchange = None;
        }
        if &*exchange.method == "initialize"
            && let Some(version) = &head.handshake_version
        {
            let _ = self.cx.negotiated.set(version.clone());
        }
        let failed = head.kind == Kind::Error || head.is_error;
        let outcome = match seen.verdict.action {
            Action::Block => "blocked",
            _ if failed => "error",
            _ => "ok",
        };
        self.pipeline.count(&self.cx, Some(&exchange.method), outcome);
    }

    /// A blocked message, answered in the protocol's own terms.
    fn block(&self, seen: &Seen) -> Option<Bytes> {
        let head = &seen.envelope.head;
        let rules = rule_names(&self.cx, seen);
        tracing::warn!(server = %self.cx.server.name, kind = head.kind.as_str(), rules = rules.join(","), "blocked on its way to the client");
        let asked = seen.exchange.as_deref();
        let method = asked.map(|e| &*e.method);
        let modern = asked.is_some_and(|e| e.modern);
        if let Some(left) = self.without_poisoned(seen) {
            return Some(left);
        }
        let answer = match head.kind {
            Kind::Request => denied_by(&rules).answer(head.id.as_deref()),
            _ => blocked(head.id.as_deref(), method, &rules, modern),
        };
        self.instead(seen, answer, "blocked")
    }

    /// A list of tools without those that are blocked, where the rest of it may pass.
    fn without_poisoned(&self, seen: &Seen) -> Option<Bytes> {
        let (cx, pipeline) = (&self.cx, &self.pipeline);
        let edit = withhold::withhold(&cx.snapshot, seen)?;
        let (left, _) = inspect::apply(&seen.envelope.raw, &[edit]).ok()?;
        let find = |_: &Head| seen.exchange.clone();
        let name = &cx.server.name;
        let left = look::read(&cx.snapshot, name, left.into(), Direction::ToClient, find).ok()?;
        if left.verdict.action == Action::Block || left.truncated {
            return None;
        }
        let (bytes, _) = inspect::apply(&left.envelope.raw, &left.verdict.edits).ok()?;
        let bytes = Bytes::from(bytes);
        let kept = pipeline.audit.keep(cx, &left);
        pipeline.audit.sent(cx, &pipeline.sessions, &left, Leg::Client, &bytes, kept);
        Some(bytes)
    }

    /// Puts `answer` in a message's place: for the client that waits, or the server that asked.
    fn instead(&self, seen: &Seen, answer: Bytes, reason: &'static str) -> Option<Bytes> {
        let asked = seen.exchange.as_deref();
        let audit = &self.pipeline.audit;
        match seen.envelope.head.kind {
            Kind::Response | Kind::Error => {
                audit.answered(&self.cx, Leg::Client, asked, &answer, reason, Timing::default());
                Some(answer)
            }
            Kind::Notification => None,
            Kind::Request => {
                audit.answered(&self.cx, Leg::Upstream, asked, &answer, reason, Timing::default());
                if let (Some(session), Some(id)) = (&self.cx.session, &seen.envelope.head.id) {
                    self.pipeline.sessions.close(session, Direction::ToServer, id);
                }
                let outgoing = Outgoing {
                    raw: answer,
                    kind: Kind::Error,
                    open_ended: false,
                    replaced: Vec::new(),
                };
                let (pipeline, cx) = (Arc::clone(&self.pipeline), Arc::clone(&self.cx));
                tokio::spawn(async move {
                    if let Err(error) = pipeline.upstream(&cx).call(&cx, outgoing).await {
                        tracing::warn!(server = %cx.server.name, %error, "the refusal did not reach the server");
                    }
                });
                None
            }
        }
    }

    /// Bytes that are no message: the client that waits gets an error in their place.
    fn unreadable(&mut self, frame: &Bytes, detail: &str) -> Result<Option<Bytes>, Bytes> {
        let audit = &self.pipeline.audit;
        audit.unreadable(&self.cx, Leg::Upstream, Direction::ToClient, frame, "upstream_protocol");
        tracing::warn!(server = %self.cx.server.name, detail, "upstream sent no MCP message");
        if self.exchange.is_none() {
            self.pipeline.metrics.denied("upstream_protocol");
            return Ok(None);
        }
        Err(self.broken(&format!("the server's answer is not MCP: {detail}")))
    }

    /// The error for an answer that is none.
    fn broken(&self, message: &str) -> Bytes {
        let denied =
            Denied::new(StatusCode::BAD_GATEWAY, BAD_UPSTREAM, "upstream_protocol", message);
        self.answer(&denied)
    }

    fn fail(&mut self, denied: &Denied) -> Bytes {
        let answer = self.answer(denied);
        self.exchange = None;
        answer
    }

    fn answer(&self, denied: &Denied) -> Bytes {
        let asked = self.exchange.as_deref();
        let answer = denied.answer(asked.map(|e| &*e.rpc_id));
        self.pipeline.metrics.denied(denied.reason);
        self.pipeline.count(&self.cx, asked.map(|e| &*e.method), "denied");
        let audit = &self.pipeline.audit;
        audit.answered(&self.cx, Leg::Client, asked, &answer, denied.reason, Timing::default());
        answer
    }
}
