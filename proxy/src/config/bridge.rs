//! What the bridge between eras waits for, and how much it remembers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Period;

/// Between clients and servers of different revisions: with a handshake (2024-11-05 to 2025-11-25)
/// on one side, without (2026-07-28) on the other. None may be 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bridge {
    /// A server's answer when it is asked which revisions it speaks; without one in this time it
    /// counts as one with a handshake.
    pub probe: Period,
    /// A client's answer to what a server asked of it in the middle of a call.
    pub answer: Period,
    /// How often a server may ask back in the course of one call.
    pub rounds: usize,
    /// Sessions of clients whose log level and subscriptions are remembered, for each server.
    pub sessions: usize,
    /// Resources that one session may be subscribed to.
    pub subscriptions: usize,
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            probe: Period::secs(5),
            answer: Period::secs(600),
            rounds: 8,
            sessions: 10_000,
            subscriptions: 256,
        }
    }
}

impl Bridge {
    /// The keys that are 0, which none may be.
    pub(super) fn zeros(&self) -> Vec<&'static str> {
        let all = [
            ("probe", self.probe.get().is_zero()),
            ("answer", self.answer.get().is_zero()),
            ("rounds", self.rounds == 0),
            ("sessions", self.sessions == 0),
            ("subscriptions", self.subscriptions == 0),
        ];
        all.into_iter().filter(|(_, zero)| *zero).map(|(name, _)| name).collect()
    }
}
