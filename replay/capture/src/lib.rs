//! Recording of MCP traffic to Parquet, and reading it back.
//!
//! A [`Record`] is one row: a JSON-RPC message, a transport event, or a gap. A [`Recorder`] takes rows from any
//! number of threads without delaying them, writes them to a write-ahead journal and to Parquet files, and answers
//! each with a [`Ticket`] that tells when the row is on the disk. A [`Reader`] gives the rows back, narrowed by a
//! [`Query`]. What each column means stands in [`schema`].
//!
//! ```
//! use std::time::Duration;
//! use capture::{Query, Reader, Record, Recorder, RecorderConfig};
//!
//! # let folder = tempfile::tempdir()?;
//! # let dir = folder.path();
//! let recorder = Recorder::open(RecorderConfig::new(dir))?;
//! recorder.store_ruleset("sha256:2c26", "{}")?;
//! let ticket = recorder.try_record(Record {
//!     ts_us: 1_763_855_000_000_000,
//!     kind: Some("request".into()),
//!     server: Some("files".into()),
//!     body: Some(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.into()),
//!     ..Record::default()
//! });
//! ticket.map_err(|_row| "queue full")?.wait(Duration::from_secs(10))?;
//! recorder.close(Duration::from_secs(10))?;
//!
//! let query = Query { server: Some("files".into()), ..Query::default() };
//! for row in Reader::open_with(dir, query)? {
//!     let row = row?;
//!     assert_eq!((row.seq, row.body_len), (1, Some(40)));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How a row travels
//!
//! `try_record` → bounded queue (rows and bytes) → one thread, which takes a group (5 ms or 256 rows), numbers it,
//! appends it to the journal and syncs, tells the tickets, and hands the same rows to the Parquet encoder. At 256 MB
//! or 60 s the file is closed, synced and renamed to its place, and only then the journal segment is deleted. The
//! journal is read after a crash only, by the next [`Recorder::open`] on the folder.
//!
//! # Promises
//!
//! - `enqueued = written + dropped + in_queue`, at every look at [`Stats`].
//! - A row whose ticket resolved survives `kill -9`, and (with a journal) a power cut.
//! - What is lost is counted, and a `gap` row stands in its place.
//! - A finished file is whole; nobody ever sees half of one. Files are 0600, folders 0700.
//! - Bodies and other text that peers choose appear in no footer and no statistics.
//! - Errors of the disk stop neither the caller nor the recorder.
//!
//! Finished files go to an object store where [`RecorderConfig::store`] names one, and are read from there by a
//! [`Location`]. The network is used for that alone, on a thread of its own; users of the crate need no async runtime.

mod batch;
mod bech32;
mod cells;
mod config;
mod derive;
mod disk;
mod error;
mod escrow;
mod journal;
pub mod labels;
mod layout;
mod manifest;
mod pseudonym;
mod query;
mod queue;
mod reader;
mod record;
mod recorder;
mod recover;
mod retain;
mod row;
#[cfg(test)]
mod sample;
pub mod schema;
mod seal;
mod sidecar;
mod signer;
mod sort;
mod space;
mod store;
mod ticket;
mod verify;
mod worker;
mod writer;

pub use batch::{from_batch, to_batch};
pub use config::{Journal, OnOverflow, RecorderConfig};
pub use derive::{Derived, DerivedSums};
pub use error::CaptureError;
pub use escrow::{Identity, Recipients};
pub use labels::{Label, Labels, Said};
pub use manifest::Head;
pub use pseudonym::Pseudonyms;
pub use query::Query;
pub use queue::{Health, Stats};
pub use reader::{Locations, Reader};
pub use record::{Record, SCHEMA_VERSION, Str};
pub use recorder::Recorder;
pub use sidecar::{read_config, read_ruleset};
pub use signer::{Signer, key_id};
pub use space::{FreeBytes, OnDiskFull};
pub use store::{Location, OnSpoolFull, StoreConfig, StoreStats};
pub use ticket::Ticket;
pub use verify::{Break, BreakKind, VerifyOptions, VerifyReport, verify};
