//! Cursors of merged lists: where each server's own list goes on, sealed, so that no client reads
//! or makes one, and none uses another's.

use serde::{Deserialize, Serialize};

use crate::session::seal::Sealer;

/// Bytes of one cursor at most.
const LONGEST: usize = 16 << 10;

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Names the servers and rules the list was made of.
    pub(super) generation: String,
    /// The servers that have more, each with its own cursor; an empty one is a cursor too.
    pub(super) left: Vec<(String, String)>,
}

/// A cursor for `owner`, as associated data; `None` when it would be too long.
pub(super) fn close(sealer: &Sealer, owner: &[u8], position: &Position) -> Option<String> {
    let text = sealer.seal(owner, &serde_json::to_vec(position).ok()?);
    (text.len() <= LONGEST).then_some(text)
}

/// What a cursor of `owner`'s says; `None` of anyone else's, or of what is none.
pub(super) fn open(sealer: &Sealer, owner: &[u8], cursor: &str) -> Option<Position> {
    let plain = (cursor.len() <= LONGEST).then(|| sealer.open(owner, cursor))??;
    serde_json::from_slice(&plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn sealer() -> Sealer {
        Sealer::new(&[Secret::new("a key of this test, long enough")]).unwrap()
    }

    fn position() -> Position {
        let left = vec![("a".into(), "2".into()), ("b".into(), String::new())];
        Position { generation: "g".into(), left }
    }

    #[test]
    fn a_cursor_is_its_owners_alone() {
        let cursor = close(&sealer(), b"alice", &position()).unwrap();
        assert_eq!(open(&sealer(), b"alice", &cursor), Some(position()));
        assert_eq!(open(&sealer(), b"bob", &cursor), None);
    }

    #[test]
    fn what_is_no_cursor_is_none() {
        for bad in ["", "x", "AAAA", &"A".repeat(LONGEST + 1)] {
            assert_eq!(open(&sealer(), b"alice", bad), None, "{}", bad.len());
        }
    }

    #[test]
    fn a_cursor_has_an_end() {
        let long =
            Position { generation: "g".into(), left: vec![("a".into(), "x".repeat(20_000))] };
        assert_eq!(close(&sealer(), b"alice", &long), None);
    }
}
