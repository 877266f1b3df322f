//! Placeholders that stay testable: equal secrets get equal ones, and without the key they tell nothing.

use crate::compile::hex;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;

/// Bytes of a key at least.
const MIN_KEY: usize = 16;

/// The key of placeholders `[wg:RULE:KEYID:HMAC]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaskKey([u8; 32]);

/// A key of placeholders that is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key of placeholders has at least {MIN_KEY} bytes")]
pub struct ShortKey;

impl MaskKey {
    /// A key from a secret of 16 bytes or more.
    ///
    /// # Errors
    /// The secret is shorter.
    pub fn new(secret: &[u8]) -> Result<Self, ShortKey> {
        if secret.len() < MIN_KEY {
            return Err(ShortKey);
        }
        Ok(Self(Sha256::digest([b"wiregate mask key\0", secret].concat()).into()))
    }

    /// What names the key without telling it: eight hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        hex(Sha256::digest(self.0).get(..4).unwrap_or(&[]))
    }

    /// The placeholder of a secret that `rule` found: the first 16 hexadecimal digits of its HMAC-SHA-256 (RFC 2104).
    pub(crate) fn placeholder(&self, rule: &str, secret: &[u8]) -> String {
        // HMAC fills a shorter key with zeros to the hash's block
        let mut block = [0; 64];
        let (key, _) = block.split_at_mut(self.0.len());
        key.copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(secret);
        let tag = mac.finalize().into_bytes();
        format!("[wg:{rule}:{}:{}]", self.id(), hex(tag.get(..8).unwrap_or(&[])))
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaskKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::{MaskKey, ShortKey};

    #[test]
    fn equal_secrets_stay_equal_under_one_key() {
        let key = MaskKey::new(b"0123456789abcdef").unwrap();
        let other = MaskKey::new(b"0123456789abcdeg").unwrap();
        let one = key.placeholder("a.b", b"secret");
        assert_eq!(one, key.placeholder("a.b", b"secret"));
        assert_ne!(one, key.placeholder("a.b", b"secret2"));
        assert_ne!(one, other.placeholder("a.b", b"secret"));
        assert_eq!(one.len(), "[wg:a.b:".len() + 8 + 1 + 16 + 1);
        assert!(one.starts_with(&format!("[wg:a.b:{}:", key.id())));
        assert!(!format!("{key:?}").contains("0123"));
        assert_eq!(MaskKey::new(b"short"), Err(ShortKey));
    }
}
