//! A chain of lines, each of which holds the hash of all before it: `HASH TEXT`, where HASH is the hex SHA-256 of the hash before, a
//! space and the text. The first one follows 64 zeros. Two lines of shell check it.

use crate::types::encode_hex;
use sha2::{Digest, Sha256};
use std::{fmt, io};

/// Hex digits of a hash.
const HASH_DIGITS: usize = 64;
/// The longest text of a line.
pub const MAX_TEXT_BYTES: usize = 64 << 10;

/// Where a chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    length: u64,
    hash: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self { length: 0, hash: "0".repeat(HASH_DIGITS) }
    }
}

/// Why a line does not continue a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Something was changed, left out or added.
    #[error("line {0} does not follow from the lines before it: something was changed, left out or added")]
    Broken(u64),
    /// The last line is whole but for its end.
    #[error("the end of line {0} was changed")]
    End(u64),
    /// It ends earlier than it once did.
    #[error("it has {found} lines, and had {known}: its end was cut off")]
    Cut {
        /// Lines that are there.
        found: u64,
        /// Lines that were there.
        known: u64,
    },
    /// It is another chain than the one that was written.
    #[error("line {0} is not the one that was written")]
    Other(u64),
    /// A line is in place and says nothing that is known.
    #[error("line {number} cannot be understood: {problem}")]
    Text {
        /// Which line.
        number: u64,
        /// What is wrong with it.
        problem: String,
    },
}

impl Chain {
    /// How many lines it has.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The hash of its last line, hex.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The next line for `text`, with its line feed, and the chain with it.
    #[must_use]
    pub fn sealed(&self, text: &str) -> (String, Self) {
        let digest: [u8; 32] = Sha256::digest(format!("{} {text}", self.hash)).into();
        let hash = encode_hex(&digest);
        (format!("{hash} {text}\n"), Self { length: self.length.saturating_add(1), hash })
    }

    /// Takes the next line, without its line feed; its text.
    ///
    /// # Errors
    /// [`ChainError::Broken`].
    pub fn take<'a>(&mut self, line: &'a str) -> Result<&'a str, ChainError> {
        let broken = ChainError::Broken(self.length.saturating_add(1));
        let (_, text) = line.split_once(' ').ok_or_else(|| broken.clone())?;
        let (expected, next) = self.sealed(text);
        if expected.trim_end_matches('\n') != line {
            return Err(broken);
        }
        *self = next;
        Ok(text)
    }

    /// Reads all lines of a file: their texts, the chain, and how many bytes of it count. What follows is the beginning of a line
    /// that a killed process did not write to its end; nobody was told that it was kept.
    ///
    /// # Errors
    /// [`ChainError::Broken`], [`ChainError::End`].
    pub fn read(bytes: &[u8]) -> Result<(Vec<String>, Self, usize), ChainError> {
        let (mut chain, mut texts, mut whole) = (Self::default(), Vec::new(), 0_usize);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let broken = || ChainError::Broken(chain.length.saturating_add(1));
            let Some(line) = line.strip_suffix(b"\n") else {
                // A line that is whole but for its last byte was whole: a torn one ends earlier.
                let without_end = line.split_last().map_or(&[][..], |(_, rest)| rest);
                let is_whole = |bytes| std::str::from_utf8(bytes).is_ok_and(|line| chain.clone().take(line).is_ok());
                if is_whole(without_end) {
                    return Err(ChainError::End(chain.length.saturating_add(1)));
                }
                break;
            };
            let text = std::str::from_utf8(line).map_err(|_| broken())?;
            texts.push(chain.take(text)?.to_owned());
            whole = whole.saturating_add(line.len()).saturating_add(1);
        }
        Ok((texts, chain, whole))
    }
}

impl fmt::Display for Chain {
    /// As the file beside the chain keeps it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.length, self.hash)
    }
}

impl std::str::FromStr for Chain {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (length, hash) = text.strip_suffix('\n').and_then(|line| line.split_once(' ')).ok_or(())?;
        let chain = Self { length: length.parse().map_err(|_| ())?, hash: hash.to_owned() };
        // Written again it is the same, or it is not what was written.
        (chain.to_string() == text && hash.len() == HASH_DIGITS).then_some(chain).ok_or(())
    }
}

/// Where a chain is kept. Whatever is appended is durable when the call returns without an error.
pub trait Ledger: Send + Sync + fmt::Debug {
    /// Adds a line. Blocks until it is durable.
    ///
    /// # Errors
    /// It is not kept; the chain is as before.
    fn append(&self, text: &str) -> io::Result<()>;

    /// Begins the chain anew with these lines, in one step.
    ///
    /// # Errors
    /// It is as before.
    fn replace(&self, texts: &[String]) -> io::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> (String, Chain) {
        let mut chain = Chain::default();
        let mut file = String::new();
        for text in [r#"{"a":1}"#, "two words", "ü"] {
            let (line, next) = chain.sealed(text);
            file.push_str(&line);
            chain = next;
        }
        (file, chain)
    }

    #[test]
    fn lines_come_back_and_the_hash_is_what_the_documents_say() {
        let (file, chain) = three();
        let (texts, read, whole) = Chain::read(file.as_bytes()).unwrap();
        assert_eq!(
            (texts.as_slice(), &read, whole),
            (&[r#"{"a":1}"#, "two words", "ü"].map(str::to_owned)[..], &chain, file.len())
        );
        // printf '%s %s' "$(printf '0%.0s' $(seq 64))" '{"a":1}' | sha256sum
        let zeros = "0".repeat(64);
        let first = Sha256::digest(format!("{zeros} {{\"a\":1}}"));
        assert!(file.starts_with(&format!("{} {{\"a\":1}}\n", encode_hex(&first))));
        assert_eq!(chain.to_string().parse(), Ok(chain));
    }

    #[test]
    fn a_line_that_was_not_written_to_its_end_is_left_out() {
        let (file, _) = three();
        let second = file.match_indices('\n').nth(1).unwrap().0 + 1;
        for end in second..file.len() - 1 {
            let (texts, chain, whole) = Chain::read(&file.as_bytes()[..end]).unwrap();
            assert_eq!((texts.len(), chain.length(), whole), (2, 2, second), "{end}");
        }
    }

    #[test]
    fn any_bit_that_was_flipped_is_noticed() {
        let (file, chain) = three();
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut bytes = file.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                assert!(Chain::read(&bytes).is_err(), "bit {bit} of byte {at}");
            }
        }
        let kept = chain.to_string();
        for at in 0..kept.len() {
            for bit in 0..8 {
                let mut bytes = kept.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let read = String::from_utf8(bytes).ok().and_then(|text| text.parse::<Chain>().ok());
                assert_ne!(read, Some(chain.clone()), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn lines_cannot_be_left_out_repeated_or_exchanged() {
        let (file, _) = three();
        let lines: Vec<&str> = file.split_inclusive('\n').collect();
        for order in [&[1, 2][..], &[0, 2], &[0, 1, 1], &[1, 0, 2], &[0, 0]] {
            let other: String = order.iter().map(|at| lines[*at]).collect();
            assert!(matches!(Chain::read(other.as_bytes()), Err(ChainError::Broken(_))), "{order:?}");
        }
    }
}
