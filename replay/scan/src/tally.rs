//! Collects a report row by row.
//!
//! Everything here is bounded and independent of the order of the rows: samples are the first by
//! (writer, sequence number), not the first that came along.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use capture::{Labels, Record, Str};
use inspect::Action;

use crate::judge::{Found, Judged};
use crate::labelled::{LabelReport, OfRow};
use crate::report::{ActionChange, JudgedWith, Reason, Report, RuleDiff, Sample, What};

/// Distinct rule ids a report holds at most; recorded ids are the capture's word, not ours.
const MAX_RULES: usize = 50_000;
/// Recorded rule sets whose names a report tells.
const MAX_TITLES: usize = 100;
/// Error texts a report holds at most; all are counted.
const MAX_ERROR_TEXTS: usize = 20;

/// Collects a [`Report`] row by row; the order of the rows leaves no trace.
#[derive(Debug)]
pub(crate) struct Tally {
    report: Report,
    actions: BTreeMap<(String, String), u64>,
    would_be: BTreeMap<(String, String), u64>,
    samples: BTreeMap<(String, What), BTreeSet<Sample>>,
    samples_per_rule: usize,
    labels: Labels,
}

impl Tally {
    pub(crate) fn new(judged_with: JudgedWith, samples_per_rule: usize) -> Self {
        Self {
            report: Report { judged_with, ..Report::default() },
            actions: BTreeMap::new(),
            would_be: BTreeMap::new(),
            samples: BTreeMap::new(),
            samples_per_rule,
            labels: Labels::default(),
        }
    }

    /// What people said of findings of this capture.
    pub(crate) fn labels(&mut self, labels: Labels) {
        let (broken, count) = labels.broken();
        broken.iter().for_each(|error| self.error(error.to_string()));
        self.report.errors += count - broken.len() as u64;
        if !labels.is_empty() {
            let labels = labels.len() as u64;
            self.report.labelled = Some(LabelReport { labels, ..LabelReport::default() });
        }
        self.labels = labels;
    }

    /// Rows and bytes of bodies so far.
    pub(crate) fn so_far(&self) -> (u64, u64) {
        (self.report.rows, self.report.body_bytes)
    }

    /// The digests of the rule sets that rows were recorded under so far, the first few.
    pub(crate) fn recorded(&self) -> Vec<String> {
        self.report.judged_with.recorded_rulesets.keys().take(MAX_TITLES).cloned().collect()
    }

    /// Notes what a recorded rule set is called.
    pub(crate) fn title(&mut self, digest: String, title: String) {
        self.report.judged_with.recorded_titles.insert(digest, title);
    }

    /// Takes in one row and what came of judging it.
    pub(crate) fn row(&mut self, row: &Record, judged: Result<Judged, Reason>) {
        self.report.rows += 1;
        self.report.body_bytes += row.body.as_ref().map_or(0, |body| body.len() as u64);
        let judged = match judged {
            Ok(judged) => judged,
            Err(reason) => return self.report.unjudged.count(reason),
        };
        self.report.judged += 1;
        self.report.judged_redacted += u64::from(judged.redacted);
        if let Some(digest) = &row.ruleset_digest {
            self.recorded_under(digest);
        }
        let findings_differ = self.findings(row, &judged);
        // What the pins did, no rule can do again: then only what the rules asked for is compared.
        let pinned = row.rule_ids.iter().any(|id| is_of_pins(id));
        let action = !pinned && changed(&mut self.actions, row.action.as_ref(), judged.action);
        let would_be = changed(&mut self.would_be, row.would_be.as_ref(), judged.would_be);
        self.report.differing += u64::from(findings_differ || action || would_be);
    }

    fn recorded_under(&mut self, digest: &Str) {
        let sets = &mut self.report.judged_with.recorded_rulesets;
        if let Some(rows) = sets.get_mut(&**digest) {
            *rows += 1;
        } else if sets.len() < MAX_RULES {
            sets.insert(digest.to_string(), 1);
        }
    }

    /// Compares the row's findings as multisets of rule ids; true when they differ.
    fn findings(&mut self, row: &Record, judged: &Judged) -> bool {
        let ids = row.rule_ids.iter().map(|id| &**id);
        let mut recorded: Vec<&str> = ids.filter(|id| !is_of_pins(id)).collect();
        recorded.sort_unstable();
        let pairs = pair(&judged.found, &recorded);
        // taken out for as long as the report is written to
        let labels = std::mem::take(&mut self.labels);
        let writer = row.writer_id.as_deref().unwrap_or_default();
        let labelled = OfRow::new(&labels, writer, row.seq, &recorded);
        if let Some(report) = &mut self.report.labelled {
            report.row(&labelled);
        }
        // A key that is itself a secret is masked in paths by the rule that finds it. Where a rule
        // is missing now and the body is raw, such a key would show.
        let bare = !judged.redacted && pairs.iter().any(|(_, now, was)| now.len() < *was);
        for (id, now, was) in &pairs {
            self.rule_on_row((id, now, *was), row, judged, bare, &labelled);
        }
        self.labels = labels;
        pairs.iter().any(|(_, now, was)| now.len() != *was)
    }

    fn rule_on_row(
        &mut self,
        (id, now, was): (&str, &[Found], usize),
        row: &Record,
        judged: &Judged,
        bare: bool,
        labelled: &OfRow<'_>,
    ) {
        let Some(diff) = self.rule(id) else {
            return self.error(format!("more than {MAX_RULES} rule ids in the capture"));
        };
        let newly_caught = now.len().saturating_sub(was);
        let newly_missed = was.saturating_sub(now.len());
        diff.recorded += was as u64;
        diff.now += now.len() as u64;
        diff.now_from_redactions += now.iter().filter(|found| found.from_redactions).count() as u64;
        diff.newly_caught += newly_caught as u64;
        diff.newly_missed += newly_missed as u64;
        let what = labelled.newly(id).unwrap_or(What::NewlyCaught);
        if what == What::NewlyCaughtOnClean {
            diff.newly_caught_on_clean += newly_caught as u64;
        }
        if let Some(report) = &mut self.report.labelled {
            report.rule(labelled, id, was, now.len());
        }

        // Of several findings of one rule, nothing tells which is the new one: the first do.
        let in_text = now.iter().filter(|found| !found.from_redactions);
        for found in in_text.take(newly_caught.min(self.samples_per_rule)) {
            let path = if bare {
                Cow::Owned(protocol_only(&found.path))
            } else {
                found.path.as_str().into()
            };
            self.sample(sample(row, id, what, Some(&path)));
        }
        // Where a missed one stood is known only if the record hides it.
        let mut paths = judged.hidden.iter().filter(|(rule, _)| rule == id).map(|(_, path)| path);
        for _ in 0..newly_missed.min(self.samples_per_rule) {
            let path = paths.next().map(String::as_str);
            self.sample(sample(row, id, What::NewlyMissed, path));
        }
    }

    /// Counts an error and keeps its text, if it is among the first in sorting order.
    pub(crate) fn error(&mut self, text: String) {
        self.report.errors += 1;
        self.report.error_texts.insert(text);
        if self.report.error_texts.len() > MAX_ERROR_TEXTS {
            self.report.error_texts.pop_last();
        }
    }

    /// The counts of a rule; `None` when the report holds too many rules already.
    fn rule(&mut self, id: &str) -> Option<&mut RuleDiff> {
        let rules = &mut self.report.rules;
        if !rules.contains_key(id) {
            if rules.len() >= MAX_RULES {
                return None;
            }
            rules.insert(id.to_owned(), RuleDiff::default());
        }
        rules.get_mut(id)
    }

    fn sample(&mut self, sample: Sample) {
        let kept = self.samples.entry((sample.rule.clone(), sample.what)).or_default();
        kept.insert(sample);
        if kept.len() > self.samples_per_rule {
            kept.pop_last();
        }
    }

    pub(crate) fn finish(self) -> Report {
        let list = |changes: BTreeMap<(String, String), u64>| {
            changes.into_iter().map(|((from, to), rows)| ActionChange { from, to, rows }).collect()
        };
        Report {
            actions: list(self.actions),
            would_be: list(self.would_be),
            samples: self.samples.into_values().flatten().collect(),
            ..self.report
        }
    }
}

/// Whether a finding is of a comparison with what was seen before, and not of a rule.
fn is_of_pins(id: &str) -> bool {
    inspect::pin::FINDINGS.contains(&id)
}

/// Per rule id, in order: its findings now, and how many there were.
fn pair<'a>(mut now: &'a [Found], mut then: &[&'a str]) -> Vec<(&'a str, &'a [Found], usize)> {
    let mut pairs = Vec::new();
    // Both are sorted: take the first rule of either off both, until nothing is left.
    loop {
        let first = now.first().map(|found| found.rule.as_str());
        let Some(id) = first.into_iter().chain(then.first().copied()).min() else {
            return pairs;
        };
        let (these, rest) = now.split_at(now.iter().take_while(|found| found.rule == id).count());
        let was = then.iter().take_while(|&&then| then == id).count();
        pairs.push((id, these, was));
        (now, then) = (rest, &then[was..]);
    }
}

/// The path with every key masked that MCP itself does not name.
fn protocol_only(path: &str) -> String {
    const WORDS: [&str; 24] = [
        "params",
        "arguments",
        "name",
        "uri",
        "method",
        "id",
        "_meta",
        "result",
        "content",
        "text",
        "structuredContent",
        "contents",
        "messages",
        "tools",
        "description",
        "inputSchema",
        "outputSchema",
        "prompts",
        "resources",
        "error",
        "message",
        "data",
        "instructions",
        "title",
    ];
    let known = |part: &&str| {
        WORDS.contains(part) || part.bytes().all(|b| b.is_ascii_digit()) && part.len() < 6
    };
    let parts = path.split('/').map(|part| Some(part).filter(known).unwrap_or("*"));
    parts.collect::<Vec<_>>().join("/")
}

/// Counts a change of action; true when there is one. A recorded word that is no action, or none
/// at all, becomes `unknown`: the capture is not trusted to fill this table.
fn changed(
    changes: &mut BTreeMap<(String, String), u64>,
    recorded: Option<&Str>,
    now: Action,
) -> bool {
    let recorded: Option<Action> = recorded.and_then(|word| word.parse().ok());
    if recorded == Some(now) {
        return false;
    }
    let from = recorded.map_or("unknown", Action::as_str).to_owned();
    *changes.entry((from, now.as_str().to_owned())).or_default() += 1;
    true
}

fn sample(row: &Record, rule: &str, what: What, path: Option<&str>) -> Sample {
    let text = |field: &Option<Str>| field.as_deref().map(|text| shortened(text, 256));
    Sample {
        rule: rule.to_owned(),
        what,
        writer_id: text(&row.writer_id).unwrap_or_default(),
        seq: row.seq,
        path: path.map(|path| shortened(path, 512)),
        server: text(&row.server),
        method: text(&row.method),
        name: text(&row.name),
        direction: text(&row.direction),
    }
}

/// At most so many characters: what a capture says of itself must not swell the report.
fn shortened(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: &str) -> Found {
        Found { rule: rule.to_owned(), path: "/x".to_owned(), from_redactions: false }
    }

    #[test]
    fn findings_pair_up_by_rule() {
        let now = [found("a"), found("b"), found("b"), found("d")];
        let pairs = pair(&now, &["b", "c", "c", "d"]);
        let counts: Vec<_> = pairs.iter().map(|(id, now, was)| (*id, now.len(), *was)).collect();
        assert_eq!(counts, [("a", 1, 0), ("b", 2, 1), ("c", 0, 2), ("d", 1, 1)]);
    }

    #[test]
    fn what_pins_found_is_no_difference_between_rules() {
        let row = |ids: &[&str]| Record {
            action: Some("block".into()),
            would_be: Some("allow".into()),
            rule_ids: ids.iter().map(|id| (*id).into()).collect(),
            ..Record::default()
        };
        let judged = || Judged {
            action: Action::Allow,
            would_be: Action::Allow,
            found: vec![found("a")],
            hidden: Vec::new(),
            redacted: false,
            blocked: Vec::new(),
        };
        let mut tally = Tally::new(JudgedWith::default(), 1);
        tally.row(&row(&["a", "pin.changed"]), Ok(judged()));
        assert_eq!(tally.report.differing, 0);
        tally.row(&row(&["a"]), Ok(judged()));
        tally.row(&row(&["pin.changed"]), Ok(judged()));
        assert_eq!(tally.report.differing, 2);
    }

    #[test]
    fn only_the_protocols_own_keys_stay() {
        assert_eq!(protocol_only("/params/arguments/tok_1/12/text"), "/params/arguments/*/12/text");
        assert_eq!(protocol_only("/result/123456789"), "/result/*");
    }

    #[test]
    fn samples_kept_are_the_first_whatever_the_order() {
        let sample = |seq| Sample {
            rule: "a".to_owned(),
            what: What::NewlyCaught,
            writer_id: "w".to_owned(),
            seq,
            path: None,
            server: None,
            method: None,
            name: None,
            direction: None,
        };
        for order in [[1, 2, 3, 4], [4, 3, 2, 1], [3, 1, 4, 2]] {
            let mut tally = Tally::new(JudgedWith::default(), 2);
            order.into_iter().for_each(|seq| tally.sample(sample(seq)));
            let seqs: Vec<i64> = tally.finish().samples.iter().map(|s| s.seq).collect();
            assert_eq!(seqs, [1, 2]);
        }
    }
}
