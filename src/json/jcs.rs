//! RFC 8785. (stub)
use super::Value;
use crate::types::ContentHash;
/// What to do with integer literals beyond ±(2^53−1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integers {
    /// keep their exact digits (content hashes)
    Exact,
    /// refuse, as the RFC's profile asks (signatures)
    Refuse,
}
/// An integer beyond ±(2^53−1) in a document that must be plain JCS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the integer at byte {offset} is beyond ±(2^53−1)")]
pub struct JcsError {
    /// byte offset
    pub offset: usize,
}
/// Appends the canonical bytes.
/// # Errors
/// only with [`Integers::Refuse`].
pub fn write(value: Value<'_>, integers: Integers, out: &mut Vec<u8>) -> Result<(), JcsError> {
    let _ = (value, integers, out);
    unimplemented!()
}
/// SHA-256 over the JCS bytes with exact integers.
pub fn content_hash(value: Value<'_>) -> ContentHash {
    let _ = value;
    unimplemented!()
}
