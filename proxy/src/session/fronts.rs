//! Clients' sessions, as the HTTP face gives them out: [`Fronts`]. The id of a session is sealed
//! and holds what the gateway must know of it ([`Front`]), so that any gateway with the same keys
//! can go on with it, after a restart too. What is kept here is only what an id cannot hold: that
//! it has ended, and what has no room in it.
//!
//! A session is no authentication: who sends a request is asked before, each time. The id is bound
//! to that principal and to the endpoint, and is worth nothing to anybody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use capture::Str;
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::seal::bind;
use super::{Front, Handshake, Table};
use crate::envelope::{Body, Context, Reply};
use crate::policy::{Denied, NO_SESSION};
use crate::snapshot::{Snapshot, hex};

/// The longest id in characters: servers and proxies in front of us bound their headers.
pub const LONGEST: usize = 4096;
/// Bytes of one session beyond its id. Capabilities that are larger are not remembered.
const MOST_KEPT: usize = 64 << 10;
/// Marks of other replicas remembered. Only who reads the traffic between replicas, and brings
/// more than these within the minute that a mark is good for, could have one taken twice.
const MARKS: usize = 100_000;
/// Bytes of an error in which a server may tell that it does not know a session.
const TELLING: usize = 4096;

/// The sessions given out, as far as their ids do not hold them.
#[derive(Debug, Default)]
pub struct Fronts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Until when they would have lasted.
    ended: Table<Str, u64>,
    kept: Table<Str, Arc<Front>>,
    /// The marks of other replicas that were taken.
    marks: Table<Str, ()>,
}

/// A session that a request is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    id: Str,
    expires: u64,
}

/// What is sealed. The names are short since their room is.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(rename = "i")]
    id: Str,
    /// In milliseconds since 1970.
    #[serde(rename = "x")]
    expires: u64,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    revision: Option<Str>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    capabilities: Option<Box<RawValue>>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    client: Option<Box<RawValue>>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    shown: Option<(Option<Str>, Option<Str>)>,
    #[serde(rename = "u", default, skip_serializing_if = "BTreeMap::is_empty")]
    upstream: BTreeMap<Str, Str>,
    #[serde(rename = "l", default)]
    left_out: LeftOut,
}

/// What had no room in an id, and is in the table of the gateway that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Serialize, Deserialize)]
enum LeftOut {
    #[default]
    #[serde(rename = "0")]
    Nothing,
    #[serde(rename = "1")]
    Capabilities,
    #[serde(rename = "2")]
    Client,
    #[serde(rename = "3")]
    Everything,
}

impl Fronts {
    /// Opens the id that a request carries. What is known of its session is in `cx` then, and the
    /// server's own id where the client's was. A request without an id passes.
    ///
    /// # Errors
    /// 404 for an id that is not ours, not this principal's, of another endpoint, or over. Which
    /// of these is not told.
    pub fn enter(&self, cx: &mut Context, now: u64) -> Result<Option<Entered>, Denied> {
        cx.session = None;
        let Some(sealed) = cx.headers.session.take() else { return Ok(None) };
        let (entered, front) = self.open(cx, &sealed, now).ok_or_else(|| {
            let message = "no such session: it is over, or never was; initialize again";
            Denied::new(StatusCode::NOT_FOUND, NO_SESSION, "no_session", message)
        })?;
        let upstream = front.upstream.get(&cx.server.name);
        cx.headers.session = upstream.and_then(|id| HeaderValue::from_str(id).ok());
        cx.headers.sealed = Some(sealed);
        cx.session = Some(super::digest("", entered.id.as_bytes()));
        // A context that was just made has none yet.
        let _ = cx.front.set(front);
        Ok(Some(entered))
    }

    /// Puts the client's session into a reply, in place of the server's: a new one where one
    /// begins, its own where the server repeats the id. Notes that one was ended.
    pub fn leave(&self, cx: &Context, entered: Option<&Entered>, reply: &mut Reply, now: u64) {
        let given = reply.session.take();
        let succeeded = reply.status.is_none_or(|status| status.is_success());
        if let Some(entered) = entered {
            if cx.http_method.as_deref() == Some("DELETE") {
                self.closed(cx, entered, reply, now);
                return;
            }
            // Many servers repeat the id in each answer.
            if given.is_none() || given == cx.headers.session {
                reply.session = given.and(cx.headers.sealed.clone());
                return;
            }
        }
        // Only an `initialize` leaves what its client said, or comes after one.
        if let Some(front) =
            cx.front.get().filter(|_| succeeded && (given.is_some() || reply.begins))
        {
            let mut front = Front::clone(front);
            if let Some(revision) = cx.negotiated.get() {
                front.revision = Some(revision.clone());
            }
            if let Some(id) = given.as_ref().and_then(|id| id.to_str().ok()) {
                front.upstream.insert(cx.server.name.clone(), id.into());
            }
            reply.session = self.begin(cx, front, now);
        }
    }

    /// A session is over for its client: when its server says so, when its server knows it no
    /// longer, and when no server knows of it at all.
    fn closed(&self, cx: &Context, entered: &Entered, reply: &mut Reply, now: u64) {
        let status = reply.status.unwrap_or(StatusCode::OK);
        let own = cx.headers.session.is_none();
        if own && !status.is_success() {
            *reply = Reply::empty(StatusCode::NO_CONTENT);
        }
        if own || status.is_success() || status == StatusCode::NOT_FOUND {
            let limit = cx.snapshot.config.sessions.ended;
            let mut state = self.lock();
            state.kept.take(&entered.id);
            if entered.expires > now {
                state.ended.put(entered.id.clone(), entered.expires, limit);
            }
        }
    }

    /// The id of a new session.
    fn begin(&self, cx: &Context, front: Front, now: u64) -> Option<HeaderValue> {
        let (sealer, settings) = (&cx.snapshot.sealer, &cx.snapshot.config.sessions);
        let lifetime = u64::try_from(settings.lifetime.get().as_millis()).unwrap_or(u64::MAX);
        let id: Str = hex(&sealer.fresh()).into();
        let mut written = Written::of(id.clone(), now.saturating_add(lifetime), &front);
        loop {
            let sealed = sealer.seal(&bound(cx), &serde_json::to_vec(&written).ok()?);
            if sealed.len() <= LONGEST || !written.leave_out() {
                if written.left_out > LeftOut::Nothing {
                    let kept = Arc::new(front.within(MOST_KEPT));
                    self.lock().kept.put(id, kept, settings.kept);
                }
                return HeaderValue::from_str(&sealed).ok();
            }
        }
    }

    fn open(&self, cx: &Context, sealed: &HeaderValue, now: u64) -> Option<(Entered, Arc<Front>)> {
        let sealed = sealed.to_str().ok().filter(|sealed| sealed.len() <= LONGEST)?;
        let plain = cx.snapshot.sealer.open(&bound(cx), sealed)?;
        let written: Written = serde_json::from_slice(&plain).ok()?;
        let entered = Entered { id: written.id.clone(), expires: written.expires };
        if entered.expires <= now {
            return None;
        }
        let state = self.lock();
        if state.ended.get(&entered.id).is_some() {
            return None;
        }
        let front = match (written.left_out, state.kept.get(&entered.id)) {
            (LeftOut::Nothing, _) => Arc::new(written.front()),
            (_, Some(kept)) => Arc::clone(kept),
            // Without the server's id there is no session. Without what the client said there is
            // one, in which nothing is asked of the client.
            (LeftOut::Everything, None) => return None,
            (_, None) => Arc::new(written.front()),
        };
        Some((entered, front))
    }

    /// Whether the mark of another replica is seen for the first time.
    pub(super) fn is_first(&self, mark: &Str) -> bool {
        let mut state = self.lock();
        let first = state.marks.get(mark).is_none();
        if first {
            state.marks.put(mark.clone(), (), MARKS);
        }
        first
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The tables are whole between statements: a panic elsewhere leaves them usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose session it is, and where: an id opens for nobody else and nowhere else.
fn bound(cx: &Context) -> Vec<u8> {
    // No principal has an empty name.
    let principal = cx.principal.as_deref().unwrap_or_default();
    bind(&[b"session", principal.as_bytes(), cx.server.name.as_bytes()])
}

/// Gives a server's refusal of a session the status that tells the client to begin another. Some
/// servers say 400 of a session they do not know (spec: transports, session management: 404).
pub fn tell_lost(cx: &Context, reply: &mut Reply) {
    let lost = reply.status == Some(StatusCode::BAD_REQUEST) && cx.headers.session.is_some();
    let speaks_of_it = || match &reply.body {
        Body::Empty => true,
        Body::One(error) => error.get(..error.len().min(TELLING)).is_some_and(|error| {
            error.windows(7).any(|word| word.eq_ignore_ascii_case(b"session"))
        }),
        Body::Stream(_) => false,
    };
    if lost && speaks_of_it() {
        reply.status = Some(StatusCode::NOT_FOUND);
    }
}

/// Tells the log whether sessions outlive this run.
pub fn announce(snapshot: &Snapshot) {
    if !snapshot.sealer.is_lasting() {
        tracing::info!("no `sessions.keys`: sessions end when the gateway does");
    }
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    // Before 1970 nothing has expired yet.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Written {
    fn of(id: Str, expires: u64, front: &Front) -> Written {
        // What is no JSON is nothing: it came from a message that was read as JSON.
        let raw = |text: &Str| RawValue::from_string(text.to_string()).ok();
        let Handshake { client_name, client_version } = front.shown.clone();
        Written {
            id,
            expires,
            revision: front.revision.clone(),
            capabilities: raw(&front.capabilities),
            client: raw(&front.client),
            shown: client_name.is_some().then_some((client_name, client_version)),
            upstream: front.upstream.clone(),
            left_out: LeftOut::Nothing,
        }
    }

    /// Leaves out what is dispensable first; false when nothing more can be.
    fn leave_out(&mut self) -> bool {
        match self.left_out {
            LeftOut::Nothing => {
                self.left_out = LeftOut::Capabilities;
                self.capabilities = None;
            }
            LeftOut::Capabilities => {
                self.left_out = LeftOut::Client;
                (self.client, self.shown) = (None, None);
            }
            LeftOut::Client => {
                self.left_out = LeftOut::Everything;
                (self.revision, self.upstream) = (None, BTreeMap::new());
            }
            LeftOut::Everything => return false,
        }
        true
    }

    fn front(self) -> Front {
        let text = |raw: Option<Box<RawValue>>| raw.map_or("{}".into(), |raw| raw.get().into());
        let (client_name, client_version) = self.shown.unwrap_or_default();
        Front {
            revision: self.revision,
            capabilities: text(self.capabilities),
            client: text(self.client),
            upstream: self.upstream,
            shown: Handshake { client_name, client_version },
        }
    }
}

impl Front {
    /// What an `initialize` says of its client: the message as it goes on, and the names in it as
    /// the record may hold them.
    pub fn said(initialize: &[u8], shown: Handshake) -> Front {
        #[derive(Deserialize)]
        struct Message<'a> {
            #[serde(borrow)]
            params: Params<'a>,
        }
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow)]
            capabilities: Option<&'a RawValue>,
            #[serde(borrow, rename = "clientInfo")]
            client: Option<&'a RawValue>,
        }
        let said: Option<Message<'_>> = serde_json::from_slice(initialize).ok();
        let (capabilities, client) =
            said.map_or((None, None), |said| (said.params.capabilities, said.params.client));
        let text = |raw: Option<&RawValue>| raw.map_or("{}".into(), |raw| raw.get().into());
        Front { capabilities: text(capabilities), client: text(client), shown, ..Front::default() }
    }

    /// The same where it has no more than `limit` bytes, else without what the client said.
    fn within(self, limit: usize) -> Front {
        let ids = self.upstream.iter().map(|(server, id)| server.len() + id.len());
        let size = self.capabilities.len() + self.client.len() + ids.sum::<usize>();
        if size <= limit {
            return self;
        }
        Front { capabilities: "{}".into(), client: "{}".into(), ..self }
    }
}

#[cfg(test)]
mod tests;
