//! What servers offer, remembered: each listed tool, prompt and resource has a pin, and what is
//! not as it was is found.
//!
//! The central type: [`Pins`]. The pins of this moment are one immutable table, loaded once for
//! each message; what is new goes to a store by way of a bounded queue and a thread of its own, so
//! that no message waits for a disk. What is found in a message is [`judge::Pinned`]; what is done
//! about it is for the pipeline and the configuration.

mod judge;
mod keeper;
mod sqlite;
mod store;
mod table;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use capture::Str;

use crate::config::{self, PinMode};
use crate::telemetry::Metrics;
use keeper::{Keeper, Open};
use table::{Saved, ServerPins, Table};

pub use judge::Pinned;
pub use sqlite::{Missing, Sqlite};
pub use store::{Definitions, Kept, Pin, Sighting, Store, StoreError};
pub use table::State;

/// The pins of all servers, and the way to their store.
#[derive(Debug)]
pub struct Pins {
    shared: Arc<Shared>,
    /// The servers whose tools are one another's neighbours; `None`: all that have pins.
    neighbours: ArcSwapOption<HashSet<Str>>,
    /// Gets nothing, and ends with the thread.
    ended: Mutex<Receiver<()>>,
}

/// What messages and the store's thread share.
#[derive(Debug)]
struct Shared {
    table: ArcSwap<Table>,
    /// Held while the table is replaced, by whoever does so.
    way: Mutex<Way>,
    metrics: Arc<Metrics>,
    /// Bytes of the definitions that wait.
    waiting: AtomicUsize,
}

/// The way to the store.
#[derive(Debug)]
enum Way {
    /// There is none: what is seen is remembered as long as the process lives.
    None,
    /// To the thread that has it.
    Queue { sender: SyncSender<Sighting>, bytes: usize },
    /// It is closed.
    Closed,
}

/// Whose tools are compared with one another.
#[derive(Clone, Debug)]
pub enum Neighbours {
    /// Those of these servers: a client of one is a client of all.
    These(HashSet<Str>),
    /// Those of every server in the store: each has a gateway of its own.
    All,
}

impl Pins {
    /// Pins without a store: they are forgotten at the end.
    pub fn unsaved(neighbours: Neighbours, metrics: Arc<Metrics>) -> Pins {
        let (_, ended) = sync_channel(1);
        let shared = Arc::new(Shared::new(Way::None, metrics));
        Pins { shared, neighbours: ArcSwapOption::new(neighbours.set()), ended: Mutex::new(ended) }
    }

    /// Opens the store and reads it.
    ///
    /// # Errors
    /// The store cannot be used, and the configuration does not let the gateway start without.
    pub fn open(
        settings: &config::Pins,
        neighbours: Neighbours,
        metrics: Arc<Metrics>,
    ) -> Result<Pins, StoreError> {
        if settings.mode == PinMode::Off {
            return Ok(Pins::unsaved(neighbours, metrics));
        }
        let Some(file) = settings.store.clone() else {
            tracing::warn!("no file to keep pins in: they are forgotten at the end");
            return Ok(Pins::unsaved(neighbours, metrics));
        };
        let open = sqlite_at(file, settings.max_bytes.get());
        Pins::keep(settings, neighbours, metrics, open)
    }

    /// Pins with this store, on a thread of its own.
    fn keep(
        settings: &config::Pins,
        neighbours: Neighbours,
        metrics: Arc<Metrics>,
        open: Open,
    ) -> Result<Pins, StoreError> {
        let (sender, queue) = sync_channel(settings.queue);
        let way = Way::Queue { sender, bytes: settings.queue_bytes.bytes() };
        let shared = Arc::new(Shared::new(way, metrics));
        let mut keeper = Keeper::new(Arc::clone(&shared), open);
        match keeper.start() {
            Err(error) if !settings.starts_without_store() => return Err(error),
            started => keeper.told(started),
        }
        let (end, ended) = sync_channel(1);
        std::thread::Builder::new().name("pins".into()).spawn(move || {
            let _end = end;
            keeper.run(&queue);
        })?;
        Ok(Pins {
            shared,
            neighbours: ArcSwapOption::new(neighbours.set()),
            ended: Mutex::new(ended),
        })
    }

    /// Says whose tools are compared from now on.
    pub fn set_neighbours(&self, neighbours: Neighbours) {
        self.neighbours.store(neighbours.set());
    }

    /// Lets what was seen be saved, and waits for that. Blocks. `false` when it takes longer.
    pub fn close(&self, within: Duration) -> bool {
        let mut way = self.shared.way();
        if matches!(*way, Way::None) {
            return true;
        }
        *way = Way::Closed;
        drop(way);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(within) != Err(std::sync::mpsc::RecvTimeoutError::Timeout)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // The thread has the way too: it would wait for more for ever.
        let mut way = self.shared.way();
        if matches!(*way, Way::Queue { .. }) {
            *way = Way::Closed;
        }
    }
}

impl Neighbours {
    fn set(self) -> Option<Arc<HashSet<Str>>> {
        match self {
            Neighbours::These(servers) => Some(Arc::new(servers)),
            Neighbours::All => None,
        }
    }
}

fn sqlite_at(file: PathBuf, most_bytes: u64) -> Open {
    Box::new(move || {
        let store = Sqlite::open(&file, Missing::Create)?.keeping(most_bytes);
        Ok(Box::new(store))
    })
}

impl Shared {
    fn new(way: Way, metrics: Arc<Metrics>) -> Shared {
        let table = ArcSwap::from_pointee(Table::default());
        Shared { table, way: Mutex::new(way), metrics, waiting: AtomicUsize::new(0) }
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        // It is whole between statements: a panic elsewhere leaves it usable.
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another table in place; the way is held, so that nobody else does.
    fn replace(&self, _held: &Way, table: Table) {
        self.metrics.pins(State::ALL.map(State::as_str), table.count());
        self.table.store(Arc::new(table));
    }

    /// Enters what was seen of one server, and sends it to the store as far as the queue has room.
    /// Returns the server's pins with it; what is not among them had no place.
    fn enter(&self, server: &Str, news: Vec<Sighting>, most: usize) -> Arc<ServerPins> {
        let way = self.way();
        let mut table = Table::clone(&self.table.load());
        let pins = table.server_mut(server);
        for seen in news {
            let (kind, name, print) = (seen.kind, seen.name.clone(), seen.fingerprint);
            if pins.see(kind, &name, print, seen.at, most) {
                let saved = self.send(&way, seen);
                pins.mark(kind, &name, print, saved);
            }
        }
        let entered = table.server(server).map(Arc::clone).unwrap_or_default();
        self.replace(&way, table);
        entered
    }

    fn send(&self, way: &Way, seen: Sighting) -> Saved {
        let (sender, most) = match way {
            Way::None => return Saved::Yes,
            Way::Queue { sender, bytes } => (sender, bytes),
            Way::Closed => return Saved::No,
        };
        let bytes = weight(&seen);
        let fits = self.waiting.load(Ordering::Relaxed).saturating_add(bytes) <= *most;
        if fits && sender.try_send(seen).is_ok() {
            // Only here is anything added, and the way is held: the sum is never missed.
            self.waiting.fetch_add(bytes, Ordering::Relaxed);
            return Saved::Queued;
        }
        self.metrics.pin_deferred();
        Saved::No
    }

    /// Says what became of sightings that were queued.
    fn left_queue(&self, batch: &[Sighting], saved: Saved) {
        let way = self.way();
        let mut table = Table::clone(&self.table.load());
        for seen in batch {
            self.waiting.fetch_sub(weight(seen), Ordering::Relaxed);
            if table.server(&seen.server).is_some() {
                let pins = table.server_mut(&seen.server);
                pins.mark(seen.kind, &seen.name, seen.fingerprint, saved);
            }
        }
        self.replace(&way, table);
    }

    /// Takes over what the store has.
    fn merge(&self, stored: Table) {
        let way = self.way();
        let merged = self.table.load().merged_into(stored);
        self.replace(&way, merged);
    }
}

/// Bytes of a sighting that are not of a fixed number.
fn weight(seen: &Sighting) -> usize {
    seen.name.len() + seen.definition.as_ref().map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests;
