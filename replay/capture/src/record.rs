//! [`Record`]: one row of a capture.
//!
//! How its columns are called and typed in the file stands in [`crate::schema`].

use std::sync::Arc;

use bytes::Bytes;

/// Shared text: values repeat from row to row (server, rule, digest), so cloning must be cheap.
pub type Str = Arc<str>;

/// The version this crate writes into `schema_version`. Columns are only ever added.
pub const SCHEMA_VERSION: i32 = 1;

/// One JSON-RPC message, transport event or gap. All times are UTC; `None` and missing columns mean "does not apply".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Version of the row format; set by the recorder.
    pub schema_version: i32,
    /// Which recorder wrote the row; set by the recorder.
    pub writer_id: Option<Str>,
    /// Position among the rows of this writer, from 1 without holes; set by the recorder.
    pub seq: i64,
    /// When the message was received or made, in microseconds since 1970 (column `ts`).
    pub ts_us: i64,
    /// Monotonic clock of the process, in nanoseconds; only differences within one writer mean something.
    pub mono_ns: i64,
    /// The connection the message came over, unique per process.
    pub conn_id: Option<Str>,
    /// Truncated SHA-256 of the session header (16 hex digits), never the header itself.
    pub session_id: Option<Str>,
    /// Shared by a request and its responses.
    pub exchange_id: Option<Str>,
    /// Shared by the exchanges of one operation (input required, then the retry).
    pub operation_id: Option<Str>,
    /// Number of the try towards an upstream, from 1.
    pub attempt: Option<i32>,
    /// How the row was tied to its operation: `request_state`, `input_keys`.
    pub link_kind: Option<Str>,
    /// The exchange during which a server sent its own request.
    pub parent_exchange_id: Option<Str>,
    /// W3C trace id, 32 hex digits.
    pub trace_id: Option<Str>,
    /// W3C span id, 16 hex digits.
    pub span_id: Option<Str>,
    /// Which wire: `client` or `upstream`.
    pub leg: Option<Str>,
    /// Which way: `to_server` or `to_client`.
    pub direction: Option<Str>,
    /// `http`, `sse`, `stdio`, ….
    pub transport: Option<Str>,
    /// The HTTP method, where there is one.
    pub http_method: Option<Str>,
    /// The HTTP status, on responses.
    pub http_status: Option<i32>,
    /// Allow-listed headers as a JSON object; never Authorization, never cookies.
    pub http_headers: Option<Str>,
    /// The MCP revision in force, such as `2025-11-25`.
    pub protocol_version: Option<Str>,
    /// Name of the MCP server, as configured.
    pub server: Option<Str>,
    /// Who made the call.
    pub principal: Option<Str>,
    /// Whose call it is, where one gateway serves several houses.
    pub tenant: Option<Str>,
    /// How the principal proved it: `none`, `token`, `oauth`, `mtls`.
    pub auth_kind: Option<Str>,
    /// `clientInfo.name`.
    pub client_name: Option<Str>,
    /// `clientInfo.version`.
    pub client_version: Option<Str>,
    /// `request`, `response`, `notification`, `error`, `transport` or `gap`; the last two are not messages.
    pub kind: Option<Str>,
    /// The JSON-RPC id as JSON text: `7` or `"7"`.
    pub rpc_id: Option<Str>,
    /// The JSON-RPC method; on a response, its request's.
    pub method: Option<Str>,
    /// Tool, prompt or resource; on a response, its request's.
    pub name: Option<Str>,
    /// On responses: a JSON-RPC error, or a tool result with `isError`.
    pub is_error: Option<bool>,
    /// The JSON-RPC error code.
    pub error_code: Option<i64>,
    /// The recorded bytes. Written to the column `body` when valid UTF-8, else to `body_raw`; read back from either.
    pub body: Option<Bytes>,
    /// Length of the message as it crossed the wire, in bytes; the recorder takes the body's where absent.
    pub body_len: Option<i64>,
    /// SHA-256 of the recorded bytes, 64 hex digits; the recorder computes it where absent.
    pub body_sha256: Option<Str>,
    /// HMAC-SHA-256 of the original bytes, 64 hex digits; absent without a key.
    pub body_mac: Option<Str>,
    /// The recorded bytes are only the beginning of the message.
    pub truncated: bool,
    /// `raw`, `redacted` or `withheld`.
    pub redaction_state: Option<Str>,
    /// What was hidden, as JSON: an array of rule, path, start, length (bytes, in the recorded body), strategy.
    pub redactions: Option<Str>,
    /// What the gateway did: `allow`, `flag`, `redact` or `block`.
    pub action: Option<Str>,
    /// The tail of the stream that the verdict also saw, redacted like the body.
    pub scan_context: Option<Bytes>,
    /// The time the scanner was told, in microseconds since 1970.
    pub scan_now: Option<i64>,
    /// What the rules asked for, before a preset softened it. What pins did is not in it.
    pub would_be: Option<Str>,
    /// Rules found, and what pins found (`pin.…`), sorted, one entry per finding. Null in the file where the row was not judged.
    pub rule_ids: Vec<Str>,
    /// The highest sum of points within a window, or the points of one secret.
    pub score: Option<i64>,
    /// The rule set of the verdict; the file `rulesets/<digest>.yaml`. Null where the row was not judged.
    pub ruleset_digest: Option<Str>,
    /// The policy of the verdict; the file `config/<digest>.json`.
    pub policy_digest: Option<Str>,
    /// The gateway's settings, secrets out; the file `config/<digest>.json`.
    pub config_digest: Option<Str>,
    /// Why a message was refused, as a short code.
    pub deny_reason: Option<Str>,
    /// Time the gateway spent on the request, in microseconds.
    pub request_processing_us: Option<i64>,
    /// Time the gateway spent on the response, in microseconds.
    pub response_processing_us: Option<i64>,
    /// Time the upstream took to answer, in microseconds.
    pub upstream_us: Option<i64>,
    /// Time the message waited for a turn, in microseconds.
    pub queue_us: Option<i64>,
    /// Rows lost just before this one; non-zero only on `gap` rows, set by the recorder.
    pub dropped_before: i64,
    /// `original`, sealed by the recorder ([`Identity::open`](crate::Identity::open) opens it).
    pub body_sealed: Option<Bytes>,
    /// The bytes as they crossed the wire where `body` is not those; no column. The recorder seals them where it has
    /// recipients, and drops them where it has none.
    pub original: Option<Bytes>,
}

impl Record {
    /// Bytes this row takes up, in memory and (at most) in the journal.
    pub fn size(&self) -> usize {
        let texts = [
            &self.writer_id,
            &self.conn_id,
            &self.session_id,
            &self.exchange_id,
            &self.operation_id,
            &self.link_kind,
            &self.parent_exchange_id,
            &self.trace_id,
            &self.span_id,
            &self.transport,
            &self.http_method,
            &self.http_headers,
            &self.protocol_version,
            &self.server,
            &self.principal,
            &self.tenant,
            &self.auth_kind,
            &self.client_name,
            &self.client_version,
            &self.rpc_id,
            &self.method,
            &self.name,
            &self.redactions,
            &self.deny_reason,
        ];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        let rules: usize = self.rule_ids.iter().map(|rule| size_of::<Str>() + rule.len()).sum();
        let bytes = [&self.body, &self.scan_context, &self.body_sealed, &self.original];
        let bytes: usize = bytes.into_iter().flatten().map(Bytes::len).sum();
        size_of::<Record>() + texts + rules + bytes
    }
}
