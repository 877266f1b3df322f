//! The way back: what a server sends, read and inspected message by message, as it comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http::StatusCode;
use inspect::message::{Kind, split_batch};
use inspect::{Action, Carry, Direction};

use crate::audit::{Leg, Timing};
use crate::batch::join;
use crate::envelope::{Body, Context, Event, Head, Reply, clipped};
use crate::linkage::Tie;
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
    let waits = pipeline.upstream(&cx).answers();
    let exchange = exchange.filter(|_| is_request);
    let open_ended = exchange.as_ref().is_some_and(|e| &*e.method == "subscriptions/listen");
    let status_code = reply.status.map(|s| s.as_u16());
    let mut one = One { pipeline, cx, exchange, sent, status: status_code, carry: Carry::new() };
    let body = match reply.body {
        Body::Empty => Ok(Body::Empty),
        Body::One(frame) => one.frame(frame).map(|passed| passed.map_or(Body::Empty, Body::One)),
        Body::Stream(events) => {
            let state = Relay { one, events, resumable: false, over: false };
            let body = Body::Stream(stream::unfold(Some(state), Relay::next).boxed());
            return Reply { status, session, body, open_ended, begins: reply.begins };
        }
    };
    // A reply that is whole and has no answer in it would leave the client waiting.
    let body = match body {
        Ok(_) if waits && one.exchange.is_some() => {
            let theirs = one.status.unwrap_or_default();
            Err(one.broken(&format!("the server answered HTTP {theirs} without the answer")))
        }
        body => body,
    };
    match body {
        Ok(body) => Reply { status, session, body, open_ended: false, begins: reply.begins },
        Err(answer) => {
            let status = status.filter(|s| !s.is_success()).unwrap_or(StatusCode::BAD_GATEWAY);
            Reply::one(status, answer)
        }
    }
}

/// The status a client may see. A challenge or a redirect is meant for the gateway, not for it.
pub(crate) fn client_status(theirs: StatusCode) -> StatusCode {
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
    /// Whether nothing more is to come.
    over: bool,
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A client that can come back may have gone to do so.
        if let (Some(exchange), false, false) = (&self.one.exchange, self.over, self.resumable) {
            self.one.pipeline.gone(&self.one.cx, exchange);
        }
    }
}

impl Relay {
    async fn next(state: Option<Relay>) -> Option<(Result<Event, UpstreamError>, Option<Relay>)> {
        let mut state = state?;
        while !state.over {
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
                    let _ = state.one.unreadable(&Bytes::new(), &error.to_string());
                }
                Err(error) => {
                    state.over = true;
                    return Some((state.broke(error), None));
                }
            }
        }
        None
    }

    /// What a client gets of a stream that broke: an error for the call that waits, or the break.
    fn broke(&mut self, error: UpstreamError) -> Result<Event, UpstreamError> {
        let one = &mut self.one;
        tracing::warn!(server = %one.cx.server.name, %error, "upstream stream broke");
        let denied = Denied::of_upstream(&error);
        let resumes = self.resumable && matches!(error, UpstreamError::Closed { .. });
        if resumes || one.exchange.is_none() {
            let status = denied.status.as_u16();
            one.pipeline.audit.transport(&one.cx, status, Some(denied.reason));
            return Err(error);
        }
        Ok(Event { data: Some(one.answer(&denied)), ..Event::default() })
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
        if event.name.take().is_some() {
            // MCP has no other events than messages: a client would not read it. Its id stays.
            let data = event.data.take().unwrap_or_default();
            self.one.foreign(&data, "an event of another name");
        }
        if self.one.exchange.as_ref().is_some_and(|e| e.modern) {
            // Stateless revisions have no resumption.
            (event.id, event.retry) = (None, None);
        }
        self.resumable |= event.id.is_some();
        if let Some(frame) = event.data.take() {
            event.data = self.one.frame(frame).unwrap_or_else(|answer| {
                // The client has its answer, such as it is: a second one would be one too many.
                self.over = true;
                Some(answer)
            });
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
    /// The HTTP status the reply came with.
    status: Option<u16>,
    /// The ends of what the reply said so far: what is split between its messages is found.
    carry: Carry,
}

impl One {
    /// What passes of one frame, a message or a batch; `Err` is the answer in place of rubbish.
    fn frame(&mut self, frame: Bytes) -> Result<Option<Bytes>, Bytes> {
        let limits = look::parse_limits(&self.cx.snapshot.config.limits);
        match split_batch(&frame, &limits, self.cx.snapshot.config.limits.batch) {
            Ok(None) => self.message(frame).map_err(|detail| self.broken(&detail)),
            Ok(Some(items)) => {
                let items: Vec<Bytes> = items.into_iter().map(|range| frame.slice(range)).collect();
                // One bad item does not cost the others.
                let mut broken = None;
                let mut passed = Vec::with_capacity(items.len());
                for item in &items {
                    match self.message(item.clone()) {
                        Ok(message) => passed.extend(message),
                        Err(detail) => broken = Some(detail),
                    }
                }
                match broken {
                    Some(detail) if self.exchange.is_some() && passed.is_empty() => {
                        Err(self.broken(&detail))
                    }
                    _ if passed == items => Ok(Some(frame)),
                    _ => Ok((!passed.is_empty()).then(|| join(&passed))),
                }
            }
            Err(e) => self.unreadable(&frame, &e.to_string()),
        }
    }

    /// What passes of one message. For rubbish: nothing when nobody waits, else what is wrong.
    fn message(&mut self, frame: Bytes) -> Result<Option<Bytes>, String> {
        let started = Instant::now();
        let cx = Arc::clone(&self.cx);
        let (snapshot, server) = (&cx.snapshot, &cx.server.name);
        let direction = Direction::ToClient;
        let mut carry = std::mem::take(&mut self.carry);
        let find = |head: &Head| self.exchange_of(head, started);
        let read = look::read(snapshot, server, frame.clone(), direction, Some(&mut carry), find);
        self.carry = carry;
        let mut seen = match read {
            Ok(seen) => seen,
            Err(e) => {
                let detail = e.to_string();
                self.foreign(&frame, &detail);
                return if self.exchange.is_some() { Err(not_mcp(&detail)) } else { Ok(None) };
            }
        };
        let (pipeline, audit) = (&self.pipeline, &self.pipeline.audit);
        let kind = seen.envelope.head.kind;
        pipeline.metrics.message(Direction::ToClient.as_str(), kind.as_str());
        seen.pins = pipeline.pins.listed(&cx, &seen, look::now());
        pipeline.count_findings(&cx, &seen);
        let upstream = self.upstream_time(&seen);
        let status = self.status;
        let record = |leg, reason| {
            let timing = Timing { processing: Some(started.elapsed()), upstream, status };
            audit.received(&cx, &pipeline.sessions, &seen, leg, timing, reason)
        };
        let id = seen.envelope.head.id.as_deref();
        let mut outcome = None;
        let passed = match self.decide(&seen) {
            Err(denied) => {
                outcome = Some(denied.outcome());
                pipeline.metrics.denied(denied.reason);
                record(Leg::Upstream, Some(denied.reason));
                self.instead(&seen, denied.answer(id), denied.reason)
            }
            Ok(Action::Block) => {
                outcome = Some("blocked");
                record(Leg::Upstream, Some("blocked"));
                self.block(&seen)
            }
            Ok(Action::Redact) if self.breaks_promise(&seen) => {
                outcome = Some("blocked");
                record(Leg::Upstream, Some("output_schema"));
                self.block(&seen)
            }
            Ok(Action::Redact) => match inspect::apply(&frame, &seen.verdict.edits) {
                Ok((edited, _)) => {
                    let kept = record(Leg::Upstream, None);
                    let edited = Bytes::from(edited);
                    audit.sent(&cx, &pipeline.sessions, &seen, Leg::Client, &edited, kept);
                    self.ask(&seen);
                    Some(edited)
                }
                Err(e) => {
                    outcome = Some("denied");
                    record(Leg::Upstream, Some("undecided"));
                    let denied = Denied::undecided(&e.to_string());
                    self.instead(&seen, denied.answer(id), denied.reason)
                }
            },
            Ok(Action::Allow | Action::Flag) => {
                record(Leg::Client, None);
                self.ask(&seen);
                Some(frame)
            }
        };
        let listed = seen.exchange.as_ref().is_some_and(|asked| &*asked.method == "tools/list");
        if let Some(list) = passed.as_ref().filter(|_| listed) {
            pipeline.schemas.learn(server, list);
        }
        pipeline.metrics.processing(Direction::ToClient.as_str(), started.elapsed());
        self.settle(&seen, outcome);
        Ok(passed)
    }

    /// Whether a placeholder stands where the tool promised a string of a certain form.
    fn breaks_promise(&self, seen: &Seen) -> bool {
        let asked = seen.exchange.as_ref().filter(|asked| &*asked.method == "tools/call");
        let Some(tool) = asked.and_then(|asked| asked.name.as_ref()) else { return false };
        let (schemas, server) = (&self.pipeline.schemas, &self.cx.server.name);
        let hidden = seen.verdict.findings.iter().zip(&seen.verdict.asked);
        let mut hidden = hidden.filter(|(_, asked)| **asked == Action::Redact);
        hidden.any(|(finding, _)| schemas.forbids(server, tool, &finding.path))
    }

    /// How long the server took for an answer: since this call, or since the request it belongs to.
    fn upstream_time(&self, seen: &Seen) -> Option<Duration> {
        let asked = seen.exchange.as_ref().filter(|_| seen.envelope.head.is_answer())?;
        let own = self.exchange.as_ref().is_some_and(|e| e.id == asked.id);
        Some(if own { self.sent.elapsed() } else { asked.started.elapsed() })
    }

    /// Remembers a request that goes to the client, so that its answer is judged as such.
    fn ask(&self, seen: &Seen) {
        let asked = seen.exchange.as_ref().filter(|_| seen.envelope.head.is_request());
        if let (Some(session), Some(exchange)) = (&self.cx.session, asked) {
            self.pipeline.sessions.open(session, Arc::clone(exchange));
        }
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
        Ok(seen.action())
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
            Kind::Request => Some(Arc::new(Exchange {
                id: self.pipeline.sessions.next_id(),
                method: clipped(head.method.as_ref()?),
                name: head.name.as_ref().map(clipped),
                rpc_id: head.id.clone()?,
                started,
                direction: Direction::ToClient,
                version: self.cx.version(None),
                modern: false,
                parent: self.exchange.as_ref().map(|e| e.id.clone()),
                tie: self.tie(head),
            })),
            // A notification beside an answer belongs to the same request.
            Kind::Notification => self.exchange.clone(),
        }
    }

    /// What a server's own request belongs to.
    fn tie(&self, head: &Head) -> Tie {
        let mut tie = Tie::within(self.exchange.as_deref());
        tie.trace = head.trace.clone().or(tie.trace);
        if self.exchange.is_none() {
            tie.client = self.pipeline.sessions.client(&self.cx).unwrap_or_default();
        }
        tie
    }

    /// Marks the request as answered, and learns from a handshake.
    fn settle(&mut self, seen: &Seen, outcome: Option<&'static str>) {
        let head = &seen.envelope.head;
        let Some(exchange) = seen.exchange.as_ref().filter(|_| head.is_answer()) else {
            return;
        };
        if let Some(rounds) = &head.rounds {
            self.pipeline.links.asks(&self.cx, exchange, rounds, Instant::now());
        }
        if self.exchange.as_ref().is_some_and(|e| e.id == exchange.id) {
            self.exchange = None;
        }
        if &*exchange.method == "initialize"
            && let Some(version) = &head.handshake_version
        {
            let _ = self.cx.negotiated.set(clipped(version));
        }
        let failed = head.kind == Kind::Error || head.is_error;
        let outcome = outcome.unwrap_or(if failed { "error" } else { "ok" });
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
        if let Some(left) = self.without_withheld(seen) {
            return Some(left);
        }
        let answer = match head.kind {
            Kind::Request => denied_by(&rules).answer(head.id.as_deref()),
            _ => blocked(head.id.as_deref(), method, &rules, modern),
        };
        self.instead(seen, answer, "blocked")
    }

    /// A list without what is blocked of it, where the rest of it may pass.
    fn without_withheld(&self, seen: &Seen) -> Option<Bytes> {
        let (cx, pipeline) = (&self.cx, &self.pipeline);
        let edits = withhold::withhold(seen)?;
        let (left, _) = inspect::apply(&seen.envelope.raw, &edits).ok()?;
        let find = |_: &Head| seen.exchange.clone();
        let name = &cx.server.name;
        let direction = Direction::ToClient;
        let left = look::read(&cx.snapshot, name, left.into(), direction, None, find).ok()?;
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
                self.refuse(answer);
                None
            }
        }
    }

    /// Sends a server the refusal of what it asked; beyond the places for requests, it is dropped.
    fn refuse(&self, answer: Bytes) {
        let Ok(place) = self.pipeline.places.request() else {
            self.pipeline.metrics.denied("over_capacity");
            return;
        };
        let (pipeline, cx) = (Arc::clone(&self.pipeline), Arc::clone(&self.cx));
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = pipeline.upstream(&cx).call(&cx, Outgoing::refusal(answer)).await {
                tracing::warn!(server = %cx.server.name, %error, "the refusal did not reach the server");
            }
        });
    }

    /// Bytes that are no message: the client that waits gets an error in their place.
    fn unreadable(&mut self, frame: &Bytes, detail: &str) -> Result<Option<Bytes>, Bytes> {
        self.foreign(frame, detail);
        if self.exchange.is_none() {
            return Ok(None);
        }
        Err(self.broken(&not_mcp(detail)))
    }

    /// Records what is no message of MCP.
    fn foreign(&self, frame: &Bytes, detail: &str) {
        let audit = &self.pipeline.audit;
        audit.unreadable(&self.cx, Leg::Upstream, Direction::ToClient, frame, "upstream_protocol");
        tracing::warn!(server = %self.cx.server.name, detail, "upstream sent no MCP message");
        self.pipeline.metrics.denied("upstream_protocol");
    }

    /// The error for an answer that is none.
    fn broken(&mut self, message: &str) -> Bytes {
        let denied =
            Denied::new(StatusCode::BAD_GATEWAY, BAD_UPSTREAM, "upstream_protocol", message);
        self.answer(&denied)
    }

    /// Answers the request that waits; it waits no longer.
    fn answer(&mut self, denied: &Denied) -> Bytes {
        let asked = self.exchange.take();
        let asked = asked.as_deref();
        let answer = denied.answer(asked.map(|e| &*e.rpc_id));
        if let (Some(session), Some(asked)) = (&self.cx.session, asked) {
            self.pipeline.sessions.close(session, Direction::ToClient, &asked.rpc_id);
        }
        self.pipeline.count(&self.cx, asked.map(|e| &*e.method), denied.outcome());
        let audit = &self.pipeline.audit;
        audit.answered(&self.cx, Leg::Client, asked, &answer, denied.reason, Timing::default());
        answer
    }
}

fn not_mcp(detail: &str) -> String {
    format!("the server's answer is not MCP: {detail}")
}
