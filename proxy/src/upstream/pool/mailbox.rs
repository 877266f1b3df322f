//! What a server sent and one client has not taken yet: a bounded queue, and the end behind it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::upstream::UpstreamError;

/// A queue that one task fills and another empties.
#[derive(Debug)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    changed: Notify,
    most: usize,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Bytes>,
    bytes: usize,
    end: Option<End>,
    /// Whether nobody will take anything any more.
    left: bool,
}

/// What comes last.
#[derive(Debug)]
pub(super) enum End {
    /// The answer.
    Answer(Bytes),
    /// No answer will come.
    Failed(UpstreamError),
    /// Nothing more, and nothing is missing.
    Over,
}

/// What a mailbox gives.
#[derive(Debug)]
pub(super) enum Letter {
    /// A message beside the answer.
    Message(Bytes),
    /// The last thing.
    End(End),
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It waits to be taken.
    Kept,
    /// There is no room.
    Full,
    /// Nobody will take it.
    Left,
}

impl Mailbox {
    /// Room for so many messages and bytes. The end always has a place.
    pub(super) fn new(most: usize, most_bytes: usize) -> Mailbox {
        Mailbox { state: Mutex::default(), changed: Notify::new(), most, most_bytes }
    }

    /// Puts a message in.
    pub(super) fn put(&self, message: Bytes) -> Put {
        let mut state = self.lock();
        if state.left || state.end.is_some() {
            return Put::Left;
        }
        // A single message may be larger than the room: the limit on lines is its limit.
        let full = state.queue.len() >= self.most
            || (!state.queue.is_empty() && state.bytes + message.len() > self.most_bytes);
        if full {
            return Put::Full;
        }
        state.bytes += message.len();
        state.queue.push_back(message);
        drop(state);
        self.changed.notify_one();
        Put::Kept
    }

    /// Says what comes last. The first end counts.
    pub(super) fn end(&self, end: End) {
        let mut state = self.lock();
        if state.left || state.end.is_some() {
            return;
        }
        state.end = Some(end);
        drop(state);
        self.changed.notify_one();
    }

    /// Nobody takes anything any more.
    pub(super) fn leave(&self) {
        *self.lock() = State { left: true, ..State::default() };
    }

    /// Whether somebody may still take what is put in.
    pub(super) fn is_open(&self) -> bool {
        let state = self.lock();
        !state.left && state.end.is_none()
    }

    /// The next message, then the end, which is given once. Cancel-safe; for one task at a time.
    pub(super) async fn next(&self) -> Letter {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.lock();
                if let Some(message) = state.queue.pop_front() {
                    state.bytes -= message.len();
                    return Letter::Message(message);
                }
                if let Some(end) = state.end.as_mut() {
                    return Letter::End(std::mem::replace(end, End::Over));
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole between statements: a panic elsewhere leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_box_drops_messages_and_never_the_answer() {
        let mailbox = Mailbox::new(2, 10);
        let message = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(mailbox.put(message("longer than ten bytes")), Put::Kept);
        assert_eq!(mailbox.put(message("x")), Put::Full, "by bytes");
        assert!(matches!(mailbox.next().await, Letter::Message(_)));
        for put in [Put::Kept, Put::Kept, Put::Full] {
            assert_eq!(mailbox.put(message("x")), put, "by number");
        }
        mailbox.end(End::Answer(message("answer")));
        assert_eq!(mailbox.put(message("late")), Put::Left);
        for _ in 0..2 {
            assert!(matches!(mailbox.next().await, Letter::Message(_)));
        }
        assert!(matches!(mailbox.next().await, Letter::End(End::Answer(_))));
        assert!(matches!(mailbox.next().await, Letter::End(End::Over)));
    }

    #[tokio::test]
    async fn who_left_holds_nothing_back() {
        let mailbox = Mailbox::new(2, 10);
        assert_eq!(mailbox.put(Bytes::from_static(b"x")), Put::Kept);
        mailbox.leave();
        assert!(!mailbox.is_open());
        assert_eq!(mailbox.put(Bytes::from_static(b"x")), Put::Left);
        assert!(mailbox.lock().queue.is_empty());
    }
}
