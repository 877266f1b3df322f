//! Recording of MCP traffic to Parquet, and reading it back.

mod cells;
mod config;
mod error;
mod queue;
mod reader;
mod record;
mod recorder;
pub mod schema;
mod sidecar;
mod ticket;

pub use config::{Journal, OnOverflow, RecorderConfig};
pub use error::CaptureError;
pub use queue::Stats;
pub use reader::{Query, Reader};
pub use record::{Record, SCHEMA_VERSION, Str};
pub use recorder::Recorder;
pub use sidecar::{read_config, read_ruleset};
pub use ticket::Ticket;
