//! What belongs to what: requests whose answers are still to come, and what a session's handshake
//! said. On revisions without sessions nothing is kept here: an answer comes with its call.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use capture::Str;
use inspect::Direction;
use sha2::{Digest, Sha256};

/// A request and what its answer will be judged and recorded with.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Unique per process run; request and answer share it in the capture.
    pub id: Str,
    /// The request's method.
    pub method: Str,
    /// The tool, prompt or resource it names.
    pub name: Option<Str>,
    /// The request's id as JSON text.
    pub rpc_id: Str,
    /// When the request was read.
    pub started: Instant,
    /// Where the request went.
    pub direction: Direction,
    /// The revision it was made under, where that is known.
    pub version: Option<Str>,
    /// Whether that revision is a stateless one.
    pub modern: bool,
}

/// Whose answer it is: the session, the way its request went, and the request's id.
type Key = (Str, bool, Str);

/// The open exchanges and handshakes of all sessions, bounded: the oldest make room.
#[derive(Debug)]
pub struct Sessions {
    state: Mutex<State>,
    limit: usize,
    counter: AtomicU64,
    run: Str,
}

#[derive(Debug, Default)]
struct State {
    exchanges: HashMap<Key, Arc<Exchange>>,
    order: VecDeque<Key>,
    handshakes: HashMap<Str, Handshake>,
    handshake_order: VecDeque<Str>,
}

/// What a session's `initialize` said of the client.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// `clientInfo.name`, unverified.
    pub client_name: Option<Str>,
    /// `clientInfo.version`, unverified.
    pub client_version: Option<Str>,
}

impl Sessions {
    /// A table for at most `limit` exchanges, and as many handshakes. `run` makes ids of one
    /// process run differ from another's.
    pub fn new(limit: usize, run: &str) -> Sessions {
        Sessions { state: Mutex::default(), limit, counter: AtomicU64::new(0), run: run.into() }
    }

    /// An id no other exchange of this run has.
    pub fn next_id(&self) -> Str {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("x{}-{n:x}", self.run).into()
    }

    /// Remembers a request of a session.
    pub fn open(&self, session: &Str, exchange: Arc<Exchange>) {
        let key =
            (session.clone(), exchange.direction == Direction::ToServer, exchange.rpc_id.clone());
        let mut state = self.lock();
        if state.exchanges.insert(key.clone(), exchange).is_none() {
            state.order.push_back(key);
        }
        while state.order.len() > self.limit {
            if let Some(oldest) = state.order.pop_front() {
                state.exchanges.remove(&oldest);
            }
        }
    }

    /// The request that an answer going in `direction` belongs to; it is closed by that.
    pub fn close(
        &self,
        session: &Str,
        direction: Direction,
        rpc_id: &str,
    ) -> Option<Arc<Exchange>> {
        let key = (session.clone(), direction == Direction::ToClient, Str::from(rpc_id));
        let mut state = self.lock();
        let found = state.exchanges.remove(&key)?;
        // Answers mostly come in the order of their requests, so that the search is short.
        if let Some(at) = state.order.iter().position(|k| *k == key) {
            state.order.remove(at);
        }
        Some(found)
    }

    /// Every request of a session that still waits for its server.
    pub fn abandon(&self, session: &Str) -> Vec<Arc<Exchange>> {
        let mut state = self.lock();
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.order).into_iter().partition(|key| key.0 == *session);
        state.order = kept.into();
        state.handshakes.remove(session);
        gone.iter().filter_map(|key| state.exchanges.remove(key)).collect()
    }

    /// Remembers what a session's handshake said.
    pub fn shake(&self, session: &Str, handshake: Handshake) {
        let mut state = self.lock();
        if state.handshakes.insert(session.clone(), handshake).is_none() {
            state.handshake_order.push_back(session.clone());
        }
        while state.handshake_order.len() > self.limit {
            if let Some(oldest) = state.handshake_order.pop_front() {
                state.handshakes.remove(&oldest);
            }
        }
    }

    /// What a session's handshake said.
    pub fn handshake(&self, session: &Str) -> Option<Handshake> {
        self.lock().handshakes.get(session).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The tables are whole between statements: a panic elsewhere leaves them usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's name in captures: 64 bits of a digest, since the id itself opens the session.
pub fn digest(session: &[u8]) -> Str {
    let hash = Sha256::digest(session);
    hash[..8].iter().map(|b| format!("{b:02x}")).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(sessions: &Sessions, id: &str, direction: Direction) -> Arc<Exchange> {
        Arc::new(Exchange {
            id: sessions.next_id(),
            method: "tools/call".into(),
            name: None,
            rpc_id: id.into(),
            started: Instant::now(),
            direction,
            version: None,
            modern: false,
        })
    }

    #[test]
    fn an_answer_finds_its_request_once_and_only_in_its_own_session_and_direction() {
        let sessions = Sessions::new(10, "t");
        let (a, b) = (Str::from("a"), Str::from("b"));
        let asked = exchange(&sessions, "1", Direction::ToServer);
        sessions.open(&a, Arc::clone(&asked));
        assert!(sessions.close(&b, Direction::ToClient, "1").is_none());
        assert!(sessions.close(&a, Direction::ToServer, "1").is_none());
        assert!(sessions.close(&a, Direction::ToClient, "\"1\"").is_none());
        assert_eq!(sessions.close(&a, Direction::ToClient, "1").unwrap().id, asked.id);
        assert!(sessions.close(&a, Direction::ToClient, "1").is_none());
    }

    #[test]
    fn the_oldest_exchange_makes_room() {
        let sessions = Sessions::new(2, "t");
        let session = Str::from("s");
        for id in ["1", "2", "3"] {
            sessions.open(&session, exchange(&sessions, id, Direction::ToServer));
        }
        assert!(sessions.close(&session, Direction::ToClient, "1").is_none());
        assert_eq!(sessions.abandon(&session).len(), 2);
        assert!(sessions.abandon(&session).is_empty());
    }
}
