//! SHA-256 (FIPS 180-4) of short texts. The general hasher buffers, counts and pads for messages that come in parts without end; most of
//! what a set hash consists of fits into a few blocks, which are put together here and compressed at once.

use crate::types::Sha256Digest;
use sha2::{Digest, Sha256, block_api::compress256};

const BLOCK_BYTES: usize = 64;
const BLOCKS: usize = 4;
const BUFFER_BYTES: usize = BLOCK_BYTES * BLOCKS;
/// A bit that is set, and the length in bits (section 5.1.1).
const PADDING_BYTES: usize = 1 + 8;
/// Section 5.3.3.
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// SHA-256 over what is given to it, whatever that is; cheap for what is short.
pub(super) struct ShortHasher {
    buffer: [u8; BUFFER_BYTES],
    used: usize,
    /// Has all that no longer fitted.
    long: Option<Sha256>,
}

impl Default for ShortHasher {
    fn default() -> Self {
        Self { buffer: [0; BUFFER_BYTES], used: 0, long: None }
    }
}

impl ShortHasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let Some(long) = &mut self.long {
            return long.update(bytes);
        }
        let end = self.used.saturating_add(bytes.len());
        match self.buffer.get_mut(self.used..end) {
            Some(place) if end <= BUFFER_BYTES - PADDING_BYTES => {
                place.copy_from_slice(bytes);
                self.used = end;
            }
            _ => {
                let so_far = self.buffer.get(..self.used).unwrap_or_default();
                self.long = Some(Sha256::new().chain_update(so_far).chain_update(bytes));
            }
        }
    }

    /// The digest. Nothing is to be added afterwards.
    pub(super) fn finish(&mut self) -> Sha256Digest {
        if let Some(long) = self.long.take() {
            return long.finalize().into();
        }
        digest_of(&mut self.buffer, self.used)
    }
}

/// SHA-256 of the first `used` bytes of a buffer that has room for their padding behind them, and zeros there.
#[inline]
fn digest_of(buffer: &mut [u8], used: usize) -> Sha256Digest {
    let blocks = (used + PADDING_BYTES).div_ceil(BLOCK_BYTES);
    let bits = u64::try_from(used).unwrap_or_default() * 8;
    if let Some(byte) = buffer.get_mut(used) {
        *byte = 0x80;
    }
    let padded = buffer.get_mut(..blocks * BLOCK_BYTES).unwrap_or_default();
    if let Some(length) = padded.last_chunk_mut() {
        *length = bits.to_be_bytes();
    }
    let mut state = START;
    compress256(&mut state, padded.as_chunks().0);
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// SHA-256 of `bytes`; cheapest for what fits into one block, as most ids do.
pub(super) fn short_hash(bytes: &[u8]) -> Sha256Digest {
    let mut block = [0; BLOCK_BYTES];
    match block.get_mut(..bytes.len()) {
        Some(place) if bytes.len() <= BLOCK_BYTES - PADDING_BYTES => {
            place.copy_from_slice(bytes);
            digest_of(&mut block, bytes.len())
        }
        _ => Sha256::digest(bytes).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sha_256_of_every_length_and_however_it_is_given() {
        let text: Vec<u8> = (0..3 * BUFFER_BYTES).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
        for length in 0..text.len() {
            let whole = &text[..length];
            assert_eq!(short_hash(whole), <Sha256Digest>::from(Sha256::digest(whole)), "{length} bytes at once");
            for part in [1, 5, 64, length.max(1)] {
                let mut hasher = ShortHasher::default();
                whole.chunks(part).for_each(|bytes| hasher.update(bytes));
                let expected: Sha256Digest = Sha256::digest(whole).into();
                assert_eq!(hasher.finish(), expected, "{length} bytes, {part} at a time");
            }
        }
    }
}
