//! What the gateway answers itself: to what a rule blocks, to what it refuses, and for servers
//! that are gone. Every answer is recorded, and none holds anything of what it answers.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use inspect::Direction;
use inspect::message::Kind;

use crate::audit::{Leg, Timing};
use crate::envelope::{Context, Head, Reply};
use crate::pipeline::Pipeline;
use crate::policy::inspect::Seen;
use crate::policy::{Denied, blocked};
use crate::relay;
use crate::session::Exchange;
use crate::telemetry::method_label;
use crate::upstream::Outgoing;

impl Pipeline {
    /// Answers every request of a session that its server will not answer any more.
    pub fn abandon(&self, cx: &Context, denied: &Denied) -> Vec<Bytes> {
        let open = cx.session.as_ref().map(|s| self.sessions.abandon(s)).unwrap_or_default();
        let waiting = open.iter().filter(|e| e.direction == Direction::ToServer);
        waiting
            .map(|exchange| {
                let answer = denied.answer(Some(&exchange.rpc_id));
                let timing = Timing::default();
                self.audit.answered(
                    cx,
                    Leg::Client,
                    Some(exchange),
                    &answer,
                    denied.reason,
                    timing,
                );
                answer
            })
            .collect()
    }

    /// Answers a blocked message in the protocol's own terms.
    pub(crate) async fn block(
        self: &Arc<Self>,
        cx: Arc<Context>,
        seen: &Seen,
        started: Instant,
    ) -> Reply {
        let timing = Timing { processing: Some(started.elapsed()), ..Timing::default() };
        self.audit.received(&cx, &self.sessions, seen, Leg::Client, timing, Some("blocked"));
        let head = &seen.envelope.head;
        let rules = rule_names(&cx, seen);
        let method = method_label(head.method.as_deref().unwrap_or("none"));
        let names = rules.join(",");
        tracing::warn!(server = %cx.server.name, method, rules = names, "blocked on its way to the server");
        match head.kind {
            Kind::Request => {
                self.count(&cx, head.method.as_deref(), "blocked");
                let exchange = seen.exchange.as_deref();
                let modern = exchange.is_some_and(|e| e.modern);
                let answer = blocked(head.id.as_deref(), head.method.as_deref(), &rules, modern);
                self.audit.answered(
                    &cx,
                    Leg::Client,
                    exchange,
                    &answer,
                    "blocked",
                    Timing::default(),
                );
                Reply::one(StatusCode::OK, answer)
            }
            Kind::Notification => self.unasked(&cx, &denied_by(&rules)),
            Kind::Response | Kind::Error => {
                self.refuse_answer(cx.clone(), seen, &denied_by(&rules)).await
            }
        }
    }

    /// Gives the server that waits for a client's answer an error in its place.
    async fn refuse_answer(
        self: &Arc<Self>,
        cx: Arc<Context>,
        seen: &Seen,
        denied: &Denied,
    ) -> Reply {
        let raw = denied.answer(seen.envelope.head.id.as_deref());
        let exchange = seen.exchange.as_deref();
        self.audit.answered(&cx, Leg::Upstream, exchange, &raw, denied.reason, Timing::default());
        match self.upstream(&cx).call(&cx, Outgoing::refusal(raw)).await {
            Ok(reply) => relay::reply(Arc::clone(self), cx, None, false, reply, Instant::now()),
            Err(error) => self.fail(&cx, None, &Denied::of_upstream(&error)),
        }
    }

    /// Refuses a message that was read.
    pub(crate) async fn deny(
        self: &Arc<Self>,
        cx: &Arc<Context>,
        seen: &Seen,
        denied: &Denied,
        started: Instant,
    ) -> Reply {
        let head = &seen.envelope.head;
        let timing = Timing { processing: Some(started.elapsed()), ..Timing::default() };
        self.audit.received(cx, &self.sessions, seen, Leg::Client, timing, Some(denied.reason));
        if head.is_request() {
            return self.fail(cx, seen.exchange.as_deref(), denied);
        }
        if head.is_answer() {
            return self.refuse_answer(Arc::clone(cx), seen, denied).await;
        }
        self.unasked(cx, denied)
    }

    /// Refuses what has no answer in JSON-RPC: on HTTP by the status and an error without an id, on
    /// other transports by silence.
    pub(crate) fn unasked(&self, cx: &Context, denied: &Denied) -> Reply {
        self.metrics.denied(denied.reason);
        if !cx.transport.has_headers() {
            return Reply::empty(StatusCode::ACCEPTED);
        }
        let answer = denied.answer(None);
        self.audit.answered(cx, Leg::Client, None, &answer, denied.reason, Timing::default());
        // The spec wants a status that says no, where there is no id to say it with.
        let status = if denied.status.is_success() { StatusCode::FORBIDDEN } else { denied.status };
        Reply::one(status, answer)
    }

    /// Answers a request with an error of the gateway's own.
    pub(crate) fn fail(&self, cx: &Context, exchange: Option<&Exchange>, denied: &Denied) -> Reply {
        self.metrics.denied(denied.reason);
        let answer = denied.answer(exchange.map(|e| &*e.rpc_id));
        if let Some(exchange) = exchange {
            if let Some(session) = &cx.session {
                self.sessions.close(session, Direction::ToClient, &exchange.rpc_id);
            }
            self.count(cx, Some(&exchange.method), denied.outcome());
        }
        self.audit.answered(cx, Leg::Client, exchange, &answer, denied.reason, Timing::default());
        Reply::one(denied.status, answer)
    }

    /// Answers a request that went to no server with an error of the gateway's own.
    pub(crate) fn refuse_request(&self, cx: &Context, head: &Head, denied: &Denied) -> Reply {
        self.metrics.denied(denied.reason);
        let answer = denied.answer(head.id.as_deref());
        self.audit.answered(cx, Leg::Client, None, &answer, denied.reason, Timing::default());
        Reply::one(denied.status, answer)
    }

    /// Tells the record, and the count, of a client that left before its answer came.
    pub(crate) fn gone(&self, cx: &Context, exchange: &Exchange) {
        if let Some(session) = &cx.session {
            self.sessions.close(session, Direction::ToClient, &exchange.rpc_id);
        }
        self.count(cx, Some(&exchange.method), "error");
        self.audit.gone(cx, exchange);
    }

    /// Refuses bytes that are no message.
    pub fn refuse_bytes(&self, cx: &Context, frame: &Bytes, denied: &Denied) -> Reply {
        self.metrics.denied(denied.reason);
        self.audit.unreadable(cx, Leg::Client, Direction::ToServer, frame, denied.reason);
        let answer = denied.answer(None);
        self.audit.answered(cx, Leg::Client, None, &answer, denied.reason, Timing::default());
        Reply::one(denied.status, answer)
    }
}

/// The rules that asked for what was done, each once.
pub(crate) fn rule_names<'a>(cx: &'a Context, seen: &Seen) -> Vec<&'a str> {
    let rules = &cx.snapshot.rules;
    let found = seen.verdict.findings.iter().map(|f| rules.rule(f.rule).id());
    let mut names: Vec<&str> = found.chain(seen.pins.findings.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The error that stands for a blocked message where there is no tool result to carry it.
pub(crate) fn denied_by(rules: &[&str]) -> Denied {
    let message = format!("blocked by {}", rules.join(", "));
    Denied::new(StatusCode::FORBIDDEN, crate::policy::BLOCKED, "blocked", message)
}
