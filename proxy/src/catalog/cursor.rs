//! Cursors of merged lists: where each server's own list goes on, sealed, so that no client reads
//! or makes one, and none uses another's.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

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

/// Makes and opens cursors. The key lives as long as the process: after a restart lists begin anew.
pub(super) struct Seal {
    key: Option<LessSafeKey>,
    random: SystemRandom,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

impl Default for Seal {
    fn default() -> Self {
        let random = SystemRandom::new();
        let mut key = [0; 32];
        // Without randomness there is no key, and no list has a second page.
        let key = random.fill(&mut key).ok().and_then(|()| {
            let key = UnboundKey::new(&AES_256_GCM, &key).ok()?;
            Some(LessSafeKey::new(key))
        });
        Seal { key, random }
    }
}

impl Seal {
    /// A cursor for `owner`; `None` when it would be too long.
    pub(super) fn close(&self, owner: &str, position: &Position) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = serde_json::to_vec(position).ok()?;
        let aad = Aad::from(owner.as_bytes());
        let with = Nonce::assume_unique_for_key(nonce);
        self.key.as_ref()?.seal_in_place_append_tag(with, aad, &mut sealed).ok()?;
        let text = URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat());
        (text.len() <= LONGEST).then_some(text)
    }

    /// What a cursor of `owner`'s says; `None` of anyone else's, or of what is none.
    pub(super) fn open(&self, owner: &str, cursor: &str) -> Option<Position> {
        if cursor.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let aad = Aad::from(owner.as_bytes());
        let plain = self.key.as_ref()?.open_in_place(nonce, aad, &mut sealed).ok()?;
        serde_json::from_slice(plain).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position() -> Position {
        let left = vec![("a".into(), "2".into()), ("b".into(), String::new())];
        Position { generation: "g".into(), left }
    }

    #[test]
    fn a_cursor_is_its_owners_alone_and_tells_nothing() {
        let seal = Seal::default();
        let cursor = seal.close("alice", &position()).unwrap();
        assert_eq!(seal.open("alice", &cursor), Some(position()));
        assert_eq!(seal.open("bob", &cursor), None);
        assert_eq!(Seal::default().open("alice", &cursor), None);
        assert_ne!(cursor, seal.close("alice", &position()).unwrap());
    }

    #[test]
    fn what_is_no_cursor_is_none() {
        let seal = Seal::default();
        let mut cursor = seal.close("alice", &position()).unwrap();
        cursor.replace_range(20..21, if &cursor[20..21] == "A" { "B" } else { "A" });
        for bad in ["", "x", "AAAA", &cursor, &"A".repeat(LONGEST + 1)] {
            assert_eq!(seal.open("alice", bad), None, "{}", bad.len());
        }
    }

    #[test]
    fn a_cursor_has_an_end() {
        let long =
            Position { generation: "g".into(), left: vec![("a".into(), "x".repeat(20_000))] };
        assert_eq!(Seal::default().close("alice", &long), None);
    }
}
