//! Newline-delimited messages with a limit on their length (spec: transports, stdio).

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Reads lines; one that is too long is skipped to its end and told, and reading goes on.
#[derive(Debug)]
pub struct LineReader<R> {
    inner: BufReader<R>,
    line: BytesMut,
    limit: usize,
    skipping: bool,
}

/// A line, or the word that one was skipped.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its end, never empty.
    Whole(Bytes),
    /// A line of more bytes than the limit; its content is gone.
    TooLong,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// A reader of lines of at most `limit` bytes.
    pub fn new(inner: R, limit: usize) -> LineReader<R> {
        LineReader {
            inner: BufReader::with_capacity(64 << 10, inner),
            line: BytesMut::new(),
            limit,
            skipping: false,
        }
    }

    /// The next line; `None` at the end of input, where an unfinished line counts as a line.
    ///
    /// # Errors
    /// What reading says.
    pub async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let chunk = self.inner.fill_buf().await?;
            let end = memchr::memchr(b'\n', chunk);
            let taken = end.unwrap_or(chunk.len());
            let at_eof = chunk.is_empty();
            if !self.skipping {
                self.line.extend_from_slice(&chunk[..taken]);
            }
            self.inner.consume(taken + usize::from(end.is_some()));
            if self.line.len() > self.limit {
                self.line = BytesMut::new();
                self.skipping = true;
            }
            if end.is_none() && !at_eof {
                continue;
            }
            if std::mem::take(&mut self.skipping) {
                return Ok(Some(Line::TooLong));
            }
            let line = self.line.split().freeze();
            let line = line.slice(..line.trim_ascii_end().len());
            if !line.is_empty() {
                return Ok(Some(Line::Whole(line)));
            }
            if at_eof {
                return Ok(None);
            }
        }
    }
}

/// A message as one line: the line breaks that JSON allows between tokens become spaces.
pub fn as_line(raw: &Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', raw).is_none() {
        return raw.clone();
    }
    raw.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_too_long_is_skipped_and_the_next_one_read() {
        let input: &[u8] = b"one\r\n\n0123456789\ntwo";
        let mut lines = LineReader::new(input, 5);
        let whole = |text: &'static str| Some(Line::Whole(Bytes::from_static(text.as_bytes())));
        assert_eq!(lines.next().await.unwrap(), whole("one"));
        assert_eq!(lines.next().await.unwrap(), Some(Line::TooLong));
        assert_eq!(lines.next().await.unwrap(), whole("two"));
        assert_eq!(lines.next().await.unwrap(), None);
    }
}
