//! A private key under a passphrase: argon2id (RFC 9106) makes the key that XChaCha20-Poly1305 encrypts it with. Everything else that
//! stands in the file is authenticated with it.

use super::{KeyError, KeyPair};
use crate::types::PublicKey;
use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

const KDF: &str = "argon2id";
const CIPHER: &str = "xchacha20-poly1305";
/// RFC 9106's second recommended option: 64 MiB, which a small machine has too.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// A file that asks for more is not one of ours, and would only keep the machine busy.
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
/// The shortest passphrase that is taken for a new file.
pub const MIN_PASSPHRASE_CHARS: usize = 8;

/// Why a file was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is not such a file, or of another version.
    #[error("it is no encrypted key of this version: restore a copy")]
    Malformed,
    /// The passphrase is another one, or the file was changed.
    #[error("the passphrase does not open it, or the file was changed")]
    Passphrase,
    /// The passphrase is too short for a new file.
    #[error("a passphrase has at least {MIN_PASSPHRASE_CHARS} characters")]
    TooShort,
    /// The machine gave no random bytes, or not the memory that it takes.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// An encrypted key, as its file holds it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedKey {
    /// The version of this form.
    ark_lattice_key: u32,
    public_key: String,
    kdf: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    cipher: String,
    nonce: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    ciphertext: String,
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedKey({})", self.public_key)
    }
}

fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| KeyError::NoRandomness)?;
    Ok(bytes)
}

impl SealedKey {
    /// Encrypts a key.
    ///
    /// # Errors
    /// [`SealError::TooShort`], [`SealError::Key`].
    pub fn seal(key: &KeyPair, passphrase: &SecretString) -> Result<Self, SealError> {
        if passphrase.expose_secret().chars().count() < MIN_PASSPHRASE_CHARS {
            return Err(SealError::TooShort);
        }
        let nonce = random::<NONCE_BYTES>()?;
        let mut sealed = Self {
            ark_lattice_key: 1,
            public_key: key.public_key().to_base64(),
            kdf: KDF.to_owned(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: STANDARD.encode(random::<SALT_BYTES>()?),
            cipher: CIPHER.to_owned(),
            nonce: STANDARD.encode(nonce),
            ciphertext: String::new(),
        };
        let header = sealed.header()?;
        let payload = Payload { msg: key.seed(), aad: header.as_bytes() };
        let sealing = sealed.cipher(passphrase)?.encrypt(&XNonce::from(nonce), payload);
        sealed.ciphertext = STANDARD.encode(sealing.map_err(|_| SealError::Malformed)?);
        Ok(sealed)
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// [`SealError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let sealed: Self = serde_json::from_str(text).map_err(|_| SealError::Malformed)?;
        let known = sealed.ark_lattice_key == 1 && sealed.kdf == KDF && sealed.cipher == CIPHER;
        let bounded = sealed.memory_kib <= MAX_MEMORY_KIB && sealed.passes <= MAX_PASSES && sealed.lanes <= MAX_LANES;
        if !known || !bounded || PublicKey::parse(&sealed.public_key).is_err() {
            return Err(SealError::Malformed);
        }
        Ok(sealed)
    }

    /// The file's text.
    ///
    /// # Errors
    /// Never: its members are texts and numbers.
    pub fn to_text(&self) -> Result<String, SealError> {
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(|_| SealError::Malformed)
    }

    /// The public key, which needs no passphrase.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        PublicKey::parse(&self.public_key).ok()
    }

    /// Decrypts it.
    ///
    /// # Errors
    /// [`SealError::Passphrase`], [`SealError::Malformed`].
    pub fn open(&self, passphrase: &SecretString) -> Result<KeyPair, SealError> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| SealError::Malformed);
        let nonce = <[u8; NONCE_BYTES]>::try_from(decode(&self.nonce)?).map_err(|_| SealError::Malformed)?;
        let ciphertext = decode(&self.ciphertext)?;
        let header = Self { ciphertext: String::new(), ..self.clone() }.header()?;
        let payload = Payload { msg: &ciphertext, aad: header.as_bytes() };
        let opened = self.cipher(passphrase)?.decrypt(&XNonce::from(nonce), payload);
        let opened = Zeroizing::new(opened.map_err(|_| SealError::Passphrase)?);
        let seed = <&[u8; 32]>::try_from(opened.as_slice()).map_err(|_| SealError::Malformed)?;
        let key = KeyPair::from_seed(seed);
        if key.public_key().to_base64() == self.public_key { Ok(key) } else { Err(SealError::Malformed) }
    }

    /// What is authenticated with the key: all but the ciphertext.
    fn header(&self) -> Result<String, SealError> {
        serde_json::to_string(self).map_err(|_| SealError::Malformed)
    }

    fn cipher(&self, passphrase: &SecretString) -> Result<XChaCha20Poly1305, SealError> {
        let salt = STANDARD.decode(&self.salt).ok().filter(|salt| salt.len() == SALT_BYTES);
        let salt = salt.ok_or(SealError::Malformed)?;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(|_| SealError::Malformed)?);
        let mut key = Zeroizing::new([0_u8; 32]);
        let passphrase = passphrase.expose_secret().as_bytes();
        argon.hash_password_into(passphrase, &salt, key.as_mut()).map_err(|_| SealError::Malformed)?;
        XChaCha20Poly1305::new_from_slice(key.as_slice()).map_err(|_| SealError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn a_key_comes_back_under_its_passphrase_and_no_other() {
        let key = KeyPair::generate().unwrap();
        let sealed = SealedKey::seal(&key, &pass("correct horse")).unwrap();
        let text = sealed.to_text().unwrap();
        assert!(!text.contains(key.to_base64().expose_secret()));
        let read = SealedKey::parse(&text).unwrap();
        assert_eq!(read.public_key(), Some(key.public_key()));
        assert_eq!(read.open(&pass("correct horse")).unwrap().seed(), key.seed());
        assert_eq!(read.open(&pass("wrong horse")).unwrap_err(), SealError::Passphrase);
        assert_eq!(SealedKey::seal(&key, &pass("short")).unwrap_err(), SealError::TooShort);
    }

    #[test]
    fn no_member_of_the_file_can_be_changed() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let sealed = SealedKey::seal(&key, &pass("correct horse")).unwrap();
        let open = |sealed: &SealedKey| sealed.open(&pass("correct horse")).unwrap_err();
        let public_key = other.public_key().to_base64();
        assert_eq!(open(&SealedKey { public_key, ..sealed.clone() }), SealError::Passphrase);
        assert_eq!(open(&SealedKey { passes: 2, ..sealed.clone() }), SealError::Passphrase);
        let text = sealed.to_text().unwrap();
        for (from, to) in
            [("argon2id", "argon2i"), ("\"memory_kib\": 65536", "\"memory_kib\": 1048577"), ("xchacha20", "none")]
        {
            assert!(text.contains(from));
            assert_eq!(SealedKey::parse(&text.replace(from, to)).unwrap_err(), SealError::Malformed, "{to}");
        }
        assert_eq!(SealedKey::parse("{}").unwrap_err(), SealError::Malformed);
    }
}
