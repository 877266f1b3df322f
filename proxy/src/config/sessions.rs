//! The section `sessions`: what session ids are sealed with, how long they live, and the other
//! replicas.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, Period, Secret};

/// Keys at once: each of them is tried on what its id fits.
const MAX_KEYS: usize = 16;
/// Bytes of the shortest secret: as many as the keys made of it have.
const SHORTEST: usize = 32;
/// Other replicas.
const MAX_PEERS: usize = 256;

/// Sessions that survive restarts and are known to every replica: their ids are sealed, and hold
/// what the gateway must know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// Secrets of at least 32 bytes that ids are sealed with: the first seals, all open. The same
    /// at every replica. Without any, a key is made at each start, and sessions end with it.
    pub keys: Vec<Secret>,
    /// How long a session may last, from its `initialize`. Its client then begins another.
    pub lifetime: Period,
    /// Ended sessions remembered until their lifetime is over; the oldest make room.
    pub ended: usize,
    /// Sessions that have more to remember than their id can hold; the oldest make room.
    pub kept: usize,
    /// This replica's name, of `peers` or any other.
    pub replica: Option<String>,
    /// Where the other replicas are, by name, as in `http://10.0.0.2:8808`: a call that waits
    /// at one of them is sent there. May hold this replica too, so that all have the same list.
    pub peers: BTreeMap<String, Address>,
    /// The authorities to trust for `peers` instead of the system's, PEM.
    pub peers_ca: Option<PathBuf>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            lifetime: Period::secs(24 * 3600),
            ended: 100_000,
            kept: 1000,
            replica: None,
            peers: BTreeMap::new(),
            peers_ca: None,
        }
    }
}

impl Sessions {
    /// What is wrong with it: pointers below the section, and why.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut at = |wrong: bool, pointer: &str, message: &str| {
            if wrong {
                found.push((pointer.to_owned(), message.to_owned()));
            }
        };
        at(self.keys.len() > MAX_KEYS, "keys", "more than 16 keys");
        for (i, key) in self.keys.iter().enumerate() {
            let short = key.expose().len() < SHORTEST;
            at(short, &format!("keys/{i}"), "a key has at least 32 bytes");
        }
        at(self.lifetime.get().is_zero(), "lifetime", "no session could be used");
        at(self.ended == 0, "ended", "may not be 0");
        at(self.kept == 0, "kept", "may not be 0");
        let name = "a name is 1 to 64 letters, digits, `-`, `_`, `.` or `@`";
        let bad = |replica: &str| !super::is_principal(replica);
        at(self.replica.as_deref().is_some_and(bad), "replica", name);
        at(self.peers.len() > MAX_PEERS, "peers", "more than 256 replicas");
        let alone = !self.peers.is_empty() && self.replica.is_none();
        at(alone, "replica", "a replica with peers has a name itself");
        let open = !self.peers.is_empty() && self.keys.is_empty();
        at(open, "keys", "replicas trust each other by a common key");
        for (peer, address) in &self.peers {
            let pointer = format!("peers/{}", peer.replace('~', "~0").replace('/', "~1"));
            at(bad(peer), &pointer, name);
            let base = address.uri().filter(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https"))
                    && uri.path() == "/"
                    && uri.query().is_none()
            });
            let message = "not the address of a replica: write it as http://10.0.0.2:8808";
            at(base.is_none(), &pointer, message);
        }
        if let Some(ca) = &self.peers_ca
            && let Err(error) = crate::tls::client(Some(ca), None, false)
        {
            found.push(("peers_ca".to_owned(), error.to_string()));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(change: impl FnOnce(&mut Sessions)) -> Vec<String> {
        let mut sessions = Sessions {
            keys: vec![Secret::new("k".repeat(32))],
            replica: Some("a".into()),
            peers: BTreeMap::from([("b".into(), Address::new("http://10.0.0.2:8808"))]),
            ..Sessions::default()
        };
        change(&mut sessions);
        sessions.problems().into_iter().map(|(pointer, _)| pointer).collect()
    }

    #[test]
    fn what_cannot_be_is_told() {
        assert!(Sessions::default().problems().is_empty());
        assert_eq!(after(|_| ()), [""; 0]);
        assert_eq!(after(|s| s.keys = vec![Secret::new("k".repeat(31))]), ["keys/0"]);
        assert_eq!(after(|s| s.keys.clear()), ["keys"]);
        assert_eq!(after(|s| s.keys = vec![Secret::new("k".repeat(32)); 17]), ["keys"]);
        assert_eq!(after(|s| s.replica = None), ["replica"]);
        assert_eq!(after(|s| s.replica = Some("a b".into())), ["replica"]);
        assert_eq!(after(|s| s.lifetime = Period::secs(0)), ["lifetime"]);
        assert_eq!(after(|s| s.ended = 0), ["ended"]);
        assert_eq!(after(|s| s.kept = 0), ["kept"]);
        assert_eq!(after(|s| s.peers_ca = Some("/nonexistent".into())), ["peers_ca"]);
        for bad in ["10.0.0.2", "ws://10.0.0.2", "http://10.0.0.2/mcp", "http://u:p@10.0.0.2"] {
            let peer = Address::new(bad);
            assert_eq!(after(|s| s.peers = [("c".into(), peer)].into()), ["peers/c"], "{bad}");
        }
    }
}
