//! Token buckets: one for each payer and class of request.

use super::Payer;
use crate::types::SharedClock;
use governor::{
    NotUntil, Quota, RateLimiter,
    clock::Clock as GovernorClock,
    middleware::{StateInformationMiddleware, StateSnapshot},
    nanos::Nanos,
    state::{StateStore, keyed::ShrinkableKeyedStateStore},
};
use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What an allowance is for.
const WINDOW: Duration = Duration::from_secs(60);
/// A /48 has so many times what a /64 has.
const WIDER: u32 = 16;
/// The most payers that are remembered for each class; who comes then shares one bucket with all the others that come.
const MAX_PAYERS: usize = 50_000;
/// How often those whose bucket is full again are forgotten.
const SWEEP_EVERY_MILLIS: u64 = 1_000;

/// What a request costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A look-up.
    Read,
    /// A body is read and worked on.
    Body,
    /// A signature is checked.
    Signed,
    /// An id is registered that was never seen before, and is kept for months.
    NewId,
    /// A signature of this key was checked.
    Key,
}

impl Class {
    /// As the answers' `RateLimit` headers name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Body => "body",
            Self::Signed => "signed",
            Self::NewId => "new-id",
            Self::Key => "key",
        }
    }

    /// Whether replicas count together. Look-ups are counted by each: asking Redis would cost more than answering.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        !matches!(self, Self::Read)
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Read => "requests from this address",
            Self::Body => "requests with a body from this address",
            Self::Signed => "signed requests from this address",
            Self::NewId => "new ids from this address",
            Self::Key => "signed requests of this key",
        }
    }
}

/// How many of each class a payer has in a minute; 0: no bound.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quotas {
    /// [`Class::Read`].
    pub reads: u32,
    /// [`Class::Body`].
    pub bodies: u32,
    /// [`Class::Signed`].
    pub signed: u32,
    /// [`Class::NewId`].
    pub new_ids: u32,
    /// [`Class::Key`].
    pub of_key: u32,
}

/// What is left to a payer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Of what.
    pub class: Class,
    /// How many in [`Self::window`].
    pub most: u32,
    /// How many are left.
    pub left: u32,
    /// When all of them are there again.
    pub full_in: Duration,
}

impl Allowance {
    /// In what time [`Self::most`] come back.
    #[must_use]
    pub const fn window(&self) -> Duration {
        WINDOW
    }

    /// When so many more were taken of it.
    fn less(self, count: u32) -> Self {
        let full_in = self.full_in.saturating_add(time_of(count, self.most));
        Self { left: self.left.saturating_sub(count), full_in, ..self }
    }
}

/// In what time `count` of the `most` of a window come back.
fn time_of(count: u32, most: u32) -> Duration {
    WINDOW.saturating_mul(count) / most.max(1)
}

/// Nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many {}: {most} a minute are allowed; try again in {} s", .class.what(), .wait.as_secs().saturating_add(1))]
pub struct Limited {
    /// Of what.
    pub class: Class,
    /// How many in a minute.
    pub most: u32,
    /// When there is one again.
    pub wait: Duration,
}

#[derive(Debug)]
struct ElapsedClock(SharedClock);

impl GovernorClock for ElapsedClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// As governor's own, with a bound on what it holds.
#[derive(Debug, Clone, Default)]
struct Store(Arc<Mutex<HashMap<Payer, Nanos>>>);

impl Store {
    fn rows(&self) -> MutexGuard<'_, HashMap<Payer, Nanos>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose row it is: where there is no place for one, that of all the others.
    fn row_of(rows: &HashMap<Payer, Nanos>, key: &Payer) -> Payer {
        let full = rows.len() >= MAX_PAYERS && !rows.contains_key(key);
        if full { Payer::Rest } else { *key }
    }

    /// Undoes what took `by`.
    fn advance(&self, key: &Payer, by: Nanos) {
        let mut rows = self.rows();
        let key = Self::row_of(&rows, key);
        if let Some(full_at) = rows.get_mut(&key) {
            *full_at = full_at.saturating_sub(by);
        }
    }

    /// Moves the time at which a bucket is full again.
    fn postpone(&self, key: &Payer, by: Nanos) {
        let mut rows = self.rows();
        let key = Self::row_of(&rows, key);
        if let Some(full_at) = rows.get_mut(&key) {
            *full_at = *full_at + by;
        }
    }
}

impl StateStore for Store {
    type Key = Payer;

    fn measure_and_replace<T, F, E>(&self, key: &Payer, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut rows = self.rows();
        let key = Self::row_of(&rows, key);
        let (outcome, next) = f(rows.get(&key).copied())?;
        rows.insert(key, next);
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<Payer> for Store {
    fn retain_recent(&self, drop_below: Nanos) {
        self.rows().retain(|_, until| *until >= drop_below);
    }

    fn len(&self) -> usize {
        self.rows().len()
    }

    fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }
}

#[derive(Debug)]
struct Buckets {
    limiter: RateLimiter<Payer, Store, ElapsedClock, StateInformationMiddleware>,
    /// The limiter's own.
    store: Store,
}

impl Buckets {
    fn new(most: NonZeroU32, clock: &SharedClock) -> Self {
        let (store, clock) = (Store::default(), ElapsedClock(SharedClock::clone(clock)));
        Self { limiter: RateLimiter::new(Quota::per_minute(most), store.clone(), clock), store }
    }

    fn take(&self, payer: Payer) -> Result<StateSnapshot, NotUntil<Duration>> {
        self.limiter.check_key(&payer)
    }
}

#[derive(Debug)]
struct Bounded {
    class: Class,
    most: u32,
    buckets: Buckets,
    wider: Buckets,
    /// Milliseconds of the clock.
    swept: AtomicU64,
}

impl Bounded {
    fn new(class: Class, most: u32, clock: &SharedClock) -> Option<Self> {
        let narrow = NonZeroU32::new(most)?;
        let wide = NonZeroU32::new(most.saturating_mul(WIDER))?;
        let (buckets, wider) = (Buckets::new(narrow, clock), Buckets::new(wide, clock));
        Some(Self { class, most, buckets, wider, swept: AtomicU64::new(0) })
    }

    fn take(&self, payer: Payer, now: Duration) -> Result<Allowance, Limited> {
        self.sweep(now);
        if let Some(wider) = payer.wider() {
            self.wider.take(wider).map_err(|until| self.limited(&until, now))?;
        }
        let state = self.buckets.take(payer).map_err(|until| self.limited(&until, now))?;
        Ok(self.allowance(&state))
    }

    fn take_more(&self, payer: Payer, count: u32) {
        let more = |most| Nanos::from(time_of(count, most));
        self.buckets.store.postpone(&payer, more(self.most));
        if let Some(wider) = payer.wider() {
            self.wider.store.postpone(&wider, more(self.most.saturating_mul(WIDER)));
        }
    }

    fn give_back(&self, payer: Payer) {
        self.buckets.store.advance(&payer, Nanos::from(time_of(1, self.most)));
        if let Some(wider) = payer.wider() {
            self.wider.store.advance(&wider, Nanos::from(time_of(1, self.most.saturating_mul(WIDER))));
        }
    }

    fn allowance(&self, state: &StateSnapshot) -> Allowance {
        let left = state.remaining_burst_capacity();
        let full_in = time_of(self.most.saturating_sub(left), self.most);
        Allowance { class: self.class, most: self.most, left, full_in }
    }

    fn limited(&self, until: &NotUntil<Duration>, now: Duration) -> Limited {
        Limited { class: self.class, most: self.most, wait: until.wait_time_from(now) }
    }

    fn sweep(&self, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let swept = self.swept.load(Ordering::Relaxed);
        let due = now.saturating_sub(swept) >= SWEEP_EVERY_MILLIS;
        if due && self.swept.compare_exchange(swept, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.buckets.limiter.retain_recent();
            self.wider.limiter.retain_recent();
        }
    }
}

/// Everybody's buckets.
#[derive(Debug)]
pub struct Limiter {
    clock: SharedClock,
    reads: Option<Bounded>,
    bodies: Option<Bounded>,
    signed: Option<Bounded>,
    new_ids: Option<Bounded>,
    of_key: Option<Bounded>,
}

impl Limiter {
    /// With full buckets.
    #[must_use]
    pub fn new(quotas: Quotas, clock: &SharedClock) -> Self {
        let bounded = |class, most| Bounded::new(class, most, clock);
        Self {
            clock: SharedClock::clone(clock),
            reads: bounded(Class::Read, quotas.reads),
            bodies: bounded(Class::Body, quotas.bodies),
            signed: bounded(Class::Signed, quotas.signed),
            new_ids: bounded(Class::NewId, quotas.new_ids),
            of_key: bounded(Class::Key, quotas.of_key),
        }
    }

    /// Takes one. `None`: there is no bound.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn take(&self, class: Class, payer: Payer) -> Result<Option<Allowance>, Limited> {
        self.of(class).map(|bounded| bounded.take(payer, self.clock.elapsed())).transpose()
    }

    /// Takes so many more from who took one and was left with `allowance`, also where they are not there yet: he waits the longer for the
    /// next. Answers what is left now.
    #[must_use]
    pub fn take_more(&self, payer: Payer, allowance: Allowance, count: u32) -> Allowance {
        if let Some(bounded) = self.of(allowance.class) {
            bounded.take_more(payer, count);
        }
        allowance.less(count)
    }

    /// A full bucket of this class. `None`: there is no bound.
    #[must_use]
    pub fn most(&self, class: Class) -> Option<Allowance> {
        let bounded = self.of(class)?;
        Some(Allowance { class, most: bounded.most, left: bounded.most, full_in: Duration::ZERO })
    }

    /// Gives back one that was taken for what turned out to be another's.
    pub fn give_back(&self, class: Class, payer: Payer) {
        if let Some(bounded) = self.of(class) {
            bounded.give_back(payer);
        }
    }

    const fn of(&self, class: Class) -> Option<&Bounded> {
        match class {
            Class::Read => self.reads.as_ref(),
            Class::Body => self.bodies.as_ref(),
            Class::Signed => self.signed.as_ref(),
            Class::NewId => self.new_ids.as_ref(),
            Class::Key => self.of_key.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{TestClock, Timestamp};
    use std::{net::IpAddr, sync::Arc};

    fn limiter(quotas: Quotas) -> (Arc<TestClock>, Limiter) {
        let clock = TestClock::at(Timestamp::from_seconds(1_767_225_600));
        let shared: SharedClock = clock.clone();
        (clock, Limiter::new(quotas, &shared))
    }

    fn payer(text: &str) -> Payer {
        Payer::of(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let (clock, limiter) = limiter(Quotas { signed: 60, ..Quotas::default() });
        let one = payer("192.0.2.1");
        for left in (0..60).rev() {
            let allowance = limiter.take(Class::Signed, one).unwrap().unwrap();
            assert_eq!((allowance.left, allowance.most), (left, 60));
            assert_eq!(allowance.full_in, Duration::from_secs(u64::from(60 - left)));
        }
        let limited = limiter.take(Class::Signed, one).unwrap_err();
        assert_eq!(limited, Limited { class: Class::Signed, most: 60, wait: Duration::from_secs(1) });
        assert!(limiter.take(Class::Signed, payer("192.0.2.2")).is_ok(), "others have their own");
        assert!(limiter.take(Class::Read, one).unwrap().is_none(), "0 is no bound");
        clock.advance(Duration::from_secs(1));
        assert!(limiter.take(Class::Signed, one).is_ok());
        assert!(limiter.take(Class::Signed, one).is_err());
        clock.advance(Duration::from_secs(600));
        assert_eq!(limiter.take(Class::Signed, one).unwrap().unwrap().left, 59, "no more than a full bucket");
    }

    #[test]
    fn more_is_taken_than_one_also_where_it_is_not_there_yet() {
        let (clock, limiter) = limiter(Quotas { signed: 60, ..Quotas::default() });
        let one = payer("2001:db8::1");
        let take = || limiter.take(Class::Signed, one);
        let first = take().unwrap().unwrap();
        assert_eq!(first.left, 59);
        let less = limiter.take_more(one, first, 58);
        assert_eq!((less.left, less.full_in), (1, Duration::from_secs(59)));
        let last = take().unwrap().unwrap();
        assert_eq!(last.left, 0);
        let none = limiter.take_more(one, last, 9);
        assert_eq!((none.left, none.full_in), (0, Duration::from_secs(69)));
        assert_eq!(take().unwrap_err().wait, Duration::from_secs(10));
        clock.advance(Duration::from_secs(9));
        assert!(take().is_err() && limiter.take(Class::Signed, payer("2001:db8:0:1::1")).is_ok());
        clock.advance(Duration::from_secs(1));
        assert_eq!(take().unwrap().unwrap().left, 0);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (_, limiter) = limiter(Quotas { of_key: 2, ..Quotas::default() });
        let one = payer("192.0.2.1");
        for _ in 0..10 {
            limiter.take(Class::Key, one).unwrap();
            limiter.give_back(Class::Key, one);
        }
        assert_eq!(limiter.take(Class::Key, one).unwrap().unwrap().left, 1);
        limiter.take(Class::Key, one).unwrap();
        assert!(limiter.take(Class::Key, one).is_err());
        for _ in 0..10 {
            limiter.give_back(Class::Key, one);
        }
        assert_eq!(limiter.take(Class::Key, one).unwrap().unwrap().left, 1, "no more than a full bucket");
    }

    #[test]
    fn a_customer_with_many_networks_has_sixteen_times_as_much() {
        let (_, limiter) = limiter(Quotas { new_ids: 10, ..Quotas::default() });
        let taken =
            (0..1000).filter(|nth| limiter.take(Class::NewId, payer(&format!("2001:db8:7:{nth:x}::1"))).is_ok());
        assert_eq!(taken.count(), 160);
        assert!(limiter.take(Class::NewId, payer("2001:db8:8::1")).is_ok());
    }

    #[test]
    fn a_flood_of_addresses_fills_no_memory_and_shuts_nobody_out_who_was_there() {
        let (clock, limiter) = limiter(Quotas { reads: 100, ..Quotas::default() });
        let honest = payer("198.51.100.1");
        assert!(limiter.take(Class::Read, honest).is_ok());
        let flood = |count: u32| (0..count).filter(|nth| limiter.take(Class::Read, Payer::V4(*nth)).is_ok()).count();
        let most = u32::try_from(MAX_PAYERS).unwrap();
        let taken = flood(most * 2);
        assert!(taken <= MAX_PAYERS + 100, "{taken}: those who come late share one bucket");
        let rows = |limiter: &Limiter| limiter.reads.as_ref().unwrap().buckets.limiter.len();
        assert!(rows(&limiter) <= MAX_PAYERS + 1);
        assert!(limiter.take(Class::Read, honest).is_ok());
        clock.advance(Duration::from_secs(61));
        assert!(limiter.take(Class::Read, honest).is_ok());
        assert_eq!(rows(&limiter), 1, "who is quiet is forgotten");
    }
}
