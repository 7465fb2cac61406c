//! How long to wait: after failures, and for notices that come too fast.

use super::{client::ClientError, run::RoundError};
use std::time::Duration;
use tokio::time::Instant;

/// After the first failure; doubles with each.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A peer that cannot be reached is left alone this long in the end, however short the interval is: many that are down for weeks cost little.
const REACHING_PAUSE: Duration = Duration::from_secs(15);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Lines of a peer's notices that are heard at once, and how long each after them has to wait: a flood of them is none of rounds.
/// A notice takes two.
const NOTICES_AT_ONCE: u32 = 40;
const NOTICE_EVERY: Duration = Duration::from_millis(250);

/// When the next line of a peer's notices is heard.
#[derive(Debug)]
pub(super) struct Notices {
    /// When as many as may come at once may come again.
    full_at: Instant,
}

impl Notices {
    pub(super) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes a line that came at `now`; answers when it counts.
    pub(super) fn take(&mut self, now: Instant) -> Instant {
        self.full_at = self.full_at.max(now) + NOTICE_EVERY;
        let credit = NOTICE_EVERY.saturating_mul(NOTICES_AT_ONCE);
        self.full_at.checked_sub(credit).map_or(now, |at| at.max(now))
    }
}

/// After so many failures in a row.
pub(super) fn backoff(failures: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)));
    jittered(doubled.min(LONGEST_PAUSE), 50)
}

/// Up to so many percent less, so that many instances do not come at the same moment.
pub(super) fn jittered(pause: Duration, percent: u32) -> Duration {
    let mut random = [0; 2];
    // Without randomness all come at once, which works too.
    let _ = getrandom::fill(&mut random);
    let share = u32::from(u16::from_le_bytes(random)).saturating_mul(percent) / 65_535;
    pause.saturating_sub(pause.saturating_mul(share) / 100)
}

/// How long to leave a peer alone after so many failures; as long as it asks for, within bounds.
///
/// One that cannot be reached is tried at least every `interval`, or every [`REACHING_PAUSE`] where that is longer: most often it is we who
/// were away, and one round catches up.
pub(super) fn pause_after(failures: u32, error: &RoundError, interval: Duration) -> Duration {
    if matches!(error, RoundError::Client(ClientError::Unreachable(..))) {
        return backoff(failures).min(jittered(interval.max(REACHING_PAUSE), 10));
    }
    // The next round is as good as this one was.
    if matches!(error, RoundError::Cloned(_)) {
        return jittered(interval, 10);
    }
    let asked = match error {
        RoundError::Client(ClientError::Refused { retry_after, .. } | ClientError::Server { retry_after, .. }) => {
            *retry_after
        }
        _ => None,
    };
    backoff(failures).max(asked.unwrap_or_default().min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::client::NoAnswer;

    #[test]
    fn a_flood_of_notices_is_heard_slowly_and_a_few_at_once() {
        let start = Instant::now();
        let mut notices = Notices::new(start);
        let heard: Vec<Instant> = (0..50).map(|_| notices.take(start)).collect();
        assert!(heard[..40].iter().all(|at| *at == start), "{heard:?}");
        assert_eq!(heard[49], start + NOTICE_EVERY * 10);
        let later = start + Duration::from_secs(60);
        assert!((0..40).all(|_| notices.take(later) == later), "after a pause as before");
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        for failures in 1..40 {
            let pause = backoff(failures);
            let full = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_PAUSE);
            assert!(pause <= full && pause >= full / 2, "{failures}: {pause:?}");
        }
        let asks = |seconds| {
            RoundError::Client(ClientError::Server {
                status: 503,
                code: String::new(),
                detail: String::new(),
                retry_after: Some(Duration::from_secs(seconds)),
            })
        };
        assert!(pause_after(1, &asks(30), LONGEST_PAUSE) >= Duration::from_secs(30));
        assert!(pause_after(1, &asks(1_000_000), LONGEST_PAUSE) <= LONGEST_PAUSE);
        let away = RoundError::Client(ClientError::Unreachable(String::new(), NoAnswer::Cut));
        assert!(pause_after(30, &away, Duration::from_secs(60)) <= Duration::from_secs(60));
        assert!(pause_after(1, &away, Duration::from_secs(1)) <= FIRST_PAUSE);
        let long_down = pause_after(30, &away, Duration::from_secs(1));
        assert!(long_down > REACHING_PAUSE / 2 && long_down <= REACHING_PAUSE, "{long_down:?}");
        assert!(pause_after(30, &RoundError::Self_, Duration::from_secs(60)) > Duration::from_secs(60));
    }
}
