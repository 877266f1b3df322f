//! Calls under way at one process, and the reply that each becomes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use capture::Str;
use futures::stream::{self, StreamExt};
use http::StatusCode;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout_at};

use super::mailbox::{End, Letter, Mailbox};
use super::peek::{Peek, canonical, replaced};
use super::process::{Process, Why, lock};
use crate::envelope::{Body, Event, Reply};
use crate::upstream::{Outgoing, UpstreamError};

/// Calls by what their answers will be known by.
#[derive(Debug)]
pub(super) struct Calls {
    open: HashMap<Str, Open>,
    most: usize,
    next: u64,
}

/// A call that has no answer yet.
#[derive(Debug)]
pub(super) struct Open {
    /// The order in which calls came.
    pub(super) number: u64,
    pub(super) mailbox: Arc<Mailbox>,
    /// What its client calls it, as it wrote it.
    pub(super) id: Str,
    /// What its client calls its progress, as it wrote it.
    pub(super) token: Option<Str>,
    /// Whose it is.
    sender: Str,
    /// Whether it is a subscription.
    pub(super) is_open_ended: bool,
    /// Whether it asked for log messages.
    pub(super) wants_log: bool,
    /// When nobody waits for it any more.
    expires: Instant,
}

impl Calls {
    pub(super) fn new(most: usize) -> Calls {
        Calls { open: HashMap::new(), most, next: 0 }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Open> {
        self.open.get(key)
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Open> {
        self.open.remove(key)
    }

    /// Tells all that no answer will come.
    pub(super) fn fail(&mut self, error: &UpstreamError) {
        for (_, open) in self.open.drain() {
            open.mailbox.end(End::Failed(error.clone()));
        }
    }

    /// Whether somebody waits for an answer.
    pub(super) fn is_awaited(&self) -> bool {
        self.open.values().any(|open| open.mailbox.is_open())
    }

    /// The only call there is, subscriptions left out.
    pub(super) fn only(&self) -> Option<(&Str, &Open)> {
        let mut calls = self.open.iter().filter(|(_, open)| !open.is_open_ended);
        calls.next().filter(|_| calls.next().is_none())
    }

    /// The youngest call that somebody still waits for.
    pub(super) fn youngest(&self) -> Option<&Open> {
        let awaited = self.open.values().filter(|open| open.mailbox.is_open());
        awaited.max_by_key(|open| open.number)
    }

    /// The call whose progress has this name.
    pub(super) fn of_token(&self, token: &str) -> Option<&Open> {
        self.open.values().find(|open| open.token.as_deref() == Some(token))
    }

    /// The key of the one call that this sender gave this id.
    pub(super) fn of_client(&self, sender: &Str, id: &str) -> Option<&Str> {
        let own = |open: &Open| open.sender == *sender && *canonical(&open.id) == *id;
        let mut found = self.open.iter().filter(|(_, open)| own(open));
        found.next().filter(|_| found.next().is_none()).map(|(key, _)| key)
    }

    fn put(&mut self, key: Str, open: Open) -> Result<(), UpstreamError> {
        if self.open.len() >= self.most {
            let now = Instant::now();
            self.open.retain(|_, open| open.mailbox.is_open() || open.expires > now);
        }
        if self.open.len() >= self.most {
            return Err(UpstreamError::Busy { what: "calls at this process", limit: self.most });
        }
        self.open.insert(key, open);
        Ok(())
    }
}

/// Why a message is not sent, by its sender's own doing.
pub(super) enum Unfit {
    /// It says one thing twice, or nothing.
    Unreadable,
    /// Its id is that of a call under way.
    IdInUse,
    /// There is no place for it.
    Busy(UpstreamError),
}

/// The client's end of a call. Dropped before the answer, its client has left.
pub(super) struct Ticket {
    process: Arc<Process>,
    mailbox: Arc<Mailbox>,
    key: Str,
    /// The line to write.
    line: Bytes,
    is_open_ended: bool,
    /// Whether a session begins with it: nobody else will ever use its process.
    begins: bool,
    /// When it ends at the latest.
    until: Option<Instant>,
    /// The most of silence before the first message, and later.
    quiet: [Duration; 2],
    heard: bool,
    over: bool,
}

impl Ticket {
    /// Enters a request in the table of its process.
    pub(super) fn open(
        process: &Arc<Process>,
        sender: Str,
        message: &Outgoing,
    ) -> Result<Ticket, Unfit> {
        let peek = Peek::of(&message.raw).ok_or(Unfit::Unreadable)?;
        let id = peek.id.ok_or(Unfit::Unreadable)?;
        let settings = &process.children.settings;
        let mailbox = Arc::new(Mailbox::new(settings.queue, settings.queue_bytes.bytes()));
        let begins = message.head.method.as_deref() == Some("initialize");
        let (bounds, now) = (&process.bounds, Instant::now());
        let (total, quiet) = match begins {
            true => (settings.start.get(), [settings.start.get(); 2]),
            false => (bounds.total, [bounds.first, bounds.quiet]),
        };
        let mut calls = lock(&process.calls);
        calls.next += 1;
        let number = calls.next;
        let token = peek.progress_token;
        let (key, line) = if process.shared {
            let own: Str = number.to_string().into();
            let mut values = vec![(id.at, &*own)];
            values.extend(token.as_ref().map(|token| (token.at.clone(), &*own)));
            let line = replaced(&message.raw, &mut values).ok_or(Unfit::Unreadable)?;
            (own, line)
        } else {
            (canonical(&id.text), message.raw.clone())
        };
        if calls.get(&key).is_some() {
            return Err(Unfit::IdInUse);
        }
        let token = match process.shared {
            true => token.map(|token| token.text),
            false => token.map(|token| canonical(&token.text)),
        };
        let open = Open {
            number,
            mailbox: Arc::clone(&mailbox),
            id: id.text,
            token,
            sender,
            is_open_ended: message.open_ended,
            wants_log: peek.wants_log,
            expires: now + total,
        };
        calls.put(key.clone(), open).map_err(Unfit::Busy)?;
        Ok(Ticket {
            process: Arc::clone(process),
            mailbox,
            key,
            line,
            is_open_ended: message.open_ended,
            begins,
            until: (!message.open_ended).then(|| now + total),
            quiet,
            heard: false,
            over: false,
        })
    }

    /// Sends the request. The reply is the answer where that comes first, else a stream.
    pub(super) async fn reply(mut self) -> Result<Reply, UpstreamError> {
        self.process.send(&self.line).await?;
        let keep_alive = self.process.bounds.keep_alive;
        let first = tokio::select! {
            first = self.next() => Some(first),
            // The client is to see signs of life.
            () = sleep(keep_alive) => None,
        };
        let first = match first {
            Some(Letter::End(End::Answer(answer))) => {
                return Ok(Reply::one(self.status(&answer), answer));
            }
            Some(Letter::End(End::Failed(error))) => return Err(error),
            Some(Letter::End(End::Over)) => {
                let detail = "it ended the call without an answer".to_owned();
                return Err(UpstreamError::Protocol { detail });
            }
            Some(Letter::Message(message)) => Some(Ok(event(message))),
            None => None,
        };
        let open_ended = self.is_open_ended;
        let rest = stream::unfold(Some(self), Ticket::event);
        let mut reply = Reply::empty(StatusCode::OK);
        reply.body = Body::Stream(stream::iter(first).chain(rest).boxed());
        reply.open_ended = open_ended;
        Ok(reply)
    }

    async fn event(
        ticket: Option<Ticket>,
    ) -> Option<(Result<Event, UpstreamError>, Option<Ticket>)> {
        let mut ticket = ticket?;
        match ticket.next().await {
            Letter::Message(message) => Some((Ok(event(message)), Some(ticket))),
            Letter::End(End::Answer(answer)) => Some((Ok(event(answer)), None)),
            Letter::End(End::Failed(error)) => Some((Err(error), None)),
            Letter::End(End::Over) => None,
        }
    }

    /// The next message or the end, which is also the end of patience.
    async fn next(&mut self) -> Letter {
        let quiet = Instant::now() + self.quiet[usize::from(self.heard)];
        let letter = match self.until {
            None => Ok(self.mailbox.next().await),
            Some(until) => timeout_at(until.min(quiet), self.mailbox.next()).await,
        };
        self.heard = true;
        let Ok(letter) = letter else {
            self.give_up("timeout");
            let what = if self.begins { "starting" } else { "answering" };
            return Letter::End(End::Failed(UpstreamError::Timeout { what }));
        };
        self.over |= matches!(letter, Letter::End(_));
        letter
    }

    /// Ends the call, and tells the server.
    fn give_up(&mut self, reason: &str) {
        self.over = true;
        self.mailbox.leave();
        if self.begins {
            return self.process.end(Why::Stuck);
        }
        if lock(&self.process.calls).take(&self.key).is_some() {
            self.process.say(cancelled(&self.key, reason));
        }
    }

    /// The HTTP status that a revision without sessions wants for some errors.
    fn status(&self, answer: &[u8]) -> StatusCode {
        if !self.process.shared {
            return StatusCode::OK;
        }
        match Peek::of(answer).and_then(|peek| peek.error_code) {
            Some(-32601) => StatusCode::NOT_FOUND,
            Some(-32022..=-32020) => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if self.begins {
            // Nobody knows the session.
            self.mailbox.leave();
            self.process.end(Why::Closed);
        } else if self.process.shared {
            self.give_up("the client left");
        } else {
            // In revisions with sessions leaving is not cancelling: the server goes on.
            self.mailbox.leave();
        }
    }
}

fn event(message: Bytes) -> Event {
    Event { data: Some(message), ..Event::default() }
}

/// The notification that a request is not waited for any more; `id` is JSON text.
fn cancelled(id: &str, reason: &str) -> Bytes {
    #[derive(serde::Serialize)]
    struct Params<'a> {
        #[serde(rename = "requestId")]
        id: &'a RawValue,
        reason: &'a str,
    }
    let id = RawValue::from_string(id.to_owned());
    let params = id.ok().and_then(|id| serde_json::to_string(&Params { id: &id, reason }).ok());
    let params = params.unwrap_or_default();
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_names_its_own_calls_and_no_others() {
        let mut calls = Calls::new(3);
        let mut put = |key: &str, sender: &str, id: &str| {
            let open = Open {
                number: 0,
                mailbox: Arc::new(Mailbox::new(1, 1)),
                id: id.into(),
                token: None,
                sender: sender.into(),
                is_open_ended: false,
                wants_log: false,
                expires: Instant::now() + Duration::from_secs(60),
            };
            calls.put(key.into(), open)
        };
        for (key, sender, id) in [("1", "alice", "7"), ("2", "bob", "7"), ("3", "bob", "7")] {
            assert_eq!(put(key, sender, id), Ok(()));
        }
        let full = UpstreamError::Busy { what: "calls at this process", limit: 3 };
        assert_eq!(put("4", "alice", "8"), Err(full));
        assert_eq!(calls.of_client(&"alice".into(), "7").map(|key| &**key), Some("1"));
        assert_eq!(calls.of_client(&"alice".into(), "\"7\""), None);
        assert_eq!(calls.of_client(&"carol".into(), "7"), None);
        assert_eq!(calls.of_client(&"bob".into(), "7"), None, "it can't be told which of the two");
    }
}
