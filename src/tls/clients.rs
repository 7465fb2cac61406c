//! The certificates that clients show: who may have issued them, read again without a restart as our own pair is.

use super::{
    files::{Stamp, TlsError, stamp},
    outgoing::authorities,
};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

/// The most that is said of a certificate: it may have much in it.
const MAX_PROBLEM_CHARS: usize = 200;

/// Who issues our clients' certificates.
#[derive(Debug, Clone)]
pub struct ClientAuthority {
    /// PEM file with the authorities' certificates.
    pub path: PathBuf,
    /// Nobody comes in without one.
    pub required: bool,
}

type Tell = Box<dyn Fn(String) + Send + Sync>;

/// Checks what clients show by the authorities that hold now.
pub(super) struct Clients {
    authority: ClientAuthority,
    current: RwLock<Arc<dyn ClientCertVerifier>>,
    /// Who is told of certificates that are not taken.
    tell: OnceLock<Tell>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Clients {
    pub(super) fn open(authority: ClientAuthority) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(verifier(&authority)?);
        Ok(Arc::new(Self { authority, current, tell: OnceLock::new() }))
    }

    pub(super) fn on_refused(&self, tell: Tell) {
        let _the_first_counts = self.tell.set(tell);
    }

    pub(super) fn stamp(&self) -> Stamp {
        stamp(&self.authority.path)
    }

    /// Takes the authorities that the file names now.
    pub(super) fn renew(&self) -> Result<(), TlsError> {
        let fresh = verifier(&self.authority)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn current(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether the file can be used.
///
/// # Errors
/// [`TlsError`]: it cannot.
pub fn check_clients(authority: &ClientAuthority) -> Result<(), TlsError> {
    verifier(authority).map(drop)
}

fn verifier(authority: &ClientAuthority) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let bad = |problem: String| TlsError::Content { path: authority.path.clone(), problem };
    let roots = authorities(&authority.path)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if authority.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| bad(error.to_string()))
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.authority.required
    }

    /// No hints: they would be those of the authorities that held when the server started.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.current().verify_client_cert(end_entity, intermediates, now);
        if let (Err(error), Some(tell)) = (&verified, self.tell.get()) {
            tell(error.to_string().chars().take(MAX_PROBLEM_CHARS).collect());
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().supported_verify_schemes()
    }
}
