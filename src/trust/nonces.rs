//! Requests that were seen: none is taken twice.

use crate::types::PublicKey;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

/// The most requests that are remembered; beyond it the service refuses rather than forget one within its window.
const MAX_SEEN: usize = 200_000;

/// The most requests of one key: one instance's flood leaves place for the others.
const MAX_SEEN_OF_ONE: u32 = 20_000;

/// What tells a request from every other.
type Seen = (PublicKey, [u8; 16]);

/// Why a request is not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It was seen before.
    #[error("this request was seen before")]
    Replayed,
    /// Too many requests came within the window.
    #[error("too many signed requests within a few minutes")]
    Full,
}

/// The requests of the last minutes.
#[derive(Debug, Default)]
pub struct Nonces {
    seen: HashSet<Seen>,
    by_age: VecDeque<(Duration, Seen)>,
    of_each: HashMap<PublicKey, u32>,
}

impl Nonces {
    /// Notes a request, once. `elapsed`: the process's own clock, which is not set back; `keep`: how long any request can be valid
    /// after it came, whatever its date.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub fn take(
        &mut self,
        key: PublicKey,
        nonce: [u8; 16],
        elapsed: Duration,
        keep: Duration,
    ) -> Result<(), ReplayError> {
        while let Some((at, seen)) = self.by_age.front()
            && elapsed.saturating_sub(*at) > keep
        {
            self.seen.remove(seen);
            if let Some(count) = self.of_each.get_mut(&seen.0) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.of_each.remove(&seen.0);
                }
            }
            self.by_age.pop_front();
        }
        if self.seen.contains(&(key, nonce)) {
            return Err(ReplayError::Replayed);
        }
        let of_this = self.of_each.get(&key).copied().unwrap_or(0);
        if self.by_age.len() >= MAX_SEEN || of_this >= MAX_SEEN_OF_ONE {
            return Err(ReplayError::Full);
        }
        self.of_each.insert(key, of_this.saturating_add(1));
        self.seen.insert((key, nonce));
        self.by_age.push_back((elapsed, (key, nonce)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_once_for_as_long_as_it_could_be_repeated() {
        let (key, other) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
        let keep = Duration::from_secs(600);
        let at = Duration::from_secs;
        let mut nonces = Nonces::default();
        assert_eq!(nonces.take(key, [1; 16], at(0), keep), Ok(()));
        assert_eq!(nonces.take(key, [1; 16], at(600), keep), Err(ReplayError::Replayed));
        assert_eq!(nonces.take(key, [2; 16], at(600), keep), Ok(()));
        assert_eq!(nonces.take(other, [1; 16], at(600), keep), Ok(()));
        assert_eq!(nonces.take(key, [1; 16], at(601), keep), Ok(()), "by then its signature is out of time");
        assert_eq!(nonces.seen.len(), 3);
    }

    #[test]
    fn a_flood_of_one_key_leaves_place_for_the_others() {
        let (key, other) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
        let (keep, mut nonces) = (Duration::from_secs(600), Nonces::default());
        let nonce = |number: u32| u128::from(number).to_be_bytes();
        let mut take = |key, number, at| nonces.take(key, nonce(number), Duration::from_secs(at), keep);
        assert!((0..MAX_SEEN_OF_ONE).all(|number| take(key, number, 0).is_ok()));
        assert_eq!(take(key, MAX_SEEN_OF_ONE, 1), Err(ReplayError::Full));
        assert_eq!(take(other, 0, 1), Ok(()));
        assert_eq!(take(key, MAX_SEEN_OF_ONE, 601), Ok(()), "after a while they are forgotten");
        assert_eq!((nonces.seen.len(), nonces.of_each.len()), (2, 2));
    }
}
