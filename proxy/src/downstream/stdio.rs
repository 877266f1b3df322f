//! A client on standard input and output, one JSON-RPC message a line (spec: transports, stdio).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::envelope::{Body, Context, Reply};
use crate::lines::{Line, LineReader, as_line};
use crate::pipeline::Pipeline;
use crate::policy::{Denied, LIMIT};

/// Where lines for the client go, one at a time.
#[derive(Debug)]
pub struct Output<W> {
    inner: Mutex<W>,
    write: Duration,
}

impl<W: AsyncWrite + Unpin> Output<W> {
    /// Writes to `inner`, and gives up on a line that is not taken within `write`.
    pub fn new(inner: W, write: Duration) -> Output<W> {
        Output { inner: Mutex::new(inner), write }
    }

    /// Writes one message as one line.
    ///
    /// # Errors
    /// When the client is gone, or takes nothing.
    pub async fn line(&self, message: &Bytes) -> std::io::Result<()> {
        let line = as_line(message);
        let written = timeout(self.write, async {
            let mut out = self.inner.lock().await;
            out.write_all(&line).await?;
            out.write_all(b"\n").await?;
            out.flush().await
        });
        written.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }

    /// Writes whatever a reply holds.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn reply(&self, reply: Reply) -> std::io::Result<()> {
        match reply.body {
            Body::Empty => Ok(()),
            Body::One(message) => self.line(&message).await,
            Body::Stream(mut events) => {
                while let Some(event) = events.next().await {
                    match event {
                        Ok(event) => {
                            if let Some(message) = &event.data {
                                self.line(message).await?;
                            }
                        }
                        Err(error) => {
                            tracing::warn!(%error, "the server's output ended");
                            break;
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

/// Reads the client's messages in order until its input ends.
///
/// # Errors
/// What reading or writing says.
pub async fn pump<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    pipeline: &Arc<Pipeline>,
    cx: &Arc<Context>,
    input: R,
    output: &Output<W>,
) -> std::io::Result<()> {
    let limit = cx.snapshot.config.limits.stdio_line.bytes();
    let mut lines = LineReader::new(input, limit);
    while let Some(line) = lines.next().await? {
        let reply = match line {
            // One after the other: the order of a client's messages is kept.
            Line::Whole(line) => Arc::clone(pipeline).handle(Arc::clone(cx), line).await,
            Line::TooLong => {
                let message = format!("the line has more than {limit} bytes");
                let denied =
                    Denied::new(StatusCode::PAYLOAD_TOO_LARGE, LIMIT, "too_large", message);
                pipeline.refuse_bytes(cx, &Bytes::new(), &denied)
            }
        };
        output.reply(reply).await?;
    }
    Ok(())
}
