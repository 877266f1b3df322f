//! `show --identity`: rows whose sealed body is put in place of the redacted one.

use std::path::Path;

use capture::{Identity, Record};

use crate::error::Error;

/// Opens what is sealed to the user's keys, and counts what is not.
#[derive(Debug)]
pub(super) struct Opener {
    identity: Identity,
    closed: u64,
}

impl Opener {
    pub(super) fn load(path: &Path) -> Result<Self, Error> {
        Ok(Self { identity: Identity::load(path)?, closed: 0 })
    }

    /// The row with its original body, where that is sealed in it.
    pub(super) fn open(&mut self, row: Record) -> Record {
        match (&row.body_sealed, self.identity.open(&row)) {
            (None, _) => row,
            (Some(_), Some(body)) => Record { body: Some(body), ..row },
            (Some(_), None) => {
                self.closed += 1;
                row
            }
        }
    }

    /// Says how many stayed closed.
    pub(super) fn tell(&self) {
        if self.closed > 0 {
            eprintln!("wiregate-replay: {} bodies are not sealed to these keys", self.closed);
        }
    }
}
