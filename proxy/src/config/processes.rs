//! The section `processes`: what servers that are started by a `command` may take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Period, Size};

/// What servers that are started by a `command` may take. None may be 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Processes {
    /// Processes at once, of all servers together. Beyond it a client is told to come back later.
    pub max: usize,
    /// Sessions with a process of their own that one holder of a key may have at once.
    pub per_principal: usize,
    /// The memory of one server's process and of all it started, as the system counts it, looked
    /// at each second. Whoever takes more is killed.
    pub memory: Size,
    /// From starting a process to its answer to `initialize`.
    pub start: Period,
    /// A process without a request for so long is ended, and the session it was for.
    pub idle: Period,
    /// How long calls fail at once after a shared process ended by itself. Each further time this
    /// is doubled; by chance it is up to a half shorter.
    pub restart_first: Period,
    /// The longest of these waits. A process that ran for longer counts as a good one.
    pub restart_most: Period,
    /// Calls under way at one process.
    pub calls: usize,
    /// Messages of a server that wait for one client's stream to take them. What comes on top is
    /// dropped and counted; answers always have a place.
    pub queue: usize,
    /// The bytes of these messages.
    pub queue_bytes: Size,
}

impl Default for Processes {
    fn default() -> Self {
        Self {
            max: 256,
            per_principal: 32,
            memory: Size::mib(2048),
            start: Period::secs(30),
            idle: Period::secs(1800),
            restart_first: Period::secs(1),
            restart_most: Period::secs(60),
            calls: 256,
            queue: 256,
            queue_bytes: Size::mib(8),
        }
    }
}

impl Processes {
    /// What is wrong with it: the key, and a sentence.
    pub(super) fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let none = "a limit of 0 would let nothing pass";
        let never = "a wait of 0 would end everything";
        let mut found = Vec::new();
        for (key, value) in [
            ("max", self.max as u64),
            ("per_principal", self.per_principal as u64),
            ("memory", self.memory.get()),
            ("calls", self.calls as u64),
            ("queue", self.queue as u64),
            ("queue_bytes", self.queue_bytes.get()),
        ] {
            found.extend((value == 0).then_some((key, none)));
        }
        for (key, value) in [
            ("start", self.start),
            ("idle", self.idle),
            ("restart_first", self.restart_first),
            ("restart_most", self.restart_most),
        ] {
            found.extend(value.get().is_zero().then_some((key, never)));
        }
        if self.restart_first > self.restart_most {
            found.push(("restart_first", "the first wait may not be longer than `restart_most`"));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_zero_and_waits_grow() {
        assert_eq!(Processes::default().problems(), []);
        let wrong = Processes {
            max: 0,
            idle: Period::secs(0),
            restart_first: Period::secs(61),
            ..Processes::default()
        };
        let keys: Vec<&str> = wrong.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["max", "idle", "restart_first"]);
    }
}
