//! Rule packs: signed sets of rules, installed beside the built-in ones.
//!
//! The central types: [`Pack`] (one file: a manifest, rules and who signed them), [`Trust`] (the
//! public keys that the configuration names) and [`Shelf`] (the folder of installed packs).
//! `proxy/docs/packs.md` is the page for people, with the threat model.
//!
//! Nothing here judges what a pack's rules would do: that is the gate in [`crate::cli`].

use std::path::PathBuf;

mod file;
mod keys;
mod shelf;

pub use file::{Manifest, Pack, is_pack, seal};
pub use keys::{PublicKey, SigningKey, Trust};
pub use shelf::{Active, Installed, Lock, Shelf};

/// What can be wrong with the bytes of a pack. Whoever made or changed the file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackFault {
    /// It is too large to be one.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// It has not the form of one.
    #[error("no rule pack: {0}")]
    Form(&'static str),
    /// No key is trusted, so that no pack is.
    #[error("no key is trusted: name its public key in `inspect.packs.trust`")]
    NoTrust,
    /// It names a key that is not trusted.
    #[error("signed with the key {0}, which is not in `inspect.packs.trust`")]
    UnknownKey(String),
    /// The signature is not that of these bytes by this key.
    #[error("the signature is wrong: the file was changed, or is not by `{0}`")]
    Signature(String),
    /// The manifest is not one.
    #[error("its manifest is wrong: {0}")]
    Manifest(String),
    /// The name is one of the gateway's own sets.
    #[error("`{0}` is a name of built-in rules")]
    Reserved(String),
    /// The rules are not those of the manifest.
    #[error("the rules are not those of its manifest")]
    Digest,
    /// A newer gateway is needed.
    #[error("it needs version {needs} of the gateway, and this is {have}")]
    Engine {
        /// What the manifest asks for.
        needs: String,
        /// What runs.
        have: &'static str,
    },
    /// It lies where another pack belongs.
    #[error("it is {found}, and lies where {expected} belongs")]
    Misplaced {
        /// Name and version by the manifest.
        found: String,
        /// Name and version by the path.
        expected: String,
    },
}

/// Why something could not be done with packs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// A pack is wrong.
    #[error("{}: {fault}", .path.display())]
    Bad {
        /// The pack's file.
        path: PathBuf,
        /// What is wrong with it.
        fault: PackFault,
    },
    /// The system refused something.
    #[error("{}: cannot be {done}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was to be done with it.
        done: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The rules of a folder cannot be a pack. Their author's to mend.
    #[error("{0}")]
    Unfit(String),
    /// An older version than the active one. Maybe an attacker's.
    #[error(
        "{name} {version} is older than {active}, which is active: to go back, `wiregate rules rollback {name}`"
    )]
    Older {
        /// The set.
        name: String,
        /// The version offered.
        version: String,
        /// The version in use.
        active: String,
    },
    /// Another pack of this name and version is installed. Its maker's mistake, or an attacker's.
    #[error("another {name} {version} is installed: a version is given once")]
    Twice {
        /// The set.
        name: String,
        /// The version.
        version: String,
    },
    /// Too many packs.
    #[error("{} holds {limit} packs already", .path.display())]
    Full {
        /// The folder.
        path: PathBuf,
        /// The most it may hold.
        limit: usize,
    },
    /// No such pack or version is installed.
    #[error("{0} is not installed")]
    Missing(String),
    /// The note of the active version is none.
    #[error("{}: names no version", .0.display())]
    Active(PathBuf),
    /// Another process changes the folder.
    #[error("{}: another update is under way", .0.display())]
    Busy(PathBuf),
    /// Others could read a private key.
    #[error("{}: others may read it: `chmod 600` it", .0.display())]
    Open(PathBuf),
    /// A key file holds no Ed25519 key.
    #[error("{}: no Ed25519 private key in PEM (PKCS #8)", .0.display())]
    Key(PathBuf),
    /// There is neither a folder for packs nor a home folder to look for one.
    #[error("no folder of packs: write `inspect.packs.dir`")]
    NoFolder,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

impl PackError {
    fn io(path: &std::path::Path, done: &'static str) -> impl Fn(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path: path.clone(), done, source }
    }
}
