//! One client's connection: whether anything happens on it, and bodies that must be taken in time.
//!
//! A TCP write time-out sees a client that stops reading over HTTP/1.1. Over HTTP/2 a client can
//! take nothing and keep its connection busy: there each body has a task of its own that waits.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use capture::Str;
use futures::future::BoxFuture;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::http::ResponseBody;
use super::sse::Cut;

/// What is known of a connection while it is open.
#[derive(Debug)]
pub struct Connection {
    /// Its name, for the record.
    pub name: Str,
    /// Cancelled when the client takes nothing: the connection is cut.
    pub stuck: CancellationToken,
    began: AtomicU64,
    ended: AtomicU64,
    /// What goes on once the connection is no longer HTTP's.
    rest: Mutex<Option<Rest>>,
}

/// What goes on on a connection that was upgraded.
struct Rest(BoxFuture<'static, ()>);

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rest")
    }
}

/// A request under way on a connection, until it is dropped.
#[derive(Debug)]
pub struct Busy(Arc<Connection>);

impl Connection {
    /// A connection on which nothing has happened.
    pub fn new(name: Str) -> Connection {
        let (began, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        let rest = Mutex::default();
        Connection { name, stuck: CancellationToken::new(), began, ended, rest }
    }

    /// Leaves what is to go on once the connection is no longer HTTP's.
    pub(super) fn go_on(&self, rest: BoxFuture<'static, ()>) {
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Rest(rest));
    }

    /// Goes on with that; at once over where there is nothing.
    pub async fn rest(&self) {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Rest(rest)) = rest {
            rest.await;
        }
    }

    /// Notes that a request is under way.
    pub fn busy(self: &Arc<Connection>) -> Busy {
        self.began.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Resolves when no request was under way for as long as `quiet`, up to twice that.
    pub async fn idle(&self, quiet: Duration) {
        let mut seen = 0;
        loop {
            tokio::time::sleep(quiet).await;
            if self.was_idle(&mut seen) {
                return;
            }
        }
    }

    /// Whether nothing was open, and nothing began, since the look that left `seen`.
    fn was_idle(&self, seen: &mut u64) -> bool {
        let ended = self.ended.load(Ordering::Acquire);
        let began = self.began.load(Ordering::Acquire);
        began == ended && std::mem::replace(seen, began) == began
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Release);
    }
}

/// What a body keeps until its last byte is taken: a place, a count, a mark of being busy.
#[derive(Debug)]
pub struct Held {
    /// The place the request or stream has.
    pub place: OwnedSemaphorePermit,
    /// The mark on its connection.
    pub busy: Busy,
    /// The count of open streams, for a stream.
    pub open: Option<crate::telemetry::Guard>,
}

/// A body with what it keeps.
struct HeldBody {
    body: ResponseBody,
    /// Behind a lock only so that the body can be shared between threads.
    _held: Mutex<Option<Held>>,
}

impl Body for HeldBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) {
            self._held.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body, keeping `held` for as long as it lives.
pub fn hold(body: ResponseBody, held: Held) -> ResponseBody {
    HeldBody { body, _held: Mutex::new(Some(held)) }.boxed_unsync()
}

/// The most given to HTTP/2 at once: the next piece is asked for only when this one is sent.
const PIECE: usize = 16 << 10;

/// The body by way of a task that gives up, and cuts the connection, when a piece is not taken
/// within `write`.
pub fn pump(
    mut body: ResponseBody,
    held: Held,
    write: Duration,
    stuck: CancellationToken,
) -> ResponseBody {
    let (give, taken) = mpsc::channel::<Result<Frame<Bytes>, Cut>>(1);
    tokio::spawn(async move {
        let _held = held;
        let taken_in_time = async {
            loop {
                let frame = tokio::select! {
                    () = give.closed() => return true,
                    frame = body.frame() => frame,
                };
                let Some(frame) = frame else { break };
                for piece in pieces(frame) {
                    match give.send_timeout(piece, write).await {
                        Ok(()) => {}
                        Err(mpsc::error::SendTimeoutError::Closed(_)) => return true,
                        Err(mpsc::error::SendTimeoutError::Timeout(_)) => return false,
                    }
                }
            }
            // There is room again once the last piece is taken.
            timeout(write, give.reserve()).await.is_ok()
        };
        if !taken_in_time.await {
            stuck.cancel();
        }
    });
    let frames = stream::unfold(taken, |mut taken| async {
        let frame = taken.recv().await?;
        Some((frame, taken))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn pieces(frame: Result<Frame<Bytes>, Cut>) -> Vec<Result<Frame<Bytes>, Cut>> {
    match frame.map(Frame::into_data) {
        Ok(Ok(mut data)) => {
            let mut pieces = Vec::with_capacity(data.len() / PIECE + 1);
            while data.len() > PIECE {
                pieces.push(Ok(Frame::data(data.split_to(PIECE))));
            }
            pieces.push(Ok(Frame::data(data)));
            pieces
        }
        Ok(Err(frame)) => vec![Ok(frame)],
        Err(cut) => vec![Err(cut)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_without_requests_is_idle_and_one_with_an_open_request_is_not() {
        let connection = Arc::new(Connection::new("c".into()));
        let mut seen = 0;
        assert!(connection.was_idle(&mut seen), "nothing was ever asked");
        let open = connection.busy();
        assert!(!connection.was_idle(&mut seen));
        assert!(!connection.was_idle(&mut seen), "it is still open");
        drop(open);
        drop(connection.busy());
        assert!(!connection.was_idle(&mut seen), "something was asked since the last look");
        assert!(connection.was_idle(&mut seen));
    }
}
