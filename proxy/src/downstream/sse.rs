//! Server-sent events towards a client: each event as it comes, and a comment when it is quiet.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{BoxStream, Stream, StreamExt, unfold};
use hyper::body::Frame;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::envelope::Event;
use crate::upstream::UpstreamError;

/// A comment: a sign of life that clients skip.
const ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// The bytes of one event.
pub fn encode(event: &Event) -> Bytes {
    if event.is_comment {
        return ALIVE;
    }
    let length = event.data.as_ref().map_or(0, Bytes::len);
    let mut out = BytesMut::with_capacity(length + 64);
    if let Some(name) = &event.name {
        field(&mut out, "event", name.as_bytes());
    }
    if let Some(id) = &event.id {
        field(&mut out, "id", id.as_bytes());
    }
    if let Some(retry) = event.retry {
        field(&mut out, "retry", retry.to_string().as_bytes());
    }
    match &event.data {
        // An event without data is no event to a client, unless the field is there and empty.
        None => field(&mut out, "data", b""),
        Some(data) => {
            for line in lines(data) {
                field(&mut out, "data", line);
            }
        }
    }
    out.put_u8(b'\n');
    out.freeze()
}

fn field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_u8(b'\n');
}

/// Data cut where a reader of the stream would end a line: LF, CR LF or CR.
fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let strip = |line| <[u8]>::strip_suffix(line, b"\r").unwrap_or(line);
    data.split(|b| *b == b'\n').map(strip).flat_map(|line| line.split(|b| *b == b'\r'))
}

/// The body of an event stream. An error ends it at once, so that the client sees it cut off; so
/// does `stop`, when the gateway drains.
pub fn body(
    events: BoxStream<'static, Result<Event, UpstreamError>>,
    keep_alive: Duration,
    stop: CancellationToken,
) -> impl Stream<Item = Result<Frame<Bytes>, Cut>> + Send {
    let mut quiet = interval(keep_alive);
    quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
    quiet.reset();
    unfold(Some((events, quiet, stop)), |state| async move {
        let (mut events, mut quiet, stop) = state?;
        tokio::select! {
            biased;
            event = events.next() => match event? {
                Ok(event) => {
                    quiet.reset();
                    Some((Ok(Frame::data(encode(&event))), Some((events, quiet, stop))))
                }
                Err(e) => Some((Err(Cut(e.to_string())), None)),
            },
            _ = quiet.tick() => Some((Ok(Frame::data(ALIVE)), Some((events, quiet, stop)))),
            () = stop.cancelled() => None,
        }
    })
}

/// A stream that ended before its time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cut(String);

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Cut {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::sse::Decoder;

    #[test]
    fn what_is_written_reads_back_whatever_line_breaks_the_message_has() {
        for data in ["{}", "{\n}", "{\r\n\"a\":1}", "{\r}"] {
            let event = Event {
                id: Some("7".into()),
                retry: Some(5),
                data: Some(data.into()),
                ..Event::default()
            };
            let mut decoder = Decoder::new(1000);
            decoder.push(&encode(&event));
            let read = decoder.next_event().unwrap().unwrap();
            assert_eq!(read.id.as_deref(), Some("7"));
            assert_eq!(read.retry, Some(5));
            let folded = data.replace("\r\n", "\n").replace('\r', "\n");
            assert_eq!(read.data.as_deref(), Some(folded.as_bytes()));
        }
    }

    #[test]
    fn a_priming_event_has_an_id_and_empty_data() {
        let event = Event { id: Some("1".into()), ..Event::default() };
        assert_eq!(&encode(&event)[..], b"id: 1\ndata: \n\n");
    }
}
