//! What is recorded of a message: the rows of a capture, made from what the pipeline knows.
//!
//! Legs are what crossed that wire. What a client sent or got has one row with `leg = client`; a
//! row with `leg = upstream` stands beside it, or alone, only where the server's side differs.

mod headers;
mod secured;

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use capture::{Record, Recorder, Str};
use inspect::Direction;
use inspect::message::Kind;

use crate::config::{self, Bodies, Extent, OnOverflow};
use crate::envelope::{Context, clipped};
use crate::extent;
use crate::policy::inspect::Seen;
use crate::session::{Exchange, Handshake, Sessions};
use tokio::runtime::RuntimeFlavor;
use tokio::task::block_in_place;

pub use secured::Rows;
pub(crate) use secured::secure;

/// Hands rows to the recorder, when there is one. Never waits for a disk.
#[derive(Debug)]
pub struct Audit {
    recorder: Option<Recorder>,
    /// Whether a full queue holds up traffic (`on_overflow: block`), and so a thread of the runtime.
    may_wait: bool,
    /// Whether requests are refused while the recorder takes no rows.
    refuses: bool,
    /// How long a message waits for its rows, where it may not pass without them.
    required: Option<Duration>,
    epoch: Instant,
}

/// Whose wire a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// Between client and gateway.
    Client,
    /// Between gateway and server.
    Upstream,
}

/// How long each part took, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// The gateway's own work before the message went on.
    pub processing: Option<Duration>,
    /// From sending to the first of the answer.
    pub upstream: Option<Duration>,
    /// The HTTP status that came with it.
    pub status: Option<u16>,
}

/// What a recorded body became.
#[derive(Clone, Debug)]
pub struct Kept {
    body: Option<Bytes>,
    length: usize,
    state: &'static str,
    redactions: Option<Str>,
    /// What is to be sealed beside it.
    original: Option<Bytes>,
}

impl Audit {
    /// Rows go to `recorder`; without one, nowhere.
    pub fn new(recorder: Option<Recorder>, settings: &config::Capture) -> Audit {
        let required = secured::deadline(settings).filter(|_| recorder.is_some());
        Audit {
            recorder,
            may_wait: settings.on_overflow == OnOverflow::Block,
            refuses: settings.on_overflow == OnOverflow::Refuse || required.is_some(),
            required,
            epoch: Instant::now(),
        }
    }

    /// The recorder, for its counts and to close it.
    pub fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// Records a message as it came, with its verdict. Returns what its body became, for the row
    /// of the same message as it went on.
    pub fn received(
        &self,
        cx: &Context,
        sessions: &Sessions,
        seen: &Seen,
        leg: Leg,
        timing: Timing,
        denied: Option<&'static str>,
    ) -> Option<Kept> {
        self.recorder.as_ref()?;
        let kept = keep(cx, seen);
        let mut row = self.row(cx, leg, seen.envelope.direction);
        self.fill(&mut row, cx, sessions, seen);
        let verdict = &seen.verdict;
        let rules = &cx.snapshot.rules;
        row.action = Some(word(seen.action().as_str()));
        row.would_be = Some(word(verdict.would_be.as_str()));
        row.rule_ids = verdict.findings.iter().map(|f| rules.rule(f.rule).id().into()).collect();
        row.rule_ids.extend(seen.pins.findings.iter().map(|found| word(found)));
        row.rule_ids.sort_unstable();
        row.score = Some(i64::from(verdict.score));
        row.truncated = seen.truncated;
        row.ruleset_digest = Some(cx.snapshot.ruleset_digest.clone());
        row.policy_digest = Some(cx.snapshot.policy_digest.clone());
        row.deny_reason = denied.map(word);
        row.attempt = attempt(seen, denied);
        row.http_headers = headers::shown(cx, leg, seen);
        put(&mut row, kept.clone());
        row.scan_now = seen.now.checked_mul(1_000_000);
        // Only a raw capture holds what came before: a key that stood whole in it would be on the disk in clear.
        let raw = cx.snapshot.config.capture.bodies == Bodies::Raw;
        let before = seen.before.as_ref().filter(|_| raw && row.body.is_some());
        row.scan_context = before.map(|before| before.to_json(raw).into());
        time(&mut row, seen.envelope.direction, timing);
        self.hand_over(cx, row);
        Some(kept)
    }

    /// What the body of a message becomes in the record; nothing without a recorder.
    pub fn keep(&self, cx: &Context, seen: &Seen) -> Option<Kept> {
        self.recorder.as_ref().map(|_| keep(cx, seen))
    }

    /// Records the same message as it went on, changed.
    pub fn sent(
        &self,
        cx: &Context,
        sessions: &Sessions,
        seen: &Seen,
        leg: Leg,
        bytes: &Bytes,
        kept: Option<Kept>,
    ) {
        if self.recorder.is_none() {
            return;
        }
        let mut row = self.row(cx, leg, seen.envelope.direction);
        self.fill(&mut row, cx, sessions, seen);
        row.attempt = attempt(seen, None);
        let raw = Kept {
            body: Some(bytes.clone()),
            length: bytes.len(),
            state: "raw",
            redactions: None,
            original: None,
        };
        // What was redacted for the wire may be less than what the record hides.
        put(
            &mut row,
            match kept {
                Some(kept) if cx.snapshot.config.capture.bodies != Bodies::Raw => {
                    let original = kept.original.is_some().then(|| bytes.clone());
                    Kept { length: bytes.len(), original, ..kept }
                }
                _ => raw,
            },
        );
        self.hand_over(cx, row);
    }

    /// Records an answer the gateway made itself. It holds nothing of the message it answers.
    pub fn answered(
        &self,
        cx: &Context,
        leg: Leg,
        exchange: Option<&Exchange>,
        answer: &Bytes,
        reason: &'static str,
        timing: Timing,
    ) {
        if self.recorder.is_none() {
            return;
        }
        let direction = match leg {
            Leg::Client => Direction::ToClient,
            Leg::Upstream => Direction::ToServer,
        };
        let mut row = self.row(cx, leg, direction);
        let is_tool = exchange.is_some_and(|e| &*e.method == "tools/call") && reason == "blocked";
        row.kind = Some(word(if is_tool { "response" } else { "error" }));
        row.is_error = Some(true);
        if let Some(exchange) = exchange {
            belongs(&mut row, exchange);
        }
        row.deny_reason = Some(word(reason));
        put(
            &mut row,
            Kept {
                body: Some(answer.clone()),
                length: answer.len(),
                state: "raw",
                redactions: None,
                original: None,
            },
        );
        time(&mut row, direction, timing);
        self.hand_over(cx, row);
    }

    /// Records bytes that are no message. What can't be read can't be redacted: unless bodies are
    /// recorded raw, they are withheld.
    pub fn unreadable(
        &self,
        cx: &Context,
        leg: Leg,
        direction: Direction,
        bytes: &Bytes,
        reason: &'static str,
    ) {
        if self.recorder.is_none() {
            return;
        }
        let mut row = self.row(cx, leg, direction);
        row.kind = Some(word("transport"));
        row.deny_reason = Some(word(reason));
        let bodies = cx.snapshot.config.capture.bodies;
        let raw = bodies == Bodies::Raw;
        put(
            &mut row,
            Kept {
                body: raw.then(|| bytes.clone()),
                length: bytes.len(),
                state: if raw { "raw" } else { "withheld" },
                redactions: None,
                original: (bodies == Bodies::Escrow).then(|| bytes.clone()),
            },
        );
        self.hand_over(cx, row);
    }

    /// Records what happened on a connection without a message: a refusal before the body, a
    /// stream opened, a session ended.
    pub fn transport(&self, cx: &Context, status: u16, reason: Option<&'static str>) {
        if self.recorder.is_none() {
            return;
        }
        let mut row = self.row(cx, Leg::Client, Direction::ToServer);
        row.kind = Some(word("transport"));
        row.http_status = Some(i32::from(status));
        row.deny_reason = reason.map(word);
        self.hand_over(cx, row);
    }

    /// Records that a client left before its answer came.
    pub fn gone(&self, cx: &Context, exchange: &Exchange) {
        if self.recorder.is_none() {
            return;
        }
        let mut row = self.row(cx, Leg::Client, Direction::ToServer);
        row.kind = Some(word("transport"));
        belongs(&mut row, exchange);
        row.deny_reason = Some(word("client_gone"));
        self.hand_over(cx, row);
    }

    fn row(&self, cx: &Context, leg: Leg, direction: Direction) -> Record {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Record {
            ts_us: i64::try_from(now.as_micros()).unwrap_or(i64::MAX),
            mono_ns: i64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(i64::MAX),
            conn_id: Some(cx.conn_id.clone()),
            session_id: cx.session.clone(),
            leg: Some(word(match leg {
                Leg::Client => "client",
                Leg::Upstream => "upstream",
            })),
            direction: Some(word(direction.as_str())),
            transport: Some(word(cx.transport.as_str())),
            http_method: cx.http_method.clone(),
            server: Some(cx.server.name.clone()),
            principal: cx.principal.clone(),
            auth_kind: Some(word(if cx.principal.is_some() { "key" } else { "none" })),
            protocol_version: cx.version(None),
            trace_id: cx.arrival.trace.as_ref().map(|trace| trace.trace_id.clone()),
            span_id: cx.arrival.trace.as_ref().map(|trace| trace.span_id.clone()),
            config_digest: Some(cx.snapshot.config_digest.clone()),
            ..Record::default()
        }
    }

    fn fill(&self, row: &mut Record, cx: &Context, sessions: &Sessions, seen: &Seen) {
        let head = &seen.envelope.head;
        let asked = seen.exchange.as_deref();
        row.kind = Some(word(head.kind.as_str()));
        row.rpc_id.clone_from(&head.id);
        let shown = |text: &Str| clipped(&seen.shown(text));
        match asked {
            Some(asked) => {
                let rpc_id = row.rpc_id.take();
                belongs(row, asked);
                row.rpc_id = rpc_id;
            }
            None => {
                let said = head.client.as_ref().map(|(name, version)| Handshake {
                    client_name: Some(shown(name)),
                    client_version: version.as_ref().map(shown),
                });
                let client = said.or_else(|| sessions.client(cx)).unwrap_or_default();
                (row.client_name, row.client_version) = (client.client_name, client.client_version);
            }
        }
        if let Some(method) = &head.method {
            row.method = Some(shown(method));
            row.name = head.name.as_ref().map(shown);
        }
        if let Some(trace) = &head.trace {
            row.trace_id = Some(trace.trace_id.clone());
            row.span_id = Some(trace.span_id.clone());
        }
        if asked.is_none_or(|asked| asked.version.is_none()) {
            row.protocol_version = cx.version(Some(head));
        }
        row.is_error = head.is_answer().then_some(head.is_error || head.kind == Kind::Error);
        row.error_code = head.error_code.map(i64::from);
    }

    fn hand_over(&self, cx: &Context, mut row: Record) {
        let Some(recorder) = &self.recorder else { return };
        match cx.snapshot.extents.of(&row, is_acted_upon(&row)) {
            Extent::Off => return recorder.leave_out(),
            Extent::Metadata => extent::withhold(&mut row),
            Extent::Full => {}
        }
        let runtime = tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor());
        // A full queue gives the row back; the recorder has counted it and leaves a gap row.
        let offer = || {
            let ticket = recorder.try_record(row).ok();
            if self.required.is_some() {
                cx.rows.push(ticket);
            }
        };
        match (self.may_wait, runtime) {
            (true, Ok(RuntimeFlavor::MultiThread)) => block_in_place(offer),
            _ => offer(),
        }
    }
}

/// Whether the gateway did more than let the message pass, or this is what it sent on or answered instead.
fn is_acted_upon(row: &Record) -> bool {
    row.action.as_deref().is_some_and(|action| action != "allow")
        || row.deny_reason.as_deref() == Some("blocked")
        || row.redactions.is_some()
}

/// What a row has of the exchange it is of.
fn belongs(row: &mut Record, exchange: &Exchange) {
    row.exchange_id = Some(exchange.id.clone());
    row.operation_id = Some(exchange.operation().clone());
    row.link_kind = exchange.tie.link.map(word);
    row.parent_exchange_id.clone_from(&exchange.parent);
    row.rpc_id = Some(exchange.rpc_id.clone());
    row.method = Some(exchange.method.clone());
    row.name.clone_from(&exchange.name);
    if let Some(trace) = &exchange.tie.trace {
        row.trace_id = Some(trace.trace_id.clone());
        row.span_id = Some(trace.span_id.clone());
    }
    if exchange.version.is_some() {
        row.protocol_version.clone_from(&exchange.version);
    }
    row.client_name.clone_from(&exchange.tie.client.client_name);
    row.client_version.clone_from(&exchange.tie.client.client_version);
}

/// The try towards the server that a message is of; none of one that went nowhere.
fn attempt(seen: &Seen, denied: Option<&str>) -> Option<i32> {
    let asked = seen.exchange.as_ref()?;
    let refused = seen.envelope.direction == Direction::ToServer && denied.is_some();
    (asked.direction == Direction::ToServer && !refused).then_some(1)
}

fn keep(cx: &Context, seen: &Seen) -> Kept {
    let raw = &seen.envelope.raw;
    let bodies = cx.snapshot.config.capture.bodies;
    let intact = Kept {
        body: Some(raw.clone()),
        length: raw.len(),
        state: "raw",
        redactions: None,
        original: None,
    };
    if bodies == Bodies::Raw {
        return intact;
    }
    let original = (bodies == Bodies::Escrow).then(|| raw.clone());
    let withheld = Kept { body: None, state: "withheld", original, ..intact.clone() };
    if seen.truncated {
        return withheld;
    }
    if seen.verdict.findings.is_empty() {
        return intact;
    }
    match inspect::redact(raw, &seen.verdict, &cx.snapshot.rules, true) {
        Ok((_, redactions)) if redactions.is_empty() => intact,
        Ok((body, redactions)) => Kept {
            body: Some(body.into()),
            state: "redacted",
            redactions: serde_json::to_string(&redactions).ok().map(Into::into),
            ..withheld
        },
        // An edit that can't be made must not become a secret on the disk.
        Err(_) => withheld,
    }
}

fn put(row: &mut Record, kept: Kept) {
    row.body_len = i64::try_from(kept.length).ok();
    row.body = kept.body;
    row.redaction_state = Some(word(kept.state));
    row.redactions = kept.redactions;
    row.original = kept.original;
}

fn time(row: &mut Record, direction: Direction, timing: Timing) {
    let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    match direction {
        Direction::ToServer => row.request_processing_us = timing.processing.map(micros),
        Direction::ToClient => row.response_processing_us = timing.processing.map(micros),
    }
    row.upstream_us = timing.upstream.map(micros);
    row.http_status = timing.status.map(i32::from);
}

/// The words rows are full of, shared instead of allocated for each row.
static WORDS: LazyLock<HashMap<&'static str, Str>> = LazyLock::new(|| {
    let words = [
        "client",
        "upstream",
        "to_server",
        "to_client",
        "request",
        "response",
        "notification",
        "error",
        "transport",
        "raw",
        "redacted",
        "withheld",
        "allow",
        "flag",
        "redact",
        "block",
        "http/1.1",
        "http/2",
        "stdio",
        "key",
        "none",
        "blocked",
        "parent",
        "request_state",
        "input_keys",
    ];
    let words = words.into_iter().chain(inspect::pin::FINDINGS);
    words.map(|w| (w, w.into())).collect()
});

fn word(word: &'static str) -> Str {
    WORDS.get(word).cloned().unwrap_or_else(|| word.into())
}
