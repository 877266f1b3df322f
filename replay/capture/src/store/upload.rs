//! [`Uploader`]: sends what the spool holds, round by round, for as long as the recorder lives.
//!
//! A round tries every waiting file once. After a round with failures it waits, twice as long each time; files that
//! finish meanwhile wait along. Closing ends the wait: one more round, and what then is left stays in the folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::object::Object;
use super::put::{self, Manner, Put};
use super::retry::Retry;
use super::{Spool, StoreConfig, StoreStats, runtime};
use crate::CaptureError;

/// A recorder's uploads. Clones share one task.
#[derive(Clone, Debug)]
pub(crate) struct Uploader {
    pub(crate) spool: Arc<Spool>,
    task: AbortHandle,
}

impl Uploader {
    /// Begins to send what waits in the folder, and what is added later.
    pub(crate) fn start(
        config: &StoreConfig,
        dir: &Path,
        writer: &str,
    ) -> Result<Uploader, CaptureError> {
        let to = config.location.object()?;
        let spool = Spool::new(dir, writer, config.spool, config.on_spool_full);
        if let Err(error) = spool.tidy() {
            tracing::debug!(%error, "the ledger of uploads cannot be written");
        }
        spool.look()?;
        let spool = Arc::new(spool);
        let work = Work {
            to,
            dir: dir.to_owned(),
            spool: spool.clone(),
            manner: Arc::new(Manner::new(writer, config)),
            retry: Retry {
                again: 0,
                first: config.first_wait,
                longest: config.longest_wait,
                limit: config.attempt,
            },
            concurrency: config.concurrency.max(1),
            keep_local: config.keep_local,
        };
        let task = runtime::handle()?.spawn(work.run()).abort_handle();
        Ok(Uploader { spool, task })
    }

    /// Sends what waits, trying each file once more at most, within the limit. What is left stays in the folder.
    pub(crate) fn close(&self, limit: Duration) -> StoreStats {
        self.spool.close();
        if !self.spool.wait(limit) {
            self.task.abort();
        }
        self.spool.stats()
    }
}

/// A file, and what became of it.
type Sent = (String, Result<Put, CaptureError>);

/// What the task owns.
struct Work {
    to: Object,
    dir: PathBuf,
    spool: Arc<Spool>,
    manner: Arc<Manner>,
    retry: Retry,
    concurrency: usize,
    keep_local: bool,
}

/// Tells those who wait that the task is gone, however it ended.
struct Guard(Arc<Spool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.ended();
    }
}

impl Work {
    async fn run(self) {
        let _guard = Guard(self.spool.clone());
        let mut failures = 0_u32;
        loop {
            // before the round, so that it is the last one only if all that was added before is in it
            let last = self.spool.is_closing();
            let phases = self.spool.batch();
            let idle = phases.iter().all(Vec::is_empty);
            let mut went_well = true;
            for phase in phases {
                went_well &= self.phase(phase).await;
            }
            if went_well {
                failures = 0;
                self.spool.went_well();
            } else {
                failures += 1;
            }
            if last && (idle || !went_well) {
                return;
            }
            if !went_well {
                self.pause(failures).await;
            } else if idle {
                self.spool.wake.notified().await;
            }
        }
    }

    /// Waits after a failure, or until the end is near.
    async fn pause(&self, failures: u32) {
        let salt = self.dir.as_os_str().len() as u64 ^ u64::from(std::process::id());
        let pause = tokio::time::sleep(self.retry.wait(failures, salt));
        tokio::pin!(pause);
        while !self.spool.is_closing() {
            tokio::select! {
                () = &mut pause => return,
                () = self.spool.wake.notified() => {}
            }
        }
    }

    /// Sends files, a few at a time; whether all arrived.
    async fn phase(&self, names: Vec<String>) -> bool {
        let mut under_way = JoinSet::new();
        let mut went_well = true;
        for name in names {
            if put::grows(&name) && !self.spool.may_follow(&name) {
                continue;
            }
            if under_way.len() >= self.concurrency {
                went_well &= self.settle(under_way.join_next().await);
            }
            let (to, from) = (self.to.child(&name), self.dir.join(&name));
            let (manner, limit) = (self.manner.clone(), self.retry.limit);
            under_way.spawn(async move {
                let sent = tokio::time::timeout(limit, put::file(&to, &from, &manner)).await;
                (name, sent.unwrap_or_else(|_| Err(to.late("write"))))
            });
        }
        while let Some(done) = under_way.join_next().await {
            went_well &= self.settle(Some(done));
        }
        went_well
    }

    fn settle(&self, done: Option<Result<Sent, JoinError>>) -> bool {
        match done {
            None => {}
            Some(Ok((name, Ok(Put::Stored(bytes))))) => self.arrived(&name, bytes),
            Some(Ok((name, Ok(Put::Gone)))) => self.spool.gone(&name),
            Some(Ok((_, Err(error)))) => {
                self.spool.failed(&error);
                return false;
            }
            Some(Err(error)) => {
                self.spool.failed(&CaptureError::Network { detail: error.to_string() });
                return false;
            }
        }
        true
    }

    fn arrived(&self, name: &str, bytes: u64) {
        self.spool.arrived_now(name, bytes);
        if self.keep_local || !name.ends_with(".parquet") {
            return;
        }
        let path = self.dir.join(name);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(%error, path = %path.display(), "an uploaded file could not be removed");
        }
        // the hour and the day go with their last file
        for folder in path.ancestors().skip(1).take(2) {
            let _ = std::fs::remove_dir(folder);
        }
    }
}
