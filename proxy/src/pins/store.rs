//! What a store of pins can be asked: [`Store`]. The one there is keeps a file ([`super::sqlite`]);
//! a database that several gateways share would be another.

use std::io;

use capture::Str;
use inspect::pin::{Fingerprint, ItemKind};

use super::table::State;

/// Where pins outlive the process. A trait, because there will be a second, and because the tests
/// have one that fails when told.
pub trait Store: Send {
    /// A number that changes when somebody else changed the pins.
    ///
    /// # Errors
    /// The store cannot be reached, or is none.
    fn version(&mut self) -> Result<i64, StoreError>;

    /// The pins of a server, or of all: by server, kind and name.
    ///
    /// # Errors
    /// The store cannot be reached, is none, or holds more than the limit.
    fn pins(&mut self, server: Option<&str>, with: Definitions) -> Result<Vec<Pin>, StoreError>;

    /// Enters what was seen: all of it or nothing.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn save(&mut self, sightings: &[Sighting]) -> Result<(), StoreError>;

    /// Approves pins as they were read: one that was seen otherwise in between is left alone.
    /// Returns how many were approved.
    ///
    /// # Errors
    /// The store cannot be reached; then none is.
    fn approve(&mut self, pins: &[Pin], now: i64) -> Result<usize, StoreError>;

    /// Forgets pins, so that the next sighting is the first. Returns how many there were.
    ///
    /// # Errors
    /// The store cannot be reached; then none is forgotten.
    fn reset(&mut self, pins: &[Pin]) -> Result<usize, StoreError>;
}

/// Whether pins are read with their definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definitions {
    /// Fingerprints only.
    Without,
    /// Fingerprints and definitions.
    With,
}

/// One item as it was seen in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Whose it is.
    pub server: Str,
    /// What it is.
    pub kind: ItemKind,
    /// Its name, as the disk may hold it.
    pub name: Box<str>,
    /// Of its definition as it came.
    pub fingerprint: Fingerprint,
    /// Its definition in canonical form, as the disk may hold it; `None` where the store has it
    /// already, or may not.
    pub definition: Option<Box<str>>,
    /// When: seconds since 1970.
    pub at: i64,
}

/// A definition that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Of the definition as it came.
    pub fingerprint: Fingerprint,
    /// The definition in canonical form, without what inspection hides; `None` where it was not
    /// asked for, or could not be kept.
    pub definition: Option<String>,
}

/// What is remembered of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Whose it is.
    pub server: Str,
    /// What it is.
    pub kind: ItemKind,
    /// Its name.
    pub name: String,
    /// The definition seen first, or approved last.
    pub base: Kept,
    /// The definition seen last that is another.
    pub changed: Option<Kept>,
    /// When `base` was approved, if it was: seconds since 1970.
    pub approved_at: Option<i64>,
    /// When it was seen first: seconds since 1970.
    pub first_seen: i64,
    /// When it was seen last, to the minute.
    pub last_seen: i64,
}

impl Pin {
    /// How it stands.
    pub fn state(&self) -> State {
        State::of(self.approved_at.is_some(), self.changed.is_some())
    }

    /// The definition that an approval would be of.
    pub fn latest(&self) -> &Kept {
        self.changed.as_ref().unwrap_or(&self.base)
    }
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is none yet. Nothing was ever pinned, or another file is meant.
    #[error("there is no store of pins yet")]
    Absent,
    /// Its folder or file cannot be made. The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It cannot be read or written. The system's, or another process holds it too long.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The file is something else. The user's to mend.
    #[error("the file is no store of pins")]
    Foreign,
    /// A later version of Wiregate made it. The user's to mend.
    #[error("the store has format {0}, which this version does not know")]
    Newer(i64),
    /// More pins than are read.
    #[error("the store has more than {limit} pins")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}
