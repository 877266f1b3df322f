//! Clients before a server of the revisions with sessions (2024-11-05 to 2025-11-25), where the
//! session is the gateway's own: clients of 2026-07-28, which have none, and clients whose session
//! spans several servers (`Context::owned`).
//!
//! The central type: [`ToLegacy`]. Towards the pipeline it speaks the client's revision, towards
//! the server the server's. What a server asks in the middle of a call becomes a result that asks,
//! and the call is parked until the client comes back.

mod call;
mod leg;
mod listen;
mod owned;
mod request;
mod result;
mod running;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::StatusCode;
use inspect::message::Kind;
use tokio::time::Instant;

pub(crate) use self::call::Call;
use self::leg::Leg;
use self::request::Terms;
use super::parked::{self, NotParked, Whose};
use super::session_pool::{NoSession, Owner, Pool};
use super::splice::Object;
use super::upstream_session::{InUse, head};
use crate::envelope::{Context, Reply};
use crate::policy::Denied;
use crate::session::peers;
use crate::snapshot::{ServerSpec, Snapshot, hex};
use crate::upstream::{Outgoing, Upstream, UpstreamError};

/// The bridge to one server with sessions.
#[derive(Clone)]
pub(crate) struct ToLegacy {
    core: Arc<Core>,
}

struct Core {
    spec: Arc<ServerSpec>,
    pool: Arc<Pool>,
    /// The calls that wait for clients, of all servers.
    lot: Arc<Lot>,
    questions: owned::Questions,
    running: running::Running,
}

/// The calls of all servers that wait in this replica for their clients.
pub(crate) type Lot = parked::Lot<Call>;

/// A lot for the calls of all servers.
pub(crate) fn lot(snapshot: &Snapshot) -> Arc<Lot> {
    let sealer = Arc::clone(&snapshot.sealer);
    // Without a name in the configuration, one that no other has.
    let named = snapshot.config.sessions.replica.as_deref().map(Into::into);
    parked::Lot::new(named.unwrap_or_else(|| hex(&sealer.fresh()).into()), sealer)
}

impl ToLegacy {
    /// A bridge to `spec`, which `inner` reaches. The lot is one for all servers.
    pub(crate) fn new(inner: Arc<dyn Upstream>, spec: Arc<ServerSpec>, lot: Arc<Lot>) -> ToLegacy {
        let pool = Pool::new(inner, lot.replica().clone());
        let (questions, running) = Default::default();
        ToLegacy { core: Arc::new(Core { spec, pool, lot, questions, running }) }
    }

    /// Brings a client's message to the server, and the answer back.
    pub(crate) async fn call(
        &self,
        cx: &Context,
        message: Outgoing,
    ) -> Result<Reply, UpstreamError> {
        if cx.owned && !cx.is_modern(&message.head) {
            return self.core.owned_call(cx, message).await;
        }
        match message.head.kind {
            Kind::Request => self.core.request(cx, message).await,
            Kind::Notification => {
                // No other notification of this revision's clients has a meaning for a server.
                if message.head.method.as_deref() == Some("notifications/cancelled") {
                    self.core.running.cancel(cx, &message.raw);
                }
                Ok(Reply::empty(StatusCode::ACCEPTED))
            }
            Kind::Response | Kind::Error => Ok(Reply::empty(StatusCode::ACCEPTED)),
        }
    }

    /// The stream of what the server says unasked, for a client whose session is the gateway's own.
    pub(crate) async fn listen(&self, cx: &Context) -> Result<Reply, UpstreamError> {
        self.core.owned_listen(cx).await
    }

    /// Ends such a client's session with the server.
    pub(crate) async fn close(&self, cx: &Context) -> Result<Reply, UpstreamError> {
        self.core.owned_close(cx).await
    }
}

/// What the older revisions have and this one does not: the gateway's business, or nobody's.
const REMOVED: [&str; 6] = [
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "roots/list",
];

impl Core {
    /// A request of a client without a session.
    async fn request(
        self: &Arc<Self>,
        cx: &Context,
        message: Outgoing,
    ) -> Result<Reply, UpstreamError> {
        let refused = |denied: &Denied| {
            Ok(Reply::one(denied.status, denied.answer(message.head.id.as_deref())))
        };
        let terms = match Terms::of(&message.raw, &message.head) {
            Ok(terms) => terms,
            Err(denied) => return refused(&denied),
        };
        if REMOVED.contains(&&*terms.method) || terms.method.starts_with("tasks/") {
            let denied = Denied::new(
                StatusCode::NOT_FOUND,
                -32601,
                "unknown_method",
                "no such method in this revision",
            );
            return refused(&denied);
        }
        let stops = self.running.begin(cx, &terms.id);
        let answering = async {
            if terms.state.is_some() {
                return self.go_on(cx, terms, &message).await;
            }
            match &*terms.method {
                "server/discover" => {
                    let session = self.session(cx, &terms).await?;
                    Ok(Reply::one(StatusCode::OK, result::discovered(&terms, &session.hello)))
                }
                "subscriptions/listen" => self.subscribe(cx, &terms, &message).await,
                _ => self.begin(cx, terms, &message).await,
            }
        };
        match stops.until_stopped(answering).await {
            Some(Ok(reply)) => Ok(reply),
            Some(Err(NoSession::Denied(denied))) => refused(&denied),
            Some(Err(NoSession::Failed(error))) => Err(error),
            None => Ok(Reply::empty(StatusCode::ACCEPTED)),
        }
    }

    async fn session(&self, cx: &Context, terms: &Terms) -> Result<InUse, NoSession> {
        let (principal, client) = (cx.principal.clone(), terms.client.clone());
        self.pool.get(cx, &Owner { principal, client, front: None }).await
    }

    /// Sends a request; once more in a new session when the server does not know the old one.
    async fn begin(
        self: &Arc<Self>,
        cx: &Context,
        terms: Terms,
        message: &Outgoing,
    ) -> Result<Reply, NoSession> {
        for is_last in [false, true] {
            let session = self.session(cx, &terms).await?;
            if let Some(level) = terms.level {
                session.log_at(level).await;
            }
            let mut call = Call::new(session);
            let Some(raw) = request::to_legacy(&message.raw, call.id) else {
                call.forget();
                return Err(Denied::invalid_params("the request can't be read").into());
            };
            let head = head(Kind::Request, Some(&terms.method), Some(&call.id.to_string()));
            let outgoing = Outgoing { open_ended: true, ..Outgoing::intact(raw, &head) };
            let limit = cx.snapshot.config.timeouts.total.get();
            let deadline = Instant::now() + limit;
            let reply = match call.session.send(outgoing).await {
                Ok(reply) => reply,
                Err(error) => {
                    if matches!(error, UpstreamError::Unreachable { .. }) {
                        call.forget();
                    }
                    return Err(error.into());
                }
            };
            if call.session.is_unknown(&reply) && !is_last {
                call.forget();
                self.pool.lost(&call.session);
                continue;
            }
            call.replied(reply)?;
            return Ok(self.leg(cx, terms, call, deadline).reply().await?);
        }
        let detail = "it opens no session that it knows afterwards".to_owned();
        Err(UpstreamError::Protocol { detail }.into())
    }

    /// Brings the answer to what the server asked, and goes on with the call that waits for it.
    async fn go_on(
        self: &Arc<Self>,
        cx: &Context,
        terms: Terms,
        message: &Outgoing,
    ) -> Result<Reply, NoSession> {
        let name = &self.spec.name;
        let whose =
            Whose { principal: cx.principal.as_ref(), server: name, request: &terms.digest };
        let answers = terms.answers.as_deref().unwrap_or("{}").as_bytes();
        let answers = Object::of(answers)
            .ok_or_else(|| Denied::invalid_params("inputResponses is no object"))?;
        let answer = |call: &Call| {
            let answer = answers.get(&leg::key(call.rounds))?.text;
            answer.starts_with('{').then_some(answer)
        };
        let state = terms.state.as_deref().unwrap_or_default();
        let taken = self.lot.take(whose, state, |call| answer(call).is_some());
        let mut call = match taken {
            Ok(call) => call,
            Err(NotParked::Elsewhere(replica)) => {
                return Ok(peers::forward(&replica, cx, message.raw.clone()).await?);
            }
            Err(other) => return Err(other.denied().into()),
        };
        let deadline = Instant::now() + cx.snapshot.config.timeouts.total.get();
        if let (Some(asked), Some(answer)) = (call.asked.take(), answer(&call)) {
            call.session.respond(&asked, answer).await?;
        }
        Ok(self.leg(cx, terms, call, deadline).reply().await?)
    }

    fn leg(self: &Arc<Self>, cx: &Context, terms: Terms, call: Call, deadline: Instant) -> Leg {
        Leg {
            core: Arc::clone(self),
            snapshot: Arc::clone(&cx.snapshot),
            principal: cx.principal.clone(),
            terms,
            call,
            deadline,
        }
    }

    async fn subscribe(
        &self,
        cx: &Context,
        terms: &Terms,
        message: &Outgoing,
    ) -> Result<Reply, NoSession> {
        let session = self.session(cx, terms).await?;
        match listen::listen(session, terms, &message.raw).await? {
            Some(reply) => Ok(reply),
            // The server does not know the session any more: in a new one.
            None => {
                let session = self.session(cx, terms).await?;
                let again = listen::listen(session, terms, &message.raw).await?;
                let detail = "it opens no session that it knows afterwards".to_owned();
                again.ok_or(NoSession::Failed(UpstreamError::Protocol { detail }))
            }
        }
    }
}
