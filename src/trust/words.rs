//! Short authentication words: two operators read them to each other, and know that nobody stands between their instances.

use crate::types::PublicKey;
use bip39::Language;
use sha2::{Digest, Sha256};

/// How many words. Whoever stands between shows each side a key of his own choice, and needs two of which the words are the same:
/// by the birthday bound half of their 88 bits, each try at the price of `ROUNDS` hashes.
pub const WORDS: usize = 8;
/// Hashes over hashes that make one guess expensive.
const ROUNDS: u32 = 1 << 16;
const CONTEXT: &[u8] = b"ark-lattice authentication words v1\0";
/// 2048 words.
const BITS_OF_A_WORD: usize = 11;

/// The words of two keys, the same whichever of them asks. Takes some milliseconds.
#[must_use]
pub fn words(one: PublicKey, other: PublicKey) -> String {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    let mut digest: [u8; 32] = Sha256::new()
        .chain_update(CONTEXT)
        .chain_update(first.as_bytes())
        .chain_update(second.as_bytes())
        .finalize()
        .into();
    for _ in 1..ROUNDS {
        digest = Sha256::digest(digest).into();
    }
    let list = Language::English.word_list();
    let chosen =
        (0..WORDS).filter_map(|number| list.get(bits(&digest, number.saturating_mul(BITS_OF_A_WORD))).copied());
    chosen.collect::<Vec<_>>().join(" ")
}

/// The number that the bits from `at` on are.
fn bits(digest: &[u8; 32], at: usize) -> usize {
    let bit = |at: usize| digest.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    (at..at.saturating_add(BITS_OF_A_WORD)).fold(0, |number, at| number << 1 | usize::from(bit(at)))
}

/// Are these the words? People type them in capitals, and with more or less space.
#[must_use]
pub fn same_words(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_see_the_same_words_and_another_key_gives_others() {
        let key = |number| PublicKey::from_bytes([number; 32]);
        let seen = words(key(1), key(2));
        assert_eq!(seen, words(key(2), key(1)));
        assert_ne!(seen, words(key(1), key(3)));
        assert_eq!(seen.split(' ').count(), WORDS);
        assert!(same_words(&seen, &format!("  {} ", seen.to_uppercase().replace(' ', "  "))));
        assert!(!same_words(&seen, "abandon"));
    }

    #[test]
    fn every_bit_counts_once() {
        let mut digest = [0; 32];
        digest[0] = 0b1000_0000;
        digest[1] = 0b0010_0000;
        digest[10] = 1;
        assert_eq!((bits(&digest, 0), bits(&digest, 11), bits(&digest, 77)), (0b100_0000_0001, 0, 1));
    }
}
