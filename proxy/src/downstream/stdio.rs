//! A client on standard input and output, one JSON-RPC message a line (spec: transports, stdio).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::conversation::Conversation;
use crate::envelope::{Body, Context, Reply, Transport};
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

/// A client whose input and output are its session with servers that answer each call by itself:
/// requests beside each other, the rest one by one, until its input ends.
///
/// # Errors
/// What reading or writing says.
pub async fn converse<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    pipeline: &Arc<Pipeline>,
    cx: &Context,
    input: R,
    output: &Output<W>,
) -> std::io::Result<()> {
    let limits = &cx.snapshot.config.limits;
    let (line_limit, most) = (limits.stdio_line.bytes(), 2 * limits.channel_requests);
    let (conversation, mut outbox) = Conversation::new(pipeline, cx, Transport::Stdio);
    let mut lines = LineReader::new(input, line_limit);
    let mut tasks: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    let mut is_open = true;
    let result = loop {
        if !is_open && tasks.is_empty() {
            break Ok(());
        }
        let line = tokio::select! {
            biased;
            Some(frame) = outbox.recv() => match output.line(&frame).await {
                Ok(()) => continue,
                Err(error) => break Err(error),
            },
            Some(()) = tasks.next(), if !tasks.is_empty() => continue,
            () = conversation.over.cancelled() => break Ok(()),
            line = lines.next(), if is_open && tasks.len() < most => line,
        };
        let conversation = Arc::clone(&conversation);
        tasks.push(match line {
            Err(error) => break Err(error),
            // What is under way may end: a script that pipes its requests in reads the answers.
            Ok(None) => {
                is_open = false;
                continue;
            }
            Ok(Some(Line::Whole(line))) => match conversation.enter(&line) {
                Ok(places) => Box::pin(async move { conversation.take(line, places).await }),
                Err(denied) => {
                    Box::pin(async move { conversation.turn_away(&line, &denied).await })
                }
            },
            Ok(Some(Line::TooLong)) => {
                let reply = pipeline.refuse_bytes(cx, &Bytes::new(), &too_long(line_limit));
                match output.reply(reply).await {
                    Ok(()) => continue,
                    Err(error) => break Err(error),
                }
            }
        });
    };
    while let Ok(frame) = outbox.try_recv() {
        if result.is_err() || output.line(&frame).await.is_err() {
            break;
        }
    }
    conversation.end().await;
    result
}

fn too_long(limit: usize) -> Denied {
    let message = format!("the line has more than {limit} bytes");
    Denied::new(StatusCode::PAYLOAD_TOO_LARGE, LIMIT, "too_large", message)
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
            Line::TooLong => pipeline.refuse_bytes(cx, &Bytes::new(), &too_long(limit)),
        };
        output.reply(reply).await?;
    }
    Ok(())
}
