//! The states that Redis is in while it answers: each is logged once when it begins and once when it ends, however many calls meet it.

use crate::registry::{StoreFault, StoreState};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Most that are kept. A program that damages more keys is named by those.
const MOST: usize = 64;
/// How long no call may have met a state that the check for its end cannot reproduce.
const SETTLED: Duration = Duration::from_secs(5);

/// A state that has begun.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub(super) fault: StoreFault,
    /// A key of the call that met it: on a Cluster it leads to the server that is in this state.
    pub(super) slot: String,
    met: Instant,
}

impl Condition {
    /// May a check that succeeded end it? The check writes keys of its own, so it cannot meet what depends on the call's.
    pub(super) fn may_end(&self) -> bool {
        let reproduced = match self.fault.state {
            StoreState::Permission | StoreState::WrongShape | StoreState::NotRedis | StoreState::Unreadable => false,
            StoreState::WrongType => self.fault.key.is_some(),
            _ => true,
        };
        reproduced || self.met.elapsed() >= SETTLED
    }
}

/// All that have begun and have not ended.
#[derive(Debug, Default)]
pub(super) struct Conditions(Mutex<Vec<Condition>>);

impl Conditions {
    fn list(&self) -> MutexGuard<'_, Vec<Condition>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call met this state. Answers whether it begins with it.
    pub(super) fn begin(&self, fault: &StoreFault, slot: &str) -> bool {
        let mut list = self.list();
        let same = |known: &&mut Condition| known.fault.state == fault.state && known.fault.key == fault.key;
        if let Some(known) = list.iter_mut().find(same) {
            known.met = Instant::now();
            return false;
        }
        if list.len() >= MOST {
            return false;
        }
        list.push(Condition { fault: fault.clone(), slot: slot.to_owned(), met: Instant::now() });
        drop(list);
        tracing::warn!(
            registry.kind = "redis",
            registry.state = fault.state.code(),
            registry.key = fault.key.as_deref(),
            error = fault.answer,
            next = fault.advice,
            "{}",
            fault.state.summary()
        );
        true
    }

    /// This state is over.
    pub(super) fn end(&self, ended: &StoreFault) {
        let mut list = self.list();
        let before = list.len();
        list.retain(|known| known.fault.state != ended.state || known.fault.key != ended.key);
        if list.len() < before {
            drop(list);
            tracing::info!(
                registry.kind = "redis",
                registry.state = ended.state.code(),
                registry.key = ended.key.as_deref(),
                "over: {}",
                ended.state.summary()
            );
        }
    }

    /// Those that have begun and have not ended, the refusing ones first.
    pub(super) fn now(&self) -> Vec<Condition> {
        let mut list = self.list().clone();
        list.sort_by_key(|condition| !condition.fault.state.refuses());
        list
    }

    pub(super) fn any(&self) -> bool {
        !self.list().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_begun_once_for_each_key_and_their_number_is_bounded() {
        let conditions = Conditions::default();
        let full = StoreFault::new(StoreState::OutOfMemory, "OOM");
        assert!(conditions.begin(&full, "a") && !conditions.begin(&full, "b"));
        for number in 0..1000 {
            conditions.begin(&StoreFault::of_key(StoreState::WrongType, "WRONGTYPE", format!("pin:{number}")), "a");
        }
        assert_eq!(conditions.now().len(), MOST);
        conditions.end(&full);
        assert!(conditions.now().iter().all(|known| known.fault.state == StoreState::WrongType));
    }
}
