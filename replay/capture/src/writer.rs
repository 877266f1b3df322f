//! One Parquet file in the making: how columns are encoded, and how the file appears.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use crate::batch::to_batch;
use crate::config::RecorderConfig;
use crate::disk::{self, FileName};
use crate::manifest::{FileEntry, Manifest};
use crate::record::Record;
use crate::schema::arrow_schema;
use crate::seal::{Sums, hex};
use crate::{CaptureError, SCHEMA_VERSION};

/// Rows are encoded in groups of this many, or this many bytes.
const CHUNK_ROWS: usize = 1024;
const CHUNK_BYTES: usize = 4 << 20;
const PAGE_BYTES: usize = 256 << 10;

/// Ever growing numbers.
const DELTA: [&str; 3] = ["seq", "ts", "mono_ns"];
/// Values that hardly repeat: a dictionary would be built only to be given up.
const UNIQUE: [&str; 5] = ["body", "body_raw", "body_sealed", "body_sha256", "body_mac"];
/// Text that clients and servers choose: minima and maxima would copy it into the footer.
const FREE_TEXT: [&str; 16] = [
    "body",
    "body_raw",
    "body_sealed",
    "body_sha256",
    "body_mac",
    "http_headers",
    "redactions",
    "scan_context",
    "rpc_id",
    "method",
    "name",
    "principal",
    "tenant",
    "client_name",
    "client_version",
    "protocol_version",
];

/// The encodings of `shared/capture.md`: zstd 1, format 1.0, small pages.
fn properties() -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(concat!("wiregate capture ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(PAGE_BYTES)
        .set_write_batch_size(CHUNK_ROWS)
        // row groups are cut by hand, by bytes before compression
        .set_max_row_group_row_count(None)
        .set_offset_index_disabled(true)
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for name in DELTA {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in UNIQUE {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    for name in FREE_TEXT {
        properties = properties
            .set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::None);
    }
    properties.build()
}

/// A file that nobody sees yet; dropped before [`FileWriter::finish`] succeeds, it is removed.
pub(crate) struct FileWriter {
    writer: ArrowWriter<Hashed>,
    tmp: PathBuf,
    name: FileName,
    /// Of a derived capture: where the file goes. Its rows are counted, whatever their numbers are.
    derived: Option<PathBuf>,
    first_ts_us: i64,
    sums: Sums,
    chunk: Vec<Record>,
    chunk_bytes: usize,
    group_rows: usize,
    group_bytes: usize,
    max_group: (usize, usize),
    appeared: bool,
}

impl FileWriter {
    /// Begins a file in the writer's folder. `first` gives the partition and the name.
    pub(crate) fn create(
        home: &Path,
        writer_id: &str,
        first: &Record,
        config: &RecorderConfig,
    ) -> Result<FileWriter, CaptureError> {
        let tmp = home.join(format!("{:012}.parquet.tmp", first.seq));
        // what a failed attempt at the same rows has left
        let _ = fs::remove_file(&tmp);
        let file = disk::create_file(&tmp).map_err(CaptureError::io("create", &tmp))?;
        let options = ArrowWriterOptions::new()
            .with_properties(properties())
            .with_skip_arrow_metadata(true)
            .with_schema_root("wiregate".to_owned());
        let file = Hashed { file, sha256: Sha256::new(), bytes: 0 };
        let writer = ArrowWriter::try_new_with_options(file, arrow_schema(), options)
            .map_err(|error| failed(&tmp, error))?;
        let name = FileName { writer: writer_id.to_owned(), first: first.seq, last: first.seq };
        Ok(FileWriter {
            writer,
            tmp,
            name,
            derived: None,
            first_ts_us: first.ts_us,
            sums: Sums::new(writer_id, first.seq),
            chunk: Vec::new(),
            chunk_bytes: 0,
            group_rows: 0,
            group_bytes: 0,
            max_group: (config.row_group_rows, config.row_group_bytes),
            appeared: false,
        })
    }

    /// Begins a file of a derived capture, to go to `path` below it. `first` is the place of its first row.
    pub(crate) fn derived(
        home: &Path,
        writer_id: &str,
        first: i64,
        path: PathBuf,
        config: &RecorderConfig,
    ) -> Result<FileWriter, CaptureError> {
        let row = Record { seq: first, ..Record::default() };
        let mut file = FileWriter::create(home, writer_id, &row, config)?;
        file.name.last = first - 1;
        file.derived = Some(path);
        Ok(file)
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> usize {
        self.writer.bytes_written()
    }

    /// Adds a row; encodes and writes when enough have gathered.
    pub(crate) fn push(&mut self, row: Record) -> Result<(), CaptureError> {
        self.name.last = if self.derived.is_some() { self.name.last + 1 } else { row.seq };
        self.sums.add(&row);
        let bytes = row.size();
        self.chunk_bytes += bytes;
        self.group_bytes += bytes;
        self.group_rows += 1;
        self.chunk.push(row);
        let group_full =
            self.group_rows >= self.max_group.0 || self.group_bytes >= self.max_group.1;
        if group_full || self.chunk.len() >= CHUNK_ROWS || self.chunk_bytes >= CHUNK_BYTES {
            self.encode()?;
        }
        if group_full {
            (self.group_rows, self.group_bytes) = (0, 0);
            self.writer.flush().map_err(|error| failed(&self.tmp, error))?;
        }
        Ok(())
    }

    fn encode(&mut self) -> Result<(), CaptureError> {
        let batch = to_batch(&self.chunk)?;
        self.chunk.clear();
        self.chunk_bytes = 0;
        self.writer.write(&batch).map_err(|error| failed(&self.tmp, error))
    }

    /// Adds a line to the footer.
    pub(crate) fn note(&mut self, key: &str, value: String) {
        self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    /// The number of its first row.
    pub(crate) fn first_seq(&self) -> i64 {
        self.name.first
    }

    /// The chain's head over the rows so far.
    pub(crate) fn rows_head(&self) -> String {
        self.sums.head()
    }

    /// Writes the footer, syncs, and moves the file to its partition below `dir`. Gives what the manifest is to state.
    pub(crate) fn finish(
        mut self,
        dir: &Path,
        manifest: &Manifest,
    ) -> Result<FileEntry, CaptureError> {
        let path = self
            .derived
            .take()
            .unwrap_or_else(|| disk::partition(self.first_ts_us).join(self.name.to_string()));
        self.close(manifest)?;
        disk::publish(&self.tmp, &dir.join(&path))?;
        self.appeared = true;
        let Hashed { sha256, bytes, .. } = self.writer.inner();
        Ok(FileEntry {
            path: path.to_string_lossy().into_owned(),
            first_seq: self.name.first,
            last_seq: self.name.last,
            rows: self.sums.rows,
            gaps: self.sums.gaps,
            dropped: self.sums.dropped,
            bytes: *bytes,
            sha256: hex(&sha256.clone().finalize()),
            rows_head: self.sums.head(),
            bodies_root: self.sums.bodies(),
        })
    }

    fn close(&mut self, manifest: &Manifest) -> Result<(), CaptureError> {
        self.encode()?;
        let key_id = manifest.key_id().map(|id| ("wiregate.key_id", id));
        for (key, value) in [
            ("wiregate.writer_version", env!("CARGO_PKG_VERSION").to_owned()),
            ("wiregate.schema_version", SCHEMA_VERSION.to_string()),
            ("wiregate.writer_id", self.name.writer.clone()),
            ("wiregate.first_seq", self.name.first.to_string()),
            ("wiregate.last_seq", self.name.last.to_string()),
            ("wiregate.rows_head", self.sums.head()),
            ("wiregate.previous_sha256", manifest.last_sha256().to_owned()),
        ]
        .into_iter()
        .chain(key_id)
        {
            self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        self.writer.finish().map_err(|error| failed(&self.tmp, error))?;
        self.writer.inner().file.sync_all().map_err(CaptureError::io("sync", &self.tmp))
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if !self.appeared {
            let _ = fs::remove_file(&self.tmp);
        }
    }
}

/// A file whose bytes are hashed as they are written.
struct Hashed {
    file: File,
    sha256: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.sha256.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Keeps the system's error where there is one; Parquet's own messages carry no content of rows on writing.
fn failed(path: &Path, error: ParquetError) -> CaptureError {
    let source = match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => *source,
            Err(source) => {
                return CaptureError::Encode { detail: source.to_string() };
            }
        },
        ParquetError::ArrowError(detail) => return CaptureError::Encode { detail },
        other => io::Error::other(other.to_string()),
    };
    CaptureError::Io { action: "write", path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reader, sample};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use proptest::prelude::*;

    fn write(dir: &Path, rows: &[Record], config: &RecorderConfig) -> PathBuf {
        let mut file = FileWriter::create(dir, "w1", &rows[0], config).unwrap();
        rows.iter().for_each(|row| file.push(row.clone()).unwrap());
        let manifest = Manifest::open(dir, "w1", None).unwrap();
        dir.join(file.finish(dir, &manifest).unwrap().path)
    }

    #[test]
    fn the_file_is_encoded_as_the_format_says() {
        let dir = tempfile::tempdir().unwrap();
        let rows: Vec<Record> = (1..=100)
            .map(|seq| Record {
                redactions: Some("very-private".into()),
                name: Some("very-private".into()),
                scan_context: Some("very-private".into()),
                http_headers: Some("very-private".into()),
                ..sample::full(seq, b"{\"token\":\"very-private\"}")
            })
            .collect();
        let config = RecorderConfig { row_group_rows: 40, ..RecorderConfig::new(dir.path()) };
        let path = write(dir.path(), &rows, &config);
        let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        let metadata = reader.metadata();
        assert_eq!(metadata.file_metadata().version(), 1);
        let groups: Vec<i64> = metadata.row_groups().iter().map(|group| group.num_rows()).collect();
        assert_eq!(groups, [40, 40, 20]);
        let keys = metadata.file_metadata().key_value_metadata().unwrap();
        let key = |name: &str| {
            keys.iter().find(|pair| pair.key == name).and_then(|pair| pair.value.as_deref())
        };
        assert_eq!(key("wiregate.writer_id"), Some("w1"));
        assert_eq!((key("wiregate.first_seq"), key("wiregate.last_seq")), (Some("1"), Some("100")));
        for column in metadata.row_group(0).columns() {
            let name = column.column_path().string();
            assert_eq!(column.compression(), Compression::ZSTD(ZstdLevel::default()), "{name}");
            let free = FREE_TEXT.contains(&name.as_str());
            assert_eq!(column.statistics().is_some(), !free, "{name}");
            if UNIQUE.contains(&name.as_str()) || DELTA.contains(&name.as_str()) {
                assert_eq!(column.dictionary_page_offset(), None, "{name}");
            }
            if DELTA.contains(&name.as_str()) {
                let encodings: Vec<_> = column.encodings().collect();
                assert!(encodings.contains(&Encoding::DELTA_BINARY_PACKED), "{name}");
            }
        }
        let bytes = fs::read(&path).unwrap();
        let footer = u32::from_le_bytes(bytes[bytes.len() - 8..][..4].try_into().unwrap()) as usize;
        let footer = &bytes[bytes.len() - 8 - footer..];
        let found = footer.windows(12).any(|window| window == b"very-private");
        assert!(!found, "the footer holds content");
    }

    #[test]
    fn row_groups_are_bounded_by_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let rows: Vec<Record> = (1..=10).map(|seq| sample::full(seq, &[b'x'; 4000])).collect();
        let config = RecorderConfig { row_group_bytes: 15_000, ..RecorderConfig::new(dir.path()) };
        let path = write(dir.path(), &rows, &config);
        let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        assert!(reader.metadata().row_groups().iter().all(|group| group.num_rows() <= 4));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn files_keep_records(rows in prop::collection::vec(sample::any_record(), 1..20)) {
            let dir = tempfile::tempdir().unwrap();
            let path = write(dir.path(), &rows, &RecorderConfig::new(dir.path()));
            let back: Vec<Record> = Reader::open(path).unwrap().map(Result::unwrap).collect();
            prop_assert_eq!(back, rows);
        }
    }
}
