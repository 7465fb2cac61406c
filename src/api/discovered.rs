//! Bodies of `GET /discover`, kept as long as they still say what is so: many ask for the same list between two changes of it.

use crate::ops::{DiscoverState, Discovered};
use actix_web::http::header::HeaderValue;
use bytes::Bytes;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{MutexGuard, OwnedMutexGuard};

/// For no longer, so that seconds that are left are counted down, and what others changed in a registry that they share shows; what
/// is changed here shows at once.
const LASTS: Duration = Duration::from_millis(200);
/// From this age on it is made anew beside the answers, while they still say the old one: who asks often never waits for it.
const AGEING: Duration = Duration::from_millis(120);
/// How long somebody waits for another who makes the list. A registry that does not answer keeps nobody waiting for more than one.
const TURN_WAIT: Duration = Duration::from_millis(50);
/// Lists of so many different lengths; others are made each time.
const MAX_KEPT: usize = 16;
const MAX_BODY_BYTES: usize = 1 << 20;

/// A list as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) etag: HeaderValue,
    pub(super) body: Bytes,
}

#[derive(Debug)]
struct Kept {
    listed: Listed,
    state: DiscoverState,
    /// When it was begun, on the context's monotonic clock.
    begun: Duration,
    until: Duration,
}

/// The first pages of all peers, by how many were asked for.
#[derive(Debug, Default)]
pub struct DiscoveredBodies {
    kept: Mutex<HashMap<usize, Kept>>,
    making: Arc<tokio::sync::Mutex<()>>,
}

impl DiscoveredBodies {
    /// Who holds it makes the list; the others wait, and then find it. `None`: it takes too long, make it yourself.
    pub(super) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        tokio::time::timeout(TURN_WAIT, self.making.lock()).await.ok()
    }

    /// As [`Self::turn`], where nobody else makes one.
    pub(super) fn free_turn(&self) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.making).try_lock_owned().ok()
    }

    /// The list of at most `limit` peers, where it is still as it would be made at `now`.
    pub(super) fn get(&self, limit: usize, state: DiscoverState, now: Duration) -> Option<Listed> {
        self.get_aged(limit, state, now).map(|(listed, _)| listed)
    }

    /// As [`Self::get`], and whether it is so old that it is time for a new one.
    pub(super) fn get_aged(&self, limit: usize, state: DiscoverState, now: Duration) -> Option<(Listed, bool)> {
        let bodies = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = bodies.get(&limit).filter(|kept| kept.state == state && now < kept.until)?;
        Some((kept.listed.clone(), now.saturating_sub(kept.begun) >= AGEING))
    }

    /// The list that was begun after `arrived`, when somebody asked for it: as new as one that he would have made then, whatever
    /// changed meanwhile.
    pub(super) fn begun_after(&self, limit: usize, arrived: Duration) -> Option<Listed> {
        let bodies = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.get(&limit).filter(|kept| kept.begun > arrived).map(|kept| kept.listed.clone())
    }

    /// Keeps what was made of `found`. `state` was asked for before `found` was, and `now` with it.
    pub(super) fn keep(&self, limit: usize, state: DiscoverState, now: Duration, found: &Discovered, listed: &Listed) {
        if listed.body.len() > MAX_BODY_BYTES {
            return;
        }
        // Nobody is listed whose entry has expired.
        let lasts = found.peers.iter().map(|peer| peer.record.expires_in).min().unwrap_or(LASTS).min(LASTS);
        let mut bodies = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.retain(|_, kept| now < kept.until);
        if bodies.len() < MAX_KEPT || bodies.contains_key(&limit) {
            bodies.insert(limit, Kept { listed: listed.clone(), state, begun: now, until: now.saturating_add(lasts) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(body: &'static str) -> Listed {
        Listed { etag: HeaderValue::from_static("W/\"a\""), body: Bytes::from_static(body.as_bytes()) }
    }

    fn found() -> Discovered {
        Discovered { peers: Vec::new(), total: 0, next: None }
    }

    #[test]
    fn a_list_is_shown_until_something_changed_here_or_it_is_old() {
        let (bodies, now) = (DiscoveredBodies::default(), Duration::from_secs(7));
        let (before, after) =
            (DiscoverState::for_test(1, 1), [DiscoverState::for_test(2, 1), DiscoverState::for_test(1, 2)]);
        bodies.keep(10, before, now, &found(), &listed("ten"));
        assert_eq!(bodies.get(10, before, now).unwrap().body, "ten");
        assert!(bodies.get(11, before, now).is_none());
        assert!(after.into_iter().all(|state| bodies.get(10, state, now).is_none()));
        let almost = now + LASTS - Duration::from_nanos(1);
        assert!(bodies.get(10, before, almost).is_some() && bodies.get(10, before, now + LASTS).is_none());
        bodies.keep(10, after[0], now, &found(), &listed("later"));
        assert_eq!(bodies.get(10, after[0], now).unwrap().body, "later");
    }

    #[test]
    fn who_waited_takes_what_was_begun_after_he_came() {
        let (bodies, arrived) = (DiscoveredBodies::default(), Duration::from_secs(7));
        bodies.keep(10, DiscoverState::for_test(1, 1), arrived, &found(), &listed("begun before"));
        assert!(bodies.begun_after(10, arrived).is_none());
        bodies.keep(10, DiscoverState::for_test(1, 1), arrived + Duration::from_nanos(1), &found(), &listed("after"));
        assert_eq!(bodies.begun_after(10, arrived).unwrap().body, "after");
        assert!(bodies.begun_after(11, arrived).is_none());
    }

    #[tokio::test]
    async fn one_makes_a_list_and_nobody_waits_long_for_him() {
        let bodies = DiscoveredBodies::default();
        let turn = bodies.turn().await;
        assert!(turn.is_some());
        assert!(bodies.turn().await.is_none());
        drop(turn);
        assert!(bodies.turn().await.is_some());
        let renewing = bodies.free_turn();
        assert!(renewing.is_some() && bodies.free_turn().is_none());
        drop(renewing);
        assert!(bodies.free_turn().is_some());
    }

    #[test]
    fn a_list_is_renewed_before_it_is_old() {
        let (bodies, state, now) = (DiscoveredBodies::default(), DiscoverState::for_test(1, 1), Duration::from_secs(7));
        let is_ageing = |limit, at| bodies.get_aged(limit, state, at).is_some_and(|(_, is_ageing)| is_ageing);
        bodies.keep(10, state, now, &found(), &listed("old"));
        assert!(!is_ageing(10, now) && !is_ageing(10, now + AGEING / 2));
        let later = now + AGEING;
        assert!(is_ageing(10, later) && bodies.get(10, state, later).is_some());
        assert!(!is_ageing(11, later));
        bodies.keep(10, state, later, &found(), &listed("new"));
        assert!(!is_ageing(10, later));
        assert_eq!(bodies.get(10, state, now + LASTS).unwrap().body, "new");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (bodies, state) = (DiscoveredBodies::default(), DiscoverState::for_test(0, 0));
        for limit in 0..MAX_KEPT + 5 {
            bodies.keep(limit, state, Duration::ZERO, &found(), &listed("many"));
        }
        assert_eq!(bodies.kept.lock().unwrap().len(), MAX_KEPT);
        // What is old makes place.
        bodies.keep(99, state, LASTS, &found(), &listed("new"));
        assert!(bodies.get(99, state, LASTS).is_some());
        let large = Listed { etag: HeaderValue::from_static("W/\"a\""), body: vec![b' '; MAX_BODY_BYTES + 1].into() };
        bodies.keep(100, state, LASTS, &found(), &large);
        assert!(bodies.get(100, state, LASTS).is_none());
    }
}
