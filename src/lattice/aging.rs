//! When tombstones are looked at whether they may go, and when it is written down how long the service ran, by which they age.

use super::{journal::TOMBSTONE_AGE, store::Shared};
use std::time::Duration;

const PRUNE_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// What a process that is killed loses of the time by which tombstones age.
const NOTE_LIVED_EVERY: Duration = Duration::from_secs(60 * 60);

/// Moments are of the injected clock's `elapsed`.
#[derive(Debug)]
pub(super) struct Aging {
    started: Duration,
    prune_at: Duration,
    note_lived_at: Duration,
}

impl Aging {
    pub(super) fn from(started: Duration) -> Self {
        Self { started, prune_at: started, note_lived_at: started.saturating_add(NOTE_LIVED_EVERY) }
    }

    pub(super) fn step(&mut self, shared: &Shared, now: Duration) {
        shared.journal.live(now.saturating_sub(self.started));
        if self.note_lived_at <= now {
            self.note_lived_at = now.saturating_add(NOTE_LIVED_EVERY);
            Self::note_lived(shared);
        }
        if self.prune_at <= now {
            self.prune_at = now.saturating_add(PRUNE_EVERY);
            prune(shared);
        }
    }

    pub(super) fn note_lived(shared: &Shared) {
        if let Err(error) = shared.journal.note_lived() {
            tracing::warn!(%error, "how long the service ran cannot be written down: deletions are remembered longer for it");
        }
    }
}

fn prune(shared: &Shared) {
    let pruned = shared.journal.prune(shared.clock.now());
    match pruned.and_then(|pruned| shared.count_deletions().map(|()| pruned)) {
        Ok(pruned) => {
            if let Some(id) = &pruned.first {
                let days = TOMBSTONE_AGE.as_secs() / 86_400;
                tracing::info!(
                    lattice.forgotten_tombstones = pruned.count,
                    "{} deletions were kept for {days} days while the service ran, and are forgotten now, such as that of {id}",
                    pruned.count
                );
            }
        }
        Err(error) => tracing::warn!(%error, "old tombstones cannot be removed"),
    }
}
