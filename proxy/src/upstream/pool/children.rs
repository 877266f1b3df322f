//! The processes of all servers together: how many there may be, and how much memory each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use capture::Str;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Processes;
use crate::telemetry::{Guard, Metrics};
use crate::upstream::UpstreamError;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Places for processes, and a watch on those that took one.
#[derive(Debug)]
pub struct Children {
    pub(super) settings: Processes,
    pub(super) metrics: Arc<Metrics>,
    /// Cancelled when the gateway stops: every process is ended then.
    pub(super) stop: CancellationToken,
    state: Mutex<State>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    by_principal: HashMap<Str, usize>,
    /// Process groups, and what tells of too much memory.
    groups: HashMap<u32, CancellationToken>,
    is_watching: bool,
}

/// One process's place, given back when the process is gone.
#[derive(Debug)]
pub(super) struct Place {
    children: Arc<Children>,
    principal: Option<Str>,
    group: Option<u32>,
    _counted: Guard,
}

impl Children {
    /// Places for as many processes as the configuration has.
    pub fn new(settings: Processes, metrics: Arc<Metrics>) -> Arc<Children> {
        Arc::new(Children {
            settings,
            metrics,
            stop: CancellationToken::new(),
            state: Mutex::default(),
            count: watch::Sender::new(0),
        })
    }

    /// A place for one process, for the session of `principal` or for all clients.
    pub(super) fn place(
        self: &Arc<Self>,
        server: &str,
        principal: Option<&Str>,
    ) -> Result<Place, UpstreamError> {
        if self.stop.is_cancelled() {
            let detail = "the gateway stops".to_owned();
            return Err(UpstreamError::Unreachable { detail });
        }
        let mut state = self.lock();
        if *self.count.borrow() >= self.settings.max {
            return Err(UpstreamError::Busy { what: "processes", limit: self.settings.max });
        }
        if let Some(principal) = principal {
            let own = state.by_principal.entry(principal.clone()).or_default();
            let limit = self.settings.per_principal;
            if *own >= limit {
                return Err(UpstreamError::Busy { what: "processes of this key's holder", limit });
            }
            *own += 1;
        }
        self.count.send_modify(|count| *count += 1);
        Ok(Place {
            children: Arc::clone(self),
            principal: principal.cloned(),
            group: None,
            _counted: self.metrics.process(server),
        })
    }

    /// Ends all processes, and waits for that no longer than `within`.
    pub async fn stop(&self, within: Duration) {
        self.stop.cancel();
        let mut count = self.count.subscribe();
        if timeout(within, count.wait_for(|count| *count == 0)).await.is_err() {
            tracing::warn!("servers' processes did not end in time, and are killed");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole between statements: a panic elsewhere leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Watches the memory of a process group; what is returned is cancelled when it is too much.
    pub(super) fn watch(&mut self, group: u32) -> CancellationToken {
        let too_much = CancellationToken::new();
        self.group = Some(group);
        let mut state = self.children.lock();
        state.groups.insert(group, too_much.clone());
        if !std::mem::replace(&mut state.is_watching, true) {
            tokio::spawn(watch_memory(Arc::downgrade(&self.children)));
        }
        too_much
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.children.lock();
        if let Some(group) = self.group {
            state.groups.remove(&group);
        }
        if let Some(principal) = &self.principal
            && let Some(own) = state.by_principal.get_mut(principal)
        {
            *own -= 1;
            if *own == 0 {
                state.by_principal.remove(principal);
            }
        }
        self.children.count.send_modify(|count| *count -= 1);
    }
}

async fn watch_memory(children: Weak<Children>) {
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(children) = children.upgrade() else { return };
        if children.lock().groups.is_empty() {
            continue;
        }
        // The files of /proc are memory: reading them does not wait for a disk, but takes its time.
        let Ok(used) = tokio::task::spawn_blocking(memory_of_groups).await else { continue };
        let limit = children.settings.memory.get();
        for (group, too_much) in &children.lock().groups {
            if used.get(group).is_some_and(|bytes| *bytes > limit) {
                too_much.cancel();
            }
        }
    }
}

/// The memory of each process group in bytes: what its processes have for themselves, and what they
/// share without a file behind it. Where they share among themselves it counts for each.
fn memory_of_groups() -> HashMap<u32, u64> {
    let mut used = HashMap::new();
    let Ok(entries) = std::fs::read_dir("/proc") else { return used };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_process = entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
        // One that ended since is skipped.
        let read = |file: &str| std::fs::read_to_string(path.join(file)).ok();
        if is_process
            && let Some(group) = read("stat").as_deref().and_then(group_of)
            && group != 0
            && let Some(status) = read("status")
        {
            *used.entry(group).or_insert(0) += memory_of(&status);
        }
    }
    used
}

/// The process group in `/proc/PID/stat`: the third field behind the name, which may hold anything.
fn group_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(2)?.parse().ok()
}

/// The bytes of memory in `/proc/PID/status` that are no copy of a file.
fn memory_of(status: &str) -> u64 {
    let own = |line: &&str| line.starts_with("RssAnon:") || line.starts_with("RssShmem:");
    let kilobytes = |line: &str| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok();
    status.lines().filter(own).filter_map(kilobytes).sum::<u64>() << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_anything_in_it_hides_no_group() {
        assert_eq!(group_of("7 (a) b) 9 9 (x)) S 1 42 42 0 -1 4194560"), Some(42));
        let status =
            "Name:\tx\nVmRSS:\t  999 kB\nRssAnon:\t  12 kB\nRssFile:\t 900 kB\nRssShmem:\t 4 kB\n";
        assert_eq!(memory_of(status), 16 << 10);
    }

    #[test]
    fn the_memory_of_this_very_process_is_seen() {
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        let group = group_of(&own).unwrap();
        assert!(memory_of_groups().get(&group).is_some_and(|bytes| *bytes > 0));
    }

    #[test]
    fn places_are_counted_in_all_and_for_each_principal_and_come_back() {
        let settings = Processes { max: 3, per_principal: 2, ..Processes::default() };
        let children = Children::new(settings, Arc::new(Metrics::new()));
        let (alice, bob) = (Str::from("alice"), Str::from("bob"));
        let first = children.place("s", Some(&alice)).unwrap();
        let second = children.place("s", Some(&alice)).unwrap();
        let full = |what, limit| UpstreamError::Busy { what, limit };
        let third = children.place("s", Some(&alice)).unwrap_err();
        assert_eq!(third, full("processes of this key's holder", 2));
        let others = children.place("s", Some(&bob)).unwrap();
        assert_eq!(children.place("s", None).unwrap_err(), full("processes", 3));
        drop((first, second, others));
        assert!(children.lock().by_principal.is_empty());
        assert!(children.place("s", None).is_ok());
    }
}
