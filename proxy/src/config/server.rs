//! How a server is reached: an address and its transport, or a command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, CertKey, Origin, Secret};

/// One MCP server behind the gateway: reached at its `url`, or started by its `command`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Its endpoint: `http://` or `https://`, `ws://` or `wss://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Address>,
    /// How an `http://` or `https://` endpoint is spoken to. Default: `auto`.
    pub transport: ServerTransport,
    /// The program that is the server, one JSON-RPC message a line on its standard input and
    /// output. Started by the gateway, and only ever as it is written here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The program's arguments. They may hold credentials, and are not shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Secret>,
    /// Environment variables for the program, beside `PATH`, `HOME`, `LANG` and the like, which it
    /// is given from the gateway's own environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Secret>,
    /// The folder the program starts in. Default: the gateway's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// The revisions it speaks, where finding out is not wanted. Default: `auto`.
    pub era: ServerEra,
    /// Headers sent to it with each request, its credentials above all. Write them as
    /// `${NAME}`, so that they stay in the environment. A client's own token never goes there.
    pub headers: BTreeMap<String, Secret>,
    /// Certificate authorities to trust for it, PEM, instead of the system's.
    pub ca: Option<PathBuf>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Where it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The certificate shown to it (mutual TLS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<CertKey>,
}

impl Server {
    /// Makes every relative path start at `folder`.
    pub(crate) fn resolve_paths(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| *path = folder.join(&path);
        self.ca.iter_mut().chain(&mut self.cwd).for_each(join);
        if let Some(cert) = &mut self.client_cert {
            join(&mut cert.cert);
            join(&mut cert.key);
        }
    }
}

/// How an `http://` or `https://` endpoint is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerTransport {
    /// Streamable HTTP, or HTTP+SSE where the server turns out to be as old as that.
    #[default]
    Auto,
    /// Streamable HTTP over HTTP/1.1 or HTTP/2.
    Http,
    /// HTTP+SSE of 2024-11-05; the `url` is that of its event stream.
    Sse,
    /// Streamable HTTP over HTTP/3.
    Http3,
}

/// The revisions a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerEra {
    /// The gateway asks, and remembers the answer.
    #[default]
    Auto,
    /// Those with a handshake: 2024-11-05 to 2025-11-25.
    Legacy,
    /// Those without: 2026-07-28 and later.
    Modern,
}
