//! Captures in object storage: where they are ([`Location`]), how they get there (the uploader behind a recorder's
//! [`StoreConfig`]), and how they are read from there (by ranges, as far as the decoder asks).
//!
//! All network work runs on one thread of its own; what is outside of this module stays synchronous.

mod config;
mod list;
mod location;
mod object;
mod put;
mod remote;
mod retry;
mod runtime;
mod spool;
#[cfg(test)]
mod tests;
mod upload;

pub use config::{OnSpoolFull, StoreConfig, StoreStats};
pub(crate) use list::RemoteFiles;
pub use location::Location;
pub(crate) use location::Place;
pub(crate) use remote::{RemoteFile, Source};
pub(crate) use spool::Spool;
pub(crate) use upload::Uploader;

/// The name under which an object's metadata says who wrote it.
const WRITER: &str = "wiregate-writer";
