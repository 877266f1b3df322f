//! Opening and closing the capture: from the section `capture` of the configuration to a recorder, and in
//! the end to a folder with nothing left in its journal.

use std::path::PathBuf;
use std::time::Duration;

use capture::{Recipients, Recorder, RecorderConfig, Signer, Stats, StoreStats};

use crate::config::{self, Bodies, Sign};
use crate::serve::ServeError;
use crate::snapshot::Snapshot;

/// Opens the folder the configuration names, and stores beside the rows what their digests mean.
///
/// # Errors
/// When it can't be written.
pub fn open(snapshot: &Snapshot) -> Result<Option<(Recorder, PathBuf)>, ServeError> {
    let settings = &snapshot.config.capture;
    if !settings.enabled {
        return Ok(None);
    }
    let env = |name: &str| std::env::var(name).ok();
    let dir = settings.folder(&env).ok_or(ServeError::NoFolder)?;
    let mut config = RecorderConfig::new(&dir);
    config.queue_rows = settings.queue_rows;
    config.queue_bytes = settings.queue_bytes.bytes();
    config.max_dir_bytes = settings.max_bytes.bytes() as u64;
    config.rotate_bytes = settings.rotate_bytes.bytes() as u64;
    config.rotate_every = settings.rotate_every.get();
    config.on_overflow = match settings.on_overflow {
        // refusing is the pipeline's business: what still comes is dropped and counted
        config::OnOverflow::Drop | config::OnOverflow::Refuse => capture::OnOverflow::DropAndCount,
        config::OnOverflow::Block => capture::OnOverflow::Block,
    };
    config.min_free_bytes = settings.min_free.bytes() as u64;
    config.max_age = settings.max_age.get();
    config.on_disk_full = match settings.on_disk_full {
        config::OnDiskFull::DeleteOldest => capture::OnDiskFull::DeleteOldest,
        config::OnDiskFull::MetadataOnly => capture::OnDiskFull::MetadataOnly,
        config::OnDiskFull::Refuse => capture::OnDiskFull::Refuse,
    };
    config.journal = match settings.journal {
        config::Journal::Interval => capture::Journal::Interval,
        config::Journal::Every => capture::Journal::Every,
        config::Journal::Off => capture::Journal::Off,
    };
    let failed = |source| ServeError::Capture { dir: dir.clone(), source };
    config.signer = match (&settings.sign, settings.key_file(&env)) {
        (Sign::Key(_), Some(file)) => Some(Signer::load(&file).map_err(failed)?.into()),
        (_, Some(file)) => Some(Signer::load_or_create(&file).map_err(failed)?.into()),
        (_, None) => None,
    };
    match &config.signer {
        Some(signer) => tracing::info!(key = signer.id(), "the capture is signed"),
        None => tracing::info!("the capture is not signed"),
    }
    config.store =
        settings.store.as_ref().map(|store| store.settings()).transpose().map_err(failed)?;
    if settings.bodies == Bodies::Escrow {
        config.recipients = Some(Recipients::parse(&settings.escrow.recipients).map_err(failed)?);
    }
    let recorder = Recorder::open(config).map_err(failed)?;
    recorder.store_ruleset(&snapshot.ruleset_digest, snapshot.rules.source()).map_err(failed)?;
    recorder.store_config(&snapshot.config_digest, snapshot.config_json()).map_err(failed)?;
    recorder.store_config(&snapshot.policy_digest, snapshot.policy_json()).map_err(failed)?;
    Ok(Some((recorder, dir)))
}

/// Writes what is still queued, and tells what could not be.
pub async fn close(recorder: Option<&Recorder>, within: Duration) {
    let Some(recorder) = recorder.cloned() else {
        return;
    };
    let closed = tokio::task::spawn_blocking(move || recorder.close(within)).await;
    if let Ok(Ok(Stats { store: Some(store), .. })) = &closed
        && store.waiting_files > 0
    {
        let StoreStats { waiting_files, waiting_bytes, last_error, .. } = store;
        let last_error = last_error.as_deref().unwrap_or("no time left");
        tracing::warn!(
            waiting_files,
            waiting_bytes,
            last_error,
            "files are not uploaded yet; the next start sends them"
        );
    }
    match closed {
        Ok(Ok(stats)) if stats.dropped == 0 => {}
        Ok(Ok(stats)) => tracing::warn!(dropped = stats.dropped, "messages were not recorded"),
        Ok(Err(error)) => tracing::error!(%error, "the capture did not close in order"),
        Err(error) => tracing::error!(%error, "the capture did not close in order"),
    }
}
