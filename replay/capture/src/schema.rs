//! The columns of schema v1: names, types, meanings. `COLUMNS.md` is generated from this table.
//!
//! Types are the few that every Parquet reader agrees on; there is no nesting but one list. Columns are only ever
//! added, at the end: a column's position is also its number in the journal.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// The type of a column, as Parquet readers show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnType {
    /// INT32.
    Int32,
    /// INT64.
    Int64,
    /// TIMESTAMP in microseconds, UTC.
    Timestamp,
    /// BOOLEAN.
    Bool,
    /// STRING.
    Text,
    /// BINARY.
    Binary,
    /// LIST of STRING.
    TextList,
}

impl ColumnType {
    /// The name used in the documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            ColumnType::Int32 => "INT32",
            ColumnType::Int64 => "INT64",
            ColumnType::Timestamp => "TIMESTAMP(us, UTC)",
            ColumnType::Bool => "BOOLEAN",
            ColumnType::Text => "STRING",
            ColumnType::Binary => "BINARY",
            ColumnType::TextList => "LIST<STRING>",
        }
    }

    fn arrow(self) -> DataType {
        match self {
            ColumnType::Int32 => DataType::Int32,
            ColumnType::Int64 => DataType::Int64,
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Text => DataType::Utf8,
            ColumnType::Binary => DataType::Binary,
            ColumnType::TextList => DataType::List(list_item()),
        }
    }
}

/// One column of schema v1.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Column {
    /// Its name in the file.
    pub name: &'static str,
    /// Its type in the file.
    pub ty: ColumnType,
    /// Whether it may be null.
    pub nullable: bool,
    /// What it means, with units; one line.
    pub doc: &'static str,
}

/// How many columns schema v1 has.
pub(crate) const WIDTH: usize = COLUMNS.len();

/// Every column in file order.
pub const fn columns() -> &'static [Column] {
    &COLUMNS
}

/// The position of a column, by name.
pub(crate) fn position(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|column| column.name == name)
}

/// The Arrow form of the schema.
pub fn arrow_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let field = |column: &Column| Field::new(column.name, column.ty.arrow(), column.nullable);
        Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()))
    });
    SCHEMA.clone()
}

/// The field inside the list type; Parquet's own name for it, so that a file read back has the same type.
pub(crate) fn list_item() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Utf8, true))
}

/// The reference page `COLUMNS.md`.
pub fn columns_markdown() -> String {
    let mut page = String::from(
        "<!-- generated from src/schema.rs: WIREGATE_BLESS=1 cargo test -p capture columns_md -->\n\
         # Columns of a capture, schema v1\n\n\
         A row is one JSON-RPC message, transport event or gap. Columns are only added.\n\n\
         | column | type | null | meaning |\n|---|---|---|---|\n",
    );
    for Column { name, ty, nullable, doc } in columns() {
        let null = if *nullable { "yes" } else { "no" };
        page.push_str(&format!("| `{name}` | {} | {null} | {doc} |\n", ty.as_str()));
    }
    page
}

const fn must(name: &'static str, ty: ColumnType, doc: &'static str) -> Column {
    Column { name, ty, nullable: false, doc }
}

const fn may(name: &'static str, ty: ColumnType, doc: &'static str) -> Column {
    Column { name, ty, nullable: true, doc }
}

const COLUMNS: [Column; 57] = [
    must("schema_version", ColumnType::Int32, "version of the row format, 1"),
    must("writer_id", ColumnType::Text, "which recorder wrote the row"),
    must("seq", ColumnType::Int64, "position among this writer's rows, from 1 without holes"),
    must("ts", ColumnType::Timestamp, "when the message was received or made"),
    must(
        "mono_ns",
        ColumnType::Int64,
        "monotonic clock of the process, in nanoseconds; only differences within one writer mean something",
    ),
    may("conn_id", ColumnType::Text, "the connection, unique per process"),
    may("session_id", ColumnType::Text, "truncated SHA-256 of the session header, 16 hex digits"),
    may("exchange_id", ColumnType::Text, "shared by a request and its responses"),
    may("operation_id", ColumnType::Text, "shared by the exchanges of one operation"),
    may("attempt", ColumnType::Int32, "number of the try towards an upstream, from 1"),
    may("link_kind", ColumnType::Text, "how the row was tied to its operation"),
    may(
        "parent_exchange_id",
        ColumnType::Text,
        "the exchange during which a server sent its own request",
    ),
    may("trace_id", ColumnType::Text, "W3C trace id, 32 hex digits"),
    may("span_id", ColumnType::Text, "W3C span id, 16 hex digits"),
    may("leg", ColumnType::Text, "which wire: client, upstream"),
    may("direction", ColumnType::Text, "which way: to_server, to_client"),
    may("transport", ColumnType::Text, "http, sse, stdio, …"),
    may("http_method", ColumnType::Text, "HTTP method"),
    may("http_status", ColumnType::Int32, "HTTP status, on responses"),
    may(
        "http_headers",
        ColumnType::Text,
        "allow-listed headers as a JSON object; never Authorization or cookies",
    ),
    may("protocol_version", ColumnType::Text, "MCP revision in force"),
    may("server", ColumnType::Text, "name of the MCP server, as configured"),
    may("principal", ColumnType::Text, "who made the call"),
    may("tenant", ColumnType::Text, "whose call it is"),
    may("auth_kind", ColumnType::Text, "how the principal proved it"),
    may("client_name", ColumnType::Text, "clientInfo.name"),
    may("client_version", ColumnType::Text, "clientInfo.version"),
    may(
        "kind",
        ColumnType::Text,
        "request, response, notification, error, transport, gap; the last two are not messages",
    ),
    may("rpc_id", ColumnType::Text, "JSON-RPC id as JSON text"),
    may("method", ColumnType::Text, "JSON-RPC method; on a response, its request's"),
    may("name", ColumnType::Text, "tool, prompt or resource; on a response, its request's"),
    may(
        "is_error",
        ColumnType::Bool,
        "on responses: a JSON-RPC error or a tool result with isError",
    ),
    may("error_code", ColumnType::Int64, "JSON-RPC error code"),
    may("body", ColumnType::Text, "the recorded bytes, where they are UTF-8"),
    may("body_raw", ColumnType::Binary, "the recorded bytes, where they are not UTF-8"),
    may("body_len", ColumnType::Int64, "length of the message as it crossed the wire, in bytes"),
    may("body_sha256", ColumnType::Text, "SHA-256 of the recorded bytes, 64 hex digits"),
    may(
        "body_mac",
        ColumnType::Text,
        "HMAC-SHA-256 of the original bytes, 64 hex digits; null without a key",
    ),
    must("truncated", ColumnType::Bool, "the recorded bytes are only the beginning of the message"),
    may("redaction_state", ColumnType::Text, "raw, redacted, withheld"),
    may(
        "redactions",
        ColumnType::Text,
        "what was hidden: JSON array of rule, path, start, length, strategy",
    ),
    may("action", ColumnType::Text, "what the gateway did: allow, flag, redact, block"),
    may(
        "scan_context",
        ColumnType::Binary,
        "the tail of the stream that the verdict also saw, redacted like the body",
    ),
    may("scan_now", ColumnType::Timestamp, "the time the scanner was told"),
    may(
        "would_be",
        ColumnType::Text,
        "what the rules would do, shadow rules included, before `audit` softened it; what pins did is not in it",
    ),
    may(
        "rule_ids",
        ColumnType::TextList,
        "rules found, and `pin.…` where definitions changed, sorted, one entry per finding; null where the row was not judged",
    ),
    may(
        "score",
        ColumnType::Int64,
        "highest sum of points within a window, or points of one secret",
    ),
    may(
        "ruleset_digest",
        ColumnType::Text,
        "rule set of the verdict, kept as rulesets/DIGEST.yaml; null where the row was not judged",
    ),
    may("policy_digest", ColumnType::Text, "policy of the verdict, kept as config/DIGEST.json"),
    may(
        "config_digest",
        ColumnType::Text,
        "settings of the gateway, secrets out, kept as config/DIGEST.json",
    ),
    may(
        "deny_reason",
        ColumnType::Text,
        "why a message was refused, or why a gap is there, as a short code",
    ),
    may(
        "request_processing_us",
        ColumnType::Int64,
        "time the gateway spent on the request, in microseconds",
    ),
    may(
        "response_processing_us",
        ColumnType::Int64,
        "time the gateway spent on the response, in microseconds",
    ),
    may("upstream_us", ColumnType::Int64, "time the upstream took to answer, in microseconds"),
    may("queue_us", ColumnType::Int64, "time the message waited for a turn, in microseconds"),
    must(
        "dropped_before",
        ColumnType::Int64,
        "rows lost just before this one; non-zero only on gap rows",
    ),
    may(
        "body_sealed",
        ColumnType::Binary,
        "the bytes as they crossed the wire, sealed to the keys of `capture.escrow`, where `body` is not those",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_md_is_generated() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/COLUMNS.md");
        if std::env::var_os("WIREGATE_BLESS").is_some() {
            std::fs::write(path, columns_markdown()).unwrap();
        }
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            stored == columns_markdown(),
            "COLUMNS.md is stale: run WIREGATE_BLESS=1 cargo test -p capture columns_md"
        );
    }

    #[test]
    fn names_are_unique() {
        for (at, column) in COLUMNS.iter().enumerate() {
            assert_eq!(position(column.name), Some(at));
        }
    }
}
