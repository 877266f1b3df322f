//! What a server says unasked in a session of the gateway's own: one GET stream, open as long as
//! somebody listens, dealt out to all who do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use capture::Str;
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::broadcast;
use tokio::task::AbortHandle;

use super::splice::Object;
use super::upstream_session::{Session, messages};
use crate::envelope::{Body, Event};
use crate::telemetry::method_label;
use crate::upstream::UpstreamError;

/// The stream of a session, where it is open.
#[derive(Default)]
pub(super) struct Feed {
    /// Held while the stream is being opened.
    opening: tokio::sync::Mutex<u64>,
    open: Mutex<Option<Open>>,
}

struct Open {
    /// Tells one stream of the session from a later one.
    number: u64,
    sender: broadcast::Sender<Bytes>,
    pump: AbortHandle,
    listeners: usize,
}

/// Notifications that wait for a slow listener; beyond them it misses the oldest.
const WAITING: usize = 256;
/// The longest that a server may make the gateway wait before it connects again.
pub(super) const LONGEST_RETRY: Duration = Duration::from_secs(30);

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deals out a notification that came another way.
    pub(super) fn pass(&self, notification: &Bytes) {
        if let Some(open) = &*self.lock() {
            let _ = open.sender.send(notification.clone());
        }
    }
}

/// One who listens. The stream is closed with the last of them.
pub(super) struct Listener {
    session: Arc<Session>,
    number: u64,
    notifications: broadcast::Receiver<Bytes>,
}

impl Listener {
    /// Begins to listen; `None` when the server has no such stream. A session that the server does
    /// not know any more is marked as lost.
    pub(super) async fn of(session: &Arc<Session>) -> Result<Option<Listener>, UpstreamError> {
        let feed = &session.feed;
        let mut opened = feed.opening.lock().await;
        let session = Arc::clone(session);
        if let Some(open) = &mut *feed.lock() {
            open.listeners += 1;
            let (number, notifications) = (open.number, open.sender.subscribe());
            return Ok(Some(Listener { session: Arc::clone(&session), number, notifications }));
        }
        let reply = session.listen(None).await?;
        if session.is_unknown(&reply) {
            session.set_lost();
        }
        let Body::Stream(events) = reply.body else { return Ok(None) };
        *opened += 1;
        let number = *opened;
        let (sender, notifications) = broadcast::channel(WAITING);
        let weak = Arc::downgrade(&session);
        let pump = Pump { session: weak, number, sender: sender.clone(), after: None };
        // The lock is held before the pump can end and look for what it ends.
        let mut open = feed.lock();
        let pump = tokio::spawn(pump.run(events)).abort_handle();
        *open = Some(Open { number, sender, pump, listeners: 1 });
        drop(open);
        Ok(Some(Listener { session, number, notifications }))
    }

    /// The next notification; `None` when the server has ended the stream for good.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.notifications.recv().await {
                Ok(notification) => return Some(notification),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut open = self.session.feed.lock();
        // When the stream ended, a later one may be open: that one has its own listeners.
        if let Some(feed) = open.as_mut().filter(|open| open.number == self.number) {
            feed.listeners -= 1;
            if feed.listeners == 0 {
                feed.pump.abort();
                *open = None;
            }
        }
    }
}

/// What reads the stream, and opens it again when it ends.
struct Pump {
    session: Weak<Session>,
    number: u64,
    sender: broadcast::Sender<Bytes>,
    after: Option<Str>,
}

impl Pump {
    async fn run(mut self, first: BoxStream<'static, Result<Event, UpstreamError>>) {
        let mut events = Some(first);
        let mut fruitless = 0;
        while let Some(stream) = events {
            let (useful, retry) = self.read(stream).await;
            fruitless = if useful { 0 } else { fruitless + 1 };
            let Some(session) = self.session.upgrade() else { break };
            if fruitless > session.context().snapshot.config.legacy.resumes {
                break;
            }
            let wait = Duration::from_millis(retry.unwrap_or(1000)).min(LONGEST_RETRY);
            tokio::time::sleep(wait).await;
            events = match session.listen(self.after.as_deref()).await {
                Ok(reply) => match reply.body {
                    Body::Stream(events) => Some(events),
                    _ => None,
                },
                Err(error) => {
                    tracing::debug!(server = %session.context().server.name, %error, "no stream of what comes unasked");
                    None
                }
            };
        }
        if let Some(session) = self.session.upgrade() {
            // The listeners see the end when the last sender is gone: this one and the kept one.
            session.feed.lock().take_if(|open| open.number == self.number);
        }
    }

    /// Reads one connection to its end: whether anything came, and how long to wait then.
    async fn read(
        &mut self,
        mut events: BoxStream<'static, Result<Event, UpstreamError>>,
    ) -> (bool, Option<u64>) {
        let (mut useful, mut retry) = (false, None);
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                // Silence is what such a stream has most of the time.
                Err(error) => {
                    return (useful || matches!(error, UpstreamError::Timeout { .. }), retry);
                }
            };
            useful = true;
            retry = event.retry.or(retry);
            self.after = event.id.or(self.after.take());
            let Some(data) = event.data.filter(|_| event.name.is_none()) else { continue };
            for message in messages(&data) {
                self.take(message).await;
            }
        }
        (useful, retry)
    }

    async fn take(&self, raw: Bytes) {
        let Some(message) = Object::of(&raw) else { return };
        let Some(method) = message.string("method") else { return };
        let Some(id) = message.get("id") else {
            let _ = self.sender.send(raw);
            return;
        };
        let Some(session) = self.session.upgrade() else { return };
        if method == "ping" {
            let _ = session.respond(id.text, "{}").await;
            return;
        }
        // There is no call of a client's that it could belong to.
        tracing::warn!(server = %session.context().server.name, method = method_label(&method), "refused what a server asked outside any call");
        session.refuse(id.text, -32601, "no client can be asked outside a call").await;
    }
}
