//! A bounded amount (bytes, connections, streams) that many hold parts of: no address holds more than its share, and a reserve is left for
//! those who are known.

use super::Payer;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What a pool gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolBounds {
    /// Together.
    pub all: u64,
    /// To one address.
    pub of_one: u64,
    /// Of `all`, to known holders only.
    pub reserve: u64,
    /// The oldest part of each address may go beyond its share, and the oldest of all beyond all: what is bounded by itself must come to its
    /// end, and parts that grow while each waits for the others would never.
    pub oldest_passes: bool,
}

/// On whose account a part goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// An address.
    Address(Payer),
    /// A program of this machine that is not counted (`limits.count_loopback`): it has no share, and leaves the reserve alone.
    Local,
    /// Who has shown a right of its own: it may use the reserve, and has no share.
    Known,
}

/// Why no more is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolFull {
    /// The address holds its share.
    OfOne,
    /// Nothing is left that this holder may have.
    All,
}

/// The parts that are held.
#[derive(Debug)]
pub struct Pool {
    bounds: PoolBounds,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: u64,
    /// Of those, by addresses.
    by_addresses: u64,
    /// As many rows as there are parts at most.
    of: HashMap<Payer, OfAddress>,
    /// All parts, the oldest first.
    parts: BTreeSet<u64>,
    newest: u64,
}

#[derive(Debug, Default)]
struct OfAddress {
    amount: u64,
    parts: BTreeSet<u64>,
}

/// A part of a pool, given back on drop.
#[derive(Debug)]
pub struct PoolPart {
    pool: Arc<Pool>,
    holder: Holder,
    number: u64,
    amount: u64,
}

impl Pool {
    /// Nothing is held yet.
    #[must_use]
    pub fn new(bounds: PoolBounds) -> Arc<Self> {
        Arc::new(Self { bounds, held: Mutex::default() })
    }

    /// An empty part, to be [grown](PoolPart::grow).
    #[must_use]
    pub fn part(self: &Arc<Self>, holder: Holder) -> PoolPart {
        let mut held = self.lock();
        held.newest = held.newest.saturating_add(1);
        let number = held.newest;
        held.parts.insert(number);
        if let Holder::Address(payer) = holder {
            held.of.entry(payer).or_default().parts.insert(number);
        }
        PoolPart { pool: Arc::clone(self), holder, number, amount: 0 }
    }

    /// A part of this amount.
    ///
    /// # Errors
    /// [`PoolFull`].
    pub fn take(self: &Arc<Self>, holder: Holder, amount: u64) -> Result<PoolPart, PoolFull> {
        let mut part = self.part(holder);
        part.grow(amount)?;
        Ok(part)
    }

    /// What it gives out.
    #[must_use]
    pub fn bounds(&self) -> PoolBounds {
        self.bounds
    }

    /// How much is held.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolPart {
    /// How much it is.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Takes so much more.
    ///
    /// # Errors
    /// [`PoolFull`]; the part stays as it was.
    pub fn grow(&mut self, by: u64) -> Result<(), PoolFull> {
        let bounds = self.pool.bounds;
        let mut held = self.pool.lock();
        let all = held.all.saturating_add(by);
        let is_oldest = |parts: &BTreeSet<u64>| bounds.oldest_passes && parts.first() == Some(&self.number);
        let is_oldest_of_all = is_oldest(&held.parts);
        match self.holder {
            Holder::Known => {
                if all > bounds.all && !is_oldest_of_all {
                    return Err(PoolFull::All);
                }
            }
            Holder::Local => {
                let by_addresses = held.by_addresses.saturating_add(by);
                if !is_oldest_of_all && (all > bounds.all || by_addresses > bounds.all.saturating_sub(bounds.reserve)) {
                    return Err(PoolFull::All);
                }
                held.by_addresses = by_addresses;
            }
            Holder::Address(payer) => {
                let by_addresses = held.by_addresses.saturating_add(by);
                let of = held.of.entry(payer).or_default();
                if of.amount.saturating_add(by) > bounds.of_one && !is_oldest(&of.parts) {
                    return Err(PoolFull::OfOne);
                }
                let most = bounds.all.saturating_sub(bounds.reserve);
                if (all > bounds.all || by_addresses > most) && !is_oldest_of_all {
                    return Err(PoolFull::All);
                }
                held.by_addresses = by_addresses;
                let of = held.of.entry(payer).or_default();
                of.amount = of.amount.saturating_add(by);
            }
        }
        held.all = all;
        drop(held);
        self.amount = self.amount.saturating_add(by);
        Ok(())
    }
}

impl Drop for PoolPart {
    fn drop(&mut self) {
        let mut held = self.pool.lock();
        held.all = held.all.saturating_sub(self.amount);
        held.parts.remove(&self.number);
        if self.holder == Holder::Known {
            return;
        }
        held.by_addresses = held.by_addresses.saturating_sub(self.amount);
        let Holder::Address(payer) = self.holder else { return };
        let Some(of) = held.of.get_mut(&payer) else { return };
        of.amount = of.amount.saturating_sub(self.amount);
        of.parts.remove(&self.number);
        if of.parts.is_empty() {
            held.of.remove(&payer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Holder {
        Holder::Address(Payer::of([192, 0, 2, last].into()))
    }

    fn pool(oldest_passes: bool) -> Arc<Pool> {
        Pool::new(PoolBounds { all: 10, of_one: 4, reserve: 3, oldest_passes })
    }

    #[test]
    fn each_address_has_its_share_and_the_reserve_is_for_the_known() {
        let pool = pool(false);
        let mut one = pool.take(address(1), 3).unwrap();
        assert_eq!(one.grow(2), Err(PoolFull::OfOne));
        one.grow(1).unwrap();
        let other = pool.take(address(2), 3).unwrap();
        assert_eq!(pool.take(address(3), 1).unwrap_err(), PoolFull::All, "the rest is the reserve");
        let known = pool.take(Holder::Known, 3).unwrap();
        assert_eq!(pool.take(Holder::Known, 1).unwrap_err(), PoolFull::All);
        assert_eq!((pool.held(), one.amount()), (10, 4));
        drop(one);
        let third = pool.take(address(3), 4).unwrap();
        let local = pool.take(Holder::Local, 7);
        assert_eq!(local.unwrap_err(), PoolFull::All);
        drop((other, known, third));
        let local = pool.take(Holder::Local, 7).unwrap();
        assert_eq!(pool.take(Holder::Local, 1).unwrap_err(), PoolFull::All, "nor does this machine take the reserve");
        drop(local);
        assert_eq!(pool.held(), 0);
        assert!(pool.lock().of.is_empty(), "nothing stays behind");
    }

    #[test]
    fn the_oldest_part_comes_to_its_end() {
        let pool = pool(true);
        let large = pool.take(address(1), 6).unwrap();
        assert_eq!(pool.take(address(1), 1).unwrap_err(), PoolFull::OfOne);
        assert_eq!(pool.take(address(2), 2).unwrap_err(), PoolFull::All);
        drop(large);
        // Each waits for room, and none holds all that it needs.
        let mut parts: Vec<PoolPart> = (0..4).map(|_| pool.take(address(1), 1).unwrap()).collect();
        assert!(parts.iter_mut().skip(1).all(|part| part.grow(1) == Err(PoolFull::OfOne)));
        parts[0].grow(20).unwrap();
        drop(parts.remove(0));
        parts[0].grow(1).unwrap();
        assert_eq!(parts[1].grow(1), Err(PoolFull::OfOne));
        drop(parts);
        let whole = pool.take(address(1), 100).unwrap();
        assert_eq!(pool.take(address(2), 1).unwrap_err(), PoolFull::All);
        drop(whole);
        let known = pool.take(Holder::Known, 100).unwrap();
        assert_eq!(pool.take(address(2), 1).unwrap_err(), PoolFull::All);
        drop(known);
        assert_eq!(pool.held(), 0);
    }
}
