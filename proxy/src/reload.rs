//! A configuration that changes while the gateway runs: the folder of servers is watched, SIGHUP
//! and the admin API ask for it at once.
//!
//! The new state is built away from traffic and swapped whole; a message sees the old one or the
//! new one. What did not change is kept: compiled rules, and the way to each server that is defined
//! as before, with its sessions and processes. A wrong configuration changes nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use crate::admin::AdminState;
use crate::config::{Config, Listed, Use, problems_for};
use crate::pins::Neighbours;
use crate::pipeline::Pipeline;
use crate::serve::Opener;
use crate::snapshot::Snapshot;

/// Reads the configuration anew, folder and flags included. The error is for the log: a line for
/// each thing that is wrong, with its place.
pub type Source = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// The folder is not looked at more often, whatever is written.
const SHORTEST: Duration = Duration::from_millis(20);

/// Brings what is written into what runs.
pub struct Reload {
    pipeline: Arc<Pipeline>,
    state: Arc<AdminState>,
    opener: Opener,
    source: Source,
    /// What was told to need a restart.
    told: Vec<&'static str>,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload").field("pipeline", &self.pipeline).finish_non_exhaustive()
    }
}

/// What became of a new configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Changed,
    Unchanged,
    Refused,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Changed => "changed",
            Outcome::Unchanged => "unchanged",
            Outcome::Refused => "refused",
        }
    }
}

/// A file as it is seen from outside: name, bytes, time of its last change, number.
type Mark = (PathBuf, u64, i128, u64);

impl Reload {
    /// For this gateway, from this source.
    pub fn new(
        pipeline: Arc<Pipeline>,
        state: Arc<AdminState>,
        opener: Opener,
        source: Source,
    ) -> Reload {
        Reload { pipeline, state, opener, source, told: Vec::new() }
    }

    /// Looks at the folder for ever, and reloads when it changed or `wake` asks for it.
    pub async fn run(mut self, wake: Arc<Notify>) {
        // Nothing was seen yet: what changed since the start is found at the first look.
        let mut seen = None;
        loop {
            let registry = self.pipeline.snapshot().config.registry.clone();
            let every = registry.watch_every.get().max(SHORTEST);
            let is_asked = tokio::select! {
                () = wake.notified() => true,
                () = tokio::time::sleep(every) => false,
            };
            // Looked at before it is read: what changes in between is found at the next look.
            let marks = spawn_blocking(move || registry.vetted.map(|dir| marks(&dir))).await;
            let marks = marks.ok().flatten();
            if is_asked || marks != seen {
                seen = marks;
                self.reload(is_asked).await;
            }
        }
    }

    async fn reload(&mut self, is_asked: bool) {
        let outcome = self.try_reload().await.unwrap_or_else(|errors| {
            tracing::error!(%errors, "the new configuration is wrong: the old one stays");
            Outcome::Refused
        });
        self.pipeline.metrics.reload(outcome.as_str());
        if outcome == Outcome::Changed {
            let snapshot = self.pipeline.snapshot();
            let servers = snapshot.servers.len();
            tracing::info!(servers, digest = %snapshot.config_digest, "configuration reloaded");
            snapshot.announce_unvetted();
        } else if is_asked && outcome == Outcome::Unchanged {
            tracing::info!("configuration reloaded: nothing changed");
        }
    }

    async fn try_reload(&mut self) -> Result<Outcome, String> {
        let (source, old) = (Arc::clone(&self.source), self.pipeline.snapshot());
        let opener = self.opener.clone();
        let built = spawn_blocking(move || build(&source, &old, &opener)).await;
        let (new, fixed) = built.map_err(|error| error.to_string())??;
        if fixed != self.told {
            if !fixed.is_empty() {
                tracing::warn!(sections = fixed.join(","), "changed, which needs a restart");
            }
            self.told = fixed;
        }
        let Some(new) = new else { return Ok(Outcome::Unchanged) };
        self.swap(Arc::new(new)).await;
        Ok(Outcome::Changed)
    }

    async fn swap(&self, new: Arc<Snapshot>) {
        // What rows will name is there before the first of them.
        if let Some(recorder) = self.pipeline.audit.recorder().cloned() {
            let new = Arc::clone(&new);
            let stored = spawn_blocking(move || {
                recorder.store_ruleset(&new.ruleset_digest, new.rules.source())?;
                recorder.store_config(&new.config_digest, new.config_json())?;
                recorder.store_config(&new.policy_digest, new.policy_json())
            });
            if let Ok(Err(error)) = stored.await {
                tracing::error!(%error, "the capture does not hold the new configuration");
            }
        }
        let servers = || new.servers.keys().cloned();
        self.pipeline.metrics.set_servers(servers());
        self.pipeline.pins.set_neighbours(Neighbours::These(servers().collect()));
        self.state.set_snapshot(Arc::clone(&new));
        self.pipeline.swap(new);
    }
}

/// What is written now, unless it is what runs; and the sections that it would change and can't.
fn build(
    source: &Source,
    old: &Snapshot,
    opener: &Opener,
) -> Result<(Option<Snapshot>, Vec<&'static str>), String> {
    let mut config = source()?;
    let fixed = keep(&old.config, &mut config);
    // With what stays as it was: `auth`, say, must still suit the address that is listened on.
    if let Some(wrong) = problems_for(&config, Use::Serve).first() {
        return Err(format!("{}: {}", wrong.pointer, wrong.message));
    }
    let mut new = Snapshot::rebuild(config, old).map_err(|errors| Listed(&errors).to_string())?;
    if new.is_same(old) {
        return Ok((None, fixed));
    }
    open_ways(&mut new, Some(old), opener).map_err(|error| error.to_string())?;
    Ok((Some(new), fixed))
}

/// Opens the way to each server, or keeps that of `old` where it is the same server. What is not
/// vetted has none: nothing can go there by mistake.
///
/// # Errors
/// When the certificates for a server can't be used.
pub fn open_ways(
    new: &mut Snapshot,
    old: Option<&Snapshot>,
    opener: &Opener,
) -> Result<(), crate::tls::TlsError> {
    for (name, spec) in new.servers.iter().filter(|(_, spec)| spec.vetted) {
        let same =
            old.filter(|old| old.servers.get(name).is_some_and(|was| Arc::ptr_eq(was, spec)));
        if !same.is_some_and(|old| new.ways.keep(name, &old.ways)) {
            new.ways.insert(name.clone(), opener.open(spec, &new.config)?);
        }
    }
    Ok(())
}

/// Puts the old values where a running gateway can't change them, and tells where that was.
fn keep(old: &Config, new: &mut Config) -> Vec<&'static str> {
    fn one<T: Clone + PartialEq>(old: &T, new: &mut T) -> bool {
        let changed = old != new;
        if changed {
            new.clone_from(old);
        }
        changed
    }
    let sections = [
        ("listen", one(&old.listen, &mut new.listen)),
        ("admin", one(&old.admin, &mut new.admin)),
        ("tls", one(&old.tls, &mut new.tls)),
        ("http3", one(&old.http3, &mut new.http3)),
        ("sessions", one(&old.sessions, &mut new.sessions)),
        ("pins", one(&old.pins, &mut new.pins)),
        ("capture", one(&old.capture, &mut new.capture)),
        ("limits", one(&old.limits, &mut new.limits)),
        ("timeouts", one(&old.timeouts, &mut new.timeouts)),
        ("bridge", one(&old.bridge, &mut new.bridge)),
        ("legacy", one(&old.legacy, &mut new.legacy)),
        ("processes", one(&old.processes, &mut new.processes)),
        ("log", one(&old.log, &mut new.log)),
    ];
    sections.into_iter().filter_map(|(name, changed)| changed.then_some(name)).collect()
}

/// The folder's files, by name; none where it can't be read.
fn marks(dir: &Path) -> Vec<Mark> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut marks: Vec<Mark> = entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            let time = i128::from(metadata.mtime()) << 32 | i128::from(metadata.mtime_nsec());
            Some((entry.path(), metadata.len(), time, metadata.ino()))
        })
        // As many as the folder may have, and their approvals.
        .take(20_001)
        .collect();
    marks.sort();
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;
    use crate::upstream::pool::Children;

    fn opener(snapshot: &Snapshot) -> Opener {
        let metrics = Arc::new(Metrics::new());
        let children = Children::new(Default::default(), Arc::clone(&metrics));
        Opener::new(snapshot, &children, &metrics)
    }

    #[test]
    fn what_did_not_change_is_kept_and_what_cannot_change_is_told() {
        let mut config = Config::of_one_server("a", "http://127.0.0.1:9/mcp");
        let b = Config::of_one_server("b", "http://127.0.0.1:9/mcp");
        config.servers.extend(b.servers.clone());
        let mut old = Snapshot::build(config.clone()).unwrap();
        let opener = opener(&old);
        open_ways(&mut old, None, &opener).unwrap();
        let from = |config: Config| -> Source { Arc::new(move || Ok(config.clone())) };
        let (same, fixed) = build(&from(config.clone()), &old, &opener).unwrap();
        assert!(same.is_none() && fixed.is_empty());

        config.listen = "127.0.0.1:1".into();
        let moved = Config::of_one_server("b", "http://127.0.0.1:10/mcp");
        config.servers.extend(moved.servers);
        let (new, fixed) = build(&from(config.clone()), &old, &opener).unwrap();
        let new = new.unwrap();
        assert_eq!(fixed, ["listen"]);
        assert_eq!(new.config.listen, old.config.listen);
        assert!(Arc::ptr_eq(&new.rules, &old.rules), "rules are not compiled again");
        assert!(new.ways.is_shared(&old.ways, "a"));
        assert!(!new.ways.is_shared(&old.ways, "b"));

        let wrong: Source = Arc::new(|| Err("servers/a.yaml:1:1: no".into()));
        assert_eq!(build(&wrong, &old, &opener).unwrap_err(), "servers/a.yaml:1:1: no");
        config.registry.require_vetted = true;
        let (new, _) = build(&from(config), &old, &opener).unwrap();
        let new = new.unwrap();
        assert!(!new.ways.is_shared(&old.ways, "a"), "nobody approved it");
    }

    #[test]
    fn auth_must_suit_the_address_that_is_listened_on() {
        let mut config = Config::of_one_server("a", "http://127.0.0.1:9/mcp");
        config.auth = Some(crate::config::Auth::Open);
        config.listen = "0.0.0.0:0".into();
        let old = Snapshot::build(config.clone()).unwrap();
        let opener = opener(&old);
        config.listen = "127.0.0.1:0".into();
        config.auth = None;
        let source: Source = Arc::new(move || Ok(config.clone()));
        assert!(build(&source, &old, &opener).unwrap_err().starts_with("/listen"));
    }

    #[test]
    fn a_file_that_comes_changes_or_goes_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        let mut seen = vec![marks(folder.path())];
        for text in ["a", "b", "bb"] {
            crate::registry::folder::put(&file, text).unwrap();
            seen.push(marks(folder.path()));
        }
        assert!(seen.windows(2).all(|two| two[0] != two[1]), "{seen:?}");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(marks(folder.path()), seen[0]);
    }
}
