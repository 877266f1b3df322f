//! Labels: what people said of findings, kept beside the rows as `labels.jsonl`, one JSON object a line.
//!
//! A file of its own because rows never change. Lines are only ever added, whole and under a lock; of two about the same
//! finding the later counts. The recorder and retention leave the file alone.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{BufRead, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{CaptureError, Location};

/// The file's name inside a capture folder.
pub const LABELS: &str = "labels.jsonl";
/// In place of a rule: the whole message.
pub const ANY_RULE: &str = "*";
/// Bytes of one line at most.
const MAX_LINE: usize = 8 << 10;
/// Bytes of the file at most.
const MAX_BYTES: u64 = 64 << 20;
/// Broken lines told at most; all are counted.
const MAX_BROKEN: usize = 100;

/// What somebody said of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Who wrote the row.
    pub writer_id: String,
    /// The row's number within its writer.
    pub seq: i64,
    /// The rule that found something there, or [`ANY_RULE`].
    pub rule: String,
    /// What was said.
    pub label: Said,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who said it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// When, in microseconds since 1970; RFC 3339 in the file.
    #[serde(rename = "at", with = "time")]
    pub at_us: i64,
}

/// What was said of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    /// It is what the rule looks for.
    True,
    /// It is no harm.
    False,
    /// What was said before is taken back.
    Removed,
}

impl Said {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Said::True => "true",
            Said::False => "false",
            Said::Removed => "removed",
        }
    }
}

/// The labels of a capture, as they stand now.
#[derive(Debug, Default)]
pub struct Labels {
    labels: BTreeMap<(String, i64, String), Label>,
    broken: Vec<CaptureError>,
    broken_lines: u64,
}

impl Labels {
    /// Reads the labels of a capture folder; none when nobody labelled anything.
    ///
    /// # Errors
    /// The file cannot be read or is too large. Lines that are no labels are passed over: see [`Labels::broken`].
    pub fn read(dir: impl Into<Location>) -> Result<Labels, CaptureError> {
        let location = dir.into().join(LABELS);
        let path = PathBuf::from(location.to_string());
        let Some(bytes) = location.read(MAX_BYTES)? else {
            return Ok(Labels::default());
        };
        let mut labels = Labels::default();
        let mut input = bytes.as_slice();
        for number in 1.. {
            let mut line = Vec::new();
            let read = input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line);
            if read.map_err(CaptureError::io("read", &path))? == 0 {
                break;
            }
            if line.len() > MAX_LINE {
                skip_line(&mut input).map_err(CaptureError::io("read", &path))?;
                labels.bad(&path, number, format!("longer than {MAX_LINE} bytes"));
            } else if !line.trim_ascii().is_empty() {
                match serde_json::from_slice::<Label>(&line) {
                    Ok(label) => labels.add(label),
                    Err(error) => labels.bad(&path, number, error.to_string()),
                }
            }
        }
        Ok(labels)
    }

    fn add(&mut self, label: Label) {
        let key = (label.writer_id.clone(), label.seq, label.rule.clone());
        match label.label {
            Said::Removed => self.labels.remove(&key),
            Said::True | Said::False => self.labels.insert(key, label),
        };
    }

    fn bad(&mut self, path: &Path, line: u64, detail: String) {
        self.broken_lines += 1;
        if self.broken.len() < MAX_BROKEN {
            self.broken.push(CaptureError::BadLabel { path: path.to_owned(), line, detail });
        }
    }

    /// The label of a rule's finding on a row, if there is one.
    pub fn get(&self, writer_id: &str, seq: i64, rule: &str) -> Option<&Label> {
        self.labels.get(&(writer_id.to_owned(), seq, rule.to_owned()))
    }

    /// The labels of one row, by rule.
    pub fn of_row(&self, writer_id: &str, seq: i64) -> impl Iterator<Item = &Label> {
        let first = (writer_id.to_owned(), seq, String::new());
        let row = move |label: &&Label| label.seq == seq && label.writer_id == first.0;
        let from = (writer_id.to_owned(), seq, String::new());
        self.labels.range(from..).map(|(_, label)| label).take_while(row)
    }

    /// All of them, by writer, row and rule.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.labels.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The first lines that are no labels, and how many there are in all.
    pub fn broken(&self) -> (&[CaptureError], u64) {
        (&self.broken, self.broken_lines)
    }
}

/// Reads on to the end of the line.
fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |at| at + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// Adds labels to a capture folder: all of them, or none.
///
/// # Errors
/// A label does not fit a line, the file would grow too large, or the disk.
pub fn append(dir: impl AsRef<Path>, labels: &[Label]) -> Result<(), CaptureError> {
    let path = dir.as_ref().join(LABELS);
    let mut lines = Vec::new();
    for label in labels {
        let from = lines.len();
        let encoded = serde_json::to_writer(&mut lines, label);
        encoded.map_err(|error| CaptureError::Encode { detail: error.to_string() })?;
        lines.push(b'\n');
        if lines.len() - from > MAX_LINE {
            return Err(CaptureError::TooLarge { path, limit: MAX_LINE as u64 });
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    let options = options.read(true).append(true).create(true).mode(0o600);
    let mut file = options.open(&path).map_err(CaptureError::io("open", &path))?;
    file.lock().map_err(CaptureError::io("lock", &path))?;
    let len = file.metadata().map_err(CaptureError::io("read", &path))?.len();
    // a line that a crash cut short must not swallow the next one
    let mut last = [b'\n'];
    if len > 0 {
        file.read_exact_at(&mut last, len - 1).map_err(CaptureError::io("read", &path))?;
    }
    if last != [b'\n'] {
        lines.insert(0, b'\n');
    }
    if len + lines.len() as u64 > MAX_BYTES {
        return Err(CaptureError::TooLarge { path, limit: MAX_BYTES });
    }
    let written = file.write_all(&lines).and_then(|()| file.sync_data());
    if let Err(error) = written {
        // all or nothing; if this fails too, the reader tells of a broken line
        let _ = file.set_len(len);
        return Err(CaptureError::io("write", &path)(error));
    }
    Ok(())
}

/// Microseconds since 1970 as RFC 3339.
mod time {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(us: &i64, out: S) -> Result<S::Ok, S::Error> {
        let time = jiff::Timestamp::from_microsecond(*us).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        out.serialize_str(&format!("{time:.0}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        let text = String::deserialize(from)?;
        let time = text.parse::<jiff::Timestamp>();
        time.map(jiff::Timestamp::as_microsecond).map_err(|_| D::Error::custom("`at` is no time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn label(seq: i64, rule: &str, said: Said) -> Label {
        Label {
            writer_id: "w".to_owned(),
            seq,
            rule: rule.to_owned(),
            label: said,
            reason: "because".to_owned(),
            by: "ann".to_owned(),
            at_us: 1_795_338_000_000_000,
        }
    }

    #[test]
    fn later_lines_win_and_the_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Labels::read(dir.path()).unwrap().is_empty());
        append(dir.path(), &[label(1, "a.b", Said::True), label(2, "a.b", Said::True)]).unwrap();
        append(dir.path(), &[label(1, "a.b", Said::False)]).unwrap();
        append(dir.path(), &[label(2, "a.b", Said::Removed)]).unwrap();
        append(dir.path(), &[label(1, "*", Said::False), label(10, "c.d", Said::True)]).unwrap();
        append(dir.path(), &[]).unwrap();
        let labels = Labels::read(dir.path()).unwrap();
        let all: Vec<_> = labels.iter().map(|l| (l.seq, l.rule.as_str(), l.label)).collect();
        assert_eq!(all, [(1, "*", Said::False), (1, "a.b", Said::False), (10, "c.d", Said::True)]);
        assert_eq!(labels.of_row("w", 1).count(), 2);
        assert_eq!(labels.of_row("v", 1).count() + labels.of_row("w", 2).count(), 0);
        assert_eq!(labels.get("w", 10, "c.d"), Some(&label(10, "c.d", Said::True)));
        assert_eq!(labels.broken().1, 0);
        let file = std::fs::metadata(dir.path().join(LABELS)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn broken_lines_are_told_by_their_number_and_hide_no_other() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), &[label(1, "a.b", Said::True)]).unwrap();
        let path = dir.path().join(LABELS);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str(&format!("{}\n", "x".repeat(3 * MAX_LINE)));
        text.push_str("\n{\"writer_id\":\"w\",\"seq\":1}\n{\"writer_id\":\"w\",\"se");
        std::fs::write(&path, text).unwrap();
        append(dir.path(), &[label(2, "a.b", Said::True)]).unwrap();
        let labels = Labels::read(dir.path()).unwrap();
        assert_eq!(labels.len(), 2);
        let (broken, count) = labels.broken();
        let told: Vec<String> = broken.iter().map(ToString::to_string).collect();
        assert_eq!(count, 3, "{told:?}");
        for (line, told) in [2, 4, 5].into_iter().zip(&told) {
            assert!(told.contains(&format!("labels.jsonl:{line}: ")), "{told}");
        }
    }

    #[test]
    fn a_label_too_long_for_a_line_is_refused_and_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let long = Label { reason: "x".repeat(MAX_LINE), ..label(1, "a.b", Said::True) };
        let refused = append(dir.path(), &[label(1, "a.b", Said::True), long]);
        assert!(matches!(refused, Err(CaptureError::TooLarge { .. })));
        assert!(Labels::read(dir.path()).unwrap().is_empty());
    }
}
