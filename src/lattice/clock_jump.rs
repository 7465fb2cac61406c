//! Notices that the wall clock moved against the monotonic one: the machine was suspended, resumed from a live snapshot, or its clock
//! was set. A twin of this process may have continued from the same moment, so the next write begins a new epoch.

use crate::types::SharedClock;
use std::time::Duration;

/// What a clock that is only disciplined never does between two looks.
const JUMP: Duration = Duration::from_secs(10);

/// The distance between both clocks when they were last looked at.
#[derive(Debug)]
pub(super) struct ClockJump {
    offset_micros: i64,
}

fn offset_micros(clock: &SharedClock) -> i64 {
    let elapsed = i64::try_from(clock.elapsed().as_micros()).unwrap_or(i64::MAX);
    clock.now().micros().saturating_sub(elapsed)
}

impl ClockJump {
    pub(super) fn new(clock: &SharedClock) -> Self {
        Self { offset_micros: offset_micros(clock) }
    }

    /// How far the wall clock jumped since the last look, where that is more than a clock does by itself.
    pub(super) fn look(&mut self, clock: &SharedClock) -> Option<Duration> {
        let offset = offset_micros(clock);
        let moved = offset.abs_diff(std::mem::replace(&mut self.offset_micros, offset));
        Some(Duration::from_micros(moved)).filter(|moved| *moved > JUMP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Clock, TestClock, Timestamp};

    #[test]
    fn only_a_jump_of_the_wall_clock_is_noticed() {
        let time = TestClock::at(Timestamp::from_seconds(1_767_225_600));
        let clock: SharedClock = time.clone();
        let mut jump = ClockJump::new(&clock);
        time.advance(Duration::from_secs(3600));
        assert_eq!(jump.look(&clock), None);
        time.set_wall(time.now().plus(Duration::from_secs(9)));
        assert_eq!(jump.look(&clock), None);
        time.set_wall(time.now().plus(Duration::from_secs(60)));
        assert_eq!(jump.look(&clock), Some(Duration::from_secs(60)));
        assert_eq!(jump.look(&clock), None, "once");
        time.set_wall(time.now().minus(Duration::from_secs(11)));
        assert_eq!(jump.look(&clock), Some(Duration::from_secs(11)));
    }
}
