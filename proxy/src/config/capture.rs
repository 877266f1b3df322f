//! What is recorded: the section `capture`.

use std::path::PathBuf;

use capture::Recipients;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Problem;
use super::{CaptureRule, Config, Period, Size, Store, state};

/// What is recorded, where, and how much of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// Record traffic.
    pub enabled: bool,
    /// The folder of the capture. Default: `$XDG_STATE_HOME/wiregate/capture`, or
    /// `~/.local/state/wiregate/capture`.
    pub dir: Option<PathBuf>,
    /// How bodies are recorded.
    pub bodies: Bodies,
    /// Who can read what was hidden, with `bodies: escrow`.
    pub escrow: Escrow,
    /// Which messages are recorded, and which of them without bodies; the first rule that fits counts.
    pub rules: Vec<CaptureRule>,
    /// Keep the body of a message that was flagged, redacted or blocked whatever `sample` says.
    pub always_on_finding: bool,
    /// The folder's size at most; beyond it the oldest files go.
    pub max_bytes: Size,
    /// Headers of HTTP requests that are recorded, by name. Those that let somebody in can't be.
    pub headers: Vec<String>,
    /// Calls remembered whose server asked for more, so that the next round is recorded as part of
    /// the same operation.
    pub operations: usize,
    /// How long they are remembered.
    pub operation_for: Period,
    /// A file is closed when it has this size.
    pub rotate_bytes: Size,
    /// A file is closed when it is this old.
    pub rotate_every: Period,
    /// Rows that may wait to be written.
    pub queue_rows: usize,
    /// Bytes that may wait to be written.
    pub queue_bytes: Size,
    /// What happens when the queue is full.
    pub on_overflow: OnOverflow,
    /// Bytes that stay free on the disk; 0 means none.
    pub min_free: Size,
    /// What happens when less is free.
    pub on_disk_full: OnDiskFull,
    /// Files older than this go, by the hour they are of; 0 means never.
    pub max_age: Period,
    /// Whether a message may pass that is not recorded.
    pub audit: AuditMode,
    /// How long a message waits for its record where one is required.
    pub audit_timeout: Period,
    /// When the journal is forced to disk.
    pub journal: Journal,
    /// The key that signs what is stated of each file: `auto` (made at first below the user's state folder), `off`, or a
    /// PKCS#8 file of an Ed25519 key.
    pub sign: Sign,
    /// Where finished files are uploaded to, if anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
}

/// Headers that are recorded unless others are named.
const HEADERS: [&str; 6] =
    ["user-agent", "accept", "content-type", "mcp-protocol-version", "mcp-method", "mcp-name"];
/// Headers that are never recorded: who has them is let in.
const SECRET_HEADERS: [&str; 7] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "mcp-session-id",
    "last-event-id",
    "wiregate-hop",
];
/// Names of headers at most.
const MOST_HEADERS: usize = 32;

/// How bodies are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bodies {
    /// With a placeholder for each secret or personal datum found.
    Redacted,
    /// As `redacted`, and where something is hidden the original beside it, sealed to the keys of `escrow`.
    Escrow,
    /// As they crossed the wire. The capture then holds what was found in it.
    Raw,
}

/// To whom originals are sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Escrow {
    /// Public keys as `age-keygen` makes them (`age1…`), 1 to 16. The private keys are kept elsewhere; the gateway never
    /// needs them.
    pub recipients: Vec<String>,
}

/// What happens when the capture's queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnOverflow {
    /// The row is dropped and counted; traffic is not delayed.
    Drop,
    /// Traffic waits for the disk.
    Block,
    /// As `drop`, and new requests are answered 503 for as long as rows can't be taken or written.
    Refuse,
}

/// What happens when the disk runs full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDiskFull {
    /// The capture's oldest files go; where none is left, rows are dropped and counted.
    DeleteOldest,
    /// Rows are kept, bodies are not.
    MetadataOnly,
    /// Rows are dropped and counted.
    Refuse,
}

/// Whether a message may pass that is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditMode {
    /// It may: what is lost is counted.
    BestEffort,
    /// It may not: a request goes on, and an answer back, once their rows are on the disk; else 503.
    Required,
}

/// When the capture's journal is forced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Journal {
    /// Every few milliseconds, for all rows of that time together.
    Interval,
    /// After each row.
    Every,
    /// Never: a crash loses the rows of the open file.
    Off,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: None,
            bodies: Bodies::Redacted,
            escrow: Escrow::default(),
            rules: Vec::new(),
            always_on_finding: true,
            max_bytes: Size::new(10_000_000_000),
            headers: HEADERS.map(str::to_owned).into(),
            operations: 16_384,
            operation_for: Period::secs(3600),
            rotate_bytes: Size::new(256_000_000),
            rotate_every: Period::secs(60),
            queue_rows: 8192,
            queue_bytes: Size::mib(64),
            on_overflow: OnOverflow::Drop,
            min_free: Size::new(256_000_000),
            on_disk_full: OnDiskFull::DeleteOldest,
            max_age: Period::secs(0),
            audit: AuditMode::BestEffort,
            audit_timeout: Period::secs(5),
            journal: Journal::Interval,
            sign: Sign::Auto,
            store: None,
        }
    }
}

/// The key that signs the capture's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sign {
    /// `capture-key` below the user's state folder; made there if it is not.
    Auto,
    /// Nothing is signed.
    Off,
    /// This file.
    Key(PathBuf),
}

impl Capture {
    /// The file of the key that signs; none where nothing is to be signed, or there is no state folder.
    pub fn key_file(&self, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
        match &self.sign {
            Sign::Auto => Some(state(env)?.join("capture-key")),
            Sign::Off => None,
            Sign::Key(path) => Some(path.clone()),
        }
    }

    /// What is wrong with the recipients.
    pub(super) fn escrow_problem(&self) -> Option<&'static str> {
        let keys = &self.escrow.recipients;
        match self.bodies {
            Bodies::Escrow => Recipients::parse(keys)
                .is_err()
                .then_some("`bodies: escrow` needs 1 to 16 public keys as age1…"),
            Bodies::Redacted | Bodies::Raw => {
                (!keys.is_empty()).then_some("nothing is sealed without `bodies: escrow`")
            }
        }
    }

    /// The folder to record to: `dir` as written, else the one below the user's state folder,
    /// which `env` tells. `None` when it tells nothing.
    pub fn folder(&self, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
        self.dir.clone().or_else(|| Some(state(env)?.join("capture")))
    }
}

/// What is wrong with the headers and the operations.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let capture = &config.capture;
    let mut found = Vec::new();
    let mut add = |at: String, what: &str| found.push(Problem::new(format!("/capture/{at}"), what));
    if capture.headers.len() > MOST_HEADERS {
        add("headers".into(), "at most 32 headers");
    }
    let of_servers = || config.servers.values().flat_map(|server| server.headers.keys());
    for (i, name) in capture.headers.iter().enumerate() {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if http::HeaderName::try_from(name.as_str()).is_err() {
            add(format!("headers/{i}"), "not the name of a header");
        } else if SECRET_HEADERS.iter().any(|secret| is(secret)) {
            add(format!("headers/{i}"), "who has this header is let in: it is never recorded");
        } else if of_servers().any(|credential| is(credential)) {
            add(format!("headers/{i}"), "a server is sent a secret in this header");
        }
    }
    if capture.operations == 0 {
        add("operations".into(), "may not be 0");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::check::tests::{after, server};

    #[test]
    fn headers_that_let_somebody_in_are_not_recorded() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            after(move |config| {
                server(config).headers.insert("X-Api-Key".into(), crate::config::Secret::new("k"));
                config.capture.headers = names;
            })
        };
        assert_eq!(names(&["user-agent", "X-Request-Id"]), [""; 0]);
        for refused in ["Authorization", "COOKIE", "mcp-session-id", "x-api-key", "a b", ""] {
            assert_eq!(names(&["accept", refused]), ["/capture/headers/1"], "{refused}");
        }
        assert_eq!(names(&["a"; 33]), ["/capture/headers"]);
        assert_eq!(after(|config| config.capture.operations = 0), ["/capture/operations"]);
    }
}
