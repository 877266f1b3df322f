//! A client whose connection is its session: messages in, messages out, over HTTP+SSE or WebSocket.
//!
//! What Streamable HTTP says in headers is remembered here: the server's own session, the revision
//! agreed, what the client said of itself. A server that speaks Streamable HTTP is listened to, and
//! its broken streams are resumed, in the client's place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use capture::Str;
use futures::StreamExt;
use http::{HeaderValue, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::envelope::{Body, Context, McpHeaders, Reply, Transport};
use crate::linkage::Arrival;
use crate::peek::Peek;
use crate::pipeline::Pipeline;
use crate::policy::{Denied, LIMIT, UNREACHABLE};
use crate::session::Front;

/// Messages on their way to the client; beyond them, servers have to wait.
const QUEUE: usize = 16;
/// How often a stream that broke is come back for.
const RESUMES: u32 = 16;
/// Before coming back for the rest of a stream, where the server names no time.
const RETRY: Duration = Duration::from_secs(1);
/// The most that a server can have us wait.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// Telling the server that its client has gone.
const GOODBYE: Duration = Duration::from_secs(5);

/// One client's session, for as long as its connection is open.
pub(super) struct Conversation {
    pipeline: Arc<Pipeline>,
    server: Str,
    transport: Transport,
    connection: Str,
    session: Str,
    /// Whose it is.
    pub principal: Option<Str>,
    learned: Mutex<Learned>,
    out: mpsc::Sender<Bytes>,
    room: Arc<Semaphore>,
    places: u32,
    /// Held by what must be over before the next message is looked at.
    order: tokio::sync::Mutex<()>,
    listening: AtomicBool,
    /// Cancelled when the session is over, whoever ended it.
    pub over: CancellationToken,
}

/// What was said at the session's beginning.
#[derive(Default)]
struct Learned {
    server_session: Option<HeaderValue>,
    version: Option<Str>,
    said: Front,
    front: Option<Arc<Front>>,
}

/// A request's places, here and in the whole gateway.
#[derive(Debug)]
pub(super) struct Places {
    _here: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Conversation {
    /// A session that the context of its first request describes; and what is for its client.
    pub(super) fn new(
        pipeline: &Arc<Pipeline>,
        cx: &Context,
        transport: Transport,
    ) -> (Arc<Conversation>, mpsc::Receiver<Bytes>) {
        let (out, outbox) = mpsc::channel(QUEUE);
        let places = cx.snapshot.config.limits.channel_requests.min(1 << 16);
        // Its name in captures: no id of it is ever told to anybody.
        let session = pipeline.sessions.next_id();
        let conversation = Arc::new(Conversation {
            pipeline: Arc::clone(pipeline),
            server: Arc::clone(&cx.server.name),
            transport,
            connection: cx.conn_id.clone(),
            session,
            principal: cx.principal.clone(),
            learned: Mutex::default(),
            out,
            room: Arc::new(Semaphore::new(places)),
            places: u32::try_from(places).unwrap_or(u32::MAX),
            order: tokio::sync::Mutex::new(()),
            listening: AtomicBool::new(false),
            over: CancellationToken::new(),
        });
        (conversation, outbox)
    }

    /// Places for a request. What is none needs none: requests under way may wait for just that.
    ///
    /// # Errors
    /// 503 when there are none.
    pub(super) fn enter(&self, frame: &[u8]) -> Result<Option<Places>, Denied> {
        if !Self::is_request(frame) {
            return Ok(None);
        }
        let here = Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            let message = "too many requests at once on this connection";
            Denied::new(StatusCode::SERVICE_UNAVAILABLE, LIMIT, "over_capacity", message)
        })?;
        Ok(Some(Places { _here: here, _of_all: self.pipeline.places.request()? }))
    }

    /// Tells the client that its message has no place.
    pub(super) async fn turn_away(&self, frame: &[u8], denied: &Denied) {
        self.pipeline.metrics.denied(denied.reason);
        let peek = Peek::of(frame).filter(|peek| peek.method.is_some());
        if let Some(id) = peek.and_then(|peek| peek.id()) {
            let _ = self.out.send(denied.answer(Some(&id))).await;
        }
    }

    /// Whether somebody waits for an answer to this.
    fn is_request(frame: &[u8]) -> bool {
        // A batch may hold requests.
        let is_batch = frame.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[');
        is_batch || Peek::of(frame).is_some_and(|p| p.method.is_some() && p.id().is_some())
    }

    /// Takes one message through the pipeline, and gives the client all that comes of it. What is no
    /// request is over before the next message is looked at.
    pub(super) async fn take(self: &Arc<Self>, frame: Bytes, places: Option<Places>) {
        // A request begins when it is its turn, and leaves the turn to the next at once: what it
        // waits for may be the next.
        let arrived = Instant::now();
        let turn = Some(self.order.lock().await).filter(|_| places.is_none());
        let Some(cx) = self.context(None, Some(arrived.elapsed())) else {
            self.over.cancel();
            return;
        };
        let _inflight = self.pipeline.metrics.inflight();
        let peek = Peek::of(&frame);
        let id = peek.as_ref().and_then(Peek::id);
        let method = peek.as_ref().and_then(|peek| peek.method.clone()).unwrap_or_default();
        let begins = method == "initialize" && id.is_some();
        let is_begun = method == "notifications/initialized";
        let asked = id.filter(|_| !method.is_empty());
        if begins {
            self.begin(peek.as_ref());
        }
        drop((peek, method));
        let reply = Arc::clone(&self.pipeline).handle(Arc::clone(&cx), frame).await;
        if begins {
            self.learned().server_session.clone_from(&reply.session);
        }
        self.give(&cx, reply, asked, begins).await;
        drop(turn);
        if is_begun && !self.listening.swap(true, Ordering::Relaxed) {
            let this = Arc::clone(self);
            tokio::spawn(async move {
                tokio::select! {
                    () = this.over.cancelled() => {}
                    over = this.listen() => if over { this.over.cancel() },
                }
            });
        }
    }

    /// Resolves when nothing is under way.
    pub(super) async fn idle(&self) {
        let _ = self.room.acquire_many(self.places).await;
    }

    /// Lets the server know, and forgets the session.
    pub(super) async fn end(&self) {
        self.over.cancel();
        let begun = self.learned().front.is_some();
        if let (Some(cx), true) = (self.context(None, None), begun) {
            let _ = timeout(GOODBYE, Arc::clone(&self.pipeline).close(cx)).await;
        }
        self.pipeline.sessions.abandon(&self.session);
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        // Whole between statements: a panic elsewhere leaves it usable.
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The context of a message, under the configuration of this moment. None once the server is no
    /// longer in it.
    fn context(
        &self,
        last_event_id: Option<&Str>,
        queued: Option<Duration>,
    ) -> Option<Arc<Context>> {
        let snapshot = self.pipeline.snapshot();
        let server = Arc::clone(snapshot.endpoint(&self.server)?);
        let learned = self.learned();
        let header = |text: &Str| HeaderValue::from_str(text).ok();
        let headers = McpHeaders {
            session: learned.server_session.clone(),
            version: learned.version.as_ref().and_then(header),
            last_event_id: last_event_id.and_then(header),
            ..McpHeaders::default()
        };
        Some(Arc::new(Context {
            snapshot,
            server,
            transport: self.transport,
            http_method: None,
            headers,
            conn_id: self.connection.clone(),
            session: Some(self.session.clone()),
            principal: self.principal.clone(),
            negotiated: OnceLock::new(),
            front: learned.front.clone().map_or_else(OnceLock::new, OnceLock::from),
            owned: false,
            arrival: Arrival { queued, ..Arrival::default() },
            rows: crate::audit::Rows::default(),
        }))
    }

    /// Notes what an `initialize` says of the client.
    fn begin(&self, peek: Option<&Peek<'_>>) {
        let params = peek.and_then(Peek::params);
        let text = |raw: Option<&serde_json::value::RawValue>| {
            Str::from(raw.map_or("{}", serde_json::value::RawValue::get))
        };
        let mut learned = self.learned();
        *learned = Learned::default();
        learned.said.capabilities = text(params.as_ref().and_then(|p| p.capabilities));
        learned.said.client = text(params.as_ref().and_then(|p| p.client));
    }

    /// Notes what the answer to it agreed on.
    fn agree(&self, version: &Str) {
        let mut learned = self.learned();
        let mut front = std::mem::take(&mut learned.said);
        front.revision = Some(version.clone());
        let session = learned.server_session.as_ref().and_then(|s| s.to_str().ok());
        if let Some(session) = session {
            front.upstream.insert(self.server.clone(), session.into());
        }
        learned.version = Some(version.clone());
        learned.front = Some(Arc::new(front));
    }

    /// Gives the client what came of its message, and comes back for the rest where a stream can be
    /// resumed: this client could not.
    async fn give(&self, cx: &Arc<Context>, reply: Reply, asked: Option<Str>, begins: bool) {
        let mut body = reply.body;
        for _ in 0..RESUMES {
            let (mut answered, mut last, mut retry) = (false, None, RETRY);
            let frames = match body {
                Body::Empty => return,
                Body::One(frame) => {
                    self.say(cx, frame, begins).await;
                    return;
                }
                Body::Stream(frames) => frames,
            };
            let mut events = frames;
            while let Some(Ok(event)) = events.next().await {
                last = event.id.or(last);
                retry = event.retry.map_or(retry, Duration::from_millis);
                if let Some(frame) = event.data {
                    answered |= asked.is_some() && answers(&frame, asked.as_ref());
                    self.say(cx, frame, begins).await;
                }
            }
            let (Some(last), Some(_), false) = (last, &asked, answered) else { return };
            sleep(retry.min(LONGEST_RETRY)).await;
            let Some(again) = self.context(Some(&last), None) else { break };
            body = Arc::clone(&self.pipeline).listen(again).await.body;
            if !matches!(body, Body::Stream(_)) {
                break;
            }
        }
        let Some(id) = asked else { return };
        let sessions = &self.pipeline.sessions;
        let Some(open) = sessions.close(&self.session, inspect::Direction::ToClient, &id) else {
            return;
        };
        let message = "the stream ended without the answer, and could not be resumed";
        let status = StatusCode::BAD_GATEWAY;
        let denied = Denied::new(status, UNREACHABLE, "upstream_unreachable", message);
        if let Body::One(answer) = self.pipeline.fail(cx, Some(&open), &denied).body {
            let _ = self.out.send(answer).await;
        }
    }

    async fn say(&self, cx: &Context, frame: Bytes, begins: bool) {
        if begins && let Some(version) = cx.negotiated.get() {
            self.agree(version);
        }
        let _ = self.out.send(frame).await;
    }

    /// Relays what the server says unasked, for as long as it does. Whether the session is over.
    async fn listen(&self) -> bool {
        let (mut last, mut failures) = (None, 0);
        while failures < RESUMES {
            let Some(cx) = self.context(last.as_ref(), None) else { return true };
            let reply = Arc::clone(&self.pipeline).listen(cx).await;
            let mut events = match (reply.body, reply.status) {
                (Body::Stream(events), _) => events,
                (_, Some(StatusCode::NOT_FOUND)) => return true,
                (_, Some(status)) if !status.is_server_error() => return false,
                _ => {
                    failures += 1;
                    sleep(RETRY * failures).await;
                    continue;
                }
            };
            let mut retry = RETRY;
            failures += 1;
            while let Some(Ok(event)) = events.next().await {
                last = event.id.or(last);
                retry = event.retry.map_or(retry, Duration::from_millis);
                if let Some(frame) = event.data {
                    failures = 0;
                    if self.out.send(frame).await.is_err() {
                        return true;
                    }
                }
            }
            sleep(retry.min(LONGEST_RETRY)).await;
        }
        false
    }
}

/// Whether a message is the answer to the request of this id.
fn answers(frame: &[u8], asked: Option<&Str>) -> bool {
    Peek::of(frame).is_some_and(|peek| peek.method.is_none() && peek.id().as_ref() == asked)
}
