//! Where messages go. One trait; one file per transport, and one `match` arm to reach it.

mod auto;
mod channel;
pub(crate) mod channels;
mod client;
pub mod http;
mod legacy_sse;
pub mod pool;
mod quic;
pub mod sse;
pub mod stdio;
pub mod ways;
pub(crate) mod ws;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_types::StatusCode;
use inspect::message::Kind;

use self::pool::Children;
use crate::config::{Limits, Timeouts};
use crate::envelope::{Context, Head, McpHeaders, Reply};
use crate::snapshot::{ServerSpec, Wire};
use crate::tls::TlsError;

// The module `http` of this folder is the transport; the crate is named apart.
use ::http as http_types;

/// A server, over whatever transport.
///
/// A reply holds bytes as they came; the pipeline reads and inspects them.
pub trait Upstream: Send + Sync {
    /// Sends one message. The reply to a request is its answer, or a stream that ends with it, or,
    /// on transports with one channel for all, [`crate::envelope::Body::Empty`]: the answer then
    /// comes by [`Upstream::listen`].
    fn call<'a>(
        &'a self,
        cx: &'a Context,
        message: Outgoing,
    ) -> BoxFuture<'a, Result<Reply, UpstreamError>>;

    /// Whether a call gives its answer itself. Where it does not, the answer comes by
    /// [`Upstream::listen`], and nobody can leave in between.
    fn answers(&self) -> bool {
        true
    }

    /// Opens the stream of what the server sends unasked (the GET stream of Streamable HTTP).
    fn listen<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(async { Ok(Reply::empty(StatusCode::METHOD_NOT_ALLOWED)) })
    }

    /// Ends the client's session.
    fn close<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(async { Ok(Reply::empty(StatusCode::METHOD_NOT_ALLOWED)) })
    }
}

/// A message on its way to a server.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The bytes to send.
    pub raw: Bytes,
    /// What it is, read from it before any redaction.
    pub head: Head,
    /// Whether the answer is a stream without an end, to which the total time does not apply.
    pub open_ended: bool,
    /// What a redaction replaced, unescaped: headers that mirror the body must follow it.
    pub replaced: Vec<(Box<str>, Box<str>)>,
    /// The MCP headers it goes with, where they are not the client's own: it was made for another
    /// revision than the client's.
    pub headers: Option<Box<McpHeaders>>,
}

impl Outgoing {
    /// An error of the gateway's own, in place of an answer.
    pub fn refusal(raw: Bytes) -> Outgoing {
        let (open_ended, replaced) = (false, Vec::new());
        Outgoing { raw, head: Head::error(), open_ended, replaced, headers: None }
    }

    /// A message that goes as it came.
    pub fn intact(raw: Bytes, head: &Head) -> Outgoing {
        let open_ended = head.method.as_deref() == Some("subscriptions/listen");
        Outgoing { raw, head: head.clone(), open_ended, replaced: Vec::new(), headers: None }
    }

    /// Whether it is a request or notification, with the headers that mirror such.
    pub fn has_method(&self) -> bool {
        matches!(self.head.kind, Kind::Request | Kind::Notification)
    }
}

/// Why a server gave no usable answer. Caused by the server or the way to it, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// No connection: nothing was sent.
    #[error("the server can't be reached: {detail}")]
    Unreachable {
        /// What the system said; no content.
        detail: String,
    },
    /// It took longer than the configured time.
    #[error("the server took too long ({what})")]
    Timeout {
        /// Which time ran out.
        what: &'static str,
    },
    /// The connection or process ended in the middle.
    #[error("the server ended the connection: {detail}")]
    Closed {
        /// What the system said; no content.
        detail: String,
    },
    /// An answer that is no MCP.
    #[error("the server's answer is not MCP: {detail}")]
    Protocol {
        /// What is wrong with it; no content.
        detail: String,
    },
    /// An answer, event or line above the limit.
    #[error("the server's {what} is larger than {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The configured limit in bytes.
        limit: usize,
    },
    /// What a message belongs to is remembered by another replica, which can't be asked. Caused by
    /// us, or the way between the two.
    #[error("the call waits at replica `{replica}`, which can't be reached from here")]
    Elsewhere {
        /// That replica's name.
        replica: String,
    },
    /// The gateway has no place for what the call needs; nothing was sent. Not the server's doing.
    #[error("no place for more {what}: there are {limit}")]
    Busy {
        /// What there is no place for.
        what: &'static str,
        /// The configured limit.
        limit: usize,
    },
}

/// A way to a server. No connection is made yet.
///
/// # Errors
/// When the certificates for it can't be used.
pub fn open(
    spec: &Arc<ServerSpec>,
    limits: &Limits,
    timeouts: &Timeouts,
    children: &Arc<Children>,
) -> Result<Arc<dyn Upstream>, TlsError> {
    Ok(match &spec.wire {
        Wire::Auto => Arc::new(auto::AutoUpstream::new(spec, limits, timeouts)?),
        Wire::Http => Arc::new(http::HttpUpstream::new(Arc::clone(spec), limits, timeouts)?),
        Wire::Http3 => Arc::new(http::HttpUpstream::over_quic(Arc::clone(spec), limits, timeouts)?),
        Wire::Sse => Arc::new(legacy_sse::open(spec, limits, timeouts)?),
        Wire::WebSocket => Arc::new(ws::open(spec, limits, timeouts)?),
        Wire::Stdio(command) => {
            Arc::new(pool::Pool::new(spec, command, children, limits, timeouts))
        }
    })
}

/// The server of a name nobody configured. Routing refuses such a name before it comes to this.
#[derive(Debug)]
pub(crate) struct Absent;

impl Upstream for Absent {
    fn call<'a>(
        &'a self,
        _cx: &'a Context,
        _message: Outgoing,
    ) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        let detail = "no such server".to_owned();
        Box::pin(async { Err(UpstreamError::Unreachable { detail }) })
    }
}
