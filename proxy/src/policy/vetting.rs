//! Whether a server may be used at all: `registry.require_vetted`.

use http::StatusCode;

use super::{Denied, UNAPPROVED};
use crate::snapshot::ServerSpec;

/// Refuses everything to a server that is not approved as it is defined.
///
/// # Errors
/// 403, on transports that have a status.
pub fn check(server: &ServerSpec) -> Result<(), Denied> {
    if server.vetted {
        return Ok(());
    }
    let why = "policy vetting: the server is not approved as it is defined";
    Err(Denied::new(StatusCode::FORBIDDEN, UNAPPROVED, "unvetted", why))
}
