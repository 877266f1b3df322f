//! The write-ahead journal: one segment file for each Parquet file in the making.
//!
//! A segment is a magic word and frames: `length u32 | crc32c u32 | version u8 | seq i64 | row`, little-endian; the
//! length counts what follows the checksum, the checksum covers the same. A segment is valid up to the first frame
//! that is short, too long, or does not match its checksum; a crash tears only the end.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::disk;
use crate::record::Record;
use crate::row;

const MAGIC: &[u8; 8] = b"WGJRNL\x00\x01";
const VERSION: u8 = 1;
const FRAME_HEAD: usize = 8;
const ROW_HEAD: usize = 9;
/// Frames are gathered up to this size before a write.
const WRITE_BYTES: usize = 1 << 20;
/// The largest row a journal holds; a longer one is refused, and a frame that claims more is damage.
pub(crate) const MAX_ROW_BYTES: usize = 256 << 20;

/// A segment being written.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    file: File,
    /// Bytes known to be whole frames.
    len: u64,
    buffer: Vec<u8>,
}

impl Segment {
    /// Creates the segment that begins with `first_seq` in the writer's folder.
    pub(crate) fn create(home: &Path, first_seq: i64) -> io::Result<Segment> {
        let path = home.join(format!("{first_seq:012}.wal"));
        // a failed attempt may have left one; no row of this seq was ever acknowledged
        let _ = std::fs::remove_file(&path);
        let mut file = disk::create_file(&path)?;
        let begun = file.write_all(MAGIC).and_then(|()| disk::sync_dir(home));
        let segment = Segment { path, file, len: MAGIC.len() as u64, buffer: Vec::new() };
        match begun {
            Ok(()) => Ok(segment),
            Err(error) => {
                segment.remove();
                Err(error)
            }
        }
    }

    /// Appends the rows and syncs them; on an error, takes back whatever part was written.
    pub(crate) fn append(&mut self, rows: &[Record]) -> io::Result<()> {
        let written = self.write(rows);
        self.buffer.clear();
        self.buffer.shrink_to(WRITE_BYTES * 2);
        match written.and_then(|len| self.file.sync_data().map(|()| len)) {
            Ok(len) => {
                self.len += len;
                Ok(())
            }
            Err(error) => {
                // best effort: a torn end is cut on recovery as well
                let _ = self.file.set_len(self.len);
                let _ = self.file.seek(SeekFrom::Start(self.len));
                Err(error)
            }
        }
    }

    fn write(&mut self, rows: &[Record]) -> io::Result<u64> {
        let mut total = 0;
        for (at, row) in rows.iter().enumerate() {
            frame(row, &mut self.buffer);
            if self.buffer.len() >= WRITE_BYTES || at + 1 == rows.len() {
                self.file.write_all(&self.buffer)?;
                total += self.buffer.len() as u64;
                self.buffer.clear();
            }
        }
        Ok(total)
    }

    /// Bytes in the segment.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file was deleted underneath; writes would still succeed, into nothing.
    pub(crate) fn vanished(&self) -> bool {
        disk::unlinked(&self.file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Deletes the file: its rows are safe elsewhere, or there are none.
    pub(crate) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Appends the row as a frame.
fn frame(row: &Record, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD]);
    out.push(VERSION);
    out.extend_from_slice(&row.seq.to_le_bytes());
    row::encode(row, out);
    let body = start + FRAME_HEAD;
    let crc = crc32c::crc32c(&out[body..]);
    // rows are refused above MAX_ROW_BYTES, well below u32::MAX
    let length = (out.len() - body) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..body].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the rows of a segment, up to the first damage. Memory: one frame.
pub(crate) struct Frames {
    input: BufReader<File>,
    left: u64,
    buffer: Vec<u8>,
    /// Set when the end was not clean.
    pub(crate) torn: bool,
}

/// What the beginning of a file says.
pub(crate) enum Opened {
    /// A segment.
    Segment(Frames),
    /// Too short to hold a frame: a crash right after creating it.
    Empty,
    /// No journal of ours, or of a version to come.
    Foreign,
}

impl Frames {
    pub(crate) fn open(path: &Path) -> io::Result<Opened> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut input = BufReader::with_capacity(1 << 16, file);
        let mut magic = Vec::new();
        input.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        Ok(match magic.as_slice() {
            word if word == MAGIC => Opened::Segment(Frames {
                input,
                left: size.saturating_sub(MAGIC.len() as u64),
                buffer: Vec::new(),
                torn: false,
            }),
            word if word.len() < MAGIC.len() && MAGIC.starts_with(word) => Opened::Empty,
            _ => Opened::Foreign,
        })
    }

    /// The next row with the frame's own `seq`; `None` at the end or at the first damage.
    pub(crate) fn next_row(&mut self) -> io::Result<Option<Record>> {
        if self.left == 0 || self.torn {
            return Ok(None);
        }
        let row = self.read_frame()?;
        self.torn = row.is_none();
        Ok(row)
    }

    fn read_frame(&mut self) -> io::Result<Option<Record>> {
        if self.left < (FRAME_HEAD + ROW_HEAD) as u64 {
            return Ok(None);
        }
        let mut head = [0; FRAME_HEAD];
        self.input.read_exact(&mut head)?;
        let [a, b, c, d, crc @ ..] = head;
        let length = u64::from(u32::from_le_bytes([a, b, c, d]));
        self.left -= FRAME_HEAD as u64;
        if length < ROW_HEAD as u64 || length > self.left.min(MAX_ROW_BYTES as u64) {
            return Ok(None);
        }
        self.left -= length;
        self.buffer.clear();
        self.input.by_ref().take(length).read_to_end(&mut self.buffer)?;
        if self.buffer.len() as u64 != length
            || crc32c::crc32c(&self.buffer) != u32::from_le_bytes(crc)
        {
            return Ok(None);
        }
        let Some(([VERSION, seq @ ..], row)) = self.buffer.split_first_chunk::<ROW_HEAD>() else {
            return Ok(None);
        };
        Ok(row::decode(row).ok().map(|row| Record { seq: i64::from_le_bytes(*seq), ..row }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use proptest::prelude::*;

    fn written(rows: &[Record]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let mut segment = Segment::create(dir.path(), 1).unwrap();
        rows.chunks(2).for_each(|rows| segment.append(rows).unwrap());
        let bytes = std::fs::read(segment.path()).unwrap();
        assert_eq!(bytes.len() as u64, segment.len());
        bytes
    }

    /// The rows in a file of these bytes, and whether it ends in damage.
    fn read(bytes: &[u8]) -> (Vec<Record>, bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.wal");
        std::fs::write(&path, bytes).unwrap();
        let Opened::Segment(mut frames) = Frames::open(&path).unwrap() else {
            return (Vec::new(), true);
        };
        let rows = std::iter::from_fn(|| frames.next_row().unwrap()).collect();
        (rows, frames.torn)
    }

    #[test]
    fn a_cut_anywhere_in_the_last_frame_keeps_the_others() {
        let rows: Vec<Record> = (1..=4).map(|seq| sample::full(seq, b"{\"a\":[1,2]}")).collect();
        let all = written(&rows);
        let without_last = written(&rows[..3]).len();
        assert_eq!(read(&all), (rows.clone(), false));
        for end in without_last..all.len() {
            let torn = end > without_last;
            assert_eq!(read(&all[..end]), (rows[..3].to_vec(), torn), "cut at {end}");
        }
    }

    #[test]
    fn a_turned_byte_anywhere_ends_the_journal_there() {
        let rows: Vec<Record> = (1..=3).map(|seq| sample::full(seq, b"{}")).collect();
        let all = written(&rows);
        let (first, second) = (written(&rows[..1]).len(), written(&rows[..2]).len());
        for at in MAGIC.len()..all.len() {
            let mut turned = all.clone();
            turned[at] ^= 0x10;
            let kept = usize::from(at >= first) + usize::from(at >= second);
            assert_eq!(read(&turned), (rows[..kept].to_vec(), true), "turned at {at}");
        }
    }

    #[test]
    fn a_failed_append_takes_back_what_it_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let mut segment = Segment::create(dir.path(), 1).unwrap();
        segment.append(&[sample::full(1, b"{}")]).unwrap();
        let whole = std::fs::read(segment.path()).unwrap();
        let (path, writable) = (segment.path().to_owned(), segment.file);
        // a handle that cannot write stands in for a full disk
        segment = Segment {
            file: File::open(&path).unwrap(),
            path: path.clone(),
            len: whole.len() as u64,
            buffer: Vec::new(),
        };
        assert!(segment.append(&[sample::full(2, b"{}")]).is_err());
        segment.file = writable;
        segment.append(&[sample::full(2, b"{}")]).unwrap();
        assert_eq!(read(&std::fs::read(&path).unwrap()).0.len(), 2);
    }

    proptest! {
        #[test]
        fn rows_survive(rows in prop::collection::vec(sample::any_record(), 0..6)) {
            let (back, torn) = read(&written(&rows));
            prop_assert_eq!(back, rows);
            prop_assert!(!torn);
        }

        #[test]
        fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..600), ours: bool) {
            if ours {
                bytes.splice(0..0, *MAGIC);
            }
            let (rows, _) = read(&bytes);
            prop_assert_eq!(rows.len(), 0, "no checksum matches by chance");
        }

        #[test]
        fn random_rows_in_valid_frames_never_panic(row in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = MAGIC.to_vec();
            let body = [&[VERSION][..], &1i64.to_le_bytes(), &row].concat();
            bytes.extend((body.len() as u32).to_le_bytes());
            bytes.extend(crc32c::crc32c(&body).to_le_bytes());
            bytes.extend(body);
            let _ = read(&bytes);
        }
    }
}
