//! What all request bodies under way may cost together. Each is bounded by itself, and so are connections, but their product is
//! more memory than any machine has.
//!
//! A body is charged twice. While it arrives, the bytes that have come are charged, to its sender's address: no address holds more than a
//! quarter, and a quarter is left for known senders. Once it is whole, what reading it may cost is charged for as long as that takes. Only
//! whole bodies are in that queue, and an address has no more of them there than fit into its share of the first.

use super::buffers::Buffers;
use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
    },
    guard::{Holder, Pool, PoolBounds, PoolFull, PoolPart},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const UNIT_BYTES: usize = 1 << 10;
/// What is no longer than this is not counted: small requests pass also while large ones fill the budget.
pub(super) const FREE_BYTES: usize = 64 << 10;
/// How long a body waits for others that arrive, and once it is whole for others that are read.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(4);
const WORK_PATIENCE: Duration = Duration::from_secs(5);
/// How often a body that waits for room looks whether there is some.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The budget of one application. Cloning it shares it.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    arriving: Arc<Pool>,
    work: Work,
    /// For known senders, where the other is taken.
    reserve: Work,
    /// For bodies that hold a share.
    pub(super) buffers: Buffers,
}

#[derive(Debug, Clone)]
struct Work {
    free: Arc<Semaphore>,
    units: usize,
}

/// A body's part of the budget, given back on drop. It belongs to what is made of the body as well.
#[derive(Debug, Default)]
pub struct BodyShare {
    arrived: Option<PoolPart>,
    _work: Option<OwnedSemaphorePermit>,
}

impl BodyShare {
    pub(super) fn is_held(&self) -> bool {
        self.arrived.is_some()
    }
}

impl Work {
    fn new(bytes: usize) -> Self {
        let most = usize::try_from(u32::MAX).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let units = (bytes / UNIT_BYTES).min(most);
        Self { free: Arc::new(Semaphore::new(units)), units }
    }

    /// What costs more than the whole takes all of it: alone, it passes.
    fn units(&self, cost: usize) -> u32 {
        u32::try_from(cost.div_ceil(UNIT_BYTES).min(self.units)).unwrap_or(u32::MAX)
    }
}

impl BodyBudget {
    /// A budget of this much memory for bodies that are read, and half as much beside it for those that arrive.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let all = u64::try_from(bytes / 2).unwrap_or(u64::MAX);
        let bounds = PoolBounds { all, of_one: all / 4, reserve: all / 4, oldest_passes: true };
        Self {
            arriving: Pool::new(bounds),
            work: Work::new(bytes - bytes / 4),
            reserve: Work::new(bytes / 4),
            buffers: Buffers::default(),
        }
    }

    /// Charges so many more bytes that have come. Waits a while for room; the sender is not read from meanwhile. Answers how long.
    ///
    /// # Errors
    /// 503 where the others leave no room for some time.
    pub(super) async fn arrive(
        &self,
        share: &mut BodyShare,
        holder: Holder,
        bytes: usize,
    ) -> Result<Duration, ApiError> {
        let part = share.arrived.get_or_insert_with(|| self.arriving.part(holder));
        let (bytes, begun) = (u64::try_from(bytes).unwrap_or(u64::MAX), Instant::now());
        loop {
            let full = match part.grow(bytes) {
                Ok(()) => return Ok(begun.elapsed()),
                Err(full) => full,
            };
            if begun.elapsed() >= ARRIVAL_PATIENCE {
                return Err(overloaded(full));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Charges what reading a body of `length` bytes may cost, `factor` for each. All of it at once: bodies that wait for more while they
    /// hold some would wait for each other.
    ///
    /// # Errors
    /// 503 where the others leave no room for some time.
    pub(super) async fn begin_work(
        &self,
        share: &mut BodyShare,
        holder: Holder,
        (length, factor): (usize, usize),
    ) -> Result<(), ApiError> {
        let cost = length.saturating_mul(factor);
        let queue = Arc::clone(&self.work.free).acquire_many_owned(self.work.units(cost));
        let known = async {
            match holder {
                Holder::Known => Arc::clone(&self.reserve.free).acquire_many_owned(self.reserve.units(cost)).await,
                Holder::Address(_) | Holder::Local => std::future::pending().await,
            }
        };
        let either = async {
            tokio::select! {
                biased;
                permit = queue => permit,
                permit = known => permit,
            }
        };
        match tokio::time::timeout(WORK_PATIENCE, either).await {
            Ok(Ok(permit)) => share._work = Some(permit),
            _ => return Err(overloaded(PoolFull::All)),
        }
        Ok(())
    }
}

/// The answer where a pool of memory is used up.
pub(crate) fn overloaded(full: PoolFull) -> ApiError {
    let detail = match full {
        PoolFull::OfOne => {
            "other requests of your address take all the memory that those of one address may take; try again"
        }
        PoolFull::All => "other requests take all the memory that they may take; try again",
    };
    refuse(Code::Overloaded, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Payer;

    fn address(last: u8) -> Holder {
        Holder::Address(Payer::of([192, 0, 2, last].into()))
    }

    async fn arrived(budget: &BodyBudget, holder: Holder, bytes: usize) -> Result<BodyShare, ApiError> {
        let mut share = BodyShare::default();
        budget.arrive(&mut share, holder, bytes).await?;
        Ok(share)
    }

    #[tokio::test]
    async fn one_address_leaves_room_for_the_others_and_all_leave_some_for_the_known() {
        let budget = BodyBudget::new(8 << 20);
        let mut first = arrived(&budget, address(1), 900 << 10).await.unwrap();
        let refused = budget.arrive(&mut first, address(1), 200 << 10);
        // Alone of its address it may go on.
        refused.await.unwrap();
        assert_eq!(arrived(&budget, address(1), 1).await.unwrap_err().code(), Code::Overloaded);
        let second = arrived(&budget, address(2), 1 << 20).await.unwrap();
        let third = arrived(&budget, address(3), 900 << 10).await.unwrap();
        assert_eq!(arrived(&budget, address(4), 200 << 10).await.unwrap_err().code(), Code::Overloaded);
        let known = arrived(&budget, Holder::Known, 900 << 10).await.unwrap();
        drop((first, second, third, known));
        assert_eq!(budget.arriving.held(), 0);
    }

    #[tokio::test]
    async fn what_reading_costs_is_given_back_and_a_body_alone_passes() {
        let budget = BodyBudget::new(4 << 20);
        let work = async |length, factor, holder| {
            let mut share = BodyShare::default();
            budget.begin_work(&mut share, holder, (length, factor)).await.map(|()| share)
        };
        let first = work(300 << 10, 7, address(1)).await.unwrap();
        assert_eq!(budget.work.free.available_permits(), 3072 - 2100);
        assert_eq!(work(300 << 10, 7, address(2)).await.unwrap_err().code(), Code::Overloaded);
        let known = work(300 << 10, 7, Holder::Known).await.unwrap();
        assert_eq!(budget.reserve.free.available_permits(), 0, "it takes the reserve");
        drop((first, known));
        let large = work(1 << 30, 7, address(1)).await.unwrap();
        assert_eq!(budget.work.free.available_permits(), 0, "it has all there is");
        drop(large);
        assert_eq!((budget.work.free.available_permits(), budget.reserve.free.available_permits()), (3072, 1024));
    }
}
