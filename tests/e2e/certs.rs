//! Certificates made for one test: an authority, and what it signs.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An authority that nobody knows but who is told.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub(crate) file: PathBuf,
}

/// A certificate and its key, as files.
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// A new one, whose files are in `dir` and begin with `name`.
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let file = dir.join(format!("{name}.pem"));
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// The same, with its file in `dir`.
    pub(crate) fn moved_to(self, dir: &Path) -> Self {
        let file = dir.join("authority.pem");
        std::fs::copy(&self.file, &file).unwrap();
        Self { file, ..self }
    }

    /// A certificate for `localhost`.
    pub(crate) fn sign(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        let path = |end| self.file.with_file_name(format!("{name}-{end}.pem"));
        let pair = Pair { cert: path("cert"), key: path("key") };
        std::fs::write(&pair.cert, made.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    /// What a client that trusts it goes by, which shows `own` when it is asked.
    pub(crate) fn client(&self, own: Option<&Pair>) -> rustls::ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.file).unwrap()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = vec![CertificateDer::from_pem_file(&own.cert).unwrap()];
                let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }
}

impl Pair {
    /// The `tls` section of a gateway that shows it; `more` goes into it.
    pub(crate) fn tls(&self, more: &str) -> String {
        let (cert, key) = (self.cert.display(), self.key.display());
        format!("tls: {{ cert: {cert}, key: {key}{more} }}\n")
    }
}
