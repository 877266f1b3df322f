//! [`Signer`]: the Ed25519 key that signs a manifest, and the names of keys.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::{CaptureError, disk, seal};

/// The largest key file that is read.
const MAX_KEY_FILE: u64 = 64 << 10;

/// A key that signs what the recorder states about its files.
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Signer").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the key in a PKCS#8 file, or makes it there (mode 0600, beside it the public key as `FILE.pub`).
    pub fn load_or_create(path: &Path) -> Result<Signer, CaptureError> {
        if path.exists() {
            return Signer::load(path);
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        disk::create_dir(folder).map_err(CaptureError::io("create", folder))?;
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| bad(path, "the system has no randomness"))?;
        // appears whole: another process may make it at the same time, and only one of both wins
        let tmp = folder.join(format!(".{}.{}.tmp", std::process::id(), random_suffix()));
        let written = disk::create_file(&tmp)
            .and_then(|mut file| file.write_all(made.as_ref()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::hard_link(&tmp, path));
        let _ = fs::remove_file(&tmp);
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(CaptureError::io("create", path)(error)),
        }
        let signer = Signer::load(path)?;
        let public = public_file(path);
        let _ = fs::remove_file(&public);
        disk::create_file(&public)
            .and_then(|mut file| writeln!(file, "{}", signer.public()))
            .map_err(CaptureError::io("create", &public))?;
        Ok(signer)
    }

    /// Reads the key in a PKCS#8 file (RFC 8410, DER or PEM).
    pub fn load(path: &Path) -> Result<Signer, CaptureError> {
        let bytes = read_file(path)?;
        let der = match std::str::from_utf8(&bytes) {
            Ok(text) if text.contains("-----BEGIN PRIVATE KEY-----") => {
                let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
                STANDARD.decode(body.trim()).map_err(|_| bad(path, "not base64 inside"))?
            }
            _ => bytes,
        };
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map_err(|_| bad(path, "not an Ed25519 key in PKCS#8"))?;
        Ok(Signer { pair })
    }

    /// The public key, in base64.
    pub fn public(&self) -> String {
        STANDARD.encode(self.pair.public_key())
    }

    /// The key's id: the first 16 hex digits of the public key's SHA-256.
    pub fn id(&self) -> String {
        id_of(self.pair.public_key().as_ref())
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(bytes))
    }
}

/// The id of the key that `text` names: an id itself, a public key in base64, or a file of either key.
///
/// # Errors
/// When it is none of these.
pub fn key_id(text: &str) -> Result<String, CaptureError> {
    if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    if let Some(public) = public_key(text) {
        return Ok(id_of(&public));
    }
    let path = Path::new(text);
    let bytes = read_file(path)?;
    if let Some(public) = std::str::from_utf8(&bytes).ok().and_then(|text| public_key(text.trim()))
    {
        return Ok(id_of(&public));
    }
    Signer::load(path).map(|signer| signer.id())
}

/// Checks a signature by a public key in base64; gives the key's id where it holds.
pub(crate) fn check(public: &str, signature: &str, bytes: &[u8]) -> Option<String> {
    let public = public_key(public)?;
    let signature = STANDARD.decode(signature).ok()?;
    UnparsedPublicKey::new(&ED25519, &public).verify(bytes, &signature).ok()?;
    Some(id_of(&public))
}

fn public_key(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok().filter(|key| key.len() == 32)
}

fn id_of(public: &[u8]) -> String {
    seal::hex(&seal::sha256(public)[..8])
}

fn public_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn random_suffix() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

fn read_file(path: &Path) -> Result<Vec<u8>, CaptureError> {
    let file = File::open(path).map_err(CaptureError::io("open", path))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_KEY_FILE + 1).read_to_end(&mut bytes);
    if read.map_err(CaptureError::io("read", path))? as u64 > MAX_KEY_FILE {
        return Err(CaptureError::TooLarge { path: path.to_owned(), limit: MAX_KEY_FILE });
    }
    Ok(bytes)
}

fn bad(path: &Path, detail: &'static str) -> CaptureError {
    CaptureError::BadKey { path: path.to_owned(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/capture.pk8");
        let made = Signer::load_or_create(&path).unwrap();
        let again = Signer::load_or_create(&path).unwrap();
        assert_eq!(made.id(), again.id());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let public = dir.path().join("keys/capture.pk8.pub");
        for name in [&made.id(), &made.public(), path.to_str().unwrap(), public.to_str().unwrap()] {
            assert_eq!(key_id(name).unwrap(), made.id(), "{name}");
        }
        let signature = made.sign(b"entry");
        assert_eq!(check(&made.public(), &signature, b"entry"), Some(made.id()));
        assert_eq!(check(&made.public(), &signature, b"other"), None);
    }

    #[test]
    fn what_is_no_key_is_a_typed_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "no key").unwrap();
        assert!(matches!(Signer::load(&path), Err(CaptureError::BadKey { .. })));
        assert!(matches!(key_id(path.to_str().unwrap()), Err(CaptureError::BadKey { .. })));
        assert!(matches!(key_id("nowhere"), Err(CaptureError::Io { .. })));
        fs::write(&path, vec![0; 70 << 10]).unwrap();
        assert!(matches!(Signer::load(&path), Err(CaptureError::TooLarge { .. })));
    }
}
