//! A server whose transport is found out: Streamable HTTP, or HTTP+SSE where `initialize` is
//! refused as a server of 2024-11-05 refuses it (spec: transports, backwards compatibility).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use serde::Deserialize;

use super::channels::Channels;
use super::http::HttpUpstream;
use super::{Outgoing, Upstream, UpstreamError, legacy_sse};
use crate::config::{Limits, Timeouts};
use crate::envelope::{Body, Context, Reply};
use crate::snapshot::ServerSpec;
use crate::tls::TlsError;

/// Both transports to one server, and which of them it has.
#[derive(Debug)]
pub(super) struct AutoUpstream {
    spec: Arc<ServerSpec>,
    http: HttpUpstream,
    sse: Channels,
    is_old: AtomicBool,
}

impl AutoUpstream {
    /// Nothing is found out yet.
    ///
    /// # Errors
    /// When the certificate authorities can't be read.
    pub(super) fn new(
        spec: &Arc<ServerSpec>,
        limits: &Limits,
        timeouts: &Timeouts,
    ) -> Result<AutoUpstream, TlsError> {
        Ok(AutoUpstream {
            spec: Arc::clone(spec),
            http: HttpUpstream::new(Arc::clone(spec), limits, timeouts)?,
            sse: legacy_sse::open(spec, limits, timeouts)?,
            is_old: AtomicBool::new(false),
        })
    }

    async fn send(&self, cx: &Context, message: Outgoing) -> Result<Reply, UpstreamError> {
        let begins = message.head.method.as_deref() == Some("initialize");
        if !begins || cx.headers.session.is_some() {
            return self.of(cx).call(cx, message).await;
        }
        if self.is_old.load(Ordering::Relaxed) {
            match self.sse.call(cx, message.clone()).await {
                // No stream: it may have been replaced by a newer server.
                Err(UpstreamError::Protocol { .. }) => self.found(false),
                answered => return answered,
            }
        }
        let reply = self.http.call(cx, message.clone()).await?;
        if !refuses_as_old(&reply) {
            return Ok(reply);
        }
        match self.sse.try_begin(cx, message).await {
            // The refusal was meant.
            None => Ok(reply),
            Some(answered) => {
                self.found(true);
                answered
            }
        }
    }

    fn found(&self, is_old: bool) {
        self.is_old.store(is_old, Ordering::Relaxed);
        let transport = if is_old { "HTTP+SSE" } else { "Streamable HTTP" };
        tracing::info!(server = %self.spec.name, transport, "found out how a server is reached");
    }

    /// The transport of whatever begins no session: that of its session, where it has one. What has
    /// none is no business of a server of 2024-11-05.
    fn of(&self, cx: &Context) -> &dyn Upstream {
        let is_old = self.is_old.load(Ordering::Relaxed) && cx.headers.session.is_some();
        if is_old || self.sse.knows(cx) { &self.sse } else { &self.http }
    }
}

/// Whether the answer to `initialize` is what a server gives that has no such endpoint. A modern
/// server refuses it with an error of its own.
fn refuses_as_old(reply: &Reply) -> bool {
    let refused = reply.status.is_some_and(|status| matches!(status.as_u16(), 400 | 404 | 405));
    let modern = match &reply.body {
        Body::One(answer) => is_modern_error(answer),
        Body::Empty | Body::Stream(_) => false,
    };
    refused && !modern
}

fn is_modern_error(answer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        code: i64,
    }
    let answer = serde_json::from_slice::<Answer>(answer);
    answer.is_ok_and(|answer| matches!(answer.error.code, -32601 | -32022..=-32020))
}

impl Upstream for AutoUpstream {
    fn call<'a>(
        &'a self,
        cx: &'a Context,
        message: Outgoing,
    ) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(self.send(cx, message))
    }

    fn listen<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        self.of(cx).listen(cx)
    }

    fn close<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        self.of(cx).close(cx)
    }
}
