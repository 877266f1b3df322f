//! Every code of a rule file's errors, as its author sees it. Golden files.

use inspect::{Code, Identity, RuleFile, RuleSet};

/// A sound rule, with some lines replaced or added: (field, line), an empty line removes the field.
fn rule(changes: &[(&str, &str)]) -> String {
    let mut lines = vec![
        ("id", "id: test.a.token"),
        ("title", "title: A token"),
        ("class", "class: secret"),
        ("severity", "severity: high"),
        ("pattern", "pattern: 'zqxj-[0-9a-f]{4}'"),
        ("docs", "docs: {finds: f, why: w}"),
        ("tests", "tests: {match: [zqxj-00ff, a zqxj-1234], no_match: [zqxj-, zqxj-xyz]}"),
    ];
    for (field, line) in changes {
        lines.retain(|(name, _)| name != field);
        if !line.is_empty() {
            lines.push((field, line));
        }
    }
    let body: Vec<&str> = lines.into_iter().map(|(_, line)| line).collect();
    format!("  - {}\n", body.join("\n    "))
}

fn told(rules: &[String]) -> String {
    let text = format!("rules:\n{}", rules.concat());
    let file = RuleFile { name: "r.yaml", text: &text };
    match RuleSet::compile(&[file]) {
        Ok(set) => format!("{} rules", set.len()),
        Err(errors) => errors.to_string(),
    }
}

/// A rule file for each code, in the order of the codes.
fn cases() -> Vec<(Code, Vec<String>)> {
    let one = |changes: &[(&str, &str)]| vec![rule(changes)];
    let slow_test = "tests: {match: [abc, bcd], no_match: ['1', '2']}";
    vec![
        (
            Code::Form,
            one(&[
                ("class", "class: danger"),
                ("docs", ""),
                ("x", "patern: x"),
                ("rev", "rev: first"),
            ]),
        ),
        (Code::DuplicateId, vec![rule(&[]), rule(&[])]),
        (Code::BadId, one(&[("id", "id: Token")])),
        (Code::TooFewTests, one(&[("tests", "tests: {match: [zqxj-00ff]}")])),
        (
            Code::MatchMisses,
            one(&[("tests", "tests: {match: [zqxj-00ff, zqxj-00], no_match: [zqxj-, x]}")]),
        ),
        (
            Code::NoMatchHits,
            one(&[(
                "tests",
                "tests: {match: [zqxj-00ff, zqxj-1234], no_match: [zqxj-, zqxj-0000]}",
            )]),
        ),
        (
            Code::NoMatchHitsOther,
            vec![
                rule(&[]),
                rule(&[
                    ("id", "id: test.b.token"),
                    ("pattern", "pattern: 'zqxj-[0-9]{9}'"),
                    (
                        "tests",
                        "tests: {match: [zqxj-123456789, zqxj-987654321], no_match: [zqxj-12345, zqxj-]}",
                    ),
                ]),
            ],
        ),
        (Code::NoAnchor, one(&[("pattern", "pattern: '[a-z]{3}'"), ("tests", slow_test)])),
        (
            Code::BadRegex,
            vec![
                rule(&[("pattern", "pattern: 'zqxj-('")]),
                rule(&[("id", "id: test.b.token"), ("pattern", "pattern: 'zqxj-\\p{L}'")]),
            ],
        ),
        (Code::TooLarge, one(&[("pattern", "pattern: '(?:zqxj-[0-9a-f]{1000}){1000}'")])),
        (Code::UnknownValidator, one(&[("x", "validator: lun")])),
        (Code::UnknownSurface, one(&[("x", "surfaces: [tool, result.txt, log@up]")])),
        (Code::Entropy, one(&[("x", "entropy: 9")])),
        (Code::CrossesSeparator, one(&[("pattern", r"pattern: 'zqxj-[\x80-\xff]{4}'")])),
        (
            Code::MatchesEmpty,
            vec![
                rule(&[("pattern", "pattern: '(?:zqxj-)?'")]),
                rule(&[
                    ("id", "id: test.b.token"),
                    ("pattern", "pattern: 'zqxj-(?P<secret>[a-z]*)'"),
                ]),
            ],
        ),
        (Code::OutOfRange, one(&[("x", "paranoia: 5"), ("y", "rev: 0"), ("z", "window: 10")])),
        (
            Code::BadAllow,
            one(&[("x", "allow: [{target: secret}, {hashes: [abc]}, {stopwords: ['']}]")]),
        ),
        (
            Code::BadTemplate,
            vec![
                rule(&[("x", "redact: '{rule}'")]),
                rule(&[
                    ("id", "id: test.b.token"),
                    (
                        "tests",
                        "tests: {match: [zqxj-00ff, 'zqxj-1234 {{hxe:4}}'], no_match: [zqxj-, x]}",
                    ),
                ]),
            ],
        ),
        (Code::BadSet, vec![rule(&[]), "set: {name: Acme, version: 1.0.0}\n".to_owned()]),
        (
            Code::SetsDisagree,
            vec![
                rule(&[]),
                "set:\n  - {name: acme, version: 1.0.0}\n  - {name: acme, version: 1.0.1}\n"
                    .to_owned(),
            ],
        ),
    ]
}

#[test]
fn every_code_is_told() {
    let cases = cases();
    let covered: Vec<Code> = cases.iter().map(|(code, _)| *code).collect();
    assert_eq!(covered, Code::ALL);
    for (code, rules) in cases {
        let told = told(&rules);
        assert!(told.contains(code.as_str()), "{code:?} is not among\n{told}");
        insta::assert_snapshot!(code.as_str(), told);
    }
}

#[test]
fn errors_of_all_files_come_at_once() {
    let bad = format!("rules:\n{}", rule(&[("x", "entropy: 9")]));
    let files = [
        RuleFile { name: "b.yaml", text: &bad },
        RuleFile { name: "a.yaml", text: "rules: [" },
        RuleFile { name: "c.yaml", text: &bad },
    ];
    let errors = RuleSet::compile(&files).unwrap_err();
    insta::assert_snapshot!(errors.to_string());
}

#[test]
fn the_canonical_source_compiles_to_an_equal_digest() {
    let odd = rule(&[
        ("id", "id: test.b.odd"),
        ("title", "title: \"\\u0085 \\u2028 é \\U0001F600 \\t # : 'x'\""),
        ("x", "allow: {target: line, stopwords: [Example]}"),
        ("y", "redact: 'X {id}'"),
    ]);
    let text = format!("rules:\n{odd}{}", rule(&[]));
    let set = RuleSet::compile(&[RuleFile { name: "r.yaml", text: &text }]).unwrap();
    let again = RuleSet::compile(&[RuleFile { name: "s.yaml", text: set.source() }]).unwrap();
    assert_eq!(set.digest(), again.digest());
    assert_eq!(set.source(), again.source());
    assert_eq!(set.rules()[1].def(), again.rules()[1].def());
    let defs: Vec<_> = set.rules().iter().rev().map(|rule| rule.def().clone()).collect();
    assert_eq!(RuleSet::from_defs(&defs).unwrap().digest(), set.digest());
    let less = set.without(&["test.b.odd"]);
    assert_eq!(less.len(), 1);
    assert_ne!(less.digest(), set.digest());
    assert_eq!(RuleSet::default().len(), 0);
}

#[test]
fn sets_of_several_files_are_joined_and_are_part_of_the_digest() {
    let other = rule(&[
        ("id", "id: test.b.token"),
        ("pattern", "pattern: 'zqxj-[0-9a-f]{4}x'"),
        ("tests", "tests: {match: [zqxj-00ffx, zqxj-1234x], no_match: [zqxj-, 'zqxj-12 34']}"),
    ]);
    let named = |name: &str, version: &str| format!("set: {{name: {name}, version: {version}}}\n");
    let compiled = |first: String, second: String| {
        let first = format!("{first}rules:\n{}", rule(&[]));
        let second = format!("{second}rules:\n{other}");
        RuleSet::compile(&[
            RuleFile { name: "z.yaml", text: &first },
            RuleFile { name: "a.yaml", text: &second },
        ])
    };
    let set = compiled(named("zz", "1.0.0"), named("acme", "'2026.11'")).unwrap();
    assert_eq!(set.title(), "acme 2026.11, zz 1.0.0");
    let again = RuleSet::compile(&[RuleFile { name: "s.yaml", text: set.source() }]).unwrap();
    assert_eq!((again.title(), again.digest()), (set.title(), set.digest()));
    let identity = Identity::of(&[RuleFile { name: "s.yaml", text: set.source() }]).unwrap();
    assert_eq!((&*identity.digest, &*identity.sets), (set.digest(), set.sets()));
    assert_eq!(identity.rules, 2);

    let unnamed = compiled(String::new(), String::new()).unwrap();
    assert_eq!((unnamed.title().as_str(), unnamed.sets().len()), ("unnamed", 0));
    assert!(unnamed.source().starts_with("rules:"));
    let later = compiled(named("zz", "1.0.1"), named("acme", "'2026.11'")).unwrap();
    let digests = [set.digest(), unnamed.digest(), later.digest()];
    assert!(digests[0] != digests[1] && digests[1] != digests[2] && digests[0] != digests[2]);

    let agree = compiled(named("zz", "1.0.0"), named("zz", "1.0.0")).unwrap();
    assert_eq!(agree.title(), "zz 1.0.0");
    let told = compiled(named("zz", "1.0.0"), named("zz", "1.0.1")).unwrap_err().to_string();
    assert_eq!(told, "a.yaml:1:26: R020 set: version: zz is 1.0.0 at z.yaml:1");
}
