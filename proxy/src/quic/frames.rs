//! HTTP/3 frames told apart (RFC 9114, section 7), only as far as to bound what is held of each:
//! DATA goes through in pieces, every other frame whole and up to a limit.

use bytes::{Bytes, BytesMut};

/// The type of a DATA frame.
const DATA: u64 = 0x0;
/// The type of a control stream.
const CONTROL: u64 = 0x0;

/// A frame above the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// A stream's bytes, let through frame by frame.
#[derive(Debug)]
pub(super) struct Frames {
    held: BytesMut,
    /// Bytes of the DATA frame under way that are still to come.
    data: u64,
    limit: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A unidirectional stream whose type is still to come.
    Untold,
    /// A request or the control stream.
    Framed,
    /// Anything else, which the HTTP/3 library does not read or reads as it comes.
    Raw,
}

impl Frames {
    /// Of a request's stream.
    pub(super) fn of_request(limit: usize) -> Frames {
        Frames { held: BytesMut::new(), data: 0, limit, kind: Kind::Framed }
    }

    /// Of a stream that begins with its type.
    pub(super) fn of_unidirectional(limit: usize) -> Frames {
        Frames { kind: Kind::Untold, ..Frames::of_request(limit) }
    }

    /// Adds what came.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
    }

    /// What may go through now; none until more comes.
    pub(super) fn take(&mut self) -> Result<Option<Bytes>, TooLong> {
        if self.held.is_empty() {
            return Ok(None);
        }
        let ready = if self.data > 0 {
            let some = self.held.len().min(usize::try_from(self.data).unwrap_or(usize::MAX));
            self.data -= some as u64;
            Some(some)
        } else {
            match self.kind {
                Kind::Raw => Some(self.held.len()),
                Kind::Untold => varint(&self.held).map(|(kind, length)| {
                    self.kind = if kind == CONTROL { Kind::Framed } else { Kind::Raw };
                    length
                }),
                Kind::Framed => self.frame()?,
            }
        };
        Ok(ready.map(|length| self.held.split_to(length).freeze()))
    }

    /// What is left at the end of the stream, which may be part of a frame.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        (!self.held.is_empty()).then(|| self.held.split().freeze())
    }

    /// The length of the frame that begins here: of DATA its head, of others the whole of it.
    fn frame(&mut self) -> Result<Option<usize>, TooLong> {
        let Some((kind, first)) = varint(&self.held) else { return Ok(None) };
        let Some((length, second)) = varint(&self.held[first..]) else { return Ok(None) };
        let head = first + second;
        if kind == DATA {
            self.data = length;
            return Ok(Some(head));
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= self.limit);
        let whole = head + length.ok_or(TooLong)?;
        Ok((self.held.len() >= whole).then_some(whole))
    }
}

/// A number in QUIC's encoding of variable length (RFC 9000, section 16), and how long it is.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    let rest = bytes.get(1..length)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, b| (value << 8) | u64::from(*b));
    Some((value, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes through when the bytes come in pieces of `size`, and whether it ended too long.
    fn through(mut frames: Frames, bytes: &[u8], size: usize) -> (Vec<Bytes>, bool) {
        let mut all = Vec::new();
        for piece in bytes.chunks(size) {
            frames.push(piece);
            loop {
                match frames.take() {
                    Ok(Some(bytes)) => all.push(bytes),
                    Ok(None) => break,
                    Err(TooLong) => return (all, true),
                }
            }
        }
        all.extend(frames.rest());
        (all, false)
    }

    /// HEADERS of three bytes, DATA of five, an unknown frame (0x21) of two.
    const REQUEST: &[u8] = b"\x01\x03abc\x00\x40\x05hello\x21\x02xx";

    #[test]
    fn bytes_are_the_same_and_frames_whole_however_they_come() {
        for size in 1..=REQUEST.len() {
            let (all, too_long) = through(Frames::of_request(3), REQUEST, size);
            assert!(!too_long);
            assert_eq!(all.concat(), REQUEST, "in pieces of {size}");
            assert_eq!(all[0], &b"\x01\x03abc"[..], "in pieces of {size}");
            assert_eq!(all.last().unwrap(), &b"\x21\x02xx"[..], "in pieces of {size}");
        }
    }

    #[test]
    fn a_frame_above_the_limit_is_refused_by_its_head_and_data_is_not() {
        let (all, too_long) = through(Frames::of_request(2), REQUEST, 2);
        assert!(too_long && all.is_empty(), "{all:?}");
        // 2^62 - 1 bytes of an unknown type.
        let endless = [&[0x21], &[0xff; 8][..]].concat();
        assert!(through(Frames::of_request(1 << 20), &endless, 9).1);
        let data = [&[0x00, 0x80, 0x01, 0x00, 0x00][..], &[b'x'; 1000][..]].concat();
        let (all, too_long) = through(Frames::of_request(2), &data, 100);
        assert_eq!((all.concat(), too_long), (data, false));
    }

    #[test]
    fn of_unidirectional_streams_only_the_control_stream_has_frames() {
        let settings = [&[0x00, 0x04, 0x05][..], b"\x01\x40\x64\x07\x00"].concat();
        assert!(through(Frames::of_unidirectional(4), &settings, 1).1);
        let (all, too_long) = through(Frames::of_unidirectional(5), &settings, 1);
        assert_eq!((all.concat(), too_long), (settings, false));
        let encoder = [&[0x02][..], &[0xff; 30]].concat();
        assert_eq!(through(Frames::of_unidirectional(4), &encoder, 1).0.concat(), encoder);
    }
}
