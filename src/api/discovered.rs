//! Bodies of `GET /discover`, kept as long as they still say what is so: many ask for the same list between two changes of it.

use crate::ops::{DiscoverState, Discovered};
use actix_web::http::header::HeaderValue;
use bytes::Bytes;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// For no longer, so that seconds that are left are counted down; what changes meanwhile shows at once.
const LASTS: Duration = Duration::from_millis(200);
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
    /// On the context's monotonic clock.
    until: Duration,
}

/// The first pages of all peers, by how many were asked for.
#[derive(Debug, Default)]
pub struct DiscoveredBodies(Mutex<HashMap<usize, Kept>>);

impl DiscoveredBodies {
    /// The list of at most `limit` peers, where it is still as it would be made at `now`.
    pub(super) fn get(&self, limit: usize, state: DiscoverState, now: Duration) -> Option<Listed> {
        let bodies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = bodies.get(&limit)?;
        (kept.state == state && now < kept.until).then(|| kept.listed.clone())
    }

    /// Keeps what was made of `found`. `state` was asked for before `found` was, and `now` with it.
    pub(super) fn keep(&self, limit: usize, state: DiscoverState, now: Duration, found: &Discovered, listed: &Listed) {
        if listed.body.len() > MAX_BODY_BYTES {
            return;
        }
        // Nobody is listed whose entry has expired.
        let lasts = found.peers.iter().map(|peer| peer.record.expires_in).min().unwrap_or(LASTS).min(LASTS);
        let mut bodies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.retain(|_, kept| now < kept.until);
        if bodies.len() < MAX_KEPT || bodies.contains_key(&limit) {
            bodies.insert(limit, Kept { listed: listed.clone(), state, until: now.saturating_add(lasts) });
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
    fn what_is_kept_is_bounded() {
        let (bodies, state) = (DiscoveredBodies::default(), DiscoverState::for_test(0, 0));
        for limit in 0..MAX_KEPT + 5 {
            bodies.keep(limit, state, Duration::ZERO, &found(), &listed("many"));
        }
        assert_eq!(bodies.0.lock().unwrap().len(), MAX_KEPT);
        // What is old makes place.
        bodies.keep(99, state, LASTS, &found(), &listed("new"));
        assert!(bodies.get(99, state, LASTS).is_some());
        let large = Listed { etag: HeaderValue::from_static("W/\"a\""), body: vec![b' '; MAX_BODY_BYTES + 1].into() };
        bodies.keep(100, state, LASTS, &found(), &large);
        assert!(bodies.get(100, state, LASTS).is_none());
    }
}
