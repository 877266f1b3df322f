//! Records for tests: one with every column set, and arbitrary ones.

use bytes::Bytes;
use proptest::prelude::*;

use crate::record::{Record, Str};

/// A record with a value in every column, distinct per column, so that swapped columns show.
pub(crate) fn full(seq: i64, body: &'static [u8]) -> Record {
    let text = |name: &str| -> Option<Str> { Some(format!("{name}-{seq}").into()) };
    Record {
        schema_version: 1,
        writer_id: text("writer"),
        seq,
        ts_us: 1_700_000_000_000_000 + seq,
        mono_ns: 11,
        conn_id: text("conn"),
        session_id: text("session"),
        exchange_id: text("exchange"),
        operation_id: text("operation"),
        attempt: Some(12),
        link_kind: text("link"),
        parent_exchange_id: text("parent"),
        trace_id: text("trace"),
        span_id: text("span"),
        leg: text("leg"),
        direction: text("direction"),
        transport: text("transport"),
        http_method: text("http_method"),
        http_status: Some(13),
        http_headers: text("headers"),
        protocol_version: text("protocol"),
        server: text("server"),
        principal: text("principal"),
        tenant: text("tenant"),
        auth_kind: text("auth"),
        client_name: text("client"),
        client_version: text("version"),
        kind: text("kind"),
        rpc_id: text("rpc"),
        method: text("method"),
        name: text("name"),
        is_error: Some(true),
        error_code: Some(-14),
        body: Some(Bytes::from_static(body)),
        body_len: Some(15),
        body_sha256: text("sha"),
        body_mac: text("mac"),
        truncated: true,
        redaction_state: text("state"),
        redactions: text("redactions"),
        action: text("action"),
        scan_context: Some(Bytes::from_static(b"\x00context\xff")),
        scan_now: Some(16),
        would_be: text("would_be"),
        rule_ids: vec!["a".into(), "a".into(), "b".into()],
        score: Some(17),
        ruleset_digest: text("ruleset"),
        policy_digest: text("policy"),
        config_digest: text("config"),
        deny_reason: text("deny"),
        request_processing_us: Some(18),
        response_processing_us: Some(19),
        upstream_us: Some(20),
        queue_us: Some(21),
        dropped_before: 22,
        body_sealed: Some(Bytes::from_static(b"\x01sealed")),
        original: None,
    }
}

/// A record as the gateway would hand it over.
pub(crate) fn offered(ts_us: i64, body: &[u8]) -> Record {
    Record {
        ts_us,
        kind: Some("request".into()),
        server: Some("files".into()),
        body: Some(Bytes::copy_from_slice(body)),
        ..Record::default()
    }
}

fn some_text() -> impl Strategy<Value = Option<Str>> {
    prop::option::of("\\PC{0,12}").prop_map(|text| text.map(Str::from))
}

fn some_bytes() -> impl Strategy<Value = Option<Bytes>> {
    let text = "\\PC{0,40}".prop_map(String::into_bytes);
    let bytes = prop_oneof![prop::collection::vec(any::<u8>(), 0..40), text];
    prop::option::of(bytes).prop_map(|bytes| bytes.map(Bytes::from))
}

/// Records with arbitrary text, bytes and numbers in the columns of every type.
pub(crate) fn any_record() -> impl Strategy<Value = Record> {
    let texts = prop::collection::vec(some_text(), 8);
    let bytes = (some_bytes(), some_bytes());
    let ints = (any::<i64>(), any::<i64>(), any::<Option<i64>>(), any::<Option<i32>>());
    let flags = (any::<bool>(), any::<Option<bool>>());
    let rules = prop::collection::vec("\\PC{0,8}".prop_map(Str::from), 0..4);
    (texts, bytes, ints, flags, rules).prop_map(|(texts, bytes, ints, flags, rule_ids)| {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().flatten();
        Record {
            writer_id: Some("w".into()),
            ts_us: ints.0,
            seq: ints.1,
            score: ints.2,
            http_status: ints.3,
            truncated: flags.0,
            is_error: flags.1,
            session_id: text(),
            server: text(),
            kind: text(),
            method: text(),
            name: text(),
            redactions: text(),
            ruleset_digest: text(),
            deny_reason: text(),
            body: bytes.0,
            scan_context: bytes.1,
            rule_ids,
            ..Record::default()
        }
    })
}
