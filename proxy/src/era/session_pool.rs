//! Which sessions the gateway keeps with one server, and who shares them: whoever has the same key
//! (principal), says the same of itself and can do the same. Never a union of what several can do:
//! a server would ask one of them for what only another can.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use capture::Str;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http::StatusCode;
use tokio::time::Instant;

use super::upstream_session::{Client, InUse, Session};
use crate::envelope::Context;
use crate::policy::{Denied, LIMIT};
use crate::upstream::{Upstream, UpstreamError};

/// Who has a session.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) principal: Option<Str>,
    pub(super) client: Client,
    /// The client's own session, when it has one: then nobody shares it.
    pub(super) front: Option<Str>,
}

/// Why there is no session.
#[derive(Debug)]
pub(super) enum NoSession {
    Failed(UpstreamError),
    Denied(Denied),
}

impl From<Denied> for NoSession {
    fn from(denied: Denied) -> NoSession {
        NoSession::Denied(denied)
    }
}

impl From<UpstreamError> for NoSession {
    fn from(error: UpstreamError) -> NoSession {
        NoSession::Failed(error)
    }
}

type Opening = Shared<BoxFuture<'static, Result<Arc<Session>, UpstreamError>>>;

/// One session, or its handshake under way, which all wait for who came first.
struct Slot {
    number: u64,
    opening: Opening,
}

impl Slot {
    fn session(&self) -> Option<&Arc<Session>> {
        self.opening.peek()?.as_ref().ok()
    }

    fn is_usable(&self) -> bool {
        match self.opening.peek() {
            None => true,
            Some(Ok(session)) => !session.is_lost(),
            Some(Err(_)) => false,
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        self.session()?.idle_since()
    }
}

/// The sessions with one server.
pub(super) struct Pool {
    inner: Arc<dyn Upstream>,
    /// Names this pool's sessions apart from those of other pools and runs.
    run: Str,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: HashMap<Owner, Slot>,
    is_swept: bool,
}

impl Pool {
    pub(super) fn new(inner: Arc<dyn Upstream>, run: Str) -> Arc<Pool> {
        Arc::new(Pool { inner, run, next: AtomicU64::new(0), state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The owner's session, opened when there is none.
    pub(super) async fn get(
        self: &Arc<Self>,
        cx: &Context,
        owner: &Owner,
    ) -> Result<InUse, NoSession> {
        // A session may be closed as idle in the moment between its opening and its use: again then.
        for _ in 0..3 {
            let (number, opening) = self.slot(cx, owner).map_err(NoSession::Denied)?;
            let opened = opening.await;
            let mut state = self.lock();
            let slot = state.slots.get(owner).filter(|slot| slot.number == number);
            match (slot, opened) {
                (Some(_), Ok(session)) => return Ok(InUse::of(session)),
                (None, Ok(_)) => {}
                (slot, Err(error)) => {
                    if slot.is_some() {
                        state.slots.remove(owner);
                    }
                    return Err(NoSession::Failed(error));
                }
            }
        }
        let detail = "its session was closed".to_owned();
        Err(NoSession::Failed(UpstreamError::Closed { detail }))
    }

    /// The owner's place, a new one with a handshake under way where there is none.
    fn slot(self: &Arc<Self>, cx: &Context, owner: &Owner) -> Result<(u64, Opening), Denied> {
        let limits = &cx.snapshot.config.legacy;
        let mut state = self.lock();
        if let Some(slot) = state.slots.get(owner) {
            if slot.is_usable() {
                return Ok((slot.number, slot.opening.clone()));
            }
            state.slots.remove(owner);
        }
        let own = |other: &Owner| other.principal == owner.principal;
        self.make_room(&mut state, limits.sessions_per_principal, own)?;
        self.make_room(&mut state, limits.sessions, |_| true)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name: Str = format!("u{}-{number:x}", self.run).into();
        let (inner, client, like) =
            (Arc::clone(&self.inner), owner.client.clone(), Context::clone(cx));
        // In a task of its own: whoever asked first may leave, the others wait for it all the same.
        let task = tokio::spawn(async move { Session::open(inner, &client, &like, name).await });
        let broke = |_| Err(UpstreamError::Closed { detail: "the handshake broke".to_owned() });
        let opening = async move { task.await.unwrap_or_else(broke) }.boxed().shared();
        state.slots.insert(owner.clone(), Slot { number, opening: opening.clone() });
        if !std::mem::replace(&mut state.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), limits.idle.get()));
        }
        Ok((number, opening))
    }

    /// Closes the one of these that is idle for longest, when there are `limit` of them.
    fn make_room(
        &self,
        state: &mut State,
        limit: usize,
        these: impl Fn(&Owner) -> bool,
    ) -> Result<(), Denied> {
        if state.slots.keys().filter(|owner| these(owner)).count() < limit {
            return Ok(());
        }
        let mine = state.slots.iter().filter(|(owner, _)| these(owner));
        let idle = mine.filter_map(|(owner, slot)| Some((slot.idle_since()?, owner)));
        let oldest = idle.min_by_key(|(since, _)| *since).map(|(_, owner)| owner.clone());
        let slot = oldest.and_then(|owner| state.slots.remove(&owner));
        let Some(session) = slot.as_ref().and_then(Slot::session) else {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let message = "too many sessions with this server are in use";
            return Err(Denied::new(status, LIMIT, "over_capacity", message));
        };
        tokio::spawn(close(Arc::clone(session)));
        Ok(())
    }

    /// The server does not know this session any more: the next who asks gets a new one.
    pub(super) fn lost(&self, session: &Session) {
        session.set_lost();
        tracing::info!(server = %session.context().server.name, "the server forgot a session; it is opened again");
    }

    /// Takes an owner's session out, when it has one.
    pub(super) async fn take(&self, owner: &Owner) -> Option<Arc<Session>> {
        let slot = self.lock().slots.remove(owner)?;
        slot.opening.await.ok()
    }

    /// Closes what is idle for so long. Whether any are left.
    fn close_idle(&self, idle: Duration) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        let is_old = |slot: &Slot| {
            let failed = slot.opening.peek().is_some() && !slot.is_usable();
            failed || slot.idle_since().is_some_and(|since| now.duration_since(since) >= idle)
        };
        for (_, slot) in state.slots.extract_if(|_, slot| is_old(slot)) {
            if let Some(session) = slot.session().filter(|session| !session.is_lost()) {
                tokio::spawn(close(Arc::clone(session)));
            }
        }
        state.is_swept = !state.slots.is_empty();
        state.is_swept
    }
}

/// Looks for idle sessions from time to time, as long as there are sessions.
async fn sweep(pool: Weak<Pool>, idle: Duration) {
    let every = (idle / 4).clamp(Duration::from_millis(100), Duration::from_secs(30));
    loop {
        tokio::time::sleep(every).await;
        match pool.upgrade() {
            Some(pool) if pool.close_idle(idle) => {}
            _ => return,
        }
    }
}

async fn close(session: Arc<Session>) {
    if let Err(error) = session.close().await {
        tracing::debug!(server = %session.context().server.name, %error, "a session could not be closed");
    }
}
