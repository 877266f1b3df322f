//! A clean message costs no allocation: parse and scan with warm memory, counted by the allocator. Nor does a validator.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use inspect::validate::Validator;
use inspect::{Direction, ParseLimits, Parser, RuleFile, RuleSet, Scanner, Subject};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Rules with every kind of trigger.
const RULES: &str = r#"
rules:
  - id: test.token
    title: t
    class: secret
    severity: high
    pattern: 'zqxj-[0-9a-f]{8}'
    docs: {finds: f, why: w}
    tests: {match: [zqxj-00112233, 'a zqxj-aabbccdd'], no_match: [zqxj-, zqxj-xx]}
  - id: test.card
    title: t
    class: pii
    severity: high
    pattern: '\b[0-9]{4} ?[0-9]{4} ?[0-9]{4} ?[0-9]{4}\b'
    slow: true
    validator: luhn
    docs: {finds: f, why: w}
    tests: {match: ['4111 1111 1111 1111', '5555555555554444'], no_match: ['4111 1111 1111 1112', '1']}
  - id: test.field
    title: t
    class: secret
    severity: high
    pattern: '^.{8,}$'
    key: '(?i)password'
    docs: {finds: f, why: w}
    tests: {match: ['{"password": "longer than 8"}', {key: Password, value: longer than 8}], no_match: ['{"password": "x"}', 'password']}
"#;

/// One test: the allocator counts for the whole process, and the harness allocates when a test ends.
#[test]
fn no_allocation() {
    a_clean_message_costs_no_allocation();
    validators_allocate_nothing();
}

fn a_clean_message_costs_no_allocation() {
    let set = RuleSet::compile(&[RuleFile { name: "test.yaml", text: RULES }]).unwrap();
    let messages: Vec<String> = [("short", 1), ("long", 400)]
        .iter()
        .map(|(name, times)| {
            let text = "The quick brown fox\\njumps over 13 lazy dogs, 2024-05-01. zqxj is no token. ".repeat(*times);
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{{"text":"{text}","n":[1,2.5,null,true,{{"password":"x"}}]}}}}}}"#
            )
        })
        .collect();
    let subject = Subject {
        direction: Direction::ToServer,
        server: "s",
        method: Some("tools/call"),
        name: Some("t"),
        // from 2 on, texts are also read as letter games
        paranoia: 1,
        budget: usize::MAX,
        now: 0,
    };
    let mut parser = Parser::new(ParseLimits::default());
    let mut scanner = Scanner::new();
    let mut run = || {
        for message in &messages {
            let scan =
                parser.parse(message.as_bytes(), |m| scanner.scan(&set, m, &subject)).unwrap();
            assert!(scan.findings.is_empty() && !scan.truncated);
        }
    };
    run();
    run();
    let region = Region::new(ALLOCATOR);
    for _ in 0..10 {
        run();
    }
    let change = region.change();
    assert_eq!(change.allocations + change.reallocations, 0, "{change:?}");
}

/// What a rule's pattern hands over is an attacker's text, so a second look at it must not grow anything.
fn validators_allocate_nothing() {
    let texts = [
        "12345678901234567890123456789",
        "4111 1111 1111 1111",
        "DE89 3704 0044 0532 0130 00",
        "DE89 3704 0044 0532 0130 00 3704 0044 0532 0130 00 3704 0044 0532 0130 00 3704 0044 0532 0130 00",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "addr1vx2fxv2umyhttkxyxp8x0dlpdt3k6cwng5pxj3jhsydzers66hrl8",
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        "AB 12 34 56 C AB 12 34 56 C",
        "2606:4700:4700::1111",
    ];
    // the header of a JWT is decoded, and the weights of the learned signal count words
    let others = |v: &&Validator| !matches!(v, Validator::Jwt | Validator::LearnedInjection1);
    for validator in Validator::ALL.iter().filter(others) {
        let region = Region::new(ALLOCATOR);
        let passed = texts.iter().filter(|text| validator.check(text.as_bytes())).count();
        let change = region.change();
        assert_eq!(
            change.allocations + change.reallocations,
            0,
            "{validator:?} {passed} {change:?}"
        );
    }
}
