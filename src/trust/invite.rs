//! The invite line and the proof of its secret: parsing, formatting and the HMAC of both sides. It stores nothing and has no clock;
//! `federation/invites.rs` holds the invites of this instance.

use super::challenge::{Side, Transcript};
use crate::types::{PeerId, PublicKey, Timestamp, decode_hex, encode_hex};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of an invite's secret.
pub const SECRET_BYTES: usize = 32;
/// The longest line that is read, in bytes.
pub const MAX_LINE_BYTES: usize = 8 << 10;
/// The most addresses in a line.
pub const MAX_ADDRESSES: usize = 8;
/// The longest address, in bytes.
pub const MAX_ADDRESS_BYTES: usize = 512;

const SCHEME: &str = "ark-invite:";
const VERSION: &str = "v1:";
const ID_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 4;
const KEY_CONTEXT: &[u8] = b"ark-lattice invite key v1\0";
const PROOF_CONTEXT: &[u8] = b"ark-lattice invite proof v1\0";
/// The block size of SHA-256 (RFC 2104).
const BLOCK_BYTES: usize = 64;

/// Why a line is not an invite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It has another beginning.
    #[error("this is no invite: an invite begins with {SCHEME}{VERSION}")]
    NotAnInvite,
    /// It is of a later release.
    #[error("this invite has a form that this release does not know: update ark-lattice on this machine")]
    Version,
    /// It is longer than [`MAX_LINE_BYTES`].
    #[error("the invite is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// The checksum does not match.
    #[error("the invite is cut or changed: copy the whole line, from {SCHEME} to its end")]
    Checksum,
    /// A member is missing, of the wrong kind or out of bounds.
    #[error("the invite cannot be used: {0}")]
    Member(&'static str),
}

/// The id of an invite: 16 hex digits. It is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InviteId([u8; ID_BYTES]);

impl InviteId {
    /// From random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// From 16 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self(decode_hex(text)?);
        // One form only: two texts never mean the same invite.
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for InviteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_hex(&self.0))
    }
}

impl Serialize for InviteId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InviteId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("an invite's id has 16 hex digits"))
    }
}

/// The secret of an invite. It is in the line and nowhere else; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteSecret(Zeroizing<[u8; SECRET_BYTES]>);

impl InviteSecret {
    /// From random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// What the inviting instance stores: a hash of the secret, from which the secret cannot be computed.
    #[must_use]
    pub fn key(&self, id: InviteId) -> InviteKey {
        let digest = Sha256::new().chain_update(KEY_CONTEXT).chain_update(id.0).chain_update(self.0.as_slice());
        InviteKey(Zeroizing::new(digest.finalize().into()))
    }
}

impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteSecret(…)")
    }
}

/// The HMAC key of an invite: SHA-256 over its id and its secret. Whoever has it can join once, so the file with it is private.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteKey(Zeroizing<[u8; 32]>);

impl InviteKey {
    /// From 32 bytes: a stored one, or random ones that no proof fits.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    fn mac(&self, id: InviteId, side: Side, transcript: &Transcript) -> Hmac<Sha256> {
        let mut block = Zeroizing::new([0; BLOCK_BYTES]);
        block.iter_mut().zip(self.0.iter()).for_each(|(to, from)| *to = *from);
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        mac.update(PROOF_CONTEXT);
        mac.update(&id.0);
        // The transcript holds the side, both ids, both keys and both nonces, each with its length or of fixed length.
        mac.update(&transcript.bytes(side));
        mac
    }

    /// The proof of one side: HMAC-SHA256, 32 bytes.
    #[must_use]
    pub fn prove(&self, id: InviteId, side: Side, transcript: &Transcript) -> [u8; 32] {
        self.mac(id, side, transcript).finalize().into_bytes().into()
    }

    /// Does this proof of one side fit? The comparison takes constant time.
    #[must_use]
    pub fn is_proved(&self, id: InviteId, side: Side, transcript: &Transcript, proof: &[u8]) -> bool {
        self.mac(id, side, transcript).verify_slice(proof).is_ok()
    }
}

impl fmt::Debug for InviteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteKey(…)")
    }
}

impl Serialize for InviteKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode_hex(self.0.as_slice()))
    }
}

impl<'de> Deserialize<'de> for InviteKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = decode_hex(&text).ok_or_else(|| serde::de::Error::custom("an invite's key has 64 hex digits"))?;
        Ok(Self::from_bytes(bytes))
    }
}

/// What one line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteLine {
    /// The invite.
    pub id: InviteId,
    /// The inviting instance.
    pub peer: PeerId,
    /// Its key: an Ed25519 key is its own fingerprint.
    pub key: PublicKey,
    /// The secret.
    pub secret: InviteSecret,
    /// When it expires, whole seconds.
    pub expires: Timestamp,
    /// Where the instance answers; the first that answers is used.
    pub addresses: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Members {
    i: String,
    n: String,
    k: String,
    s: String,
    e: i64,
    a: Vec<String>,
}

impl InviteLine {
    /// Reads a line. White space in it is skipped: terminals and mail programs break long lines.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn parse(text: &str) -> Result<Self, LineError> {
        // Before anything is copied; white space makes a line at most a few times longer.
        if text.len() > MAX_LINE_BYTES.saturating_mul(2) {
            return Err(LineError::TooLong);
        }
        let line: Zeroizing<String> = Zeroizing::new(text.chars().filter(|c| !c.is_ascii_whitespace()).collect());
        if line.len() > MAX_LINE_BYTES {
            return Err(LineError::TooLong);
        }
        let rest = line.strip_prefix(SCHEME).ok_or(LineError::NotAnInvite)?;
        let rest = rest.strip_prefix(VERSION).ok_or(LineError::Version)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(rest).map_err(|_| LineError::Checksum)?);
        let (json, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(LineError::Checksum)?;
        if checksum(json) != *sum {
            return Err(LineError::Checksum);
        }
        let members: Members = serde_json::from_slice(json).map_err(|_| LineError::Member("it lacks a member"))?;
        Self::checked(members)
    }

    fn checked(Members { i, n, k, s, e, a }: Members) -> Result<Self, LineError> {
        let secret = Zeroizing::new(s);
        let secret = URL_SAFE_NO_PAD.decode(&*secret).ok().and_then(|bytes| bytes.try_into().ok());
        if a.is_empty() || a.len() > MAX_ADDRESSES || !a.iter().all(|address| is_address(address)) {
            return Err(LineError::Member("its addresses"));
        }
        // Within four digits of a year, so that each line that is read can be shown.
        if !(0..=253_402_300_799).contains(&e) {
            return Err(LineError::Member("its expiry"));
        }
        Ok(Self {
            id: InviteId::parse(&i).ok_or(LineError::Member("its id"))?,
            peer: PeerId::parse(&n).map_err(|_| LineError::Member("the instance's id"))?,
            key: PublicKey::parse(&k).map_err(|_| LineError::Member("the instance's key"))?,
            secret: InviteSecret::from_bytes(secret.ok_or(LineError::Member("its secret"))?),
            expires: Timestamp::from_seconds(e),
            addresses: a,
        })
    }

    /// The line, which [`Self::parse`] reads again.
    ///
    /// # Errors
    /// [`LineError`]: it would not be read again, such as for an address that is too long.
    pub fn text(&self) -> Result<String, LineError> {
        let members = Members {
            i: self.id.to_string(),
            n: self.peer.to_string(),
            k: self.key.to_base64(),
            s: URL_SAFE_NO_PAD.encode(self.secret.0.as_slice()),
            e: self.expires.seconds(),
            a: self.addresses.clone(),
        };
        let mut bytes = serde_json::to_vec(&members).map_err(|_| LineError::Member("its members"))?;
        bytes.extend_from_slice(&checksum(&bytes));
        let text = format!("{SCHEME}{VERSION}{}", URL_SAFE_NO_PAD.encode(bytes));
        Self::parse(&text)?;
        Ok(text)
    }
}

/// Is this text an address that may stand in a line? The client that connects checks more.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let is_web = ["http://", "https://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    is_web && text.len() <= MAX_ADDRESS_BYTES && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn checksum(json: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest: [u8; 32] = Sha256::digest(json).into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

/// A proof as the wire writes it: base64 of 32 bytes.
#[must_use]
pub fn read_proof(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> InviteLine {
        InviteLine {
            id: InviteId::from_bytes([1; 8]),
            peer: PeerId::parse("ark-a").unwrap(),
            key: PublicKey::from_bytes([2; 32]),
            secret: InviteSecret::from_bytes([3; 32]),
            expires: Timestamp::from_seconds(1_800_000_000),
            addresses: vec!["http://192.168.1.7:9001".to_owned(), "https://[2001:db8::1]/ark".to_owned()],
        }
    }

    fn transcript() -> Transcript {
        let side = |name: &str, key| (PeerId::parse(name).unwrap(), PublicKey::from_bytes([key; 32]));
        Transcript { asking: side("b", 1), asked: side("a", 2), nonce: [3; 32], answer_nonce: [4; 32] }
    }

    #[test]
    fn a_line_survives_being_wrapped_and_a_cut_is_named() {
        let text = line().text().unwrap();
        assert_eq!(InviteLine::parse(&text), Ok(line()));
        let wrapped: String = text
            .chars()
            .enumerate()
            .map(|(at, c)| if at % 40 == 39 { format!("{c}\r\n  ") } else { c.into() })
            .collect();
        assert_eq!(InviteLine::parse(&format!("  {wrapped}\n")), Ok(line()));
        for end in SCHEME.len() + VERSION.len()..text.len() {
            assert_eq!(InviteLine::parse(&text[..end]), Err(LineError::Checksum), "{end}");
        }
        let mut swapped = text.clone().into_bytes();
        let at = swapped.windows(2).rposition(|pair| pair[0] != pair[1]).unwrap();
        swapped.swap(at, at + 1);
        assert_eq!(InviteLine::parse(&String::from_utf8(swapped).unwrap()), Err(LineError::Checksum));
        assert_eq!(InviteLine::parse("http://host"), Err(LineError::NotAnInvite));
        assert_eq!(InviteLine::parse(&text.replace(":v1:", ":v2:")), Err(LineError::Version));
        assert_eq!(InviteLine::parse(&text.repeat(100)), Err(LineError::TooLong));
        assert!(!format!("{:?}", line()).contains("3, 3"));
    }

    #[test]
    fn bounds_hold_in_both_directions() {
        let many = vec!["http://host".to_owned(); MAX_ADDRESSES + 1];
        for addresses in [vec![], many, vec!["ftp://host".to_owned()], vec![format!("http://{}", "h".repeat(600))]] {
            assert_eq!(InviteLine { addresses, ..line() }.text(), Err(LineError::Member("its addresses")));
        }
        let expires = Timestamp::from_seconds(-1);
        assert_eq!(InviteLine { expires, ..line() }.text(), Err(LineError::Member("its expiry")));
    }

    #[test]
    fn a_proof_fits_one_invite_one_side_and_one_transcript() {
        let (id, other) = (InviteId::from_bytes([1; 8]), InviteId::from_bytes([2; 8]));
        let key = InviteSecret::from_bytes([3; 32]).key(id);
        let proof = key.prove(id, Side::Asking, &transcript());
        assert!(key.is_proved(id, Side::Asking, &transcript(), &proof));
        assert!(!key.is_proved(id, Side::Asked, &transcript(), &proof));
        assert!(!key.is_proved(other, Side::Asking, &transcript(), &proof));
        assert!(!InviteSecret::from_bytes([3; 32]).key(other).is_proved(id, Side::Asking, &transcript(), &proof));
        assert!(!InviteSecret::from_bytes([4; 32]).key(id).is_proved(id, Side::Asking, &transcript(), &proof));
        let replayed = Transcript { answer_nonce: [5; 32], ..transcript() };
        assert!(!key.is_proved(id, Side::Asking, &replayed, &proof));
        assert!(!key.is_proved(id, Side::Asking, &transcript(), &proof[..31]));
    }
}
