//! The manifest of a writer: what it states about its files, entry by entry, each chained to the one before and signed.
//!
//! `manifest/<writer>.jsonl` is only ever appended to. A line is `{"entry":{…},"key":"…","sig":"…"}`: the signature
//! (Ed25519, base64) is over the bytes of `entry`, the key is the public one. Without a signer it is `{"entry":{…}}`.
//! The format in full, and what it proves, stands in `TRUST.md`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::disk::{FileName, JOURNAL};
use crate::layout::{Files, list};
use crate::seal::{hex, sha256};
use crate::signer::Signer;
use crate::{CaptureError, SCHEMA_VERSION, disk};

/// The folder of the manifests inside a capture.
pub(crate) const MANIFEST: &str = "manifest";
/// The longest line that is read; ours are far shorter.
const MAX_LINE: u64 = 1 << 20;
/// Enough of a manifest's end to hold its last line.
const TAIL: u64 = 128 << 10;
/// Files that an entry names at most.
const MAX_NAMES: usize = 500;
/// Other manifests that a new one takes note of, newest first.
const MAX_PEERS: usize = 256;
/// Entries that wait while the disk refuses them.
const MAX_BACKLOG: usize = 10_000;

/// What an entry states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum What {
    /// A writer begins.
    Begin(Begin),
    /// A file is there.
    File(FileEntry),
    /// So far the writer has got.
    Checkpoint(Checkpoint),
    /// A file, of this writer or another, is taken away.
    Removed(Removed),
    /// Files that were in the folder before there was any manifest.
    Older(Older),
    /// Rows that had a number already are lost.
    Lost(Lost),
    /// A writer is done.
    End(End),
}

/// The first entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) writer: String,
    /// The version of the program.
    pub(crate) version: String,
    pub(crate) schema_version: i32,
    /// The verb that made a capture out of others; none for a recorder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) made_by: Option<String>,
    /// How that verb was asked to; never content of a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) how: Option<String>,
    /// Of recorders: the manifests in the folder. Of a derived capture: those it was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) seen: Vec<Head>,
}

/// How far a manifest reached when somebody looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Whose manifest.
    pub writer: String,
    /// Its entries, counted from 0: the number of the last.
    pub n: u64,
    /// The SHA-256 of that entry's line.
    pub head: String,
}

/// A finished file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    /// Below the capture folder.
    pub(crate) path: String,
    pub(crate) first_seq: i64,
    pub(crate) last_seq: i64,
    pub(crate) rows: u64,
    pub(crate) gaps: u64,
    pub(crate) dropped: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) rows_head: String,
    pub(crate) bodies_root: String,
}

/// Rows up to here were in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// The file these rows will be in begins with this number.
    pub(crate) first_seq: i64,
    pub(crate) last_seq: i64,
    pub(crate) rows_head: String,
    pub(crate) enqueued: u64,
    pub(crate) written: u64,
    pub(crate) dropped: u64,
}

/// A file that is no more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Removed {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<i64>,
    pub(crate) reason: String,
}

/// Files of which only the names can be told: nobody stated what is in them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Older {
    pub(crate) paths: Vec<String>,
}

/// Rows that no file will hold; a gap row counts them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lost {
    pub(crate) first_seq: i64,
    pub(crate) last_seq: i64,
}

/// The last entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct End {
    /// The number of the writer's last row in a file.
    pub(crate) last_seq: i64,
    /// Another process wrote this, after a crash.
    pub(crate) recovered: bool,
}

/// An entry with its place in the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) n: u64,
    /// Microseconds since 1970.
    pub(crate) at: i64,
    /// The SHA-256 of the line before, or 64 zeros.
    pub(crate) prev: String,
    #[serde(flatten)]
    pub(crate) what: What,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    entry: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sig: Option<String>,
}

/// A line as it was read.
#[derive(Debug)]
pub(crate) struct ReadLine {
    pub(crate) entry: Entry,
    /// The SHA-256 of the line.
    pub(crate) head: String,
    line: Line,
}

impl ReadLine {
    /// Checks the signature, which takes longer than everything else about a line.
    pub(crate) fn signed(&self) -> Signed {
        let Line { entry, key, sig } = &self.line;
        match (key, sig) {
            (None, None) => Signed::No,
            (Some(key), Some(sig)) => crate::signer::check(key, sig, entry.get().as_bytes())
                .map_or(Signed::Wrong, Signed::By),
            _ => Signed::Wrong,
        }
    }
}

/// What a line's signature is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// There is none.
    No,
    /// By the key of this id.
    By(String),
    /// It does not fit.
    Wrong,
}

/// The end of a manifest that is being written. The file appears with its first entry.
#[derive(Debug)]
pub(crate) struct Manifest {
    path: PathBuf,
    dir: PathBuf,
    writer: String,
    signer: Option<Arc<Signer>>,
    /// The number of the next entry, and the hash of the last line.
    next: u64,
    prev: String,
    /// Bytes of whole lines.
    len: u64,
    /// First and last row of each file in it.
    files: BTreeMap<i64, i64>,
    ended: bool,
    last_sha256: String,
    backlog: Vec<What>,
}

impl Manifest {
    /// The manifest of this writer in the capture `dir`: as far as it goes, or none yet.
    pub(crate) fn open(
        dir: &Path,
        writer: &str,
        signer: Option<Arc<Signer>>,
    ) -> Result<Manifest, CaptureError> {
        let path = dir.join(MANIFEST).join(format!("{writer}.jsonl"));
        let mut manifest = Manifest {
            path,
            dir: dir.to_owned(),
            writer: writer.to_owned(),
            signer,
            next: 0,
            prev: ZERO.to_owned(),
            len: 0,
            files: BTreeMap::new(),
            ended: false,
            last_sha256: ZERO.to_owned(),
            backlog: Vec::new(),
        };
        if let Some(mut lines) = Lines::open(&manifest.path)? {
            // a torn last line is what a crash leaves; anything else is for `verify` to find
            while let Ok(Some(line)) = lines.next_line() {
                manifest.next = line.entry.n + 1;
                manifest.prev = line.head;
                manifest.len = lines.whole;
                manifest.note(&line.entry.what);
            }
        }
        Ok(manifest)
    }

    fn note(&mut self, what: &What) {
        match what {
            What::File(file) => {
                self.files.insert(file.first_seq, file.last_seq);
                self.last_sha256.clone_from(&file.sha256);
            }
            What::End(_) => self.ended = true,
            _ => {}
        }
    }

    /// The last row of the file that begins with this one, if it is in here.
    pub(crate) fn finished(&self, first_seq: i64) -> Option<i64> {
        self.files.get(&first_seq).copied()
    }

    /// Whose it is.
    pub(crate) fn writer(&self) -> &str {
        &self.writer
    }

    /// The hash of the file stated last.
    pub(crate) fn last_sha256(&self) -> &str {
        &self.last_sha256
    }

    /// The signer's id.
    pub(crate) fn key_id(&self) -> Option<String> {
        self.signer.as_ref().map(|signer| signer.id())
    }

    /// Appends an entry, durably. Before the first, the folder is looked over and the writer begins.
    ///
    /// # Errors
    /// The disk's. Nothing of the entry is left behind then.
    pub(crate) fn append(&mut self, what: What) -> Result<(), CaptureError> {
        if self.next == 0 {
            let seen = heads(&self.dir, &self.writer)?;
            let older = if seen.is_empty() { older(&self.dir, &self.writer)? } else { Vec::new() };
            let begin = Begin {
                writer: self.writer.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                schema_version: SCHEMA_VERSION,
                made_by: None,
                how: None,
                seen,
            };
            self.write(&What::Begin(begin))?;
            for paths in older.chunks(MAX_NAMES) {
                self.write(&What::Older(Older { paths: paths.to_vec() }))?;
            }
        }
        while let Some(late) = self.backlog.first().cloned() {
            self.write(&late)?;
            self.backlog.remove(0);
        }
        self.write(&what)
    }

    /// Begins the manifest of a derived capture, made from captures whose manifests went so far.
    pub(crate) fn begin(
        &mut self,
        made_by: &str,
        how: Option<String>,
        seen: Vec<Head>,
    ) -> Result<(), CaptureError> {
        self.write(&What::Begin(Begin {
            writer: self.writer.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema_version: SCHEMA_VERSION,
            made_by: Some(made_by.to_owned()),
            how,
            seen,
        }))
    }

    /// As [`Manifest::append`]; where the disk refuses it, the entry goes out with the next one.
    pub(crate) fn append_or_keep(&mut self, what: What) -> Result<(), CaptureError> {
        let kept = what.clone();
        self.append(what).inspect_err(|_| {
            if self.backlog.len() < MAX_BACKLOG {
                self.backlog.push(kept);
            }
        })
    }

    /// The last entry, unless there is nothing to end.
    pub(crate) fn end(&mut self, recovered: bool) -> Result<(), CaptureError> {
        if self.ended || (self.next == 0 && self.backlog.is_empty()) {
            return Ok(());
        }
        let last_seq = self.files.values().copied().max().unwrap_or(0);
        self.append(What::End(End { last_seq, recovered }))
    }

    fn write(&mut self, what: &What) -> Result<(), CaptureError> {
        let failed = |action| CaptureError::io(action, &self.path);
        let entry = Entry {
            n: self.next,
            at: jiff::Timestamp::now().as_microsecond(),
            prev: self.prev.clone(),
            what: what.clone(),
        };
        let encode = |error: serde_json::Error| CaptureError::Encode { detail: error.to_string() };
        let entry = serde_json::value::to_raw_value(&entry).map_err(encode)?;
        let signer = self.signer.as_ref();
        let line = Line {
            key: signer.map(|signer| signer.public()),
            sig: signer.map(|signer| signer.sign(entry.get().as_bytes())),
            entry,
        };
        let mut line = serde_json::to_vec(&line).map_err(encode)?;
        let head = hex(&sha256(&line));
        line.push(b'\n');
        let folder = self.dir.join(MANIFEST);
        disk::create_dir(&folder).map_err(CaptureError::io("create", &folder))?;
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)
            .map_err(failed("open"))?;
        let there = file.metadata().map_err(failed("open"))?.len();
        if there < self.len {
            // somebody took it away or cut it: the chain goes on, and `verify` tells of the hole
            tracing::error!(path = %self.path.display(), "entries of the capture's manifest are gone");
            self.len = there;
        }
        // cuts off what a crash or a full disk left of a line
        let written = file
            .set_len(self.len)
            .and_then(|()| file.seek(SeekFrom::Start(self.len)))
            .and_then(|_| file.write_all(&line))
            .and_then(|()| file.sync_data());
        if let Err(error) = written {
            let _ = file.set_len(self.len);
            return Err(failed("write")(error));
        }
        if self.len == 0 {
            disk::sync_dir(&folder).map_err(CaptureError::io("sync", &folder))?;
        }
        self.len += line.len() as u64;
        self.next += 1;
        self.prev = head;
        self.note(what);
        tracing::debug!(writer = self.writer, n = self.next - 1, head = self.prev, "manifest");
        Ok(())
    }

    /// How far it goes; none while it is empty.
    pub(crate) fn head(&self) -> Option<Head> {
        let n = self.next.checked_sub(1)?;
        Some(Head { writer: self.writer.clone(), n, head: self.prev.clone() })
    }
}

const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What the first line's `prev` holds.
pub(crate) fn zero() -> &'static str {
    ZERO
}

/// The manifests of a capture: whose, and where.
pub(crate) fn all(dir: &Path) -> Result<Vec<(String, PathBuf)>, CaptureError> {
    let paths = list(&dir.join(MANIFEST), |name| name.ends_with(".jsonl"))?;
    let named = paths.into_iter().filter_map(|path| {
        let writer = path.file_stem()?.to_str()?.to_owned();
        Some((writer, path))
    });
    Ok(named.collect())
}

/// How far the other manifests go, the newest writers first.
pub(crate) fn heads(dir: &Path, own: &str) -> Result<Vec<Head>, CaptureError> {
    let others = all(dir)?.into_iter().rev().filter(|(writer, _)| writer != own);
    let heads = others.take(MAX_PEERS).map(|(writer, path)| {
        let Some((n, head)) = last_line(&path)? else { return Ok(None) };
        Ok(Some(Head { writer, n, head }))
    });
    heads.filter_map(Result::transpose).collect()
}

/// Number and hash of a manifest's last whole line, read from its end: manifests grow, and each start looks at all.
fn last_line(path: &Path) -> Result<Option<(u64, String)>, CaptureError> {
    let failed = |action| CaptureError::io(action, path);
    let mut file = File::open(path).map_err(failed("open"))?;
    let len = file.metadata().map_err(failed("open"))?.len();
    let from = len.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from)).map_err(failed("read"))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).map_err(failed("read"))?;
    let mut lines = bytes.rsplit(|byte| *byte == b'\n');
    // what follows the last line's end: nothing, or a line in the making
    lines.next();
    let Some(text) = lines.next() else { return Ok(None) };
    let entry = serde_json::from_slice::<Line>(text)
        .and_then(|line| serde_json::from_str::<Entry>(line.entry.get()));
    Ok(entry.ok().map(|entry| (entry.n, hex(&sha256(text)))))
}

/// Finished files in a folder without manifests. Those of writers at work, or waiting for a recovery, will be stated.
fn older(dir: &Path, own: &str) -> Result<Vec<String>, CaptureError> {
    let mut older = Vec::new();
    for file in Files::below(dir)? {
        let file = file?;
        let name = file.file_name().and_then(|name| FileName::parse(name.to_str()?));
        let awaited = |writer: &str| writer == own || dir.join(JOURNAL).join(writer).is_dir();
        if !name.is_some_and(|name| awaited(&name.writer)) {
            older.push(below(dir, &file));
        }
    }
    Ok(older)
}

/// A file's path as manifests name it.
pub(crate) fn below(dir: &Path, file: &Path) -> String {
    file.strip_prefix(dir).unwrap_or(file).to_string_lossy().into_owned()
}

/// A manifest's lines, one at a time.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    input: BufReader<File>,
    buffer: Vec<u8>,
    number: u64,
    /// Bytes of the whole lines read.
    pub(crate) whole: u64,
}

impl Lines {
    /// `None` if there is no such file.
    pub(crate) fn open(path: &Path) -> Result<Option<Lines>, CaptureError> {
        match File::open(path) {
            Ok(file) => Ok(Some(Lines {
                path: path.to_owned(),
                input: BufReader::new(file),
                buffer: Vec::new(),
                number: 0,
                whole: 0,
            })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CaptureError::io("open", path)(error)),
        }
    }

    /// The next line; an error where it is torn, too long or none of ours.
    pub(crate) fn next_line(&mut self) -> Result<Option<ReadLine>, CaptureError> {
        self.buffer.clear();
        self.number += 1;
        let read = self.input.by_ref().take(MAX_LINE).read_until(b'\n', &mut self.buffer);
        if read.map_err(CaptureError::io("read", &self.path))? == 0 {
            return Ok(None);
        }
        let Some(text) = self.buffer.strip_suffix(b"\n") else {
            return Err(self.bad("the line has no end"));
        };
        let line: Line = serde_json::from_slice(text)
            .map_err(|error| self.bad(&format!("not a line of a manifest: {error}")))?;
        let entry: Entry = serde_json::from_str(line.entry.get())
            .map_err(|error| self.bad(&format!("not an entry: {error}")))?;
        self.whole += self.buffer.len() as u64;
        Ok(Some(ReadLine { entry, head: hex(&sha256(text)), line }))
    }

    fn bad(&self, detail: &str) -> CaptureError {
        CaptureError::BadManifest {
            path: self.path.clone(),
            line: self.number,
            detail: detail.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(first_seq: i64) -> What {
        What::File(FileEntry {
            path: format!("date=2025-11-22/hour=23/w1-{first_seq}.parquet"),
            first_seq,
            last_seq: first_seq + 9,
            rows: 10,
            gaps: 0,
            dropped: 0,
            bytes: 100,
            sha256: "ab".into(),
            rows_head: "cd".into(),
            bodies_root: "ef".into(),
        })
    }

    fn lines(path: &Path) -> Vec<ReadLine> {
        let mut lines = Lines::open(path).unwrap().unwrap();
        std::iter::from_fn(|| lines.next_line().unwrap()).collect()
    }

    #[test]
    fn entries_are_chained_signed_and_continued() {
        let dir = tempfile::tempdir().unwrap();
        let signer = Arc::new(Signer::load_or_create(&dir.path().join("key")).unwrap());
        let mut manifest = Manifest::open(dir.path(), "w1", Some(signer.clone())).unwrap();
        manifest.append(file(1)).unwrap();
        let mut manifest = Manifest::open(dir.path(), "w1", Some(signer.clone())).unwrap();
        assert_eq!(manifest.finished(1), Some(10));
        manifest.append(file(11)).unwrap();
        manifest.end(false).unwrap();
        manifest.end(true).unwrap();
        let lines = lines(&manifest.path);
        assert_eq!(lines.iter().map(|line| line.entry.n).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(lines.iter().all(|line| line.signed() == Signed::By(signer.id())));
        assert_eq!(lines[0].entry.prev, ZERO);
        assert!(lines.windows(2).all(|pair| pair[1].entry.prev == pair[0].head));
        assert!(matches!(lines[3].entry.what, What::End(End { last_seq: 20, recovered: false })));
    }

    #[test]
    fn a_torn_line_is_cut_off_and_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(dir.path(), "w1", None).unwrap();
        manifest.append(file(1)).unwrap();
        let whole = fs::read(&manifest.path).unwrap();
        manifest.append(file(11)).unwrap();
        let both = fs::read(&manifest.path).unwrap();
        for end in whole.len()..both.len() {
            fs::write(&manifest.path, &both[..end]).unwrap();
            let mut again = Manifest::open(dir.path(), "w1", None).unwrap();
            assert_eq!(again.finished(11), None, "cut at {end}");
            again.append(file(11)).unwrap();
            assert_eq!(lines(&manifest.path).len(), 3);
        }
    }

    #[test]
    fn a_writer_takes_note_of_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = Manifest::open(dir.path(), "w1", None).unwrap();
        one.append(file(1)).unwrap();
        let mut two = Manifest::open(dir.path(), "w2", None).unwrap();
        two.append(file(1)).unwrap();
        let first = lines(&two.path).remove(0);
        let What::Begin(begin) = first.entry.what else { panic!("no beginning") };
        assert_eq!(begin.seen, [one.head().unwrap()]);
    }

    #[test]
    fn only_whole_last_lines_are_taken_note_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        let mut one = Manifest::open(dir.path(), "w1", None).unwrap();
        (0..600).for_each(|at| one.append(file(at * 10)).unwrap());
        let text = fs::read(&one.path).unwrap();
        assert!(text.len() as u64 > TAIL);
        let last = one.head().map(|head| (head.n, head.head));
        assert_eq!(last_line(&one.path).unwrap(), last);
        for (bytes, found) in [
            (&b""[..], false),
            (b"{\"entry\":", false),
            (b"\n", false),
            (&text[..20], false),
            (&text[..text.len() - 1], true),
            (&[b'x'; 200 << 10], false),
            (&[&[b'x'; 200 << 10][..], b"\n"].concat(), false),
        ] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(last_line(&path).unwrap().is_some(), found);
        }
    }

    #[test]
    fn a_manifest_that_is_taken_away_goes_on_after_the_hole() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(dir.path(), "w1", None).unwrap();
        manifest.append(file(1)).unwrap();
        fs::remove_dir_all(dir.path().join(MANIFEST)).unwrap();
        manifest.append(file(11)).unwrap();
        let left = lines(&manifest.path);
        assert_eq!((left.len(), left[0].entry.n), (1, 2));
    }

    #[test]
    fn the_first_manifest_names_the_files_that_were_there_before() {
        let dir = tempfile::tempdir().unwrap();
        let hour = dir.path().join("date=2025-11-22/hour=23");
        fs::create_dir_all(&hour).unwrap();
        fs::create_dir_all(dir.path().join("journal/w8")).unwrap();
        for writer in ["w1", "w8", "w9"] {
            let name = format!("{writer}-000000000001-000000000009.parquet");
            fs::write(hour.join(name), "").unwrap();
        }
        for (writer, expected) in [("w1", 1), ("w2", 0)] {
            let mut manifest = Manifest::open(dir.path(), writer, None).unwrap();
            manifest.append(file(1)).unwrap();
            let older =
                lines(&manifest.path).into_iter().filter_map(|line| match line.entry.what {
                    What::Older(older) => Some(older.paths),
                    _ => None,
                });
            let older: Vec<String> = older.flatten().collect();
            assert_eq!(older.len(), expected, "{writer}: {older:?}");
            assert!(older.iter().all(|path| path.contains("w9")));
        }
    }

    #[test]
    fn what_the_disk_refuses_goes_out_later() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(dir.path(), "w1", None).unwrap();
        fs::write(dir.path().join(MANIFEST), "a file in the way").unwrap();
        assert!(manifest.append_or_keep(file(1)).is_err());
        fs::remove_file(dir.path().join(MANIFEST)).unwrap();
        manifest.append(file(11)).unwrap();
        let kinds = lines(&manifest.path).into_iter().map(|line| line.entry.what);
        assert_eq!(kinds.filter(|what| matches!(what, What::File(_))).count(), 2);
    }

    #[test]
    fn a_line_without_end_is_no_memory_hole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        fs::write(&path, vec![b'x'; 3 << 20]).unwrap();
        let mut lines = Lines::open(&path).unwrap().unwrap();
        assert!(matches!(lines.next_line(), Err(CaptureError::BadManifest { line: 1, .. })));
        assert!(lines.buffer.capacity() <= 4 << 20);
    }
}
