//! Ed25519 keys: private ones in files of their own, public ones as the configuration writes them.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use super::PackError;
use crate::snapshot::hex;

/// What a public key starts with where it is written.
const PREFIX: &str = "ed25519:";

/// No key file is larger.
const MAX_FILE: u64 = 4096;

/// What stands before the 32 bytes of a key in PKCS #8, by RFC 8410.
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads `ed25519:` and 32 bytes in base64.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// What packs call it: the first 64 bits of its SHA-256, in hexadecimal.
    pub fn id(&self) -> String {
        hex(&Sha256::digest(self.0)).chars().take(16).collect()
    }

    /// Whether this signature is of these bytes and by this key.
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(signed, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

/// The keys whose packs are taken, each with its holder's name.
#[derive(Clone, Debug, Default)]
pub struct Trust(Vec<(String, PublicKey)>);

impl Trust {
    /// These keys.
    pub fn new(keys: impl IntoIterator<Item = (String, PublicKey)>) -> Self {
        Self(keys.into_iter().collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that packs call so, and its holder.
    pub fn find(&self, id: &str) -> Option<(&str, &PublicKey)> {
        self.0.iter().find(|(_, key)| key.id() == id).map(|(name, key)| (name.as_str(), key))
    }
}

/// A private key.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public()).finish()
    }
}

impl SigningKey {
    /// A new key, and what its file is to hold.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn generate() -> Result<(Self, String), PackError> {
        let mut seed = [0_u8; 32];
        rustls::crypto::ring::default_provider()
            .secure_random
            .fill(&mut seed)
            .map_err(|_| PackError::Random)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| PackError::Random)?;
        let body = STANDARD.encode([&PKCS8[..], &seed].concat());
        let line = |which: &str| format!("-----{which} PRIVATE KEY-----\n");
        Ok((Self(pair), format!("{}{body}\n{}", line("BEGIN"), line("END"))))
    }

    /// Reads a key's file, as `wiregate keys new --sign` and `openssl genpkey` write it.
    ///
    /// # Errors
    /// It cannot be read, holds no such key, or others may read it.
    pub fn read(path: &Path) -> Result<Self, PackError> {
        let failed = PackError::io(path, "read");
        let file = File::open(path).map_err(&failed)?;
        // Of the file that is open, so that nobody can put another in its place in between.
        if file.metadata().map_err(&failed)?.mode() & 0o077 != 0 {
            return Err(PackError::Open(path.into()));
        }
        let mut pem = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut pem).map_err(&failed)?;
        let key = || PackError::Key(path.into());
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| key())?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        pair.map(Self).map_err(|_| key())
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0_u8; 32];
        for (to, from) in bytes.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(bytes)
    }

    /// Signs these bytes.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_public_key_is_read_as_it_is_written() {
        let (key, _) = SigningKey::generate().unwrap();
        let public = key.public();
        assert_eq!(PublicKey::parse(&public.to_string()), Some(public));
        let short = format!("ed25519:{}", STANDARD.encode([7; 31]));
        for wrong in ["", "ed25519:", "ed25519:?", &short, &STANDARD.encode([7; 32])] {
            assert_eq!(PublicKey::parse(wrong), None, "{wrong}");
        }
        let trust = Trust::new([("ops".to_owned(), public)]);
        assert_eq!(trust.find(&public.id()), Some(("ops", &public)));
        assert_eq!(trust.find("0000000000000000"), None);
    }

    #[test]
    fn a_private_key_comes_from_a_file_that_nobody_else_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops.pem");
        let (key, pem) = SigningKey::generate().unwrap();
        fs::write(&path, &pem).unwrap();
        for (mode, is_open) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let read = SigningKey::read(&path);
            assert_eq!(matches!(read, Err(PackError::Open(_))), is_open, "{mode:o}");
            if !is_open {
                assert_eq!(read.unwrap().public(), key.public());
            }
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for wrong in ["", "no key", &pem.replace("PRIVATE KEY", "EC PRIVATE KEY"), &pem[..60]] {
            fs::write(&path, wrong).unwrap();
            assert!(matches!(SigningKey::read(&path), Err(PackError::Key(_))), "{wrong}");
        }
        assert!(!format!("{key:?}").contains(&pem[28..60]));
    }

    #[test]
    fn a_signature_is_of_its_bytes_and_key() {
        let (key, _) = SigningKey::generate().unwrap();
        let (other, _) = SigningKey::generate().unwrap();
        let signature = key.sign(b"rules");
        assert!(key.public().verifies(b"rules", &signature));
        assert!(!key.public().verifies(b"rulez", &signature));
        assert!(!other.public().verifies(b"rules", &signature));
        assert!(!key.public().verifies(b"rules", &signature[..63]));
    }
}
