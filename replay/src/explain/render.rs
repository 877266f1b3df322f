//! An explanation as text: readings with what matched in them, sums, the decision.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ::scan::explain::{Explanation, Found, Reading, Rejected};
use ::scan::text::{clip, visible};

use crate::select::time::format_time;

/// Columns when there is no terminal and nothing is said.
const WIDTH: usize = 100;
/// How far back a line may end for the sake of a whole word.
const WORD: usize = 24;
/// Matches listed per reading and rule.
const PER_READING: usize = 20;

/// The explanation for a terminal.
pub(super) fn text(told: &Explanation, all: bool, width: Option<usize>) -> String {
    let mut page = Page { out: String::new(), width };
    head(&mut page, told);
    if let Some(rule) = &told.rule {
        page.section("rule");
        page.block(0, "", &format!("{}: {}", rule.id, rule.answer));
        let looks = match rule.surfaces.is_empty() {
            true => "everywhere".to_owned(),
            false => rule.surfaces.join(", "),
        };
        page.line(0, &format!("level {}, looks at {looks}", rule.paranoia));
        let opens = match rule.slow {
            true => "it looks at every text".to_owned(),
            false => format!(
                "opened by {}: stands in {} of {} readings",
                rule.literals.join(" | "),
                rule.opened,
                told.readings.len()
            ),
        };
        page.block(0, "", &opens);
    }
    page.section("texts");
    readings(&mut page, told, all);
    sums(&mut page, told);
    decision(&mut page, told);
    page.out
}

struct Page {
    out: String,
    /// A pipe gets whole lines.
    width: Option<usize>,
}

impl Page {
    fn section(&mut self, title: &str) {
        let _ = writeln!(self.out, "\n{title}");
    }

    /// One line, cut to the width.
    fn line(&mut self, indent: usize, text: &str) {
        let indent = 2 + 2 * indent;
        let text = visible(text);
        let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(indent));
        let _ = writeln!(self.out, "{:indent$}{}", "", clip(&text, room));
    }

    /// A text over as many lines as it takes.
    fn block(&mut self, indent: usize, mark: &str, text: &str) {
        let shown = visible(text);
        let indent = 2 + 2 * indent;
        let room = self.width.unwrap_or(WIDTH).saturating_sub(indent + mark.len()).max(20);
        let mut rest: &str = &shown;
        let mut mark = mark.to_owned();
        loop {
            let line = cut(rest, room);
            let _ = writeln!(self.out, "{:indent$}{mark}{}", "", line.trim_end());
            rest = rest.get(line.len()..).unwrap_or("");
            mark = " ".repeat(mark.len());
            if rest.is_empty() {
                return;
            }
        }
    }
}

/// The beginning of a text that takes so many cells, and one character at least.
fn cut(text: &str, cells: usize) -> &str {
    let clipped = clip(text, cells);
    if clipped.len() == text.len() {
        return text;
    }
    // an ellipsis stands for what was cut
    let kept = clipped.trim_end_matches('…').len();
    let first = text.chars().next().map_or(0, char::len_utf8);
    let line = text.get(..kept.max(first)).unwrap_or(text);
    // after a word, if one ends near
    match line.rfind(' ') {
        Some(at) if line.len() - at < WORD => line.get(..=at).unwrap_or(line),
        _ => line,
    }
}

fn head(page: &mut Page, told: &Explanation) {
    if let Some(record) = &told.record {
        let what = record.name.as_deref().or(record.method.as_deref()).unwrap_or_default();
        page.line(0, &format!("record    {}:{}", record.writer_id, record.seq));
        page.line(
            0,
            &format!(
                "message   {} {} {}, {} {what}",
                format_time(record.ts_us, 3),
                record.direction,
                record.kind,
                record.server
            ),
        );
        if record.redaction_state.as_deref() == Some("redacted") {
            page.line(
                0,
                "body      recorded redacted: what placeholders hide is taken from the record",
            );
        }
    }
    page.line(0, &format!("rules     {}", told.rules));
    let policy = &told.policy;
    let at =
        |name: &str, at: Option<u32>| at.map(|at| format!(", {name} {at}")).unwrap_or_default();
    page.line(
        0,
        &format!(
            "policy    {}, paranoia {}{}{}, {} suppressions",
            policy.preset,
            policy.paranoia,
            at("flag_at", policy.flag_at),
            at("block_at", policy.block_at),
            policy.suppressions
        ),
    );
    if let Some(tail) = &told.tail {
        page.block(0, "before    ", tail);
    }
}

/// Each text once, its readings below it, and what matched below these.
fn readings(page: &mut Page, told: &Explanation, all: bool) {
    let mut texts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut of_path: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (at, reading) in told.readings.iter().enumerate() {
        let first = *of_path.entry((&reading.path, reading.kind)).or_insert(at);
        texts.entry(first).or_default().push(at);
    }
    let hits = |at: usize| {
        told.findings.iter().any(|found| found.reading == Some(at))
            || told.rejected.iter().any(|one| one.reading == at)
    };
    let mut left_out = 0;
    for (first, list) in &texts {
        if !all && list.len() == 1 && !hits(*first) {
            left_out += 1;
            continue;
        }
        let Some(reading) = told.readings.get(*first) else { continue };
        let exempt = if reading.exempt { ", exempt" } else { "" };
        page.line(0, &format!("{}  {}, {}{exempt}", reading.path, reading.surface, reading.kind));
        for at in list {
            if let Some(reading) = told.readings.get(*at) {
                one_reading(page, told, *at, reading);
            }
        }
    }
    for found in told.findings.iter().filter(|found| found.reading.is_none()) {
        page.line(0, &format!("{}  {}, hidden by a placeholder", found.path, found.surface));
        finding(page, told, found);
    }
    if left_out > 0 {
        page.line(0, &format!("{left_out} more read as they stand, where nothing matched (--all)"));
    }
    if told.partial {
        page.line(0, "there was more than is listed");
    }
}

fn one_reading(page: &mut Page, told: &Explanation, at: usize, reading: &Reading) {
    let steps = match reading.steps.as_slice() {
        [] => String::new(),
        [step] if *step == reading.view => String::new(),
        steps => format!(": {}", steps.join(", then ")),
    };
    let earlier = match reading.earlier {
        0 => String::new(),
        bytes => format!(", the first {bytes} from messages before"),
    };
    let opened = match reading.opened {
        Some(true) => ", opened",
        Some(false) => ", not opened",
        None => "",
    };
    page.line(1, &format!("{}{steps} ({} bytes{earlier}{opened})", reading.view, reading.bytes));
    page.block(2, "| ", &reading.text);
    for found in told.findings.iter().filter(|found| found.reading == Some(at)) {
        finding(page, told, found);
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut plainer = 0;
    for one in told.rejected.iter().filter(|one| one.reading == at) {
        let is_asked = told.rule.as_ref().is_some_and(|rule| rule.id == one.rule);
        if matches!(one.check, "plain reading" | "known already") && !is_asked {
            plainer += 1;
            continue;
        }
        let count = counts.entry(&one.rule).or_default();
        *count += 1;
        if *count <= PER_READING {
            rejected(page, one);
        }
    }
    for (rule, count) in counts.into_iter().filter(|(_, count)| *count > PER_READING) {
        page.line(2, &format!("- {rule}: {} more rejected", count - PER_READING));
    }
    if plainer > 0 {
        page.line(2, &format!("- {plainer} more that a plainer reading has too"));
    }
}

fn finding(page: &mut Page, told: &Explanation, found: &Found) {
    page.line(
        2,
        &format!("+ {} ({}, {}): {}", found.rule, found.class, found.severity, found.title),
    );
    if let Some(text) = &found.text {
        page.line(3, &format!("matched {text}"));
    }
    let context = match found.context {
        0 => String::new(),
        points => format!(" + {points} for words near it"),
    };
    let quoted = if found.quoted { ", quoted" } else { "" };
    let counts = match (found.points == found.base + found.context, found.quoted) {
        (true, _) => String::new(),
        (false, _) => format!(", counts {}", found.points),
    };
    let earlier = if found.earlier { ", begins in an earlier message" } else { "" };
    page.line(3, &format!("score {}{context}{quoted}{counts}{earlier}", found.base));
    let standing = match found.standing {
        "enforced" => String::new(),
        other => format!("{other}: "),
    };
    let why = match (found.why, told.windows.is_empty()) {
        ("rule", _) => "by the rule".to_owned(),
        ("sum", _) => format!("by the sum of {}", found.sum),
        ("strict", _) => "by the preset strict".to_owned(),
        ("forwarded", _) => "part of it was forwarded before".to_owned(),
        ("flag_at_most", _) => format!("the sum is {}, the rule wants no more", found.sum),
        ("quoted", _) => "quoted, so the rule does not block by itself".to_owned(),
        (other, _) => other.to_owned(),
    };
    page.line(3, &format!("{standing}asks for {}: {why}", found.asks));
}

fn rejected(page: &mut Page, one: &Rejected) {
    page.block(2, "- ", &format!("{} rejected, {}: {}", one.rule, one.check, one.saw));
    page.line(3, &format!("matched {}", one.text));
}

fn sums(page: &mut Page, told: &Explanation) {
    if told.windows.is_empty() {
        return;
    }
    page.section("sums");
    for window in &told.windows {
        let rule = |at: usize| told.findings.get(at).map_or("?", |found| found.rule.as_str());
        let parts: Vec<String> =
            window.points.iter().map(|(at, points)| format!("{} {points}", rule(*at))).collect();
        let reached = match window.sum {
            sum if sum >= window.block => "blocks",
            sum if sum >= window.flag => "flags",
            _ => "too little for a flag",
        };
        page.line(
            0,
            &format!(
                "{}: {} points, {reached} (flag from {}, block from {})",
                window.surface, window.sum, window.flag, window.block
            ),
        );
        for part in parts {
            page.line(1, &part);
        }
    }
}

fn decision(page: &mut Page, told: &Explanation) {
    page.section("decision");
    let would_be = match told.would_be == told.action {
        true => String::new(),
        false => format!(" (would be {})", told.would_be),
    };
    page.block(0, "", &format!("{}{would_be}: {}", told.action, told.reason));
    let Some(record) = &told.record else { return };
    let recorded = record.action.as_deref().unwrap_or("unknown");
    let pins: Vec<&str> = record
        .rule_ids
        .iter()
        .map(String::as_str)
        .filter(|id| inspect::pin::FINDINGS.contains(id))
        .collect();
    let mut line = format!("recorded: {recorded}");
    if !pins.is_empty() {
        let _ = write!(line, ", with {} of the pins, which are not asked again", pins.join(", "));
    }
    if let Some(reason) = &record.deny_reason {
        let _ = write!(line, ", refused as {reason}");
    }
    line.push_str(if told.differs { "; it differs" } else { "; the same" });
    page.block(0, "", &line);
}
