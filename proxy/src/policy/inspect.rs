//! What it says: one parse and one scan of each message, with memory reused per thread.

use std::cell::RefCell;

use bytes::Bytes;
use inspect::message::{ParseError, ParseLimits, Parser};
use inspect::scan::{Direction, Scanner, Subject};
use inspect::{Action, Preset, Verdict};

use super::Denied;
use crate::config::{Limits, OnError};
use crate::envelope::{Envelope, Head};
use crate::session::Exchange;
use crate::snapshot::Snapshot;
use std::sync::Arc;

/// A message that was read, and what the rules say of it.
#[derive(Debug)]
pub struct Seen {
    /// The message.
    pub envelope: Envelope,
    /// What it belongs to: itself for a request, its request for an answer.
    pub exchange: Option<Arc<Exchange>>,
    /// What the rules say.
    pub verdict: Verdict,
    /// Whether part of it was not scanned.
    pub truncated: bool,
}

struct Worker {
    limits: ParseLimits,
    parser: Parser,
    scanner: Scanner,
}

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// The parser's limits out of the configuration.
pub fn parse_limits(limits: &Limits) -> ParseLimits {
    let frames = [limits.body, limits.stdio_line, limits.sse_event];
    ParseLimits {
        max_bytes: frames.into_iter().map(|size| size.bytes()).max().unwrap_or_default(),
        max_depth: limits.json_depth,
        max_values: limits.json_values,
    }
}

/// Parses and scans one message. `find` names the exchange a message belongs to, from its head.
///
/// # Errors
/// When the bytes are not one JSON-RPC message within the limits.
pub fn read(
    snapshot: &Snapshot,
    server: &str,
    raw: Bytes,
    direction: Direction,
    find: impl FnOnce(&Head) -> Option<Arc<Exchange>>,
) -> Result<Seen, ParseError> {
    WORKER.with_borrow_mut(|slot| {
        let limits = parse_limits(&snapshot.config.limits);
        let worker = match slot {
            Some(worker) if worker.limits == limits => worker,
            _ => {
                slot.insert(Worker { limits, parser: Parser::new(limits), scanner: Scanner::new() })
            }
        };
        let scanner = &mut worker.scanner;
        let (head, exchange, verdict, truncated) = worker.parser.parse(&raw, |message| {
            let head = Head::of(message);
            let exchange = find(&head);
            let asked = exchange.as_deref();
            let subject = Subject {
                direction,
                server,
                method: head.method.as_deref().or(asked.map(|e| &*e.method)),
                name: head.name.as_deref().or(asked.and_then(|e| e.name.as_deref())),
                paranoia: snapshot.policy.paranoia,
                budget: snapshot.config.inspect.budget.bytes(),
            };
            let scan = scanner.scan(&snapshot.rules, message, &subject);
            let truncated = scan.truncated;
            let verdict = Verdict::decide(&snapshot.rules, &snapshot.policy, scan, message.raw());
            (head, exchange, verdict, truncated)
        })?;
        Ok(Seen { envelope: Envelope { raw, head, direction }, exchange, verdict, truncated })
    })
}

/// Scans the header values that mirror arguments, for what is not in the body too.
///
/// # Errors
/// When a rule would redact or block: a header has no place for a placeholder.
pub fn check_params(
    snapshot: &Snapshot,
    server: &str,
    seen: &Seen,
    values: &[String],
) -> Result<(), Denied> {
    let strictest = WORKER.with_borrow_mut(|slot| {
        let Some(worker) = slot else {
            return Action::Allow;
        };
        let head = &seen.envelope.head;
        let subject = Subject {
            direction: Direction::ToServer,
            server,
            method: head.method.as_deref(),
            name: head.name.as_deref(),
            paranoia: snapshot.policy.paranoia,
            budget: snapshot.config.inspect.budget.bytes(),
        };
        let scan = |value: &String| {
            worker.scanner.scan_text(&snapshot.rules, value, inspect::Surface::CallArgs, &subject)
        };
        let found = values.iter().map(scan).flat_map(|scan| scan.findings);
        found.map(|f| snapshot.rules.rule(f.rule).action()).max().unwrap_or(Action::Allow)
    });
    if strictest >= Action::Redact && snapshot.policy.preset != Preset::Audit {
        return Err(Denied::header_mismatch("a parameter header holds what the body does not"));
    }
    Ok(())
}

/// Refuses what could not be looked at in full, unless the configuration lets it pass.
///
/// # Errors
/// When part of the message was not scanned.
pub fn decided(snapshot: &Snapshot, seen: &Seen) -> Result<(), Denied> {
    let lenient = snapshot.config.inspect.on_error == OnError::Allow;
    if !seen.truncated || lenient || snapshot.policy.preset == Preset::Audit {
        return Ok(());
    }
    Err(Denied::undecided("the message has more text or findings than the budget"))
}
