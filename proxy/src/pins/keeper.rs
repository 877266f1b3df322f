//! The thread that has the store: it saves what was seen, and learns what others did there.
//!
//! Traffic never waits for it. While the store cannot be reached, the pins last known stay in
//! force, nothing is approved, and what could not be saved goes there with the next list.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Shared;
use super::store::{Definitions, Sighting, Store, StoreError};
use super::table::{Entry, Saved, Table};

/// How often the store is asked whether somebody else changed it.
const ASK: Duration = Duration::from_secs(1);
/// Sightings saved at once.
const BATCH: usize = 512;

/// Opens the store.
pub(super) type Open = Box<dyn FnMut() -> Result<Box<dyn Store>, StoreError> + Send>;

/// The store and what is to be told of it.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    open: Open,
    store: Option<Box<dyn Store>>,
    version: i64,
    failing: bool,
}

impl Keeper {
    /// A keeper that has not opened its store yet.
    pub(super) fn new(shared: Arc<Shared>, open: Open) -> Keeper {
        Keeper { shared, open, store: None, version: 0, failing: false }
    }

    /// Opens the store and reads all pins.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub(super) fn start(&mut self) -> Result<(), StoreError> {
        let mut store = (self.open)()?;
        // First the version: what changes in between is read a second time, and not missed.
        let version = store.version()?;
        let table = read(&mut *store)?;
        self.shared.merge(table);
        (self.store, self.version) = (Some(store), version);
        Ok(())
    }

    /// Saves until nobody can see anything any more, and everything that was seen is saved.
    pub(super) fn run(mut self, queue: &Receiver<Sighting>) {
        let mut asked = Instant::now();
        loop {
            match queue.recv_timeout(ASK.saturating_sub(asked.elapsed())) {
                Ok(first) => {
                    let more = queue.try_iter().take(BATCH - 1);
                    let batch: Vec<Sighting> = std::iter::once(first).chain(more).collect();
                    self.save(&batch);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if asked.elapsed() >= ASK {
                self.ask();
                asked = Instant::now();
            }
        }
    }

    /// Saves a batch.
    pub(super) fn save(&mut self, batch: &[Sighting]) {
        let result = match &mut self.store {
            Some(store) => store.save(batch),
            None => Err(StoreError::Absent),
        };
        let saved = if result.is_ok() { Saved::Yes } else { Saved::No };
        self.shared.left_queue(batch, saved);
        self.told(result);
    }

    /// Looks whether somebody else changed the pins, and takes that over. A store that could not
    /// be opened is tried again.
    pub(super) fn ask(&mut self) {
        let result = match &mut self.store {
            None => {
                let result = self.start();
                return self.told(result);
            }
            Some(store) => match store.version() {
                Ok(version) if version == self.version => Ok(()),
                Ok(version) => read(&mut **store).map(|table| {
                    self.shared.merge(table);
                    self.version = version;
                    tracing::info!("took over the pins that another process changed");
                }),
                Err(error) => Err(error),
            },
        };
        // That it can be read again does not say that it can be written.
        if result.is_err() {
            self.told(result);
        }
    }

    /// Counts a failure; the log hears of the first and of the end.
    pub(super) fn told(&mut self, result: Result<(), StoreError>) {
        match result {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("the store of pins is back");
            }
            Ok(()) => {}
            Err(error) => {
                self.shared.metrics.pin_store_error();
                if !self.failing {
                    self.failing = true;
                    tracing::warn!(%error, "the store of pins cannot be used: pins last known stay, nothing is approved");
                }
            }
        }
    }
}

/// Every pin of a store.
fn read(store: &mut dyn Store) -> Result<Table, StoreError> {
    let mut table = Table::default();
    for pin in store.pins(None, Definitions::Without)? {
        let entry = Entry {
            base: pin.base.fingerprint,
            approved: pin.approved_at.is_some(),
            changed: pin.changed.map(|kept| kept.fingerprint),
            seen: pin.last_seen,
            saved: Saved::Yes,
        };
        table.server_mut(&pin.server).put(pin.kind, &pin.name, entry);
    }
    Ok(table)
}
