//! TLS by rustls: certificates and keys from PEM files, on both faces.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::Tls;

/// What can be wrong with certificates; caused by the files the configuration names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read, or is no PEM.
    #[error("{path}: {detail}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A file without a certificate.
    #[error("{0}: no certificate in it")]
    Empty(PathBuf),
    /// The system has no certificate authorities.
    #[error("no certificate authority found on this system: {0}")]
    NoRoots(String),
    /// Certificate and key don't fit, or are not usable.
    #[error("the certificate is not usable: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The downstream face: HTTP/2 and HTTP/1.1 by ALPN.
///
/// # Errors
/// When a file can't be read or the pair is not usable.
pub fn server(tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|e| file(&tls.key, &e))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates(&tls.cert)?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The upstream face. Trusts the authorities of `ca`, or the system's; none at all are loaded for
/// a server that has no TLS.
///
/// # Errors
/// When `ca` can't be read, or the system has no authorities.
pub fn client(ca: Option<&Path>, needs_roots: bool) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        for certificate in certificates(ca)? {
            roots.add(certificate)?;
        }
    } else if needs_roots {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let detail: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return Err(TlsError::NoRoots(detail.join("; ")));
        }
    }
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|e| file(path, &e))?.collect();
    match all {
        Ok(all) if all.is_empty() => Err(TlsError::Empty(path.into())),
        Ok(all) => Ok(all),
        Err(e) => Err(file(path, &e)),
    }
}

fn file(path: &Path, error: &rustls::pki_types::pem::Error) -> TlsError {
    TlsError::File { path: path.into(), detail: error.to_string() }
}
