//! A record's columns by name: as JSON values, and as cells of a table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use capture::{Record, Str};
use serde_json::{Map, Value};

use crate::select::time::format_time;

/// The columns of the table unless `--columns` names others.
pub(crate) const DEFAULT: [&str; 8] =
    ["ts", "direction", "kind", "server", "method", "name", "action", "rule_ids"];
/// The columns that hold content; shown only when asked for.
pub(crate) const BODIES: [&str; 4] = ["body", "body_raw", "body_sealed", "scan_context"];

/// The schema's name for what the user wrote, or what is wrong with it.
pub(crate) fn known(name: &str) -> Result<&'static str, String> {
    capture::schema::columns()
        .iter()
        .map(|column| column.name)
        .find(|known| *known == name)
        .ok_or_else(|| {
            let names: Vec<&str> = capture::schema::columns().iter().map(|c| c.name).collect();
            format!("no such column; there are {}", names.join(", "))
        })
}

/// The named columns that are not null, as one JSON object.
pub(crate) fn object(record: &Record, columns: &[&'static str]) -> Value {
    let mut object = Map::new();
    for column in columns {
        let value = value(record, column);
        if !value.is_null() {
            object.insert((*column).to_owned(), value);
        }
    }
    Value::Object(object)
}

/// One column as a cell: short and readable, null as nothing.
pub(crate) fn cell(record: &Record, column: &str) -> String {
    match column {
        "ts" => format_time(record.ts_us, 0),
        "rule_ids" => counted(&record.rule_ids),
        "session_id" | "body_sha256" | "ruleset_digest" | "policy_digest" | "config_digest" => {
            let text = value(record, column);
            let text = text.as_str().unwrap_or_default();
            text.trim_start_matches("sha256:").chars().take(12).collect()
        }
        _ => match value(record, column) {
            Value::Null => String::new(),
            Value::String(text) => text,
            other => other.to_string(),
        },
    }
}

/// Sorted ids with repeats: `a ×2 b`.
fn counted(ids: &[Str]) -> String {
    let mut out: Vec<String> = Vec::new();
    for same in ids.chunk_by(|a, b| a == b) {
        match same {
            [one] => out.push(one.to_string()),
            many => out.push(format!("{} ×{}", many[0], many.len())),
        }
    }
    out.join(" ")
}

/// One column as JSON; null where the row has none. Bytes that are not UTF-8 become base64.
fn value(record: &Record, column: &str) -> Value {
    let text = |field: &Option<Str>| field.as_deref().map_or(Value::Null, Value::from);
    let int = |field: Option<i64>| field.map_or(Value::Null, Value::from);
    match column {
        "schema_version" => record.schema_version.into(),
        "writer_id" => text(&record.writer_id),
        "seq" => record.seq.into(),
        "ts" => format_time(record.ts_us, 6).into(),
        "mono_ns" => record.mono_ns.into(),
        "conn_id" => text(&record.conn_id),
        "session_id" => text(&record.session_id),
        "exchange_id" => text(&record.exchange_id),
        "operation_id" => text(&record.operation_id),
        "attempt" => record.attempt.map_or(Value::Null, Value::from),
        "link_kind" => text(&record.link_kind),
        "parent_exchange_id" => text(&record.parent_exchange_id),
        "trace_id" => text(&record.trace_id),
        "span_id" => text(&record.span_id),
        "leg" => text(&record.leg),
        "direction" => text(&record.direction),
        "transport" => text(&record.transport),
        "http_method" => text(&record.http_method),
        "http_status" => record.http_status.map_or(Value::Null, Value::from),
        "http_headers" => text(&record.http_headers),
        "protocol_version" => text(&record.protocol_version),
        "server" => text(&record.server),
        "principal" => text(&record.principal),
        "tenant" => text(&record.tenant),
        "auth_kind" => text(&record.auth_kind),
        "client_name" => text(&record.client_name),
        "client_version" => text(&record.client_version),
        "kind" => text(&record.kind),
        "rpc_id" => text(&record.rpc_id),
        "method" => text(&record.method),
        "name" => text(&record.name),
        "is_error" => record.is_error.map_or(Value::Null, Value::from),
        "error_code" => int(record.error_code),
        "body" => body_text(record).map_or(Value::Null, Value::from),
        "body_raw" => match (&record.body, body_text(record)) {
            (Some(bytes), None) => STANDARD.encode(bytes).into(),
            _ => Value::Null,
        },
        "body_sealed" => {
            record.body_sealed.as_ref().map_or(Value::Null, |sealed| STANDARD.encode(sealed).into())
        }
        "body_len" => int(record.body_len),
        "body_sha256" => text(&record.body_sha256),
        "body_mac" => text(&record.body_mac),
        "truncated" => record.truncated.into(),
        "redaction_state" => text(&record.redaction_state),
        "redactions" => text(&record.redactions),
        "action" => text(&record.action),
        "scan_context" => record
            .scan_context
            .as_ref()
            .map_or(Value::Null, |bytes| String::from_utf8_lossy(bytes).into()),
        "scan_now" => record.scan_now.map_or(Value::Null, |us| format_time(us, 6).into()),
        "would_be" => text(&record.would_be),
        "rule_ids" if record.ruleset_digest.is_none() && record.rule_ids.is_empty() => Value::Null,
        "rule_ids" => record.rule_ids.iter().map(|id| Value::from(&**id)).collect(),
        "score" => int(record.score),
        "ruleset_digest" => text(&record.ruleset_digest),
        "policy_digest" => text(&record.policy_digest),
        "config_digest" => text(&record.config_digest),
        "deny_reason" => text(&record.deny_reason),
        "request_processing_us" => int(record.request_processing_us),
        "response_processing_us" => int(record.response_processing_us),
        "upstream_us" => int(record.upstream_us),
        "queue_us" => int(record.queue_us),
        "dropped_before" => record.dropped_before.into(),
        // `known` lets only the schema's names in; a test holds this list against the schema.
        _ => Value::Null,
    }
}

/// The recorded body, if it is UTF-8.
pub(crate) fn body_text(record: &Record) -> Option<&str> {
    std::str::from_utf8(record.body.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record in which no column is null.
    fn full() -> Record {
        let text = || Some(Str::from("text"));
        Record {
            schema_version: 1,
            writer_id: text(),
            seq: 1,
            ts_us: 1,
            mono_ns: 1,
            conn_id: text(),
            session_id: text(),
            exchange_id: text(),
            operation_id: text(),
            attempt: Some(1),
            link_kind: text(),
            parent_exchange_id: text(),
            trace_id: text(),
            span_id: text(),
            leg: text(),
            direction: text(),
            transport: text(),
            http_method: text(),
            http_status: Some(200),
            http_headers: text(),
            protocol_version: text(),
            server: text(),
            principal: text(),
            tenant: text(),
            auth_kind: text(),
            client_name: text(),
            client_version: text(),
            kind: text(),
            rpc_id: text(),
            method: text(),
            name: text(),
            is_error: Some(true),
            error_code: Some(-32000),
            body: Some("body".into()),
            body_len: Some(4),
            body_sha256: text(),
            body_mac: text(),
            truncated: true,
            redaction_state: text(),
            redactions: text(),
            action: text(),
            scan_context: Some("tail".into()),
            scan_now: Some(1),
            would_be: text(),
            rule_ids: vec!["a".into(), "b".into(), "b".into()],
            score: Some(1),
            ruleset_digest: text(),
            policy_digest: text(),
            config_digest: text(),
            deny_reason: text(),
            request_processing_us: Some(1),
            response_processing_us: Some(1),
            upstream_us: Some(1),
            queue_us: Some(1),
            dropped_before: 1,
            body_sealed: Some("sealed".into()),
            original: None,
        }
    }

    #[test]
    fn every_column_of_the_schema_is_shown() {
        for column in capture::schema::columns() {
            let mut record = full();
            if column.name == "body_raw" {
                record.body = Some(vec![0xff].into());
            }
            assert!(!value(&record, column.name).is_null(), "{} is not mapped", column.name);
        }
    }

    #[test]
    fn repeated_rules_are_counted() {
        assert_eq!(cell(&full(), "rule_ids"), "a b ×2");
    }
}
