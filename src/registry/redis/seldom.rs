//! What many calls may cause, and few should: a line in the log, a question that was in vain.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The shortest time between two such lines.
const BETWEEN: Duration = Duration::from_secs(10);

/// Says when the next line is due.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// How many times nothing was said since the last line; `None` where it is too early for another.
    pub(super) fn now(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, unsaid) = *state;
        if last.is_some_and(|last| last.elapsed() < BETWEEN) {
            *state = (last, unsaid.saturating_add(1));
            return None;
        }
        *state = (Some(Instant::now()), 0);
        Some(unsaid)
    }
}

/// How long nobody asks after it was in vain.
const MUTED: Duration = Duration::from_secs(1);

/// Says whether a question that costs every request a little is worth asking.
#[derive(Debug, Default)]
pub(super) struct Mute(Mutex<Option<Instant>>);

impl Mute {
    pub(super) fn is_muted(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|since| since.elapsed() < MUTED)
    }

    pub(super) fn mute(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}
