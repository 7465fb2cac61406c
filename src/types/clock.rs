//! Time as a thing that is handed in, so that tests move it and never wait for it.

use super::Timestamp;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A clock that any room may hold.
pub type SharedClock = Arc<dyn Clock>;

/// Where the time comes from. Neither call blocks or fails.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall clock. It may be set back or forward by the machine's owner: use it for what is written down or sent.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment of this process; never goes back: use it for deadlines within the process.
    fn elapsed(&self) -> Duration;
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose [`Clock::elapsed`] starts now.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self { started: Instant::now() })
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 reads as 1970: every freshness check then refuses, which is the safe side.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is told to move. For tests, of this crate and of others.
#[derive(Debug)]
pub struct TestClock {
    state: Mutex<(Timestamp, Duration)>,
}

impl TestClock {
    /// A clock that reads `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((now, Duration::ZERO)) })
    }

    /// Lets `by` pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = state.0.plus(by);
        state.1 += by;
    }

    /// Sets the wall clock, as a machine's owner would; the monotonic clock is not touched.
    pub fn set_wall(&self, now: Timestamp) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 = now;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn elapsed(&self) -> Duration {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
