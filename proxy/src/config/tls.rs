//! Certificates: the one shown to clients, the one asked of them, and the one shown to servers.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The certificate shown to clients, and the one asked of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain, PEM, leaf first. A relative path starts at the config file's
    /// folder, as every path in it.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// Certificate authorities, PEM: clients must show a certificate that one of them signed
    /// (mutual TLS). Whose it is makes no difference yet: `auth` says who a client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate comes in. Default: `required`. Only with `client_ca`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
}

/// Whether a client without a certificate comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// No: the handshake fails.
    #[default]
    Required,
    /// Yes; one with a wrong certificate does not.
    Optional,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertKey {
    /// The certificate chain, PEM, leaf first.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}
