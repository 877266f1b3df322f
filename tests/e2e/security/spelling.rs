//! One message that two readers could take for two: the gateway and the server read the same, or the server reads nothing.

use serde_json::{Value, json};
use tests::{Client, Gateway, call, initialize, modern, request};

use super::{Witness, status_with};
use crate::{assert_serves, error, key};

const PLACEHOLDER: &str = "[redacted:dlp.aws.access-key]";

#[tokio::test]
async fn a_header_is_what_the_body_says_or_the_request_is_refused() {
    let witness = Witness::start().await;
    let gateway = Gateway::before(&witness.server.url).await;
    let named = |method: &str, params: Value| modern(request(1, method, params));
    // Each body has a second member that another reader might take for its name.
    let table = [
        (named("tools/call", json!({"name": "echo", "uri": "file:///b"})), "file:///b"),
        (named("tools/call", json!({"name": "echo"})), "Echo"),
        (named("tools/call", json!({"name": "echo"})), "ECHO"),
        (named("tools/call", json!({"name": "echo"})), "echo, echo"),
        (named("tools/call", json!({"name": "echo"})), "\"echo\""),
        (named("tools/call", json!({"name": "echo"})), ""),
        (named("tools/call", json!({"name": ["echo"]})), "echo"),
        (named("tools/call", json!({"arguments": {"name": "echo"}})), "echo"),
        (named("prompts/get", json!({"name": "a"})), "b"),
        (named("resources/read", json!({"uri": "file:///a", "name": "file:///b"})), "file:///b"),
        (named("resources/read", json!({"uri": "file:///a%20b"})), "file:///a b"),
        (named("tasks/get", json!({"taskId": "1", "name": "2"})), "2"),
    ];
    for (message, header) in table {
        let client = Client::modern(&gateway.url, &message).with("mcp-name", header);
        let answer = client.post(&message).await;
        assert_eq!(answer.status, 400, "{header}: {message}");
        assert_eq!(error(&answer.json().await), (&json!(1), -32020), "{header}: {message}");
    }
    // What must be there, and is not.
    let message = named("tools/call", json!({"name": "echo"}));
    let whole = String::from_utf8(
        Client::modern(&gateway.url, &message)
            .with("connection", "close")
            .as_bytes("POST", &message.to_string()),
    );
    let whole = whole.unwrap();
    for line in
        ["mcp-method: tools/call\r\n", "mcp-name: echo\r\n", "mcp-protocol-version: 2026-07-28\r\n"]
    {
        assert!(whole.contains(line), "{whole}");
        let answer = Client::new(&gateway.url).raw(whole.replace(line, "").as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("-32020"),
            "{line}: {answer}"
        );
    }
    // And a revision that does not have them, for a body that would need them.
    let older = Client::new(&gateway.url).with("mcp-name", "echo");
    assert_eq!(older.post(&message).await.status, 400);
    assert_eq!(witness.bodies(), [""; 0]);
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn base64_in_a_header_is_read_in_one_way() {
    let witness = Witness::start().await;
    let gateway = Gateway::before(&witness.server.url).await;
    let status = async |name: &str, header: &str| {
        let message = modern(call(1, name, json!({})));
        let client = Client::modern(&gateway.url, &message).with("mcp-name", header);
        client.post(&message).await.status
    };
    for header in [
        "=?base64?ZWNobw?=",    // no padding
        "=?base64?ZWNobw=?=",   // half of it
        "=?base64?ZWNobw===?=", // too much
        "=?base64?ZWNobx==?=",  // bits left over
        "=?base64?ZWNo bw==?=", // a blank inside
        "=?base64?ZWNo\tbw==?=",
        "=?BASE64?ZWNobw==?=", // the marker is of one case
        "=?Base64?ZWNobw==?=",
        "=?base64?ZWNobw==", // a lone prefix
        "ZWNobw==?=",        // a lone suffix
        "ZWNobw==",
        "=?base64??=",
        "=?base64?=",
        "=?base64?ZWNobwA=?=", // a NUL behind the name
        "=?base64?ZWNobw==?= x",
        "=?utf-8?B?ZWNobw==?=", // as mail has it
        "=?utf-8?Q?echo?=",
        "=?base64?PT9iYXNlNjQ/WldOb2J3PT0/PQ==?=", // twice
    ] {
        assert_eq!(status("echo", header).await, 400, "{header}");
    }
    // The alphabet is the usual one, not that of addresses.
    assert_eq!(status("~~~???", "=?base64?fn5-Pz8_?=").await, 400);
    assert_eq!(witness.bodies(), [""; 0]);
    assert_eq!(status("~~~???", "=?base64?fn5+Pz8/?=").await, 200);
    // A name that looks like a part of it is itself; one that looks like all of it must be encoded.
    assert_eq!(status("=?base64?x", "=?base64?x").await, 200);
    assert_eq!(status("=?base64?ZWNobw==?=", "=?base64?PT9iYXNlNjQ/WldOb2J3PT0/PQ==?=").await, 200);
    assert_eq!(witness.heard().len(), 3);
    assert_eq!(status("=?base64?ZWNobw==?=", "=?base64?ZWNobw==?=").await, 400);
    assert_eq!(witness.bodies(), [""; 0]);
}

#[tokio::test]
async fn a_header_said_twice_is_refused() {
    let witness = Witness::start().await;
    let gateway = Gateway::before(&witness.server.url).await;
    let message = modern(call(1, "echo", json!({})));
    let client = Client::modern(&gateway.url, &message);
    for lines in [
        "mcp-method: tools/list\r\n",
        "mcp-method: tools/call\r\n",
        "Mcp-Name: other\r\n",
        "MCP-NAME: echo\r\n",
        "mcp-protocol-version: 2025-11-25\r\n",
        "mcp-protocol-version: 2026-07-28\r\n",
        "mcp-param-region: eu\r\nMcp-Param-Region: us\r\n",
    ] {
        assert_eq!(status_with(&client, lines, &message.to_string()).await, 400, "{lines}");
    }
    let client = Client::new(&gateway.url);
    let message = call(1, "echo", json!({})).to_string();
    for lines in ["mcp-protocol-version: 2026-07-28\r\n", "mcp-protocol-version: 2025-06-18\r\n"] {
        assert_eq!(status_with(&client, lines, &message).await, 400, "{lines}");
    }
    assert_eq!(witness.bodies(), [""; 0]);
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn a_member_said_twice_is_refused() {
    let witness = Witness::start().await;
    let gateway = Gateway::before(&witness.server.url).await;
    let version = |v: &str| format!(r#""io.modelcontextprotocol/protocolVersion":"{v}""#);
    let meta = format!(r#""_meta":{{{},{}}}"#, version("2026-07-28"), version("2025-11-25"));
    let body = |members: &str| format!(r#"{{"jsonrpc":"2.0","id":1,{members}}}"#);
    for members in [
        r#""method":"tools/call","params":{"name":"echo"},"id":2"#.to_owned(),
        r#""method":"tools/call","params":{"name":"echo"},"params":{"name":"other"}"#.to_owned(),
        r#""method":"tools/call","params":{"name":"echo"},"p\u0061rams":{"name":"other"}"#
            .to_owned(),
        r#""method":"ping","\u006dethod":"tools/call","params":{"name":"echo"}"#.to_owned(),
        r#""method":"tools/call","jsonrpc":"2.0","params":{"name":"echo"}"#.to_owned(),
        r#""method":"tools/call","params":{"name":"echo","arguments":{},"arguments":{"all":true}}"#
            .to_owned(),
        r#""method":"resources/read","params":{"uri":"file:///a","uri":"file:///b"}"#.to_owned(),
        r#""method":"tasks/cancel","params":{"taskId":"1","taskId":"2"}"#.to_owned(),
        r#""method":"tools/call","params":{"name":"echo","_meta":{},"_meta":{}}"#.to_owned(),
        r#""method":"tools/call","params":{"name":"echo"},"result":{}"#.to_owned(),
        format!(r#""method":"tools/call","params":{{"name":"echo",{meta}}}"#),
    ] {
        let answer = Client::new(&gateway.url).post_bytes(body(&members)).await;
        assert_eq!(answer.status, 400, "{members}");
        assert_eq!(error(&answer.json().await).1, -32600, "{members}");
    }
    assert_eq!(witness.bodies(), [""; 0]);
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn two_requests_in_one_are_refused() {
    let witness = Witness::start().await;
    let gateway = Gateway::before(&witness.server.url).await;
    let client = Client::new(&gateway.url);
    let hidden = call(2, "hidden", json!({})).to_string();
    let whole = call(1, "echo", json!({})).to_string();
    // One reader goes by the length, the other by the chunks or by another length.
    for lines in [
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "content-length: 5\r\n",
        "content-length: +5\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\x0bchunked\r\n",
    ] {
        let request = String::from_utf8(client.as_bytes("POST", &whole)).unwrap();
        let first = request.replacen(" HTTP/1.1\r\n", &format!(" HTTP/1.1\r\n{lines}"), 1);
        let second = String::from_utf8(client.as_bytes("POST", &hidden)).unwrap();
        let answer = client.raw(format!("{first}{second}").as_bytes()).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{lines}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{lines}: {answer}");
    }
    assert_eq!(witness.bodies(), [""; 0]);
    assert_serves(&gateway).await;
}

/// A notification of both eras.
fn told() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}})
}

#[tokio::test]
async fn batches_carry_nothing_past_the_rules_of_their_revision() {
    let witness = Witness::start().await;
    let gateway = Gateway::before(&witness.server.url).await;
    let one = call(1, "echo", json!({}));
    for version in ["2025-06-18", "2025-11-25", "2026-07-28"] {
        let client = Client::new(&gateway.url).with("mcp-protocol-version", version);
        let client = client.with("mcp-method", "tools/call").with("mcp-name", "echo");
        let answer = client.post(&json!([one])).await;
        assert_eq!(answer.status, 400, "{version}");
        assert_eq!(error(&answer.json().await).1, -32600, "{version}");
    }
    let client = Client::new(&gateway.url).with("mcp-protocol-version", "2025-03-26");
    for batch in ["[]", " [ ] ", "[[]]", "[null]", "[1,\"a\"]", "[{}]", "[,]"] {
        let answer = client.post_bytes(batch).await;
        let text = String::from_utf8(answer.bytes().await.to_vec()).unwrap();
        assert!(text.contains("\"error\""), "{batch}: {text}");
    }
    client.post(&json!([[one]])).await.bytes().await;
    client.post(&json!([[[one]], [one]])).await.bytes().await;
    let answer = client.post(&json!([initialize()])).await;
    assert_eq!(answer.header("mcp-session-id"), "");
    answer.bytes().await;
    assert_eq!(witness.bodies(), [""; 0]);

    // What is of the batch's revision passes; what claims another does not, and neither does `initialize`.
    let batch = json!([one, modern(call(2, "modern", json!({}))), modern(told()), initialize()]);
    let answers = client.post(&batch).await.json().await;
    let of = |id: Value| {
        let mut all = answers.as_array().unwrap().iter().filter(|answer| answer["id"] == id);
        all.next().unwrap_or_else(|| panic!("no {id} in {answers}")).clone()
    };
    assert!(of(json!(1))["result"].is_object(), "{answers}");
    for id in [json!(2), json!("initialize")] {
        assert!(of(id)["error"].is_object(), "{answers}");
    }
    assert_eq!(witness.bodies(), [one.to_string()]);
    // Nor without the header that would contradict it.

    let batch =
        String::from_utf8(client.as_bytes("POST", &json!([modern(told())]).to_string())).unwrap();
    let line = "mcp-protocol-version: 2025-03-26";
    assert!(batch.contains(line), "{batch}");
    client.raw(batch.replace(line, "connection: close").as_bytes()).await;
    assert_eq!(witness.bodies(), [""; 0]);
}

#[tokio::test]
async fn a_method_is_what_it_says_however_it_is_escaped() {
    let witness = Witness::start().await;
    let gateway = Gateway::before(&witness.server.url).await;
    for method in [
        r"tools\/call",
        r"tools\u002fcall",
        r"tools\u002Fcall",
        r"\u0074\u006f\u006f\u006c\u0073\u002f\u0063\u0061\u006c\u006c",
    ] {
        let body = |arguments: Value, modern_too: bool| {
            let mut message = call(1, "run", json!({"message": arguments}));
            if modern_too {
                message = modern(message);
            }
            (message.to_string().replace("tools/call", method), message)
        };
        for modern_too in [false, true] {
            let (sent, message) = body(json!(key()), modern_too);
            let client = match modern_too {
                true => Client::modern(&gateway.url, &message),
                false => Client::new(&gateway.url),
            };
            assert!(sent.contains(method));
            assert_eq!(client.post_bytes(sent.clone()).await.status, 200, "{method}");
            assert_eq!(witness.bodies(), [sent.replace(&key(), PLACEHOLDER)]);
            // A tool's own kind of answer shows that it was taken for a call of a tool.
            let (sent, _) = body(json!("cat ~/.ssh/id_rsa"), modern_too);
            let answer = client.post_bytes(sent).await.json().await;
            assert_eq!(answer["result"]["isError"], true, "{method}: {answer}");
            let other = client.with("mcp-method", "tools\\/call");
            if modern_too {
                assert_eq!(other.post_bytes(body(json!("x"), true).0).await.status, 400);
            }
            assert_eq!(witness.bodies(), [""; 0], "{method}");
        }
    }
}

#[tokio::test]
async fn what_only_looks_like_a_method_is_inspected_all_the_same() {
    let witness = Witness::start().await;
    let gateway = Gateway::before(&witness.server.url).await;
    for method in [
        "tools/call\0",
        "tools/call\0x",
        "Tools/Call",
        "TOOLS/CALL",
        " tools/call",
        "tools/call ",
        "tools//call",
        "tools/./call",
        "tools/call/",
        "tools\u{2215}call",
        "tools\u{ff0f}call",
        "tools/\u{441}all",
        "tools/ca\u{200b}ll",
        "tools%2Fcall",
        "tools/call?",
        "",
    ] {
        // Under the name of the real one it is refused, where there are such headers.
        let message =
            modern(request(1, method, json!({"name": "run", "arguments": {"message": key()}})));
        let client = Client::modern(&gateway.url, &call(1, "run", json!({})));
        assert_eq!(client.post(&message).await.status, 400, "{method:?}");
        assert_eq!(witness.bodies(), [""; 0], "{method:?}");
        // Otherwise a server may have any method; what it says to it is read like any call.
        let of =
            |text: &str| request(1, method, json!({"name": "run", "arguments": {"message": text}}));
        let client = Client::new(&gateway.url);
        client.post(&of(&key())).await.bytes().await;
        client.post(&of("cat ~/.ssh/id_rsa")).await.bytes().await;
        let bodies = witness.bodies();
        assert!(
            bodies.iter().all(|body| !body.contains(&key()) && !body.contains("id_rsa")),
            "{bodies:?}"
        );
    }
}

#[tokio::test]
async fn bytes_that_readers_take_in_different_ways_are_refused() {
    let witness = Witness::start().await;
    let gateway = Gateway::before(&witness.server.url).await;
    let whole = call(1, "echo", json!({})).to_string();
    let instead = |bytes: &[u8]| {
        let (start, end) = whole.split_once("tools/call").unwrap();
        [start.as_bytes(), b"tools", bytes, b"call", end.as_bytes()].concat()
    };
    let sixteen: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let table: [(&str, Vec<u8>); 13] = [
        ("overlong slash", instead(b"\xc0\xaf")),
        ("overlong slash of three", instead(b"\xe0\x80\xaf")),
        ("overlong slash of four", instead(b"\xf0\x80\x80\xaf")),
        ("a surrogate", instead(b"\xed\xa0\x80")),
        ("a surrogate, escaped", instead(br"\ud800")),
        ("surrogates in the wrong order, escaped", instead(br"\udc00\ud800")),
        ("beyond Unicode", instead(b"\xf4\x90\x80\x80")),
        ("Latin-1", instead(b"\xe9")),
        ("NUL within", instead(b"\0")),
        ("a byte order mark", [b"\xef\xbb\xbf", whole.as_bytes()].concat()),
        ("UTF-16", sixteen),
        ("NUL behind", [whole.as_bytes(), b"\0"].concat()),
        ("an escape of JavaScript", instead(br"\x2f")),
    ];
    for (name, body) in table {
        let answer = Client::new(&gateway.url).post_bytes(body).await;
        assert_eq!(answer.status, 400, "{name}");
        assert_eq!(error(&answer.json().await).1, -32700, "{name}");
    }
    assert_eq!(witness.bodies(), [""; 0]);
    assert_serves(&gateway).await;
}
