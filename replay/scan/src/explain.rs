//! Why a message got its verdict: every reading, every match, every score and every reason, as data.
//!
//! The verdict is that of [`crate::Judge`], or of whoever calls [`message`]; nothing here decides anything.
//! Texts are cut and secrets hidden by the engine's trace, unless [`Ask::reveal`] says otherwise.

mod told;

use capture::{Record, Str};
use inspect::scan::Outcome;
use inspect::{
    Before, Carry, Finding, Message, Part, Policy, Reasons, RuleIx, RuleSet, Scan, Scanner,
    Standing, Subject, Trace, Verdict, Why,
};

pub use told::{AskedRule, Explanation, Found, Reading, Recorded, Rejected, Told, Window};

use crate::judge::Seen;

/// What to tell.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Show secrets and personal data as they are.
    pub reveal: bool,
    /// Bytes of each reading shown.
    pub bytes: usize,
    /// The rule that the question is about.
    pub rule: Option<String>,
}

/// Explains a message that no capture holds, judged as the gateway would.
pub fn message(
    scanner: &mut Scanner,
    (set, policy): (&RuleSet, &Policy),
    message: &Message<'_>,
    subject: &Subject<'_>,
    ask: &Ask,
) -> Explanation {
    let mut seen = Seen {
        set,
        policy,
        message,
        subject,
        redactions: &[],
        recorded: &[],
        carry: Carry::new(),
        hides_earlier: false,
    };
    explained(scanner, &mut seen, ask)
}

/// Explains a row of a capture.
pub(crate) fn row(
    scanner: &mut Scanner,
    seen: &mut Seen<'_, '_>,
    row: &Record,
    ask: &Ask,
) -> Explanation {
    let mut told = explained(scanner, seen, ask);
    let text = |field: &Option<Str>| field.as_deref().map(str::to_owned);
    let action = row.action.as_deref();
    // what the pins did, no rule can do again
    let pinned = row.rule_ids.iter().any(|id| inspect::pin::FINDINGS.contains(&&**id));
    told.differs = match pinned {
        true => row.would_be.as_deref() != Some(told.would_be.as_str()),
        false => action != Some(told.action.as_str()),
    };
    // a raw record's tail may end in the first half of a secret
    let hides = row.redaction_state.as_deref() == Some("redacted");
    let before = row.scan_context.as_deref().and_then(Before::from_json);
    told.tail = before.map(|before| match ask.reveal || hides {
        true => tails(&before),
        false => {
            let bytes: usize = before.texts().map(|(_, tail)| tail.len()).sum();
            format!("{bytes} bytes, shown when secrets are")
        }
    });
    told.record = Some(Recorded {
        writer_id: text(&row.writer_id).unwrap_or_default(),
        seq: row.seq,
        ts_us: row.ts_us,
        direction: text(&row.direction).unwrap_or_default(),
        kind: text(&row.kind).unwrap_or_default(),
        server: text(&row.server).unwrap_or_default(),
        method: text(&row.method),
        name: text(&row.name),
        redaction_state: text(&row.redaction_state),
        action: text(&row.action),
        would_be: text(&row.would_be),
        score: row.score,
        rule_ids: row.rule_ids.iter().map(|id| id.to_string()).collect(),
        ruleset_digest: text(&row.ruleset_digest),
        deny_reason: text(&row.deny_reason),
    });
    told
}

/// The ends of the texts before a message, those of arguments each on its line.
fn tails(before: &Before) -> String {
    let line = |(argument, tail): (Option<&str>, &str)| match argument {
        Some(argument) => format!("{argument}: {tail}"),
        None => tail.to_owned(),
    };
    before.texts().map(line).collect::<Vec<_>>().join("\n")
}

fn explained(scanner: &mut Scanner, seen: &mut Seen<'_, '_>, ask: &Ask) -> Explanation {
    let asked = ask.rule.as_deref().and_then(|id| seen.set.find(id));
    let (set, policy) = (seen.set, seen.policy);
    let carry = Some(&mut seen.carry);
    let (scan, trace) = scanner.explain(set, seen.message, seen.subject, carry, ask.bytes, asked);
    let settled = seen.settle(scan.findings);
    let scanned = settled.scanned;
    let scan = Scan { truncated: scan.truncated, findings: settled.findings };
    let truncated = scan.truncated;
    let verdict = Verdict::decide(set, policy, seen.subject, scan, seen.message.raw());
    let reasons = verdict.reasons(set, policy);

    let findings = (0..verdict.findings.len())
        .map(|at| {
            found(set, &verdict, &reasons, &trace, (at, scanned.get(at).copied().flatten()), ask)
        })
        .collect();
    let rejected = rejected(set, &trace, &scanned, ask);
    let readings = trace.readings.iter().map(|one| reading(one, asked, ask)).collect();
    let windows = reasons.windows.iter().map(|window| Window {
        surface: window.surface.as_str(),
        points: window.points.clone(),
        sum: window.sum,
        flag: window.flag,
        block: window.block,
    });
    let mut told = Explanation {
        record: None,
        action: verdict.action.as_str().to_owned(),
        would_be: verdict.would_be.as_str().to_owned(),
        score: verdict.score,
        reason: String::new(),
        truncated,
        differs: false,
        rules: set.digest().to_owned(),
        policy: Told {
            preset: policy.preset.as_str().to_owned(),
            paranoia: policy.paranoia,
            flag_at: policy.flag_at,
            block_at: policy.block_at,
            suppressions: policy.suppress.len(),
        },
        tail: None,
        readings,
        findings,
        rejected,
        windows: windows.collect(),
        rule: None,
        partial: trace.partial,
    };
    told.reason = reason(&told, &verdict);
    told.rule = asked.map(|ix| answer(set, ix, seen.subject, &trace, &told));
    told
}

fn reading(one: &inspect::scan::Reading, asked: Option<RuleIx>, ask: &Ask) -> Reading {
    Reading {
        path: one.path.clone(),
        surface: one.surface.as_str().to_owned(),
        kind: one.kind.as_str(),
        key: one.key.as_ref().map(|key| key.shown(ask.reveal)),
        view: one.view.as_str(),
        steps: one.steps.clone(),
        text: one.text.shown(ask.reveal),
        bytes: one.len,
        earlier: one.earlier,
        exempt: one.exempt,
        opened: asked.map(|_| one.opened),
    }
}

fn found(
    set: &RuleSet,
    verdict: &Verdict,
    reasons: &Reasons,
    trace: &Trace,
    (at, scanned): (usize, Option<usize>),
    ask: &Ask,
) -> Found {
    let finding: &Finding = &verdict.findings[at];
    let rule = set.rule(finding.rule);
    let matched = scanned.and_then(|scanned| {
        trace.matches.iter().find(|one| one.outcome == Outcome::Found(scanned))
    });
    let why = reasons.why.get(at).copied().unwrap_or(Why::Rule);
    Found {
        rule: rule.id().to_owned(),
        title: rule.title().to_owned(),
        class: rule.class().as_str(),
        severity: rule.severity().as_str(),
        reading: matched.map(|one| one.reading),
        path: finding.path.clone(),
        surface: finding.surface.as_str(),
        text: matched.map(|one| one.text.shown(ask.reveal)),
        spans: finding.spans.iter().map(|span| [span.start, span.end]).collect(),
        base: rule.score(),
        context: finding.score.saturating_sub(rule.score()),
        quoted: finding.quoted,
        points: reasons.points.get(at).copied().unwrap_or(finding.score),
        sum: verdict.sums.get(at).copied().unwrap_or(0),
        standing: finding.standing.as_str(),
        earlier: finding.part == Part::Earlier,
        asks: verdict.asked.get(at).map_or("allow", |action| action.as_str()),
        why: why.as_str(),
    }
}

/// Matches without a finding, and findings that a placeholder takes out.
fn rejected(set: &RuleSet, trace: &Trace, scanned: &[Option<usize>], ask: &Ask) -> Vec<Rejected> {
    let each = trace.matches.iter().filter_map(|one| {
        let (check, saw) = match &one.outcome {
            Outcome::Rejected(check, saw) => (check.as_str(), saw.clone()),
            Outcome::Found(at) if scanned.contains(&Some(*at)) => return None,
            Outcome::Found(_) => (
                "placeholder",
                "stands in or beside a placeholder of the record, and was not found live"
                    .to_owned(),
            ),
        };
        Some(Rejected {
            rule: set.rule(one.rule).id().to_owned(),
            reading: one.reading,
            text: one.text.shown(ask.reveal),
            range: [one.whole.start, one.whole.end],
            check,
            saw,
        })
    });
    each.collect()
}

/// The decision in a few words.
fn reason(told: &Explanation, verdict: &Verdict) -> String {
    let enforced = Standing::Enforced.as_str();
    let most = told
        .findings
        .iter()
        .zip(&verdict.asked)
        .filter(|(found, _)| found.standing == enforced)
        .max_by_key(|(found, asked)| (**asked, found.sum));
    let mut reason = match most {
        None if told.findings.is_empty() => "nothing was found".to_owned(),
        None => "what was found is suppressed or only tried".to_owned(),
        Some((found, _)) => format!("{}: {}", found.rule, because(found, told)),
    };
    if told.policy.preset == "audit" && verdict.would_be > verdict.action {
        reason.push_str("; audit does no more than flag");
    }
    if told.truncated {
        reason.push_str("; the scan ended early, so `inspect.on_error` decides");
    }
    reason
}

/// Why a finding asks for what it asks for.
fn because(found: &Found, told: &Explanation) -> String {
    let at = told.findings.iter().position(|one| std::ptr::eq(one, found));
    let window = told
        .windows
        .iter()
        .filter(|window| window.points.iter().any(|(index, _)| Some(*index) == at))
        .max_by_key(|window| window.sum);
    let sum = match window {
        Some(window) => {
            format!("{} points, flag from {}, block from {}", found.sum, window.flag, window.block)
        }
        None => format!("{} points", found.sum),
    };
    match found.why {
        "suppressed" => "suppressed".to_owned(),
        "strict" => "strict blocks secrets of this severity".to_owned(),
        "forwarded" => format!("part of it was forwarded before, so {}", found.asks),
        "sum" => sum,
        "flag_at_most" => format!("{sum}; the rule asks for no more than a flag"),
        "quoted" => format!("quoted, so it does not block by itself; {sum}"),
        _ => format!("the rule asks for {}", found.asks),
    }
}

/// Why the rule asked for did or did not find something.
fn answer(
    set: &RuleSet,
    ix: RuleIx,
    subject: &Subject<'_>,
    trace: &Trace,
    told: &Explanation,
) -> AskedRule {
    let rule = set.rule(ix);
    let opened = trace.readings.iter().filter(|reading| reading.opened).count();
    let literal = |literal: &Vec<u8>| String::from_utf8_lossy(literal).into_owned();
    let literals: Vec<String> = rule.anchors().iter().map(literal).collect();
    let found = told.findings.iter().filter(|found| found.rule == rule.id()).count();
    let kept_out = if rule.paranoia() > subject.paranoia {
        format!("; it takes part from paranoia {} on", rule.paranoia())
    } else if !rule.surfaces().has_direction(subject.direction) {
        format!("; it does not look at messages {}", subject.direction)
    } else {
        String::new()
    };
    let of = || told.rejected.iter().filter(|one| one.rule == rule.id());
    let says = |one: &&Rejected| !matches!(one.check, "plain reading" | "known already");
    let first = of().find(says).or_else(|| of().next());
    let answer = match (found, first) {
        (1.., _) => format!("it found {found}"),
        (0, Some(one)) => {
            format!("its pattern matches, and the match was rejected ({}): {}", one.check, one.saw)
        }
        (0, None) if opened == 0 => format!(
            "none of the literals that open a text for it stands in any reading, so it did not look{kept_out}"
        ),
        (0, None) => format!("it looked, and its pattern matches nowhere{kept_out}"),
    };
    AskedRule {
        id: rule.id().to_owned(),
        answer,
        slow: literals.is_empty(),
        literals,
        paranoia: rule.paranoia(),
        surfaces: rule.def().surfaces.clone(),
        opened,
    }
}
