//! [`Object`]: one object of a store, or a prefix; with what the store can do.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path as Key;
use object_store::{
    Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, UpdateVersion,
};

use super::retry::Retry;
use crate::CaptureError;

/// An error's text is cut here: it may hold a whole page that some proxy sent.
const MAX_DETAIL: usize = 400;

/// What a listing told of an object.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) size: u64,
    pub(crate) e_tag: Option<String>,
}

/// An object, or the prefix of many. Clones share the store's connections.
#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The bucket's URL, for people; no slash at its end.
    pub(crate) bucket: Arc<str>,
    pub(crate) key: Key,
    pub(crate) known: Option<Known>,
    pub(crate) retry: Retry,
}

/// The whole of a small object.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    pub(crate) version: UpdateVersion,
    /// Who wrote it, as its metadata says.
    pub(crate) writer: Option<String>,
}

impl Object {
    /// The object below this one at a relative path.
    pub(crate) fn child(&self, path: &str) -> Object {
        let parts = path.split('/').filter(|part| !part.is_empty());
        let key = parts.fold(self.key.clone(), |key, part| key.join(part));
        Object { key, known: None, ..self.clone() }
    }

    /// The last part of the name.
    pub(crate) fn name(&self) -> &str {
        self.key.as_ref().rsplit('/').next().unwrap_or_default()
    }

    /// What the store says of it; `None` when there is none.
    pub(crate) async fn head(&self) -> Result<Option<ObjectMeta>, CaptureError> {
        optional(self.again("look for", || self.store.head(&self.key)).await)
    }

    /// All of it, unless it is larger than `limit`.
    pub(crate) async fn whole(&self, limit: u64) -> Result<Option<Whole>, CaptureError> {
        let read = || async {
            let found = self.store.get_opts(&self.key, GetOptions::default()).await?;
            let name = object_store::Attribute::Metadata(super::WRITER.into());
            let writer = found.attributes.get(&name).map(|value| value.as_ref().to_owned());
            let version = UpdateVersion {
                e_tag: found.meta.e_tag.clone(),
                version: found.meta.version.clone(),
            };
            if found.meta.size > limit {
                return Ok(None);
            }
            Ok(Some(Whole { bytes: found.bytes().await?, version, writer }))
        };
        match optional(self.again("read", read).await)? {
            None => Ok(None),
            Some(None) => Err(CaptureError::TooLarge { path: self.to_string().into(), limit }),
            Some(whole) => Ok(whole),
        }
    }

    /// Some of its bytes, of the version that was seen before.
    pub(crate) async fn range(&self, range: Range<u64>) -> Result<Bytes, CaptureError> {
        let wanted = range.end - range.start;
        let read = || async {
            let options = GetOptions {
                range: Some(GetRange::Bounded(range.clone())),
                if_match: self.known.as_ref().and_then(|known| known.e_tag.clone()),
                ..GetOptions::default()
            };
            let bytes = self.store.get_opts(&self.key, options).await?.bytes().await?;
            if bytes.len() as u64 != wanted {
                let source = format!("{} bytes came, not {wanted}", bytes.len()).into();
                return Err(Error::Generic { store: "range", source });
            }
            Ok(bytes)
        };
        self.again("read", read).await.map_err(Failed::into_error)
    }

    /// The folders and the objects right below, by name.
    pub(crate) async fn list(&self) -> Result<(Vec<Object>, Vec<Object>), CaptureError> {
        let prefix = Some(&self.key).filter(|key| !key.as_ref().is_empty());
        let listed = self.again("list", || self.store.list_with_delimiter(prefix)).await;
        let listed = listed.map_err(Failed::into_error)?;
        let mut folders: Vec<Object> = (listed.common_prefixes.into_iter())
            .map(|key| Object { key, known: None, ..self.clone() })
            .collect();
        let mut files: Vec<Object> = (listed.objects.into_iter())
            .map(|meta| {
                let known = Some(Known { size: meta.size, e_tag: meta.e_tag });
                Object { key: meta.location, known, ..self.clone() }
            })
            .collect();
        folders.sort_by(|a, b| a.key.cmp(&b.key));
        files.sort_by(|a, b| a.key.cmp(&b.key));
        Ok((folders, files))
    }

    /// Tries a step, and again while it is worth it.
    async fn again<T, F>(&self, action: &'static str, step: impl Fn() -> F) -> Result<T, Failed>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        for failures in 1.. {
            let error = match tokio::time::timeout(self.retry.limit, step()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) if failures > self.retry.again || !is_passing(&error) => {
                    return Err(self.failed(action, error));
                }
                Ok(Err(error)) => error,
                Err(_) if failures > self.retry.again => {
                    return Err(Failed { missing: false, error: self.late(action) });
                }
                Err(_) => Error::Generic { store: "time", source: "too late".into() },
            };
            tracing::debug!(object = %self, %error, failures, "trying again");
            tokio::time::sleep(self.retry.wait(failures, self.key.as_ref().len() as u64)).await;
        }
        // the loop ends by its returns only: the count does not run out
        Err(Failed { missing: false, error: self.late(action) })
    }

    fn failed(&self, action: &'static str, error: Error) -> Failed {
        Failed {
            missing: matches!(error, Error::NotFound { .. }),
            error: self.error(action, &error),
        }
    }

    /// The store's error, under our own type.
    pub(crate) fn error(&self, action: &'static str, error: &Error) -> CaptureError {
        let mut detail: String = error.to_string().chars().take(MAX_DETAIL).collect();
        if detail.len() < error.to_string().len() {
            detail.push('…');
        }
        CaptureError::Store { action, url: self.to_string(), detail }
    }

    /// A try took too long.
    pub(crate) fn late(&self, action: &'static str) -> CaptureError {
        CaptureError::Store {
            action,
            url: self.to_string(),
            detail: "no answer in time".to_owned(),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.bucket)?;
        if !self.key.as_ref().is_empty() {
            write!(out, "/{}", self.key)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // not the store: its settings hold keys
        out.debug_tuple("Object").field(&self.to_string()).finish()
    }
}

/// An error, and whether it says that there is no such object.
#[derive(Debug)]
struct Failed {
    missing: bool,
    error: CaptureError,
}

impl Failed {
    fn into_error(self) -> CaptureError {
        self.error
    }
}

fn optional<T>(result: Result<T, Failed>) -> Result<Option<T>, CaptureError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(failed) if failed.missing => Ok(None),
        Err(failed) => Err(failed.error),
    }
}

/// Whether the same may work in a moment. Answers about the object or the caller's rights do not change so soon.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Generic { .. } | Error::JoinError { .. })
}
