//! Columns of names that are masked as a whole.

use std::fmt;

use capture::{Pseudonyms, Record, Str};

/// One column and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask {
    field: &'static str,
    drops: bool,
}

const FIELDS: [&str; 6] = ["principal", "tenant", "session", "client", "server", "name"];

impl Mask {
    /// `FIELD=pseudonym` or `FIELD=drop`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (field, how) = text.split_once('=').ok_or("say FIELD=pseudonym or FIELD=drop")?;
        let known = FIELDS.iter().find(|known| **known == field);
        let field = known.ok_or_else(|| format!("fields are {}", FIELDS.join(", ")))?;
        match how {
            "pseudonym" | "mask" => Ok(Self { field, drops: false }),
            "drop" => Ok(Self { field, drops: true }),
            _ => Err("say FIELD=pseudonym or FIELD=drop".to_owned()),
        }
    }

    pub(super) fn apply(self, row: &mut Record, names: &Pseudonyms) {
        let cell = match self.field {
            "principal" => &mut row.principal,
            "tenant" => &mut row.tenant,
            "session" => &mut row.session_id,
            "client" => {
                // a version beside a pseudonym would tell who it is
                row.client_version = None;
                &mut row.client_name
            }
            "server" => &mut row.server,
            _ => &mut row.name,
        };
        *cell = cell.take().filter(|_| !self.drops).map(|value: Str| names.of(self.field, &value));
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.field, if self.drops { "drop" } else { "pseudonym" })
    }
}
