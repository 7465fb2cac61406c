//! What all request bodies under way may cost together. Each is bounded by itself, and so are connections, but their product is
//! more memory than any machine has.

use super::buffers::Buffers;
use crate::api::{
    codes::Code,
    error::{ApiError, refuse},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const UNIT_BYTES: usize = 1 << 10;
/// What is no longer than this is not counted: small requests pass also while large ones fill the budget.
pub(super) const FREE_BYTES: usize = 64 << 10;
/// How long a body waits for others to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// The budget of one application. Cloning it shares it.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    free: Arc<Semaphore>,
    units: usize,
    /// For bodies that hold a share.
    pub(super) buffers: Buffers,
}

/// A body's part of the budget, given back on drop. It belongs to what is made of the body as well.
#[derive(Debug, Default)]
pub struct BodyShare(Option<OwnedSemaphorePermit>);

impl BodyShare {
    pub(super) fn is_held(&self) -> bool {
        self.0.is_some()
    }
}

impl BodyBudget {
    /// A budget of this much memory.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let most = usize::try_from(u32::MAX).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let units = (bytes / UNIT_BYTES).min(most);
        Self { free: Arc::new(Semaphore::new(units)), units, buffers: Buffers::default() }
    }

    /// The share of a body that may have `length` bytes, each of which may come to cost `factor`. All of it at once: bodies that
    /// wait for more while they hold some would wait for each other. A body that costs more than the whole budget takes all of it:
    /// alone, it passes.
    ///
    /// # Errors
    /// 503 where the others leave no room for some time.
    pub(super) async fn take(&self, length: usize, factor: usize) -> Result<BodyShare, ApiError> {
        let cost = length.saturating_mul(factor).div_ceil(UNIT_BYTES).min(self.units);
        let wait = Arc::clone(&self.free).acquire_many_owned(u32::try_from(cost).unwrap_or(u32::MAX));
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(permit)) => Ok(BodyShare(Some(permit))),
            _ => Err(refuse(Code::Overloaded, "other requests take all the memory that bodies may take; try again")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_held_is_given_back_and_a_body_alone_passes() {
        let budget = BodyBudget::new(1 << 20);
        let first = budget.take(100 << 10, 7).await.unwrap();
        assert_eq!(budget.free.available_permits(), 1024 - 700);
        assert_eq!(budget.take(100 << 10, 7).await.unwrap_err().code(), Code::Overloaded);
        let second = budget.take(100 << 10, 3).await.unwrap();
        drop(first);
        drop(second);
        let large = budget.take(1 << 30, 7).await.unwrap();
        assert_eq!(budget.free.available_permits(), 0, "it has all there is");
        drop(large);
        assert_eq!(budget.free.available_permits(), 1024);
    }
}
