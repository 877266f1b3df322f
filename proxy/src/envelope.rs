//! The neutral shapes between the faces: what was read ([`Envelope`]), who sent it and under which
//! configuration ([`Context`]), and what goes back ([`Reply`]). Nothing here knows a socket.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use capture::Str;
use futures::stream::BoxStream;
use http::{HeaderName, HeaderValue, StatusCode};
use inspect::Direction;
use inspect::message::{Id, Kind, Message, Scalar};

use crate::audit::Rows;
use crate::era;
use crate::linkage::{Arrival, Rounds, Trace};
use crate::session::Front;
use crate::snapshot::{ServerSpec, Snapshot};
use crate::upstream::UpstreamError;

/// One JSON-RPC message as it came, and what routing needs to know of it.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The bytes as received; forwarded and recorded as they are.
    pub raw: Bytes,
    /// What routing, correlation and the record need.
    pub head: Head,
    /// Where the message is going.
    pub direction: Direction,
}

/// The members of a message that decide where it goes and what it belongs to.
#[derive(Clone, Debug)]
pub struct Head {
    /// Request, notification, response or error.
    pub kind: Kind,
    /// The id as JSON text, so that `1` and `"1"` stay apart.
    pub id: Option<Str>,
    /// The method of a request or notification.
    pub method: Option<Str>,
    /// The tool, prompt, resource or task the message names.
    pub name: Option<Str>,
    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`: the mark of a modern request.
    pub claim: Claim,
    /// `params.protocolVersion` of an `initialize`, `result.protocolVersion` of its answer.
    pub handshake_version: Option<Str>,
    /// Name and version from `clientInfo`, unverified.
    pub client: Option<(Str, Option<Str>)>,
    /// `result.isError` of a tool's answer.
    pub is_error: bool,
    /// `error.code`.
    pub error_code: Option<i32>,
    /// The trace it names.
    pub trace: Option<Trace>,
    /// What it shows of an operation of several rounds.
    pub rounds: Option<Box<Rounds>>,
}

/// Whether a request carries the per-request envelope of 2026-07-28 (spec: basic, `_meta`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// No protocol version in `_meta`: legacy.
    None,
    /// A protocol version, and every required key beside it.
    Complete(Str),
    /// A protocol version of the wrong type, or a required key missing.
    Malformed(&'static str),
}

const META_VERSION: [&str; 3] = ["params", "_meta", "io.modelcontextprotocol/protocolVersion"];
const META_CAPABILITIES: [&str; 3] =
    ["params", "_meta", "io.modelcontextprotocol/clientCapabilities"];
const META_CLIENT: [&str; 3] = ["params", "_meta", "io.modelcontextprotocol/clientInfo"];

impl Head {
    /// Reads the head of a parsed message.
    pub fn of(message: &Message<'_>) -> Head {
        let method = message.method();
        let handshake = match message.kind() {
            Kind::Request if method == Some("initialize") => {
                text(message, &["params", "protocolVersion"])
            }
            Kind::Response => text(message, &["result", "protocolVersion"]),
            _ => None,
        };
        let is_request = matches!(message.kind(), Kind::Request | Kind::Notification);
        Head {
            kind: message.kind(),
            id: message.id().as_ref().map(Id::to_json).map(Into::into),
            method: method.map(Into::into),
            name: message.name().map(Into::into),
            claim: if is_request { claim(message) } else { Claim::None },
            handshake_version: handshake,
            client: if is_request { client(message, method) } else { None },
            is_error: message.get(&["result", "isError"]) == Some(Scalar::Bool(true)),
            error_code: match message.get(&["error", "code"]) {
                Some(Scalar::Int(code)) => i32::try_from(code).ok(),
                Some(Scalar::Uint(code)) => i32::try_from(code).ok(),
                _ => None,
            },
            trace: if is_request { Trace::of(message) } else { None },
            rounds: Rounds::of(message),
        }
    }

    /// The head of an error the gateway answers with.
    pub fn error() -> Head {
        Head {
            kind: Kind::Error,
            id: None,
            method: None,
            name: None,
            claim: Claim::None,
            handshake_version: None,
            client: None,
            is_error: false,
            error_code: None,
            trace: None,
            rounds: None,
        }
    }

    /// Whether it is of this method.
    pub fn is(&self, method: &str) -> bool {
        self.method.as_deref() == Some(method)
    }

    /// Whether somebody waits for an answer.
    pub fn is_request(&self) -> bool {
        self.kind == Kind::Request
    }

    /// Whether the id is longer than any client's: it would be kept until its answer comes.
    pub fn has_long_id(&self) -> bool {
        self.id.as_ref().is_some_and(|id| id.len() > KEPT)
    }

    /// Whether this is the answer to a request.
    pub fn is_answer(&self) -> bool {
        matches!(self.kind, Kind::Response | Kind::Error)
    }
}

/// The most of one text that is kept beyond its message, in bytes: ids, names, versions.
const KEPT: usize = 1024;

/// As much of a text as is kept beyond its message.
pub fn clipped(text: &Str) -> Str {
    match text.len() > KEPT {
        true => text[..text.floor_char_boundary(KEPT)].into(),
        false => text.clone(),
    }
}

fn text(message: &Message<'_>, path: &[&str]) -> Option<Str> {
    match message.get(path) {
        Some(Scalar::Str(text)) => Some(text.into()),
        _ => None,
    }
}

fn claim(message: &Message<'_>) -> Claim {
    match message.get(&META_VERSION) {
        None => Claim::None,
        Some(Scalar::Str(version)) => match message.get(&META_CAPABILITIES) {
            Some(Scalar::Object(_)) => Claim::Complete(version.into()),
            Some(_) => {
                Claim::Malformed("io.modelcontextprotocol/clientCapabilities: not an object")
            }
            // A notification carries no capabilities (spec: basic, `_meta`).
            None if message.kind() == Kind::Notification => Claim::Complete(version.into()),
            None => Claim::Malformed("io.modelcontextprotocol/clientCapabilities: missing"),
        },
        Some(_) => Claim::Malformed("io.modelcontextprotocol/protocolVersion: not a string"),
    }
}

fn client(message: &Message<'_>, method: Option<&str>) -> Option<(Str, Option<Str>)> {
    let base: &[&str] = match method {
        Some("initialize") => &["params", "clientInfo"],
        _ => &META_CLIENT,
    };
    let member = |key| {
        let mut path = [""; 4];
        path[..base.len()].copy_from_slice(base);
        path[base.len()] = key;
        text(message, &path[..=base.len()])
    };
    Some((member("name")?, member("version")))
}

/// How the client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP over HTTP/1.1.
    Http1,
    /// Streamable HTTP over HTTP/2.
    Http2,
    /// Streamable HTTP over HTTP/3.
    Http3,
    /// HTTP+SSE of 2024-11-05.
    Sse,
    /// WebSocket, one message a text frame.
    WebSocket,
    /// Newline-delimited JSON on standard input and output.
    Stdio,
}

impl Transport {
    /// Whether each message comes as an HTTP request, with the headers that MCP has for it.
    pub fn has_headers(self) -> bool {
        matches!(self, Transport::Http1 | Transport::Http2 | Transport::Http3)
    }

    /// The name in captures and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Http1 => "http/1.1",
            Transport::Http2 => "http/2",
            Transport::Http3 => "http/3",
            Transport::Sse => "sse",
            Transport::WebSocket => "websocket",
            Transport::Stdio => "stdio",
        }
    }
}

/// Who sent a message, how, to which server, and the one configuration it is seen under.
#[derive(Clone, Debug)]
pub struct Context {
    /// The configuration; loaded once per message (invariant 3).
    pub snapshot: Arc<Snapshot>,
    /// The server the message is for.
    pub server: Arc<ServerSpec>,
    /// How the client is connected.
    pub transport: Transport,
    /// GET, POST or DELETE; none on stdio.
    pub http_method: Option<Str>,
    /// The MCP headers of the request.
    pub headers: McpHeaders,
    /// The connection, for the record.
    pub conn_id: Str,
    /// The session, as a digest: the id itself would let a reader of captures take it over.
    pub session: Option<Str>,
    /// The key's name, when keys are configured.
    pub principal: Option<Str>,
    /// The revision agreed on a transport without a version header.
    pub negotiated: OnceLock<Str>,
    /// What the client said when its session began, where that is known: it came back in the
    /// session's id, or the connection is the session and remembers it.
    pub front: OnceLock<Arc<Front>>,
    /// Whether the gateway itself answered the client's `initialize`, in the name of many servers:
    /// sessions with each of them are then the gateway's own.
    pub owned: bool,
    /// What came with the message beside it.
    pub arrival: Arrival,
    /// The tickets of its rows, where it may not pass without them.
    pub rows: Rows,
}

impl Context {
    /// The revision this message is under, as far as it is known. A revision nobody here speaks is
    /// `other`: it is kept and recorded, and could be any text.
    pub fn version(&self, head: Option<&Head>) -> Option<Str> {
        let known = |version: &[u8]| {
            let found = era::REVISIONS.iter().find(|known| known.as_bytes() == version);
            Some((*found.unwrap_or(&"other")).into())
        };
        if let Some(Head { claim: Claim::Complete(version), .. }) = head {
            return known(version.as_bytes());
        }
        if let Some(version) = &self.headers.version {
            return known(version.as_bytes());
        }
        known(self.negotiated.get()?.as_bytes())
    }

    /// Whose messages follow each other, as far as that is known: the session's, else those of the
    /// key's holder to this server, else the connection's.
    pub fn sender(&self) -> Str {
        match (&self.session, &self.principal) {
            (Some(session), _) => session.clone(),
            (None, Some(principal)) => format!("{principal}\0{}", self.server.name).into(),
            (None, None) => format!("\0{}\0{}", self.conn_id, self.server.name).into(),
        }
    }

    /// Whether the request is of 2026-07-28 or later by its header.
    pub fn is_modern(&self, head: &Head) -> bool {
        head.claim != Claim::None
            || self.headers.version.as_ref().is_some_and(|v| era::is_modern(v.as_bytes()))
    }
}

/// The headers MCP defines, as the client sent them. Nothing else of a request goes upstream.
#[derive(Clone, Default)]
pub struct McpHeaders {
    /// `Accept`.
    pub accept: Option<HeaderValue>,
    /// `MCP-Protocol-Version`.
    pub version: Option<HeaderValue>,
    /// `Mcp-Session-Id` as the server knows it.
    pub session: Option<HeaderValue>,
    /// The same as the client knows it, where the gateway gave it out.
    pub sealed: Option<HeaderValue>,
    /// `Last-Event-ID`.
    pub last_event_id: Option<HeaderValue>,
    /// `Mcp-Method`, every occurrence.
    pub method: Vec<HeaderValue>,
    /// `Mcp-Name`, every occurrence.
    pub name: Vec<HeaderValue>,
    /// `Mcp-Param-*`.
    pub params: Vec<(HeaderName, HeaderValue)>,
    /// Whether a header came more than once that says one thing only.
    pub is_repeated: bool,
    /// Whether another replica sent the request on: it goes to no further one.
    pub hopped: bool,
}

impl fmt::Debug for McpHeaders {
    /// Shows which headers are there and no value: a parameter may mirror a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpHeaders")
            .field("version", &self.version)
            .field("session", &self.session.is_some())
            .field("params", &self.params.len())
            .finish_non_exhaustive()
    }
}

/// What goes back: nothing, one message, or a stream of events.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status, where the other side gave or needs one.
    pub status: Option<StatusCode>,
    /// `Mcp-Session-Id` of a new session.
    pub session: Option<HeaderValue>,
    /// The message or messages.
    pub body: Body,
    /// Whether the body is a stream without an end: a subscription.
    pub open_ended: bool,
    /// Whether this answers an `initialize` in the gateway's own name, so that a session begins
    /// although no server minted one.
    pub begins: bool,
}

/// The body of a [`Reply`].
pub enum Body {
    /// Nothing: an accepted notification, or a status alone.
    Empty,
    /// One message, or a batch.
    One(Bytes),
    /// Events, one by one as they come.
    Stream(BoxStream<'static, Result<Event, UpstreamError>>),
}

/// One server-sent event; on other transports, one message.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// The event's id, by which a client resumes.
    pub id: Option<Str>,
    /// The reconnection time in milliseconds.
    pub retry: Option<u64>,
    /// A server's name for it, where that is not `message`; such an event is no message of MCP.
    pub name: Option<Str>,
    /// The message; none in a priming event.
    pub data: Option<Bytes>,
    /// A sign of life without content.
    pub is_comment: bool,
}

impl Reply {
    /// A status without a body.
    pub fn empty(status: StatusCode) -> Reply {
        Reply {
            status: Some(status),
            session: None,
            body: Body::Empty,
            open_ended: false,
            begins: false,
        }
    }

    /// One message under a status.
    pub fn one(status: StatusCode, body: Bytes) -> Reply {
        Reply {
            status: Some(status),
            session: None,
            body: Body::One(body),
            open_ended: false,
            begins: false,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Body::Empty => "Empty",
            Body::One(_) => "One",
            Body::Stream(_) => "Stream",
        })
    }
}
