//! Whose it is what a process says: each line goes to one call, to the one who listens, or nowhere.

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use super::call::Open;
use super::mailbox::{End, Put};
use super::peek::{Peek, canonical, replaced};
use super::process::{Process, lock};
use crate::upstream::UpstreamError;

impl Process {
    /// Takes one line: a message, or a batch of them.
    pub(super) fn sort(&self, line: Bytes) {
        if line.first() == Some(&b'[') {
            let Ok(items) = serde_json::from_slice::<Vec<&RawValue>>(&line) else {
                return self.lost("rubbish");
            };
            for item in items {
                self.message(line.slice_ref(item.get().as_bytes()));
            }
        } else {
            self.message(line);
        }
    }

    /// A line longer than any message may be. Where one call waits, it was its answer.
    pub(super) fn too_long(&self) {
        let mut calls = lock(&self.calls);
        let only = calls.only().map(|(key, _)| key.clone());
        match only.and_then(|key| calls.take(&key)) {
            Some(open) => {
                let limit = self.bounds.line;
                open.mailbox.end(End::Failed(UpstreamError::TooLarge { what: "answer", limit }));
            }
            None => self.lost("rubbish"),
        }
    }

    fn message(&self, raw: Bytes) {
        match Peek::of(&raw) {
            None => self.lost("rubbish"),
            Some(peek) if peek.method.is_none() => self.answer(raw, &peek),
            Some(peek) if self.shared => self.of_shared(raw, &peek),
            Some(peek) => self.of_session(raw, &peek),
        }
    }

    fn answer(&self, raw: Bytes, peek: &Peek) {
        let mut calls = lock(&self.calls);
        let open = match &peek.id {
            Some(id) if self.shared => calls.take(&id.text),
            Some(id) => calls.take(&canonical(&id.text)),
            // Older servers answer some errors with a null id.
            None if peek.error_code.is_some() => {
                let only = calls.only().map(|(key, _)| key.clone());
                only.and_then(|key| calls.take(&key))
            }
            None => return self.lost("rubbish"),
        };
        drop(calls);
        // An answer that nobody waits for comes after a cancellation, which is no fault.
        let Some(open) = open else { return self.lost("nobody") };
        let answer = match self.shared {
            true => back(&raw, peek, &open),
            false => Some(raw),
        };
        match answer {
            Some(answer) => open.mailbox.end(End::Answer(answer)),
            None => self.lost("rubbish"),
        }
    }

    /// A request or notification of a session's own process: it passes untouched.
    fn of_session(&self, raw: Bytes, peek: &Peek) {
        let method = peek.method.as_deref().unwrap_or_default();
        let calls = lock(&self.calls);
        let token = peek.progress_of.as_ref().map(|token| canonical(&token.text));
        let own = token.and_then(|token| calls.of_token(&token));
        // What changed is no call's business where somebody listens.
        let is_news = method.ends_with("/list_changed") || method.ends_with("/updated");
        let call = match own {
            None if is_news && self.is_listened_to() => None,
            own => own.or_else(|| calls.youngest()),
        };
        let put = call.map_or(Put::Left, |open| open.mailbox.put(raw.clone()));
        drop(calls);
        let put = if put == Put::Left { self.unasked.put(raw) } else { put };
        if put != Put::Kept {
            self.lost("full");
            self.refuse(peek, -32603, "the client takes no more requests");
        }
    }

    /// A request or notification of a process that clients share.
    fn of_shared(&self, raw: Bytes, peek: &Peek) {
        if peek.id.is_some() {
            self.lost("nobody");
            return self.refuse(peek, -32601, "this revision has no requests from servers");
        }
        let named = [&peek.subscription, &peek.progress_of, &peek.cancels];
        let mut calls = lock(&self.calls);
        let named = named.into_iter().flatten().next();
        let open = match named {
            Some(name) => calls.get(&name.text),
            // It says not whose it is: it can only be of the one call that asked for such.
            None if peek.method.as_deref() == Some("notifications/message") => {
                calls.only().map(|(_, open)| open).filter(|open| open.wants_log)
            }
            None => None,
        };
        let message = open.and_then(|open| back(&raw, peek, open));
        let (Some(open), Some(message)) = (open, message) else {
            return self.lost("nobody");
        };
        let put = open.mailbox.put(message);
        if let Some(ended) = peek.cancels.as_ref().filter(|_| open.is_open_ended) {
            // The server ends a subscription; what it says of it after this is too late.
            open.mailbox.end(End::Over);
            calls.take(&ended.text);
        }
        drop(calls);
        match put {
            Put::Kept => {}
            Put::Full => self.lost("full"),
            Put::Left => self.lost("nobody"),
        }
    }

    /// Answers a server's request that reaches no client.
    fn refuse(&self, peek: &Peek, code: i32, message: &str) {
        let Some(id) = &peek.id else { return };
        let message = Value::from(format!("wiregate: {message}"));
        let error = format!(r#"{{"code":{code},"message":{message}}}"#);
        self.say(format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.text).into());
    }
}

/// A message with what names its call as that call's client wrote it. `None`: it names what that
/// client has no name for.
fn back(raw: &Bytes, peek: &Peek, open: &Open) -> Option<Bytes> {
    let mut values = Vec::with_capacity(2);
    let is_answer = peek.method.is_none();
    for named in [&peek.subscription, &peek.cancels] {
        values.extend(named.as_ref().map(|named| (named.at.clone(), &*open.id)));
    }
    values.extend(peek.id.as_ref().filter(|_| is_answer).map(|id| (id.at.clone(), &*open.id)));
    if let Some(token) = &peek.progress_of {
        values.push((token.at.clone(), open.token.as_deref()?));
    }
    match values.is_empty() {
        true => Some(raw.clone()),
        false => replaced(raw, &mut values),
    }
}
