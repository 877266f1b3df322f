//! Where the capture's finished files are uploaded to: the section `capture.store`.

use std::collections::BTreeMap;

use capture::{CaptureError, Location, StoreConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Period, Size};

/// Where finished files are uploaded to. Keys come from the environment, as the crate `object_store` reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, or a folder.
    pub url: String,
    /// Bytes of files that may wait for the store.
    pub spool: Size,
    /// What happens beyond that.
    pub on_spool_full: OnSpoolFull,
    /// Keep uploaded files in the folder too, within its own limits.
    pub keep_local: bool,
    /// Files uploaded at a time.
    pub concurrency: usize,
    /// How long one try at one file may take.
    pub attempt: Period,
    /// The storage class of new objects, in the store's words.
    pub storage_class: Option<String>,
    /// Tags of new objects, where the store knows tags.
    pub tags: BTreeMap<String, String>,
    /// Further settings of the store, as `aws_endpoint`, `aws_region` or `aws_server_side_encryption`. No keys.
    pub options: BTreeMap<String, String>,
}

/// What happens when the files that wait for the store reach `spool`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnSpoolFull {
    /// The oldest of them go; a gap row tells of each.
    DeleteOldest,
    /// No new file is begun until some are uploaded: rows are refused and counted.
    Refuse,
}

/// Parts of the names of settings that hold secrets.
const SECRET: [&str; 8] =
    ["secret", "token", "password", "access_key", "account_key", "master_key", "sas", "credential"];

impl Default for Store {
    fn default() -> Self {
        Self {
            url: String::new(),
            spool: Size::new(10_000_000_000),
            on_spool_full: OnSpoolFull::DeleteOldest,
            keep_local: true,
            concurrency: 2,
            attempt: Period::secs(300),
            storage_class: None,
            tags: BTreeMap::new(),
            options: BTreeMap::new(),
        }
    }
}

impl Store {
    /// What is wrong with it: the field, and why.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let secret = |name: &&String| SECRET.iter().any(|part| name.to_lowercase().contains(part));
        if let Some(name) = self.options.keys().find(secret) {
            found.push(("options", format!("`{name}` belongs into the environment")));
        } else if self.url.is_empty() {
            found.push(("url", "is missing".to_owned()));
        } else if let Err(error) = self.location() {
            found.push(("url", error.to_string()));
        }
        if !(1..=64).contains(&self.concurrency) {
            found.push(("concurrency", "1 to 64".to_owned()));
        }
        if self.attempt.get().is_zero() {
            found.push(("attempt", "may not be 0".to_owned()));
        }
        found
    }

    fn location(&self) -> Result<Location, CaptureError> {
        let options = self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Location::with_options(&self.url, options)
    }

    /// The recorder's form of it.
    ///
    /// # Errors
    /// When the URL or the options are of no store.
    pub fn settings(&self) -> Result<StoreConfig, CaptureError> {
        Ok(StoreConfig {
            spool: self.spool.get(),
            on_spool_full: match self.on_spool_full {
                OnSpoolFull::DeleteOldest => capture::OnSpoolFull::DeleteOldest,
                OnSpoolFull::Refuse => capture::OnSpoolFull::Refuse,
            },
            keep_local: self.keep_local,
            concurrency: self.concurrency,
            attempt: self.attempt.get(),
            storage_class: self.storage_class.clone(),
            tags: self.tags.clone(),
            ..StoreConfig::new(self.location()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_out_of_the_configuration() {
        let at = |name: &str| Store {
            url: "s3://bucket/a".to_owned(),
            options: [(name.to_owned(), "x".to_owned())].into(),
            ..Store::default()
        };
        assert_eq!(at("aws_region").problems(), []);
        for name in ["aws_secret_access_key", "AWS_SESSION_TOKEN", "azure_storage_account_key"] {
            assert_eq!(at(name).problems()[0].0, "options", "{name}");
        }
        assert_eq!(at("aws_nonsense").problems()[0].0, "url");
        assert_eq!(Store::default().problems()[0].0, "url");
    }
}
