//! Signed requests that were seen: none is taken twice. What is remembered is bounded, with a share for each key and each address and a
//! reserve for known peers, because a request that does not fit is refused rather than an earlier one forgotten within its window.

use crate::types::PublicKey;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    time::Duration,
};

/// The most requests that are remembered, of all keys: about 40 MiB.
const MAX_SEEN: usize = 200_000;

/// The most of them that are of keys which nobody decided on. The other half is left to known peers.
const MAX_SEEN_OF_STRANGERS: usize = MAX_SEEN / 2;

/// The most requests of one key: the flood of one instance leaves room for the others.
const MAX_SEEN_OF_ONE: u32 = 20_000;

/// The most requests of all keys from one address that nobody decided on: keys cost nothing to make.
const MAX_SEEN_FROM_ONE: u32 = 20_000;

/// What tells a request from every other.
type Seen = (PublicKey, [u8; 16]);

/// On whose account a request is remembered. `A`: an address, or the network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender<A> {
    /// The key that signed it.
    pub key: PublicKey,
    /// Where it came from; `None`: this machine.
    pub address: Option<A>,
    /// The peer is verified, listed or added by the admin: it may use the reserve, and its address counts nothing.
    pub known: bool,
}

/// Why a request is not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It was seen before.
    #[error("this request was seen before")]
    Replayed,
    /// The key has used its share.
    #[error("too many signed requests of this key within ten minutes: {MAX_SEEN_OF_ONE} are remembered of one key")]
    KeyShare,
    /// The address has used its share.
    #[error(
        "too many signed requests from this address within ten minutes: {MAX_SEEN_FROM_ONE} are remembered of keys that are not verified"
    )]
    AddressShare,
    /// Too many requests came within the window.
    #[error("too many signed requests within ten minutes")]
    Full,
}

/// One remembered request.
#[derive(Debug)]
struct Row<A> {
    at: Duration,
    seen: Seen,
    /// `None`: a known peer's. The address is counted where there is one.
    stranger: Option<Option<A>>,
}

/// The requests of the last minutes.
#[derive(Debug)]
pub struct Nonces<A> {
    seen: HashSet<Seen>,
    by_age: VecDeque<Row<A>>,
    of_key: HashMap<PublicKey, u32>,
    from_address: HashMap<A, u32>,
    of_strangers: usize,
}

impl<A> Default for Nonces<A> {
    fn default() -> Self {
        Self {
            seen: HashSet::new(),
            by_age: VecDeque::new(),
            of_key: HashMap::new(),
            from_address: HashMap::new(),
            of_strangers: 0,
        }
    }
}

/// One less of this; what has none takes no memory.
fn count_down<K: Hash + Eq>(counts: &mut HashMap<K, u32>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(of);
        }
    }
}

fn count_up<K: Hash + Eq>(counts: &mut HashMap<K, u32>, of: K) {
    let count = counts.entry(of).or_default();
    *count = count.saturating_add(1);
}

impl<A: Copy + Hash + Eq> Nonces<A> {
    /// Notes a request, once. `elapsed`: the process's own clock, which is not set back; `keep`: how long any request can be valid
    /// after it came, whatever its date.
    ///
    /// # Errors
    /// [`ReplayError`]; nothing was noted.
    pub fn take(
        &mut self,
        from: Sender<A>,
        nonce: [u8; 16],
        elapsed: Duration,
        keep: Duration,
    ) -> Result<(), ReplayError> {
        self.forget_before(elapsed, keep);
        let Sender { key, address, known } = from;
        if self.seen.contains(&(key, nonce)) {
            return Err(ReplayError::Replayed);
        }
        if self.of_key.get(&key).is_some_and(|count| *count >= MAX_SEEN_OF_ONE) {
            return Err(ReplayError::KeyShare);
        }
        let of_address = address.filter(|_| !known).and_then(|address| self.from_address.get(&address));
        if of_address.is_some_and(|count| *count >= MAX_SEEN_FROM_ONE) {
            return Err(ReplayError::AddressShare);
        }
        if self.by_age.len() >= MAX_SEEN || (!known && self.of_strangers >= MAX_SEEN_OF_STRANGERS) {
            return Err(ReplayError::Full);
        }
        count_up(&mut self.of_key, key);
        if !known {
            self.of_strangers = self.of_strangers.saturating_add(1);
            if let Some(address) = address {
                count_up(&mut self.from_address, address);
            }
        }
        self.seen.insert((key, nonce));
        self.by_age.push_back(Row { at: elapsed, seen: (key, nonce), stranger: (!known).then_some(address) });
        Ok(())
    }

    fn forget_before(&mut self, elapsed: Duration, keep: Duration) {
        while self.by_age.front().is_some_and(|row| elapsed.saturating_sub(row.at) > keep)
            && let Some(Row { seen, stranger, .. }) = self.by_age.pop_front()
        {
            self.seen.remove(&seen);
            count_down(&mut self.of_key, &seen.0);
            let Some(address) = stranger else { continue };
            self.of_strangers = self.of_strangers.saturating_sub(1);
            if let Some(address) = address {
                count_down(&mut self.from_address, &address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(600);

    fn key(number: u32) -> PublicKey {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        PublicKey::from_bytes(bytes)
    }

    fn stranger(number: u32, address: u32) -> Sender<u32> {
        Sender { key: key(number), address: Some(address), known: false }
    }

    fn known(number: u32) -> Sender<u32> {
        Sender { key: key(number), address: Some(1), known: true }
    }

    fn nonce(number: u32) -> [u8; 16] {
        u128::from(number).to_be_bytes()
    }

    fn take(nonces: &mut Nonces<u32>, from: Sender<u32>, number: u32, at: u64) -> Result<(), ReplayError> {
        nonces.take(from, nonce(number), Duration::from_secs(at), KEEP)
    }

    /// How many of `most` requests are taken, each of a key of its own.
    fn flood(nonces: &mut Nonces<u32>, address: Option<u32>, most: u32) -> u32 {
        let from = |number| Sender { address, ..stranger(1000 + number / 1000, 0) };
        u32::try_from((0..most).filter(|number| take(nonces, from(*number), *number, 0).is_ok()).count()).unwrap()
    }

    #[test]
    fn a_request_counts_once_for_as_long_as_it_could_be_repeated() {
        let nonces = &mut Nonces::default();
        assert_eq!(take(nonces, stranger(1, 1), 1, 0), Ok(()));
        assert_eq!(take(nonces, stranger(1, 2), 1, 600), Err(ReplayError::Replayed));
        assert_eq!(take(nonces, stranger(1, 1), 2, 600), Ok(()));
        assert_eq!(take(nonces, stranger(2, 1), 1, 600), Ok(()));
        assert_eq!(take(nonces, stranger(1, 1), 1, 601), Ok(()), "by then its signature is out of time");
        assert_eq!(nonces.seen.len(), 3);
    }

    #[test]
    fn a_key_over_its_share_is_refused_and_no_other_key() {
        for of in [stranger(1, 1), known(1)] {
            let nonces = &mut Nonces::default();
            assert!((0..MAX_SEEN_OF_ONE).all(|number| take(nonces, of, number, 0).is_ok()));
            assert_eq!(take(nonces, of, MAX_SEEN_OF_ONE, 1), Err(ReplayError::KeyShare));
            assert_eq!(take(nonces, stranger(2, 2), 0, 1), Ok(()));
            assert_eq!(take(nonces, known(3), 0, 1), Ok(()));
            assert_eq!(take(nonces, of, MAX_SEEN_OF_ONE, 601), Ok(()), "after ten minutes they are forgotten");
            assert_eq!((nonces.seen.len(), nonces.of_key.len()), (3, 3));
        }
    }

    #[test]
    fn an_address_over_its_share_is_refused_and_no_other_address() {
        let nonces = &mut Nonces::default();
        assert_eq!(flood(nonces, Some(7), 50_000), MAX_SEEN_FROM_ONE);
        assert_eq!(take(nonces, stranger(1, 7), 0, 0), Err(ReplayError::AddressShare));
        assert_eq!(take(nonces, stranger(1, 8), 0, 0), Ok(()));
        assert_eq!(
            take(nonces, Sender { address: Some(7), ..known(2) }, 0, 0),
            Ok(()),
            "a known peer is not its address"
        );
        assert_eq!(take(nonces, stranger(1, 7), 0, 601), Ok(()));
        assert_eq!((nonces.from_address.len(), nonces.of_strangers, nonces.by_age.len()), (1, 1, 1));
    }

    #[test]
    fn strangers_with_any_number_of_keys_and_addresses_leave_the_reserve_to_known_peers() {
        let nonces = &mut Nonces::default();
        let mut taken = flood(nonces, None, 60_000);
        for address in 0..10 {
            for number in 0..20_000 {
                taken += u32::from(take(nonces, stranger(5_000 + address, address), number, 0).is_ok());
            }
        }
        assert_eq!(usize::try_from(taken), Ok(MAX_SEEN_OF_STRANGERS));
        assert_eq!(take(nonces, stranger(1, 99), 0, 0), Err(ReplayError::Full));
        for number in 1..=5 {
            assert!((0..MAX_SEEN_OF_ONE).all(|request| take(nonces, known(number), request, 0).is_ok()));
        }
        assert_eq!(take(nonces, known(6), 0, 0), Err(ReplayError::Full));
        // What SECURITY.md states of the memory.
        let bytes = nonces.seen.capacity() * (size_of::<Seen>() + 1) + nonces.by_age.capacity() * size_of::<Row<u32>>();
        assert!(bytes < 40 << 20, "{bytes}");
        assert_eq!(take(nonces, stranger(1, 99), 0, 601), Ok(()));
        assert_eq!((nonces.by_age.len(), nonces.of_key.len(), nonces.from_address.len()), (1, 1, 1));
    }
}
