//! A line in the log that many calls may cause.

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
