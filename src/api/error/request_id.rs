//! What a request is called in its answer, in the log and in traces.

use crate::types::hex_pair;
use std::{cell::RefCell, fmt};

const BYTES: usize = 12;
const DIGITS: usize = 2 * BYTES;
/// So many are drawn at once: asking the system for each would cost more than all the rest of making one.
const DRAWN_AT_ONCE: usize = 256;

thread_local! {
    static DRAWN: RefCell<Vec<[u8; BYTES]>> = const { RefCell::new(Vec::new()) };
}

/// Twenty-four hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RequestId([u8; DIGITS]);

impl RequestId {
    /// A new one. Without randomness it is all zeros: one that repeats is a nuisance in the log and nothing more, so the request goes on.
    pub(crate) fn new() -> Self {
        let id = DRAWN.with_borrow_mut(|drawn| {
            drawn.pop().or_else(|| {
                let mut bytes = [0_u8; BYTES * DRAWN_AT_ONCE];
                getrandom::fill(&mut bytes).ok()?;
                drawn.extend(bytes.as_chunks().0);
                drawn.pop()
            })
        });
        let mut digits = [0; DIGITS];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(id.unwrap_or_default()) {
            *pair = hex_pair(byte);
        }
        Self(digits)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_are_alike() {
        let ids: HashSet<_> = (0..3 * DRAWN_AT_ONCE).map(|_| RequestId::new()).collect();
        assert_eq!(ids.len(), 3 * DRAWN_AT_ONCE);
        let digit = |digit: char| digit.is_ascii_digit() || ('a'..='f').contains(&digit);
        assert!(ids.iter().all(|id| id.as_str().len() == DIGITS && id.to_string().chars().all(digit)));
    }
}
