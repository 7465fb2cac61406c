//! Certificates from the files that the settings name, checked before anything connects.

use super::servers::problem;
use crate::settings::SettingsError;
use redis::{ClientTlsConfig, TlsCertificates};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::path::Path;

const CA: &str = "registry.redis_ca_file";
const CERTIFICATE: &str = "registry.redis_client_certificate";
const KEY: &str = "registry.redis_client_key";

/// Reads an authority's file, and a client's certificate with its key.
///
/// # Errors
/// A file cannot be read, holds nothing usable, or certificate and key do not belong together.
pub(super) fn certificates(
    authorities: Option<&Path>,
    client: Option<(&Path, &Path)>,
) -> Result<TlsCertificates, SettingsError> {
    let mut store = RootCertStore::empty();
    let root_cert = authorities.map(|path| read(CA, path)).transpose()?;
    if let (Some(pem), Some(path)) = (&root_cert, authorities) {
        for certificate in chain(CA, path, pem)? {
            store.add(certificate).map_err(|error| problem(CA, &format!("{}: {error}", path.display())))?;
        }
    }
    let Some((certificate, key)) = client else { return Ok(TlsCertificates { client_tls: None, root_cert }) };
    let (client_cert, client_key) = (read(CERTIFICATE, certificate)?, read(KEY, key)?);
    let chain = chain(CERTIFICATE, certificate, &client_cert)?;
    let private = PrivateKeyDer::from_pem_slice(&client_key)
        .map_err(|_| problem(KEY, &format!("{} holds no private key in PEM form", key.display())))?;
    install_provider();
    // Tried here, so that a key that is not the certificate's is one line at the start and not a broken handshake.
    ClientConfig::builder().with_root_certificates(store).with_client_auth_cert(chain, private).map_err(|error| {
        problem(KEY, &format!("{} is not the key of {}: {error}", key.display(), certificate.display()))
    })?;
    Ok(TlsCertificates { client_tls: Some(ClientTlsConfig { client_cert, client_key }), root_cert })
}

/// TLS needs a process-wide provider; an error only says that one is installed already.
pub(super) fn install_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    std::fs::read(path)
        .map_err(|error| problem(key, &format!("{}: {error}; give a file that this user can read", path.display())))
}

fn chain(key: &'static str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(problem(key, &format!("{} holds no certificate in PEM form", path.display()))),
    }
}
