//! One call under way at a server with sessions: what the server says in it, one message after the
//! other, over as many connections as the server likes. It outlives the client's requests: between
//! two of them it is parked.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use capture::Str;
use futures::stream::{self, BoxStream, StreamExt};
use http::StatusCode;
use tokio::time::{Instant, timeout_at};

use crate::envelope::{Body, Event, Reply};
use crate::era::feed::LONGEST_RETRY;
use crate::era::splice::Object;
use crate::era::upstream_session::{InUse, http_status, messages};
use crate::upstream::UpstreamError;

/// A call that has no answer yet. Dropped like that, it is cancelled at the server.
pub(crate) struct Call {
    pub(super) session: InUse,
    /// Its id at the server, and the token of its progress.
    pub(super) id: u64,
    /// The HTTP status that its first reply came with.
    pub(super) status: StatusCode,
    events: BoxStream<'static, Result<Event, UpstreamError>>,
    waiting: VecDeque<Bytes>,
    /// Where to go on when a stream ends without the answer.
    after: Option<Str>,
    retry: Option<u64>,
    fruitless: usize,
    /// How often the server asked.
    pub(super) rounds: usize,
    /// What it asked and has no answer to yet: the id, as JSON text.
    pub(super) asked: Option<String>,
    over: bool,
}

/// What a server says in a call.
pub(super) enum Said {
    /// The answer.
    Answer(Bytes),
    /// It asks something itself; the id is JSON text.
    Asks { id: String, method: String, raw: Bytes },
    /// It tells something.
    Tells { raw: Bytes },
}

impl Call {
    /// A call that is about to be sent.
    pub(super) fn new(session: InUse) -> Call {
        let id = session.next_id();
        Call {
            session,
            id,
            status: StatusCode::OK,
            events: stream::empty().boxed(),
            waiting: VecDeque::new(),
            after: None,
            retry: None,
            fruitless: 0,
            rounds: 0,
            asked: None,
            over: false,
        }
    }

    /// Takes what the server replied to the request.
    pub(super) fn replied(&mut self, reply: Reply) -> Result<(), UpstreamError> {
        self.status = reply.status.unwrap_or(StatusCode::OK);
        match reply.body {
            Body::One(frame) => self.waiting.extend(messages(&frame)),
            Body::Stream(events) => self.events = events,
            Body::Empty => {
                self.over = true;
                return Err(http_status(self.status));
            }
        }
        Ok(())
    }

    /// Nothing of it is at the server: there is nothing to cancel.
    pub(super) fn forget(&mut self) {
        self.over = true;
    }

    /// The next that the server says. What it tells to those who listen is passed on to them.
    pub(super) async fn next(&mut self, deadline: Instant) -> Result<Said, UpstreamError> {
        loop {
            while let Some(raw) = self.waiting.pop_front() {
                if let Some(said) = self.read(raw) {
                    return Ok(said);
                }
            }
            let next = timeout_at(deadline, self.events.next()).await;
            let event = match next.map_err(|_| UpstreamError::Timeout { what: "call" })? {
                Some(Ok(event)) => event,
                None => {
                    let detail = "the stream ended without the answer".to_owned();
                    self.reconnect(UpstreamError::Closed { detail }, deadline).await?;
                    continue;
                }
                Some(Err(error @ UpstreamError::Closed { .. })) => {
                    self.reconnect(error, deadline).await?;
                    continue;
                }
                Some(Err(error)) => return Err(error),
            };
            self.retry = event.retry.or(self.retry);
            self.after = event.id.or(self.after.take());
            if let Some(data) = event.data.filter(|_| event.name.is_none()) {
                self.fruitless = 0;
                self.waiting.extend(messages(&data));
            }
        }
    }

    /// Asks for the rest of a stream that ended, as servers that let their clients poll expect it.
    async fn reconnect(
        &mut self,
        ended: UpstreamError,
        deadline: Instant,
    ) -> Result<(), UpstreamError> {
        let limit = self.session.context().snapshot.config.legacy.resumes;
        let Some(after) = self.after.clone().filter(|_| self.fruitless < limit) else {
            return Err(ended);
        };
        self.fruitless += 1;
        let wait = self.retry.unwrap_or(if self.fruitless == 1 { 0 } else { 1000 });
        let wait = Duration::from_millis(wait).min(LONGEST_RETRY);
        let again = async {
            tokio::time::sleep(wait).await;
            self.session.listen(Some(&after)).await
        };
        let late = |_| UpstreamError::Timeout { what: "call" };
        let reply = timeout_at(deadline, again).await.map_err(late)??;
        match reply.body {
            Body::Stream(events) => self.events = events,
            _ => return Err(ended),
        }
        Ok(())
    }

    fn read(&mut self, raw: Bytes) -> Option<Said> {
        let message = Object::of(&raw)?;
        let id = message.get("id").map(|id| id.text.to_owned());
        match (message.string("method"), id) {
            (Some(method), Some(id)) => Some(Said::Asks { id, method, raw }),
            (Some(method), None) => {
                if super::result::is_for_listeners(&method) {
                    self.session.feed.pass(&raw);
                    return None;
                }
                Some(Said::Tells { raw })
            }
            // Older servers answer some errors with a null id.
            (None, id) => {
                let mine = id.as_deref() == Some(self.id.to_string().as_str());
                let unnamed = id.is_none_or(|id| id == "null") && message.get("error").is_some();
                (mine || unnamed).then(|| {
                    self.over = true;
                    Said::Answer(raw)
                })
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // The client has left, or did not come back: for servers with sessions that is told.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (session, id, asked) =
            (InUse::of(self.session.session().clone()), self.id, self.asked.take());
        runtime.spawn(async move {
            if let Some(asked) = asked {
                session.refuse(&asked, -32603, "the client did not answer").await;
            }
            let params = format!(r#"{{"requestId":{id},"reason":"the client has left"}}"#);
            if let Err(error) = session.notify("notifications/cancelled", &params).await {
                tracing::debug!(server = %session.context().server.name, %error, "a call could not be cancelled");
            }
        });
    }
}
