//! Servers to which one channel carries everything: which session has which. HTTP+SSE and WebSocket
//! differ only in how a channel is opened ([`Dial`]); what happens on one is in [`super::channel`].
//!
//! Towards the pipeline such a server looks like one of Streamable HTTP with sessions. Its answer
//! to `initialize` comes with the id of a session, which is the gateway's own and names the
//! channel; a session nobody knows is a 404. What has no session (a stateless revision) gets a
//! channel that no other call is on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use capture::Str;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::{HeaderValue, StatusCode};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::channel::{Bounds, Channel, Times};
use super::legacy_sse::{Poster, SseDialer};
use super::ws::WsDialer;
use super::{Outgoing, Upstream, UpstreamError};
use crate::config::{Limits, Timeouts};
use crate::envelope::{Context, Reply};
use crate::snapshot::hex;

/// How a channel is opened.
#[derive(Debug)]
pub(super) enum Dial {
    /// HTTP+SSE of 2024-11-05.
    Sse(Box<SseDialer>),
    /// WebSocket.
    WebSocket(WsDialer),
}

/// An open channel: what comes from the server, and where messages for it go.
pub(super) struct Link {
    /// Messages as they come; an error, or the end, is the end of the channel.
    pub incoming: BoxStream<'static, Result<Bytes, UpstreamError>>,
    /// The way to the server.
    pub outgoing: Outbound,
}

/// The way to a server.
pub(super) enum Outbound {
    /// Each message is posted.
    Posts(Box<Poster>),
    /// Each message is a frame, written by a task of the transport's.
    Frames(mpsc::Sender<Bytes>, Duration),
}

impl Outbound {
    /// Sends one message.
    pub(super) async fn send(&self, raw: Bytes) -> Result<(), UpstreamError> {
        use mpsc::error::SendTimeoutError::{Closed, Timeout};
        match self {
            Outbound::Posts(poster) => poster.post(raw).await,
            Outbound::Frames(frames, write) => {
                frames.send_timeout(raw, *write).await.map_err(|e| match e {
                    Timeout(_) => UpstreamError::Timeout { what: "writing to it" },
                    Closed(_) => UpstreamError::Closed { detail: "it takes no more".to_owned() },
                })
            }
        }
    }
}

impl Dial {
    async fn open(&self) -> Result<Link, UpstreamError> {
        match self {
            Dial::Sse(dialer) => dialer.open().await,
            Dial::WebSocket(dialer) => dialer.open().await,
        }
    }
}

/// The open channels to one server, bounded.
#[derive(Debug)]
pub(super) struct Channels {
    dial: Dial,
    table: Arc<Table>,
    limit: usize,
    bounds: Bounds,
    times: Times,
    patience: Duration,
    counter: AtomicU64,
}

/// The open channels, by the id of their session or another unique name.
#[derive(Debug, Default)]
struct Table(Mutex<HashMap<Str, Entry>>);

#[derive(Debug)]
struct Entry {
    channel: Arc<Channel>,
    /// Whose it is; on a channel with a session, its principal.
    owner: Owner,
}

#[derive(Debug, PartialEq, Eq)]
enum Owner {
    /// A session of this principal.
    Session(Option<Str>),
    /// What has no session, of this sender.
    Sender(Str),
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<Str, Entry>> {
        // The map is whole between statements: a panic elsewhere leaves it usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a channel in. Of a full table the one that was quiet for longest makes room.
    fn put(&self, key: Str, entry: Entry, limit: usize) -> Result<(), UpstreamError> {
        let mut open = self.lock();
        if open.len() >= limit {
            let quiet = open.iter().filter(|(_, entry)| entry.channel.is_quiet());
            let oldest = quiet.min_by_key(|(_, entry)| entry.channel.last_used());
            let oldest = oldest.map(|(key, _)| key.clone()).ok_or_else(full)?;
            if let Some(gone) = open.remove(&oldest) {
                gone.channel.shut();
            }
        }
        open.insert(key, entry);
        Ok(())
    }

    fn end(&self, key: &Str) {
        let gone = self.lock().remove(key);
        if let Some(gone) = gone {
            gone.channel.shut();
        }
    }
}

impl Channels {
    /// No channel is opened yet.
    pub(super) fn new(dial: Dial, limits: &Limits, timeouts: &Timeouts) -> Channels {
        Channels {
            dial,
            table: Arc::default(),
            limit: limits.channels,
            bounds: Bounds {
                calls: limits.channel_requests,
                batch: limits.batch,
                kept: limits.sse_event.bytes(),
                parse: crate::policy::inspect::parse_limits(limits),
            },
            times: Times {
                first_byte: timeouts.first_byte.get(),
                idle: timeouts.idle.get(),
                total: timeouts.total.get(),
                channel_idle: timeouts.channel_idle.get(),
            },
            patience: timeouts.connect.get(),
            counter: AtomicU64::new(0),
        }
    }

    /// Whether the message is of a session that has a channel here.
    pub(super) fn knows(&self, cx: &Context) -> bool {
        self.of_session(cx).is_some()
    }

    /// Begins a session where the server can be spoken to in this way; `None` where it can't. One of
    /// another kind may keep silent; it is not waited for.
    pub(super) async fn try_begin(
        &self,
        cx: &Context,
        message: Outgoing,
    ) -> Option<Result<Reply, UpstreamError>> {
        // The channel that tells is the session's: some servers end with their first.
        let link = timeout(self.patience, self.dial.open()).await.ok()?.ok()?;
        Some(self.begin(cx, message, link).await)
    }

    /// The channel of a session, which is its principal's only.
    fn of_session(&self, cx: &Context) -> Option<(Str, Arc<Channel>)> {
        let key = Str::from(cx.headers.session.as_ref()?.to_str().ok()?);
        let open = self.table.lock();
        let entry = open.get(&key)?;
        let mine = entry.owner == Owner::Session(cx.principal.clone());
        mine.then(|| (key, Arc::clone(&entry.channel)))
    }

    async fn send(&self, cx: &Context, message: Outgoing) -> Result<Reply, UpstreamError> {
        if cx.headers.session.is_some() {
            let Some((_, channel)) = self.of_session(cx) else {
                return Ok(Reply::empty(StatusCode::NOT_FOUND));
            };
            return channel.call(message, self.times).await;
        }
        if message.head.is_request() && message.head.method.as_deref() == Some("initialize") {
            return self.begin(cx, message, self.dial.open().await?).await;
        }
        let channel = self.without_session(cx).await?;
        channel.call(message, self.times).await
    }

    /// A new session, with a channel of its own.
    async fn begin(
        &self,
        cx: &Context,
        message: Outgoing,
        link: Link,
    ) -> Result<Reply, UpstreamError> {
        let id = unguessable()?;
        let session = HeaderValue::from_str(&id).map_err(|_| protocol("no session id"))?;
        let key = Str::from(id);
        let channel = self.put(key.clone(), Owner::Session(cx.principal.clone()), link)?;
        // Whoever leaves before the answer leaves no session behind.
        let unused = Unused { table: &self.table, key: Some(key) };
        let mut reply = channel.call(message, self.times).await?;
        unused.keep();
        reply.session = Some(session);
        Ok(reply)
    }

    /// A channel for what has no session: one of the same sender's without a call under way.
    async fn without_session(&self, cx: &Context) -> Result<Arc<Channel>, UpstreamError> {
        let owner = Owner::Sender(cx.sender());
        let free = |open: &HashMap<Str, Entry>| {
            let mine = open.values().filter(|entry| entry.owner == owner);
            let mut free = mine.filter(|entry| entry.channel.reserve());
            free.next().map(|entry| Arc::clone(&entry.channel))
        };
        if let Some(channel) = free(&self.table.lock()) {
            return Ok(channel);
        }
        // The blank keeps it apart from the id of any session.
        let key = format!("no session {}", self.counter.fetch_add(1, Ordering::Relaxed));
        self.put(key.into(), owner, self.dial.open().await?)
    }

    fn put(&self, key: Str, owner: Owner, link: Link) -> Result<Arc<Channel>, UpstreamError> {
        let channel = Channel::new(link.outgoing, self.bounds);
        self.table.put(key.clone(), Entry { channel: Arc::clone(&channel), owner }, self.limit)?;
        let table = Arc::clone(&self.table);
        let reading = Arc::clone(&channel).read(link.incoming, self.times.channel_idle);
        tokio::spawn(async move {
            reading.await;
            table.end(&key);
        });
        Ok(channel)
    }
}

/// A session that nobody has been told of.
struct Unused<'a> {
    table: &'a Table,
    key: Option<Str>,
}

impl Unused<'_> {
    fn keep(mut self) {
        self.key = None;
    }
}

impl Drop for Unused<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.table.end(key);
        }
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        for (_, entry) in self.table.lock().drain() {
            entry.channel.shut();
        }
    }
}

impl Upstream for Channels {
    fn call<'a>(
        &'a self,
        cx: &'a Context,
        message: Outgoing,
    ) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(self.send(cx, message))
    }

    fn listen<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        let reply = match (&cx.headers.session, self.of_session(cx)) {
            (_, Some((_, channel))) => channel.listen(),
            (Some(_), None) => Reply::empty(StatusCode::NOT_FOUND),
            (None, None) => Reply::empty(StatusCode::METHOD_NOT_ALLOWED),
        };
        Box::pin(async { Ok(reply) })
    }

    fn close<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        let status = match self.of_session(cx) {
            Some((key, _)) => {
                self.table.end(&key);
                StatusCode::OK
            }
            None => StatusCode::NOT_FOUND,
        };
        Box::pin(async move { Ok(Reply::empty(status)) })
    }
}

/// 256 random bits, in hexadecimal.
pub(crate) fn unguessable() -> Result<String, UpstreamError> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| protocol("the system gave no random bytes"))?;
    Ok(hex(&bytes))
}

fn full() -> UpstreamError {
    UpstreamError::Unreachable { detail: "too many sessions with it at once".to_owned() }
}

pub(super) fn protocol(detail: &str) -> UpstreamError {
    UpstreamError::Protocol { detail: detail.to_owned() }
}
