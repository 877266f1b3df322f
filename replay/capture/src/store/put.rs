//! One file into the store: what never changes is created and never overwritten; what grows replaces only what it
//! begins with.

use std::path::Path;

use object_store::{
    Attribute, Attributes, Error, MultipartUpload as _, ObjectStore as _, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, TagSet, UpdateVersion,
};
use tokio::io::AsyncReadExt as _;

use super::object::{Object, Whole};
use super::{StoreConfig, WRITER};
use crate::CaptureError;

/// A file up to this size goes in one request, which the store takes whole or not at all.
const SINGLE: u64 = 32 << 20;
/// A larger one goes in parts of this size, and appears with the last.
const PART: u64 = 8 << 20;
/// A file that grows is sent whole each time.
const MAX_GROWING: u64 = 64 << 20;
/// Tries against others who write the same object.
const RACES: u32 = 3;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// The store has this many bytes of it.
    Stored(u64),
    /// It is not here any more.
    Gone,
}

/// How objects are written: what goes with them, and who writes.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    writer: String,
    attributes: Attributes,
    tags: TagSet,
}

impl Manner {
    pub(super) fn new(writer: &str, config: &StoreConfig) -> Manner {
        let mut attributes = Attributes::new();
        // a folder keeps nothing beside the bytes
        if config.location.path().is_none() {
            attributes.insert(Attribute::Metadata(WRITER.into()), writer.to_owned().into());
            if let Some(class) = &config.storage_class {
                attributes.insert(Attribute::StorageClass, class.clone().into());
            }
        }
        let mut tags = TagSet::default();
        config.tags.iter().for_each(|(name, value)| tags.push(name, value));
        Manner { writer: writer.to_owned(), attributes, tags }
    }

    fn options(&self, mode: PutMode) -> PutOptions {
        let (tags, attributes) = (self.tags.clone(), self.attributes.clone());
        PutOptions { mode, tags, attributes, ..PutOptions::default() }
    }
}

/// Whether a file's content changes once it is there.
pub(super) fn grows(path: &str) -> bool {
    path.ends_with(".jsonl")
}

/// Sends a file, unless the store has it.
pub(super) async fn file(to: &Object, from: &Path, manner: &Manner) -> Result<Put, CaptureError> {
    if grows(to.key.as_ref()) {
        growing(to, from, manner).await
    } else {
        fixed(to, from, manner).await
    }
}

async fn open(from: &Path) -> Result<Option<(tokio::fs::File, u64)>, CaptureError> {
    let failed = |error| CaptureError::io("read", from)(error);
    let file = match tokio::fs::File::open(from).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let len = file.metadata().await.map_err(failed)?.len();
    Ok(Some((file, len)))
}

async fn read(file: &mut tokio::fs::File, len: u64, from: &Path) -> Result<Vec<u8>, CaptureError> {
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    let read = file.take(len).read_to_end(&mut bytes).await;
    read.map_err(CaptureError::io("read", from))?;
    Ok(bytes)
}

/// A file that never changes: created, or there already.
async fn fixed(to: &Object, from: &Path, manner: &Manner) -> Result<Put, CaptureError> {
    let Some((mut file, len)) = open(from).await? else {
        return Ok(Put::Gone);
    };
    if len > SINGLE {
        // a name is of one writer alone, so nobody comes in between
        if let Some(found) = to.head().await? {
            return same(to, found.size, len, manner).await;
        }
        return in_parts(to, from, (file, len), manner).await;
    }
    let bytes = read(&mut file, len, from).await?;
    let put = to.store.put_opts(&to.key, bytes.into(), manner.options(PutMode::Create)).await;
    match put {
        Ok(_) => Ok(Put::Stored(len)),
        // of an upload whose answer was lost, most likely
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
            let found = to.head().await?.map_or(0, |found| found.size);
            same(to, found, len, manner).await
        }
        Err(error) => Err(to.error("write", &error)),
    }
}

async fn same(to: &Object, found: u64, len: u64, manner: &Manner) -> Result<Put, CaptureError> {
    if found == len { Ok(Put::Stored(len)) } else { Err(taken(to, None, manner)) }
}

fn taken(to: &Object, theirs: Option<String>, manner: &Manner) -> CaptureError {
    let theirs = theirs.unwrap_or_else(|| "another".to_owned());
    CaptureError::Taken { url: to.to_string(), ours: manner.writer.clone(), theirs }
}

async fn in_parts(
    to: &Object,
    from: &Path,
    (mut file, len): (tokio::fs::File, u64),
    manner: &Manner,
) -> Result<Put, CaptureError> {
    let options = PutMultipartOptions {
        tags: manner.tags.clone(),
        attributes: manner.attributes.clone(),
        ..PutMultipartOptions::default()
    };
    let failed = |error: Error| to.error("write", &error);
    let mut upload = to.store.put_multipart_opts(&to.key, options).await.map_err(failed)?;
    let mut left = len;
    while left > 0 {
        let sent = match read(&mut file, left.min(PART), from).await {
            // somebody cut the file short
            Ok(bytes) if bytes.is_empty() => {
                Err(CaptureError::damaged(from)("shorter than it was"))
            }
            Ok(bytes) => {
                left -= bytes.len() as u64;
                upload.put_part(PutPayload::from(bytes)).await.map_err(failed)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            // if this fails too, the store's own rule for unfinished uploads sees to it
            let _ = upload.abort().await;
            return Err(error);
        }
    }
    upload.complete().await.map_err(failed)?;
    Ok(Put::Stored(len))
}

/// A file to which lines are added: replaces what it begins with, by a conditional put.
async fn growing(to: &Object, from: &Path, manner: &Manner) -> Result<Put, CaptureError> {
    let Some((mut file, len)) = open(from).await? else {
        return Ok(Put::Gone);
    };
    if len > MAX_GROWING {
        return Err(CaptureError::TooLarge { path: from.to_owned(), limit: MAX_GROWING });
    }
    let bytes = bytes::Bytes::from(read(&mut file, len, from).await?);
    let mut theirs = None;
    for _ in 0..RACES {
        let mode = match to.whole(MAX_GROWING).await? {
            None => PutMode::Create,
            Some(Whole { bytes: there, .. }) if there.starts_with(&bytes) => {
                return Ok(Put::Stored(len));
            }
            Some(Whole { bytes: there, writer, version }) if bytes.starts_with(&there) => {
                theirs = writer;
                update(to, version)
            }
            Some(Whole { writer, .. }) => return Err(taken(to, writer, manner)),
        };
        let payload = PutPayload::from(bytes.clone());
        match to.store.put_opts(&to.key, payload, manner.options(mode)).await {
            Ok(_) => return Ok(Put::Stored(len)),
            // somebody was quicker: look again at what is there now
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
            Err(error) => return Err(to.error("write", &error)),
        }
    }
    Err(taken(to, theirs, manner))
}

/// A folder of this machine knows no conditions; there, the look before has to do.
fn update(to: &Object, version: UpdateVersion) -> PutMode {
    let is_folder = to.store.to_string().starts_with("LocalFileSystem");
    if is_folder { PutMode::Overwrite } else { PutMode::Update(version) }
}
