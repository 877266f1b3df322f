//! Certificates and keys, from the files a configuration names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Tls;
use super::check::{named, why};

/// Why a certificate or a key cannot be used. The user's to mend; no message holds key material.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// The file cannot be read.
    #[error("{}: {}", named(.path), why(.source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has no certificate.
    #[error("{}: no certificate in it (PEM)", named(.0))]
    NoCertificate(PathBuf),
    /// The file has no private key.
    #[error("{}: no private key in it (PEM)", named(.0))]
    NoKey(PathBuf),
    /// Certificate and key are none that TLS can use together.
    #[error("certificate and key cannot be used together: {0}")]
    Pair(rustls::Error),
}

/// The certificates in a file, at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let text = read(path)?;
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| PemError::NoCertificate(path.into()))
}

/// The first private key in a file.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| PemError::NoKey(path.into()))
}

fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    std::fs::read(path).map_err(|source| PemError::Read {
        path: path.into(),
        source,
    })
}

impl Tls {
    /// The two files as a server's TLS configuration, without ALPN names.
    pub fn server_config(&self) -> Result<ServerConfig, PemError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(PemError::Pair)?
            .with_no_client_auth()
            .with_single_cert(certificates(&self.cert)?, private_key(&self.key)?)
            .map_err(PemError::Pair)
    }
}
