//! What belongs to what: requests whose answers are still to come, and what a session's handshake
//! said. On revisions without sessions nothing is kept here: an answer comes with its call.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use capture::Str;
use inspect::{Carry, Direction};
use sha2::{Digest, Sha256};

use crate::envelope::Context;
use crate::linkage::Tie;
use crate::snapshot::hex;

pub mod fronts;
pub mod peers;
pub mod seal;

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
    /// The exchange during which a server asked this.
    pub parent: Option<Str>,
    /// What it belongs to beyond that.
    pub tie: Tie,
}

impl Exchange {
    /// The operation it is part of: its own where it is alone.
    pub fn operation(&self) -> &Str {
        self.tie.operation.as_ref().unwrap_or(&self.id)
    }
}

/// Whose answer it is: the session, and the request's id.
type Key = (Str, Str);

/// The open exchanges and handshakes of all sessions, bounded: the oldest make room. Requests of
/// servers have a table of their own, so that none of theirs can push out a client's.
#[derive(Debug)]
pub struct Sessions {
    state: Mutex<State>,
    limit: usize,
    counter: AtomicU64,
    run: Str,
}

#[derive(Debug, Default)]
struct State {
    of_clients: Table<Key, Arc<Exchange>>,
    of_servers: Table<Key, Arc<Exchange>>,
    handshakes: Table<Str, Handshake>,
    carries: Table<Str, Arc<Mutex<Carry>>>,
}

/// A bounded map that forgets its oldest entry first. An entry that is taken out leaves its place
/// in the order behind, to be skipped: taking out never searches.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    entries: HashMap<K, (u64, V)>,
    order: VecDeque<(u64, K)>,
    next: u64,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table { entries: HashMap::new(), order: VecDeque::new(), next: 0 }
    }
}

impl<K: Clone + Eq + Hash, V> Table<K, V> {
    /// Puts one in; beyond `limit` the oldest go.
    pub(crate) fn put(&mut self, key: K, value: V, limit: usize) {
        self.next += 1;
        self.entries.insert(key.clone(), (self.next, value));
        self.order.push_back((self.next, key));
        while self.entries.len() > limit {
            let Some((age, oldest)) = self.order.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|(at, _)| *at == age) {
                self.entries.remove(&oldest);
            }
        }
        // Once as many places are empty as may be full, they go: each is moved once for that.
        if self.order.len() > 2 * limit + 64 {
            let entries = &self.entries;
            self.order.retain(|(age, key)| entries.get(key).is_some_and(|(at, _)| at == age));
        }
    }

    /// Takes one out.
    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// Looks at one.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }
}

/// What a client said when its session began, and the sessions that servers gave for it. It may
/// come back in the id of the session (sealed), so that any replica can go on with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// The revision agreed, where the gateway knows it.
    pub revision: Option<Str>,
    /// `params.capabilities` of its `initialize`, as JSON text.
    pub capabilities: Str,
    /// `params.clientInfo` of its `initialize`, as JSON text.
    pub client: Str,
    /// The ids of the servers' own sessions, by server.
    pub upstream: BTreeMap<Str, Str>,
    /// The client's name, as records may hold it.
    pub shown: Handshake,
}

/// What a session's `initialize` said of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// `clientInfo.name`, unverified.
    pub client_name: Option<Str>,
    /// `clientInfo.version`, unverified.
    pub client_version: Option<Str>,
}

impl Sessions {
    /// Tables for at most `limit` exchanges each way, and as many handshakes.
    pub fn new(limit: usize) -> Sessions {
        // A new random state for each gateway: in a container every run has the same process id.
        let run = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        Sessions { state: Mutex::default(), limit, counter: AtomicU64::new(0), run: run.into() }
    }

    /// An id no other exchange of this run has.
    pub fn next_id(&self) -> Str {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("x{}-{n:x}", self.run).into()
    }

    /// Names this run of the gateway: no other has the same.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Remembers a request of a session.
    pub fn open(&self, session: &Str, exchange: Arc<Exchange>) {
        let key = (session.clone(), exchange.rpc_id.clone());
        let mut state = self.lock();
        let table = match exchange.direction {
            Direction::ToServer => &mut state.of_clients,
            Direction::ToClient => &mut state.of_servers,
        };
        table.put(key, exchange, self.limit);
    }

    /// The request that an answer going in `direction` belongs to; it is closed by that.
    pub fn close(
        &self,
        session: &Str,
        direction: Direction,
        rpc_id: &str,
    ) -> Option<Arc<Exchange>> {
        let key = (session.clone(), Str::from(rpc_id));
        let mut state = self.lock();
        match direction {
            Direction::ToClient => state.of_clients.take(&key),
            Direction::ToServer => state.of_servers.take(&key),
        }
    }

    /// Every request of a session that still waits for its server, oldest first.
    pub fn abandon(&self, session: &Str) -> Vec<Arc<Exchange>> {
        let mut state = self.lock();
        state.of_servers.entries.retain(|key, _| key.0 != *session);
        state.handshakes.take(session);
        state.carries.take(session);
        let mut gone: Vec<(u64, Arc<Exchange>)> = state
            .of_clients
            .entries
            .extract_if(|key, _| key.0 == *session)
            .map(|(_, e)| e)
            .collect();
        gone.sort_unstable_by_key(|(age, _)| *age);
        gone.into_iter().map(|(_, exchange)| exchange).collect()
    }

    /// What is remembered of the texts that a sender sent, some kilobytes at most.
    pub fn carry(&self, sender: &Str) -> Arc<Mutex<Carry>> {
        let mut state = self.lock();
        if let Some(carry) = state.carries.get(sender) {
            return Arc::clone(carry);
        }
        let carry = Arc::new(Mutex::new(Carry::new()));
        state.carries.put(sender.clone(), Arc::clone(&carry), self.limit);
        carry
    }

    /// Remembers what a session's handshake said.
    pub fn shake(&self, session: &Str, handshake: Handshake) {
        self.lock().handshakes.put(session.clone(), handshake, self.limit);
    }

    /// What a session's handshake said.
    pub fn handshake(&self, session: &Str) -> Option<Handshake> {
        self.lock().handshakes.get(session).cloned()
    }

    /// Who sends the messages of this context, as far as a handshake told.
    pub fn client(&self, cx: &Context) -> Option<Handshake> {
        let shaken = cx.session.as_ref().and_then(|session| self.handshake(session));
        shaken.or_else(|| cx.front.get().map(|front| front.shown.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The tables are whole between statements: a panic elsewhere leaves them usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's name here and in captures: 64 bits of a digest, since the id itself opens the
/// session; with its server, since two servers may give out the same id.
pub fn digest(server: &str, session: &[u8]) -> Str {
    let hash =
        Sha256::new().chain_update(server).chain_update([0]).chain_update(session).finalize();
    hex(&hash[..8]).into()
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
            parent: None,
            tie: Tie::default(),
        })
    }

    #[test]
    fn an_answer_finds_its_request_once_and_only_in_its_own_session_and_direction() {
        let sessions = Sessions::new(10);
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
        let sessions = Sessions::new(2);
        let session = Str::from("s");
        for id in ["1", "2", "3"] {
            sessions.open(&session, exchange(&sessions, id, Direction::ToServer));
        }
        assert!(sessions.close(&session, Direction::ToClient, "1").is_none());
        assert_eq!(sessions.abandon(&session).len(), 2);
        assert!(sessions.abandon(&session).is_empty());
    }

    #[test]
    fn places_left_behind_do_not_add_up() {
        let sessions = Sessions::new(4);
        let session = Str::from("s");
        for n in 0..1000 {
            let id = n.to_string();
            sessions.open(&session, exchange(&sessions, &id, Direction::ToServer));
            assert!(sessions.close(&session, Direction::ToClient, &id).is_some());
        }
        assert!(sessions.lock().of_clients.order.len() <= 2 * 4 + 64);
    }

    #[test]
    fn a_servers_requests_push_out_no_clients() {
        let sessions = Sessions::new(2);
        let session = Str::from("s");
        sessions.open(&session, exchange(&sessions, "1", Direction::ToServer));
        for id in ["a", "b", "c"] {
            sessions.open(&session, exchange(&sessions, id, Direction::ToClient));
        }
        assert!(sessions.close(&session, Direction::ToClient, "1").is_some());
    }

    #[test]
    fn the_same_id_at_two_servers_is_two_sessions() {
        assert_ne!(digest("a", b"1"), digest("b", b"1"));
    }
}
