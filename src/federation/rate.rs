//! How many bytes a second may go.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// A bound on bytes a second, shared by its clones. What is taken at once may be more than a second's share: then the next waits.
#[derive(Debug, Clone, Default)]
pub struct Rate(Option<Arc<Limit>>);

#[derive(Debug)]
struct Limit {
    bytes_per_second: u64,
    /// When what was taken so far is paid for.
    paid_at: Mutex<Instant>,
}

/// Both ways.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    /// What we send.
    pub upload: Rate,
    /// What we receive.
    pub download: Rate,
}

impl Rate {
    /// At most so many bytes a second; 0: no bound.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        let limit = Limit { bytes_per_second, paid_at: Mutex::new(Instant::now()) };
        Self((bytes_per_second > 0).then(|| Arc::new(limit)))
    }

    /// Takes so many bytes; comes back when it is their turn.
    pub async fn take(&self, bytes: usize) {
        let Some(limit) = &self.0 else { return };
        sleep_until(limit.book(Instant::now(), bytes)).await;
    }
}

impl Limit {
    /// Notes what is taken; answers when it may go.
    fn book(&self, now: Instant, bytes: usize) -> Instant {
        let nanos = u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(1_000_000_000);
        let nanos = nanos.checked_div(u128::from(self.bytes_per_second)).unwrap_or_default();
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*paid_at).max(now);
        // Without a date so far away the bound cannot be kept; nobody lives to see it.
        *paid_at = turn.checked_add(cost).unwrap_or(turn);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_took_much_makes_the_next_wait() {
        let rate = Rate::new(1000);
        let limit = rate.0.unwrap();
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(limit.book(now, 5000), now);
        assert_eq!(limit.book(now, 1), now + Duration::from_secs(5));
        let later = now + Duration::from_secs(60);
        assert_eq!(limit.book(later, 1), later, "what was not used is not saved");
        assert!(Rate::new(0).0.is_none());
    }
}
