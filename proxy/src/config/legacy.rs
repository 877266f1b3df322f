//! Limits of what the gateway keeps at servers that have sessions, for clients that have none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Period, Problem};

/// Clients without a session (2026-07-28) before servers with one (2024-11-05 to 2025-11-25): the
/// gateway opens sessions with the server itself. None may be 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Legacy {
    /// Sessions open with one server.
    pub sessions: usize,
    /// Sessions open with one server for one key's holder. Beyond it the one that was idle for
    /// longest is closed; when none is idle, the request is refused.
    pub sessions_per_principal: usize,
    /// A session that nothing uses for this long is closed.
    pub idle: Period,
    /// Calls that wait for a client's answer to what the server asked, at all servers.
    pub parked: usize,
    /// The same for one key's holder.
    pub parked_per_principal: usize,
    /// How long such a call waits.
    pub parked_for: Period,
    /// How often a server may ask in the course of one call.
    pub rounds: usize,
    /// How often in a row a server may end the stream of a call without having said anything, and
    /// the gateway ask for the rest.
    pub resumes: usize,
    /// Resources that one session is subscribed to.
    pub subscriptions: usize,
}

impl Default for Legacy {
    fn default() -> Self {
        Self {
            sessions: 4096,
            sessions_per_principal: 64,
            idle: Period::secs(300),
            parked: 1024,
            parked_per_principal: 64,
            parked_for: Period::secs(600),
            rounds: 8,
            resumes: 5,
            subscriptions: 1000,
        }
    }
}

impl Legacy {
    /// What is wrong with it.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let all = [
            ("sessions", self.sessions == 0),
            ("sessions_per_principal", self.sessions_per_principal == 0),
            ("idle", self.idle.get().is_zero()),
            ("parked", self.parked == 0),
            ("parked_per_principal", self.parked_per_principal == 0),
            ("parked_for", self.parked_for.get().is_zero()),
            ("rounds", self.rounds == 0),
            ("resumes", self.resumes == 0),
            ("subscriptions", self.subscriptions == 0),
        ];
        let zero = all.into_iter().filter(|(_, is_zero)| *is_zero);
        zero.map(|(name, _)| Problem::new(format!("/legacy/{name}"), "may not be 0"))
    }
}
