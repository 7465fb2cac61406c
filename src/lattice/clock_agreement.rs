//! Whether the wall clock of this machine agreed with the clock of another instance, and did not jump since. Only then is a version of
//! this instance that lies far ahead known to be dated by a wrong clock.

use super::version::MAX_AHEAD;
use crate::types::SharedClock;
use std::sync::atomic::{AtomicI64, Ordering};

/// It never agreed.
const NEVER: i64 = i64::MIN;

/// The distance between the wall clock and the monotonic one when the wall clock agreed last, in microseconds.
#[derive(Debug)]
pub(super) struct ClockAgreement(AtomicI64);

impl Default for ClockAgreement {
    fn default() -> Self {
        Self(AtomicI64::new(NEVER))
    }
}

impl ClockAgreement {
    /// The wall clock agrees, now.
    pub(super) fn note(&self, clock: &SharedClock) {
        self.0.store(offset_micros(clock), Ordering::Relaxed);
    }

    /// Did it agree, and was it set by no more than versions may be dated ahead since?
    pub(super) fn holds(&self, clock: &SharedClock) -> bool {
        let agreed = self.0.load(Ordering::Relaxed);
        agreed != NEVER && u128::from(agreed.abs_diff(offset_micros(clock))) <= MAX_AHEAD.as_micros()
    }
}

fn offset_micros(clock: &SharedClock) -> i64 {
    let elapsed = i64::try_from(clock.elapsed().as_micros()).unwrap_or(i64::MAX);
    clock.now().micros().saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Clock, TestClock, Timestamp};
    use std::time::Duration;

    #[test]
    fn an_agreement_ends_with_a_jump_of_the_wall_clock() {
        let time = TestClock::at(Timestamp::from_seconds(1_767_225_600));
        let (clock, agreement): (SharedClock, _) = (time.clone(), ClockAgreement::default());
        assert!(!agreement.holds(&clock));
        agreement.note(&clock);
        time.advance(Duration::from_secs(86_400));
        assert!(agreement.holds(&clock));
        let right = time.now();
        for wrong in [right.plus(MAX_AHEAD * 2), right.minus(MAX_AHEAD * 2)] {
            time.set_wall(wrong);
            assert!(!agreement.holds(&clock));
            time.set_wall(right);
            assert!(agreement.holds(&clock));
        }
    }
}
