//! Envelopes. (types are final, verify is being written)
use super::Manifest;
use crate::types::{Limits, PublicKey, Sha256Digest};
use bytes::Bytes;
/// How the signed bytes are made. Declared by the sender, never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canonicalization {
    /// CPython's json.dumps(sort_keys=True)
    Python,
    /// RFC 8785
    Jcs,
    /// DSSE: nothing is re-serialised
    Dsse,
}
/// stub
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// .
    #[error("stub")]
    Stub,
}
/// Proof that a signature was checked: only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    value: T,
    public_key: PublicKey,
    digest: Sha256Digest,
    received: Bytes,
}
impl<T> Verified<T> {
    /// What was signed.
    pub fn get(&self) -> &T {
        &self.value
    }
    /// Who signed.
    pub fn public_key(&self) -> PublicKey {
        self.public_key
    }
    /// SHA-256 of the signed bytes: two envelopes with the same digest say the same.
    pub fn digest(&self) -> &Sha256Digest {
        &self.digest
    }
    /// The envelope's bytes as they came.
    pub fn received(&self) -> &Bytes {
        &self.received
    }
}
/// Checks an envelope.
/// # Errors
/// stub
pub fn verify(received: Bytes, limits: &Limits) -> Result<Verified<Manifest>, EnvelopeError> {
    let _ = (received, limits);
    Err(EnvelopeError::Stub)
}

/// A proof without a signature, for tests of what comes after the check.
#[cfg(test)]
pub(crate) fn verified_for_test(
    value: Manifest,
    public_key: PublicKey,
    digest: Sha256Digest,
    received: Bytes,
) -> Verified<Manifest> {
    Verified { value, public_key, digest, received }
}
