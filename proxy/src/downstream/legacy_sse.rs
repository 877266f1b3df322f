//! HTTP+SSE of 2024-11-05 towards a client: GET `/sse` opens the stream of all that is for it, whose
//! first event names the endpoint that it posts to. The stream is the session.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use capture::Str;
use futures::stream::{self, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Version};
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Held, hold, pump};
use super::conversation::Conversation;
use super::http::{EVENTS, Front, NO_BUFFERING, RequestBody, ResponseBody, empty, read_body};
use super::sse;
use crate::envelope::{Context, Event, Transport};
use crate::policy::{Denied, FORBIDDEN, NOT_FOUND};
use crate::snapshot::Snapshot;
use crate::upstream::channels::unguessable;

/// Where a client posts to.
const ENDPOINT: &str = "/message";

/// The open streams, by the id that their endpoint has. There are no more than places for streams.
#[derive(Default)]
pub(super) struct Streams(Mutex<HashMap<Str, Arc<Conversation>>>);

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Streams").field(&self.lock().len()).finish()
    }
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, HashMap<Str, Arc<Conversation>>> {
        // Whole between statements: a panic elsewhere leaves it usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a path is of this transport: as the path of Streamable HTTP to the same server.
pub(super) fn as_mcp(path: &str) -> Option<Cow<'_, str>> {
    match path.trim_end_matches('/').strip_prefix("/sse")? {
        "" => Some("/mcp".into()),
        name => name.starts_with('/').then(|| format!("/mcp{name}").into()),
    }
}

/// Whether a path is the endpoint that streams name.
pub(super) fn is_endpoint(path: &str) -> bool {
    path == ENDPOINT
}

/// Opens a stream.
///
/// # Errors
/// 405 for what is no GET, 503 when there is no place.
pub(super) fn open(
    front: &Arc<Front>,
    connection: &Arc<Connection>,
    parts: &Parts,
    cx: &Context,
) -> Result<Response<ResponseBody>, Denied> {
    if parts.method != Method::GET {
        let message = "a stream is opened by GET; messages are posted to the endpoint it names";
        return Err(Denied::new(StatusCode::METHOD_NOT_ALLOWED, FORBIDDEN, "method", message));
    }
    let place = front.pipeline.places.stream()?;
    let id = unguessable().map_err(|error| Denied::of_upstream(&error))?;
    let id = Str::from(id);
    let (conversation, outbox) = Conversation::new(&front.pipeline, cx, Transport::Sse);
    front.streams.lock().insert(id.clone(), Arc::clone(&conversation));
    front.pipeline.audit.transport(cx, StatusCode::OK.as_u16(), None);
    let closing = Arc::clone(&conversation);
    tokio::spawn(async move {
        closing.over.cancelled().await;
        closing.end().await;
    });
    let endpoint = Event {
        name: Some("endpoint".into()),
        data: Some(format!("{ENDPOINT}?sessionId={id}").into()),
        ..Event::default()
    };
    let open = Open { front: Arc::clone(front), conversation, id, outbox };
    let messages = stream::unfold(open, Open::next);
    let events = stream::iter([Ok(endpoint)]).chain(messages).boxed();
    let timeouts = &cx.snapshot.config.timeouts;
    // It ends by itself, once the exchanges under way have.
    let frames = sse::body(events, timeouts.keep_alive.get(), CancellationToken::new());
    let body: ResponseBody = StreamBody::new(frames).boxed_unsync();
    let held = Held { place, busy: connection.busy(), open: Some(front.pipeline.metrics.stream()) };
    let body = if parts.version == Version::HTTP_2 {
        pump(body, held, timeouts.write.get(), connection.stuck.clone())
    } else {
        hold(body, held)
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENTS);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// An open stream. Dropped, its session is over.
struct Open {
    front: Arc<Front>,
    conversation: Arc<Conversation>,
    id: Str,
    outbox: mpsc::Receiver<Bytes>,
}

impl Open {
    async fn next(mut self) -> Option<(Result<Event, crate::upstream::UpstreamError>, Open)> {
        let drained = async {
            self.front.stop.cancelled().await;
            self.conversation.idle().await;
        };
        let frame = tokio::select! {
            biased;
            frame = self.outbox.recv() => frame?,
            () = self.conversation.over.cancelled() => return None,
            () = drained => return None,
        };
        let event = Event { name: Some("message".into()), data: Some(frame), ..Event::default() };
        Some((Ok(event), self))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.front.streams.lock().remove(&self.id);
        self.conversation.over.cancel();
    }
}

/// Takes a message that was posted; what comes of it goes to the stream.
///
/// # Errors
/// 404 for a session that is not there, or another's; 405, 413 and the like for no message.
pub(super) async fn posted<B: RequestBody>(
    front: &Front,
    snapshot: &Snapshot,
    parts: &Parts,
    body: B,
    cx: &Context,
) -> Result<Response<ResponseBody>, Denied> {
    if parts.method != Method::POST {
        let message = "messages are posted here";
        return Err(Denied::new(StatusCode::METHOD_NOT_ALLOWED, FORBIDDEN, "method", message));
    }
    let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes());
    let id = query.into_iter().find(|(name, _)| name == "sessionId").map(|(_, id)| id);
    let found = id.and_then(|id| front.streams.lock().get(&*id).cloned());
    // Another's session is as little there as none.
    let conversation = found.filter(|found| found.principal == cx.principal).ok_or_else(|| {
        Denied::new(StatusCode::NOT_FOUND, NOT_FOUND, "no_session", "no such session")
    })?;
    let frame = read_body(snapshot, parts, body).await?;
    let places = conversation.enter(&frame)?;
    if places.is_some() {
        tokio::spawn(async move {
            tokio::select! {
                () = conversation.take(frame, places) => {}
                () = conversation.over.cancelled() => {}
            }
        });
    } else {
        conversation.take(frame, places).await;
    }
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_paths_are_those_of_streamable_http() {
        assert_eq!(as_mcp("/sse").as_deref(), Some("/mcp"));
        assert_eq!(as_mcp("/sse/").as_deref(), Some("/mcp"));
        assert_eq!(as_mcp("/sse/files").as_deref(), Some("/mcp/files"));
        for other in ["/mcp", "/ssefiles", "/", "/x/sse"] {
            assert_eq!(as_mcp(other), None, "{other}");
        }
    }
}
