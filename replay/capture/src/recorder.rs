//! stub
use crate::queue::{Queue, Stats};
use crate::{CaptureError, Record, RecorderConfig, Ticket};
use std::sync::Arc;
use std::time::Duration;

/// Records rows.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: Arc<Queue>,
}

impl Recorder {
    /// Opens a capture folder.
    pub fn open(config: RecorderConfig) -> Result<Recorder, CaptureError> {
        config.check()?;
        Ok(Recorder {
            queue: Arc::new(Queue::new(config)),
        })
    }
    /// Hands a row over.
    #[expect(clippy::result_large_err, reason = "the row handed back is the point")]
    pub fn try_record(&self, row: Record) -> Result<Ticket, Record> {
        self.queue
            .push(row)
            .map(|n| Ticket::new(self.queue.clone(), n))
    }
    /// Stores a rule set.
    pub fn store_ruleset(&self, _digest: &str, _source: &str) -> Result<(), CaptureError> {
        Ok(())
    }
    /// Stores a config.
    pub fn store_config(&self, _digest: &str, _json: &str) -> Result<(), CaptureError> {
        Ok(())
    }
    /// The books.
    pub fn stats(&self) -> Stats {
        self.queue.lock().stats.clone()
    }
    /// Finishes.
    pub fn close(&self, _timeout: Duration) -> Result<Stats, CaptureError> {
        self.queue.close();
        Ok(self.stats())
    }
}
