//! Captures are recorded as the gateway does it, then judged again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::fs;

use capture::Reader;
use common::{
    Bodies, MORE, POLICY, Passing, RULES, capture, compile, record, row, rows, unjudgeable,
};
use inspect::rule::Example;
use inspect::{Direction, Policy, Preset, RuleFile, RuleSet, template};
use scan::{Options, Report, RuleDiff, RulesFrom, What, compare, scan, scan_rows};
use serde_json::json;

const BOTH: [Bodies; 2] = [Bodies::Raw, Bodies::Redacted];
const PRESETS: [Preset; 3] = [Preset::Strict, Preset::Balanced, Preset::Audit];

/// The rules that differ: caught and missed.
fn differing(report: &Report) -> BTreeMap<&str, (u64, u64)> {
    report
        .rules
        .iter()
        .map(|(id, diff)| (id.as_str(), (diff.newly_caught, diff.newly_missed)))
        .filter(|(_, diff)| *diff != (0, 0))
        .collect()
}

#[test]
fn the_recorded_rules_agree_with_themselves_in_every_mode() {
    let set = compile(&[RULES]);
    for (bodies, preset) in BOTH.iter().flat_map(|b| PRESETS.map(|p| (*b, p))) {
        let dir = capture(&set, &Policy { preset, ..Policy::default() }, bodies);
        for rules in [RulesFrom::Recorded, RulesFrom::Set(&set)] {
            let report = scan(dir.path(), rules, &Options::default()).unwrap();
            assert!(!report.differs(), "{bodies:?} {preset}\n{report}");
            assert_eq!((report.rows, report.judged, report.errors), (10, 10, 0), "{report}");
            let expected = [
                ("test.injection.override", 1),
                ("test.pii.mail", 4),
                ("test.secret.token", 3),
                ("test.unsafe.wipe", 1),
            ];
            let found: Vec<_> = report.rules.iter().map(|(id, d)| (id.as_str(), d.now)).collect();
            assert_eq!(found, expected);
            assert_eq!(report.judged_redacted > 0, bodies == Bodies::Redacted);
        }
    }
}

#[test]
fn redacted_captures_hold_no_secret_and_still_count_it() {
    let set = compile(&[RULES]);
    let dir = capture(&set, &Policy::default(), Bodies::Redacted);
    for row in Reader::open(dir.path()).unwrap() {
        let body = row.unwrap().body.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("tok_a"));
    }
    let report = scan(dir.path(), RulesFrom::Recorded, &Options::default()).unwrap();
    let token = report.rules["test.secret.token"];
    assert_eq!((token.now, token.now_from_redactions), (3, 3));
}

#[test]
fn without_a_rule_exactly_its_findings_are_missed() {
    let set = compile(&[RULES]);
    for bodies in BOTH {
        let dir = capture(&set, &Policy::default(), bodies);
        for id in set.rules().iter().map(|rule| rule.id()) {
            let without = Options { without: vec![id.to_owned()], ..Options::default() };
            let less = set.without(&[id]);
            let reports = [
                scan(dir.path(), RulesFrom::Recorded, &without).unwrap(),
                scan(dir.path(), RulesFrom::Set(&set), &without).unwrap(),
                scan(dir.path(), RulesFrom::Set(&less), &Options::default()).unwrap(),
            ];
            for report in reports {
                let RuleDiff { recorded, now, .. } = report.rules[id];
                assert!(recorded > 0 && now == 0, "{id} {bodies:?}\n{report}");
                assert_eq!(differing(&report), BTreeMap::from([(id, (0, recorded))]), "{bodies:?}");
                let samples = report.samples.iter();
                assert!(samples.clone().all(|s| s.rule == id && s.what == What::NewlyMissed));
                assert_eq!(samples.len() as u64, recorded.min(3));
            }
        }
    }
}

#[test]
fn with_one_more_rule_exactly_its_findings_are_caught() {
    let set = compile(&[RULES]);
    let more = compile(&[RULES, MORE]);
    // In the blocked message and beside hidden text as well; `badge-1234` in the wiped command of
    // a redacted capture is gone only if the finding that hides it covers it, which none does.
    for bodies in BOTH {
        let dir = capture(&set, &Policy::default(), bodies);
        let report = scan(dir.path(), RulesFrom::Set(&more), &Options::default()).unwrap();
        let expected = BTreeMap::from([("test.pii.badge", (5, 0))]);
        assert_eq!(differing(&report), expected, "{bodies:?}\n{report}");
        let changes: Vec<_> =
            report.actions.iter().map(|c| (c.from.as_str(), c.to.as_str())).collect();
        assert!(!changes.contains(&("block", "redact")), "{report}");
        let paths: Vec<&str> = report.samples.iter().filter_map(|s| s.path.as_deref()).collect();
        assert!(paths.contains(&"/result/content/0/text"), "{paths:?}");
    }
}

#[test]
fn another_policy_changes_actions_and_no_findings() {
    let set = compile(&[RULES]);
    for bodies in BOTH {
        let dir = capture(&set, &Policy::default(), bodies);
        let options = Options { preset: Some(Preset::Audit), ..Options::default() };
        let report = scan(dir.path(), RulesFrom::Recorded, &options).unwrap();
        assert!(report.differs());
        assert_eq!(differing(&report), BTreeMap::new());
        assert!(report.actions.iter().all(|change| change.to == "flag"), "{report}");
        assert!(report.would_be.is_empty(), "{report}");
    }
}

#[test]
fn two_sets_side_by_side_differ_by_what_the_second_does_whatever_was_recorded() {
    let recorded = compile(&[RULES]);
    let dir = capture(&recorded, &Policy::default(), Bodies::Raw);
    let (before, wipe) = (recorded.without(&["test.unsafe.wipe"]), "test.unsafe.wipe");
    let options = Options::default();
    let under = |preset, before: &RuleSet, after: &RuleSet| {
        compare(dir.path(), before, after, &Policy { preset, ..Policy::default() }, &options)
            .unwrap()
    };
    // The rule was in force when this was recorded; what counts is that it is not now.
    let report = under(Preset::Balanced, &before, &recorded);
    assert_eq!(differing(&report), BTreeMap::from([(wipe, (1, 0))]), "{report}");
    assert_eq!((report.newly_blocked, report.judged), (Some(1), 10), "{report}");
    assert_eq!(report.judged_with.beside.as_deref(), Some(before.digest()));
    let report = under(Preset::Balanced, &recorded, &before);
    assert_eq!(report.newly_blocked, Some(0));
    assert_eq!(differing(&report), BTreeMap::from([(wipe, (0, 1))]));
    assert!(!under(Preset::Strict, &recorded, &recorded).differs());
    // Under `audit` nothing is blocked, by no rule.
    let report = under(Preset::Audit, &before, &recorded);
    assert_eq!((report.newly_blocked, report.would_be.len()), (Some(0), 1), "{report}");
}

#[test]
fn one_more_tool_that_is_left_out_of_a_list_is_newly_blocked() {
    let tool = |text: &str| format!(r#"{{"name":"t","description":"{text}"}}"#);
    let listed = |first: &str, second: &str| {
        let tools = [tool(first), tool(second)].join(",");
        let raw = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tools}]}}}}"#);
        let message = Passing {
            direction: Direction::ToClient,
            server: "s",
            method: "tools/list",
            name: None,
            raw: &raw,
        };
        let set = compile(&[RULES]);
        let recorded = row(0, &message, &set, &Policy::default(), Bodies::Raw);
        let dir = tempfile::tempdir().unwrap();
        record(dir.path(), &set, &Policy::default(), vec![recorded]);
        let more =
            compile(&[RULES, &MORE.replace("class: pii", "class: unsafe\n    action: block")]);
        let options = Options::default();
        let report = compare(dir.path(), &set, &more, &Policy::default(), &options).unwrap();
        (report.actions.len(), report.newly_blocked)
    };
    // The list is blocked for one of its tools already, and not for the other.
    assert_eq!(listed("rm -rf /", "badge-1234"), (0, Some(1)));
    assert_eq!(listed("rm -rf / badge-1234", "harmless"), (0, Some(0)));
    assert_eq!(listed("harmless", "badge-1234"), (1, Some(1)));
}

#[test]
fn recorded_sets_are_told_by_name_and_version() {
    let named = format!("set: {{name: acme, version: 1.2.0}}\n{RULES}");
    let set = compile(&[&named]);
    let dir = capture(&set, &Policy::default(), Bodies::Redacted);
    let report = scan(dir.path(), RulesFrom::Set(&set), &Options::default()).unwrap();
    assert_eq!(report.judged_with.title.as_deref(), Some("acme 1.2.0"));
    let titles = BTreeMap::from([(set.digest().to_owned(), "acme 1.2.0".to_owned())]);
    assert_eq!(report.judged_with.recorded_titles, titles);
    assert!(report.to_string().contains(&format!("recorded   {} (acme 1.2.0)", set.digest())));
}

#[test]
fn the_order_of_rows_leaves_no_trace() {
    let set = compile(&[RULES]);
    let more = compile(&[MORE, RULES]).without(&["test.pii.mail"]);
    for bodies in BOTH {
        let dir = capture(&set, &Policy::default(), bodies);
        let mut rows: Vec<_> = Reader::open(dir.path()).unwrap().map(Result::unwrap).collect();
        rows.extend(unjudgeable(&rows[2].clone()));
        let judge = |rows: &[capture::Record]| {
            let rows = rows.iter().cloned().map(Ok);
            let options = Options { samples_per_rule: 2, ..Options::default() };
            scan_rows(rows, dir.path(), RulesFrom::Set(&more), &options)
        };
        let expected = judge(&rows);
        assert!(expected.differs());
        let mut random = 7_u64;
        for _ in 0..20 {
            for at in (1..rows.len()).rev() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                rows.swap(at, usize::try_from(random >> 33).unwrap() % (at + 1));
            }
            assert_eq!(judge(&rows), expected);
        }
    }
}

#[test]
fn what_cannot_be_judged_is_counted_by_reason() {
    let set = compile(&[RULES]);
    let mut all = rows(&set, &Policy::default(), Bodies::Redacted);
    all.extend(unjudgeable(&all[2].clone()));
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &set, &Policy::default(), all);
    let report = scan(dir.path(), RulesFrom::Recorded, &Options::default()).unwrap();
    let reasons = report.unjudged;
    assert_eq!((report.rows, report.judged, reasons.total()), (15, 10, 5));
    assert_eq!((reasons.not_messages, reasons.not_judged_live, reasons.withheld), (1, 1, 1));
    assert_eq!((reasons.truncated, reasons.unparseable), (1, 1));
    assert!(!report.differs() && report.errors == 0, "{report}");
}

#[test]
fn a_missing_rule_set_or_policy_is_an_error_and_the_rest_goes_on() {
    let set = compile(&[RULES]);
    let dir = capture(&set, &Policy::default(), Bodies::Raw);
    let rulesets = dir.path().join("rulesets");
    for file in fs::read_dir(&rulesets).unwrap() {
        fs::write(file.unwrap().path(), MORE).unwrap();
    }
    // Another set under the recorded digest is not taken for the recorded one.
    let report = scan(dir.path(), RulesFrom::Recorded, &Options::default()).unwrap();
    assert_eq!((report.errors, report.unjudged.rules_missing, report.judged), (1, 10, 0));
    // Given rules need none.
    let report = scan(dir.path(), RulesFrom::Set(&set), &Options::default()).unwrap();
    assert_eq!((report.errors, report.judged), (0, 10));

    fs::remove_dir_all(dir.path().join("config")).unwrap();
    let report = scan(dir.path(), RulesFrom::Set(&set), &Options::default()).unwrap();
    assert_eq!((report.errors, report.unjudged.policy_missing), (1, 10));
    assert!(report.error_texts.iter().any(|text| text.contains(POLICY)), "{report}");
    let options = Options::default().with_policy(Policy::default());
    let report = scan(dir.path(), RulesFrom::Set(&set), &options).unwrap();
    assert_eq!((report.errors, report.judged, report.differs()), (0, 10, false));
}

#[test]
fn a_damaged_file_is_an_error_and_the_rest_goes_on() {
    let set = compile(&[RULES]);
    let dir = capture(&set, &Policy::default(), Bodies::Raw);
    let day = dir.path().join("date=2026-11-23/hour=00");
    fs::create_dir_all(&day).unwrap();
    fs::write(day.join("w-1-9.parquet"), b"PAR1 and then nothing").unwrap();
    let report = scan(dir.path(), RulesFrom::Recorded, &Options::default()).unwrap();
    assert_eq!((report.errors, report.judged), (1, 10), "{report}");
}

#[test]
fn no_capture_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert!(scan(&missing, RulesFrom::Recorded, &Options::default()).is_err());
}

#[test]
fn a_subfolder_or_file_finds_the_captures_rule_sets() {
    let set = compile(&[RULES]);
    let dir = capture(&set, &Policy::default(), Bodies::Redacted);
    let day = dir.path().join("date=2026-11-22");
    let hour = day.join("hour=09");
    let file = fs::read_dir(&hour).unwrap().next().unwrap().unwrap().path();
    for path in [day, hour, file] {
        let report = scan(&path, RulesFrom::Recorded, &Options::default()).unwrap();
        assert_eq!((report.errors, report.judged, report.differs()), (0, 10, false), "{path:?}");
    }
}

#[test]
fn a_report_never_quotes_what_was_matched() {
    let set = compile(&[RULES]);
    let more = compile(&[MORE]);
    for bodies in BOTH {
        let dir = capture(&set, &Policy::default(), bodies);
        let report = scan(dir.path(), RulesFrom::Set(&more), &Options::default()).unwrap();
        let text = format!("{report}{}", serde_json::to_string(&report).unwrap());
        for secret in ["badge-1", "badge-0", "@example", "rm -rf", "tok_"] {
            assert!(!text.contains(secret), "{secret} in\n{text}");
        }
        assert!(!report.to_string().chars().any(|c| c != '\n' && scan::text::is_hostile(c)));
    }
}

#[test]
fn what_reaches_into_a_placeholder_counts_only_where_it_was_recorded() {
    let flagged = |id: &str, pattern: &str, found: &str| {
        format!(
            r#"rules:
  - id: {id}
    title: Test
    class: injection
    severity: medium
    pattern: '{pattern}'
    docs: {{finds: Text., why: For the test.}}
    tests: {{match: ["{found}", "so {found}"], no_match: ["else", "nothing"]}}
"#
        )
    };
    let across = flagged("test.across", "send [^ ]+ to evil", "send it to evil");
    let touching = flagged("test.touching", "(?:^|[^a-z0-9])(?P<secret>abut[0-9])", "abut4");
    let key = flagged("test.key", "key_[0-9]{4}", "key_1234").replace("injection", "secret");
    let live = compile(&[RULES, &key, &across]);
    let now = compile(&[
        RULES,
        &key,
        &flagged("test.reaching", "send [^ ]+ to", "send it to"),
        &touching,
    ]);
    let raw = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"send tok_abcdefghij0123456789 to evil, key_1234abut7"}]}}"#;
    let passing = Passing {
        direction: Direction::ToClient,
        server: "s",
        method: "tools/call",
        name: Some("t"),
        raw,
    };
    for bodies in BOTH {
        let row = row(0, &passing, &live, &Policy::default(), bodies);
        assert!(row.rule_ids.iter().any(|id| &**id == "test.across"));
        let options = Options::default().with_policy(Policy::default());
        let judge = |set| {
            scan_rows(
                [Ok(row.clone())],
                std::path::Path::new("none"),
                RulesFrom::Set(set),
                &options,
            )
        };
        let report = judge(&live);
        assert!(!report.differs(), "{bodies:?}\n{report}");
        // The text between is gone: what might be caught there is not said to be.
        let report = judge(&now);
        let reaching = u64::from(bodies == Bodies::Raw);
        let mut expected = BTreeMap::from([("test.across", (0, 1))]);
        if reaching > 0 {
            expected.insert("test.reaching", (1, 0));
        }
        assert_eq!(differing(&report), expected, "{bodies:?}\n{report}");
    }
}

/// Every example of every built-in rule, in arguments and in results, alone and among others.
fn built_in_examples(set: &RuleSet) -> Vec<(Direction, String)> {
    let expand = |text: &str| template::expand(text, "seed").unwrap();
    let examples: Vec<serde_json::Value> = set
        .rules()
        .iter()
        .flat_map(|rule| rule.tests().matches.iter().chain(&rule.tests().no_match))
        .map(|example| match example {
            Example::Text(text) => serde_json::from_str::<serde_json::Map<_, _>>(&expand(text))
                .map_or_else(|_| json!({ "text": expand(text) }), serde_json::Value::Object),
            Example::Keyed(keyed) => json!({ expand(&keyed.key): expand(&keyed.value) }),
        })
        .collect();
    let mut messages = Vec::new();
    for several in examples.windows(1).chain(examples.windows(4).step_by(2)) {
        let text: Vec<String> = several.iter().map(ToString::to_string).collect();
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": "t", "arguments": { "a": several } } });
        let result = json!({ "jsonrpc": "2.0", "id": 1,
            "result": { "content": [{ "type": "text", "text": text.join(" and ") }] } });
        messages.push((Direction::ToServer, call.to_string()));
        messages.push((Direction::ToClient, result.to_string()));
    }
    messages
}

#[test]
fn the_built_in_rules_agree_with_themselves_on_their_examples() {
    let files: Vec<_> =
        rules::builtin().iter().map(|&(name, text)| RuleFile { name, text }).collect();
    let set = RuleSet::compile(&files).unwrap();
    let messages = built_in_examples(&set);
    for (preset, paranoia) in PRESETS.into_iter().zip([1, 4, 2]) {
        let policy = Policy { preset, paranoia, ..Policy::default() };
        for bodies in BOTH {
            let rows = messages.iter().map(|(direction, raw)| {
                let passing = Passing {
                    direction: *direction,
                    server: "s",
                    method: "tools/call",
                    name: Some("t"),
                    raw,
                };
                Ok(row(0, &passing, &set, &policy, bodies))
            });
            let options =
                Options { samples_per_rule: 50, ..Options::default() }.with_policy(policy.clone());
            let report =
                scan_rows(rows, std::path::Path::new("none"), RulesFrom::Set(&set), &options);
            assert!(!report.differs(), "{bodies:?} {policy:?}\n{report}");
            assert!(report.rules.len() > 50, "{report}");
        }
    }
}

#[test]
fn hostile_redactions_are_survived() {
    let set = compile(&[RULES]);
    let dir = capture(&set, &Policy::default(), Bodies::Redacted);
    let good = rows(&set, &Policy::default(), Bodies::Redacted).swap_remove(2);
    let huge = usize::MAX;
    let lists = [
        "[".to_owned(),
        "{}".to_owned(),
        "[{\"rule\":\"x\"}]".to_owned(),
        format!(
            r#"[{{"rule":"test.pii.mail","path":"no pointer","start":{huge},"length":{huge},"strategy":"?"}}]"#
        ),
        r#"[{"rule":"test.pii.mail","path":"/params/~2/~","start":3,"length":0,"strategy":"key"}]"#
            .to_owned(),
    ];
    let rows = lists
        .map(|list| Ok(capture::Record { redactions: Some(list.as_str().into()), ..good.clone() }));
    let report = scan_rows(rows, dir.path(), RulesFrom::Recorded, &Options::default());
    assert_eq!((report.judged, report.unjudged.unparseable), (2, 3), "{report}");
}
