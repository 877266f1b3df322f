//! Asking servers what they are, for `servers probe` and `servers vet`.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Place, listed};
use crate::cli::{CliError, in_runtime, settings};
use crate::config::{Config, is_server_name};
use crate::registry::probe::{self, Answers};
use crate::registry::{self, folder};
use crate::serve::Opener;
use crate::snapshot::{ServerSpec, Snapshot};
use crate::telemetry::Metrics;
use crate::upstream::pool::Children;

/// Servers asked at once.
const AT_ONCE: usize = 8;

/// A server that was asked.
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) outcome: Result<Answers, String>,
    pub(super) took: Duration,
}

impl Place {
    /// The configuration with the folder's servers, or with the one of this name alone.
    pub(super) fn servers(&self, name: Option<&str>) -> Result<Config, CliError> {
        let mut config = self.config()?;
        let dir = config.registry.dir.clone();
        let Some(name) = name else {
            if let Some(dir) = &dir {
                registry::join(&mut config.servers, dir, &settings::env).map_err(listed)?;
            }
            return Ok(config);
        };
        if !is_server_name(name) {
            return Err(CliError::ServerName);
        }
        if let Some(file) = dir.map(|dir| folder::file_of(&dir, name)).filter(|file| file.exists())
        {
            // Another file that is broken is no matter of this server.
            let (_, server) = registry::read(&file, &settings::env).map_err(listed)?;
            config.servers.insert(name.to_owned(), server);
        }
        config.servers.retain(|known, _| known == name);
        match config.servers.is_empty() {
            true => Err(CliError::NoServer(name.to_owned())),
            false => Ok(config),
        }
    }
}

/// Asks every server of a configuration; their order is that of their names.
pub(super) fn all(config: Config) -> Result<Vec<Asked>, CliError> {
    let snapshot = Arc::new(Snapshot::build(config).map_err(listed)?);
    in_runtime(async move {
        let config = &snapshot.config;
        let metrics = Arc::new(Metrics::new());
        let children = Children::new(config.processes.clone(), Arc::clone(&metrics));
        let opener = Opener::new(&snapshot, &children, &metrics);
        let bar = progress(snapshot.servers.len());
        let mut asked: Vec<Asked> = stream::iter(snapshot.servers.values())
            .map(|spec| one(&snapshot, spec, &opener))
            .buffer_unordered(AT_ONCE)
            .inspect(|_| bar.inc(1))
            .collect()
            .await;
        bar.finish_and_clear();
        children.stop(config.timeouts.drain.get()).await;
        asked.sort_by(|one, other| one.name.cmp(&other.name));
        asked
    })
}

async fn one(snapshot: &Arc<Snapshot>, spec: &Arc<ServerSpec>, opener: &Opener) -> Asked {
    let started = Instant::now();
    let outcome = match opener.open(spec, &snapshot.config) {
        Ok(upstream) => {
            probe::ask(&*upstream, snapshot, spec).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    Asked { name: spec.name.to_string(), outcome, took: started.elapsed() }
}

/// A bar on stderr while that is a terminal and there is more than one to wait for.
fn progress(servers: usize) -> ProgressBar {
    if servers < 2 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::try_from(servers).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{spinner} asking: {pos} of {len}, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
