//! The recovery key: 24 words (BIP39) from which one Ed25519 key is derived (SLIP-0010). The words are on paper; what is on this
//! machine is only the public key.

use super::{KeyError, KeyPair};
use bip39::Mnemonic;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha512;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// Words of a recovery key.
pub const WORDS: usize = 24;
/// Bytes of randomness behind them.
const ENTROPY: usize = 32;
/// `m/1634888556'/0'`: a purpose of our own (BIP43; "arkl" in ASCII), so that words that also open a wallet share no key with it.
const PATH: [u32; 2] = [0x6172_6b6c, 0];
const HARDENED: u32 = 1 << 31;

/// Why a text is not 24 recovery words. Never holds any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// Another number of words.
    #[error("these are {0} words; a recovery key has {WORDS}")]
    Count(usize),
    /// A word that is not on the list.
    #[error("word {0} is not one of the 2048 of BIP39: look for a slip of the pen")]
    Unknown(usize),
    /// All words are on the list, but they do not belong together.
    #[error("the words do not fit together: two are in each other's place, or one is another word of the list")]
    Checksum,
    /// The machine gave no random bytes.
    #[error("the machine gave no random bytes")]
    NoRandomness,
}

/// The 24 words. Wiped from memory when dropped and never printed by accident.
pub struct RecoveryWords(Mnemonic);

impl fmt::Debug for RecoveryWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryWords")
    }
}

impl RecoveryWords {
    /// New ones.
    ///
    /// # Errors
    /// [`WordsError::NoRandomness`].
    pub fn generate() -> Result<Self, WordsError> {
        let mut entropy = Zeroizing::new([0_u8; ENTROPY]);
        getrandom::fill(entropy.as_mut()).map_err(|_| WordsError::NoRandomness)?;
        Mnemonic::from_entropy(entropy.as_slice()).map(Self).map_err(|_| WordsError::Checksum)
    }

    /// Reads them, in any case and with any space between them.
    ///
    /// # Errors
    /// [`WordsError`].
    pub fn parse(text: &SecretString) -> Result<Self, WordsError> {
        let mut plain = Zeroizing::new(text.expose_secret().to_lowercase());
        let words: Vec<&str> = plain.split_whitespace().collect();
        if words.len() != WORDS {
            return Err(WordsError::Count(words.len()));
        }
        let joined = Zeroizing::new(words.join(" "));
        let parsed = Mnemonic::parse_normalized(&joined).map(Self).map_err(|error| match error {
            bip39::Error::UnknownWord(index) => WordsError::Unknown(index.saturating_add(1)),
            bip39::Error::BadWordCount(count) => WordsError::Count(count),
            _ => WordsError::Checksum,
        });
        plain.zeroize();
        parsed
    }

    /// The words, with a space between them.
    #[must_use]
    pub fn to_text(&self) -> SecretString {
        let mut text = Zeroizing::new(String::with_capacity(WORDS * 9));
        for word in self.0.words() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        SecretString::from(text.as_str())
    }

    /// The key that they stand for.
    ///
    /// # Errors
    /// [`KeyError`]: HMAC takes keys of every length, so never.
    pub fn key(&self) -> Result<KeyPair, KeyError> {
        let seed = Zeroizing::new(self.0.to_seed_normalized(""));
        Ok(KeyPair::from_seed(&derive(seed.as_slice(), &PATH)?.key))
    }
}

/// A private key and its chain code.
struct Extended {
    key: Zeroizing<[u8; 32]>,
    chain: Zeroizing<[u8; 32]>,
}

impl Extended {
    fn of(key: &[u8], parts: &[&[u8]]) -> Result<Self, KeyError> {
        let mut mac = <Hmac<Sha512> as KeyInit>::new_from_slice(key).map_err(|_| KeyError::Malformed)?;
        parts.iter().for_each(|part| mac.update(part));
        let mut out = mac.finalize().into_bytes();
        let mut made = Self { key: Zeroizing::new([0; 32]), chain: Zeroizing::new([0; 32]) };
        for (to, from) in made.key.iter_mut().chain(made.chain.iter_mut()).zip(out.iter()) {
            *to = *from;
        }
        out.as_mut_slice().zeroize();
        Ok(made)
    }
}

/// SLIP-0010 for Ed25519: all steps are hardened.
fn derive(seed: &[u8], path: &[u32]) -> Result<Extended, KeyError> {
    let mut node = Extended::of(b"ed25519 seed", &[seed])?;
    for step in path {
        let index = (step | HARDENED).to_be_bytes();
        node = Extended::of(node.chain.as_slice(), &[&[0], node.key.as_slice(), &index])?;
    }
    Ok(node)
}

#[cfg(test)]
mod tests;
