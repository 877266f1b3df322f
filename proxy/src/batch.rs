//! Batches (2025-03-26): each message goes by itself, and the answers are put together again.

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt};
use http::StatusCode;

use crate::envelope::{Body, Event, Reply};

/// One reply for a batch: an array of the answers, or one stream of all when any came as a stream.
pub(crate) fn join_replies(replies: Vec<Reply>) -> Reply {
    let mut answers = Vec::new();
    let mut streams = Vec::new();
    let mut refused = None;
    for reply in replies {
        match reply.body {
            Body::Empty => {}
            Body::One(answer) => answers.push(answer),
            Body::Stream(stream) => streams.push(stream),
        }
        refused = refused.or(reply.status.filter(|s| !s.is_success()));
    }
    if !streams.is_empty() {
        let event = |answer| Ok(Event { data: Some(answer), ..Event::default() });
        let first = stream::iter(answers.into_iter().map(event)).boxed();
        let all = first.chain(stream::select_all(streams)).boxed();
        return Reply {
            status: Some(StatusCode::OK),
            session: None,
            body: Body::Stream(all),
            open_ended: false,
            begins: false,
        };
    }
    if answers.is_empty() {
        return Reply::empty(refused.unwrap_or(StatusCode::ACCEPTED));
    }
    Reply::one(StatusCode::OK, join(&answers))
}

/// A JSON array of messages.
pub(crate) fn join(items: &[Bytes]) -> Bytes {
    let mut joined = BytesMut::with_capacity(items.iter().map(|i| i.len() + 1).sum::<usize>() + 2);
    joined.extend_from_slice(b"[");
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            joined.extend_from_slice(b",");
        }
        joined.extend_from_slice(item);
    }
    joined.extend_from_slice(b"]");
    joined.freeze()
}
