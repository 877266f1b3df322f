//! `audit: required`: nothing goes on before its rows are on the disk.
//!
//! Rows are handed over as ever; each leaves its ticket with the message's context. Before a request goes to its
//! server, and before an answer goes to its client, the tickets are waited for, within a deadline. What is not
//! recorded then does not pass: the request is refused, and in an answer's place goes an error.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use capture::{CaptureError, Ticket};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Audit;
use crate::envelope::{Body, Context, Event, Reply};
use crate::pipeline::Pipeline;
use crate::policy::Denied;
use crate::upstream::UpstreamError;

/// The tickets of a message's rows; `None` stands for a row that the recorder refused.
#[derive(Clone, Debug, Default)]
pub struct Rows(Arc<Mutex<Vec<Option<Ticket>>>>);

impl Rows {
    pub(super) fn push(&self, ticket: Option<Ticket>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ticket);
    }

    fn take(&self) -> Vec<Option<Ticket>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Audit {
    /// Whether the recorder would take a request's rows, where traffic without a record is refused.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn admits(&self) -> Result<(), Denied> {
        match &self.recorder {
            Some(recorder) if self.refuses && !recorder.takes_rows() => {
                Err(Denied::unrecorded("the recorder takes no rows now"))
            }
            _ => Ok(()),
        }
    }

    /// Waits until the rows of this message so far are on the disk, if that is required.
    ///
    /// # Errors
    /// The refusal, when one of them is not, or not within the deadline.
    pub(crate) async fn secured(&self, cx: &Context) -> Result<(), Denied> {
        let Some(within) = self.required else { return Ok(()) };
        let tickets = cx.rows.take();
        match tokio::time::timeout(within, all(tickets)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => {
                tracing::warn!(why, "a message was not recorded, and does not pass");
                Err(Denied::unrecorded("the message could not be recorded"))
            }
            Err(_) => Err(Denied::unrecorded("the message was not recorded in time")),
        }
    }
}

/// A reply whose messages go on once their rows are on the disk, if that is required.
pub(crate) async fn secure(pipeline: Arc<Pipeline>, cx: Arc<Context>, mut reply: Reply) -> Reply {
    if pipeline.audit.required.is_none() {
        return reply;
    }
    reply.body = match reply.body {
        Body::Stream(events) => {
            let state = Secured { pipeline, cx, events };
            Body::Stream(stream::unfold(Some(state), Secured::next).boxed())
        }
        whole => match pipeline.audit.secured(&cx).await {
            Ok(()) => whole,
            Err(denied) => {
                reply.status = Some(denied.status);
                let Body::One(message) = &whole else { return Reply::empty(denied.status) };
                Body::One(denied.answer(id_of(message).as_deref()))
            }
        },
    };
    reply
}

async fn all(tickets: Vec<Option<Ticket>>) -> Result<(), String> {
    for ticket in tickets {
        let settled = match ticket {
            Some(ticket) => ticket.durable().await,
            None => Err(CaptureError::NotDurable { detail: "the recorder refused it".into() }),
        };
        settled.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A stream under way.
struct Secured {
    pipeline: Arc<Pipeline>,
    cx: Arc<Context>,
    events: BoxStream<'static, Result<Event, UpstreamError>>,
}

impl Secured {
    async fn next(
        state: Option<Secured>,
    ) -> Option<(Result<Event, UpstreamError>, Option<Secured>)> {
        let mut state = state?;
        let event = state.events.next().await?;
        match state.pipeline.audit.secured(&state.cx).await {
            Ok(()) => Some((event, Some(state))),
            // nothing more passes: the one that waits is told, where it can be told
            Err(denied) => {
                let data = event.ok().and_then(|event| event.data);
                let id = data.and_then(|message| id_of(&message))?;
                let data = Some(denied.answer(Some(&id)));
                Some((Ok(Event { data, ..Event::default() }), None))
            }
        }
    }
}

/// The id of an answer, as JSON text; none of a batch, or of what is no answer.
fn id_of(message: &Bytes) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        method: Option<&'a RawValue>,
    }
    let answer: Answer<'_> = serde_json::from_slice(message).ok()?;
    answer.id.filter(|_| answer.method.is_none()).map(|id| id.get().to_owned())
}

/// How long rows may take, where they are required.
pub(super) fn deadline(settings: &crate::config::Capture) -> Option<Duration> {
    (settings.audit == crate::config::AuditMode::Required).then(|| settings.audit_timeout.get())
}
