//! The report as text for a terminal. JSON comes from the report's own `Serialize`.

use std::fmt::{self, Write as _};

use crate::report::{ActionChange, Report, Sample};
use crate::text::{Align, Table, visible};

impl Report {
    /// The report in words and tables; tables fit `width` cells where a width is given.
    ///
    /// Everything that came out of the capture is made visible first: no control character of a
    /// hostile name reaches the terminal.
    #[must_use]
    pub fn render(&self, width: Option<usize>) -> String {
        let mut out = String::new();
        self.summary(&mut out);
        self.rule_table(&mut out, width);
        self.label_table(&mut out, width);
        action_table(&mut out, "action", &self.actions, width);
        // Usually the same; they part under `audit`.
        if self.would_be != self.actions {
            action_table(&mut out, "asked for", &self.would_be, width);
        }
        sample_table(&mut out, &self.samples, width);
        self.conclusion(&mut out);
        out
    }

    fn summary(&self, out: &mut String) {
        let with = &self.judged_with;
        let _ = write!(out, "rules      {}", visible(&with.rules));
        if let Some(title) = &with.title {
            let _ = write!(out, " ({})", visible(title));
        }
        if !with.without.is_empty() {
            let _ = write!(out, ", without {}", visible(&with.without.join(", ")));
        }
        if let Some(beside) = &with.beside {
            let _ = write!(out, "\nbeside     {}", visible(beside));
        }
        let unsaid = if with.beside.is_some() { "as given" } else { "as recorded" };
        let preset = with.preset.as_deref().unwrap_or(unsaid);
        let paranoia = with.paranoia.map_or(unsaid.to_owned(), |p| p.to_string());
        let _ = writeln!(out, "\npolicy     preset {preset}, paranoia {paranoia}");
        let _ = writeln!(
            out,
            "rows       {} read, {} judged ({} with a redacted body), {} not judged",
            self.rows,
            self.judged,
            self.judged_redacted,
            self.unjudged.total()
        );
        for (digest, title) in &with.recorded_titles {
            let _ = writeln!(out, "recorded   {} ({})", visible(digest), visible(title));
        }
        for (reason, rows) in self.unjudged.by_reason() {
            if rows > 0 {
                let _ = writeln!(out, "           {rows} {reason}");
            }
        }
        for text in &self.error_texts {
            let _ = writeln!(out, "error      {}", visible(text));
        }
        if self.errors > self.error_texts.len() as u64 {
            let _ = writeln!(out, "error      {} errors in all", self.errors);
        }
    }

    fn rule_table(&self, out: &mut String, width: Option<usize>) {
        if self.rules.is_empty() {
            return;
        }
        let right = Align::Right;
        let mut table = Table::new(&[
            ("rule", Align::Left),
            (if self.judged_with.beside.is_some() { "before" } else { "recorded" }, right),
            ("now", right),
            ("newly caught", right),
            ("newly missed", right),
        ])
        .firm("rule");
        for (id, diff) in &self.rules {
            table.push([
                id.clone(),
                diff.recorded.to_string(),
                diff.now.to_string(),
                signed('+', diff.newly_caught),
                signed('-', diff.newly_missed),
            ]);
        }
        table.push([
            "all".to_owned(),
            self.total(|d| d.recorded).to_string(),
            self.total(|d| d.now).to_string(),
            signed('+', self.total(|d| d.newly_caught)),
            signed('-', self.total(|d| d.newly_missed)),
        ]);
        let _ = write!(out, "\n{}", table.render(width));
    }

    fn label_table(&self, out: &mut String, width: Option<usize>) {
        let Some(labelled) = &self.labelled else { return };
        let _ = writeln!(
            out,
            "\nlabels     {}, on {} judged rows, {} of them clean",
            labelled.labels, labelled.rows, labelled.clean_rows
        );
        let _ = writeln!(
            out,
            "           new false positives {}, newly caught and labelled true {}",
            labelled.new_false_positives, labelled.new_true_positives
        );
        if labelled.rules.is_empty() {
            return;
        }
        let right = Align::Right;
        let mut table = Table::new(&[
            ("labelled rows", Align::Left),
            ("true", right),
            ("false", right),
            ("precision", right),
            ("true now", right),
            ("false now", right),
            ("precision now", right),
        ])
        .firm("labelled rows");
        let share = |share: Option<u64>| match share {
            None => String::new(),
            Some(n) => format!("{}.{:03}", n / 1000, n % 1000),
        };
        for (id, of) in &labelled.rules {
            table.push([
                id.clone(),
                of.true_positives.to_string(),
                of.false_positives.to_string(),
                share(of.precision()),
                of.true_now.to_string(),
                of.false_now.to_string(),
                share(of.precision_now()),
            ]);
        }
        let _ = write!(out, "\n{}", table.render(width));
    }

    fn conclusion(&self, out: &mut String) {
        let taken_over = self.total(|d| d.now_from_redactions);
        if taken_over > 0 {
            let _ = writeln!(
                out,
                "\nnote: {taken_over} findings stand in redacted text and were taken from the record; \
                 a changed pattern cannot be tried on them"
            );
        }
        let verdict = if self.differs() {
            format!("{} of {} judged rows differ", self.differing, self.judged)
        } else {
            format!("no difference in {} judged rows", self.judged)
        };
        let blocked = match self.newly_blocked {
            Some(rows) if rows > 0 => format!(", {rows} of them newly blocked"),
            _ => String::new(),
        };
        let _ = writeln!(out, "\n{verdict}{blocked}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(None))
    }
}

/// A difference with its sign; nothing for none, so that differences stand out.
fn signed(sign: char, n: u64) -> String {
    if n == 0 { String::new() } else { format!("{sign}{n}") }
}

fn action_table(out: &mut String, title: &str, changes: &[ActionChange], width: Option<usize>) {
    if changes.is_empty() {
        return;
    }
    let mut table =
        Table::new(&[(title, Align::Left), ("now", Align::Left), ("rows", Align::Right)]);
    for change in changes {
        table.push([&change.from, &change.to, &change.rows.to_string()]);
    }
    let _ = write!(out, "\n{}", table.render(width));
}

fn sample_table(out: &mut String, samples: &[Sample], width: Option<usize>) {
    if samples.is_empty() {
        return;
    }
    let mut table = Table::new(&[
        ("what", Align::Left),
        ("rule", Align::Left),
        ("server", Align::Left),
        ("name", Align::Left),
        ("direction", Align::Left),
        ("path", Align::Left),
        ("seq", Align::Right),
        ("writer", Align::Left),
    ]);
    for sample in samples {
        let name = sample.name.as_deref().or(sample.method.as_deref());
        table.push([
            sample.what.as_str(),
            &sample.rule,
            sample.server.as_deref().unwrap_or_default(),
            name.unwrap_or_default(),
            sample.direction.as_deref().unwrap_or_default(),
            sample.path.as_deref().unwrap_or("?"),
            &sample.seq.to_string(),
            &sample.writer_id,
        ]);
    }
    let _ = write!(out, "\n{}", table.render(width));
}
