//! TLS by rustls: certificates and keys from PEM files, on both faces.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{CertKey, ClientAuth, Tls};

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

/// The downstream face over TCP: HTTP/2 and HTTP/1.1 by ALPN.
///
/// # Errors
/// When a file can't be read or the pair is not usable.
pub fn server(tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    Ok(Arc::new(accepting(tls, &[b"h2", b"http/1.1"])?))
}

/// The downstream face over QUIC: HTTP/3. It takes no early data: what comes before the end of the
/// handshake could be sent again by whoever recorded it.
///
/// # Errors
/// As [`server`].
pub fn quic_server(tls: &Tls) -> Result<Arc<QuicServerConfig>, TlsError> {
    let mut config = accepting(tls, &[b"h3"])?;
    config.max_early_data_size = 0;
    Ok(Arc::new(QuicServerConfig::try_from(config).map_err(no_quic)?))
}

fn accepting(tls: &Tls, protocols: &[&[u8]]) -> Result<ServerConfig, TlsError> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(roots(ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = match tls.client_auth.unwrap_or_default() {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            let unusable = |e: VerifierBuilderError| rustls::Error::General(e.to_string());
            builder.with_client_cert_verifier(verifier.build().map_err(unusable)?)
        }
    };
    let mut config = builder.with_single_cert(certificates(&tls.cert)?, key(&tls.key)?)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// The upstream face. Trusts the authorities of `ca`, or the system's (none are loaded for a
/// server that has no TLS), and shows `own` to a server that asks for a certificate.
///
/// # Errors
/// When a file can't be read or used, or the system has no authorities.
pub fn client(
    ca: Option<&Path>,
    own: Option<&CertKey>,
    needs_roots: bool,
) -> Result<ClientConfig, TlsError> {
    let roots = match ca {
        Some(ca) => roots(ca)?,
        None if needs_roots => system_roots()?,
        None => RootCertStore::empty(),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder.with_client_auth_cert(certificates(&own.cert)?, key(&own.key)?)?,
    })
}

/// The upstream face over QUIC, from what [`client`] gives.
///
/// # Errors
/// When no cipher suite fits.
pub fn quic_client(mut config: ClientConfig) -> Result<Arc<QuicClientConfig>, TlsError> {
    config.alpn_protocols = vec![b"h3".to_vec()];
    Ok(Arc::new(QuicClientConfig::try_from(config).map_err(no_quic)?))
}

fn no_quic(error: NoInitialCipherSuite) -> rustls::Error {
    rustls::Error::General(error.to_string())
}

/// The certificate authorities of a file.
///
/// # Errors
/// When it can't be read, or has no usable certificate.
pub fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// Whether a certificate and a key are usable together.
///
/// # Errors
/// When they are not.
pub fn pair(cert: &Path, path: &Path) -> Result<(), TlsError> {
    CertifiedKey::from_der(certificates(cert)?, key(path)?, &provider())?;
    Ok(())
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let detail: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots(detail.join("; ")));
    }
    Ok(roots)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| file(path, &e))
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
