//! What it says: one parse and one scan of each message, with memory reused per thread.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use capture::Str;
use inspect::message::{ParseError, ParseLimits, Parser};
use inspect::scan::{Carry, Direction, Scanner, Subject};
use inspect::{Action, Before, Edit, Preset, Verdict};

use super::Denied;
use crate::config::{Limits, OnError};
use crate::envelope::{Envelope, Head, clipped};
use crate::pins::Pinned;
use crate::session::{Exchange, Handshake};
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
    /// What was found by comparing what it lists or uses with the pins.
    pub pins: Pinned,
    /// Whether part of it was not scanned.
    pub truncated: bool,
    /// What the scan saw of the messages before it.
    pub before: Option<Before>,
    /// The time the scan was told, in seconds since 1970.
    pub now: i64,
    /// What the record must hide, and by what: names and ids repeat parts of the body.
    pub hidden: Vec<(Box<str>, Box<str>)>,
}

impl Seen {
    /// What is done with the message: by the rules and by the pins. What was not seen whole, and
    /// passes all the same (see [`decided`]), is flagged at least.
    pub fn action(&self) -> Action {
        let unseen = if self.truncated { Action::Flag } else { Action::Allow };
        self.verdict.action.max(self.pins.action).max(unseen)
    }

    /// A text out of this message as the record may hold it.
    pub fn shown(&self, text: &Str) -> Str {
        mirror(text, &self.hidden).map_or_else(|| text.clone(), Into::into)
    }
}

/// A text with the same replacements as the body it repeats a part of; `None` when it has none.
pub fn mirror(text: &str, replaced: &[(Box<str>, Box<str>)]) -> Option<String> {
    let here = |(from, _): &&(Box<str>, Box<str>)| !from.is_empty() && text.contains(&**from);
    let mut found = replaced.iter().filter(here).peekable();
    found.peek()?;
    Some(found.fold(text.to_owned(), |text, (from, to)| text.replace(&**from, to)))
}

/// What edits replace and by what, unescaped. An edit lies on escape boundaries, so that its text
/// is the inside of a JSON string; of a number it is the digits.
pub fn replaced(raw: &[u8], edits: &[Edit]) -> Vec<(Box<str>, Box<str>)> {
    let unescape = |inner: &[u8]| {
        let quoted = [b"\"", inner, b"\""].concat();
        serde_json::from_slice::<Box<str>>(&quoted).unwrap_or_default()
    };
    let text = |edit: &Edit| {
        let from = raw.get(edit.span.start..edit.span.end).unwrap_or_default();
        (unescape(from), unescape(&edit.replacement))
    };
    edits.iter().map(text).collect()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    // before 1970 nothing has ended yet
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
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

/// Parses and scans one message. `find` names the exchange a message belongs to, from its head;
/// `carry` is what is remembered of the messages before it.
///
/// # Errors
/// When the bytes are not one JSON-RPC message within the limits.
pub fn read(
    snapshot: &Snapshot,
    server: &str,
    raw: Bytes,
    direction: Direction,
    mut carry: Option<&mut Carry>,
    find: impl FnOnce(&Head) -> Option<Arc<Exchange>>,
) -> Result<Seen, ParseError> {
    let now = now();
    WORKER.with_borrow_mut(|slot| {
        let limits = parse_limits(&snapshot.config.limits);
        let worker = match slot {
            Some(worker) if worker.limits == limits => worker,
            _ => {
                slot.insert(Worker { limits, parser: Parser::new(limits), scanner: Scanner::new() })
            }
        };
        let scanner = &mut worker.scanner;
        let (head, mut exchange, verdict, truncated, before, hidden) =
            worker.parser.parse(&raw, |message| {
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
                    now,
                };
                let before = carry.as_ref().and_then(|carry| carry.before(message, &subject));
                let scan =
                    scanner.scan_after(&snapshot.rules, message, &subject, carry.as_deref_mut());
                let truncated = scan.truncated;
                let verdict = Verdict::decide(
                    &snapshot.rules,
                    &snapshot.policy,
                    &subject,
                    scan,
                    message.raw(),
                );
                let hidden = match verdict.findings.is_empty() {
                    true => Vec::new(),
                    false => replaced(&raw, &verdict.record_edits(&snapshot.rules, &raw)),
                };
                // The next message's record tells how this one ended.
                if let Some(carry) = carry.filter(|_| truncated || !hidden.is_empty()) {
                    carry.hide(before.as_ref(), message, &subject, |text| match truncated {
                        true => Some(String::new()),
                        false => mirror(text, &hidden),
                    });
                }
                (head, exchange, verdict, truncated, before, hidden)
            })?;
        if let (Some(asked), true) = (&mut exchange, head.is_request() && !hidden.is_empty()) {
            let shown = |text: &Option<Str>| {
                text.as_deref().and_then(|t| mirror(t, &hidden)).map(|t| clipped(&t.into()))
            };
            let (name, method) = (shown(&head.name), shown(&head.method));
            let asked = Arc::make_mut(asked);
            asked.name = name.or(asked.name.take());
            asked.method = method.unwrap_or(Arc::clone(&asked.method));
            let Handshake { client_name, client_version } = &mut asked.tie.client;
            for said in [client_name, client_version] {
                *said = shown(said).or(said.take());
            }
        }
        Ok(Seen {
            hidden,
            before,
            now,
            envelope: Envelope { raw, head, direction },
            exchange,
            verdict,
            pins: Pinned::default(),
            truncated,
        })
    })
}

/// Scans the headers that mirror a message, for what is not in the body too.
///
/// # Errors
/// When a message with it would be redacted or blocked: a header has no place for a placeholder.
pub fn check_params(
    snapshot: &Snapshot,
    server: &str,
    seen: &Seen,
    texts: &[String],
) -> Result<(), Denied> {
    let head = &seen.envelope.head;
    let subject = Subject {
        direction: Direction::ToServer,
        server,
        method: head.method.as_deref(),
        name: head.name.as_deref(),
        paranoia: snapshot.policy.paranoia,
        budget: snapshot.config.inspect.budget.bytes(),
        now: now(),
    };
    let mut scanner = Scanner::new();
    for text in texts {
        let surface = inspect::Surface::CallArgs;
        let scan = scanner.scan_text(&snapshot.rules, text, surface, &subject);
        let unseen = scan.truncated;
        let verdict =
            Verdict::decide(&snapshot.rules, &snapshot.policy, &subject, scan, text.as_bytes());
        if verdict.action >= Action::Redact || (unseen && snapshot.policy.preset != Preset::Audit) {
            return Err(Denied::header_mismatch("a header holds what the body does not"));
        }
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
