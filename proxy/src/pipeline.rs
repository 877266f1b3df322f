//! The path of one message, readable top to bottom. The module `relay` is the way back.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use capture::Str;
use futures::future::join_all;
use inspect::message::{Kind, split_batch};
use inspect::{Action, Direction};

use crate::audit::{self, Audit, Leg, Timing};
use crate::batch::join_replies;
use crate::catalog::{self, Catalog};
use crate::config::Config;
use crate::envelope::{Claim, Context, Head, McpHeaders, Reply, clipped};
use crate::linkage::{Links, Tie};
use crate::pins::{Neighbours, Pins};
use crate::policy::Denied;
use crate::policy::inspect::{self as look, Seen};
use crate::policy::limit::Places;
use crate::policy::schema::OutputSchemas;
use crate::policy::vetting;
use crate::session::fronts::{Fronts, tell_lost};
use crate::session::{Exchange, Front, Handshake, Sessions};
use crate::snapshot::Snapshot;
use crate::telemetry::Metrics;
use crate::upstream::{Outgoing, Upstream};
use crate::{era, relay};

/// Everything a message meets between the two faces. Shared by all connections.
pub struct Pipeline {
    snapshot: ArcSwap<Snapshot>,
    /// What is recorded.
    pub audit: Audit,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What belongs to what.
    pub sessions: Sessions,
    /// The sessions given out to clients.
    pub fronts: Fronts,
    /// How much at once.
    pub places: Places,
    /// What tools promised of their results.
    pub schemas: OutputSchemas,
    /// What servers offer, and whether it is what it was.
    pub pins: Pins,
    /// Which calls go on with which.
    pub links: Links,
    /// What is remembered for endpoints of many servers.
    pub(crate) catalog: Catalog,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("servers", &self.snapshot.load().ways)
            .finish_non_exhaustive()
    }
}

impl Pipeline {
    /// A pipeline to the servers of this configuration.
    pub fn new(snapshot: Arc<Snapshot>, audit: Audit, metrics: Arc<Metrics>) -> Pipeline {
        let Config { limits, .. } = &snapshot.config;
        Pipeline {
            sessions: Sessions::new(limits.exchanges),
            fronts: Fronts::default(),
            places: Places::new(limits),
            schemas: OutputSchemas::default(),
            catalog: Catalog::default(),
            links: Links::default(),
            snapshot: ArcSwap::new(snapshot),
            audit,
            pins: Pins::unsaved(Neighbours::All, Arc::clone(&metrics)),
            metrics,
        }
    }

    /// The same with these pins, in place of some that are forgotten at the end.
    pub fn with_pins(self, pins: Pins) -> Pipeline {
        Pipeline { pins, ..self }
    }

    /// The configuration of this moment; load it once per message.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts another configuration, with its ways to servers, in the place of the one in force.
    pub(crate) fn swap(&self, snapshot: Arc<Snapshot>) {
        let old = self.snapshot.swap(Arc::clone(&snapshot));
        old.ways.leave(&snapshot.ways);
    }

    /// Takes what a client sent, one message or a batch, and gives what goes back.
    pub async fn handle(self: Arc<Self>, cx: Arc<Context>, frame: Bytes) -> Reply {
        let reply = Arc::clone(&self).handle_unsecured(Arc::clone(&cx), frame).await;
        audit::secure(self, cx, reply).await
    }

    async fn handle_unsecured(self: Arc<Self>, cx: Arc<Context>, frame: Bytes) -> Reply {
        // many: what is for several servers comes back here, once for each
        if let Some(face) = cx.snapshot.faces.get(&cx.server.name).cloned() {
            return catalog::handle(self, cx, face, frame).await;
        }
        let limits = look::parse_limits(&cx.snapshot.config.limits);
        match split_batch(&frame, &limits, cx.snapshot.config.limits.batch) {
            Ok(None) => self.one(cx, frame, false).await,
            Ok(Some(items)) if era::allows_batch(cx.version(None).as_deref()) => {
                let items = items.into_iter().map(|range| frame.slice(range));
                let calls = items.map(|item| Arc::clone(&self).one(Arc::clone(&cx), item, true));
                join_replies(join_all(calls).await)
            }
            Ok(Some(_)) => self.refuse_bytes(
                &cx,
                &frame,
                &Denied::invalid_request("this revision has no batches"),
            ),
            Err(e) => self.refuse_bytes(&cx, &frame, &Denied::of_parse(&e)),
        }
    }

    /// One message from the client.
    async fn one(self: Arc<Self>, cx: Arc<Context>, frame: Bytes, in_batch: bool) -> Reply {
        let started = Instant::now();
        // read: one parse, one scan
        let find = |head: &Head| self.exchange(&cx, head, started);
        let name = &cx.server.name;
        let read = {
            let carry = self.sessions.carry(&cx.sender());
            let mut carry = carry.lock().unwrap_or_else(PoisonError::into_inner);
            let direction = Direction::ToServer;
            look::read(&cx.snapshot, name, frame.clone(), direction, Some(&mut carry), find)
        };
        let mut seen = match read {
            Ok(seen) => seen,
            Err(e) => return self.refuse_bytes(&cx, &frame, &Denied::of_parse(&e)),
        };
        let head = &seen.envelope.head;
        self.metrics.message(Direction::ToServer.as_str(), head.kind.as_str());
        // vetting: a server that nobody approved is as good as none
        // era: headers and body are of one revision and agree
        // access: who may call what (roles) has its place here
        // record: where traffic without a record is refused, a recorder that takes none refuses it
        // inspect: what was not seen whole is refused; what the rules found is acted upon below
        let checked = vetting::check(&cx.server)
            .and_then(|()| check_era(&cx, head, in_batch))
            .and_then(|()| if head.is_request() { self.audit.admits() } else { Ok(()) })
            .and_then(|()| look::decided(&cx.snapshot, &seen))
            .and_then(|()| self.check_params(&cx, &seen));
        if let Err(denied) = checked {
            return self.deny(&cx, &seen, &denied, started).await;
        }
        // pins: what it uses is what was approved
        seen.pins = self.pins.used(&cx, &seen);
        self.count_findings(&cx, &seen);
        if seen.verdict.action == Action::Block {
            return self.block(cx, &seen, started).await;
        }
        if let Some(denied) = seen.pins.denied() {
            return self.deny(&cx, &seen, &denied, started).await;
        }
        let outgoing = match self.outgoing(&seen) {
            Ok(outgoing) => outgoing,
            Err(denied) => return self.deny(&cx, &seen, &denied, started).await,
        };
        self.forward(cx, seen, outgoing, started).await
    }

    /// Records a message, sends it, and brings the reply back.
    async fn forward(
        self: Arc<Self>,
        cx: Arc<Context>,
        seen: Seen,
        outgoing: Outgoing,
        started: Instant,
    ) -> Reply {
        let head = &seen.envelope.head;
        if let (Some(session), Some(exchange)) = (&cx.session, &seen.exchange)
            && head.is_request()
        {
            self.sessions.open(session, Arc::clone(exchange));
        }
        self.remember_client(&cx, &seen, &outgoing);
        // record, then send
        let timing = Timing { processing: Some(started.elapsed()), ..Timing::default() };
        self.metrics.processing(Direction::ToServer.as_str(), started.elapsed());
        let kept = self.audit.received(&cx, &self.sessions, &seen, Leg::Client, timing, None);
        if seen.verdict.action == Action::Redact {
            self.audit.sent(&cx, &self.sessions, &seen, Leg::Upstream, &outgoing.raw, kept);
        }
        if let Err(denied) = self.audit.secured(&cx).await {
            return match head.is_request() {
                true => self.fail(&cx, seen.exchange.as_deref(), &denied),
                false => self.unasked(&cx, &denied),
            };
        }
        let sent = Instant::now();
        let waits = head.is_request() && self.upstream(&cx).answers();
        let waiting = seen.exchange.as_ref().filter(|_| waits);
        let waiting = Waiting { pipeline: &self, cx: &cx, exchange: waiting.cloned() };
        let endless = outgoing.open_ended;
        let reply = self.upstream(&cx).call(&cx, outgoing).await;
        waiting.over();
        cx.snapshot.ways.note(&cx.server.name, reply.is_ok());
        self.metrics.upstream(&cx.server.name, sent.elapsed());
        match reply {
            Ok(mut reply) => {
                tell_lost(&cx, &mut reply);
                if endless {
                    cx.snapshot.ways.bind(&cx.server.name, &mut reply);
                }
                relay::reply(self, cx, seen.exchange, head.is_request(), reply, sent)
            }
            Err(error) => {
                tracing::warn!(server = %cx.server.name, %error, "upstream call failed");
                let denied = Denied::of_upstream(&error);
                if head.is_request() {
                    self.fail(&cx, seen.exchange.as_deref(), &denied)
                } else {
                    self.unasked(&cx, &denied)
                }
            }
        }
    }

    /// Opens the stream of what the server sends unasked.
    pub async fn listen(self: Arc<Self>, cx: Arc<Context>) -> Reply {
        if let Some(face) = cx.snapshot.faces.get(&cx.server.name).cloned() {
            return catalog::listen(self, cx, face).await;
        }
        if let Err(denied) = vetting::check(&cx.server) {
            return self.fail(&cx, None, &denied);
        }
        match self.upstream(&cx).listen(&cx).await {
            Ok(mut reply) => {
                tell_lost(&cx, &mut reply);
                cx.snapshot.ways.bind(&cx.server.name, &mut reply);
                let status = reply.status.map_or(200, |s| relay::client_status(s).as_u16());
                self.audit.transport(&cx, status, None);
                let (pipeline, cx) = (Arc::clone(&self), Arc::clone(&cx));
                let reply = relay::reply(self, Arc::clone(&cx), None, false, reply, Instant::now());
                audit::secure(pipeline, cx, reply).await
            }
            Err(error) => {
                tracing::warn!(server = %cx.server.name, %error, "upstream stream failed");
                self.fail(&cx, None, &Denied::of_upstream(&error))
            }
        }
    }

    /// Ends a client's session.
    pub async fn close(self: Arc<Self>, cx: Arc<Context>) -> Reply {
        if let Some(face) = cx.snapshot.faces.get(&cx.server.name).cloned() {
            return catalog::close(self, cx, face).await;
        }
        if let Err(denied) = vetting::check(&cx.server) {
            return self.fail(&cx, None, &denied);
        }
        match self.upstream(&cx).close(&cx).await {
            Ok(reply) => {
                let status = reply.status.map_or(200, |s| relay::client_status(s).as_u16());
                self.audit.transport(&cx, status, None);
                if let (Some(session), true) = (&cx.session, status < 300) {
                    self.sessions.abandon(session);
                }
                relay::reply(self, cx, None, false, reply, Instant::now())
            }
            Err(error) => self.fail(&cx, None, &Denied::of_upstream(&error)),
        }
    }

    /// The server a message is for, of the configuration the message is seen under.
    pub(crate) fn upstream<'a>(&self, cx: &'a Context) -> &'a dyn Upstream {
        cx.snapshot.ways.to(&cx.server.name)
    }

    /// What a message belongs to: a request begins an exchange, a response ends one.
    fn exchange(&self, cx: &Context, head: &Head, started: Instant) -> Option<Arc<Exchange>> {
        match head.kind {
            Kind::Request => Some(Arc::new(Exchange {
                id: self.sessions.next_id(),
                method: clipped(head.method.as_ref()?),
                name: head.name.as_ref().map(clipped),
                rpc_id: head.id.clone()?,
                started,
                direction: Direction::ToServer,
                version: cx.version(Some(head)),
                modern: cx.is_modern(head),
                parent: None,
                tie: self.tie(cx, head, started),
            })),
            Kind::Response | Kind::Error => {
                self.sessions.close(cx.session.as_ref()?, Direction::ToServer, head.id.as_deref()?)
            }
            Kind::Notification => None,
        }
    }

    /// What a client's request belongs to, and who asks.
    fn tie(&self, cx: &Context, head: &Head, now: Instant) -> Tie {
        let found = self.links.find(cx, head, now);
        let (operation, link) = found.map_or((None, None), |(of, by)| (Some(of), Some(by)));
        let said = head.client.as_ref().map(|(name, version)| Handshake {
            client_name: Some(clipped(name)),
            client_version: version.as_ref().map(clipped),
        });
        let trace = head.trace.clone().or_else(|| cx.arrival.trace.clone());
        let client = said.or_else(|| self.sessions.client(cx)).unwrap_or_default();
        Tie { operation, link, trace, client }
    }

    fn check_params(&self, cx: &Context, seen: &Seen) -> Result<(), Denied> {
        let McpHeaders { name, params, .. } = &cx.headers;
        if name.is_empty() && params.is_empty() {
            return Ok(());
        }
        // What the body's redaction replaces is replaced in the headers too: only the rest counts.
        let replaced = look::replaced(&seen.envelope.raw, &seen.verdict.edits);
        let mut values = Vec::with_capacity(1 + 2 * params.len());
        for value in name.iter().chain(params.iter().map(|(_, value)| value)) {
            let decoded = era::decode(value).and_then(|v| String::from_utf8(v).ok());
            let text = decoded
                .ok_or_else(|| Denied::header_mismatch("a mirrored header is unreadable"))?;
            // A name is the body's own, where the revision says so; there it is judged.
            if seen.envelope.head.name.as_deref() != Some(&*text) {
                values.push(look::mirror(&text, &replaced).unwrap_or(text));
            }
        }
        values.extend(params.iter().map(|(name, _)| name.as_str().to_owned()));
        look::check_params(&cx.snapshot, &cx.server.name, seen, &values)
    }

    /// The message as it goes on, with the edits its verdict asks for.
    fn outgoing(&self, seen: &Seen) -> Result<Outgoing, Denied> {
        let mut outgoing = Outgoing::intact(seen.envelope.raw.clone(), &seen.envelope.head);
        if seen.verdict.action == Action::Redact {
            let edited = inspect::apply(&seen.envelope.raw, &seen.verdict.edits);
            outgoing.raw = edited.map_err(|e| Denied::undecided(&e.to_string()))?.0.into();
            outgoing.replaced = look::replaced(&seen.envelope.raw, &seen.verdict.edits);
        }
        Ok(outgoing)
    }

    /// Counts what the rules found, by what was done about it.
    pub(crate) fn count_findings(&self, cx: &Context, seen: &Seen) {
        for finding in &seen.verdict.findings {
            let rule = cx.snapshot.rules.rule(finding.rule);
            self.metrics.verdict(rule.id(), seen.verdict.action.as_str());
        }
        for found in &seen.pins.findings {
            self.metrics.verdict(found, seen.pins.action.as_str());
        }
    }

    /// Counts an ended request.
    pub(crate) fn count(&self, cx: &Context, method: Option<&str>, outcome: &'static str) {
        self.metrics.request(&cx.server.name, method.unwrap_or("other"), outcome);
    }

    /// What a handshake says of the client is remembered as it passes: for the id of the session
    /// that may begin with it, and for the connection where that is the session.
    fn remember_client(&self, cx: &Context, seen: &Seen, outgoing: &Outgoing) {
        if seen.envelope.head.method.as_deref() != Some("initialize") {
            return;
        }
        let handshake = handshake(seen);
        let said = Front::said(&outgoing.raw, handshake.clone().unwrap_or_default());
        // Who initializes again within a session stays who began it.
        let _ = cx.front.set(Arc::new(said));
        if let (Some(session), Some(handshake)) = (&cx.session, handshake) {
            self.sessions.shake(session, handshake);
        }
    }
}

/// A request whose server has not answered yet. Dropped then, its client has left.
struct Waiting<'a> {
    pipeline: &'a Pipeline,
    cx: &'a Context,
    exchange: Option<Arc<Exchange>>,
}

impl Waiting<'_> {
    fn over(mut self) {
        self.exchange = None;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(exchange) = &self.exchange {
            self.pipeline.gone(self.cx, exchange);
        }
    }
}

/// What a message says of its client, as the record may hold it.
fn handshake(seen: &Seen) -> Option<Handshake> {
    let (name, version) = seen.envelope.head.client.as_ref()?;
    let shown = |text: &Str| clipped(&seen.shown(text));
    Some(Handshake { client_name: Some(shown(name)), client_version: version.as_ref().map(shown) })
}

fn check_era(cx: &Context, head: &Head, in_batch: bool) -> Result<(), Denied> {
    if head.has_long_id() {
        return Err(Denied::invalid_request("the id is too long"));
    }
    if in_batch && head.method.as_deref() == Some("initialize") {
        return Err(Denied::invalid_request("initialize can't be part of a batch"));
    }
    if in_batch && head.claim != Claim::None {
        return Err(Denied::invalid_request("this revision has no batches"));
    }
    // Where one channel carries everything there are no headers to agree with.
    if cx.transport.has_headers() { era::check(&cx.headers, head) } else { era::check_claim(head) }
}
