//! A server that is a command: its processes, and which of them a message is for.
//!
//! The central types: [`Pool`] (one for each server) and [`Children`] (all processes of all servers,
//! whose number is bounded). In the revisions with sessions a session has a process of its own,
//! begun by `initialize`, named by a random id, and ended with it. In the later ones requests stand
//! alone, and all clients share one process; what names a call is remapped there. What a server
//! speaks is not asked here: a message that says it is of a later revision goes to the shared
//! process, any other to its session's.

mod call;
mod children;
mod mailbox;
mod peek;
mod process;
mod sort;
mod stderr;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use capture::Str;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use http::{HeaderValue, StatusCode};
use inspect::message::Kind;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use self::call::{Ticket, Unfit};
use self::mailbox::Letter;
use self::peek::{Peek, canonical, replaced};
use self::process::{Bounds, Process, Why, lock};
use super::{Outgoing, Upstream, UpstreamError};
use crate::config::{Limits, Timeouts};
use crate::envelope::{Body, Claim, Context, Event, Head, Reply};
use crate::policy::{Denied, NOT_FOUND};
use crate::snapshot::{Command, ServerSpec, hex};

pub use self::children::Children;

/// The processes of one server.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: Arc<str>,
    command: Command,
    children: Arc<Children>,
    bounds: Bounds,
    sessions: Mutex<Sessions>,
    /// Held while the shared process is started, so that it is started once.
    shared: tokio::sync::Mutex<Option<Arc<Process>>>,
    failures: Mutex<Failures>,
}

/// Sessions by their ids; as many as there may be processes.
#[derive(Debug, Default)]
struct Sessions {
    by_id: HashMap<Str, Session>,
    /// Connections that are sessions, since they have no header to name one.
    by_connection: HashMap<Str, Str>,
}

#[derive(Debug)]
struct Session {
    process: Arc<Process>,
    principal: Option<Str>,
    connection: Option<Str>,
}

/// How often the shared process ended by itself, one end soon after the other.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    /// When it may be started again.
    next: Option<Instant>,
}

/// What a message's session is.
enum Found {
    Here(Arc<Process>),
    Gone,
    /// The message names none.
    Unnamed,
}

impl Pool {
    /// The processes of `spec`, none of which is started yet.
    pub fn new(
        spec: &Arc<ServerSpec>,
        command: &Command,
        children: &Arc<Children>,
        limits: &Limits,
        timeouts: &Timeouts,
    ) -> Pool {
        Pool(Arc::new(Inner {
            server: Arc::clone(&spec.name),
            command: command.clone(),
            children: Arc::clone(children),
            bounds: Bounds {
                line: limits.stdio_line.bytes(),
                write: timeouts.write.get(),
                first: timeouts.first_byte.get(),
                quiet: timeouts.idle.get(),
                total: timeouts.total.get(),
                keep_alive: timeouts.keep_alive.get(),
            },
            sessions: Mutex::default(),
            shared: tokio::sync::Mutex::default(),
            failures: Mutex::default(),
        }))
    }

    async fn send(&self, cx: &Context, message: Outgoing) -> Result<Reply, UpstreamError> {
        let head = &message.head;
        if is_for_all(cx, head) {
            let process = self.shared().await?;
            if head.is_request() {
                return ask(&process, cx, message).await;
            }
            return shared_notification(&process, cx, &message).await;
        }
        if head.is_request() && head.method.as_deref() == Some("initialize") {
            return self.begin(cx, message).await;
        }
        let process = match self.find(cx) {
            Found::Here(process) => process,
            Found::Gone => return Ok(refused(&gone(), head)),
            Found::Unnamed => {
                let what = "no session: begin one with initialize";
                let denied = Denied::new(StatusCode::BAD_REQUEST, -32600, "no_session", what);
                return Ok(refused(&denied, head));
            }
        };
        process.touch();
        if head.is_request() {
            return ask(&process, cx, message).await;
        }
        process.send(&message.raw).await?;
        Ok(Reply::empty(StatusCode::ACCEPTED))
    }

    /// Begins a session, with a process of its own.
    async fn begin(&self, cx: &Context, message: Outgoing) -> Result<Reply, UpstreamError> {
        let inner = &self.0;
        let place = inner.children.place(&inner.server, cx.principal.as_ref())?;
        let id = session_id()?;
        let named = (Arc::downgrade(inner), id.clone());
        let ended = move |_, _| {
            if let Some(inner) = named.0.upgrade() {
                lock(&inner.sessions).forget(&named.1);
            }
        };
        let Inner { server, command, children, bounds, .. } = &**inner;
        let process =
            Process::start(server, command, children, bounds, place, false, ended).await?;
        let session = Session {
            process: Arc::clone(&process),
            principal: cx.principal.clone(),
            connection: cx.session.clone().filter(|_| !cx.transport.has_headers()),
        };
        lock(&inner.sessions).put(&id, session);
        if process.is_over() {
            // It may have ended before it was entered.
            lock(&inner.sessions).forget(&id);
        }
        let reply = ask(&process, cx, message).await.inspect_err(|_| process.end(Why::Closed))?;
        if let Body::One(answer) = &reply.body
            && Peek::of(answer).is_none_or(|peek| peek.error_code.is_some())
        {
            process.end(Why::Closed);
            return Ok(reply);
        }
        // 64 hexadecimal digits are a header's value.
        let session = HeaderValue::from_str(&id).ok();
        Ok(Reply { session, ..reply })
    }

    fn find(&self, cx: &Context) -> Found {
        let sessions = lock(&self.0.sessions);
        let id = match (&cx.headers.session, &cx.session) {
            (Some(id), _) => id.to_str().ok().map(Str::from),
            (None, Some(connection)) if !cx.transport.has_headers() => {
                sessions.by_connection.get(connection).cloned()
            }
            _ => return Found::Unnamed,
        };
        let session = id.and_then(|id| sessions.by_id.get(&id));
        // The id of another's session opens nothing, and tells nothing.
        let session = session.filter(|session| session.principal == cx.principal);
        match session.filter(|session| !session.process.is_over()) {
            Some(session) => Found::Here(Arc::clone(&session.process)),
            None => Found::Gone,
        }
    }

    /// The process that clients share, started where there is none.
    async fn shared(&self) -> Result<Arc<Process>, UpstreamError> {
        let inner = &self.0;
        let mut shared = inner.shared.lock().await;
        if let Some(process) = shared.as_ref().filter(|process| !process.is_over()) {
            process.touch();
            return Ok(Arc::clone(process));
        }
        *shared = None;
        if let Some(wait) = lock(&inner.failures).wait(Instant::now()) {
            let detail =
                format!("it ended by itself; it is started again in {} ms", wait.as_millis());
            return Err(UpstreamError::Unreachable { detail });
        }
        let place = inner.children.place(&inner.server, None)?;
        let weak: Weak<Inner> = Arc::downgrade(inner);
        let ended = move |why, lived| {
            if let (Why::Itself | Why::Memory | Why::Stuck, Some(inner)) = (why, weak.upgrade()) {
                inner.failed(lived);
            }
        };
        let Inner { server, command, children, bounds, .. } = &**inner;
        let started = Process::start(server, command, children, bounds, place, true, ended).await;
        let process = started.inspect_err(|_| inner.failed(Duration::ZERO))?;
        *shared = Some(Arc::clone(&process));
        Ok(process)
    }

    async fn hear(&self, cx: &Context) -> Reply {
        let process = match self.find(cx) {
            Found::Here(process) => process,
            Found::Gone => return refused(&gone(), &Head::error()),
            Found::Unnamed => return Reply::empty(StatusCode::METHOD_NOT_ALLOWED),
        };
        let turn = process.listen();
        // Dropped with the stream: nobody listens then.
        let listening = turn.clone().drop_guard();
        let events = stream::unfold((process, turn, listening), |state| async move {
            let letter = tokio::select! {
                // Another took the place.
                () = state.1.cancelled() => return None,
                letter = state.0.unasked.next() => letter,
            };
            match letter {
                Letter::Message(data) => {
                    Some((Ok(Event { data: Some(data), ..Event::default() }), state))
                }
                Letter::End(_) => None,
            }
        });
        let mut reply = Reply::empty(StatusCode::OK);
        (reply.body, reply.open_ended) = (Body::Stream(events.boxed()), true);
        reply
    }

    fn end(&self, cx: &Context) -> Reply {
        match self.find(cx) {
            Found::Here(process) => {
                process.end(Why::Closed);
                Reply::empty(StatusCode::NO_CONTENT)
            }
            Found::Gone => refused(&gone(), &Head::error()),
            Found::Unnamed => Reply::empty(StatusCode::METHOD_NOT_ALLOWED),
        }
    }
}

impl Upstream for Pool {
    fn call<'a>(
        &'a self,
        cx: &'a Context,
        message: Outgoing,
    ) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(self.send(cx, message))
    }

    /// What a session's process says outside of calls. Who asks again takes the place of the first.
    fn listen<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(async { Ok(self.hear(cx).await) })
    }

    fn close<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(async { Ok(self.end(cx)) })
    }
}

impl Drop for Inner {
    /// Nobody can ask any more: the server is configured no longer, or otherwise.
    fn drop(&mut self) {
        let sessions = lock(&self.sessions);
        let shared = self.shared.get_mut().iter();
        for process in sessions.by_id.values().map(|session| &session.process).chain(shared) {
            process.end(Why::Closed);
        }
    }
}

impl Inner {
    /// Puts off the next start of the shared process.
    fn failed(&self, lived: Duration) {
        let settings = &self.children.settings;
        let (first, most) = (settings.restart_first.get(), settings.restart_most.get());
        let mut chance = [0_u8; 1];
        // Without chance the wait is the longest, which is as good.
        let chance = SystemRandom::new().fill(&mut chance).map_or(0, |()| chance[0]);
        let wait = lock(&self.failures).failed(Instant::now(), lived, (first, most), chance);
        let wait = format!("{} ms", wait.as_millis());
        tracing::warn!(server = %self.server, %wait, "the server is started again after a wait");
    }
}

impl Failures {
    /// How long it is until the next start.
    fn wait(&self, now: Instant) -> Option<Duration> {
        self.next.map(|next| next.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// Counts a failure, and gives the wait it makes. `chance` takes away up to a half.
    fn failed(
        &mut self,
        now: Instant,
        lived: Duration,
        (first, most): (Duration, Duration),
        chance: u8,
    ) -> Duration {
        if lived > most {
            self.count = 0;
        }
        let doubled = first.saturating_mul(1 << self.count.min(20)).min(most);
        self.count = self.count.saturating_add(1);
        let wait = doubled - doubled * u32::from(chance) / 512;
        self.next = Some(now + wait);
        wait
    }
}

impl Sessions {
    fn put(&mut self, id: &Str, session: Session) {
        if let Some(connection) = &session.connection {
            self.by_connection.insert(connection.clone(), id.clone());
        }
        self.by_id.insert(id.clone(), session);
    }

    fn forget(&mut self, id: &Str) {
        let Some(session) = self.by_id.remove(id) else { return };
        if let Some(connection) = session.connection
            && self.by_connection.get(&connection) == Some(id)
        {
            self.by_connection.remove(&connection);
        }
    }
}

/// Whether a message is of a revision in which requests stand alone.
fn is_for_all(cx: &Context, head: &Head) -> bool {
    if head.claim != Claim::None || head.method.as_deref() == Some("server/discover") {
        return true;
    }
    // A notification need not say it; then its header does. A bridge's session goes before.
    head.kind == Kind::Notification && cx.headers.session.is_none() && cx.is_modern(head)
}

/// A request to a process.
async fn ask(
    process: &Arc<Process>,
    cx: &Context,
    message: Outgoing,
) -> Result<Reply, UpstreamError> {
    let unfit = |what| {
        let denied = Denied::new(StatusCode::BAD_REQUEST, -32600, "invalid_request", what);
        Ok(refused(&denied, &message.head))
    };
    match Ticket::open(process, cx.sender(), &message) {
        Ok(ticket) => ticket.reply().await,
        Err(Unfit::Unreadable) => unfit("what names the call is there twice, or can't be read"),
        Err(Unfit::IdInUse) => unfit("a request with this id is under way"),
        Err(Unfit::Busy(error)) => Err(error),
    }
}

/// A client's notification to the shared process: a cancellation of its own call, or nothing that
/// the others have to do with.
async fn shared_notification(
    process: &Process,
    cx: &Context,
    message: &Outgoing,
) -> Result<Reply, UpstreamError> {
    let accepted = Reply::empty(StatusCode::ACCEPTED);
    if message.head.method.as_deref() != Some("notifications/cancelled") {
        process.send(&message.raw).await?;
        return Ok(accepted);
    }
    let Some(named) = Peek::of(&message.raw).and_then(|peek| peek.cancels) else {
        return Ok(accepted);
    };
    let id = canonical(&named.text);
    let key = lock(&process.calls).of_client(&cx.sender(), &id).cloned();
    // Another's call, or one that two clients of the same name have: it can't be told which.
    let raw = key.and_then(|key| replaced(&message.raw, &mut [(named.at, &*key)]));
    if let Some(raw) = raw {
        process.send(&raw).await?;
    }
    Ok(accepted)
}

fn gone() -> Denied {
    let what = "no such session: begin a new one with initialize";
    Denied::new(StatusCode::NOT_FOUND, NOT_FOUND, "no_session", what)
}

/// A refusal as a server would answer it.
fn refused(denied: &Denied, head: &Head) -> Reply {
    let id = head.id.as_deref().filter(|_| head.is_request());
    let answer: Bytes = denied.answer(id);
    Reply::one(denied.status, answer)
}

/// A new session's id: 256 bits of chance.
fn session_id() -> Result<Str, UpstreamError> {
    let mut bits = [0; 32];
    let detail = || "the system has no random numbers".to_owned();
    SystemRandom::new()
        .fill(&mut bits)
        .map_err(|_| UpstreamError::Unreachable { detail: detail() })?;
    Ok(hex(&bits).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_longest_and_begin_anew_after_a_good_run() {
        let mut failures = Failures::default();
        let (first, most) = (Duration::from_secs(1), Duration::from_secs(60));
        let now = Instant::now();
        let mut wait = |lived, chance| failures.failed(now, lived, (first, most), chance);
        let mut waits = Vec::new();
        for _ in 0..8 {
            waits.push(wait(Duration::ZERO, 0).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        let short = wait(Duration::ZERO, u8::MAX);
        assert!(short > most / 2 && short < most * 51 / 100, "{short:?}");
        assert_eq!(wait(most * 2, 0), first);
        assert_eq!(failures.wait(now), Some(first));
        assert_eq!(failures.wait(now + first), None);
    }

    #[test]
    fn session_ids_are_of_256_bits_and_differ() {
        let (one, other) = (session_id().unwrap(), session_id().unwrap());
        assert_eq!(one.len(), 64);
        assert_ne!(one, other);
    }
}
