//! What is a message and what is not; ids, batches, limits.

use inspect::{Kind, ParseError, ParseLimits, Parser, Scalar, split_batch};

fn parse(raw: &str) -> Result<String, ParseError> {
    Parser::new(ParseLimits::default()).parse(raw.as_bytes(), |message| {
        format!(
            "{} {} {} {}",
            message.kind().as_str(),
            message.id().map_or_else(|| "-".to_owned(), |id| id.to_json()),
            message.method().unwrap_or("-"),
            message.name().unwrap_or("-"),
        )
    })
}

#[test]
fn messages_are_understood() {
    for (raw, expected) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"n","arguments":{}}}"#,
            "request 1 tools/call n",
        ),
        (
            r#"{"jsonrpc":"2.0","id":"1","method":"resources/read","params":{"uri":"file:\/\/x"}}"#,
            "request \"1\" resources/read file://x",
        ),
        (
            r#"{"jsonrpc":"2.0","id":18446744073709551615,"method":"tasks/get","params":{"taskId":"t"}}"#,
            "request 18446744073709551615 tasks/get t",
        ),
        (r#"{"jsonrpc":"2.0","id":-7,"method":"ping"}"#, "request -7 ping -"),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/x","params":[]}"#,
            "notification - notifications/x -",
        ),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "response 1 - -"),
        (
            r#" {"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}} "#,
            "error null - -",
        ),
        (r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"m"}}"#, "error - - -"),
        (
            r#"{"jsonrpc":"2.0","id":"\ud83d\ude00","m\u0065thod":"ping"}"#,
            "request \"\u{1F600}\" ping -",
        ),
    ] {
        assert_eq!(parse(raw).unwrap(), expected, "{raw}");
    }
}

#[test]
fn refusals_are_typed() {
    let cases = [
        r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":[1],"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":99999999999999999999,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
        r#"{"id":1,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":"x"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":7}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","method":"n"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","m\u0065thod":"n"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"a","io.modelcontextprotocol/protocolVersion":"b"}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"arguments":{},"arguments":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":1e400}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":NaN}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":"\ud800"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m"} x"#,
        "[]",
        "7",
        "",
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|raw| {
            let error = parse(raw).unwrap_err();
            // simd-json's own words and places may change with its version
            let words = match &error {
                ParseError::Syntax { .. } => "invalid JSON".to_owned(),
                other => other.to_string(),
            };
            format!("{raw}\n    {} {words}", error.rpc_code())
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
    let mut parser = Parser::new(ParseLimits::default());
    let bad = parser.parse(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}", |_| ()).unwrap_err();
    assert_eq!(bad, ParseError::Utf8 { offset: 27 });
}

#[test]
fn hostile_shapes_are_refused_cheaply() {
    let limits = ParseLimits::default();
    let mut parser = Parser::new(limits);
    let deep = vec![b'['; limits.max_bytes];
    assert_eq!(
        parser.parse(&deep, |_| ()).unwrap_err(),
        ParseError::TooManyValues { limit: limits.max_values }
    );
    let deep = format!(
        r#"{{"jsonrpc":"2.0","method":"m","params":{}{}}}"#,
        "[".repeat(1000),
        "]".repeat(1000)
    );
    assert_eq!(
        parser.parse(deep.as_bytes(), |_| ()).unwrap_err(),
        ParseError::TooDeep { limit: 64 }
    );
    let wide = format!(r#"{{"jsonrpc":"2.0","method":"m","params":[{}0]}}"#, "0,".repeat(300_000));
    assert_eq!(
        parser.parse(wide.as_bytes(), |_| ()).unwrap_err(),
        ParseError::TooManyValues { limit: limits.max_values }
    );
    let wide = format!(r#"{{"jsonrpc":"2.0","method":"m","params":[{}0]}}"#, "0,".repeat(100_000));
    parser.parse(wide.as_bytes(), |_| ()).unwrap();
    let long = vec![b' '; limits.max_bytes + 1];
    assert!(matches!(parser.parse(&long, |_| ()).unwrap_err(), ParseError::TooLarge { .. }));
    // brackets and commas inside a string are no structure
    let text =
        format!(r#"{{"jsonrpc":"2.0","method":"m","params":["{}"]}}"#, "[,{:\\\"".repeat(200_000));
    parser.parse(text.as_bytes(), |_| ()).unwrap();
}

#[test]
fn a_handshake_names_one_version() {
    let mut parser = Parser::new(ParseLimits::default());
    for raw in [
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"a","protocolVersion":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"a","\u0070rotocolVersion":"b"}}"#,
    ] {
        let error = parser.parse(raw.as_bytes(), |_| ()).unwrap_err();
        assert_eq!(error, ParseError::DuplicateKey { key: "protocolVersion" }, "{raw}");
    }
}

#[test]
fn a_member_in_another_case_is_refused_where_routing_reads_it() {
    let mut parser = Parser::new(ParseLimits::default());
    for (raw, key) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#, "method"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}"#,
            "name",
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"NAME":"b"}}"#, "name"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"ta\u017fkId":"b"}}"#, "taskId"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","param\u017f":{"name":"b"}}"#, "params"),
    ] {
        let error = parser.parse(raw.as_bytes(), |_| ()).unwrap_err();
        assert_eq!(error, ParseError::AlteredKey { key }, "{raw}");
    }
    // What only the tool reads is the tool's to name.
    let free = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"name":1,"Name":2}}}"#;
    parser.parse(free.as_bytes(), |_| ()).unwrap();
}

#[test]
fn a_parser_is_reusable_after_an_error() {
    let mut parser = Parser::new(ParseLimits::default());
    assert!(parser.parse(b"{", |_| ()).is_err());
    let raw = br#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":{"b":"x"},"c":[1,2]}}"#;
    parser
        .parse(raw, |message| {
            assert_eq!(message.kind(), Kind::Request);
            assert_eq!(message.get(&["params", "a", "b"]), Some(Scalar::Str("x")));
            assert_eq!(message.get(&["params", "c"]), Some(Scalar::Array(2)));
            assert_eq!(message.get(&["params", "d"]), None);
            let texts: Vec<&str> = message.texts().map(|text| text.text).collect();
            assert_eq!(
                texts,
                ["jsonrpc", "2.0", "id", "method", "m", "params", "a", "b", "x", "c"]
            );
        })
        .unwrap();
}

#[test]
fn batches_split_into_their_elements() {
    let limits = ParseLimits::default();
    let split = |raw: &str| {
        split_batch(raw.as_bytes(), &limits, 3).map(|items| {
            items
                .map(|items| items.into_iter().map(|item| raw[item].to_owned()).collect::<Vec<_>>())
        })
    };
    assert_eq!(split(r#"{"a":[1]}"#).unwrap(), None);
    assert_eq!(
        split(" [ {\"a\":\"],[\\\"\"} ,[1,2], 3 ] ").unwrap().unwrap(),
        ["{\"a\":\"],[\\\"\"}", "[1,2]", "3"]
    );
    assert!(matches!(split("[]").unwrap_err(), ParseError::NotAMessage { .. }));
    assert!(matches!(split("[1,2,3,4]").unwrap_err(), ParseError::TooManyValues { limit: 3 }));
    for bad in ["[1", "[1,]", "[,1]", "[1] x", "[\"", "[1}", "[{\"a\":1}}", "[1}}"] {
        assert!(matches!(split(bad), Err(ParseError::Syntax { .. })), "{bad}");
    }
    // JSON knows no form feed
    assert_eq!(split("\u{c}[1]").unwrap(), None);
    assert!(matches!(split(&"[".repeat(500)).unwrap_err(), ParseError::TooDeep { .. }));
}
