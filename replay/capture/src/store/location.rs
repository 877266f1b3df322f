//! [`Location`]: where a capture is, on this machine or in an object store.

use std::cmp::Ordering;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use reqwest::Url;

use super::object::Object;
use super::retry::Retry;
use super::runtime;
use crate::{CaptureError, disk};

/// A capture, a part of one, or one file: a path, or the URL of an object store (`s3://bucket/prefix`, `gs://…`,
/// `az://container/…`, `abfs://…`, `file:///…`).
///
/// Keys and endpoints come from the environment variables that the crate `object_store` documents: `AWS_…`,
/// `GOOGLE_…`, `AZURE_…`. Parsing a URL connects to nothing.
#[derive(Clone, Debug)]
pub struct Location(pub(crate) Place);

/// Where it is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Local(PathBuf),
    Remote(Object),
}

impl Location {
    /// As [`Location::from_str`], with settings of the store beside the environment's: the names that the crate
    /// `object_store` documents, as `aws_endpoint`.
    pub fn with_options<'a>(
        text: &str,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Location, CaptureError> {
        if !text.contains("://") {
            return Ok(Location(Place::Local(text.into())));
        }
        let bad = |detail: String| CaptureError::BadLocation { url: without_query(text), detail };
        let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
        if url.scheme() == "file" {
            let path =
                url.to_file_path().map_err(|()| bad("no path of this machine".to_owned()))?;
            return Ok(Location(Place::Local(path)));
        }
        if url.query().or(url.fragment()).is_some() || url.password().is_some() {
            return Err(bad("keys and settings belong into the environment".to_owned()));
        }
        let (scheme, key) =
            ObjectStoreScheme::parse(&url).map_err(|_| bad("unknown kind of store".to_owned()))?;
        // the URL of the bucket is what people see before each key
        let trimmed = text.trim_end_matches('/');
        let bucket = trimmed.strip_suffix(key.as_ref()).map(|bucket| bucket.trim_end_matches('/'));
        let bucket = bucket.ok_or_else(|| bad("a path with escapes".to_owned()))?;
        let options: Vec<(&str, &str)> = options.into_iter().collect();
        // building a client looks for certificates, which takes rustls's provider
        runtime::handle()?;
        let store = build(&scheme, bucket, &options).map_err(|error| bad(error.to_string()))?;
        let store = store.ok_or_else(|| {
            bad("this scheme is no store; for S3 use s3://bucket/prefix with AWS_ENDPOINT"
                .to_owned())
        })?;
        let (bucket, known) = (Arc::from(bucket), None);
        Ok(Location(Place::Remote(Object { store, bucket, key, known, retry: Retry::READ })))
    }

    /// The path, if it is one of this machine.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Place::Local(path) => Some(path),
            Place::Remote(_) => None,
        }
    }

    /// The last part of the name.
    pub fn name(&self) -> &str {
        match &self.0 {
            Place::Local(path) => {
                path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
            }
            Place::Remote(object) => object.name(),
        }
    }

    /// What lies below at a relative path with slashes.
    #[must_use]
    pub fn join(&self, path: &str) -> Location {
        Location(match &self.0 {
            Place::Local(dir) => Place::Local(dir.join(path)),
            Place::Remote(object) => Place::Remote(object.child(path)),
        })
    }

    /// The capture that it is a part of: of a path, the nearest folder upwards that holds rule sets; of a URL, what
    /// stands before the partitions.
    #[must_use]
    pub fn root(&self) -> Location {
        match &self.0 {
            Place::Local(path) => {
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                let mut folders = absolute.ancestors();
                let root = folders.find(|folder| folder.join("rulesets").is_dir());
                Location(Place::Local(root.unwrap_or(&absolute).to_owned()))
            }
            Place::Remote(object) => {
                let mut parts: Vec<&str> = object.key.as_ref().split('/').collect();
                while parts.last().is_some_and(|part| {
                    part.starts_with("date=")
                        || part.starts_with("hour=")
                        || part.ends_with(".parquet")
                }) {
                    parts.pop();
                }
                let key = parts.into_iter().fold(Key::default(), |key, part| key.join(part));
                Location(Place::Remote(Object { key, known: None, ..object.clone() }))
            }
        }
    }

    /// A small file, or `None` when there is none.
    pub(crate) fn read(&self, limit: u64) -> Result<Option<Vec<u8>>, CaptureError> {
        let path = match &self.0 {
            Place::Local(path) => path,
            Place::Remote(object) => {
                let object = object.clone();
                let whole = runtime::wait(async move { object.whole(limit).await })?;
                return Ok(whole.map(|whole| whole.bytes.into()));
            }
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CaptureError::io("open", path)(error)),
        };
        let mut bytes = Vec::new();
        let read = file.take(limit + 1).read_to_end(&mut bytes);
        if read.map_err(CaptureError::io("read", path))? as u64 > limit {
            return Err(CaptureError::TooLarge { path: path.clone(), limit });
        }
        Ok(Some(bytes))
    }

    /// The store to upload to; a folder of this machine is made, and is one too.
    pub(crate) fn object(&self) -> Result<Object, CaptureError> {
        let path = match &self.0 {
            Place::Remote(object) => return Ok(object.clone()),
            Place::Local(path) => path,
        };
        disk::create_dir(path).map_err(CaptureError::io("create", path))?;
        let bad = |error: object_store::Error| CaptureError::BadLocation {
            url: path.display().to_string(),
            detail: error.to_string(),
        };
        let store = LocalFileSystem::new_with_prefix(path).map_err(bad)?.with_fsync(true);
        let bucket = Arc::from(path.display().to_string());
        let (key, known) = (Key::default(), None);
        Ok(Object { store: Arc::new(store), bucket, key, known, retry: Retry::READ })
    }

    /// A store made elsewhere.
    #[cfg(test)]
    pub(crate) fn of_store(store: Arc<dyn ObjectStore>, retry: Retry) -> Location {
        let (bucket, key) = (Arc::from("test://bucket"), Key::from("captures/a"));
        Location(Place::Remote(Object { store, bucket, key, known: None, retry }))
    }
}

fn without_query(text: &str) -> String {
    text.split(['?', '#']).next().unwrap_or_default().chars().take(200).collect()
}

/// The client of a store: the environment first, then the options. `None` for a scheme that is none of ours.
fn build(
    scheme: &ObjectStoreScheme,
    url: &str,
    options: &[(&str, &str)],
) -> object_store::Result<Option<Arc<dyn ObjectStore>>> {
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 3,
        retry_timeout: std::time::Duration::from_secs(30),
    };
    let client = ClientOptions::new().with_timeout(std::time::Duration::from_secs(60));
    // a store on this machine needs no TLS
    let near = |endpoint: &str| {
        let url = Url::parse(endpoint).ok();
        url.is_some_and(|url| matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")))
    };
    let endpoint = options.iter().find(|(name, _)| name.eq_ignore_ascii_case("aws_endpoint"));
    let endpoint = endpoint.map(|(_, value)| (*value).to_owned());
    let endpoint = endpoint.or_else(|| std::env::var("AWS_ENDPOINT").ok());
    let endpoint = endpoint.or_else(|| std::env::var("AWS_ENDPOINT_URL").ok());
    let client = client.with_allow_http(endpoint.is_some_and(|endpoint| near(&endpoint)));
    let key = |name: &str| name.to_ascii_lowercase();
    Ok(Some(match scheme {
        ObjectStoreScheme::AmazonS3 => {
            let mut builder = AmazonS3Builder::new().with_client_options(client);
            for (name, value) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
                if let Ok(key) = key(&name).parse() {
                    builder = builder.with_config(key, value);
                }
            }
            for (name, value) in options {
                builder = builder.with_config(key(name).parse()?, *value);
            }
            Arc::new(builder.with_url(url).with_retry(retry).build()?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let mut builder = GoogleCloudStorageBuilder::from_env();
            for (name, value) in options {
                builder = builder.with_config(key(name).parse()?, *value);
            }
            Arc::new(builder.with_url(url).with_retry(retry).build()?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let mut builder = MicrosoftAzureBuilder::from_env();
            for (name, value) in options {
                builder = builder.with_config(key(name).parse()?, *value);
            }
            Arc::new(builder.with_url(url).with_retry(retry).build()?)
        }
        _ => return Ok(None),
    }))
}

impl FromStr for Location {
    type Err = CaptureError;

    fn from_str(text: &str) -> Result<Location, CaptureError> {
        Location::with_options(text, [])
    }
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Local(path) => write!(out, "{}", path.display()),
            Place::Remote(object) => write!(out, "{object}"),
        }
    }
}

impl PartialEq for Location {
    fn eq(&self, other: &Location) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Location {}

impl PartialOrd for Location {
    fn partial_cmp(&self, other: &Location) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Location {
    fn cmp(&self, other: &Location) -> Ordering {
        match (&self.0, &other.0) {
            (Place::Local(one), Place::Local(other)) => one.cmp(other),
            (Place::Local(_), Place::Remote(_)) => Ordering::Less,
            (Place::Remote(_), Place::Local(_)) => Ordering::Greater,
            (Place::Remote(one), Place::Remote(other)) => {
                (&one.bucket, &one.key).cmp(&(&other.bucket, &other.key))
            }
        }
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Location {
        Location(Place::Local(path))
    }
}

impl From<&PathBuf> for Location {
    fn from(path: &PathBuf) -> Location {
        Location(Place::Local(path.clone()))
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Location {
        Location(Place::Local(path.to_owned()))
    }
}

impl From<&Location> for Location {
    fn from(location: &Location) -> Location {
        location.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Location, CaptureError> {
        Location::with_options(text, [("aws_region", "us-east-1")])
    }

    #[test]
    fn urls_and_paths_are_told_apart_and_shown_as_given() {
        for path in ["capture", "/var/lib/x", "./a=b", "s3:x"] {
            assert_eq!(parse(path).unwrap().path(), Some(Path::new(path)));
        }
        assert_eq!(parse("file:///var/a%20b").unwrap().path(), Some(Path::new("/var/a b")));
        for (text, shown) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ] {
            let location = parse(text).unwrap();
            assert_eq!((location.path(), location.to_string().as_str()), (None, shown));
        }
        for bad in
            ["s3://", "ftp://x/y", "http://127.0.0.1:9000/bucket", "s3://b/a?key=x", "s3://b/a%20b"]
        {
            let error = parse(bad).unwrap_err();
            assert!(matches!(error, CaptureError::BadLocation { .. }), "{bad}: {error}");
            assert!(!error.to_string().contains("key=x"));
        }
        let unknown = Location::with_options("s3://b", [("aws_nonsense", "1")]);
        assert!(matches!(unknown, Err(CaptureError::BadLocation { .. })));
    }

    #[test]
    fn the_root_of_a_url_stands_before_its_partitions() {
        let root = parse("s3://bucket/team/a").unwrap();
        for part in [
            "",
            "date=2025-11-22",
            "date=2025-11-22/hour=23",
            "date=2025-11-22/hour=23/w-1-2.parquet",
        ] {
            assert_eq!(root.join(part).root(), root, "{part}");
        }
        assert_eq!(root.join("date=2025-11-22/hour=23/w-1-2.parquet").name(), "w-1-2.parquet");
        assert_eq!(parse("s3://bucket/date=2025-11-22").unwrap().root().to_string(), "s3://bucket");
    }
}
