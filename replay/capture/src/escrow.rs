//! Escrow: what was redacted from a body, sealed to keys that are kept elsewhere.
//!
//! The central types: [`Recipients`] (public keys; all that a gateway has) and [`Identity`] (a private key; opens what
//! was sealed to its public one). Both are X25519 keys in age's spelling. The sealed bytes are no age file.
//!
//! A sealed value stands by itself, so that rows may be copied from file to file:
//! `1 | recipients u8 | (HPKE enc 32, wrapped key 48)… | counter u64 LE | ciphertext and tag`. The data key is drawn
//! anew for each writer and each of its files, and wrapped once to each recipient by HPKE base mode
//! (DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305). Rows are sealed with ChaCha20-Poly1305; the nonce is
//! the key's own counter, and the row's writer and number are associated data: a value does not open in another row.

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use hpke::aead::{AeadTag, ChaCha20Poly1305};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256 as Kem;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem as _, OpModeR, OpModeS, Serializable};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::{CaptureError, Record, bech32};

type PublicKey = <Kem as hpke::Kem>::PublicKey;
type PrivateKey = <Kem as hpke::Kem>::PrivateKey;
type Encapped = <Kem as hpke::Kem>::EncappedKey;

const VERSION: u8 = 1;
const KEY: usize = 32;
const TAG: usize = 16;
const ENC: usize = 32;
const WRAPPED: usize = ENC + KEY + TAG;
/// More recipients than this would make small rows large.
const MAX_RECIPIENTS: usize = 16;
/// The largest file of identities that is read.
const MAX_IDENTITY_FILE: u64 = 64 << 10;

/// The public keys that bodies are sealed to.
#[derive(Clone)]
pub struct Recipients(Vec<PublicKey>);

impl fmt::Debug for Recipients {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Recipients").field(&self.0.len()).finish()
    }
}

impl Recipients {
    /// Reads public keys (`age1…`), at least one.
    ///
    /// # Errors
    /// When one of them is none, or there are none or too many.
    pub fn parse<T: AsRef<str>>(keys: &[T]) -> Result<Recipients, CaptureError> {
        let refuse = |detail| CaptureError::Setting { setting: "escrow.recipients", detail };
        if keys.is_empty() || keys.len() > MAX_RECIPIENTS {
            return Err(refuse("1 to 16 keys"));
        }
        let key = |text: &T| PublicKey::from_bytes(&bech32::decode("age", text.as_ref())?).ok();
        let keys = keys.iter().map(key).collect::<Option<_>>();
        keys.map(Recipients).ok_or_else(|| refuse("not a public key as age1…"))
    }
}

/// Private keys, one of which opens what was sealed to it.
pub struct Identity(Vec<PrivateKey>);

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Identity").field(&self.0.len()).finish()
    }
}

impl Identity {
    /// Reads a file as `age-keygen` writes it: lines with a key (`AGE-SECRET-KEY-1…`), empty lines, comments.
    ///
    /// # Errors
    /// When it can't be read, or holds no key or something else.
    pub fn load(path: &Path) -> Result<Identity, CaptureError> {
        let file = File::open(path).map_err(CaptureError::io("open", path))?;
        let mut text = String::new();
        let read = file.take(MAX_IDENTITY_FILE + 1).read_to_string(&mut text);
        if read.map_err(CaptureError::io("read", path))? as u64 > MAX_IDENTITY_FILE {
            return Err(CaptureError::TooLarge { path: path.to_owned(), limit: MAX_IDENTITY_FILE });
        }
        let detail = "not an identity as AGE-SECRET-KEY-1…";
        Identity::parse(&text).ok_or_else(|| CaptureError::BadKey { path: path.to_owned(), detail })
    }

    /// The keys in the text of such a file; `None` when a line is none, or there is none.
    pub fn parse(text: &str) -> Option<Identity> {
        let lines = text.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let key = |line| PrivateKey::from_bytes(&bech32::decode("age-secret-key-", line)?).ok();
        let keys: Vec<PrivateKey> = keys.map(key).collect::<Option<_>>()?;
        (!keys.is_empty()).then_some(Identity(keys))
    }

    /// The public keys to seal to, as `age1…`.
    pub fn recipients(&self) -> Vec<String> {
        let public = |key| Kem::sk_to_pk(key).to_bytes().into();
        self.0.iter().map(|key| bech32::encode("age", &public(key))).collect()
    }

    /// The body as it crossed the wire; `None` where the row holds none sealed, or not to these keys, or it was
    /// sealed for another row.
    pub fn open(&self, row: &Record) -> Option<Bytes> {
        let (writer, sealed) = (row.writer_id.as_deref()?, row.body_sealed.as_deref()?);
        let [VERSION, count, rest @ ..] = sealed else { return None };
        let (wrapped, rest) = rest.split_at_checked(usize::from(*count) * WRAPPED)?;
        let (counter, sealed) = rest.split_first_chunk::<8>()?;
        let mut pairs =
            wrapped.chunks(WRAPPED).flat_map(|one| self.0.iter().map(move |key| (key, one)));
        let key = pairs.find_map(|(key, wrapped)| unwrap(key, wrapped, writer))?;
        let mut body = sealed.to_vec();
        let nonce = nonce(u64::from_le_bytes(*counter));
        let length =
            key.open_in_place(nonce, Aad::from(about(writer, row.seq)), &mut body).ok()?.len();
        body.truncate(length);
        Some(body.into())
    }
}

/// Seals the bodies of one writer.
pub(crate) struct Sealer {
    recipients: Recipients,
    writer: String,
    random: Random,
    key: Option<DataKey>,
}

/// The key of one file.
struct DataKey {
    key: LessSafeKey,
    /// The beginning of each sealed value.
    head: Vec<u8>,
    used: u64,
}

impl Sealer {
    pub(crate) fn new(recipients: Recipients, writer: &str) -> Sealer {
        let random = Random { system: SystemRandom::new(), failed: false };
        Sealer { recipients, writer: writer.to_owned(), random, key: None }
    }

    /// The next body gets a new key.
    pub(crate) fn renew(&mut self) {
        self.key = None;
    }

    /// Seals the body of the row of this number; `None` when the system has no randomness for a key.
    pub(crate) fn seal(&mut self, seq: i64, body: &[u8]) -> Option<Bytes> {
        let key = match self.key.take() {
            Some(key) => key,
            None => self.fresh()?,
        };
        let key = self.key.insert(key);
        let counter = key.used;
        key.used += 1;
        let mut sealed = Vec::with_capacity(key.head.len() + 8 + body.len() + TAG);
        sealed.extend_from_slice(&key.head);
        sealed.extend_from_slice(&counter.to_le_bytes());
        let start = sealed.len();
        sealed.extend_from_slice(body);
        let aad = Aad::from(about(&self.writer, seq));
        let tag = key.key.seal_in_place_separate_tag(nonce(counter), aad, &mut sealed[start..]);
        sealed.extend_from_slice(tag.ok()?.as_ref());
        Some(sealed.into())
    }

    fn fresh(&mut self) -> Option<DataKey> {
        let mut secret = [0; KEY];
        self.random.system.fill(&mut secret).ok()?;
        let count = u8::try_from(self.recipients.0.len()).ok()?;
        let mut head = vec![VERSION, count];
        for recipient in &self.recipients.0 {
            let mut wrapped = secret;
            let info = info(&self.writer);
            let (enc, tag) = hpke::single_shot_seal_inout_detached_with_rng::<
                ChaCha20Poly1305,
                HkdfSha256,
                Kem,
            >(
                &OpModeS::Base,
                recipient,
                &info,
                InOutBuf::from(&mut wrapped[..]),
                &[],
                &mut self.random,
            )
            .ok()?;
            head.extend_from_slice(&enc.to_bytes());
            head.extend_from_slice(&wrapped);
            head.extend_from_slice(&tag.to_bytes());
        }
        // a key whose wrapping had no randomness is thrown away
        if std::mem::take(&mut self.random.failed) {
            return None;
        }
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &secret).ok()?);
        Some(DataKey { key, head, used: 0 })
    }
}

fn unwrap(key: &PrivateKey, wrapped: &[u8], writer: &str) -> Option<LessSafeKey> {
    let (enc, rest) = wrapped.split_first_chunk::<ENC>()?;
    let (secret, tag) = rest.split_first_chunk::<KEY>()?;
    let mut secret = *secret;
    hpke::single_shot_open_inout_detached::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeR::Base,
        key,
        &Encapped::from_bytes(enc).ok()?,
        &info(writer),
        InOutBuf::from(&mut secret[..]),
        &[],
        &AeadTag::from_bytes(tag).ok()?,
    )
    .ok()?;
    Some(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &secret).ok()?))
}

fn info(writer: &str) -> Vec<u8> {
    format!("wiregate capture escrow v1\n{writer}").into_bytes()
}

fn about(writer: &str, seq: i64) -> Vec<u8> {
    format!("{writer}\n{seq}").into_bytes()
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// The system's randomness as HPKE wants it, which knows no failure: it is remembered instead.
struct Random {
    system: SystemRandom,
    failed: bool,
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.failed |= self.system.fill(bytes).is_err();
        Ok(())
    }
}

impl TryCryptoRng for Random {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A pair of keys published in the age project's test vectors.
    const SECRET: &str =
        "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
    const PUBLIC: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

    fn identity(seed: u8) -> Identity {
        Identity(vec![PrivateKey::from_bytes(&[seed; 32]).unwrap()])
    }

    fn sealer(identities: &[&Identity]) -> Sealer {
        let keys: Vec<String> = identities.iter().flat_map(|one| one.recipients()).collect();
        Sealer::new(Recipients::parse(&keys).unwrap(), "w1")
    }

    fn row(seq: i64, sealed: Bytes) -> Record {
        Record { writer_id: Some("w1".into()), seq, body_sealed: Some(sealed), ..Record::default() }
    }

    #[test]
    fn keys_are_those_of_age() {
        let text = format!("# created: long ago\n# public key: {PUBLIC}\n{SECRET}\n");
        let identity = Identity::parse(&text).unwrap();
        assert_eq!(identity.recipients(), [PUBLIC]);
        assert!(Identity::parse("").is_none() && Identity::parse(PUBLIC).is_none());
        assert!(Recipients::parse(&[PUBLIC]).is_ok());
        let none: [&str; 0] = [];
        assert!(Recipients::parse(&none).is_err() && Recipients::parse(&[SECRET]).is_err());
    }

    #[test]
    fn each_recipient_opens_and_nobody_else() {
        let (one, two, other) = (identity(1), identity(2), identity(3));
        let mut sealer = sealer(&[&one, &two]);
        for (seq, body) in [(1, &b"first"[..]), (2, b""), (3, b"\xff\x00third")] {
            let row = row(seq, sealer.seal(seq, body).unwrap());
            assert_eq!(one.open(&row).as_deref(), Some(body));
            assert_eq!(two.open(&row).as_deref(), Some(body));
            assert_eq!(other.open(&row), None);
            sealer.renew();
        }
    }

    #[test]
    fn a_value_opens_in_its_own_row_only() {
        let one = identity(1);
        let sealed = sealer(&[&one]).seal(7, b"body").unwrap();
        assert!(one.open(&row(7, sealed.clone())).is_some());
        assert_eq!(one.open(&row(8, sealed.clone())), None);
        assert_eq!(one.open(&Record { writer_id: Some("w2".into()), ..row(7, sealed) }), None);
    }

    #[test]
    fn no_nonce_comes_twice_under_one_key() {
        let one = identity(1);
        let mut sealer = sealer(&[&one]);
        // the same number twice: the disk refused the first of them
        let (a, b) = (sealer.seal(7, b"body").unwrap(), sealer.seal(7, b"body").unwrap());
        let head = 2 + WRAPPED;
        assert_eq!(a[..head], b[..head], "one key");
        assert_ne!(a[head..head + 8], b[head..head + 8], "two nonces");
        sealer.renew();
        assert_ne!(a[..head], sealer.seal(7, b"body").unwrap()[..head], "another key");
    }

    proptest! {
        #[test]
        fn turned_bits_and_garbage_open_as_nothing(at in 0_usize..130, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let one = identity(1);
            let mut sealed = sealer(&[&one]).seal(1, b"some body").unwrap().to_vec();
            let at = at % sealed.len();
            sealed[at] ^= 0x20;
            prop_assert_eq!(one.open(&row(1, sealed.into())), None);
            prop_assert_eq!(one.open(&row(1, bytes.into())), None);
        }
    }
}
