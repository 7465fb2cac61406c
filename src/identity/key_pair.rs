//! An Ed25519 key pair.

use crate::types::PublicKey;
use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer, SigningKey};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use zeroize::Zeroizing;

/// Why a text is not a private key. Never holds any part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not standard, padded base64 of 32 bytes.
    #[error("a private key is standard, padded base64 of 32 bytes (make one with: ark-lattice keygen)")]
    Malformed,
    /// The machine gave no random bytes.
    #[error("the machine gave no random bytes")]
    NoRandomness,
}

/// A private key and its public key. The private part is wiped from memory when dropped and never printed.
pub struct KeyPair {
    signing: SigningKey,
}

impl KeyPair {
    /// Makes a new key from the machine's randomness.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        getrandom::fill(seed.as_mut()).map_err(|_| KeyError::NoRandomness)?;
        Ok(Self { signing: SigningKey::from_bytes(&seed) })
    }

    /// From the 32 bytes of RFC 8032's private key.
    pub(super) fn from_seed(seed: &[u8; 32]) -> Self {
        Self { signing: SigningKey::from_bytes(seed) }
    }

    /// Those bytes.
    pub(super) fn seed(&self) -> &[u8; 32] {
        self.signing.as_bytes()
    }

    /// Reads what the seeds' snippets print as the private key: base64 of the 32-byte seed (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// [`KeyError::Malformed`].
    pub fn from_base64(text: &SecretString) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(STANDARD.decode(text.expose_secret().trim()).map_err(|_| KeyError::Malformed)?);
        let seed = <&[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| KeyError::Malformed)?;
        Ok(Self { signing: SigningKey::from_bytes(seed) })
    }

    /// The private key as [`Self::from_base64`] reads it.
    #[must_use]
    pub fn to_base64(&self) -> SecretString {
        SecretString::from(STANDARD.encode(self.signing.as_bytes()))
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(self.signing.verifying_key().to_bytes())
    }

    /// Signs `message` (RFC 8032, pure Ed25519).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_and_is_never_printed() {
        let key = KeyPair::generate().unwrap();
        let again = KeyPair::from_base64(&key.to_base64()).unwrap();
        assert_eq!(key.public_key(), again.public_key());
        assert!(!format!("{key:?}").contains(key.to_base64().expose_secret()));
    }

    #[test]
    fn the_public_key_is_that_of_rfc_8032_test_1() {
        let seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
        let key = KeyPair::from_base64(&SecretString::from(seed)).unwrap();
        assert_eq!(key.public_key().to_base64(), "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    }

    #[test]
    fn hex_and_short_keys_are_refused() {
        for text in ["", "abcd", &"ab".repeat(32), "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"] {
            assert_eq!(KeyPair::from_base64(&SecretString::from(text)).unwrap_err(), KeyError::Malformed);
        }
    }
}
