//! Canonical forms, lists, limits, drift and shadowing.

use super::*;

const LIMITS: PinLimits = PinLimits { items: 4, definition: 1 << 10 };

fn tools(text: &str) -> Result<Vec<Listed>, PinError> {
    list(text.as_bytes(), Some("tools/list"), &LIMITS)
}

#[test]
fn one_definition_written_in_two_ways_has_one_canonical_form() {
    let one = r#"{ "name" : "a\u0064d", "inputSchema": {"type":"object", "b": [1.0, 1e2, null, true]} ,"x":"\u000A\/\u00e9\u001f" }"#;
    let form = canonical(one).unwrap();
    assert_eq!(
        form,
        "{\"inputSchema\":{\"b\":[1.0,1e2,null,true],\"type\":\"object\"},\"name\":\"add\",\"x\":\"\\n/é\\u001f\"}"
    );
    assert_eq!(canonical(&form).unwrap(), form);
    // Numbers stay as written; members that share a name stay, in their order.
    assert_ne!(canonical("1.0"), canonical("1"));
    assert_eq!(canonical(r#"{"a":2,"a":1}"#).unwrap(), r#"{"a":2,"a":1}"#);
}

#[test]
fn members_are_sorted_by_utf_16() {
    // RFC 8785, 3.2.3: by code points, U+1F600 would stand behind U+FB33.
    let text = r#"{"\ufb33":1,"\ud83d\ude00":2,"\u20ac":3,"1":4,"\r":5,"\u0080":6,"\u00f6":7}"#;
    let order = "{\"\\r\":5,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":3,\"😀\":2,\"\u{fb33}\":1}";
    assert_eq!(canonical(text).unwrap(), order);
}

#[test]
fn what_is_not_json_is_refused_and_nothing_panics() {
    for text in [
        "", "{", "[1", "{\"a\"}", "{\"a\":}", "\"", "\"\\", "{1:2}", "nul", "1 2", "[1 2]", "-",
        "é",
    ] {
        assert_eq!(canonical(text), Err(PinError::Syntax), "{text}");
    }
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    assert!(canonical(&deep(DEEPEST)).is_ok());
    assert_eq!(canonical(&deep(DEEPEST + 1)), Err(PinError::TooDeep));
    assert_eq!(canonical(&"[".repeat(100_000)), Err(PinError::TooDeep));
}

#[test]
fn items_have_names_places_and_fingerprints() {
    let raw = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[ {"name":"a"} , {"description":"d","name":"b"}],"nextCursor":"c"}}"#;
    let listed = tools(raw).unwrap();
    let shown: Vec<&str> = listed.iter().map(|l| &raw[l.span.start..l.span.end]).collect();
    assert_eq!(shown, [r#"{"name":"a"}"#, r#"{"description":"d","name":"b"}"#]);
    let second = listed[1].item.as_ref().unwrap();
    assert_eq!((second.kind, second.name.as_str()), (ItemKind::Tool, "b"));
    assert_eq!(second.fingerprint, Fingerprint::of(r#"{"description":"d","name":"b"}"#));
    let written = second.fingerprint.to_string();
    assert_eq!(Fingerprint::parse(&written), Some(second.fingerprint));
    assert_eq!(Fingerprint::parse(&written[1..]), None);
    // The hash of nothing, as BLAKE3's own vectors have it.
    let empty = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    assert_eq!(Fingerprint::of("").to_string(), empty);
}

#[test]
fn every_kind_has_its_list_and_an_unasked_answer_may_be_any() {
    let raw = br#"{"id":1,"result":{"tools":[{"name":"t"}],"prompts":[{"name":"p"}],"resources":[{"uri":"u"}],"resourceTemplates":[{"uriTemplate":"x/{y}"}]}}"#;
    let names = |method| -> Vec<String> {
        list(raw, method, &LIMITS).unwrap().into_iter().map(|l| l.item.unwrap().name).collect()
    };
    assert_eq!(names(Some("tools/list")), ["t"]);
    assert_eq!(names(Some("prompts/list")), ["p"]);
    assert_eq!(names(Some("resources/list")), ["u"]);
    assert_eq!(names(Some("resources/templates/list")), ["x/{y}"]);
    assert_eq!(names(None), ["t", "p", "u", "x/{y}"]);
}

#[test]
fn limits_are_errors() {
    let many = format!(r#"{{"result":{{"tools":[{}]}}}}"#, [r#"{"name":"a"}"#; 5].join(","));
    assert_eq!(tools(&many), Err(PinError::TooMany { limit: 4 }));
    let large = format!(r#"{{"result":{{"tools":[{{"name":"a","d":"{}"}}]}}}}"#, "x".repeat(2000));
    let item = tools(&large).unwrap().remove(0).item;
    assert_eq!(item, Err(PinError::TooLarge { bytes: 2019, limit: 1024 }));
    for unnamed in ["1", "{}", r#"{"name":1}"#, r#"{"name":""}"#, r#"{"name":"a","name":"b"}"#] {
        let text = format!(r#"{{"result":{{"tools":[{unnamed}]}}}}"#);
        assert_eq!(tools(&text).unwrap().remove(0).item, Err(PinError::Unnamed), "{unnamed}");
    }
    for none in
        [r#"{"result":{"tools":1}}"#, r#"{"result":{"tools":[],"tools":[]}}"#, "x", "\u{ff}"]
    {
        assert_eq!(tools(none), Err(PinError::NotAList), "{none}");
    }
    assert_eq!(tools(r#"{"result":{}}"#), Ok(Vec::new()));
    assert_eq!(tools(r#"{"error":{}}"#), Ok(Vec::new()));
}

#[test]
fn what_tells_of_a_resources_content_is_no_change_of_it() {
    let of = |text: &str| Item::of(ItemKind::Resource, text, 1000).unwrap().fingerprint;
    let one = of(r#"{"uri":"u","size":1,"annotations":{"lastModified":"a","priority":1}}"#);
    assert_eq!(one, of(r#"{"uri":"u","size":2,"annotations":{"lastModified":"b","priority":1}}"#));
    assert_ne!(one, of(r#"{"uri":"u","size":1,"annotations":{"lastModified":"a","priority":2}}"#));
}

#[test]
fn a_diff_names_the_places() {
    let old = r#"{"a":[1,2,{"x/y":"one"}],"b":{"c":true},"same":0}"#;
    let new = r#"{"a":[1,3,{"x/y":"two"},4],"d~":null,"same":0}"#;
    let told: Vec<(String, Option<String>, Option<String>)> =
        diff(old, new).unwrap().into_iter().map(|c| (c.path, c.old, c.new)).collect();
    let expected = [
        ("/a/1", Some("2"), Some("3")),
        ("/a/2/x~1y", Some("\"one\""), Some("\"two\"")),
        ("/a/3", None, Some("4")),
        ("/b", Some("{\"c\":true}"), None),
        ("/d~0", None, Some("null")),
    ];
    let owned = |text: Option<&str>| text.map(str::to_owned);
    assert_eq!(told, expected.map(|(p, o, n)| (p.to_owned(), owned(o), owned(n))));
    assert_eq!(diff(old, old).unwrap(), []);
    assert_eq!(diff("1", "[]").unwrap()[0].path, "");
    // The second of two members with one name is the one that differs.
    assert_eq!(diff(r#"{"a":1,"a":2}"#, r#"{"a":1,"a":3}"#).unwrap()[0].path, "/a");
}

#[test]
fn a_tool_that_passes_for_anothers_is_found() {
    let others = Others::new(["add"], [("mail", "send_mail"), ("mail", "search")]);
    for name in ["send_mail", "Send-Mail", "sendmail"] {
        assert_eq!(others.shadowed_by(name), Some(("mail", "send_mail")), "{name}");
    }
    assert_eq!(others.shadowed_by("send_mails"), None);
}

#[test]
fn a_definition_that_speaks_of_anothers_tool_is_found() {
    let others =
        Others::new(["own_tool"], [("mail", "send_mail"), ("mail", "search"), ("x", "own_tool")]);
    let in_text = |text: &str| {
        let definition = serde_json::json!({"name": "send_mail", "inputSchema": {"d": [text]}});
        others.referred_to_by(&definition.to_string())
    };
    for text in
        ["First call send_mail.", "\nsend_mail\n", "(send_mail)", "`send_mail`-", "send_mail"]
    {
        assert_eq!(in_text(text), Some(("mail", "send_mail")), "{text}");
    }
    // Ordinary words, other words, the server's own tools.
    for text in ["search for it", "resend_mail", "send_mail_now", "own_tool", "send mail"] {
        assert_eq!(in_text(text), None, "{text}");
    }
    assert_eq!(others.referred_to_by("no JSON"), None);
}

#[test]
fn distinctive_names_are_no_words() {
    for name in ["send_mail", "send-mail", "sendMail", "read_x"] {
        assert!(is_distinctive(name), "{name}");
    }
    for name in ["search", "a_b", "Search", "DELETE", "delete"] {
        assert!(!is_distinctive(name), "{name}");
    }
}
