//! The ways to all servers of one configuration, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use capture::Str;

use super::{Absent, Upstream};

/// The ways to the servers. Part of the snapshot, so that a message sees one set of them.
#[derive(Clone, Default)]
pub struct Ways(BTreeMap<Str, Arc<dyn Upstream>>);

impl Ways {
    /// Adds the way to a server.
    pub fn insert(&mut self, server: Str, way: Arc<dyn Upstream>) {
        self.0.insert(server, way);
    }

    /// The way to a server, if there is one, to be kept.
    pub fn kept(&self, server: &str) -> Option<Arc<dyn Upstream>> {
        self.0.get(server).cloned()
    }

    /// The way to a server, or one that leads nowhere.
    pub fn to(&self, server: &str) -> &dyn Upstream {
        match self.0.get(server) {
            Some(way) => &**way,
            None => &Absent,
        }
    }
}

impl fmt::Debug for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
