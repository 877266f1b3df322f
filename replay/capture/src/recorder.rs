//! [`Recorder`]: the handle that everyone who serves traffic holds.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::RecorderConfig;
use crate::disk::{self, Home};
use crate::queue::{Queue, Stats};
use crate::record::Record;
use crate::store::Uploader;
use crate::ticket::Ticket;
use crate::worker::Worker;
use crate::{CaptureError, recover, sidecar};

/// How long dropping the last handle waits for the rows in the queue.
const DROP_WAIT: Duration = Duration::from_secs(5);

/// Records rows to a capture folder. Clones share one queue, one thread and one journal.
///
/// Dropping the last clone finishes the file as [`Recorder::close`] does, waiting at most five seconds.
#[derive(Clone, Debug)]
pub struct Recorder {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    queue: Arc<Queue>,
    config: RecorderConfig,
    uploader: Option<Uploader>,
}

impl Recorder {
    /// Opens a capture folder: recovers the journals of dead writers, then starts one of its own.
    ///
    /// Blocks for as long as the recovery takes, about a second for each full segment. What cannot be recovered is
    /// no error here: it stays where it is, counted in [`Stats::errors`].
    pub fn open(config: RecorderConfig) -> Result<Recorder, CaptureError> {
        config.check()?;
        let not_writable = |source| CaptureError::NotWritable { path: config.dir.clone(), source };
        disk::create_dir(&config.dir).map_err(not_writable)?;
        let home = Home::create(&config.dir).map_err(not_writable)?;
        let recovered = recover::dead_writers(&config);
        let store = config.store.as_ref();
        let uploader = store.map(|store| Uploader::start(store, &config.dir, &home.writer));
        let uploader = uploader.transpose()?;
        let queue = Arc::new(Queue::new(config.clone()));
        queue.update(|state| {
            state.stats.recovered = recovered.rows;
            state.stats.files = recovered.files;
            state.stats.errors = recovered.errors.len() as u64;
            state.stats.last_error = recovered.errors.last().map(ToString::to_string);
        });
        let spool = uploader.as_ref().map(|uploader| uploader.spool.clone());
        let worker = Worker::new(queue.clone(), config.clone(), home, spool)?;
        let guard = Guard { queue: queue.clone(), unfinished: Some("recorder thread died".into()) };
        thread::Builder::new()
            .name("wiregate-capture".into())
            .spawn(move || {
                let mut guard = guard;
                guard.unfinished = worker.run();
            })
            .map_err(CaptureError::io("start a thread for", &config.dir))?;
        Ok(Recorder { handle: Arc::new(Handle { queue, config, uploader }) })
    }

    /// Hands a row over, without waiting unless [`OnOverflow::Block`](crate::OnOverflow::Block) is set.
    ///
    /// # Errors
    ///
    /// Gives the row back when the queue is full, the row is too large, or the recorder is closed; counted as dropped.
    #[expect(clippy::result_large_err, reason = "the row handed back is the point")]
    pub fn try_record(&self, row: Record) -> Result<Ticket, Record> {
        let queue = &self.handle.queue;
        queue.push(row).map(|number| Ticket::new(queue.clone(), number))
    }

    /// Counts a message that is not to be recorded. The next file's footer tells how many there were.
    pub fn leave_out(&self) {
        self.handle.queue.lock().stats.left_out += 1;
    }

    /// Keeps a rule set as `rulesets/<digest>.yaml`, durably; call it before the first row that names the digest.
    /// Blocks on the disk unless the digest is stored already.
    pub fn store_ruleset(&self, digest: &str, source: &str) -> Result<(), CaptureError> {
        self.beside(sidecar::RULESET, digest, source)
    }

    /// Keeps a configuration (secrets out) as `config/<digest>.json`, as [`Recorder::store_ruleset`] does.
    pub fn store_config(&self, digest: &str, json: &str) -> Result<(), CaptureError> {
        self.beside(sidecar::CONFIG, digest, json)
    }

    fn beside(&self, kind: (&str, &str), digest: &str, text: &str) -> Result<(), CaptureError> {
        let path = sidecar::store(&self.handle.config.dir, kind, digest, text)?;
        if let Some(uploader) = &self.handle.uploader {
            uploader.spool.added(&path);
        }
        Ok(())
    }

    /// The books. `enqueued = written + dropped + in_queue` holds at every call.
    pub fn stats(&self) -> Stats {
        self.handle.stats()
    }

    /// Whether a row would be taken and reach the disk, as far as is known: false while the queue is full, the disk
    /// refuses rows, or the recorder is closed.
    pub fn takes_rows(&self) -> bool {
        self.handle.queue.takes()
    }

    /// The capture folder.
    pub fn dir(&self) -> &Path {
        &self.handle.config.dir
    }

    /// Takes no more rows, writes those in the queue, finishes the file, gives up the journal, and uploads what waits,
    /// trying each file once more at most. What could not be uploaded stays in the folder for the next recorder and is
    /// no error: [`Stats::store`] tells.
    pub fn close(&self, timeout: Duration) -> Result<Stats, CaptureError> {
        self.handle.close(timeout)
    }
}

impl Handle {
    fn stats(&self) -> Stats {
        let store = self.uploader.as_ref().map(|uploader| uploader.spool.stats());
        Stats { store, ..self.queue.lock().stats.clone() }
    }

    fn close(&self, timeout: Duration) -> Result<Stats, CaptureError> {
        let begun = Instant::now();
        let closed = self.close_queue(timeout);
        if let Some(uploader) = &self.uploader {
            uploader.close(timeout.saturating_sub(begun.elapsed()));
        }
        closed.map(|()| self.stats())
    }

    fn close_queue(&self, timeout: Duration) -> Result<(), CaptureError> {
        self.queue.close();
        let state = self.queue.lock();
        let waited = self.queue.news.wait_timeout_while(state, timeout, |state| !state.closed);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &state.unfinished {
            _ if !state.closed => Err(CaptureError::TimedOut),
            Some(detail) => Err(CaptureError::Unfinished { detail: detail.clone() }),
            None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // nobody is left to tell; the journal keeps what is unfinished
        let _ = self.close(DROP_WAIT);
    }
}

/// Tells everyone that the thread is gone, even if it panicked.
struct Guard {
    queue: Arc<Queue>,
    unfinished: Option<String>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.queue.closed(self.unfinished.take());
    }
}
