//! [`Ticket`]: the promise that a row reaches the disk, as a future without a runtime.
//!
//! Tickets are numbers: rows are settled in the order they were accepted, so one counter answers all tickets and
//! handing one out allocates nothing.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::CaptureError;
use crate::queue::Queue;

/// Failed ranges that are remembered one by one; beyond, the oldest are merged, which may fail a ticket in between.
const REMEMBERED_LOSSES: usize = 1024;

/// Which accepted rows are settled, and how.
#[derive(Debug, Default)]
pub(crate) struct Durability {
    /// Rows up to this number are settled.
    settled: u64,
    /// Ranges among them that were lost, ascending.
    losses: VecDeque<(u64, u64)>,
    reason: String,
    waiting: BTreeMap<u64, Waker>,
}

impl Durability {
    /// The next `rows` rows are on the disk.
    pub(crate) fn keep(&mut self, rows: u64) {
        self.settled += rows;
    }

    /// The next `rows` rows are lost.
    pub(crate) fn lose(&mut self, rows: u64, reason: &str) {
        if rows == 0 {
            return;
        }
        let (first, last) = (self.settled + 1, self.settled + rows);
        self.settled = last;
        reason.clone_into(&mut self.reason);
        match self.losses.back_mut() {
            Some(range) if range.1 + 1 == first => range.1 = last,
            _ => self.losses.push_back((first, last)),
        }
        if self.losses.len() > REMEMBERED_LOSSES {
            let oldest = self.losses.pop_front();
            if let (Some((from, _)), Some(next)) = (oldest, self.losses.front_mut()) {
                next.0 = from;
            }
        }
    }

    /// The wakers of rows settled by now, or all of them.
    pub(crate) fn ready(&mut self, all: bool) -> impl Iterator<Item = Waker> + use<> {
        let later = match self.settled.checked_add(1) {
            Some(next) if !all => self.waiting.split_off(&next),
            _ => BTreeMap::new(),
        };
        std::mem::replace(&mut self.waiting, later).into_values()
    }

    fn outcome(&self, number: u64) -> Option<Result<(), CaptureError>> {
        if number > self.settled {
            return None;
        }
        let lost = self.losses.iter().any(|(from, to)| (*from..=*to).contains(&number));
        Some(if lost {
            Err(CaptureError::NotDurable { detail: self.reason.clone() })
        } else {
            Ok(())
        })
    }
}

/// Proof that a row was accepted; ask it whether the row reached the disk, or drop it.
#[derive(Debug)]
#[must_use = "a row without its ticket is recorded all the same; drop it with `let _ =` to say so"]
pub struct Ticket {
    queue: Arc<Queue>,
    number: u64,
}

impl Ticket {
    pub(crate) fn new(queue: Arc<Queue>, number: u64) -> Ticket {
        Ticket { queue, number }
    }

    /// Resolves after the group commit that holds the row (without a journal: when its file has appeared).
    pub fn durable(self) -> impl Future<Output = Result<(), CaptureError>> + Send + 'static {
        Durable(self)
    }

    /// As [`Ticket::durable`], for threads: blocks until the answer or the timeout ([`CaptureError::TimedOut`]).
    pub fn wait(self, timeout: Duration) -> Result<(), CaptureError> {
        let unsettled = |state: &mut crate::queue::State| {
            !state.closed && state.durability.outcome(self.number).is_none()
        };
        let state = self.queue.lock();
        let (state, _) = self
            .queue
            .news
            .wait_timeout_while(state, timeout, unsettled)
            .unwrap_or_else(PoisonError::into_inner);
        match state.durability.outcome(self.number) {
            Some(outcome) => outcome,
            None if state.closed => Err(CaptureError::Closed),
            None => Err(CaptureError::TimedOut),
        }
    }
}

struct Durable(Ticket);

impl Future for Durable {
    type Output = Result<(), CaptureError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Ticket { queue, number } = &self.0;
        let mut state = queue.lock();
        if let Some(outcome) = state.durability.outcome(*number) {
            return Poll::Ready(outcome);
        }
        if state.closed {
            return Poll::Ready(Err(CaptureError::Closed));
        }
        state.durability.waiting.insert(*number, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        let mut state = self.0.queue.lock();
        state.durability.waiting.remove(&self.0.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_follow_the_order_of_acceptance() {
        let mut rows = Durability::default();
        rows.keep(2);
        rows.lose(3, "disk full");
        rows.lose(1, "disk gone");
        rows.keep(1);
        let outcomes: Vec<_> =
            (1..=8).map(|row| rows.outcome(row).map(|kept| kept.is_ok())).collect();
        let (kept, lost) = (Some(true), Some(false));
        assert_eq!(outcomes, [kept, kept, lost, lost, lost, lost, kept, None]);
        assert_eq!(rows.losses.len(), 1);
    }

    #[test]
    fn no_lost_row_is_ever_called_durable() {
        let mut rows = Durability::default();
        for _ in 0..5000 {
            rows.lose(1, "");
            rows.keep(1);
        }
        assert!(rows.losses.len() <= REMEMBERED_LOSSES);
        let called_durable = |row| rows.outcome(row).is_some_and(|kept| kept.is_ok());
        assert!((0..5000).all(|at| !called_durable(2 * at + 1)));
        assert!(called_durable(10_000), "recent ranges are exact");
    }
}
