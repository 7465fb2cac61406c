//! The two files, read and checked together.

use crate::types::Timestamp;
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};
use zeroize::Zeroizing;

/// More than any chain or key needs.
const MAX_BYTES: u64 = 1 << 20;

/// Why a pair cannot be used. One line each.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the machine says.
        error: io::Error,
    },
    /// Everybody on the machine may read the key.
    #[error("{} may be read by everybody on this machine; type: chmod o= {}", .0.display(), .0.display())]
    Permissions(PathBuf),
    /// The file is not what it should be.
    #[error("{} {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Certificate and key are of two pairs.
    #[error("the key in {} is not the one of the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// SIGHUP cannot be taken.
    #[error("SIGHUP cannot be taken: {0}")]
    Signal(io::Error),
    /// rustls does not take the provider.
    #[error("{0}")]
    Provider(rustls::Error),
}

/// The PEM files of a certificate (with its chain) and of its key.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, and behind it those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
}

/// A certificate with the key that belongs to it.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) not_after: Timestamp,
    pub(super) serial: String,
}

/// What tells one state of a file from another without reading it; links are followed. `None`: it cannot be looked at.
pub(super) type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// The stamps of both files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamps(Stamp, Stamp);

impl TlsFiles {
    /// Whether the pair can be used, and until when.
    ///
    /// # Errors
    /// [`TlsError`]: it cannot.
    pub fn check(&self) -> Result<Timestamp, TlsError> {
        Ok(self.read()?.not_after)
    }

    pub(super) fn stamps(&self) -> Stamps {
        Stamps(stamp(&self.certificate), stamp(&self.key))
    }

    pub(super) fn read(&self) -> Result<Pair, TlsError> {
        let bad = |path: &Path, problem: String| TlsError::Content { path: path.to_owned(), problem };
        let text = read(&self.certificate, false)?;
        let chain: Result<Vec<CertificateDer<'static>>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
        let chain = chain.map_err(|error| bad(&self.certificate, format!("is not PEM: {error}")))?;
        let first = chain.first().ok_or_else(|| bad(&self.certificate, "holds no PEM certificate".to_owned()))?;
        let (not_after, serial) =
            facts(first).ok_or_else(|| bad(&self.certificate, "holds no X.509 certificate".to_owned()))?;
        let text = read(&self.key, true)?;
        let key = PrivateKeyDer::from_pem_slice(&text)
            .map(Zeroizing::new)
            .map_err(|_| bad(&self.key, "holds no PEM private key without a password".to_owned()))?;
        let key = aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|_| bad(&self.key, "holds a key of an unknown or weak kind".to_owned()))?;
        let pair = CertifiedKey::new(chain, key);
        pair.keys_match()
            .map_err(|_| TlsError::Mismatch { key: self.key.clone(), certificate: self.certificate.clone() })?;
        Ok(Pair { key: Arc::new(pair), not_after, serial })
    }
}

pub(super) fn stamp(path: &Path) -> Stamp {
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.size(), (file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec())))
}

pub(super) fn read(path: &Path, secret: bool) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let io_error = |error: io::Error| TlsError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(io_error)?;
    let facts = file.metadata().map_err(io_error)?;
    // A group may read it: Debian's ssl-cert and Kubernetes' fsGroup hand keys to services in that way.
    if secret && facts.permissions().mode() & 0o007 != 0 {
        return Err(TlsError::Permissions(path.to_owned()));
    }
    // All the room at once: a buffer that grows leaves copies behind.
    let size = usize::try_from(facts.len().min(MAX_BYTES)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.saturating_add(1)));
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(io_error)?;
    Ok(bytes)
}

/// The end of a certificate's validity, and its serial number.
fn facts(certificate: &CertificateDer<'_>) -> Option<(Timestamp, String)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let not_after = Timestamp::from_seconds(certificate.validity().not_after.timestamp());
    Some((not_after, certificate.raw_serial_as_string()))
}
