//! A modern client before a server with the handshake. Its place is kept: such requests are refused
//! until the bridge in this direction is there.

use std::sync::Arc;

use http::StatusCode;

use crate::envelope::{Context, Reply};
use crate::policy::Denied;
use crate::snapshot::ServerSpec;
use crate::upstream::{Outgoing, Upstream, UpstreamError};

/// The bridge towards a server of one of the revisions before 2026-07-28.
pub(crate) struct ToLegacy;

impl ToLegacy {
    /// A bridge to the server behind `inner`.
    pub(crate) fn new(_inner: Arc<dyn Upstream>, _spec: Arc<ServerSpec>) -> ToLegacy {
        ToLegacy
    }

    /// Refuses what the server does not understand.
    pub(crate) async fn call(&self, _cx: &Context, out: Outgoing) -> Result<Reply, UpstreamError> {
        let denied = Denied::unsupported_version(super::FIRST_MODERN);
        if !out.head.is_request() {
            return Ok(Reply::empty(StatusCode::ACCEPTED));
        }
        Ok(Reply::one(denied.status, denied.answer(out.head.id.as_deref())))
    }

    /// There is no stream to open.
    pub(crate) async fn listen(&self, _cx: &Context) -> Result<Reply, UpstreamError> {
        Ok(Reply::empty(StatusCode::METHOD_NOT_ALLOWED))
    }

    /// There is no session to end.
    pub(crate) async fn close(&self, _cx: &Context) -> Result<Reply, UpstreamError> {
        Ok(Reply::empty(StatusCode::METHOD_NOT_ALLOWED))
    }
}
