//! The headers of a request as the record may hold them: allow-listed, hidden where the body is, and
//! with nothing in them that a rule finds.

use std::cell::RefCell;
use std::collections::HashMap;

use capture::Str;
use http::HeaderValue;
use inspect::scan::Scanner;
use inspect::{Direction, Subject, Surface};
use serde_json::{Map, Value};

use super::Leg;
use crate::config::Bodies;
use crate::envelope::Context;
use crate::era;
use crate::policy::inspect::Seen;
use crate::snapshot::Snapshot;

/// Bytes of one value at most.
const LONGEST: usize = 1024;
/// Bytes of all values at most.
const MOST: usize = 8192;
/// Values remembered with what was found in them: clients send the same ones again and again.
const KNOWN: usize = 256;

/// The headers that a client's message came with, as a JSON object; none where none are kept.
pub(super) fn shown(cx: &Context, leg: Leg, seen: &Seen) -> Option<Str> {
    let came = leg == Leg::Client && seen.envelope.direction == Direction::ToServer;
    if !came || cx.arrival.headers.is_empty() {
        return None;
    }
    let raw = cx.snapshot.config.capture.bodies == Bodies::Raw;
    let mut room = MOST;
    let mut all = Map::new();
    for (at, value) in &cx.arrival.headers {
        let Some(name) = cx.snapshot.config.capture.headers.get(*at) else { continue };
        let mut text = read(value);
        if !raw {
            text = seen.shown(&text.as_str().into()).to_string();
            if let Some(rule) = found(&cx.snapshot, &cx.server.name, &text) {
                text = format!("[redacted:{rule}]");
            }
        }
        text.truncate(text.floor_char_boundary(room));
        room -= text.len();
        match all.entry(name.to_ascii_lowercase()) {
            serde_json::map::Entry::Vacant(free) => drop(free.insert(Value::String(text))),
            serde_json::map::Entry::Occupied(mut had) => {
                if let Value::String(had) = had.get_mut() {
                    had.push_str(", ");
                    had.push_str(&text);
                }
            }
        }
    }
    Some(Value::Object(all).to_string().into())
}

/// A value as text; what MCP has encoded for the wire is decoded, or it would hide from the rules.
fn read(value: &HeaderValue) -> String {
    let decoded = era::decode(value);
    let bytes = decoded.as_deref().unwrap_or(value.as_bytes());
    // A cut would hide from the rules what it cuts in two.
    match bytes.len() <= LONGEST {
        true => String::from_utf8_lossy(bytes).into_owned(),
        false => format!("[{} bytes]", bytes.len()),
    }
}

thread_local! {
    static FOUND: RefCell<(Str, HashMap<String, Option<Str>>)> =
        RefCell::new(("".into(), HashMap::new()));
}

/// A rule that finds something in this value.
fn found(snapshot: &Snapshot, server: &str, text: &str) -> Option<Str> {
    FOUND.with_borrow_mut(|(digest, known)| {
        if *digest != snapshot.ruleset_digest || known.len() >= KNOWN {
            digest.clone_from(&snapshot.ruleset_digest);
            known.clear();
        }
        if let Some(found) = known.get(text) {
            return found.clone();
        }
        let subject = Subject {
            direction: Direction::ToServer,
            server,
            method: None,
            name: None,
            paranoia: snapshot.policy.paranoia,
            budget: 64 * LONGEST,
            now: 0,
        };
        let scan = Scanner::new().scan_text(&snapshot.rules, text, Surface::CallArgs, &subject);
        let first = scan.findings.first().map(|finding| snapshot.rules.rule(finding.rule).id());
        let rule = first.or(scan.truncated.then_some("unread")).map(Str::from);
        known.insert(text.to_owned(), rule.clone());
        rule
    })
}
