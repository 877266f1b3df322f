//! Disguised and divided secrets, and what a deployment may say of findings: suppressions, keys of placeholders,
//! shadow rules, thresholds.

use serde_json::{Value, json};
use tests::{Client, FakeServer, Gateway, Response, call, initialize, request};

use crate::{key, rows};

fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

async fn answering(result: Value) -> FakeServer {
    FakeServer::start(move |exchange| exchange.result(result.clone())).await
}

/// The first text of the answer to a call.
async fn said(gateway: &Gateway) -> String {
    let answer = Client::new(&gateway.url).post(&call(1, "read", json!({}))).await.json().await;
    answer["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_encoded_key_is_taken_out_of_the_text_round_it() {
    let hex: String = key().bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = key().bytes().map(|byte| format!("%{byte:02X}")).collect();
    let wide: String = key().chars().map(|c| format!("{c}\u{200B}")).collect();
    for encoded in [hex, percent, wide] {
        let server = answering(text(&format!("before {encoded} after"))).await;
        let gateway = Gateway::before(&server.url).await;
        let said = said(&gateway).await;
        assert!(said.starts_with("before [redacted:dlp.aws.access-key"), "{said}");
        assert!(said.ends_with("] after") || said.ends_with("]\u{200B} after"), "{said}");
    }
}

#[tokio::test]
async fn a_key_over_two_events_of_a_stream_does_not_arrive() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    let client = Client::new(&gateway.url);
    let asking = tokio::spawn(async move { client.post(&call(1, "slow", json!({}))).await });
    let mut outlet = server.asked().await.stream(&[]);
    let (first, second) = (key()[..9].to_owned(), key()[9..].to_owned());
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": format!("id {first}")}});
    assert!(outlet.event(&log).await);
    let mut events = asking.await.unwrap().events();
    assert_eq!(events.next().await.unwrap().message(), log);
    assert!(outlet.event(&json!({"jsonrpc": "2.0", "id": 1, "result": text(&second)})).await);
    let answer = events.next().await.unwrap().message();
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert!(!answer.to_string().contains(&second));
}

#[tokio::test]
async fn a_key_over_two_calls_of_a_session_does_not_leave() {
    let server = FakeServer::start(|exchange| match exchange.message()["method"].as_str() {
        Some("initialize") => exchange.begin("s"),
        _ => exchange.result(text("ok")),
    })
    .await;
    let gateway = Gateway::before(&server.url).await;
    let client = Client::new(&gateway.url);
    let (one, two) = (client.post(&initialize()).await, client.post(&initialize()).await);
    let send = async |session: &Response, part: &str| {
        let client = client.clone().with("mcp-session-id", session.header("mcp-session-id"));
        client.post(&call(1, "post", json!({"body": part}))).await.json().await
    };
    assert_eq!(send(&one, &key()[..9]).await["result"]["content"][0]["text"], "ok");
    // another session's words have nothing to do with it
    assert_eq!(send(&two, &key()[9..]).await["result"]["content"][0]["text"], "ok");
    assert_eq!(send(&one, &key()[9..]).await["result"]["isError"], true);
}

#[tokio::test]
async fn a_suppressed_finding_passes_and_is_recorded_without_its_value() {
    let server = answering(text(&key())).await;
    let config = "inspect:\n  suppress:\n  - { rule: dlp.aws.access-key, tool: read, path: /result/content/*, reason: a canary, expires: 2999-12-31 }\n";
    let gateway = Gateway::configured(&server.url, config).await;
    assert_eq!(said(&gateway).await, key());
    let capture = gateway.capture.clone();
    let _dir = gateway.stop().await;
    let row = rows(&capture).into_iter().find(|r| r.kind.as_deref() == Some("response")).unwrap();
    assert_eq!(row.action.as_deref(), Some("allow"));
    assert_eq!(row.rule_ids, ["dlp.aws.access-key".into()]);
    assert!(!format!("{row:?}").contains(&key()));

    // its last day is over
    let gateway = Gateway::configured(&server.url, &config.replace("2999", "2001")).await;
    assert_eq!(said(&gateway).await, "[redacted:dlp.aws.access-key]");
}

#[tokio::test]
async fn placeholders_under_a_key_tell_equal_secrets() {
    let other = key().replace('Q', "R");
    let server = answering(text(&format!("{} {other} {}", key(), key()))).await;
    let config = "inspect: { mask_key: \"0123456789abcdef0123\" }\n";
    let gateway = Gateway::configured(&server.url, config).await;
    let said = said(&gateway).await;
    let words: Vec<&str> = said.split(' ').collect();
    assert!(words[0].starts_with("[wg:dlp.aws.access-key:"), "{said}");
    assert_eq!(words[0], words[2]);
    assert_ne!(words[0], words[1]);
}

#[tokio::test]
async fn a_shadow_rule_tells_what_it_would_do_and_does_not() {
    let rule = "rules:\n- id: own.word\n  title: A word\n  class: unsafe\n  severity: high\n  action: block\n  shadow: true\n  pattern: 'frobnicate'\n  docs: {finds: f, why: w}\n  tests: {match: [frobnicate, 'a frobnicate'], no_match: [frob, nicate]}\n";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("own.yaml"), rule).unwrap();
    let server = answering(text("please frobnicate")).await;
    let config = format!("inspect: {{ rules: [{:?}] }}\n", folder.path());
    let gateway = Gateway::configured(&server.url, &config).await;
    assert_eq!(said(&gateway).await, "please frobnicate");
    let capture = gateway.capture.clone();
    let _dir = gateway.stop().await;
    let row = rows(&capture).into_iter().find(|r| r.kind.as_deref() == Some("response")).unwrap();
    assert_eq!((row.action.as_deref(), row.would_be.as_deref()), (Some("allow"), Some("block")));
}

#[tokio::test]
async fn thresholds_of_ones_own_decide() {
    let rule = |id: &str, word: &str| {
        format!(
            "- id: own.{id}\n  title: A word\n  class: injection\n  severity: low\n  score: 3\n  pattern: '{word}'\n  docs: {{finds: f, why: w}}\n  tests: {{match: [{word}, 'a {word}'], no_match: [no, none]}}\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let both = format!("rules:\n{}{}", rule("one", "frobnicate"), rule("two", "transmogrify"));
    std::fs::write(folder.path().join("own.yaml"), both).unwrap();
    let server = answering(text("frobnicate, then transmogrify")).await;
    for (block_at, blocked) in [(6, true), (7, false)] {
        let config = format!("inspect: {{ rules: [{:?}], block_at: {block_at} }}\n", folder.path());
        let gateway = Gateway::configured(&server.url, &config).await;
        assert_eq!(said(&gateway).await.contains("own.one"), blocked, "{block_at}");
    }
}

#[tokio::test]
async fn a_result_whose_schema_has_no_place_for_a_placeholder_is_blocked() {
    let schema = json!({"type": "object", "properties": {"id": {"type": "string", "pattern": "^[A-Z0-9]+$"}, "note": {"type": "string"}}});
    for (member, blocked) in [("id", true), ("note", false)] {
        let schema = schema.clone();
        let server = FakeServer::start(move |exchange| match exchange.message()["method"] == "tools/list" {
            true => exchange.result(json!({"tools": [{"name": "read", "inputSchema": {"type": "object"}, "outputSchema": schema}]})),
            false => exchange.result(json!({"content": [{"type": "text", "text": "see there"}], "structuredContent": {member: key()}})),
        })
        .await;
        let gateway = Gateway::before(&server.url).await;
        let client = Client::new(&gateway.url);
        client.post(&request(1, "tools/list", json!({}))).await.bytes().await;
        let answer = client.post(&call(2, "read", json!({}))).await.json().await;
        assert_eq!(answer["result"]["isError"] == true, blocked, "{answer}");
        assert!(!answer.to_string().contains(&key()));
    }
}
