//! [`Reader`]: a capture's rows, file by file, row group by row group.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use crate::CaptureError;
use crate::batch::Decoder;
use crate::disk::FileName;
use crate::layout::Files;
use crate::query::Query;
use crate::record::Record;
use crate::store::{Location, Place, RemoteFile, RemoteFiles, Source};

/// Rows are decoded in batches of about this size, before compression.
const BATCH_BYTES: i64 = 8 << 20;
const BATCH_ROWS: i64 = 1024;

/// Finished files, one after the other.
pub type Locations = Box<dyn Iterator<Item = Result<Location, CaptureError>> + Send>;

/// The rows of a capture folder or of one file, in (partition, file name, arrival) order.
///
/// Reads finished files only, one batch at a time. A damaged file gives one error item that names it; what was read
/// of it before stays valid, and the next file follows. Files that retention removes meanwhile are passed over.
#[derive(Debug)]
pub struct Reader {
    files: Found,
    query: Query,
    /// Set when not every column is wanted.
    columns: Option<Vec<&'static str>>,
    current: Option<OpenFile>,
    rows: std::vec::IntoIter<Record>,
}

impl Reader {
    /// Reads every row and column.
    pub fn open(path: impl Into<Location>) -> Result<Reader, CaptureError> {
        Reader::open_with(path, Query::default())
    }

    /// Reads the rows and columns that the query asks for.
    pub fn open_with(path: impl Into<Location>, query: Query) -> Result<Reader, CaptureError> {
        let columns = query.needed()?;
        let files = Found::at(path.into(), &query)?;
        Ok(Reader { files, query, columns, current: None, rows: Vec::new().into_iter() })
    }

    /// The finished files of a capture or a part of one, in order: for reading them on several threads.
    pub fn files(dir: impl Into<Location>) -> Result<Locations, CaptureError> {
        Reader::files_for(dir, &Query::default())
    }

    /// As [`Reader::files`]; in a store, without those whose partition is of another time than the query asks for.
    pub fn files_for(dir: impl Into<Location>, query: &Query) -> Result<Locations, CaptureError> {
        Ok(Box::new(Found::at(dir.into(), query)?))
    }

    /// Whether a finished file may hold the row of this number, by its name; true when the name does not tell.
    pub fn may_hold(file: &Location, writer: Option<&str>, seq: i64) -> bool {
        let name = FileName::parse(file.name());
        name.is_none_or(|name| {
            writer.is_none_or(|writer| writer == name.writer)
                && (name.first..=name.last).contains(&seq)
        })
    }

    /// The next batch's rows, or `None` when all files are read.
    fn refill(&mut self) -> Option<Result<Vec<Record>, CaptureError>> {
        loop {
            let Some(mut file) = self.current.take() else {
                match self.files.next()?.map(|place| OpenFile::open(place, self)) {
                    Ok(Ok(file)) => self.current = file,
                    Ok(Err(error)) | Err(error) => return Some(Err(error)),
                }
                continue;
            };
            let rows = match file.next_batch() {
                None => continue,
                Some(batch) => batch.and_then(|batch| self.select(&file.path, &batch)),
            };
            // after an error the rest of the file is not to be trusted
            if rows.is_ok() {
                self.current = Some(file);
            }
            return Some(rows);
        }
    }

    fn select(&self, path: &Path, batch: &RecordBatch) -> Result<Vec<Record>, CaptureError> {
        let mut decoder = Decoder::new(batch).map_err(CaptureError::damaged(path))?;
        let wanted = self.query.rows(batch);
        Ok(wanted.into_iter().map(|row| decoder.record(row)).collect())
    }
}

impl Iterator for Reader {
    type Item = Result<Record, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Ok(row));
            }
            match self.refill()? {
                Ok(rows) => self.rows = rows.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Finished files, here or in a store.
#[derive(Debug)]
enum Found {
    Local(Files),
    Remote(RemoteFiles),
}

impl Found {
    fn at(location: Location, query: &Query) -> Result<Found, CaptureError> {
        Ok(match location.0 {
            Place::Remote(object) => Found::Remote(RemoteFiles::of(object, query)?),
            Place::Local(path) => {
                let metadata = std::fs::metadata(&path).map_err(CaptureError::io("open", &path))?;
                let is_dir = metadata.is_dir();
                Found::Local(if is_dir { Files::of(&path)? } else { Files::single(path) })
            }
        })
    }
}

impl Iterator for Found {
    type Item = Result<Location, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Found::Local(files) => files.next().map(|file| file.map(Location::from)),
            Found::Remote(files) => files.next(),
        }
    }
}

/// The bytes of a file; `None` if it is gone.
fn source(place: Location, path: &Path) -> Result<Option<Source>, CaptureError> {
    match place.0 {
        Place::Remote(object) => Ok(RemoteFile::open(object)?.map(Source::Remote)),
        Place::Local(place) => match File::open(place) {
            Ok(file) => Ok(Some(Source::Local(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CaptureError::io("open", path)(error)),
        },
    }
}

struct OpenFile {
    path: PathBuf,
    file: Source,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    groups: VecDeque<usize>,
    batches: Option<ParquetRecordBatchReader>,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("OpenFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl OpenFile {
    /// `None` if the file is gone.
    fn open(place: Location, reader: &Reader) -> Result<Option<OpenFile>, CaptureError> {
        let path = PathBuf::from(place.to_string());
        let Some(file) = source(place, &path)? else {
            return Ok(None);
        };
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_page_index_policy(PageIndexPolicy::Skip);
        let metadata = guarded(&path, || ArrowReaderMetadata::load(&file, options))?;
        let schema = metadata.parquet_schema();
        let roots = schema.root_schema().get_fields().iter().enumerate();
        let wanted = roots.filter(|(_, field)| match &reader.columns {
            None => true,
            Some(columns) => columns.contains(&field.name()),
        });
        let mask = ProjectionMask::roots(schema, wanted.map(|(at, _)| at));
        let groups = metadata.metadata().row_groups().iter().enumerate();
        let groups = groups.filter(|(_, group)| may_match(group, &reader.query));
        let groups = groups.map(|(at, _)| at).collect();
        Ok(Some(OpenFile { path, file, metadata, mask, groups, batches: None }))
    }

    fn next_batch(&mut self) -> Option<Result<RecordBatch, CaptureError>> {
        loop {
            if let Some(batches) = &mut self.batches {
                match guarded(&self.path, || batches.next().transpose()) {
                    Ok(Some(batch)) => return Some(Ok(batch)),
                    Ok(None) => self.batches = None,
                    Err(error) => return Some(Err(error)),
                }
            }
            let group = self.groups.pop_front()?;
            match self.read_group(group) {
                Ok(batches) => self.batches = Some(batches),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn read_group(&self, group: usize) -> Result<ParquetRecordBatchReader, CaptureError> {
        let file = self.file.again().map_err(CaptureError::io("open", &self.path))?;
        let about = self.metadata.metadata().row_group(group);
        let row_bytes = about.total_byte_size() / about.num_rows().max(1);
        let batch_rows = (BATCH_BYTES / row_bytes.max(1)).clamp(1, BATCH_ROWS);
        guarded(&self.path, || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                .with_row_groups(vec![group])
                .with_projection(self.mask.clone())
                .with_batch_size(batch_rows as usize)
                .build()
        })
    }
}

/// Whether the group's range of times meets the query's. A group without statistics may.
fn may_match(group: &RowGroupMetaData, query: &Query) -> bool {
    let times = group.columns().iter().find(|column| column.column_path().string() == "ts");
    let Some(Statistics::Int64(times)) = times.and_then(|column| column.statistics()) else {
        return true;
    };
    let late = query.to_us.zip(times.min_opt()).is_some_and(|(to, first)| *first >= to);
    let early = query.from_us.zip(times.max_opt()).is_some_and(|(from, last)| *last < from);
    !late && !early
}

/// Runs a step of the Parquet decoder on bytes that may be damaged: its errors name the file, and so do its panics,
/// which it is known for on damaged input. Whatever was borrowed is dropped with the file afterwards.
fn guarded<T, E: std::fmt::Display>(
    path: &Path,
    step: impl FnOnce() -> Result<T, E>,
) -> Result<T, CaptureError> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(result) => result.map_err(CaptureError::damaged(path)),
        Err(_) => Err(CaptureError::damaged(path)("the decoder gave up")),
    }
}
