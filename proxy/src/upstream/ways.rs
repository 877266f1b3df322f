//! The ways to all servers of one configuration, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use capture::Str;
use futures::stream::{self, StreamExt};
use tokio_util::sync::CancellationToken;

use super::{Absent, Upstream};
use crate::envelope::{Body, Reply};

/// The ways to the servers. Part of the snapshot, so that a message sees one set of them.
#[derive(Clone, Default)]
pub struct Ways(BTreeMap<Str, Way>);

/// A way to one server, and how the last call by it went.
#[derive(Clone)]
pub struct Way {
    upstream: Arc<dyn Upstream>,
    last: Arc<AtomicU8>,
    /// Cancelled when no configuration has this way any more.
    gone: CancellationToken,
}

/// The words for the last call, by number.
const HEALTH: [&str; 3] = ["unknown", "ok", "failed"];

impl Ways {
    /// Adds the way to a server.
    pub fn insert(&mut self, server: Str, upstream: Arc<dyn Upstream>) {
        self.0
            .insert(server, Way { upstream, last: Arc::default(), gone: CancellationToken::new() });
    }

    /// Keeps the way to a server that another configuration has; `false` when it has none.
    pub fn keep(&mut self, server: &Str, of: &Ways) -> bool {
        let way = of.0.get(server).cloned();
        way.map(|way| self.0.insert(server.clone(), way)).is_some()
    }

    /// The way to a server, or one that leads nowhere.
    pub fn to(&self, server: &str) -> &dyn Upstream {
        match self.0.get(server) {
            Some(way) => &*way.upstream,
            None => &Absent,
        }
    }

    /// Ends the streams without an end by ways that `new` does not have.
    pub(crate) fn leave(&self, new: &Ways) {
        for (server, way) in self.0.iter().filter(|(server, _)| !self.is_shared(new, server)) {
            tracing::debug!(%server, "the way to a server is left");
            way.gone.cancel();
        }
    }

    /// Has a reply's stream end when the way to its server is left.
    pub(crate) fn bind(&self, server: &str, reply: &mut Reply) {
        if let (Some(way), Body::Stream(events)) = (self.0.get(server), &mut reply.body) {
            let endless = std::mem::replace(events, stream::empty().boxed());
            *events = endless.take_until(way.gone.clone().cancelled_owned()).boxed();
        }
    }

    /// Remembers how a call went: whether the server answered at all.
    pub(crate) fn note(&self, server: &str, answered: bool) {
        if let Some(way) = self.0.get(server) {
            way.last.store(if answered { 1 } else { 2 }, Ordering::Relaxed);
        }
    }

    /// How the last call went: `ok`, `failed`, or `unknown` before the first.
    pub fn health(&self, server: &str) -> &'static str {
        let last = self.0.get(server).map_or(0, |way| way.last.load(Ordering::Relaxed));
        HEALTH.get(usize::from(last)).unwrap_or(&HEALTH[0])
    }

    /// Whether both have the same way to a server.
    pub(crate) fn is_shared(&self, other: &Ways, server: &str) -> bool {
        let (one, other) = (self.0.get(server), other.0.get(server));
        one.zip(other).is_some_and(|(one, other)| Arc::ptr_eq(&one.upstream, &other.upstream))
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("last", &self.last).finish_non_exhaustive()
    }
}

impl fmt::Debug for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
