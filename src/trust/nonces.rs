//! Signed requests that were seen: none is taken twice. What is remembered is bounded, with a share for each key and each address and a
//! reserve for known peers, because a request that does not fit is refused rather than an earlier one forgotten within its window.
//!
//! It is in the memory of a process. So that a request that was captured before a restart is not taken after it:
//! - A signature that is dated before the start is refused ([`ReplayError::BeforeStart`]).
//! - What the process before saw and what is dated at or after its end is handed over ([`Nonces::handed_over`]): requests of the second
//!   in which it ended, and of senders whose clocks are ahead. Where that process did not end in order there is nothing to hand over;
//!   then signatures of the second of the start are refused as well.
//!
//! A sender whose clock is behind signs with dates before the start for as long as it is behind. The answer has a code of its own and
//! states the first date that is taken; clients sign anew, dated so (our own do), so nobody waits for the clocks. The rule ends when everything that was
//! signed before the start is out of time anyway: a wall clock that is set back later locks nobody out.

use crate::types::{PublicKey, Timestamp, decode_hex, encode_hex};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt::Write as _,
    hash::Hash,
    time::Duration,
};

/// The most requests that are remembered, of all keys: about 40 MiB.
const MAX_SEEN: usize = 200_000;

/// The most of them that are of strangers' keys. The other half is left to known peers.
const MAX_SEEN_OF_STRANGERS: usize = MAX_SEEN / 2;

/// The most requests of one key: the flood of one instance leaves room for the others.
const MAX_SEEN_OF_ONE: u32 = 20_000;

/// The most requests of all strangers' keys from one address: keys cost nothing to make.
const MAX_SEEN_FROM_ONE: u32 = 20_000;

/// What a line of those that are handed over ends with.
const KNOWN: &str = "known";
const STRANGER: &str = "stranger";

/// What tells a request from every other.
type Seen = (PublicKey, [u8; 16]);

/// Why a request is not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It was seen before.
    #[error("this request was seen before")]
    Replayed,
    /// It was signed before this process started, which cannot know whether it was taken then.
    #[error(
        "this request was signed before the service started, which therefore cannot tell whether it was taken then; sign it anew, \
         created={} or later", .earliest.seconds()
    )]
    BeforeStart {
        /// The date from which on one is taken, whole seconds.
        earliest: Timestamp,
    },
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

/// A request as it is remembered, and on whose account. `A`: an address, or the network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp<A> {
    /// The key that signed it.
    pub key: PublicKey,
    /// What tells it from the others of that key.
    pub nonce: [u8; 16],
    /// Its date, whole seconds.
    pub created: Timestamp,
    /// Where it came from; `None`: this machine, or an address that is not known any more.
    pub address: Option<A>,
    /// The peer is verified, listed or named by the admin: it may use the reserve, and its address counts nothing.
    pub known: bool,
}

impl<A> Stamp<A> {
    fn seen(&self) -> Seen {
        (self.key, self.nonce)
    }
}

/// One remembered request.
#[derive(Debug)]
struct Row<A> {
    at: Duration,
    seen: Seen,
    created: Timestamp,
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
    /// What is dated before it was signed before this process started; and until when of the process's own clock that is asked.
    earliest: Option<(Timestamp, Duration)>,
}

impl<A> Default for Nonces<A> {
    fn default() -> Self {
        Self {
            seen: HashSet::new(),
            by_age: VecDeque::new(),
            of_key: HashMap::new(),
            from_address: HashMap::new(),
            of_strangers: 0,
            earliest: None,
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
    /// Of a process that starts `now`, after one that left `handed_over` (see [`Self::handed_over`]; `None`: it did not end in order).
    /// An empty text: there was none before. `keep`: as in [`Self::take`].
    #[must_use]
    pub fn started(now: Timestamp, handed_over: Option<&str>, elapsed: Duration, keep: Duration) -> Self {
        let second = Timestamp::from_seconds(now.seconds());
        let stamps = handed_over.and_then(|text| text.lines().map(read_stamp).collect::<Option<Vec<_>>>());
        let earliest = if stamps.is_some() { second } else { second.plus(Duration::from_secs(1)) };
        let mut nonces = Self { earliest: Some((earliest, elapsed.saturating_add(keep))), ..Self::default() };
        for stamp in stamps.into_iter().flatten().take(MAX_SEEN) {
            nonces.remember(stamp, elapsed);
        }
        nonces
    }

    /// What the next process must know of those that this one, which ends `now`, has seen: a line for each. Their addresses are not in
    /// it: there an address has its whole share again, within that of all strangers.
    #[must_use]
    pub fn handed_over(&self, now: Timestamp) -> String {
        let since = Timestamp::from_seconds(now.seconds());
        let mut out = String::new();
        for Row { seen: (key, nonce), created, stranger, .. } in self.by_age.iter().filter(|row| row.created >= since) {
            let (created, key, nonce) = (created.seconds(), key.to_base64(), encode_hex(nonce));
            let account = if stranger.is_some() { STRANGER } else { KNOWN };
            let _infallible = writeln!(out, "{created} {key} {nonce} {account}");
        }
        out
    }

    /// Could this request be taken, as far as its repetition and its date go? Notes nothing.
    ///
    /// # Errors
    /// [`ReplayError::Replayed`], [`ReplayError::BeforeStart`].
    pub fn check(&self, stamp: Stamp<A>, elapsed: Duration) -> Result<(), ReplayError> {
        if self.seen.contains(&stamp.seen()) {
            return Err(ReplayError::Replayed);
        }
        match self.earliest {
            Some((earliest, until)) if elapsed <= until && stamp.created < earliest => {
                Err(ReplayError::BeforeStart { earliest })
            }
            _ => Ok(()),
        }
    }

    /// Notes a request, once. `elapsed`: the process's own clock, which is not set back; `keep`: how long any request can be valid
    /// after it came, whatever its date.
    ///
    /// # Errors
    /// [`ReplayError`]; nothing was noted.
    pub fn take(&mut self, stamp: Stamp<A>, elapsed: Duration, keep: Duration) -> Result<(), ReplayError> {
        self.forget_before(elapsed, keep);
        self.check(stamp, elapsed)?;
        let Stamp { key, address, known, .. } = stamp;
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
        self.remember(stamp, elapsed);
        Ok(())
    }

    fn remember(&mut self, stamp: Stamp<A>, elapsed: Duration) {
        let Stamp { key, created, address, known, .. } = stamp;
        count_up(&mut self.of_key, key);
        if !known {
            self.of_strangers = self.of_strangers.saturating_add(1);
            if let Some(address) = address {
                count_up(&mut self.from_address, address);
            }
        }
        self.seen.insert(stamp.seen());
        self.by_age.push_back(Row { at: elapsed, seen: stamp.seen(), created, stranger: (!known).then_some(address) });
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

fn read_stamp<A>(line: &str) -> Option<Stamp<A>> {
    let mut words = line.split(' ');
    let (created, key, nonce) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let known = match words.next()? {
        KNOWN => true,
        STRANGER => false,
        _ => return None,
    };
    let (key, nonce, created) = (PublicKey::parse(key).ok()?, decode_hex(nonce)?, Timestamp::from_seconds(created));
    words.next().is_none().then_some(Stamp { key, nonce, created, address: None, known })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_763_696_494);
    const KEEP: Duration = Duration::from_secs(600);

    fn key(number: u32) -> PublicKey {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        PublicKey::from_bytes(bytes)
    }

    fn stranger(number: u32, address: u32) -> Stamp<u32> {
        Stamp { key: key(number), nonce: [0; 16], created: NOW, address: Some(address), known: false }
    }

    fn known(number: u32) -> Stamp<u32> {
        Stamp { address: Some(1), known: true, ..stranger(number, 1) }
    }

    fn nonce(number: u32) -> [u8; 16] {
        u128::from(number).to_be_bytes()
    }

    fn take(nonces: &mut Nonces<u32>, from: Stamp<u32>, number: u32, at: u64) -> Result<(), ReplayError> {
        nonces.take(Stamp { nonce: nonce(number), ..from }, Duration::from_secs(at), KEEP)
    }

    /// How many of `most` requests are taken, each of a key of its own.
    fn flood(nonces: &mut Nonces<u32>, address: Option<u32>, most: u32) -> u32 {
        let from = |number| Stamp { address, ..stranger(1000 + number / 1000, 0) };
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
            take(nonces, Stamp { address: Some(7), ..known(2) }, 0, 0),
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
        // What SECURITY.md states of the memory, with addresses that are as large as `guard::Payer`.
        let row = size_of::<Row<Result<u64, PublicKey>>>();
        let bytes = nonces.seen.capacity() * (size_of::<Seen>() + 1) + nonces.by_age.capacity() * row;
        assert!(bytes < 40 << 20, "{bytes}");
        assert_eq!(take(nonces, stranger(1, 99), 0, 601), Ok(()));
        assert_eq!((nonces.by_age.len(), nonces.of_key.len(), nonces.from_address.len()), (1, 1, 1));
    }

    #[test]
    fn what_was_signed_before_the_start_is_refused_for_as_long_as_it_is_in_time() {
        let start = NOW.plus(Duration::from_millis(700));
        let at = |seconds: i64| Stamp { created: Timestamp::from_seconds(NOW.seconds() + seconds), ..stranger(1, 1) };
        let refused = |seconds| Err(ReplayError::BeforeStart { earliest: at(seconds).created });
        let mut after_one_in_order = Nonces::started(start, Some(""), Duration::ZERO, KEEP);
        assert_eq!(after_one_in_order.check(at(-1), Duration::ZERO), refused(0));
        assert_eq!(after_one_in_order.take(at(-1), KEEP, KEEP), refused(0));
        assert_eq!(after_one_in_order.check(at(0), Duration::ZERO), Ok(()), "the same second, after nobody");
        assert_eq!(after_one_in_order.check(at(-1), KEEP + Duration::from_secs(1)), Ok(()), "the clock was set back");
        for handed_over in [None, Some("rubbish\n")] {
            let after_a_crash = Nonces::started(start, handed_over, Duration::ZERO, KEEP);
            assert_eq!(after_a_crash.check(at(0), Duration::ZERO), refused(1));
            assert_eq!(after_a_crash.check(at(1), Duration::ZERO), Ok(()));
        }
    }

    #[test]
    fn what_is_dated_at_the_end_or_ahead_is_handed_over() {
        let mut before = Nonces::default();
        let dated = |number: u32, seconds: i64| Stamp {
            nonce: nonce(number),
            created: Timestamp::from_seconds(NOW.seconds() + seconds),
            ..stranger(1, 1)
        };
        for (number, seconds) in [(1, -1), (2, 0), (3, 200)] {
            before.take(dated(number, seconds), Duration::ZERO, KEEP).unwrap();
        }
        let text = before.handed_over(NOW.plus(Duration::from_millis(300)));
        assert_eq!(text.lines().count(), 2);
        let mut after = Nonces::started(NOW.plus(Duration::from_millis(500)), Some(&text), Duration::ZERO, KEEP);
        for (number, seconds) in [(2, 0), (3, 200)] {
            assert_eq!(after.take(dated(number, seconds), Duration::ZERO, KEEP), Err(ReplayError::Replayed));
        }
        let refused = ReplayError::BeforeStart { earliest: NOW };
        assert_eq!(after.take(dated(1, -1), Duration::ZERO, KEEP), Err(refused));
        assert_eq!(after.take(dated(4, 0), Duration::ZERO, KEEP), Ok(()));
    }

    #[test]
    fn what_is_handed_over_stays_on_the_account_of_its_key_and_of_strangers_or_known_peers() {
        let mut before = Nonces::default();
        let most = MAX_SEEN_OF_ONE;
        assert!((0..most).all(|number| take(&mut before, stranger(1, 7), number, 0).is_ok()));
        assert!((0..most).all(|number| take(&mut before, known(2), number, 0).is_ok()));
        let after = &mut Nonces::started(NOW, Some(&before.handed_over(NOW)), Duration::ZERO, KEEP);
        assert_eq!(take(after, stranger(1, 8), most, 0), Err(ReplayError::KeyShare));
        assert_eq!(take(after, known(2), most, 0), Err(ReplayError::KeyShare));
        assert_eq!(usize::try_from(most), Ok(after.of_strangers), "a known peer's are not counted with them");
        assert_eq!(take(after, stranger(3, 7), 0, 601), Ok(()));
        assert_eq!(
            (after.of_strangers, after.by_age.len(), after.of_key.len()),
            (1, 1, 1),
            "all are forgotten in time"
        );
    }
}
