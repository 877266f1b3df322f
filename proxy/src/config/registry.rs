//! The section `registry`: servers beside those of the file, one file each in a folder.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Period;

/// Servers beside those of this file, one `NAME.yaml` each in a folder, as `wiregate servers add`
/// writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Registry {
    /// The folder. Without it there are only the servers of this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// How often the folder is looked at for changes.
    pub watch_every: Period,
    /// Only servers that were vetted (`wiregate servers vet NAME --approve`), and are defined as
    /// they were then, are served.
    pub require_vetted: bool,
    /// The names of keys (`auth`) whose holders may list, add and remove servers at the address of
    /// `admin`, under `/servers`. Whoever may add one may start programs. Without any there is
    /// nothing under `/servers`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub admins: Vec<String>,
    /// Where approvals are kept; settled when the configuration is read ([`Registry::records`]).
    #[serde(skip)]
    pub vetted: Option<PathBuf>,
}

impl Registry {
    /// The folder of approvals: that of the servers, else `vetted` below the user's state folder,
    /// which `env` tells.
    pub fn records(&self, env: super::Env<'_>) -> Option<PathBuf> {
        self.dir.clone().or_else(|| Some(super::state(env)?.join("vetted")))
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            dir: None,
            watch_every: Period::secs(2),
            require_vetted: false,
            admins: Vec::new(),
            vetted: None,
        }
    }
}

/// Where a server comes from, as a registry's file said when it was imported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Origin {
    /// Its name in the registry, as in `io.github.someone/server`.
    pub name: String,
    /// Its version there.
    pub version: String,
    /// Its source code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The package: `npm:@scope/name@1.2.3`, `pypi:name==1.2.3`, `oci:image:tag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The package file's SHA-256, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it was first published (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// When this version came out (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
}
