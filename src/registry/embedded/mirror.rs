//! The live entries in memory, in the order in which they expire.

use crate::{
    registry::{
        PeerCursor, PeerPage, PeerRecord,
        places::{Place, Stranger, Tallies},
    },
    trust::Pin,
    types::{PeerId, PublicKey, Sha256Digest, SharedClock, Timestamp},
};
use bytes::Bytes;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Bound,
    time::Duration,
};

/// A duration in whole milliseconds; saturates.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since the epoch as this process counts them: the wall clock at start, then the monotonic clock. Setting the
/// wall clock back or forward moves no deadline.
#[derive(Debug)]
pub(super) struct OwnClock {
    clock: SharedClock,
    wall_at_start_ms: i64,
    elapsed_at_start: Duration,
}

impl OwnClock {
    pub(super) fn start(clock: SharedClock) -> Self {
        Self { wall_at_start_ms: clock.now().millis(), elapsed_at_start: clock.elapsed(), clock }
    }

    /// For deadlines.
    pub(super) fn now_ms(&self) -> i64 {
        let passed = self.clock.elapsed().saturating_sub(self.elapsed_at_start);
        self.wall_at_start_ms.saturating_add(millis(passed))
    }

    /// For what is shown or written down.
    pub(super) fn wall(&self) -> Timestamp {
        self.clock.now()
    }
}

/// One live entry.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) public_key: PublicKey,
    /// Of the newest accepted manifest: tells a heartbeat from a new version without a look at the file.
    pub(super) digest: Sha256Digest,
    /// Of the same.
    pub(super) issued_at: Option<Timestamp>,
    pub(super) instance_type: Option<Box<str>>,
    pub(super) summary: Bytes,
    pub(super) last_seen: Timestamp,
    /// On [`OwnClock`].
    pub(super) expires_at_ms: i64,
    /// What its row takes, with its envelope.
    pub(super) bytes: u64,
    /// `None`: a known peer.
    pub(super) stranger: Option<Stranger>,
}

impl Live {
    pub(super) fn place(&self) -> Place {
        Place { key: self.public_key, bytes: self.bytes, stranger: self.stranger.clone() }
    }
}

/// What the writer must bring to the file with its next batch.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Entries that expired: their rows go.
    pub(super) gone: Vec<PeerId>,
    /// Entries that a heartbeat renewed, and when that was.
    pub(super) renewed: Vec<(PeerId, Timestamp)>,
}

/// All live entries. Bounded by the registry's `max_peers`, its lists of pending changes by that and by what one batch removes.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    live: HashMap<PeerId, Live>,
    order: BTreeSet<(i64, PeerId)>,
    gone: HashSet<PeerId>,
    renewed: HashSet<PeerId>,
    /// What strangers have of it.
    tallies: Tallies,
    /// How often anything of it was changed.
    changes: u64,
}

impl Mirror {
    /// Another number after each change, expiry among them.
    pub(super) fn changes(&mut self, now_ms: i64) -> u64 {
        self.drop_expired(now_ms);
        self.changes
    }

    /// Puts an entry in the place of the one with the same id, if there is one.
    pub(super) fn put(&mut self, peer: &PeerId, entry: Live) {
        self.changes = self.changes.wrapping_add(1);
        let expires_at_ms = entry.expires_at_ms;
        self.tallies.add(&entry.place());
        if let Some(old) = self.live.insert(peer.clone(), entry) {
            self.tallies.subtract(&old.place());
            self.order.remove(&(old.expires_at_ms, peer.clone()));
        }
        self.order.insert((expires_at_ms, peer.clone()));
        self.gone.remove(peer);
        self.renewed.remove(peer);
    }

    /// Renews a live entry that `pin` is the newest statement of. `false` where there is none: the writer must look at it. A peer that
    /// became known since leaves the strangers' places.
    pub(super) fn renew(
        &mut self,
        peer: &PeerId,
        pin: &Pin,
        now_ms: i64,
        expires_at_ms: i64,
        seen: Timestamp,
        stranger: Option<Stranger>,
    ) -> bool {
        self.drop_expired(now_ms);
        let Some(entry) = self.live.get_mut(peer) else { return false };
        // One that does not say when it was signed renews the entry of one that does, and changes nothing else.
        let is_repeat = pin.issued_at.is_none() || pin.issued_at == entry.issued_at;
        if (entry.digest, entry.public_key) != (pin.digest, pin.public_key) || !is_repeat {
            return false;
        }
        self.changes = self.changes.wrapping_add(1);
        self.order.remove(&(entry.expires_at_ms, peer.clone()));
        self.order.insert((expires_at_ms, peer.clone()));
        entry.expires_at_ms = expires_at_ms;
        entry.last_seen = seen;
        if entry.stranger != stranger {
            self.tallies.subtract(&entry.place());
            entry.stranger = stranger;
            self.tallies.add(&entry.place());
        }
        self.renewed.insert(peer.clone());
        true
    }

    /// Forgets what expired; each entry costs its own removal once.
    pub(super) fn drop_expired(&mut self, now_ms: i64) {
        while self.order.first().is_some_and(|(expires_at_ms, _)| *expires_at_ms <= now_ms) {
            self.changes = self.changes.wrapping_add(1);
            if let Some((_, peer)) = self.order.pop_first() {
                if let Some(entry) = self.live.remove(&peer) {
                    self.tallies.subtract(&entry.place());
                }
                self.renewed.remove(&peer);
                self.gone.insert(peer);
            }
        }
    }

    /// Forgets an entry whose row is gone from the file.
    pub(super) fn remove(&mut self, peer: &PeerId) {
        self.changes = self.changes.wrapping_add(1);
        if let Some(old) = self.live.remove(peer) {
            self.tallies.subtract(&old.place());
            self.order.remove(&(old.expires_at_ms, peer.clone()));
        }
        self.renewed.remove(peer);
    }

    /// What a live entry takes.
    pub(super) fn place(&self, peer: &PeerId, now_ms: i64) -> Option<Place> {
        self.live.get(peer).filter(|entry| entry.expires_at_ms > now_ms).map(Live::place)
    }

    /// What strangers have.
    pub(super) const fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    pub(super) fn is_live(&self, peer: &PeerId, now_ms: i64) -> bool {
        self.live.get(peer).is_some_and(|entry| entry.expires_at_ms > now_ms)
    }

    pub(super) fn count(&mut self, now_ms: i64) -> u64 {
        self.drop_expired(now_ms);
        u64::try_from(self.order.len()).unwrap_or(u64::MAX)
    }

    /// Notes a row of the file that no live entry needs.
    pub(super) fn note_gone(&mut self, peer: PeerId) {
        self.gone.insert(peer);
    }

    /// Is there anything of it that the file does not know yet?
    pub(super) fn has_pending(&mut self, now_ms: i64) -> bool {
        self.drop_expired(now_ms);
        !(self.gone.is_empty() && self.renewed.is_empty())
    }

    /// Takes what the file does not know yet. Only the writer puts entries in, so no id in `gone` can come back meanwhile.
    pub(super) fn take_pending(&mut self, now_ms: i64) -> Pending {
        self.drop_expired(now_ms);
        let gone = self.gone.drain().collect();
        let live = &self.live;
        let renewed =
            self.renewed.drain().filter_map(|peer| live.get(&peer).map(|entry| (peer, entry.last_seen))).collect();
        Pending { gone, renewed }
    }

    /// Gives back what could not be written.
    pub(super) fn put_back(&mut self, pending: Pending) {
        self.gone.extend(pending.gone.into_iter().filter(|peer| !self.live.contains_key(peer)));
        self.renewed.extend(pending.renewed.into_iter().map(|(peer, _)| peer));
    }

    /// Up to `limit` entries after `after`.
    pub(super) fn page(&mut self, after: Option<&PeerCursor>, limit: usize, now_ms: i64) -> PeerPage {
        self.drop_expired(now_ms);
        let from =
            after.map_or(Bound::Unbounded, |cursor| Bound::Excluded((cursor.expires_at_ms, cursor.peer.clone())));
        let mut rest = self.order.range((from, Bound::Unbounded));
        let mut last = None;
        let mut peers = Vec::new();
        for (expires_at_ms, peer) in rest.by_ref().take(limit) {
            last = Some((*expires_at_ms, peer));
            let Some(entry) = self.live.get(peer) else { continue };
            peers.push(PeerRecord {
                peer: peer.clone(),
                public_key: entry.public_key,
                issued_at: entry.issued_at,
                instance_type: entry.instance_type.clone(),
                summary: entry.summary.clone(),
                last_seen: entry.last_seen,
                expires_in: Duration::from_millis(u64::try_from(expires_at_ms - now_ms).unwrap_or(0)),
                expires_at_ms: *expires_at_ms,
            });
        }
        let more = rest.next().is_some();
        let next = last.filter(|_| more).map(|(expires_at_ms, peer)| PeerCursor { expires_at_ms, peer: peer.clone() });
        PeerPage { peers, total: u64::try_from(self.order.len()).unwrap_or(u64::MAX), next }
    }
}
