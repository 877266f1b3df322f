//! What a reader of a capture asks of its columns: which calls are one operation, which answer belongs to which
//! call, who asked, in which trace, and what a verdict saw.

use std::path::Path;
use std::time::Duration;

use ::capture::{Record, Recorder, RecorderConfig};
use serde_json::{Value, json};
use tests::{Client, FakeServer, Gateway, MODERN, call, modern, request, within};

use crate::bridge_to_legacy::{Legacy, able, answer, elicits, form, post, retry};
use crate::{bridge_to_modern, key, rows};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// The rows that the client's side of the requests of this id and their answers left, in order.
fn of<'a>(rows: &'a [Record], id: &str) -> Vec<&'a Record> {
    let is = |row: &&Record| {
        row.leg.as_deref() == Some("client")
            && row.rpc_id.as_deref() == Some(id)
            && row.kind.as_deref() != Some("transport")
    };
    rows.iter().filter(is).collect()
}

fn columns(row: &Record) -> [Option<&str>; 3] {
    [&row.exchange_id, &row.operation_id, &row.link_kind].map(|text| text.as_deref())
}

/// A server that asks for more unless the call brings what it asked for last; `state` goes along.
async fn asking(state: Option<&'static str>) -> FakeServer {
    FakeServer::start(move |exchange| {
        let params = exchange.message()["params"].take();
        let got = |key: &str| params["inputResponses"][key].is_object();
        let next = match (got("first"), got("second")) {
            (false, false) => "first",
            (true, _) => "second",
            (_, true) => return exchange.result(json!({"resultType": "complete", "content": []})),
        };
        let asks = json!({next: {"method": "elicitation/create", "params": {"message": "Which?"}}});
        let mut result = json!({"resultType": "input_required", "inputRequests": asks});
        if let Some(state) = state {
            result["requestState"] = format!("{state} of {next}").into();
        }
        exchange.result(result);
    })
    .await
}

/// Calls a tool of the stateless revision.
async fn calls(gateway: &Gateway, id: &str, tool: &str, more: Value) -> Value {
    let mut message = modern(call(id, tool, json!({})));
    for (key, value) in more.as_object().unwrap() {
        message["params"][key] = value.clone();
    }
    Client::modern(&gateway.url, &message).post(&message).await.json().await
}

#[tokio::test]
async fn an_operation_of_three_rounds_is_one_by_its_state() {
    let server = asking(Some("opaque")).await;
    let gateway = Gateway::before(&server.url).await;
    let accepts = json!({"action": "accept", "content": {}});
    for (id, more) in [
        ("1", json!({})),
        ("2", json!({"requestState": "opaque of first", "inputResponses": {"first": accepts}})),
        ("3", json!({"requestState": "opaque of second", "inputResponses": {"second": accepts}})),
        ("4", json!({})),
        ("5", json!({"requestState": "forged", "inputResponses": {"other": accepts}})),
    ] {
        calls(&gateway, id, "t", more).await;
    }
    let capture = gateway.capture.clone();
    let _dir = gateway.stop().await;
    let rows = rows(&capture);
    let first = of(&rows, "\"1\"")[0];
    assert_eq!((&first.operation_id, &first.link_kind), (&first.exchange_id, &None));
    for id in ["\"1\"", "\"2\"", "\"3\""] {
        let [asked, answered] = of(&rows, id)[..] else { panic!("{id}") };
        assert_eq!(columns(asked), columns(answered), "a request and its answer");
        assert_eq!(asked.operation_id, first.operation_id);
        assert_eq!((asked.attempt, answered.attempt), (Some(1), Some(1)));
        let link = (id != "\"1\"").then_some("request_state");
        assert_eq!(asked.link_kind.as_deref(), link);
    }
    for id in ["\"4\"", "\"5\""] {
        let alone = of(&rows, id)[0];
        assert_eq!((&alone.operation_id, &alone.link_kind), (&alone.exchange_id, &None), "{id}");
    }
    // what the table holds of a state is a digest; the rows hold it as the body does, and nowhere else
    let exchanges = rows.iter().filter_map(|row| row.exchange_id.clone());
    assert_eq!(exchanges.collect::<std::collections::HashSet<_>>().len(), 5);
}

const KEYS: &str = "auth: { keys: [{ name: foo, sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae }, { name: bar, sha256: fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9 }] }\n";

#[tokio::test]
async fn without_a_state_the_questions_tell_for_the_same_sender_and_tool_only() {
    let server = asking(None).await;
    let gateway = Gateway::configured(&server.url, KEYS).await;
    let answers = json!({"inputResponses": {"first": {"action": "decline"}}});
    for (id, key, tool, more) in [
        ("begin", "foo", "t", json!({})),
        ("other-tool", "foo", "u", answers.clone()),
        ("other-client", "bar", "t", answers.clone()),
        ("again", "foo", "t", answers),
    ] {
        let mut message = modern(call(id, tool, json!({})));
        for (name, value) in more.as_object().unwrap() {
            message["params"][name] = value.clone();
        }
        let client = Client::modern(&gateway.url, &message);
        let client = client.with("authorization", &format!("Bearer {key}"));
        assert_eq!(client.post(&message).await.status, 200);
    }
    let capture = gateway.capture.clone();
    let _dir = gateway.stop().await;
    let rows = rows(&capture);
    let begun = of(&rows, "\"begin\"")[0];
    let again = of(&rows, "\"again\"")[0];
    assert_eq!(again.operation_id, begun.exchange_id);
    assert_eq!(again.link_kind.as_deref(), Some("input_keys"));
    for id in ["\"other-tool\"", "\"other-client\""] {
        let alone = of(&rows, id)[0];
        assert_eq!((&alone.operation_id, &alone.link_kind), (&alone.exchange_id, &None), "{id}");
    }
    assert_eq!(begun.auth_kind.as_deref(), Some("key"));
}

#[tokio::test]
async fn a_question_of_a_server_with_sessions_is_a_round_of_a_client_without() {
    let mut legacy = Legacy::start().await;
    let gateway = legacy.gateway("").await;
    let first = able(call(1, "ask", json!({})), form());
    let calling = post(&gateway, &first);
    let mut outlet = legacy.asked_for("tools/call").await.stream(&[]);
    outlet.event(&elicits("e-1")).await;
    let asked = answer(calling).await;
    let again = post(&gateway, &retry(first, json!(2), &asked, json!({"action": "decline"})));
    legacy.asked().await.raw(202, &[], "");
    outlet.event(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})).await;
    assert_eq!(answer(again).await["result"]["resultType"], "complete");
    let capture = gateway.capture.clone();
    let _dir = within("the end", gateway.stop()).await;
    let rows = rows(&capture);
    let (first, second) = (of(&rows, "1"), of(&rows, "2"));
    assert_eq!((first.len(), second.len()), (2, 2));
    for row in &second {
        assert_eq!(row.operation_id, first[0].exchange_id);
        assert_ne!(row.exchange_id, first[0].exchange_id);
        assert_eq!(row.link_kind.as_deref(), Some("request_state"));
    }
}

#[tokio::test]
async fn what_a_stateless_server_asks_is_a_request_within_the_call_of_a_client_with_a_session() {
    let mut server = FakeServer::stateless().await;
    let gateway = Gateway::before(&server.url).await;
    let (client, _) =
        bridge_to_modern::session(&gateway, tests::LEGACY, json!({"elicitation": {}})).await;
    let waiting = bridge_to_modern::post(&client, call(7, "t", json!({})));
    bridge_to_modern::lists_tools(&mut server, json!([])).await;
    let asks = json!({"k": {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}}});
    let result =
        json!({"resultType": "input_required", "inputRequests": asks, "requestState": "s"});
    server.asked().await.result(result);
    let mut events = waiting.await.unwrap().events();
    let asked = events.next().await.unwrap().message();
    let said = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}});
    assert_eq!(client.post(&said).await.status, 202);
    server.asked().await.result(json!({"resultType": "complete", "content": []}));
    assert_eq!(events.next().await.unwrap().message()["id"], 7);
    let capture = gateway.capture.clone();
    let _dir = within("the end", gateway.stop()).await;
    let rows = rows(&capture);
    let [called, answered] = of(&rows, "7")[..] else { panic!("{rows:#?}") };
    let [question, reply] = of(&rows, &asked["id"].to_string())[..] else { panic!("{rows:#?}") };
    assert_eq!(columns(called), columns(answered));
    assert_eq!(columns(question), columns(reply));
    for row in [question, reply] {
        assert_eq!(row.parent_exchange_id, called.exchange_id);
        assert_eq!(row.operation_id, called.operation_id);
        assert_eq!(row.link_kind.as_deref(), Some("parent"));
        assert_eq!(row.client_name.as_deref(), Some("tester"));
        assert_eq!(row.protocol_version.as_deref(), Some(tests::LEGACY));
    }
    assert_eq!((question.direction.as_deref(), question.attempt), (Some("to_client"), None));
}

#[tokio::test]
async fn trace_headers_client_and_revision_stand_on_the_rows_they_apply_to() {
    let server = FakeServer::start(|exchange| {
        exchange.result(json!({"resultType": "complete", "content": []}));
    })
    .await;
    let key = key();
    let yaml = "capture: { headers: [User-Agent, mcp-name, x-note, x-absent] }\n";
    let gateway = Gateway::configured(&server.url, yaml).await;
    let mut message = modern(call("a", &format!("tool-{key}"), json!({})));
    message["params"]["_meta"]["traceparent"] = format!("00-{TRACE}-{SPAN}-01").into();
    let client = Client::modern(&gateway.url, &message)
        .with("user-agent", "tester/1")
        .with("authorization", "Bearer never-recorded")
        .with("x-note", &format!("it is {key}"))
        .with("traceparent", "00-11111111111111111111111111111111-2222222222222222-01");
    client.post(&message).await.bytes().await;
    let message = modern(call("b", "t", json!({})));
    let client = Client::modern(&gateway.url, &message)
        .with("traceparent", "00-11111111111111111111111111111111-2222222222222222-01");
    client.post(&message).await.bytes().await;
    let client = client.with("traceparent", "00-1-2-01");
    let message = modern(call("c", "t", json!({})));
    client.post(&message).await.bytes().await;
    let capture = gateway.capture.clone();
    let _dir = gateway.stop().await;
    let rows = rows(&capture);

    for row in of(&rows, "\"a\"") {
        // the message's own trace goes before that of the request it came in
        assert_eq!(row.trace_id.as_deref(), Some(TRACE));
        assert_eq!(row.span_id.as_deref(), Some(SPAN));
        assert_eq!(row.protocol_version.as_deref(), Some(MODERN));
        assert_eq!(row.client_name.as_deref(), Some("test"));
        assert_eq!(row.client_version.as_deref(), Some("0"));
    }
    let headers = of(&rows, "\"a\"")[0].http_headers.as_deref().unwrap();
    assert!(!headers.contains(&key) && !headers.contains("never-recorded"), "{headers}");
    let headers: Value = serde_json::from_str(headers).unwrap();
    assert_eq!(headers["user-agent"], "tester/1");
    assert!(headers["mcp-name"].as_str().unwrap().starts_with("tool-[redacted:"), "{headers}");
    assert!(headers["x-note"].as_str().unwrap().contains("[redacted:"), "{headers}");
    assert_eq!(headers.as_object().unwrap().len(), 3);
    for row in of(&rows, "\"b\"") {
        assert_eq!(row.trace_id.as_deref(), Some("11111111111111111111111111111111"));
    }
    assert!(of(&rows, "\"c\"").iter().all(|row| row.trace_id.is_none() && row.span_id.is_none()));
}

/// `wiregate-replay scan --recorded` of a capture.
async fn differs(capture: &Path) -> (Option<i32>, String) {
    let built = tokio::task::spawn_blocking(tests::binaries).await.unwrap();
    let mut command = tokio::process::Command::new(&built.replay);
    let output = within("the scan", command.args(["scan", "--recorded"]).arg(capture).output());
    let output = output.await.unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A capture of the same rows, last first, with what they name.
fn reversed(capture: &Path, rows: &[Record]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["rulesets", "config"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        for file in std::fs::read_dir(capture.join(folder)).unwrap() {
            let file = file.unwrap();
            let to = dir.path().join(folder).join(file.file_name());
            std::fs::copy(file.path(), to).unwrap();
        }
    }
    let recorder = Recorder::open(RecorderConfig::new(dir.path())).unwrap();
    for row in rows.iter().rev() {
        drop(recorder.try_record(row.clone()).map_err(|_| "full").unwrap());
    }
    recorder.close(Duration::from_secs(30)).unwrap();
    dir
}

#[tokio::test]
#[ignore = "tails of redacted captures are not recorded yet: hiding left a whole key in one"]
async fn a_verdict_is_a_function_of_its_row_whatever_streams_and_sessions_it_saw() {
    let key = key();
    for bodies in ["redacted", "raw"] {
        let (head, tail) = (key[..9].to_owned(), key[9..].to_owned());
        let streamed = [format!("a {head}"), format!("{tail} b"), "c".to_owned()];
        let server = FakeServer::start(move |exchange| {
            let id = exchange.message()["id"].take();
            let parts = streamed.clone();
            tokio::spawn(async move {
                let mut outlet = exchange.stream(&[]);
                for part in parts {
                    let params = json!({"level": "info", "data": part});
                    let told = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params});
                    outlet.event(&told).await;
                }
                let content = json!([{"type": "text", "text": "done"}]);
                outlet.event(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": content}})).await;
            });
        })
        .await;
        let yaml = format!("capture: {{ bodies: {bodies} }}\n");
        let gateway = Gateway::configured(&server.url, &format!("{KEYS}{yaml}")).await;
        let client = Client::new(&gateway.url).with("authorization", "Bearer foo");
        // whole, and split over two calls of one sender; each text stands before the next
        for (id, text) in
            [(1, key.as_str()), (2, "plain"), (3, &key[..9]), (4, &key[9..]), (5, "end")]
        {
            client.post(&call(id, "put", json!({"note": text}))).await.bytes().await;
        }
        client.post(&request(6, "ping", json!({}))).await.bytes().await;
        let capture = gateway.capture.clone();
        let _dir = within("the end", gateway.stop()).await;
        let rows = rows(&capture);
        let earlier = |row: &&Record| row.scan_context.is_some() && row.scan_now.is_some();
        assert!(rows.iter().filter(earlier).count() >= 10, "{bodies}");
        let split =
            rows.iter().filter(|row| row.scan_context.is_some() && !row.rule_ids.is_empty());
        assert!(split.count() >= 2, "{bodies}: a key that is split is found");
        if bodies == "redacted" {
            let shows = |row: &Record| {
                let context = row.scan_context.as_deref().unwrap_or_default();
                String::from_utf8_lossy(context).contains(&key)
            };
            assert!(!rows.iter().any(shows), "a whole key is hidden in what follows it");
        }
        let (code, report) = differs(&capture).await;
        assert_eq!(code, Some(0), "{bodies}\n{report}");
        let turned = reversed(&capture, &rows);
        let (code, report) = differs(turned.path()).await;
        assert_eq!(code, Some(0), "{bodies}, last row first\n{report}");
    }
}
