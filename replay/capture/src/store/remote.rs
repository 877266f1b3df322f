//! [`RemoteFile`]: a Parquet file in an object store, read by ranges as the decoder asks for them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use super::object::{Known, Object};
use super::runtime;
use crate::CaptureError;

/// What is asked of the store at once, at least: the decoder itself reads a few bytes at a time.
const BLOCK: u64 = 512 << 10;
/// Blocks kept for each open file.
const KEPT: usize = 32;
/// Blocks read at once where reading goes on where it stopped.
const AHEAD: u64 = 4;

/// The bytes of a capture file, wherever it is.
#[derive(Debug)]
pub(crate) enum Source {
    Local(File),
    Remote(RemoteFile),
}

impl Source {
    /// The same file again.
    pub(crate) fn again(&self) -> io::Result<Source> {
        Ok(match self {
            Source::Local(file) => Source::Local(file.try_clone()?),
            Source::Remote(file) => Source::Remote(file.clone()),
        })
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        match self {
            Source::Local(file) => file.len(),
            Source::Remote(file) => file.size,
        }
    }
}

impl ChunkReader for Source {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(match self {
            Source::Local(file) => Box::new(file.get_read(start)?),
            Source::Remote(file) => Box::new(Cursor { file: file.clone(), at: start }),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match self {
            Source::Local(file) => file.get_bytes(start, length),
            Source::Remote(file) => file.bytes(start, length as u64),
        }
    }
}

/// An object of a known size, and the blocks of it that were read last. Clones share these.
#[derive(Clone, Debug)]
pub(crate) struct RemoteFile {
    object: Object,
    size: u64,
    /// Blocks by their number; the one used last stands last.
    kept: Arc<Mutex<VecDeque<(u64, Bytes)>>>,
}

impl RemoteFile {
    /// `None` when there is no such object.
    pub(crate) fn open(
        mut object: Object,
    ) -> std::result::Result<Option<RemoteFile>, CaptureError> {
        if object.known.is_none() {
            let asked = object.clone();
            let Some(meta) = runtime::wait(async move { asked.head().await })? else {
                return Ok(None);
            };
            object.known = Some(Known { size: meta.size, e_tag: meta.e_tag });
        }
        let size = object.known.as_ref().map_or(0, |known| known.size);
        Ok(Some(RemoteFile { object, size, kept: Arc::default() }))
    }

    fn bytes(&self, start: u64, length: u64) -> Result<Bytes> {
        let end = start.checked_add(length).filter(|end| *end <= self.size);
        let end =
            end.ok_or_else(|| ParquetError::EOF(format!("{start}+{length} of {}", self.size)))?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        if length > 2 * BLOCK {
            return self.fetch(start, end);
        }
        let first = self.from(start)?;
        if first.len() as u64 >= length {
            return Ok(first.slice(..length as usize));
        }
        let mut all = first.to_vec();
        while (all.len() as u64) < length {
            let more = self.from(start + all.len() as u64)?;
            let wanted = (length as usize - all.len()).min(more.len());
            all.extend_from_slice(&more[..wanted]);
        }
        Ok(all.into())
    }

    /// What its block holds from this byte on; at least one byte, as `at` lies in the file.
    fn from(&self, at: u64) -> Result<Bytes> {
        let block = self.block(at / BLOCK)?;
        Ok(block.slice((at % BLOCK) as usize..))
    }

    fn block(&self, number: u64) -> Result<Bytes> {
        // held while reading: whoever waits here would only ask for the same
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(known, _)| *known == number) {
            let found = kept.remove(at);
            kept.extend(found.clone());
            return Ok(found.map(|(_, bytes)| bytes).unwrap_or_default());
        }
        let has = |number: u64| kept.iter().any(|(known, _)| *known == number);
        let goes_on = number.checked_sub(1).is_some_and(has);
        let wanted = if goes_on { AHEAD } else { 1 };
        let last = (number + 1..number + wanted).take_while(|next| !has(*next)).last();
        let end = ((last.unwrap_or(number) + 1) * BLOCK).min(self.size);
        let bytes = self.fetch(number * BLOCK, end)?;
        let mut from = 0;
        for next in number.. {
            let to = bytes.len().min(from + BLOCK as usize);
            if from == to {
                break;
            }
            kept.push_back((next, bytes.slice(from..to)));
            from = to;
        }
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
        Ok(bytes.slice(..bytes.len().min(BLOCK as usize)))
    }

    fn fetch(&self, start: u64, end: u64) -> Result<Bytes> {
        let object = self.object.clone();
        let read = runtime::wait(async move { object.range(start..end).await });
        read.map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// Reads on from a place.
struct Cursor {
    file: RemoteFile,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.file.size || into.is_empty() {
            return Ok(0);
        }
        let bytes = self.file.from(self.at).map_err(io::Error::other)?;
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        self.at += count as u64;
        Ok(count)
    }
}
