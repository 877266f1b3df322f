//! How messages hang together beyond request and answer: operations of several rounds, and traces.
//!
//! A server of 2026-07-28 that needs something of its client answers a call with `input_required`; the
//! client calls again and brings it. To JSON-RPC these are two calls with two ids. Here they become one
//! operation: by the exact `requestState` that the client brings back, else by asking the same of the
//! same server with answers to the very questions that were asked. Nothing of a message is kept for
//! that but digests, for a limited time and number.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use capture::Str;
use http::{HeaderMap, HeaderValue};
use inspect::message::{Kind, Message, Scalar};
use sha2::{Digest, Sha256};

use crate::config;
use crate::envelope::{Context, Head};
use crate::session::{Exchange, Handshake, Table};

/// Where a message stands in a distributed trace (W3C Trace Context).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// 32 hexadecimal digits.
    pub trace_id: Str,
    /// 16 hexadecimal digits: the sender's span.
    pub span_id: Str,
}

impl Trace {
    /// Reads a `traceparent`; `None` of one that the standard has its readers ignore.
    pub fn parse(text: &str) -> Option<Trace> {
        let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut parts = text.splitn(5, '-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lengths = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
        let fits = lengths.iter().all(|(part, length)| part.len() == *length && is_hex(part));
        let is_null = |id: &str| id.bytes().all(|b| b == b'0');
        // later versions may say more; this one does not
        let more = parts.next().is_some() && version == "00";
        (fits && !more && version != "ff" && !is_null(trace) && !is_null(span))
            .then(|| Trace { trace_id: trace.into(), span_id: span.into() })
    }

    /// The trace that a message itself names.
    pub fn of(message: &Message<'_>) -> Option<Trace> {
        match message.get(&["params", "_meta", "traceparent"])? {
            Scalar::Str(text) => Trace::parse(text),
            _ => None,
        }
    }
}

/// What came with a message beside it.
#[derive(Clone, Debug, Default)]
pub struct Arrival {
    /// The headers that the record keeps: the place of the name in `capture.headers`, and the value.
    pub headers: Vec<(usize, HeaderValue)>,
    /// The trace that the header names.
    pub trace: Option<Trace>,
    /// How long the message waited for its turn; none where messages wait for nothing.
    pub queued: Option<Duration>,
}

/// Headers recorded of one request, at most; of each name, too.
const MOST_HEADERS: usize = 64;

impl Arrival {
    /// What of a request's headers is kept beyond those that MCP defines.
    pub fn of(config: &config::Capture, headers: &HeaderMap) -> Arrival {
        let trace = headers.get("traceparent").and_then(|value| Trace::parse(value.to_str().ok()?));
        if !config.enabled {
            return Arrival { trace, ..Arrival::default() };
        }
        let named = config.headers.iter().enumerate();
        let kept = named.flat_map(|(at, name)| {
            headers.get_all(name.as_str()).iter().map(move |value| (at, value.clone()))
        });
        Arrival { headers: kept.take(MOST_HEADERS).collect(), trace, queued: None }
    }
}

/// What an exchange belongs to.
#[derive(Clone, Debug, Default)]
pub struct Tie {
    /// The operation, where that is another exchange's.
    pub operation: Option<Str>,
    /// How it was tied to it.
    pub link: Option<&'static str>,
    /// Its trace.
    pub trace: Option<Trace>,
    /// Who asked, as far as that is known.
    pub client: Handshake,
}

impl Tie {
    /// What a server asks in the course of `parent`.
    pub fn within(parent: Option<&Exchange>) -> Tie {
        let Some(parent) = parent else { return Tie::default() };
        Tie {
            operation: Some(parent.operation().clone()),
            link: Some("parent"),
            ..parent.tie.clone()
        }
    }
}

/// A digest of what ties two exchanges.
type Mark = [u8; 16];

/// What a message shows of an operation of several rounds: digests of the state it carries, and of the
/// names of what is asked or answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    state: Option<Mark>,
    keys: Option<Mark>,
}

impl Rounds {
    /// Of a result that asks, or of a request that answers; `None` of any other message.
    pub fn of(message: &Message<'_>) -> Option<Box<Rounds>> {
        let (base, keys) = match message.kind() {
            Kind::Request => ("params", "inputResponses"),
            Kind::Response => {
                let kind = message.get(&["result", "resultType"]);
                kind.filter(|kind| *kind == Scalar::Str("input_required"))?;
                ("result", "inputRequests")
            }
            _ => return None,
        };
        let state = match message.get(&[base, "requestState"]) {
            Some(Scalar::Str(state)) => Some(mark(&[state])),
            _ => None,
        };
        let mut names: Vec<&str> = message.keys(&[base, keys]).collect();
        names.sort_unstable();
        names.dedup();
        let keys = (!names.is_empty()).then(|| mark(&names));
        let rounds = Rounds { state, keys };
        (rounds != Rounds::default()).then(|| Box::new(rounds))
    }
}

/// Which operation waits for which state or answers. Bounded: the oldest make room.
#[derive(Debug, Default)]
pub struct Links(Mutex<Table<Mark, Waits>>);

#[derive(Debug)]
struct Waits {
    operation: Str,
    until: Instant,
}

impl Links {
    /// Notes that a server asks for more before it goes on with `asked`.
    pub fn asks(&self, cx: &Context, asked: &Exchange, rounds: &Rounds, now: Instant) {
        let settings = &cx.snapshot.config.capture;
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for mark in marks(cx, &asked.method, asked.name.as_deref(), rounds).into_iter().flatten() {
            let until = now + settings.operation_for.get();
            let operation = asked.operation().clone();
            table.put(mark, Waits { operation, until }, settings.operations);
        }
    }

    /// The operation that a request goes on with, and what tells.
    pub fn find(&self, cx: &Context, head: &Head, now: Instant) -> Option<(Str, &'static str)> {
        let rounds = head.rounds.as_deref()?;
        let method = head.method.as_deref().unwrap_or_default();
        let marks = marks(cx, method, head.name.as_deref(), rounds);
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.iter().zip(["request_state", "input_keys"]).find_map(|(mark, kind)| {
            let waits = table.get(mark.as_ref()?)?;
            (now <= waits.until).then(|| (waits.operation.clone(), kind))
        })
    }
}

/// What a message is found by: its state, from this principal and at this server; and its answers, for
/// the same thing asked by the same sender.
fn marks(cx: &Context, method: &str, name: Option<&str>, rounds: &Rounds) -> [Option<Mark>; 2] {
    let server: &str = &cx.server.name;
    let join = |mark: Mark, parts: &[&str]| {
        let rest = self::mark(parts);
        let mut both = Sha256::new();
        both.update(mark);
        both.update(rest);
        short(both)
    };
    let principal = cx.principal.as_deref().unwrap_or_default();
    let state = rounds.state.map(|state| join(state, &["state", server, principal]));
    let keys = rounds
        .keys
        .map(|keys| join(keys, &["keys", server, &cx.sender(), method, name.unwrap_or_default()]));
    [state, keys]
}

/// A digest of texts, such that no two lists of them are one.
fn mark(texts: &[&str]) -> Mark {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    short(hash)
}

fn short(hash: Sha256) -> Mark {
    let mut mark = Mark::default();
    for (to, from) in mark.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use inspect::message::{ParseLimits, Parser};

    fn rounds(raw: &str) -> Option<Box<Rounds>> {
        Parser::new(ParseLimits::default()).parse(raw.as_bytes(), Rounds::of).unwrap()
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_has_it() {
        let fine = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = Trace::parse(fine).unwrap();
        assert_eq!(&*trace.trace_id, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(&*trace.span_id, "b7ad6b7169203331");
        assert_eq!(Trace::parse(&format!("{fine}-more")), None);
        assert!(Trace::parse(&format!("01{}-more", &fine[2..])).is_some());
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(Trace::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_question_and_its_answer_have_the_same_marks() {
        let asks = rounds(
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","requestState":"s","inputRequests":{"b":{},"a":{}}}}"#,
        );
        let answers = rounds(
            r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"t","inputResponses":{"a":{},"b":{}},"requestState":"\u0073"}}"#,
        );
        assert!(asks.is_some());
        assert_eq!(asks, answers);
        for other in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","requestState":"s"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required"}}"#,
            r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"t","requestState":7}}"#,
        ] {
            assert_eq!(rounds(other), None, "{other}");
        }
    }
}
