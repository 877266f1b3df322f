//! Server-sent events, read incrementally (WHATWG HTML, section 9.2.6). Bytes in, events out;
//! nothing is held back once its blank line is there, and an event has a size limit.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use super::UpstreamError;
use crate::envelope::Event;

/// Turns chunks into events. Push a chunk, then take events until there is none.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// How far the buffer was searched for an end of line.
    searched: usize,
    limit: usize,
    /// Bytes of the event under way, over all its lines.
    size: usize,
    data: Option<BytesMut>,
    id: Option<Box<str>>,
    name: Option<Box<str>>,
    retry: Option<u64>,
    any_field: bool,
    at_start: bool,
}

impl Decoder {
    /// A decoder that refuses an event of more than `limit` bytes.
    pub fn new(limit: usize) -> Decoder {
        Decoder {
            buffer: BytesMut::new(),
            searched: 0,
            limit,
            size: 0,
            data: None,
            id: None,
            name: None,
            retry: None,
            any_field: false,
            at_start: true,
        }
    }

    /// Adds what the server sent.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole event; `None` until more comes.
    ///
    /// # Errors
    /// [`UpstreamError::TooLarge`] when an event exceeds the limit.
    pub fn next_event(&mut self) -> Result<Option<Event>, UpstreamError> {
        while let Some(line) = self.line() {
            self.size += line.len() + 1;
            self.check_size(0)?;
            if let Some(event) = self.take_line(&line) {
                return Ok(Some(event));
            }
        }
        self.check_size(self.buffer.len())?;
        Ok(None)
    }

    /// The stream is over: a CR at its very end, which waited for its LF, ends its line. An event
    /// without a blank line after it is no event (section 9.2.6).
    pub fn finish(&mut self) {
        if self.buffer.ends_with(b"\r") {
            self.buffer.extend_from_slice(b"\n");
        }
    }

    fn check_size(&self, pending: usize) -> Result<(), UpstreamError> {
        if self.size + pending > self.limit {
            return Err(UpstreamError::TooLarge { what: "event", limit: self.limit });
        }
        Ok(())
    }

    /// A line without its end: LF, CR or CR LF. A CR at the very end of the buffer waits, since
    /// its LF may be in the next chunk.
    fn line(&mut self) -> Option<Bytes> {
        if self.at_start && self.buffer.len() >= 3 {
            self.at_start = false;
            if self.buffer.starts_with(b"\xEF\xBB\xBF") {
                let _ = self.buffer.split_to(3);
                self.searched = 0;
            }
        }
        let Some(found) = memchr2(b'\n', b'\r', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + found;
        let crlf = match (self.buffer[end], self.buffer.get(end + 1)) {
            (b'\r', None) => {
                self.searched = end;
                return None;
            }
            (b'\r', Some(b'\n')) => true,
            _ => false,
        };
        let line = self.buffer.split_to(end).freeze();
        let _ = self.buffer.split_to(1 + usize::from(crlf));
        self.searched = 0;
        self.at_start = false;
        Some(line)
    }

    fn take_line(&mut self, line: &Bytes) -> Option<Event> {
        if line.is_empty() {
            return self.dispatch();
        }
        if line[0] == b':' {
            // A comment on its own is a sign of life.
            if !self.any_field {
                self.size = 0;
                return Some(Event { is_comment: true, ..Event::default() });
            }
            return None;
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let skip = 1 + usize::from(line.get(colon + 1) == Some(&b' '));
                (&line[..colon], line.slice((colon + skip)..))
            }
            None => (&line[..], Bytes::new()),
        };
        self.any_field = true;
        match field {
            b"data" => match &mut self.data {
                None => self.data = Some(BytesMut::from(&value[..])),
                Some(data) => {
                    data.extend_from_slice(b"\n");
                    data.extend_from_slice(&value);
                }
            },
            // Clients keep ids and send them back as a header: what no header holds is no id.
            b"id" if value.len() <= MAX_ID => self.id = text(&value).filter(|id| is_header(id)),
            b"event" => self.name = text(&value),
            b"retry" => self.retry = text(&value).and_then(|t| t.parse().ok()),
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        let had_field = std::mem::take(&mut self.any_field);
        self.size = 0;
        let event = Event {
            id: self.id.take().map(Into::into),
            retry: self.retry.take(),
            name: self.name.take().filter(|n| &**n != "message").map(Into::into),
            data: self.data.take().map(BytesMut::freeze).filter(|d| !d.is_empty()),
            is_comment: false,
        };
        had_field.then_some(event)
    }
}

/// The longest id of an event that is relayed, in bytes.
const MAX_ID: usize = 1024;

fn is_header(id: &str) -> bool {
    http::HeaderValue::from_str(id).is_ok()
}

fn text(value: &[u8]) -> Option<Box<str>> {
    std::str::from_utf8(value).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"\xEF\xBB\xBF: hi\n\nid: 1\ndata:\n\nevent: message\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nretry: 30\rdata:x\r\r";

    fn all(chunks: impl Iterator<Item = Vec<u8>>) -> Vec<Event> {
        let mut decoder = Decoder::new(1000);
        let mut events = Vec::new();
        for chunk in chunks {
            decoder.push(&chunk);
            while let Some(event) = decoder.next_event().unwrap() {
                events.push(event);
            }
        }
        decoder.finish();
        events.extend(decoder.next_event().unwrap());
        events
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let stream = STREAM.to_vec();
        let whole = all(std::iter::once(stream.clone()));
        assert_eq!(whole.len(), 4);
        assert!(whole[0].is_comment);
        assert_eq!((whole[1].id.as_deref(), whole[1].data.as_deref()), (Some("1"), None));
        assert_eq!(whole[2].data.as_deref(), Some(b"{\"a\":\n1}".as_slice()));
        assert_eq!((whole[3].retry, whole[3].data.as_deref()), (Some(30), Some(b"x".as_slice())));
        for size in 1..stream.len() {
            let cut = all(stream.chunks(size).map(<[u8]>::to_vec));
            let show = |events: &[Event]| format!("{events:?}");
            assert_eq!(show(&cut), show(&whole), "cut every {size} bytes");
        }
    }

    #[test]
    fn an_event_above_the_limit_is_refused_whether_in_one_line_or_many() {
        for line in ["data: 0123456789", "data: x\n"] {
            let mut decoder = Decoder::new(64);
            for _ in 0..20 {
                decoder.push(line.as_bytes());
            }
            assert!(
                matches!(decoder.next_event(), Err(UpstreamError::TooLarge { .. })),
                "{line:?}"
            );
        }
    }
}
