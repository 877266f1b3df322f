//! Texts that leave the gateway and come back, which only a gateway with the same keys can read or
//! make: session ids, and what else names something across calls. No clock and no tables: what a
//! text means, and until when, is its owner's business.
//!
//! A sealed text is base64url of `key id (1) · salt (16) · ciphertext · tag (16)`. The cipher is
//! ChaCha20-Poly1305 under a key of this one message, which HKDF-SHA256 makes from a configured
//! secret and the salt. So no nonce is ever used twice, unless two salts of 128 bits are equal:
//! that needs some 2^64 messages, where random nonces of 96 bits under one key allow 2^32.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hkdf, hmac};

use crate::config::Secret;

/// Separates these keys from whatever else somebody may derive from the same secret.
const DOMAIN: &[u8] = b"wiregate sealed texts, 1";

const SALT: usize = 16;
const HEAD: usize = 1 + SALT;

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// Seals and opens. Keys are derived once, when it is made; it is shared by all messages.
pub struct Sealer {
    /// The first seals, all open.
    keys: Vec<Key>,
    /// Makes salts and names: a keyed counter needs the system's randomness only once, and so
    /// never fails in the middle.
    fresh: hmac::Key,
    count: AtomicU64,
    is_lasting: bool,
}

struct Key {
    /// The first byte of what it sealed. It only finds the key: two may have the same.
    id: u8,
    messages: hkdf::Prk,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Sealer {
    /// A sealer with these secrets: the first seals, all open. Without any, one of this run of the
    /// process alone: what it sealed is lost with it.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn new(secrets: &[Secret]) -> Result<Sealer, NoRandomness> {
        let secrets: Vec<&[u8]> = secrets.iter().map(|s| s.expose().as_bytes()).collect();
        let keys = match secrets.as_slice() {
            [] => vec![Key::of(of_this_run()?)],
            some => some.iter().map(|secret| Key::of(secret)).collect(),
        };
        Ok(Sealer {
            keys,
            fresh: hmac::Key::new(hmac::HMAC_SHA256, &random()?),
            count: AtomicU64::new(0),
            is_lasting: !secrets.is_empty(),
        })
    }

    /// Whether what is sealed can be opened after a restart, and by other replicas.
    pub fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    /// Seals `plain` to `aad`, without which it does not open. The text is of A-Z, a-z, 0-9, `-`
    /// and `_`; see [`bind`] for an `aad` of parts.
    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> String {
        let salt = self.fresh();
        let key = self.keys.first();
        let sealed = key.and_then(|key| {
            let mut sealed = Vec::with_capacity(HEAD + plain.len() + CHACHA20_POLY1305.tag_len());
            sealed.push(key.id);
            sealed.extend_from_slice(&salt);
            let mut secret = plain.to_vec();
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            key.message(&salt)?
                .seal_in_place_append_tag(nonce, Aad::from(aad), &mut secret)
                .ok()?;
            sealed.extend_from_slice(&secret);
            Some(sealed)
        });
        // There is a key, and the cipher's limit is 256 GiB. Were it otherwise: the empty text
        // opens for nobody.
        URL_SAFE_NO_PAD.encode(sealed.unwrap_or_default())
    }

    /// What was sealed to `aad` with any of the keys.
    pub fn open(&self, aad: &[u8], sealed: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (head, secret) = bytes.split_at_checked(HEAD)?;
        let (id, salt) = head.split_first()?;
        let salt: &[u8; SALT] = salt.try_into().ok()?;
        let mut keys = self.keys.iter().filter(|key| key.id == *id);
        keys.find_map(|key| {
            let mut plain = secret.to_vec();
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            let length = key.message(salt)?.open_in_place(nonce, Aad::from(aad), &mut plain);
            let length = length.ok()?.len();
            plain.truncate(length);
            Some(plain)
        })
    }

    /// 128 bits nobody has seen or can foretell.
    pub fn fresh(&self) -> [u8; SALT] {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        let tag = hmac::sign(&self.fresh, &n.to_be_bytes());
        let mut fresh = [0; SALT];
        // A tag of SHA-256 has 32 bytes.
        fresh.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        fresh
    }
}

impl Key {
    fn of(secret: &[u8]) -> Key {
        let messages = hkdf::Salt::new(hkdf::HKDF_SHA256, DOMAIN).extract(secret);
        let id = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"wiregate key id");
        Key { id: id.as_ref().first().copied().unwrap_or_default(), messages }
    }

    /// The key of the one message with this salt.
    fn message(&self, salt: &[u8; SALT]) -> Option<LessSafeKey> {
        let info: [&[u8]; 2] = [b"message", salt];
        let key = self.messages.expand(&info, &CHACHA20_POLY1305).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

/// Parts as one associated data, of which no other parts make the same: the first should say what
/// the sealed text is for.
pub fn bind(parts: &[&[u8]]) -> Vec<u8> {
    let mut bound = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bound.extend_from_slice(part);
    }
    bound
}

/// The secret of this run, the same for every configuration it is given.
fn of_this_run() -> Result<&'static [u8], NoRandomness> {
    static SECRET: OnceLock<[u8; 32]> = OnceLock::new();
    let random = random()?;
    Ok(SECRET.get_or_init(|| random))
}

fn random() -> Result<[u8; 32], NoRandomness> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(secrets: &[&str]) -> Sealer {
        let secrets: Vec<Secret> = secrets.iter().map(|s| Secret::new(*s)).collect();
        Sealer::new(&secrets).unwrap()
    }

    const A: &str = "the first secret, of 32 bytes....";
    const B: &str = "the second secret, of 32 bytes...";

    #[test]
    fn it_opens_for_the_same_keys_and_the_same_data_alone() {
        let sealed = sealer(&[A]).seal(b"alice", b"plain");
        assert_eq!(sealer(&[A]).open(b"alice", &sealed).unwrap(), b"plain");
        assert_eq!(sealer(&[A]).open(b"bob", &sealed), None);
        assert_eq!(sealer(&[B]).open(b"alice", &sealed), None);
        assert_eq!(sealer(&[]).open(b"alice", &sealed), None);
        let empty = sealer(&[A]).seal(b"", b"");
        assert_eq!(sealer(&[A]).open(b"", &empty).unwrap(), b"");
    }

    #[test]
    fn no_byte_of_it_can_be_changed_added_or_left_out() {
        let sealer = sealer(&[A]);
        let sealed = sealer.seal(b"aad", br#"{"some":"text"}"#);
        for at in 0..sealed.len() {
            for other in "Aa0-_Q9 =+é".chars() {
                let mut changed = sealed[..at].to_owned();
                changed.push(other);
                changed.push_str(&sealed[at + 1..]);
                assert_eq!(changed == sealed, sealer.open(b"aad", &changed).is_some(), "{at}");
            }
            assert_eq!(sealer.open(b"aad", &sealed[..at]), None);
            assert_eq!(sealer.open(b"aad", &sealed[at + 1..]), None);
        }
        for more in ["A", "AAAA", "="] {
            assert_eq!(sealer.open(b"aad", &format!("{sealed}{more}")), None);
        }
    }

    #[test]
    fn a_rotated_key_opens_what_it_sealed_until_it_is_gone() {
        let (old, both, new) = (sealer(&[A]), sealer(&[B, A]), sealer(&[B]));
        let before = old.seal(b"", b"1");
        let after = both.seal(b"", b"2");
        assert_eq!(both.open(b"", &before).unwrap(), b"1");
        assert_eq!(new.open(b"", &after).unwrap(), b"2");
        assert_eq!(new.open(b"", &before), None);
        assert_eq!(old.open(b"", &after), None);
    }

    #[test]
    fn two_keys_with_one_id_both_open() {
        // Some two of these many have the same id: there are 256.
        let secrets: Vec<String> = (0..300).map(|n| format!("a secret among many, {n}")).collect();
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let all = sealer(&secrets);
        for secret in secrets {
            assert!(all.open(b"", &sealer(&[secret]).seal(b"", b"x")).is_some());
        }
    }

    #[test]
    fn equal_texts_are_sealed_differently_and_can_be_headers() {
        let sealer = sealer(&[A]);
        let all: std::collections::BTreeSet<String> =
            (0..1000).map(|_| sealer.seal(b"", b"x")).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|text| text.bytes().all(|b| b.is_ascii_graphic())));
        // 1 + 16 + 1 + 16 bytes, four characters for three
        assert!(all.iter().all(|text| text.len() == 46));
    }

    #[test]
    fn a_run_without_keys_opens_its_own_under_each_configuration() {
        let (one, two) = (sealer(&[]), sealer(&[]));
        assert!(!one.is_lasting() && sealer(&[A]).is_lasting());
        assert_eq!(two.open(b"", &one.seal(b"", b"x")).unwrap(), b"x");
        assert_ne!(one.fresh(), two.fresh());
    }

    #[test]
    fn parts_are_bound_where_they_end() {
        assert_ne!(bind(&[b"ab", b"c"]), bind(&[b"a", b"bc"]));
        assert_ne!(bind(&[b"a", b""]), bind(&[b"a"]));
    }
}
