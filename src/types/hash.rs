//! SHA-256 values: of one node ([`ContentHash`]) and of a whole set of nodes ([`SetHash`]).

use super::hex_pair;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use std::fmt;

/// The 32 bytes of a SHA-256.
pub type Sha256Digest = [u8; 32];

const PREFIX: &str = "sha256:";

/// Why a text is not a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 lower-case hex digits, with or without the prefix sha256:")]
pub struct HashError;

/// The value of `Content-Digest` for a body (RFC 9530 section 2).
#[must_use]
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn parse_hex(text: &str) -> Result<Sha256Digest, HashError> {
    let mut out = [0_u8; 32];
    if text.len() != 64 {
        return Err(HashError);
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return Err(HashError) };
        let (Some(high), Some(low)) = (hex_value(*high), hex_value(*low)) else {
            return Err(HashError);
        };
        *byte = high << 4 | low;
    }
    Ok(out)
}

/// Digits are ASCII, so this loses nothing.
fn digits(hex: &[u8; 64]) -> &str {
    std::str::from_utf8(hex).unwrap_or_default()
}

fn hex(bytes: &Sha256Digest) -> [u8; 64] {
    let mut out = [0_u8; 64];
    for (pair, byte) in out.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = hex_pair(*byte);
    }
    out
}

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Sha256Digest);

        impl $name {
            /// Wraps 32 bytes that are already a SHA-256.
            #[must_use]
            pub const fn from_digest(digest: Sha256Digest) -> Self {
                Self(digest)
            }

            /// The SHA-256 of `bytes`.
            #[must_use]
            pub fn of(bytes: &[u8]) -> Self {
                Self(Sha256::digest(bytes).into())
            }

            /// Reads 64 lower-case hex digits, with or without `sha256:` before them.
            ///
            /// # Errors
            /// [`HashError`] for every other text.
            pub fn parse(text: &str) -> Result<Self, HashError> {
                parse_hex(text.strip_prefix(PREFIX).unwrap_or(text)).map(Self)
            }

            /// Reads 64 lower-case hex digits and nothing else.
            ///
            /// # Errors
            /// [`HashError`] for every other text.
            pub fn parse_bare(text: &str) -> Result<Self, HashError> {
                parse_hex(text).map(Self)
            }

            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &Sha256Digest {
                &self.0
            }

            /// 64 lower-case hex digits, no prefix.
            #[must_use]
            pub fn to_hex(&self) -> String {
                digits(&hex(&self.0)).to_owned()
            }

            /// 64 lower-case hex digits as ASCII bytes, no prefix, nothing allocated.
            #[must_use]
            pub fn hex_bytes(&self) -> [u8; 64] {
                hex(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(PREFIX)?;
                f.write_str(digits(&hex(&self.0)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
    };
}

hash_type! {
    /// SHA-256 over a node's canonical (JCS, exact integers) bytes; written `sha256:` + lower-case hex.
    ContentHash
}
hash_type! {
    /// The hash of a set of `{id, hash}` pairs, on the wire `manifest_hash` (DESIGN 4.5).
    SetHash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree_both_ways() {
        let hash = ContentHash::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_hex(), text);
        assert_eq!(hash.to_string(), format!("sha256:{text}"));
        assert_eq!(ContentHash::parse(text), Ok(hash));
        assert_eq!(ContentHash::parse(&format!("sha256:{text}")), Ok(hash));
    }

    #[test]
    fn upper_case_and_wrong_lengths_are_refused() {
        assert!(ContentHash::parse(&"A".repeat(64)).is_err());
        assert!(ContentHash::parse(&"a".repeat(63)).is_err());
        assert!(ContentHash::parse("sha256:").is_err());
    }
}
