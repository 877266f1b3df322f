//! Every client with every server: an [`Upstream`] around a server's transport. Towards the
//! pipeline it speaks the client's era, towards the server the server's.
//!
//! Where both are the same nothing is touched. Only when a server does not speak the client's era
//! is a message translated, by `ToModern` or by `ToLegacy`.

use std::sync::Arc;

use futures::future::BoxFuture;
use inspect::message::Kind;

use super::detect::{Detect, refuses_legacy, refuses_modern};
use super::to_legacy::{Lot, ToLegacy};
use super::to_modern::ToModern;
use crate::config::Config;
use crate::envelope::{Body, Context, Head, Reply};
use crate::snapshot::ServerSpec;
use crate::telemetry::Metrics;
use crate::upstream::{Outgoing, Upstream, UpstreamError};

/// A server behind the bridge.
pub struct Bridge {
    name: Arc<str>,
    inner: Arc<dyn Upstream>,
    detect: Arc<Detect>,
    to_modern: Arc<ToModern>,
    to_legacy: ToLegacy,
}

impl std::fmt::Debug for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bridge").field("server", &self.name).finish_non_exhaustive()
    }
}

impl Bridge {
    /// A bridge around the way to a server.
    pub(crate) fn new(
        inner: Arc<dyn Upstream>,
        spec: &Arc<ServerSpec>,
        config: &Config,
        metrics: &Arc<Metrics>,
        lot: &Arc<Lot>,
    ) -> Bridge {
        let patience = config.bridge.probe.get();
        let detect =
            Detect::new(Arc::clone(spec), Arc::clone(&inner), Arc::clone(metrics), patience);
        let detect = Arc::new(detect);
        Bridge {
            name: Arc::clone(&spec.name),
            to_modern: Arc::new(ToModern::new(Arc::clone(&inner), spec, &detect, config)),
            to_legacy: ToLegacy::new(Arc::clone(&inner), Arc::clone(spec), Arc::clone(lot)),
            inner,
            detect,
        }
    }

    /// A message of a client without sessions.
    async fn of_modern(&self, cx: &Context, out: Outgoing) -> Result<Reply, UpstreamError> {
        if !self.detect.modern(cx).await? {
            let reply = self.to_legacy.call(cx, out).await;
            if reply.is_err() {
                // A server that is slow to start is taken for one that does not answer.
                self.detect.doubt();
            }
            return reply;
        }
        let reply = self.inner.call(cx, out.clone()).await?;
        if !refuses_modern(&reply) {
            return Ok(reply);
        }
        // Refused before anything was done: the server is not what it was.
        self.detect.doubt();
        match self.detect.modern(cx).await? {
            true => Ok(reply),
            false => self.to_legacy.call(cx, out).await,
        }
    }

    /// A message of a client with a session, or of one that begins it.
    async fn of_legacy(&self, cx: &Context, out: Outgoing) -> Result<Reply, UpstreamError> {
        if cx.owned {
            // The gateway answered the handshake: where there is none to be had, so much the better.
            return match self.detect.modern(cx).await? {
                true => Arc::clone(&self.to_modern).call(cx, out).await,
                false => self.to_legacy.call(cx, out).await,
            };
        }
        let begins = out.head.is("initialize");
        let bridged = self.detect.legacy() == Some(false);
        if bridged || (self.to_modern.has(cx) && !begins) {
            let reply = Arc::clone(&self.to_modern).call(cx, out.clone()).await;
            if !(begins && matches!(reply, Err(UpstreamError::Protocol { .. }))) {
                return reply;
            }
            // It does not say what every server without sessions says: it may have been replaced.
            self.to_modern.doubt();
        }
        let reply = self.inner.call(cx, out.clone()).await?;
        if refuses_legacy(&out.head, &reply) && self.detect.confirm(cx).await? {
            return Arc::clone(&self.to_modern).call(cx, out).await;
        }
        let answered = !matches!(reply.body, Body::Empty);
        if begins && answered && reply.status.is_none_or(|status| status.is_success()) {
            self.detect.shook_hands();
        }
        Ok(reply)
    }

    /// Whether a session's own stream and end are the bridge's business.
    async fn is_bridged(&self, cx: &Context) -> Result<bool, UpstreamError> {
        if self.to_modern.has(cx) || self.detect.legacy() == Some(false) {
            return Ok(true);
        }
        // A session that another replica began, of which the server itself knows nothing.
        let strange = self.detect.legacy().is_none()
            && cx.front.get().is_some_and(|front| !front.upstream.contains_key(&self.name));
        if cx.owned || strange { self.detect.modern(cx).await } else { Ok(false) }
    }
}

/// Whether a message is of a client without sessions.
fn is_modern(cx: &Context, head: &Head) -> bool {
    if cx.is_modern(head) {
        return true;
    }
    // On a channel without headers a notification has no mark: the handshake tells, if there was one.
    let is_legacy = cx.front.get().is_some() || cx.negotiated.get().is_some();
    head.kind == Kind::Notification
        && !cx.transport.has_headers()
        && !is_legacy
        && !head.is("notifications/initialized")
}

impl Upstream for Bridge {
    fn call<'a>(
        &'a self,
        cx: &'a Context,
        message: Outgoing,
    ) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        if is_modern(cx, &message.head) {
            Box::pin(self.of_modern(cx, message))
        } else {
            Box::pin(self.of_legacy(cx, message))
        }
    }

    fn listen<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(async {
            if cx.headers.version.as_ref().is_some_and(|v| super::is_modern(v.as_bytes())) {
                return self.inner.listen(cx).await;
            }
            match self.is_bridged(cx).await? {
                true => Arc::clone(&self.to_modern).listen(cx).await,
                false if cx.owned => self.to_legacy.listen(cx).await,
                false => self.inner.listen(cx).await,
            }
        })
    }

    fn close<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(async {
            match self.is_bridged(cx).await? {
                true => Ok(self.to_modern.close(cx)),
                false if cx.owned => self.to_legacy.close(cx).await,
                false => self.inner.close(cx).await,
            }
        })
    }
}
