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
use crate::layout::list;
use crate::writer::FileWriter;
use crate::{CaptureError, Str};

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
                writer(&home, config, None, &mut done);
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
    done: &mut Recovered,
) {
    if live.is_none() {
        drop_unfinished(home);
    }
    let segments = match home.segments() {
        Ok(segments) => segments,
        Err(error) => {
            done.errors
                .push(CaptureError::io("list", &home.path)(error));
            return;
        }
    };
    for (at, path) in segments.iter().enumerate() {
        if live == Some(path.as_path()) {
            continue;
        }
        // a row that failed in one segment gets its number again in the next
        let end = segments
            .get(at + 1)
            .and_then(|next| disk::segment_seq(next));
        match segment(home, path, end, config) {
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
        let covered = *covered.get_or_insert_with(|| {
            finished_until(
                &config.dir.join(disk::partition(row.ts_us)),
                &writer_id,
                row.seq,
            )
        });
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
        file.finish(&config.dir)?;
    }
    fs::remove_file(path).map_err(CaptureError::io("remove", path))?;
    Ok((rows, files))
}

/// The last row of a readable finished file of this writer that begins with `first`.
fn finished_until(partition: &Path, writer: &str, first: i64) -> Option<i64> {
    let ours = |path: &PathBuf| -> Option<i64> {
        let name = FileName::parse(path.file_name()?.to_str()?)?;
        let is_it = name.writer == writer && name.first == first;
        (is_it && readable(path)).then_some(name.last)
    };
    list(partition, |name| name.starts_with(writer))
        .ok()?
        .iter()
        .filter_map(ours)
        .max()
}

fn readable(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| {
        SerializedFileReader::new(file)
            .is_ok_and(|reader| reader.metadata().file_metadata().num_rows() > 0)
    })
}
