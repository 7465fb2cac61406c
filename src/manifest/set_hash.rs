//! The hash of a set of `{id, hash}` pairs, in two levels (DESIGN 4.5), so that one change costs one bucket.
//!
//! A script computes the same in six lines:
//!
//! ```python
//! buckets = collections.defaultdict(list)
//! for id, h in nodes: buckets[sha256(id.encode()).hexdigest()[:3]].append((id.encode(), h.encode()))
//! top = sha256()
//! for b in sorted(buckets):
//!     top.update(f"{b}\n{sha256(b''.join(i+b'\n'+h+b'\n' for i, h in sorted(buckets[b]))).hexdigest()}\n".encode())
//! manifest_hash = "sha256:" + top.hexdigest()
//! ```

use super::short_hash::{ShortHasher, short_hash};
use crate::types::{SetHash, Sha256Digest};
use sha2::{Digest, Sha256};

/// How many buckets there are: three hex digits.
pub const BUCKETS: usize = 4096;

const NAME_BYTES: usize = 3;
const HEX_BYTES: usize = 64;
/// A bucket's name, LF, its hash in hex, LF.
const LINE_BYTES: usize = NAME_BYTES + 1 + HEX_BYTES + 1;

/// The bucket of a node: the first three hex digits of SHA-256 of its id, as a number below [`BUCKETS`].
#[must_use]
pub fn bucket_of(id: &str) -> u16 {
    let [first, second, ..] = short_hash(id.as_bytes());
    u16::from(first) << 4 | u16::from(second >> 4)
}

/// A bucket's name on the wire: three lower-case hex digits.
#[must_use]
pub fn bucket_name(bucket: u16) -> [u8; NAME_BYTES] {
    let digit = |shift: u16| match u8::try_from(bucket >> shift & 15).unwrap_or_default() {
        value @ 0..=9 => b'0' + value,
        value => b'a' + value - 10,
    };
    [digit(8), digit(4), digit(0)]
}

/// A bucket's hash: SHA-256 over `id` LF `hash` LF of its nodes. `nodes` must be sorted by id (bytes); `hash` is the hash's
/// text as it stands on the wire (`sha256:…`).
#[must_use]
pub fn bucket_hash<'a>(nodes: impl IntoIterator<Item = (&'a str, impl AsRef<[u8]>)>) -> Sha256Digest {
    let mut hasher = ShortHasher::default();
    for (id, hash) in nodes {
        hasher.update(id.as_bytes());
        hasher.update(b"\n");
        hasher.update(hash.as_ref());
        hasher.update(b"\n");
    }
    hasher.finish()
}

/// Puts the hashes of the non-empty buckets together, in ascending order of bucket.
#[derive(Debug, Default)]
pub struct SetHasher(Sha256);

impl SetHasher {
    /// Adds the next bucket that is not empty.
    pub fn bucket(&mut self, bucket: u16, hash: Sha256Digest) {
        let mut line = [b'\n'; LINE_BYTES];
        let (name, rest) = line.split_at_mut(NAME_BYTES);
        name.copy_from_slice(&bucket_name(bucket));
        if let Some(hex) = rest.get_mut(1..=HEX_BYTES) {
            hex.copy_from_slice(&SetHash::from_digest(hash).hex_bytes());
        }
        self.0.update(line);
    }

    /// The set's hash. Of no bucket at all: the SHA-256 of nothing.
    #[must_use]
    pub fn finish(self) -> SetHash {
        SetHash::from_digest(self.0.finalize().into())
    }
}
