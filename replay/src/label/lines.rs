//! Labels from a file: one JSON object a line, every mistake told with its line.

use std::io::Read as _;
use std::path::Path;

use capture::{Label, Said};
use serde::Deserialize;

use crate::error::Error;

/// Bytes of one file of labels at most.
const MAX_BYTES: u64 = 64 << 20;
/// Mistakes told at once.
const MAX_ERRORS: usize = 20;

/// A label as written. Who and when may be written too, as `label list --json` prints them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    writer_id: String,
    seq: i64,
    rule: String,
    label: Said,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    by: Option<String>,
    /// Told by the list, and new here.
    #[serde(default, rename = "at")]
    _at: Option<String>,
}

/// The labels of a file, or every mistake in it.
pub(super) fn read(path: &Path, by: &str, at_us: i64) -> Result<Vec<Label>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    }
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::Usage(format!("{} is larger than 64 MiB", path.display())));
    }
    let (mut labels, mut errors) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str::<Line>(line) {
            Ok(line) => labels.push(Label {
                writer_id: line.writer_id,
                seq: line.seq,
                rule: line.rule,
                label: line.label,
                reason: line.reason,
                by: line.by.unwrap_or_else(|| by.to_owned()),
                at_us,
            }),
            Err(error) => errors.push(format!("{}:{number}: {error}", path.display())),
        }
    }
    match errors.is_empty() {
        true => Ok(labels),
        false => {
            errors.truncate(MAX_ERRORS);
            Err(Error::Usage(errors.join("\n")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_labels_with_the_time_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.jsonl");
        let lines = "{\"writer_id\":\"w\",\"seq\":1,\"rule\":\"a.b\",\"label\":\"true\"}\n\n{\"writer_id\":\"w\",\"seq\":2,\"rule\":\"*\",\"label\":\"false\",\"reason\":\"r\",\"by\":\"bob\"}\n";
        std::fs::write(&path, lines).unwrap();
        let labels = read(&path, "ann", 7).unwrap();
        assert_eq!(
            (labels[0].label, labels[0].by.as_str(), labels[0].at_us),
            (Said::True, "ann", 7)
        );
        assert_eq!(
            (labels[1].label, labels[1].by.as_str(), labels[1].seq),
            (Said::False, "bob", 2)
        );
    }

    #[test]
    fn every_broken_line_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.jsonl");
        std::fs::write(
            &path,
            "{}\n{\"writer_id\":\"w\",\"seq\":1,\"rule\":\"a.b\",\"label\":\"true\"}\nx\n",
        )
        .unwrap();
        let Err(Error::Usage(told)) = read(&path, "ann", 7) else { panic!("it was read") };
        assert!(told.contains("in.jsonl:1: ") && told.contains("in.jsonl:3: "), "{told}");
    }
}
