//! Recording of MCP traffic to Parquet, and reading it back.

mod batch;
mod cells;
mod config;
mod disk;
mod error;
mod journal;
mod layout;
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
mod sidecar;
mod ticket;
mod worker;
mod writer;

pub use batch::{from_batch, to_batch};
pub use config::{Journal, OnOverflow, RecorderConfig};
pub use error::CaptureError;
pub use query::Query;
pub use queue::Stats;
pub use reader::Reader;
pub use record::{Record, SCHEMA_VERSION, Str};
pub use recorder::Recorder;
pub use sidecar::{read_config, read_ruleset};
pub use ticket::Ticket;
