//! What a legacy session has and a server of 2026-07-28 does not: a log level, subscriptions, calls
//! that can be cancelled, and questions that wait for the client's answer. Bounded: the oldest
//! sessions make room, and lose no more than this.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use capture::Str;
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::envelope::Context;
use crate::session::{Front, Table};

/// The revision a client speaks when nothing says which (spec 2025-06-18, transports).
const ASSUMED: &str = "2025-03-26";
/// Bytes of what a client says of itself that are kept; more counts as nothing.
const MAX_SAID: usize = 8 << 10;
/// The extension of tasks, which legacy clients know in another form.
pub(super) const TASKS: &str = "io.modelcontextprotocol/tasks";

/// One client's session with one server.
pub(super) struct Session {
    /// The revision agreed with the client.
    pub(super) revision: Str,
    /// `clientInfo` as JSON text, if there is any.
    pub(super) client: Option<Str>,
    /// What the client can do, in the server's terms.
    pub(super) capabilities: Value,
    /// The same as JSON text.
    pub(super) capabilities_text: String,
    /// The log level it asked for.
    pub(super) level: Mutex<Option<&'static str>>,
    /// What it wants to be told of; each change has a number.
    pub(super) wanted: watch::Sender<Wanted>,
    /// Up to which change of `wanted` the server listens.
    pub(super) acknowledged: watch::Sender<u64>,
    /// The stream of unsolicited messages that is open, which a newer one replaces.
    stream: Mutex<Option<CancellationToken>>,
    /// Calls under way, by the client's id.
    calls: Mutex<HashMap<Str, (u64, CancellationToken)>>,
    /// Questions under way, by our id.
    asked: Mutex<HashMap<Str, oneshot::Sender<Bytes>>>,
    /// Cancelled when the session ends.
    pub(super) ended: CancellationToken,
    calls_made: AtomicU64,
}

/// What a session is subscribed to.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) change: u64,
    pub(super) uris: BTreeSet<Str>,
}

impl Session {
    pub(super) fn new(front: &Front, agreed: Option<&str>) -> Session {
        let revision = front.revision.as_deref().or(agreed).unwrap_or(ASSUMED);
        let capabilities = capabilities(&front.capabilities, revision);
        Session {
            revision: revision.into(),
            client: serde_json::from_str::<Value>(&front.client)
                .is_ok_and(|client| client.is_object() && front.client.len() <= MAX_SAID)
                .then(|| Arc::clone(&front.client)),
            capabilities_text: capabilities.to_string(),
            capabilities,
            level: Mutex::default(),
            wanted: watch::Sender::default(),
            acknowledged: watch::Sender::default(),
            stream: Mutex::default(),
            calls: Mutex::default(),
            asked: Mutex::default(),
            ended: CancellationToken::new(),
            calls_made: AtomicU64::new(0),
        }
    }

    /// Whether the client speaks this revision or a later one.
    pub(super) fn speaks(&self, revision: &str) -> bool {
        &*self.revision >= revision
    }

    /// The log level as it stands.
    pub(super) fn level(&self) -> Option<&'static str> {
        *lock(&self.level)
    }

    /// Notes a call; dropped, it is over.
    pub(super) fn call(self: &Arc<Session>, id: &Str) -> Underway {
        let number = self.calls_made.fetch_add(1, Ordering::Relaxed);
        let cancelled = self.ended.child_token();
        lock(&self.calls).insert(id.clone(), (number, cancelled.clone()));
        Underway { session: Arc::clone(self), id: id.clone(), number, cancelled }
    }

    /// Ends the call of this id, if there is one.
    pub(super) fn cancel(&self, id: &str) {
        if let Some((_, call)) = lock(&self.calls).get(id) {
            call.cancel();
        }
    }

    /// Notes a question; the answer comes by what is returned, as long as that is kept.
    pub(super) fn ask(self: &Arc<Session>, id: Str) -> Question {
        let (tell, answer) = oneshot::channel();
        lock(&self.asked).insert(id.clone(), tell);
        Question { session: Arc::clone(self), id, answer }
    }

    /// Hands over the answer to a question, whole. What was not asked is forgotten.
    pub(super) fn answered(&self, id: &str, answer: Bytes) {
        if let Some(tell) = lock(&self.asked).remove(id) {
            let _ = tell.send(answer);
        }
    }

    /// A new stream of unsolicited messages, in place of the one before.
    pub(super) fn open_stream(&self) -> CancellationToken {
        let new = self.ended.child_token();
        if let Some(old) = lock(&self.stream).replace(new.clone()) {
            old.cancel();
        }
        new
    }

    /// Whether anyone would hear of a change.
    pub(super) fn is_listening(&self) -> bool {
        lock(&self.stream).as_ref().is_some_and(|stream| !stream.is_cancelled())
    }
}

/// A call under way.
pub(super) struct Underway {
    session: Arc<Session>,
    id: Str,
    number: u64,
    /// Resolves when the client no longer wants the answer.
    pub(super) cancelled: CancellationToken,
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut calls = lock(&self.session.calls);
        // A client that used the id again has another call by now.
        if calls.get(&self.id).is_some_and(|(number, _)| *number == self.number) {
            calls.remove(&self.id);
        }
    }
}

/// A question under way.
pub(super) struct Question {
    session: Arc<Session>,
    /// Its id as JSON text.
    pub(super) id: Str,
    /// The client's answer, a whole message.
    pub(super) answer: oneshot::Receiver<Bytes>,
}

impl Drop for Question {
    fn drop(&mut self) {
        lock(&self.session.asked).remove(&self.id);
    }
}

/// The sessions of one server.
pub(super) struct Known {
    known: Mutex<Table<Str, Arc<Session>>>,
    limit: usize,
}

impl Known {
    pub(super) fn new(limit: usize) -> Known {
        Known { known: Mutex::default(), limit }
    }

    /// Whether the session is known here.
    pub(super) fn has(&self, cx: &Context) -> bool {
        lock(&self.known).get(key(cx)).is_some()
    }

    /// The session of a message, begun here or on another replica; `None` when nobody began it.
    pub(super) fn of(&self, cx: &Context) -> Option<Arc<Session>> {
        let mut known = lock(&self.known);
        if let Some(session) = known.get(key(cx)) {
            return Some(Arc::clone(session));
        }
        let header = cx.headers.version.as_ref().and_then(|v| v.to_str().ok());
        let agreed = header.or(cx.negotiated.get().map(|revision| &**revision));
        let session = Arc::new(Session::new(cx.front.get()?, agreed));
        known.put(key(cx).clone(), Arc::clone(&session), self.limit);
        Some(session)
    }

    /// Ends a session with all that is under way in it.
    pub(super) fn end(&self, cx: &Context) {
        if let Some(session) = lock(&self.known).take(key(cx)) {
            session.ended.cancel();
        }
    }

    /// Forgets all sessions: the server is not the one they were with.
    pub(super) fn clear(&self) {
        *lock(&self.known) = Table::default();
    }
}

fn key(cx: &Context) -> &Str {
    cx.session.as_ref().unwrap_or(&cx.conn_id)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole between statements: a panic elsewhere leaves it usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client's capabilities as 2026-07-28 has them, without what cannot be translated for it.
fn capabilities(text: &str, revision: &str) -> Value {
    let said = if text.len() <= MAX_SAID { text } else { "" };
    let mut all = serde_json::from_str(said).unwrap_or_default();
    let Value::Object(members) = &mut all else { return Value::Object(Default::default()) };
    members.shift_remove("tasks");
    if let Some(Value::Object(extensions)) = members.get_mut("extensions") {
        extensions.shift_remove(TASKS);
    }
    if let Some(Value::Object(elicitation)) = members.get_mut("elicitation")
        && revision < "2025-11-25"
    {
        // Only 2025-11-25 can send a user to an address.
        elicitation.shift_remove("url");
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(capabilities: &str, revision: &str) -> Arc<Session> {
        let front = Front {
            revision: Some(revision.into()),
            capabilities: capabilities.into(),
            client: r#"{"name":"c","version":"1"}"#.into(),
            ..Front::default()
        };
        Arc::new(Session::new(&front, None))
    }

    #[test]
    fn a_client_is_not_credited_with_what_cannot_be_translated() {
        let all = r#"{"roots":{},"tasks":{"list":{}},"elicitation":{"form":{},"url":{}},
            "extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{}}}"#;
        assert_eq!(
            session(all, "2025-11-25").capabilities_text,
            r#"{"roots":{},"elicitation":{"form":{},"url":{}},"extensions":{"io.modelcontextprotocol/ui":{}}}"#
        );
        let older = session(all, "2025-06-18");
        assert_eq!(older.capabilities["elicitation"].to_string(), r#"{"form":{}}"#);
        for nothing in ["", "[]", "no JSON"] {
            assert_eq!(session(nothing, "2025-11-25").capabilities_text, "{}");
        }
    }

    #[test]
    fn a_call_is_cancelled_by_its_id_and_a_later_one_of_the_same_id_is_another() {
        let session = session("{}", "2025-11-25");
        let id = Str::from("1");
        let first = session.call(&id);
        session.cancel("\"1\"");
        assert!(!first.cancelled.is_cancelled());
        session.cancel("1");
        assert!(first.cancelled.is_cancelled());
        let second = session.call(&id);
        drop(first);
        session.cancel("1");
        assert!(second.cancelled.is_cancelled());
    }

    #[test]
    fn an_answer_is_heard_once_and_only_while_it_is_waited_for() {
        let session = session("{}", "2025-11-25");
        let mut question = session.ask("\"s/1\"".into());
        session.answered("\"s/2\"", "{}".into());
        assert!(question.answer.try_recv().is_err());
        session.answered("\"s/1\"", "{}".into());
        assert_eq!(question.answer.try_recv().unwrap(), "{}");
        drop(session.ask("\"s/3\"".into()));
        assert!(lock(&session.asked).is_empty());
    }

    #[test]
    fn a_newer_stream_replaces_the_older() {
        let session = session("{}", "2025-11-25");
        let first = session.open_stream();
        let second = session.open_stream();
        assert!(first.is_cancelled() && !second.is_cancelled() && session.is_listening());
        session.ended.cancel();
        assert!(second.is_cancelled() && !session.is_listening());
    }
}
