//! The configuration as it is written: YAML, unknown keys refused, each default documented.
//!
//! The central types: [`Config`] and its sections. What it means once resolved (rules compiled,
//! keys decoded, addresses parsed) is [`crate::snapshot::Snapshot`]. The doc comments of this
//! file are the reference users read: `proxy/docs/config.md` is generated from them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

mod bridge;
mod capture;
mod capture_rules;
mod catalog;
mod check;
mod legacy;
mod packs;
mod pins;
mod processes;
mod reach;
mod read;
mod registry;
mod secret;
mod server;
mod sessions;
mod store;
mod suppress;
mod tls;
mod units;

pub use inspect::Preset;

pub use bridge::Bridge;
pub use capture::{AuditMode, Bodies, Capture, Escrow, Journal, OnDiskFull, OnOverflow, Sign};
pub use capture_rules::{CaptureRule, Extent};
pub use catalog::{
    Catalog, Composite, OnCollision, OnFailure, OnStepError, Prefix, Step, Virtual, When,
};
pub(crate) use check::problems_for;
pub use check::{Problem, problems};
pub use legacy::Legacy;
pub use packs::{Packs, Trusted};
pub use pins::{OnChanged, OnNew, OnStoreError, PinKind, PinMode, Pins};
pub use processes::Processes;
pub use reach::{is_principal, is_server_name};
pub use read::{Env, Listed, LoadError, Use, Written};
pub use registry::{Origin, Registry};
pub use secret::{Address, HIDDEN, Secret};
pub use server::{Server, ServerEra, ServerTransport};
pub use sessions::Sessions;
pub use store::{OnSpoolFull, Store};
pub use suppress::Suppress;
pub use tls::{CertKey, ClientAuth, Tls};
pub use units::{Period, Size};

/// The gateway's configuration. Every key may be left out but the `url` or
/// `command` of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Wiregate configuration")]
pub struct Config {
    /// The address clients connect to: IP and port. Port 0 takes a free one. Beyond loopback,
    /// `auth` must be written.
    pub listen: String,
    /// The address of `/healthz`, `/readyz` and `/metrics`: IP and port, or `off`. Beyond
    /// loopback, `auth` must be written, and its keys are asked for there too.
    pub admin: String,
    /// Serve clients over TLS.
    pub tls: Option<Tls>,
    /// Serve them over HTTP/3 too, on the UDP port of the same number, and tell those of HTTP/1.1
    /// and HTTP/2 by `Alt-Svc`. Only with `tls`.
    pub http3: bool,
    /// Who may use the gateway: `keys`, or the word `none` for everyone who can reach it.
    pub auth: Option<Auth>,
    /// Names clients may put into the `Host` header, besides loopback names and the listen
    /// address itself. A defence against DNS rebinding.
    pub allowed_hosts: Vec<String>,
    /// Web origins that may call the gateway, besides those of loopback names and the listen
    /// address itself, as in `https://app.example.com`.
    pub allowed_origins: Vec<String>,
    /// The MCP servers behind the gateway, by name: lower-case letters, digits and hyphens, at
    /// most 64 of them.
    pub servers: BTreeMap<String, Server>,
    /// Clients' sessions: what their ids are sealed with, and the other replicas.
    pub sessions: Sessions,
    /// Servers beside these, in a folder.
    pub registry: Registry,
    /// How several servers look like one, and endpoints and tools made of their parts.
    pub catalog: Catalog,
    /// What is looked for in messages, and what is done about it.
    pub inspect: Inspect,
    /// Whether servers may change what they offer.
    pub pins: Pins,
    /// What is recorded, where, and how much of it.
    pub capture: Capture,
    /// The most of everything that can grow. None may be 0.
    pub limits: Limits,
    /// How long each wait may last. None may be 0.
    pub timeouts: Timeouts,
    /// What servers that are started by a `command` may take.
    pub processes: Processes,
    /// Between clients and servers of different revisions.
    pub bridge: Bridge,
    /// Sessions that the gateway opens with servers itself.
    pub legacy: Legacy,
    /// The gateway's own log, on stderr. No message content goes into it.
    pub log: Log,
}

/// Who may use the gateway.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    /// Written as the word `none`: whoever reaches the gateway may use it.
    Open,
    /// Written as `keys: […]`: a request must carry one of them as `Authorization: Bearer`.
    Keys(Vec<Key>),
}

/// One key that opens the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Who holds it: the principal in logs and captures.
    pub name: String,
    /// The SHA-256 of the key, 64 hexadecimal digits; `wiregate keys new NAME` prints both.
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    #[serde(serialize_with = "hidden")]
    pub sha256: String,
}

/// The keys, as the mapping form of `auth` writes them.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// The keys, each with its holder's name.
    keys: Vec<Key>,
}

/// What is looked for, and what is done about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Inspect {
    /// How hard findings are acted upon.
    pub preset: Preset,
    /// Rules up to this level are in use: 1 has the fewest false alarms, 4 the most rules.
    #[schemars(range(min = 1, max = 4))]
    pub paranoia: u8,
    /// Folders with further rules; every `*.yaml` in them is read.
    pub rules: Vec<PathBuf>,
    /// Use the rules built into the gateway.
    pub builtin: bool,
    /// Signed sets of rules that are installed beside them.
    pub packs: Packs,
    /// What happens to a message that was inspected in part, a limit of the scan being reached.
    pub on_error: OnError,
    /// The most text of one message that is scanned.
    pub budget: Size,
    /// The sum of points that makes a flag, instead of the preset's (`balanced`: 4, in tool
    /// definitions 3; `strict`: 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag_at: Option<u32>,
    /// The sum of points that blocks, instead of the preset's (`balanced`: 10 at paranoia 1 and
    /// one less at each further level, in tool definitions 8 to 6; `strict`: 4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_at: Option<u32>,
    /// Findings known to be no harm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suppress: Vec<Suppress>,
    /// A secret of at least 16 bytes: placeholders of equal secrets are then equal, as
    /// `[wg:RULE:KEYID:HMAC]`, and tell nothing without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask_key: Option<Secret>,
}

/// What happens to a message that was inspected in part, a limit of the scan being reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It is denied.
    Block,
    /// It passes, is flagged, and recorded as truncated; what was found is acted upon.
    Allow,
}

/// The most of everything that can grow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one request's or response's body, and of one message by WebSocket.
    pub body: Size,
    /// Bytes of one request's headers.
    pub headers: Size,
    /// Levels of nesting in one message.
    pub json_depth: usize,
    /// Values and keys in one message.
    pub json_values: usize,
    /// Bytes of one server-sent event.
    pub sse_event: Size,
    /// Bytes of one line on stdio.
    pub stdio_line: Size,
    /// Requests under way at once.
    pub concurrent_requests: usize,
    /// Client connections open at once.
    pub connections: usize,
    /// Messages in one batch.
    pub batch: usize,
    /// Exchanges remembered while their answers are awaited.
    pub exchanges: usize,
    /// Event streams open at once.
    pub streams: usize,
    /// Connections open at once to one server by HTTP+SSE or WebSocket; each is a session.
    pub channels: usize,
    /// Requests under way at once on one connection by HTTP+SSE or WebSocket.
    pub channel_requests: usize,
}

/// How long each wait may last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Connecting to a server, TLS included.
    pub connect: Period,
    /// From the end of a request to the first byte of the server's response.
    pub first_byte: Period,
    /// Silence within a response or stream.
    pub idle: Period,
    /// One exchange from its first byte to its last.
    pub total: Period,
    /// Reading a request's headers; a kept connection may be silent for as long.
    pub header_read: Period,
    /// Reading a request's body.
    pub body_read: Period,
    /// A client that does not take what is written to it.
    pub write: Period,
    /// Between two keep-alive comments on an event stream that is quiet.
    pub keep_alive: Period,
    /// A session with a server by HTTP+SSE or WebSocket in which nothing is said.
    pub channel_idle: Period,
    /// Letting exchanges end when the gateway stops.
    pub drain: Period,
}

/// The gateway's own log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`, or filter directives as in
    /// `info,proxy::upstream=debug`.
    pub level: String,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8808".into(),
            admin: "127.0.0.1:8809".into(),
            tls: None,
            http3: false,
            auth: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            servers: BTreeMap::new(),
            sessions: Sessions::default(),
            registry: Registry::default(),
            catalog: Catalog::default(),
            inspect: Inspect::default(),
            pins: Pins::default(),
            capture: Capture::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            processes: Processes::default(),
            bridge: Bridge::default(),
            legacy: Legacy::default(),
            log: Log::default(),
        }
    }
}

impl Default for Inspect {
    fn default() -> Self {
        Self {
            preset: Preset::Balanced,
            paranoia: 1,
            rules: Vec::new(),
            builtin: true,
            packs: Packs::default(),
            on_error: OnError::Block,
            budget: Size::mib(4),
            flag_at: None,
            block_at: None,
            suppress: Vec::new(),
            mask_key: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: Size::mib(4),
            headers: Size::new(16 << 10),
            json_depth: 64,
            json_values: 200_000,
            sse_event: Size::mib(4),
            stdio_line: Size::mib(4),
            concurrent_requests: 1024,
            connections: 10_000,
            batch: 100,
            exchanges: 10_000,
            streams: 4000,
            channels: 1000,
            channel_requests: 64,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Period::secs(5),
            first_byte: Period::secs(120),
            idle: Period::secs(300),
            total: Period::secs(3600),
            header_read: Period::secs(75),
            body_read: Period::secs(30),
            write: Period::secs(30),
            keep_alive: Period::secs(15),
            channel_idle: Period::secs(1800),
            drain: Period::secs(30),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

/// The folder for what outlives the process, below the user's state folder, which `env` tells.
fn state(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    // A relative XDG path is invalid by its specification and counts as unset.
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("wiregate"))
}

/// A key's hash stays out of what is shown: of a key not minted by us it may be guessed back.
fn hidden<S: Serializer>(_: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(HIDDEN)
}

impl Serialize for Auth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Open => serializer.serialize_str("none"),
            Self::Keys(keys) => Keys { keys: keys.clone() }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Auth {
    // By hand rather than untagged, so that an error keeps the path to the key it is about.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AuthVisitor;
        impl<'de> Visitor<'de> for AuthVisitor {
            type Value = Auth;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`none` or a mapping with `keys`")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Auth, E> {
                match text {
                    "none" => Ok(Auth::Open),
                    _ => Err(E::custom("neither `none` nor a mapping with `keys`")),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Auth, A::Error> {
                let Keys { keys } =
                    Keys::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Auth::Keys(keys))
            }
        }
        deserializer.deserialize_any(AuthVisitor)
    }
}

impl JsonSchema for Auth {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Auth".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let keys = generator.subschema_for::<Keys>();
        schemars::json_schema!({
            "description": "Who may use the gateway: the word `none`, or a mapping with `keys`.",
            "anyOf": [{"const": "none"}, keys],
        })
    }
}
