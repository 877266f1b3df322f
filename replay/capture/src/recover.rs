//! After a crash: journals of dead writers become Parquet files.
//!
//! Idempotent: a file is named by writer and seq range and appears whole, so a recovery that dies half-way is
//! repeated from the journal, and rows that a finished file holds already are passed over.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::config::RecorderConfig;
use crate::disk::{self, FileName, Home, JOURNAL};
use crate::journal::{Frames, Opened};
use crate::layout::{Files, list};
use crate::manifest::{self, FileEntry, Manifest, What};
use crate::seal::{self, Sums};
use crate::writer::FileWriter;
use crate::{CaptureError, Reader, Record, Str};

/// What a recovery did.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) rows: u64,
    pub(crate) files: u64,
    /// What could not be recovered now; it stays in the journal.
    pub(crate) errors: Vec<CaptureError>,
}

/// Recovers every writer's folder that nobody holds.
pub(crate) fn dead_writers(config: &RecorderConfig) -> Recovered {
    let mut done = Recovered::default();
    let journals = config.dir.join(JOURNAL);
    let homes = match list(&journals, |name| !name.starts_with('.')) {
        Ok(homes) => homes,
        Err(error) => {
            done.errors.push(error);
            return done;
        }
    };
    for path in homes.iter().filter(|path| path.is_dir()) {
        match Home::take_over(path) {
            Ok(None) => {}
            Ok(Some(home)) => {
                let failed = done.errors.len();
                match Manifest::open(&config.dir, &home.writer, config.signer.clone()) {
                    Ok(mut manifest) => {
                        writer(&home, config, None, &mut manifest, &mut done);
                        if done.errors.len() == failed {
                            let ended = state_files(&config.dir, &mut manifest)
                                .and_then(|()| manifest.end(true));
                            done.errors.extend(ended.err());
                        }
                    }
                    Err(error) => done.errors.push(error),
                }
                if done.errors.len() == failed {
                    home.remove();
                }
            }
            // another recovery has just finished with it
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => done.errors.push(CaptureError::io("lock", path)(error)),
        }
    }
    done
}

/// Recovers the segments in one writer's folder, except the one being written.
pub(crate) fn writer(
    home: &Home,
    config: &RecorderConfig,
    live: Option<&Path>,
    manifest: &mut Manifest,
    done: &mut Recovered,
) {
    if live.is_none() {
        drop_unfinished(home);
    }
    let segments = match home.segments() {
        Ok(segments) => segments,
        Err(error) => {
            done.errors.push(CaptureError::io("list", &home.path)(error));
            return;
        }
    };
    for (at, path) in segments.iter().enumerate() {
        if live == Some(path.as_path()) {
            continue;
        }
        // a row that failed in one segment gets its number again in the next
        let end = segments.get(at + 1).and_then(|next| disk::segment_seq(next));
        match segment(home, path, end, config, manifest) {
            Ok((rows, files)) => {
                done.rows += rows;
                done.files += files;
            }
            Err(error) => done.errors.push(error),
        }
    }
}

/// Half-written Parquet files of this writer: the journal has their rows.
fn drop_unfinished(home: &Home) {
    for path in list(&home.path, |name| name.ends_with(".tmp")).unwrap_or_default() {
        let _ = fs::remove_file(path);
    }
}

/// Turns one segment into a file, then deletes it. Memory: a row group and a frame.
fn segment(
    home: &Home,
    path: &Path,
    end: Option<i64>,
    config: &RecorderConfig,
    manifest: &mut Manifest,
) -> Result<(u64, u64), CaptureError> {
    let read = |error| CaptureError::io("read", path)(error);
    let mut frames = match Frames::open(path).map_err(read)? {
        Opened::Segment(frames) => frames,
        Opened::Empty => {
            let _ = fs::remove_file(path);
            return Ok((0, 0));
        }
        Opened::Foreign => {
            // not ours to delete; out of the way of the next start
            let _ = fs::rename(path, path.with_extension("wal.bad"));
            tracing::warn!(path = %path.display(), "not a journal, set aside");
            return Ok((0, 0));
        }
    };
    let writer_id: Str = home.writer.as_str().into();
    let mut file: Option<FileWriter> = None;
    let (mut rows, mut next) = (0, None);
    let mut covered = None;
    while let Some(mut row) = frames.next_row().map_err(read)? {
        // numbers must follow on each other, or this is not what was acknowledged
        if next.is_some_and(|next| next != row.seq) || end.is_some_and(|end| row.seq >= end) {
            break;
        }
        next = row.seq.checked_add(1);
        let covered = *covered.get_or_insert_with(|| finished_until(&config.dir, &row, manifest));
        if covered.is_some_and(|last| row.seq <= last) {
            continue;
        }
        row.writer_id = Some(writer_id.clone());
        let file = match &mut file {
            Some(file) => file,
            None => file.insert(FileWriter::create(&home.path, &writer_id, &row, config)?),
        };
        file.push(row)?;
        rows += 1;
    }
    if frames.torn {
        tracing::info!(path = %path.display(), rows, "journal ends in a torn frame, cut there");
    }
    let files = u64::from(file.is_some());
    if let Some(file) = file {
        let entry = file.finish(&config.dir, manifest)?;
        drop_unstated(&config.dir.join(&entry.path), entry.first_seq, &writer_id);
        manifest.append(What::File(entry))?;
    }
    fs::remove_file(path).map_err(CaptureError::io("remove", path))?;
    Ok((rows, files))
}

/// The last row of the file that begins with this one, if the manifest states it and it is there and readable.
fn finished_until(dir: &Path, first: &Record, manifest: &Manifest) -> Option<i64> {
    let last = manifest.finished(first.seq)?;
    let name = FileName { writer: manifest.writer().to_owned(), first: first.seq, last };
    readable(&dir.join(disk::partition(first.ts_us)).join(name.to_string())).then_some(last)
}

/// States finished files that a writer without a journal had no time to state.
fn state_files(dir: &Path, manifest: &mut Manifest) -> Result<(), CaptureError> {
    for path in Files::below(dir)? {
        let path = path?;
        let name = path.file_name().and_then(|name| FileName::parse(name.to_str()?));
        let Some(name) = name.filter(|name| {
            name.writer == manifest.writer() && manifest.finished(name.first).is_none()
        }) else {
            continue;
        };
        if readable(&path) {
            manifest.append(What::File(entry(dir, &path, &name)?))?;
        }
    }
    Ok(())
}

/// What there is to state of a file that is there already.
fn entry(dir: &Path, path: &Path, name: &FileName) -> Result<FileEntry, CaptureError> {
    let mut sums = Sums::new(&name.writer, name.first);
    for row in Reader::open(path)? {
        sums.add(&row?);
    }
    let (bytes, sha256) = seal::hash_file(path)?;
    Ok(FileEntry {
        path: manifest::below(dir, path),
        first_seq: name.first,
        last_seq: name.last,
        rows: sums.rows,
        gaps: sums.gaps,
        dropped: sums.dropped,
        bytes,
        sha256,
        rows_head: sums.head(),
        bodies_root: sums.bodies(),
    })
}

/// A file of the same rows that a crash kept from being stated: it may end elsewhere than the one built anew.
fn drop_unstated(built: &Path, first: i64, writer: &str) {
    let Some(partition) = built.parent() else { return };
    let is_other = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| FileName::parse(name.to_str()?));
        name.is_some_and(|name| name.writer == writer && name.first == first) && path != built
    };
    for other in list(partition, |name| name.starts_with(writer)).unwrap_or_default() {
        if is_other(&other) {
            let _ = fs::remove_file(other);
        }
    }
}

fn readable(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| {
        SerializedFileReader::new(file)
            .is_ok_and(|reader| reader.metadata().file_metadata().num_rows() > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Segment;
    use crate::sample;
    use crate::{VerifyOptions, verify};

    fn rows(seqs: std::ops::RangeInclusive<i64>) -> Vec<Record> {
        let body_sha256: Option<Str> = Some(seal::hex(&seal::sha256(b"{}")).into());
        seqs.map(|seq| Record {
            seq,
            body_sha256: body_sha256.clone(),
            ..sample::offered(1_763_855_000_000_000 + seq, b"{}")
        })
        .collect()
    }

    /// A dead writer: its folder without a lock held, holding these rows.
    fn dead(dir: &Path, segments: &[std::ops::RangeInclusive<i64>]) -> PathBuf {
        let home = Home::create(dir).unwrap();
        for seqs in segments {
            let rows = rows(seqs.clone());
            Segment::create(&home.path, rows[0].seq).unwrap().append(&rows).unwrap();
        }
        home.path.clone()
    }

    fn seqs(dir: &Path) -> Vec<i64> {
        Reader::open(dir).unwrap().map(|row| row.unwrap().seq).collect()
    }

    #[test]
    fn a_dead_writers_rows_become_files_once() {
        let dir = tempfile::tempdir().unwrap();
        let config = RecorderConfig::new(dir.path());
        let home = dead(dir.path(), &[1..=5, 6..=9]);
        let segment = fs::read(home.join("000000000001.wal")).unwrap();
        let done = dead_writers(&config);
        assert!(done.errors.is_empty(), "{:?}", done.errors);
        assert_eq!((done.rows, done.files), (9, 2));
        assert_eq!(seqs(dir.path()), (1..=9).collect::<Vec<_>>());
        assert!(!home.exists());
        // a crash between the rename and the deletion of the segment: nothing is written twice
        fs::create_dir(&home).unwrap();
        fs::write(home.join("000000000001.wal"), segment).unwrap();
        let done = dead_writers(&config);
        assert_eq!((done.rows, done.files, done.errors.len()), (0, 0, 0));
        assert_eq!(seqs(dir.path()), (1..=9).collect::<Vec<_>>());
        assert!(!home.exists());
    }

    /// Whatever a crash left of a file's last steps: the next start leaves a folder that verifies, each row once.
    #[test]
    fn every_point_between_a_file_and_its_segments_end_can_be_resumed() {
        for (keep_file, keep_lines) in [(false, 0), (true, 0), (true, 1), (true, 2), (true, 3)] {
            let dir = tempfile::tempdir().unwrap();
            let config = RecorderConfig::new(dir.path());
            let home = dead(dir.path(), &[1..=5]);
            let segment = fs::read(home.join("000000000001.wal")).unwrap();
            dead_writers(&config);
            let writer = home.file_name().unwrap().to_str().unwrap();
            let manifest = dir.path().join(format!("manifest/{writer}.jsonl"));
            let text = fs::read_to_string(&manifest).unwrap();
            assert_eq!(text.lines().count(), 3, "begin, file, end");
            let kept: String = text.lines().take(keep_lines).map(|l| format!("{l}\n")).collect();
            fs::write(&manifest, kept).unwrap();
            if !keep_file {
                fs::remove_dir_all(dir.path().join(disk::partition(1_763_855_000_000_001)))
                    .unwrap();
            }
            fs::create_dir(&home).unwrap();
            fs::write(home.join("000000000001.wal"), segment).unwrap();
            let done = dead_writers(&config);
            assert!(done.errors.is_empty(), "{:?}", done.errors);
            assert_eq!(seqs(dir.path()), [1, 2, 3, 4, 5]);
            let report = verify(dir.path(), &VerifyOptions::default(), &mut |_, _| {}).unwrap();
            assert!(report.holds(), "{keep_file} {keep_lines}: {report:?}");
        }
    }

    /// Without a journal nothing but the file itself is left when the manifest did not get to it.
    #[test]
    fn a_file_without_journal_is_stated_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let config = RecorderConfig::new(dir.path());
        let home = dead(dir.path(), &[1..=5]);
        dead_writers(&config);
        fs::remove_dir_all(dir.path().join("manifest")).unwrap();
        fs::create_dir(&home).unwrap();
        let report = verify(dir.path(), &VerifyOptions::default(), &mut |_, _| {}).unwrap();
        assert!(report.holds(), "it waits for the next start: {report:?}");
        assert!(dead_writers(&config).errors.is_empty());
        let report = verify(dir.path(), &VerifyOptions::default(), &mut |_, _| {}).unwrap();
        assert_eq!((report.broken, report.files, report.rows), (0, 1, 5), "{report:?}");
    }

    #[test]
    fn a_damaged_finished_file_is_built_again() {
        let dir = tempfile::tempdir().unwrap();
        let config = RecorderConfig::new(dir.path());
        let home = dead(dir.path(), &[1..=5]);
        let segment = fs::read(home.join("000000000001.wal")).unwrap();
        dead_writers(&config);
        let file = Reader::files(dir.path()).unwrap().next().unwrap().unwrap();
        fs::write(file.path().unwrap(), "torn").unwrap();
        fs::create_dir(&home).unwrap();
        fs::write(home.join("000000000001.wal"), segment).unwrap();
        assert_eq!(dead_writers(&config).rows, 5);
        assert_eq!(seqs(dir.path()), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_number_given_twice_belongs_to_the_later_segment() {
        let dir = tempfile::tempdir().unwrap();
        dead(dir.path(), &[1..=5, 4..=6]);
        dead_writers(&RecorderConfig::new(dir.path()));
        assert_eq!(seqs(dir.path()), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn garbage_does_not_stop_a_recovery() {
        let dir = tempfile::tempdir().unwrap();
        let home = dead(dir.path(), &[1..=5]);
        fs::write(home.join("000000000000.wal"), "this is no journal").unwrap();
        fs::write(home.join("000000000007.wal"), "WGJ").unwrap();
        fs::write(home.join("000000000008.wal"), "").unwrap();
        fs::create_dir(home.join("000000000009.wal")).unwrap();
        fs::write(home.join("000000000001.parquet.tmp"), "PAR1 half a file").unwrap();
        let journals = dir.path().join(JOURNAL);
        fs::write(journals.join("file"), "x").unwrap();
        fs::create_dir(journals.join("not an id")).unwrap();
        fs::create_dir(journals.join("wempty")).unwrap();
        let done = dead_writers(&RecorderConfig::new(dir.path()));
        assert_eq!(done.rows, 5);
        assert_eq!(seqs(dir.path()), [1, 2, 3, 4, 5]);
        assert!(home.join("000000000000.wal.bad").exists(), "foreign files are set aside");
        assert!(!home.join("000000000001.parquet.tmp").exists());
        assert!(!journals.join("wempty").exists());
    }

    #[test]
    fn a_living_writers_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        Segment::create(&home.path, 1).unwrap().append(&rows(1..=3)).unwrap();
        let half = home.path.join("000000000001.parquet.tmp");
        fs::write(&half, "half").unwrap();
        let done = dead_writers(&RecorderConfig::new(dir.path()));
        assert_eq!((done.rows, done.errors.len()), (0, 0));
        assert!(half.exists());
        assert_eq!(seqs(dir.path()), [0i64; 0], "nothing half-made is visible");
    }
}
