//! Requests that were seen: none is taken twice.
//!
//! What a process saw is in its memory. So that a request that was captured before a restart is not taken after it:
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
    /// It was signed before this process started, which cannot know whether it was taken then.
    #[error(
        "this request was signed before the service started, which therefore cannot tell whether it was taken then; sign it anew, \
         created={} or later", .earliest.seconds()
    )]
    BeforeStart {
        /// The date from which on one is taken, whole seconds.
        earliest: Timestamp,
    },
    /// Too many requests came within the window.
    #[error("too many signed requests within a few minutes")]
    Full,
}

/// A request as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Who signed it.
    pub key: PublicKey,
    /// What tells it from the others of that key.
    pub nonce: [u8; 16],
    /// Its date, whole seconds.
    pub created: Timestamp,
}

/// The requests of the last minutes.
#[derive(Debug, Default)]
pub struct Nonces {
    seen: HashSet<Seen>,
    by_age: VecDeque<(Duration, Stamp)>,
    of_each: HashMap<PublicKey, u32>,
    /// What is dated before it was signed before this process started; and until when of the process's own clock that is asked.
    earliest: Option<(Timestamp, Duration)>,
}

impl Nonces {
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

    /// What the next process must know of those that this one, which ends `now`, has seen: a line for each.
    #[must_use]
    pub fn handed_over(&self, now: Timestamp) -> String {
        let since = Timestamp::from_seconds(now.seconds());
        let mut out = String::new();
        for (_, stamp) in self.by_age.iter().filter(|(_, stamp)| stamp.created >= since) {
            let _infallible =
                writeln!(out, "{} {} {}", stamp.created.seconds(), stamp.key.to_base64(), encode_hex(&stamp.nonce));
        }
        out
    }

    /// Could this request be taken, as far as is known? Notes nothing.
    ///
    /// # Errors
    /// [`ReplayError::Replayed`], [`ReplayError::BeforeStart`].
    pub fn check(&self, stamp: Stamp, elapsed: Duration) -> Result<(), ReplayError> {
        if self.seen.contains(&(stamp.key, stamp.nonce)) {
            return Err(ReplayError::Replayed);
        }
        match self.earliest {
            Some((earliest, until)) if elapsed <= until && stamp.created < earliest => {
                Err(ReplayError::BeforeStart { earliest })
            }
            _ => Ok(()),
        }
    }

    fn remember(&mut self, stamp: Stamp, elapsed: Duration) {
        let count = self.of_each.entry(stamp.key).or_default();
        *count = count.saturating_add(1);
        self.seen.insert((stamp.key, stamp.nonce));
        self.by_age.push_back((elapsed, stamp));
    }

    /// Notes a request, once. `elapsed`: the process's own clock, which is not set back; `keep`: how long any request can be valid
    /// after it came, whatever its date.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub fn take(&mut self, stamp: Stamp, elapsed: Duration, keep: Duration) -> Result<(), ReplayError> {
        while let Some((at, old)) = self.by_age.front()
            && elapsed.saturating_sub(*at) > keep
        {
            self.seen.remove(&(old.key, old.nonce));
            if let Some(count) = self.of_each.get_mut(&old.key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.of_each.remove(&old.key);
                }
            }
            self.by_age.pop_front();
        }
        self.check(stamp, elapsed)?;
        let of_this = self.of_each.get(&stamp.key).copied().unwrap_or(0);
        if self.by_age.len() >= MAX_SEEN || of_this >= MAX_SEEN_OF_ONE {
            return Err(ReplayError::Full);
        }
        self.remember(stamp, elapsed);
        Ok(())
    }
}

fn read_stamp(line: &str) -> Option<Stamp> {
    let mut words = line.split(' ');
    let (created, key, nonce) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let (key, nonce) = (PublicKey::parse(key).ok()?, decode_hex(nonce)?);
    words.next().is_none().then_some(Stamp { key, nonce, created: Timestamp::from_seconds(created) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_763_696_494);
    const KEEP: Duration = Duration::from_secs(600);

    fn stamp(key: u8, nonce: [u8; 16]) -> Stamp {
        Stamp { key: PublicKey::from_bytes([key; 32]), nonce, created: NOW }
    }

    #[test]
    fn a_request_counts_once_for_as_long_as_it_could_be_repeated() {
        let at = Duration::from_secs;
        let mut nonces = Nonces::default();
        let mut take = |key, nonce, seconds| nonces.take(stamp(key, nonce), at(seconds), KEEP);
        assert_eq!(take(1, [1; 16], 0), Ok(()));
        assert_eq!(take(1, [1; 16], 600), Err(ReplayError::Replayed));
        assert_eq!(take(1, [2; 16], 600), Ok(()));
        assert_eq!(take(2, [1; 16], 600), Ok(()));
        assert_eq!(take(1, [1; 16], 601), Ok(()), "by then its signature is out of time");
        assert_eq!(nonces.seen.len(), 3);
    }

    #[test]
    fn a_flood_of_one_key_leaves_place_for_the_others() {
        let mut nonces = Nonces::default();
        let mut take = |key, number: u32, at| {
            nonces.take(stamp(key, u128::from(number).to_be_bytes()), Duration::from_secs(at), KEEP)
        };
        assert!((0..MAX_SEEN_OF_ONE).all(|number| take(1, number, 0).is_ok()));
        assert_eq!(take(1, MAX_SEEN_OF_ONE, 1), Err(ReplayError::Full));
        assert_eq!(take(2, 0, 1), Ok(()));
        assert_eq!(take(1, MAX_SEEN_OF_ONE, 601), Ok(()), "after a while they are forgotten");
        assert_eq!((nonces.seen.len(), nonces.of_each.len()), (2, 2));
    }

    #[test]
    fn what_was_signed_before_the_start_is_refused_for_as_long_as_it_is_in_time() {
        let start = NOW.plus(Duration::from_millis(700));
        let at =
            |seconds: i64| Stamp { created: Timestamp::from_seconds(NOW.seconds() + seconds), ..stamp(1, [9; 16]) };
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
        let dated = |nonce: u8, seconds: i64| Stamp {
            created: Timestamp::from_seconds(NOW.seconds() + seconds),
            ..stamp(1, [nonce; 16])
        };
        for (nonce, seconds) in [(1, -1), (2, 0), (3, 200)] {
            before.take(dated(nonce, seconds), Duration::ZERO, KEEP).unwrap();
        }
        let text = before.handed_over(NOW.plus(Duration::from_millis(300)));
        assert_eq!(text.lines().count(), 2);
        let mut after = Nonces::started(NOW.plus(Duration::from_millis(500)), Some(&text), Duration::ZERO, KEEP);
        for (nonce, seconds) in [(2, 0), (3, 200)] {
            assert_eq!(after.take(dated(nonce, seconds), Duration::ZERO, KEEP), Err(ReplayError::Replayed));
        }
        let refused = ReplayError::BeforeStart { earliest: NOW };
        assert_eq!(after.take(dated(1, -1), Duration::ZERO, KEEP), Err(refused));
        assert_eq!(after.take(dated(4, 0), Duration::ZERO, KEEP), Ok(()));
    }
}
