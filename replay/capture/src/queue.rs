//! The bounded queue between the threads that serve traffic and the one that records, with its books.
//!
//! One mutex guards queue and counters, so that `enqueued = written + dropped + in_queue` holds at every look.
//! The consumer is woken once a group, not once a row: by the first row when it idles, and by a full group.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::config::{OnOverflow, RecorderConfig};
use crate::journal::MAX_ROW_BYTES;
use crate::record::Record;
use crate::ticket::Durability;

/// Whether rows reach the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// They do.
    #[default]
    Ok,
    /// They do, yet something is wrong, and says what: bodies are left out, or files wait in the journal.
    Degraded(String),
    /// They do not: rows are lost, and counted.
    Failing(String),
}

/// What the recorder has done so far. Rows are the caller's; `gaps` counts rows the recorder added itself.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Rows offered to the recorder, refused ones included.
    pub enqueued: u64,
    /// Rows in the journal or (without a journal) in the file in progress.
    pub written: u64,
    /// Rows lost: refused at a full queue, or lost to the disk.
    pub dropped: u64,
    /// Rows accepted and not yet written.
    pub in_queue: u64,
    /// Bytes of the rows in the queue.
    pub in_queue_bytes: u64,
    /// Messages that the caller chose not to record ([`Recorder::leave_out`](crate::Recorder::leave_out)).
    pub left_out: u64,
    /// Rows of kind `gap` written.
    pub gaps: u64,
    /// Bytes in the journal segment in progress.
    pub journal_bytes: u64,
    /// Files finished and visible.
    pub files: u64,
    /// Rows recovered from journals, of dead recorders at the start or of own files that failed.
    pub recovered: u64,
    /// Files removed to stay below the size limit.
    pub removed_files: u64,
    /// Failed operations on the disk.
    pub errors: u64,
    /// The last of these, as text.
    pub last_error: Option<String>,
    /// Whether rows reach the disk at this moment.
    pub health: Health,
    /// Every row up to this `seq` is on the disk.
    pub durable_seq: i64,
    /// What was uploaded, where files are.
    pub store: Option<crate::StoreStats>,
}

/// A group is cut short at this size, to bound what the consumer holds beside the queue.
const GROUP_BYTES: usize = 8 << 20;

/// State behind the mutex.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) stats: Stats,
    pub(crate) durability: Durability,
    /// Rows with their sizes.
    rows: VecDeque<(usize, Record)>,
    /// Bytes in `rows`; those of a group taken and not settled are not among them.
    waiting_bytes: usize,
    /// Rows lost since the last accepted one; goes out with the next, as its `dropped_before`.
    lost: u64,
    /// Rows accepted so far; the number on the next ticket.
    accepted: u64,
    idle: bool,
    pub(crate) closing: bool,
    pub(crate) closed: bool,
    /// Why the last file was left in the journal, if it was.
    pub(crate) unfinished: Option<String>,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Tells the consumer: rows or closing.
    filled: Condvar,
    /// Tells producers under [`OnOverflow::Block`]: room.
    room: Condvar,
    /// Tells waiters on tickets and on closing: news.
    pub(crate) news: Condvar,
    limits: RecorderConfig,
    /// A group is full at this many rows or bytes.
    group: (usize, usize),
}

/// What the consumer is to do next.
#[derive(Debug, PartialEq)]
pub(crate) enum Wake {
    /// Rows of so many bytes are in the batch, and maybe more in the queue.
    Rows(u64),
    /// The deadline passed without rows.
    Deadline,
    /// No rows are left, and none will come.
    Closing,
}

impl Queue {
    pub(crate) fn new(limits: RecorderConfig) -> Queue {
        Queue {
            state: Mutex::default(),
            filled: Condvar::new(),
            room: Condvar::new(),
            news: Condvar::new(),
            // a small queue must not fill up while the consumer waits for company
            group: (
                limits.commit_rows.min(limits.queue_rows.div_ceil(2)),
                GROUP_BYTES.min(limits.queue_bytes / 2),
            ),
            limits,
        }
    }

    /// A panic elsewhere leaves the counters valid: no invariant spans two lock scopes.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a row and numbers it, or hands it back and counts it as dropped.
    #[expect(clippy::result_large_err, reason = "the row handed back is the point")]
    pub(crate) fn push(&self, mut row: Record) -> Result<u64, Record> {
        let size = row.size();
        let mut state = self.lock();
        state.stats.enqueued += 1;
        if self.limits.on_overflow == OnOverflow::Block && size <= self.limits.queue_bytes {
            state = self.wait_for_room(state, size);
        }
        if state.closing || !self.fits(&state, size) {
            state.stats.dropped += 1;
            state.lost += 1;
            return Err(row);
        }
        row.dropped_before = i64::try_from(std::mem::take(&mut state.lost)).unwrap_or(i64::MAX);
        let had_company = self.group_full(&state);
        state.rows.push_back((size, row));
        state.waiting_bytes += size;
        state.stats.in_queue += 1;
        state.stats.in_queue_bytes += size as u64;
        state.accepted += 1;
        let number = state.accepted;
        let wake = std::mem::take(&mut state.idle) || (!had_company && self.group_full(&state));
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(number)
    }

    /// Whether a row of usual size would be taken and written now.
    pub(crate) fn takes(&self) -> bool {
        let state = self.lock();
        let failing = matches!(state.stats.health, Health::Failing(_));
        !failing && !state.closing && self.fits(&state, 64 << 10)
    }

    fn group_full(&self, state: &State) -> bool {
        state.rows.len() >= self.group.0 || state.waiting_bytes >= self.group.1
    }

    fn fits(&self, state: &State, size: usize) -> bool {
        size <= MAX_ROW_BYTES
            && state.stats.in_queue < self.limits.queue_rows as u64
            && state.stats.in_queue_bytes + size as u64 <= self.limits.queue_bytes as u64
    }

    fn wait_for_room<'a>(
        &self,
        state: MutexGuard<'a, State>,
        size: usize,
    ) -> MutexGuard<'a, State> {
        let full = |state: &mut State| !state.closing && !self.fits(state, size);
        let waited = self.room.wait_timeout_while(state, self.limits.block_for, full);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Moves up to a group of rows into `batch`: waits for the first until `deadline`, and for company until the
    /// group is full or `linger` has passed. The rows stay on the books as queued until [`Queue::settle`].
    pub(crate) fn take(
        &self,
        batch: &mut Vec<Record>,
        deadline: Option<Instant>,
        linger: bool,
    ) -> Wake {
        let mut state = self.lock();
        while state.rows.is_empty() {
            if state.closing {
                return Wake::Closing;
            }
            state.idle = true;
            state = match deadline {
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        state.idle = false;
                        return Wake::Deadline;
                    }
                    self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.idle = false;
        if linger && !self.group_full(&state) && !state.closing {
            let few = |state: &mut State| !self.group_full(state) && !state.closing;
            let waited = self.filled.wait_timeout_while(state, self.limits.commit_every, few);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut bytes = 0;
        while batch.len() < self.group.0
            && bytes < self.group.1
            && let Some((size, row)) = state.rows.pop_front()
        {
            bytes += size;
            batch.push(row);
        }
        state.waiting_bytes -= bytes;
        Wake::Rows(bytes as u64)
    }

    /// Books `rows` taken rows of `bytes` in all as written or dropped, and lets `change` see the state.
    pub(crate) fn settle(
        &self,
        rows: u64,
        bytes: u64,
        written: bool,
        change: impl FnOnce(&mut State),
    ) {
        let mut state = self.lock();
        state.stats.in_queue -= rows;
        state.stats.in_queue_bytes -= bytes;
        if written {
            state.stats.written += rows;
        } else {
            state.stats.dropped += rows;
        }
        change(&mut state);
        self.tell(state);
        self.room.notify_all();
    }

    /// Lets `change` see the state, and tells whoever waits for it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        self.tell(state);
    }

    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let all = state.closed;
        let wakers = state.durability.ready(all);
        drop(state);
        self.news.notify_all();
        wakers.for_each(std::task::Waker::wake);
    }

    /// The consumer is gone: what it has not taken is lost.
    pub(crate) fn closed(&self, unfinished: Option<String>) {
        self.update(|state| {
            state.closing = true;
            state.closed = true;
            state.unfinished = unfinished;
            state.rows.clear();
            state.waiting_bytes = 0;
            state.stats.dropped += std::mem::take(&mut state.stats.in_queue);
            state.stats.in_queue_bytes = 0;
        });
        self.room.notify_all();
    }

    /// Rows lost at the door that no later row has reported.
    pub(crate) fn unreported(&self) -> u64 {
        std::mem::take(&mut self.lock().lost)
    }

    /// No more rows from now on.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.filled.notify_all();
        self.room.notify_all();
    }
}
