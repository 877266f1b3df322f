//! What people's labels make of a report: which new findings are new mistakes, and how often each rule is right.

use std::collections::BTreeMap;

use capture::labels::{ANY_RULE, Label, Labels, Said};
use serde::Serialize;

use crate::report::What;

/// Rules a report tells labels of, at most.
const MAX_RULES: usize = 50_000;

/// What the labels of the judged rows say. A label is about all findings of a rule on a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LabelReport {
    /// Labels in the capture.
    pub labels: u64,
    /// Judged rows that have one.
    pub rows: u64,
    /// Of those, rows labelled clean: as a whole, or in each of their recorded findings.
    pub clean_rows: u64,
    /// Findings newly caught on clean rows, or where the rule's finding was labelled false: new false positives.
    pub new_false_positives: u64,
    /// Findings newly caught that were labelled true before.
    pub new_true_positives: u64,
    /// Per rule.
    pub rules: BTreeMap<String, Labelled>,
}

/// What the labels say of one rule, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Labelled {
    /// Recorded findings labelled true.
    pub true_positives: u64,
    /// Recorded findings labelled false.
    pub false_positives: u64,
    /// Findings now that are labelled true.
    pub true_now: u64,
    /// Findings now that are labelled false, or stand on clean rows.
    pub false_now: u64,
}

impl Labelled {
    /// Labelled true among those labelled, in thousandths; `None` when none is.
    #[must_use]
    pub fn precision(&self) -> Option<u64> {
        share(self.true_positives, self.false_positives)
    }

    /// The same of what is found now.
    #[must_use]
    pub fn precision_now(&self) -> Option<u64> {
        share(self.true_now, self.false_now)
    }
}

fn share(yes: u64, no: u64) -> Option<u64> {
    (yes.saturating_mul(1000) + (yes + no) / 2).checked_div(yes + no)
}

/// The labels of one row.
pub(crate) struct OfRow<'l> {
    labels: Vec<&'l Label>,
    /// Whether nothing on the row is harm.
    clean: bool,
}

impl<'l> OfRow<'l> {
    /// Those of a row on which these rules were recorded, sorted, with repeats.
    pub(crate) fn new(labels: &'l Labels, writer: &str, seq: i64, recorded: &[&str]) -> Self {
        let labels: Vec<&Label> = match labels.is_empty() {
            true => Vec::new(),
            false => labels.of_row(writer, seq).collect(),
        };
        let is_false = |rule: &str| {
            labels.iter().any(|label| label.rule == rule && label.label == Said::False)
        };
        let no_true = labels.iter().all(|label| label.label == Said::False);
        let each = !recorded.is_empty() && recorded.iter().all(|rule| is_false(rule));
        let clean = no_true && (is_false(ANY_RULE) || each);
        Self { labels, clean }
    }

    fn of(&self, rule: &str) -> Option<Said> {
        let own = self.labels.iter().find(|label| label.rule == rule).map(|label| label.label);
        own.or(self.clean.then_some(Said::False))
    }

    /// Whether a finding that was not recorded is a mistake; `None` when nobody said.
    pub(crate) fn newly(&self, rule: &str) -> Option<What> {
        match self.of(rule)? {
            Said::False => Some(What::NewlyCaughtOnClean),
            _ => None,
        }
    }
}

impl LabelReport {
    /// Takes in a row.
    pub(crate) fn row(&mut self, row: &OfRow<'_>) {
        self.rows += u64::from(!row.labels.is_empty());
        self.clean_rows += u64::from(row.clean);
    }

    /// Takes in the findings of one rule on that row: how many there were, and are.
    pub(crate) fn rule(&mut self, row: &OfRow<'_>, rule: &str, was: usize, now: usize) {
        let Some(said) = row.of(rule) else { return };
        let new = now.saturating_sub(was) as u64;
        let known = self.rules.len();
        if known >= MAX_RULES && !self.rules.contains_key(rule) {
            return;
        }
        let of = self.rules.entry(rule.to_owned()).or_default();
        let (was, now) = (u64::from(was > 0), u64::from(now > 0));
        match said {
            Said::True => {
                of.true_positives += was;
                of.true_now += now;
                self.new_true_positives += new;
            }
            Said::False | Said::Removed => {
                of.false_positives += was;
                of.false_now += now;
                self.new_false_positives += new;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(all: &[(i64, &str, Said)]) -> (tempfile::TempDir, Labels) {
        let dir = tempfile::tempdir().unwrap();
        let label = |(seq, rule, label): &(i64, &str, Said)| Label {
            writer_id: "w".to_owned(),
            seq: *seq,
            rule: (*rule).to_owned(),
            label: *label,
            reason: String::new(),
            by: String::new(),
            at_us: 0,
        };
        let all: Vec<Label> = all.iter().map(label).collect();
        capture::labels::append(dir.path(), &all).unwrap();
        let read = Labels::read(dir.path()).unwrap();
        (dir, read)
    }

    #[test]
    fn a_row_is_clean_when_all_of_it_was_said_to_be_no_harm() {
        use Said::{False, True};
        for (said, recorded, clean) in [
            (&[(1, "*", False)][..], &[][..], true),
            (&[(1, "*", False)], &["a.b"], true),
            (&[(1, "a.b", False)], &["a.b", "a.b"], true),
            (&[(1, "a.b", False)], &["a.b", "c.d"], false),
            (&[(1, "a.b", False), (1, "c.d", True)], &["a.b", "c.d"], false),
            (&[(1, "*", False), (1, "a.b", True)], &["a.b"], false),
            (&[(2, "*", False)], &[], false),
            (&[], &["a.b"], false),
        ] {
            let (_dir, labels) = labels(said);
            assert_eq!(OfRow::new(&labels, "w", 1, recorded).clean, clean, "{said:?} {recorded:?}");
        }
    }

    #[test]
    fn precision_counts_rows_then_and_now() {
        let (_dir, labels) = labels(&[
            (1, "a.b", Said::True),
            (2, "a.b", Said::False),
            (3, "*", Said::False),
            (4, "a.b", Said::True),
        ]);
        let mut report = LabelReport::default();
        for (seq, recorded, was, now) in [
            (1, &["a.b"][..], 1, 2),
            (2, &["a.b"], 1, 0),
            (3, &[], 0, 1),
            (4, &["a.b"], 1, 1),
            (5, &[], 0, 1),
        ] {
            let row = OfRow::new(&labels, "w", seq, recorded);
            report.row(&row);
            report.rule(&row, "a.b", was, now);
        }
        let of = report.rules["a.b"];
        assert_eq!(
            (of.true_positives, of.false_positives, of.true_now, of.false_now),
            (2, 1, 2, 1)
        );
        assert_eq!((of.precision(), of.precision_now()), (Some(667), Some(667)));
        assert_eq!((report.new_false_positives, report.new_true_positives), (1, 1));
        assert_eq!((report.rows, report.clean_rows), (4, 2));
        assert_eq!(Labelled::default().precision(), None);
    }
}
