//! TLS: the server's certificate and key, which may change while it runs.
//!
//! Connections that are open keep the certificate they began with. Versions 1.2 and 1.3; the client names none of its
//! own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use pgwire::api::auth::sasl::scram::ScramServerAuth;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, version};

/// A certificate and its key, read from files.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    identity: ArcSwap<Identity>,
}

/// What the server shows clients.
pub(super) struct Identity {
    /// Takes connections.
    pub(super) acceptor: TlsAcceptor,
    /// The certificates in PEM, where passwords can be bound to the first of them.
    pub(super) binding: Option<Vec<u8>>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl Tls {
    /// Reads a certificate chain, the server's own first, and its key, both PEM files.
    ///
    /// # Errors
    /// One sentence that names the file.
    pub fn open(certificate: &Path, key: &Path) -> Result<Arc<Self>, String> {
        let identity = ArcSwap::from_pointee(identity(certificate, key)?);
        Ok(Arc::new(Self { certificate: certificate.to_owned(), key: key.to_owned(), identity }))
    }

    /// Reads the files again. After an error the certificate stays the one it was.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn reload(&self) -> Result<(), String> {
        self.identity.store(Arc::new(identity(&self.certificate, &self.key)?));
        Ok(())
    }

    pub(super) fn identity(&self) -> Arc<Identity> {
        self.identity.load_full()
    }
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, String> {
    let read = |what: &str, path: &Path| {
        std::fs::read(path).map_err(|e| format!("cannot read the {what} {}: {e}", path.display()))
    };
    let pem = read("certificate", certificate)?;
    let wrong = |what: &str, path: &Path, e: &dyn std::fmt::Display| format!("{what} {}: {e}", path.display());
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|e| wrong("certificate", certificate, &e))?;
    if chain.is_empty() {
        return Err(wrong("certificate", certificate, &"there is none in the file"));
    }
    let private = PrivateKeyDer::from_pem_slice(&read("key", key)?).map_err(|e| wrong("key", key, &e))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|e| format!("TLS cannot be set up: {e}"))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| wrong("certificate", certificate, &e))?;
    let binds = ScramServerAuth::new().configure_certificate(&pem).is_ok();
    Ok(Identity { acceptor: TlsAcceptor::from(Arc::new(config)), binding: binds.then_some(pem) })
}
