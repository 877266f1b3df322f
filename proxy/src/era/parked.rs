//! Calls that wait for a client to come back with an answer. A client without a session gets the
//! server's question as a result; the call stays here, and what the client carries in between is
//! sealed: it names the call and this replica, for this client and this request only, once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use capture::Str;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;

use crate::config::Legacy;
use crate::policy::{Denied, ELSEWHERE, LIMIT};
use crate::session::seal::Sealer;

/// The calls of all servers that wait, bounded for each key's holder and together.
pub(crate) struct Lot<T> {
    replica: Str,
    sealer: Arc<Sealer>,
    state: Mutex<State<T>>,
}

struct State<T> {
    calls: HashMap<u64, Parked<T>>,
}

struct Parked<T> {
    call: T,
    principal: Option<Str>,
    /// Ends the wait; stopped when the client comes in time.
    timer: AbortHandle,
}

/// Whose call it is: who asks, and of which server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose<'a> {
    /// The key's holder.
    pub(crate) principal: Option<&'a Str>,
    /// The server.
    pub(crate) server: &'a str,
    /// A digest of the request: method, name, arguments.
    pub(crate) request: &'a str,
}

/// Why a call can't wait, or does not wait any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NotParked {
    /// The client's, or an attacker's: the state was not made here, was changed, or was made for
    /// somebody else.
    #[error("the requestState is not one that this client got here")]
    Foreign,
    /// The client's: it came back with another request.
    #[error("the requestState belongs to another request")]
    OtherRequest,
    /// The client's: it came too late.
    #[error("the call waited too long for this answer and was ended")]
    Expired,
    /// The client's: the state was used before. Or the call ended.
    #[error("the requestState was used before, or its call has ended")]
    Gone,
    /// The client's: what was asked is not among its answers.
    #[error("inputResponses lacks the answer to what was asked")]
    Unanswered,
    /// Nobody's: the call waits in another replica, whose name this is.
    #[error("the call waits in another replica of the gateway ({0})")]
    Elsewhere(Str),
    /// The client's: too many of its calls wait, or too many of all.
    #[error("too many calls wait for answers")]
    Full,
}

impl NotParked {
    /// What the client is told.
    pub(crate) fn denied(&self) -> Denied {
        let (status, code, reason) = match self {
            NotParked::Foreign => (StatusCode::OK, -32602, "state_foreign"),
            NotParked::OtherRequest => (StatusCode::OK, -32602, "state_other_request"),
            NotParked::Expired => (StatusCode::OK, -32602, "state_expired"),
            NotParked::Gone => (StatusCode::OK, -32602, "state_used"),
            NotParked::Unanswered => (StatusCode::OK, -32602, "state_unanswered"),
            NotParked::Elsewhere(_) => {
                (StatusCode::MISDIRECTED_REQUEST, ELSEWHERE, "parked_elsewhere")
            }
            NotParked::Full => (StatusCode::SERVICE_UNAVAILABLE, LIMIT, "parked_limit"),
        };
        Denied::new(status, code, reason, self.to_string())
    }
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Claims {
    /// The replica.
    r: Str,
    /// The call.
    c: u64,
    /// The end of its wait, in seconds since 1970.
    x: u64,
    /// The request's digest.
    d: Str,
}

impl<T: Send + 'static> Lot<T> {
    /// A lot of the replica of this name, which no other has.
    pub(crate) fn new(replica: Str, sealer: Arc<Sealer>) -> Arc<Lot<T>> {
        let state = Mutex::new(State { calls: HashMap::new() });
        Arc::new(Lot { replica, sealer, state })
    }

    /// The name of this replica.
    pub(crate) fn replica(&self) -> &Str {
        &self.replica
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call wait. Returns the state that opens it.
    ///
    /// # Errors
    /// [`NotParked::Full`]; the call is dropped.
    pub(crate) fn park(
        self: &Arc<Self>,
        limits: &Legacy,
        whose: Whose<'_>,
        call: T,
    ) -> Result<String, NotParked> {
        let mut state = self.lock();
        let own = state.calls.values().filter(|p| p.principal.as_ref() == whose.principal).count();
        if own >= limits.parked_per_principal || state.calls.len() >= limits.parked {
            return Err(NotParked::Full);
        }
        // Not counted: after a restart under the same name, an old state must not name a new call.
        let [a, b, c, d, e, f, g, h, ..] = self.sealer.fresh();
        let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let timer = tokio::spawn(expire(Arc::downgrade(self), number, limits.parked_for.get()));
        let principal = whose.principal.cloned();
        state.calls.insert(number, Parked { call, principal, timer: timer.abort_handle() });
        drop(state);
        let claims = Claims {
            r: self.replica.clone(),
            c: number,
            x: now().saturating_add(limits.parked_for.get().as_secs()),
            d: whose.request.into(),
        };
        // A struct of texts and numbers has no form that JSON lacks.
        let claims = serde_json::to_vec(&claims).unwrap_or_default();
        Ok(self.sealer.seal(&context(whose), &claims))
    }

    /// Takes the call out that this state names, if it waits here for this client and request, and
    /// `is_answered`. What is taken can't be taken again.
    ///
    /// # Errors
    /// It is not to be had, or not to be continued; where it waits, it goes on waiting.
    pub(crate) fn take(
        &self,
        whose: Whose<'_>,
        sealed: &str,
        is_answered: impl FnOnce(&T) -> bool,
    ) -> Result<T, NotParked> {
        let claims = self.sealer.open(&context(whose), sealed).ok_or(NotParked::Foreign)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| NotParked::Foreign)?;
        if &*claims.d != whose.request {
            return Err(NotParked::OtherRequest);
        }
        if now() > claims.x {
            return Err(NotParked::Expired);
        }
        if claims.r != self.replica {
            return Err(NotParked::Elsewhere(claims.r));
        }
        let mut state = self.lock();
        let parked = state.calls.get(&claims.c).ok_or(NotParked::Gone)?;
        if !is_answered(&parked.call) {
            return Err(NotParked::Unanswered);
        }
        let parked = state.calls.remove(&claims.c).ok_or(NotParked::Gone)?;
        parked.timer.abort();
        Ok(parked.call)
    }
}

async fn expire<T: Send + 'static>(lot: Weak<Lot<T>>, number: u64, after: Duration) {
    tokio::time::sleep(after).await;
    if let Some(lot) = lot.upgrade() {
        // Dropped outside the lock: its end is told to the server.
        let parked = lot.lock().calls.remove(&number);
        drop(parked);
    }
}

/// What a state is sealed with: it opens for the same client and server only.
fn context(whose: Whose<'_>) -> Vec<u8> {
    let principal = serde_json::json!(["requestState", whose.server, whose.principal]);
    principal.to_string().into_bytes()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lot(replica: &str, sealer: &Arc<Sealer>) -> Arc<Lot<&'static str>> {
        Lot::new(replica.into(), Arc::clone(sealer))
    }

    fn whose<'a>(principal: Option<&'a Str>, request: &'a str) -> Whose<'a> {
        Whose { principal, server: "files", request }
    }

    #[tokio::test]
    async fn a_call_is_continued_once_by_the_same_client_with_the_same_request() {
        let sealer = Arc::new(Sealer::new(&[]).unwrap());
        let lot = lot("a", &sealer);
        let (alice, bob) = (Str::from("alice"), Str::from("bob"));
        let limits = Legacy::default();
        let state = lot.park(&limits, whose(Some(&alice), "1"), "call").unwrap();
        let take = |whose, state: &str| lot.take(whose, state, |_| true);
        assert_eq!(take(whose(Some(&bob), "1"), &state), Err(NotParked::Foreign));
        assert_eq!(take(whose(None, "1"), &state), Err(NotParked::Foreign));
        let other = Whose { server: "mail", ..whose(Some(&alice), "1") };
        assert_eq!(take(other, &state), Err(NotParked::Foreign));
        assert_eq!(take(whose(Some(&alice), "2"), &state), Err(NotParked::OtherRequest));
        assert_eq!(take(whose(Some(&alice), "1"), &state[1..]), Err(NotParked::Foreign));
        let unanswered = lot.take(whose(Some(&alice), "1"), &state, |_| false);
        assert_eq!(unanswered, Err(NotParked::Unanswered));
        assert_eq!(take(whose(Some(&alice), "1"), &state), Ok("call"));
        assert_eq!(take(whose(Some(&alice), "1"), &state), Err(NotParked::Gone));
        assert!(lot.lock().calls.is_empty());
    }

    #[tokio::test]
    async fn another_replica_says_where_the_call_waits() {
        let sealer = Arc::new(Sealer::new(&[]).unwrap());
        let (here, there) = (lot("a", &sealer), lot("b", &sealer));
        let state = here.park(&Legacy::default(), whose(None, "1"), "call").unwrap();
        let elsewhere = there.take(whose(None, "1"), &state, |_| true);
        assert_eq!(elsewhere, Err(NotParked::Elsewhere("a".into())));
        assert_eq!(elsewhere.unwrap_err().denied().code, ELSEWHERE);
        assert_eq!(here.lock().calls.len(), 1);
    }

    #[tokio::test]
    async fn each_client_has_its_places_and_all_together_have_theirs() {
        let lot = lot("a", &Arc::new(Sealer::new(&[]).unwrap()));
        let limits = Legacy { parked: 3, parked_per_principal: 2, ..Legacy::default() };
        let (alice, bob) = (Str::from("alice"), Str::from("bob"));
        let park = |principal| lot.park(&limits, whose(principal, "1"), "call");
        assert!(park(Some(&alice)).is_ok() && park(Some(&alice)).is_ok());
        assert_eq!(park(Some(&alice)), Err(NotParked::Full));
        assert!(park(Some(&bob)).is_ok());
        assert_eq!(park(None), Err(NotParked::Full));
    }

    #[tokio::test]
    async fn a_call_waits_as_long_as_configured_and_is_dropped_then() {
        let lot = Lot::new("a".into(), Arc::new(Sealer::new(&[]).unwrap()));
        let limits = Legacy { parked_for: "10ms".parse().unwrap(), ..Legacy::default() };
        let (call, dropped) = tokio::sync::oneshot::channel::<()>();
        let state = lot.park(&limits, whose(None, "1"), call).unwrap();
        assert!(dropped.await.is_err());
        assert!(lot.lock().calls.is_empty());
        let late = lot.take(whose(None, "1"), &state, |_| true).unwrap_err();
        assert!(matches!(late, NotParked::Gone | NotParked::Expired), "{late}");
    }
}
