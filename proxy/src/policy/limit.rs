//! How much at once: requests in flight, open streams, connections. Rates will stand beside.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Denied, LIMIT};
use crate::config::Limits;

/// Places for what runs at the same time. A place is given back when its permit is dropped.
#[derive(Debug)]
pub struct Places {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl Places {
    /// As many places as the configuration has.
    pub fn new(limits: &Limits) -> Places {
        let of = |n: usize| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        Places {
            requests: of(limits.concurrent_requests),
            streams: of(limits.streams),
            connections: of(limits.connections),
        }
    }

    /// A place for a request.
    ///
    /// # Errors
    /// 503 when all are taken.
    pub fn request(&self) -> Result<OwnedSemaphorePermit, Denied> {
        take(&self.requests, "too many requests at once")
    }

    /// A place for a stream that stays open: a GET, or a subscription.
    ///
    /// # Errors
    /// 503 when all are taken.
    pub fn stream(&self) -> Result<OwnedSemaphorePermit, Denied> {
        take(&self.streams, "too many open streams")
    }

    /// A place for a connection, or none.
    pub fn connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }
}

fn take(places: &Arc<Semaphore>, message: &str) -> Result<OwnedSemaphorePermit, Denied> {
    Arc::clone(places)
        .try_acquire_owned()
        .map_err(|_| Denied::new(StatusCode::SERVICE_UNAVAILABLE, LIMIT, "over_capacity", message))
}
