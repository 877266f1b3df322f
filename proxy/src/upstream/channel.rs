//! One channel that carries everything: who waits for which id, and whose the rest is.
//!
//! An answer goes to the call that waits for its id. What a server says while calls are under way
//! (progress, a log line, a request of its own) goes to the call it names by its progress token,
//! else to the one that began last; what it says when there is none, to whoever listens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use capture::Str;
use futures::stream::{self, BoxStream, StreamExt};
use http::StatusCode;
use inspect::message::{ParseLimits, split_batch};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::channels::{Outbound, protocol};
use super::{Outgoing, UpstreamError};
use crate::envelope::{Body, Claim, Event, Reply};
use crate::peek::Peek;
use crate::policy::{Denied, LIMIT};

/// Messages on their way to one reader; beyond them, the server has to wait.
const QUEUE: usize = 16;
/// Messages kept for a listener that is still to come.
const UNCLAIMED: usize = 64;

/// How much of everything one channel may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Calls under way.
    pub calls: usize,
    /// Messages in a batch.
    pub batch: usize,
    /// Bytes kept for a listener that is still to come.
    pub kept: usize,
    /// What a message may be.
    pub parse: ParseLimits,
}

/// How long its waits may last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Until the first message of an answer.
    pub first_byte: Duration,
    /// Between two messages of an answer.
    pub idle: Duration,
    /// For the whole of an answer.
    pub total: Duration,
    /// Nothing said on the channel.
    pub channel_idle: Duration,
}

/// An open channel.
pub(super) struct Channel {
    outgoing: Outbound,
    bounds: Bounds,
    state: Mutex<State>,
    over: CancellationToken,
}

struct State {
    calls: Vec<Call>,
    next: u64,
    /// Whether a call is about to begin: nobody else may take the channel for itself.
    reserved: bool,
    listener: Option<mpsc::Sender<Item>>,
    unclaimed: VecDeque<Bytes>,
    kept: usize,
    last_used: Instant,
    ended: Option<UpstreamError>,
}

struct Call {
    number: u64,
    id: Str,
    token: Option<Str>,
    to: mpsc::Sender<Item>,
}

/// A message for a reader, or why there are no more.
type Item = Result<Piece, UpstreamError>;

struct Piece {
    frame: Bytes,
    /// Whether it is the answer, after which nothing follows.
    last: bool,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("calls", &self.lock().calls.len()).finish_non_exhaustive()
    }
}

impl Channel {
    /// A channel that somebody is about to use.
    pub(super) fn new(outgoing: Outbound, bounds: Bounds) -> Arc<Channel> {
        let state = State {
            calls: Vec::new(),
            next: 0,
            reserved: true,
            listener: None,
            unclaimed: VecDeque::new(),
            kept: 0,
            last_used: Instant::now(),
            ended: None,
        };
        Arc::new(Channel {
            outgoing,
            bounds,
            state: Mutex::new(state),
            over: CancellationToken::new(),
        })
    }

    /// Takes the channel for one call, unless another is under way.
    pub(super) fn reserve(&self) -> bool {
        let mut state = self.lock();
        let free = state.calls.is_empty() && !state.reserved && state.ended.is_none();
        state.reserved |= free;
        free
    }

    /// Whether nobody waits for anything here.
    pub(super) fn is_quiet(&self) -> bool {
        let state = self.lock();
        let listened = state.listener.as_ref().is_some_and(|listener| !listener.is_closed());
        state.calls.is_empty() && !state.reserved && !listened
    }

    /// When something was said last.
    pub(super) fn last_used(&self) -> Instant {
        self.lock().last_used
    }

    /// Ends it, and with it every wait on it.
    pub(super) fn shut(&self) {
        self.over.cancel();
    }

    /// Sends a message; for a request, waits for the beginning of its answer.
    pub(super) async fn call(
        self: &Arc<Self>,
        message: Outgoing,
        times: Times,
    ) -> Result<Reply, UpstreamError> {
        if !message.head.is_request() {
            self.touch()?;
            self.outgoing.send(message.raw).await?;
            return Ok(Reply::empty(StatusCode::ACCEPTED));
        }
        let mut waiting = self.wait_for(&message, times)?;
        self.outgoing.send(message.raw).await?;
        let first = waiting.take(times.first_byte).await?;
        if first.last {
            return Ok(Reply::one(StatusCode::OK, first.frame));
        }
        let rest = stream::unfold(waiting, Waiting::next);
        let body = Body::Stream(stream::iter([Ok(event(first.frame))]).chain(rest).boxed());
        Ok(Reply { body, ..Reply::empty(StatusCode::OK) })
    }

    /// What the server says outside of any call. Who listened before does so no longer.
    pub(super) fn listen(&self) -> Reply {
        let (listener, said) = mpsc::channel(QUEUE);
        let earlier = {
            let mut state = self.lock();
            if let Some(error) = &state.ended {
                let _ = listener.try_send(Err(error.clone()));
            }
            state.listener = Some(listener);
            state.kept = 0;
            std::mem::take(&mut state.unclaimed)
        };
        let said = stream::unfold(said, |mut said| async {
            let item: Item = said.recv().await?;
            Some((item.map(|piece| event(piece.frame)), said))
        });
        let body = stream::iter(earlier).map(|frame| Ok(event(frame))).chain(said).boxed();
        Reply { body: Body::Stream(body), open_ended: true, ..Reply::empty(StatusCode::OK) }
    }

    /// Hands over what comes until the channel ends, then tells everybody who waits.
    pub(super) async fn read(
        self: Arc<Self>,
        mut incoming: BoxStream<'static, Result<Bytes, UpstreamError>>,
        idle: Duration,
    ) {
        let closed = |detail: &str| UpstreamError::Closed { detail: detail.to_owned() };
        let reading = async {
            loop {
                let next = timeout_at(self.last_used() + idle, incoming.next()).await;
                match next {
                    Ok(Some(Ok(frame))) => self.sort(frame).await,
                    Ok(Some(Err(error))) => return error,
                    Ok(None) => return closed("it ended the session"),
                    Err(_) if self.last_used().elapsed() < idle => {}
                    Err(_) => return UpstreamError::Timeout { what: "a session without a word" },
                }
            }
        };
        let error = tokio::select! {
            error = reading => error,
            () = self.over.cancelled() => closed("the session is over"),
        };
        let mut state = self.lock();
        for call in state.calls.drain(..) {
            let _ = call.to.try_send(Err(error.clone()));
        }
        // Who ended the session need not be told that it broke.
        let listener = state.listener.take().filter(|_| !self.over.is_cancelled());
        if let Some(listener) = listener {
            let _ = listener.try_send(Err(error.clone()));
        }
        state.ended = Some(error);
    }

    async fn sort(&self, frame: Bytes) {
        match split_batch(&frame, &self.bounds.parse, self.bounds.batch) {
            Ok(Some(items)) => {
                for range in items {
                    self.hand_over(frame.slice(range)).await;
                }
            }
            // What can't be read is the pipeline's to judge.
            Ok(None) | Err(_) => self.hand_over(frame).await,
        }
    }

    async fn hand_over(&self, frame: Bytes) {
        let said = Said::of(&frame);
        // A reader that has gone leaves the message to the next.
        loop {
            let (to, last) = match self.lock().reader(&said) {
                Some(Reader::Call(call)) => (call.to, true),
                Some(Reader::Stream(to)) => (to, false),
                None => break,
            };
            let sent = to.send(Ok(Piece { frame: frame.clone(), last })).await;
            if sent.is_ok() || last {
                return;
            }
            self.lock().forget_closed();
        }
        if matches!(said, Said::Answer(_)) {
            tracing::debug!("an answer that nobody waits for");
            return;
        }
        if let Some(id) = self.keep(frame, said) {
            let message = "nobody takes requests here, and no more are kept";
            let denied = Denied::new(StatusCode::OK, LIMIT, "unclaimed", message);
            let _ = self.outgoing.send(denied.answer(Some(&id))).await;
        }
    }

    /// Keeps a message for a listener to come. The id of a request for which there is no room.
    fn keep(&self, frame: Bytes, said: Said) -> Option<Str> {
        let mut state = self.lock();
        if state.unclaimed.len() < UNCLAIMED && state.kept + frame.len() <= self.bounds.kept {
            state.kept += frame.len();
            state.unclaimed.push_back(frame);
            return None;
        }
        tracing::warn!("a message that nobody listened for was dropped");
        match said {
            Said::Request(id) => Some(id),
            _ => None,
        }
    }

    fn wait_for(
        self: &Arc<Self>,
        message: &Outgoing,
        times: Times,
    ) -> Result<Waiting, UpstreamError> {
        self.touch()?;
        let id = message.head.id.clone().unwrap_or_else(|| "null".into());
        let token = Peek::of(&message.raw).and_then(|peek| peek.params()?.meta?.token());
        let (to, from) = mpsc::channel(QUEUE);
        let mut state = self.lock();
        if state.calls.len() >= self.bounds.calls {
            return Err(protocol("too many calls at once in one session"));
        }
        if state.calls.iter().any(|call| call.id == id) {
            return Err(protocol("the id of this request is that of another under way"));
        }
        let number = state.next;
        state.next += 1;
        state.calls.push(Call { number, id: id.clone(), token, to });
        Ok(Waiting {
            channel: Arc::clone(self),
            number,
            from,
            deadline: (!message.open_ended).then(|| Instant::now() + times.total),
            idle: times.idle,
            over: false,
            // Stateless revisions take a call whose reader has gone for cancelled.
            cancels: matches!(message.head.claim, Claim::Complete(_)).then_some(id),
        })
    }

    /// Notes a sign of life.
    fn touch(&self) -> Result<(), UpstreamError> {
        let mut state = self.lock();
        state.last_used = Instant::now();
        state.reserved = false;
        state.ended.clone().map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole between statements: a panic elsewhere leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who gets a message.
enum Reader {
    /// The call that it answers.
    Call(Call),
    /// A call that goes on, or the listener.
    Stream(mpsc::Sender<Item>),
}

impl State {
    fn reader(&mut self, said: &Said) -> Option<Reader> {
        self.last_used = Instant::now();
        if let Said::Answer(id) = said {
            let found = match id {
                Some(id) => self.calls.iter().position(|call| call.id == *id),
                // Older servers answer some errors with a null id.
                None => (self.calls.len() == 1).then_some(0),
            };
            return found.map(|at| Reader::Call(self.calls.remove(at)));
        }
        let named = match said {
            Said::Progress(token) => {
                self.calls.iter().find(|call| call.token.as_ref() == Some(token))
            }
            _ => None,
        };
        let call = named.or(self.calls.last()).map(|call| &call.to);
        call.or(self.listener.as_ref()).cloned().map(Reader::Stream)
    }

    fn forget_closed(&mut self) {
        self.calls.retain(|call| !call.to.is_closed());
        self.listener.take_if(|listener| listener.is_closed());
    }
}

/// A call under way, and what it gets.
struct Waiting {
    channel: Arc<Channel>,
    number: u64,
    from: mpsc::Receiver<Item>,
    deadline: Option<Instant>,
    idle: Duration,
    over: bool,
    cancels: Option<Str>,
}

impl Waiting {
    async fn take(&mut self, within: Duration) -> Item {
        let within = Instant::now() + within;
        let until = self.deadline.map_or(within, |deadline| deadline.min(within));
        let item = match timeout_at(until, self.from.recv()).await {
            Err(_) => Err(UpstreamError::Timeout { what: "answer" }),
            Ok(None) => Err(UpstreamError::Closed { detail: "it ended the session".to_owned() }),
            Ok(Some(item)) => item,
        };
        self.over = item.as_ref().map_or(true, |piece| piece.last);
        item
    }

    async fn next(mut self) -> Option<(Result<Event, UpstreamError>, Waiting)> {
        if self.over {
            return None;
        }
        let item = self.take(self.idle).await;
        Some((item.map(|piece| event(piece.frame)), self))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.channel.lock().calls.retain(|call| call.number != self.number);
        let Some(id) = self.cancels.take().filter(|_| !self.over) else { return };
        let cancelled = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        );
        let channel = Arc::clone(&self.channel);
        tokio::spawn(async move { channel.outgoing.send(cancelled.into()).await });
    }
}

fn event(frame: Bytes) -> Event {
    Event { data: Some(frame), ..Event::default() }
}

/// What routing needs of a message from the server. What it says otherwise is the pipeline's.
enum Said {
    /// An answer to the request of this id; none where it is null.
    Answer(Option<Str>),
    /// How the call with this progress token goes.
    Progress(Str),
    /// A request of the server's own.
    Request(Str),
    /// Anything else.
    Other,
}

impl Said {
    fn of(frame: &[u8]) -> Said {
        let Some(peek) = Peek::of(frame) else { return Said::Other };
        match (peek.method.as_deref(), peek.id()) {
            (None, id) => Said::Answer(id),
            (Some("notifications/progress"), _) => {
                peek.params().and_then(|p| p.token()).map_or(Said::Other, Said::Progress)
            }
            (Some(_), Some(id)) => Said::Request(id),
            (Some(_), None) => Said::Other,
        }
    }
}

#[cfg(test)]
mod tests;
