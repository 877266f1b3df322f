//! A server that is a child process, one JSON-RPC message a line (spec: transports, stdio).
//!
//! One channel carries everything the server sends, so that its order is kept: a call is only
//! written here, and every answer comes by [`Upstream::listen`].

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::{Outgoing, Upstream, UpstreamError};
use crate::envelope::{Body, Context, Event, Reply};
use crate::lines::{Line, LineReader, as_line};

/// The pipes to a child.
#[derive(Debug)]
pub struct StdioUpstream {
    input: tokio::sync::Mutex<Option<ChildStdin>>,
    output: Mutex<Option<LineReader<ChildStdout>>>,
    line_limit: usize,
    write: Duration,
}

impl StdioUpstream {
    /// Takes the pipes. A line is at most `line_limit` bytes, and writing one at most `write`.
    pub fn new(
        input: ChildStdin,
        output: ChildStdout,
        line_limit: usize,
        write: Duration,
    ) -> StdioUpstream {
        StdioUpstream {
            input: tokio::sync::Mutex::new(Some(input)),
            output: Mutex::new(Some(LineReader::new(output, line_limit))),
            line_limit,
            write,
        }
    }

    /// Closes the child's input: the polite way to end it.
    pub async fn hang_up(&self) {
        self.input.lock().await.take();
    }

    async fn write(&self, message: Outgoing) -> Result<Reply, UpstreamError> {
        let closed = |detail: &str| UpstreamError::Closed { detail: detail.to_owned() };
        let mut input = self.input.lock().await;
        let pipe = input.as_mut().ok_or_else(|| closed("its input is closed"))?;
        let line = as_line(&message.raw);
        let written = timeout(self.write, async {
            pipe.write_all(&line).await?;
            pipe.write_all(b"\n").await?;
            pipe.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(Reply::empty(StatusCode::ACCEPTED)),
            Ok(Err(e)) => Err(closed(&e.to_string())),
            Err(_) => {
                // Part of a line may be written: nothing more can be said on this pipe.
                input.take();
                Err(UpstreamError::Timeout { what: "writing to its input" })
            }
        }
    }
}

impl Upstream for StdioUpstream {
    fn call<'a>(
        &'a self,
        _cx: &'a Context,
        message: Outgoing,
    ) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(self.write(message))
    }

    fn answers(&self) -> bool {
        false
    }

    /// Everything the child writes. It can be taken once.
    fn listen<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        let taken = self.output.lock().unwrap_or_else(PoisonError::into_inner).take();
        let limit = self.line_limit;
        Box::pin(async move {
            let lines = taken.ok_or_else(|| UpstreamError::Closed {
                detail: "its output is read by another".to_owned(),
            })?;
            let events = stream::unfold(Some(lines), move |lines| async move {
                let mut lines = lines?;
                match lines.next().await {
                    Ok(None) => None,
                    Ok(Some(Line::Whole(line))) => {
                        let event = Event { data: Some(line), ..Event::default() };
                        Some((Ok(event), Some(lines)))
                    }
                    Ok(Some(Line::TooLong)) => {
                        Some((Err(UpstreamError::TooLarge { what: "line", limit }), Some(lines)))
                    }
                    Err(e) => Some((Err(UpstreamError::Closed { detail: e.to_string() }), None)),
                }
            });
            let body = Body::Stream(events.boxed());
            Ok(Reply { status: None, session: None, body, open_ended: true, begins: false })
        })
    }
}
