//! The two mappings between a [`Record`] and its columns, shared by the Parquet files and the journal.
//!
//! Both name every field (no `..`), so a new field does not compile until both know it.

use bytes::Bytes;

use crate::record::{Record, Str};
use crate::schema::WIDTH;

/// One value on its way out of a record. `None` in its place means null.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Int32(i32),
    /// Also timestamps.
    Int64(i64),
    Bool(bool),
    Text(&'a str),
    Bytes(&'a [u8]),
    List(&'a [Str]),
}

/// One value on its way into a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Cell {
    #[default]
    Null,
    Int(i64),
    Bool(bool),
    Text(Str),
    Bytes(Bytes),
    List(Vec<Str>),
}

impl Record {
    /// The row's values in the order of [`crate::schema::columns`].
    pub(crate) fn values(&self) -> [Option<Value<'_>>; WIDTH] {
        let Record {
            schema_version,
            writer_id,
            seq,
            ts_us,
            mono_ns,
            conn_id,
            session_id,
            exchange_id,
            operation_id,
            attempt,
            link_kind,
            parent_exchange_id,
            trace_id,
            span_id,
            leg,
            direction,
            transport,
            http_method,
            http_status,
            http_headers,
            protocol_version,
            server,
            principal,
            tenant,
            auth_kind,
            client_name,
            client_version,
            kind,
            rpc_id,
            method,
            name,
            is_error,
            error_code,
            body,
            body_len,
            body_sha256,
            body_mac,
            truncated,
            redaction_state,
            redactions,
            action,
            scan_context,
            scan_now,
            would_be,
            rule_ids,
            score,
            ruleset_digest,
            policy_digest,
            config_digest,
            deny_reason,
            request_processing_us,
            response_processing_us,
            upstream_us,
            queue_us,
            dropped_before,
            body_sealed,
            // never written
            original: _,
        } = self;
        let (body, body_raw) = match body.as_deref() {
            None => (None, None),
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => (Some(Value::Text(text)), None),
                Err(_) => (None, Some(Value::Bytes(bytes))),
            },
        };
        let judged = ruleset_digest.is_some() || !rule_ids.is_empty();
        [
            Some(Value::Int32(*schema_version)),
            text(writer_id),
            Some(Value::Int64(*seq)),
            Some(Value::Int64(*ts_us)),
            Some(Value::Int64(*mono_ns)),
            text(conn_id),
            text(session_id),
            text(exchange_id),
            text(operation_id),
            attempt.map(Value::Int32),
            text(link_kind),
            text(parent_exchange_id),
            text(trace_id),
            text(span_id),
            text(leg),
            text(direction),
            text(transport),
            text(http_method),
            http_status.map(Value::Int32),
            text(http_headers),
            text(protocol_version),
            text(server),
            text(principal),
            text(tenant),
            text(auth_kind),
            text(client_name),
            text(client_version),
            text(kind),
            text(rpc_id),
            text(method),
            text(name),
            is_error.map(Value::Bool),
            error_code.map(Value::Int64),
            body,
            body_raw,
            body_len.map(Value::Int64),
            text(body_sha256),
            text(body_mac),
            Some(Value::Bool(*truncated)),
            text(redaction_state),
            text(redactions),
            text(action),
            scan_context.as_deref().map(Value::Bytes),
            scan_now.map(Value::Int64),
            text(would_be),
            judged.then_some(Value::List(rule_ids)),
            score.map(Value::Int64),
            text(ruleset_digest),
            text(policy_digest),
            text(config_digest),
            text(deny_reason),
            request_processing_us.map(Value::Int64),
            response_processing_us.map(Value::Int64),
            upstream_us.map(Value::Int64),
            queue_us.map(Value::Int64),
            Some(Value::Int64(*dropped_before)),
            body_sealed.as_deref().map(Value::Bytes),
        ]
    }

    /// A row from its values in the order of [`crate::schema::columns`]; a null or foreign cell becomes the default.
    pub(crate) fn from_cells(cells: [Cell; WIDTH]) -> Record {
        let [
            schema_version,
            writer_id,
            seq,
            ts,
            mono_ns,
            conn_id,
            session_id,
            exchange_id,
            operation_id,
            attempt,
            link_kind,
            parent_exchange_id,
            trace_id,
            span_id,
            leg,
            direction,
            transport,
            http_method,
            http_status,
            http_headers,
            protocol_version,
            server,
            principal,
            tenant,
            auth_kind,
            client_name,
            client_version,
            kind,
            rpc_id,
            method,
            name,
            is_error,
            error_code,
            body,
            body_raw,
            body_len,
            body_sha256,
            body_mac,
            truncated,
            redaction_state,
            redactions,
            action,
            scan_context,
            scan_now,
            would_be,
            rule_ids,
            score,
            ruleset_digest,
            policy_digest,
            config_digest,
            deny_reason,
            request_processing_us,
            response_processing_us,
            upstream_us,
            queue_us,
            dropped_before,
            body_sealed,
        ] = cells;
        Record {
            schema_version: schema_version.int32().unwrap_or_default(),
            writer_id: writer_id.text(),
            seq: seq.int().unwrap_or_default(),
            ts_us: ts.int().unwrap_or_default(),
            mono_ns: mono_ns.int().unwrap_or_default(),
            conn_id: conn_id.text(),
            session_id: session_id.text(),
            exchange_id: exchange_id.text(),
            operation_id: operation_id.text(),
            attempt: attempt.int32(),
            link_kind: link_kind.text(),
            parent_exchange_id: parent_exchange_id.text(),
            trace_id: trace_id.text(),
            span_id: span_id.text(),
            leg: leg.text(),
            direction: direction.text(),
            transport: transport.text(),
            http_method: http_method.text(),
            http_status: http_status.int32(),
            http_headers: http_headers.text(),
            protocol_version: protocol_version.text(),
            server: server.text(),
            principal: principal.text(),
            tenant: tenant.text(),
            auth_kind: auth_kind.text(),
            client_name: client_name.text(),
            client_version: client_version.text(),
            kind: kind.text(),
            rpc_id: rpc_id.text(),
            method: method.text(),
            name: name.text(),
            is_error: is_error.bool(),
            error_code: error_code.int(),
            body: body.bytes().or(body_raw.bytes()),
            body_len: body_len.int(),
            body_sha256: body_sha256.text(),
            body_mac: body_mac.text(),
            truncated: truncated.bool().unwrap_or_default(),
            redaction_state: redaction_state.text(),
            redactions: redactions.text(),
            action: action.text(),
            scan_context: scan_context.bytes(),
            scan_now: scan_now.int(),
            would_be: would_be.text(),
            rule_ids: rule_ids.list(),
            score: score.int(),
            ruleset_digest: ruleset_digest.text(),
            policy_digest: policy_digest.text(),
            config_digest: config_digest.text(),
            deny_reason: deny_reason.text(),
            request_processing_us: request_processing_us.int(),
            response_processing_us: response_processing_us.int(),
            upstream_us: upstream_us.int(),
            queue_us: queue_us.int(),
            dropped_before: dropped_before.int().unwrap_or_default(),
            body_sealed: body_sealed.bytes(),
            original: None,
        }
    }
}

fn text(field: &Option<Str>) -> Option<Value<'_>> {
    field.as_deref().map(Value::Text)
}

impl Cell {
    fn int(self) -> Option<i64> {
        if let Cell::Int(value) = self { Some(value) } else { None }
    }

    fn int32(self) -> Option<i32> {
        self.int().and_then(|value| i32::try_from(value).ok())
    }

    fn bool(self) -> Option<bool> {
        if let Cell::Bool(value) = self { Some(value) } else { None }
    }

    fn text(self) -> Option<Str> {
        if let Cell::Text(value) = self { Some(value) } else { None }
    }

    fn bytes(self) -> Option<Bytes> {
        if let Cell::Bytes(value) = self { Some(value) } else { None }
    }

    fn list(self) -> Vec<Str> {
        if let Cell::List(value) = self { value } else { Vec::new() }
    }
}
