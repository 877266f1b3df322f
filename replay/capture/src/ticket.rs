//! [`Ticket`]: the promise that a row reaches the disk, as a future without a runtime.
//!
//! Tickets are numbers: rows are settled in the order they were accepted, so one counter answers all tickets and
//! handing one out allocates nothing.

use std::collections::VecDeque;
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
    waiting: Vec<(u64, Waker)>,
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
    pub(crate) fn ready(&mut self, all: bool) -> Vec<Waker> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let settled = self.settled;
        self.waiting
            .extract_if(.., |(number, _)| all || *number <= settled)
            .map(|(_, waker)| waker)
            .collect()
    }

    fn outcome(&self, number: u64) -> Option<Result<(), CaptureError>> {
        if number > self.settled {
            return None;
        }
        let lost = self
            .losses
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&number));
        Some(if lost {
            Err(CaptureError::NotDurable {
                detail: self.reason.clone(),
            })
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
        // A future polled again brings a new waker; the old one may stay behind, waking it is harmless.
        let known = state
            .durability
            .waiting
            .iter_mut()
            .find(|(other, _)| other == number);
        match known {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => state
                .durability
                .waiting
                .push((*number, context.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        let mut state = self.0.queue.lock();
        let number = self.0.number;
        state
            .durability
            .waiting
            .retain(|(other, _)| *other != number);
    }
}
