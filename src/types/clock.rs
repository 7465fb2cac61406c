//! Time as a thing that is handed in, so that tests move it and never wait for it.

use super::Timestamp;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// A clock that any room may hold.
pub type SharedClock = Arc<dyn Clock>;

/// Where the time comes from. No call blocks or fails.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall clock. It may be set back or forward by the machine's owner: use it for what is written down or sent.
    fn now(&self) -> Timestamp;
    /// The wall clock as it would read had it never been set back since this process started: for judging how far ahead others
    /// are. Whose clock was right until somebody set it back must not refuse everybody else as coming from the future.
    fn latest(&self) -> Timestamp;
    /// Time since some fixed moment of this process; never goes back: use it for deadlines within the process.
    fn elapsed(&self) -> Duration;
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    /// The greatest difference so far between wall clock and [`Clock::elapsed`], µs.
    lead_micros: AtomicI64,
}

impl SystemClock {
    /// A clock whose [`Clock::elapsed`] starts now.
    #[must_use]
    pub fn shared() -> SharedClock {
        let clock = Self { started: Instant::now(), lead_micros: AtomicI64::new(i64::MIN) };
        // What it reads now counts, however late it is asked first.
        clock.latest();
        Arc::new(clock)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 reads as 1970: every freshness check then refuses, which is the safe side.
        Timestamp::from_system_time(SystemTime::now())
    }

    fn latest(&self) -> Timestamp {
        let elapsed = micros(self.elapsed());
        let lead = self.now().micros().saturating_sub(elapsed);
        let lead = self.lead_micros.fetch_max(lead, Ordering::Relaxed).max(lead);
        Timestamp::from_micros(lead.saturating_add(elapsed))
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A clock that stands still until it is told to move. For tests, of this crate and of others.
#[derive(Debug)]
pub struct TestClock {
    state: Mutex<TestTime>,
}

#[derive(Debug, Clone, Copy)]
struct TestTime {
    wall: Timestamp,
    latest: Timestamp,
    elapsed: Duration,
}

impl TestClock {
    /// A clock that reads `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(TestTime { wall: now, latest: now, elapsed: Duration::ZERO }) })
    }

    /// Lets `by` pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.wall = state.wall.plus(by);
        state.latest = state.latest.plus(by);
        state.elapsed += by;
    }

    /// Sets the wall clock, as a machine's owner would; the monotonic clock is not touched.
    pub fn set_wall(&self, now: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.wall = now;
        state.latest = state.latest.max(now);
    }

    fn time(&self) -> TestTime {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.time().wall
    }

    fn latest(&self) -> Timestamp {
        self.time().latest
    }

    fn elapsed(&self) -> Duration {
        self.time().elapsed
    }
}
