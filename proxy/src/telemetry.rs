//! What the gateway tells about itself: its log on stderr, and its [`Metrics`].
//!
//! **No message content ever goes into a log field or a metric label.** A field names a server, a
//! rule, a method the protocol knows, a count, a duration, an error's kind. It never holds a
//! header's value, a session's id, a tool's arguments or results, nor an error text that a peer
//! wrote. Content belongs into the capture, where it is redacted.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::time::SystemTime;

use crate::config::{Log, LogFormat};

mod families;
mod metrics;
mod recorder;

pub use families::{FAMILIES, Family, method_label};
pub use metrics::{CONTENT_TYPE, Guard, Metrics};

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// `log.level` is no filter. The user's doing; `check` finds it as well.
    #[error("log.level is neither a level nor a list of directives")]
    Level(#[source] ParseError),
    /// The process has a log already. Ours.
    #[error("the log is set up already")]
    Twice,
}

/// Reads `log.level`: a level, or directives such as `info,proxy::upstream=debug`.
pub fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder().parse(level).map_err(LogError::Level)
}

/// Sends the process's log to stderr, one line an event, with RFC 3339 times in UTC. Stdout is
/// left alone: on stdio it carries the protocol.
pub fn init(log: &Log) -> Result<(), LogError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&log.level)?)
        .with_writer(std::io::stderr)
        .with_timer(SystemTime);
    match log.format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            builder.with_ansi(std::io::stderr().is_terminal()).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| LogError::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_filters() {
        for level in ["info", "debug", "off", "info,proxy::upstream=debug"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        assert!(filter("proxy=loud").is_err());
    }
}
