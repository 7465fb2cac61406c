//! What we show other instances, and whom of them we believe.

use super::files::{Stamps, TlsError, TlsFiles, read};
use rustls::{
    ClientConfig, RootCertStore, SignatureScheme,
    client::ResolvesClientCert,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
    sign::CertifiedKey,
};
use rustls_platform_verifier::Verifier;
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// Shows the pair that the files hold at that moment.
#[derive(Debug)]
struct Own {
    files: TlsFiles,
    current: Mutex<(Stamps, Arc<CertifiedKey>)>,
}

impl Own {
    fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let stamps = files.stamps();
        let pair = files.read()?;
        Ok(Self { files, current: Mutex::new((stamps, pair.key)) })
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let stamps = self.files.stamps();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (seen, key) = &mut *current;
        if *seen != stamps {
            *seen = stamps;
            match self.files.read() {
                Ok(pair) => *key = pair.key,
                Err(error) => tracing::warn!(%error, "the new client certificate cannot be used; the one before stays"),
            }
        }
        Some(Arc::clone(key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// For connections to other instances: with the certificate of `pair`, to those whose certificates the authorities in the file `roots`
/// issued; without such a file, those that this machine trusts.
///
/// # Errors
/// [`TlsError`]: a file cannot be used.
pub fn client_config(roots: Option<&Path>, pair: Option<TlsFiles>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(TlsError::Provider)?;
    let builder = match roots {
        Some(path) => builder.with_root_certificates(authorities(path)?),
        None => {
            let verifier = Verifier::new(provider).map_err(TlsError::Provider)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    Ok(match pair {
        Some(files) => builder.with_client_cert_resolver(Arc::new(Own::open(files)?)),
        None => builder.with_no_client_auth(),
    })
}

/// The authorities' certificates in a PEM file.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let bad = |problem: String| TlsError::Content { path: path.to_owned(), problem };
    let text = read(path, false)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| bad(format!("is not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| bad(format!("holds a certificate that cannot be used: {error}")))?;
    }
    if roots.is_empty() {
        return Err(bad("holds no PEM certificate".to_owned()));
    }
    Ok(roots)
}
