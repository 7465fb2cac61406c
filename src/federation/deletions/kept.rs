//! The form in which the counts of the mass-delete guard are kept, so that a restart gives no budget back: numbers for each account, and
//! no ids of nodes. At most about 1.5 MiB, with a thousand accounts that all deleted throughout the last hour.

use super::{
    Account, Counts,
    additions::{Added, Additions},
    window::{Nodes, SLOT_LIFE, Slot, Window},
};
use crate::types::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, time::Duration};

const VERSION: u32 = 1;

/// Why the counts cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeptError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("version {0} of its form is not known")]
    Version(u32),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptCounts {
    version: u32,
    saved_at: Timestamp,
    /// All deletions wait for so long.
    #[serde(default, skip_serializing_if = "is_zero")]
    closed_for_ms: u64,
    /// How long ago the hour of the newest additions began.
    additions_age_ms: u64,
    accounts: Vec<KeptAccount>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct KeptAccount {
    /// `None`: that of all unverified senders.
    id: Option<String>,
    #[serde(default)]
    added: usize,
    #[serde(default)]
    added_before: usize,
    #[serde(default)]
    slots: Vec<KeptSlot>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptSlot {
    age_ms: u64,
    deletions: usize,
    of_established: usize,
    nodes: usize,
    established: usize,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl KeptCounts {
    /// The counts as they stand.
    pub(super) fn of(counts: &Counts, now: Duration, saved_at: Timestamp) -> Self {
        let age_ms = |since: Duration| millis(now.saturating_sub(since));
        let mut accounts: HashMap<Account, KeptAccount> = HashMap::new();
        for (account, window) in &counts.windows {
            let slots = window.slots().map(|slot| KeptSlot {
                age_ms: age_ms(slot.since),
                deletions: slot.deletions.all,
                of_established: slot.deletions.established,
                nodes: slot.held.all,
                established: slot.held.established,
            });
            accounts.entry(account.clone()).or_default().slots.extend(slots);
        }
        for Added { account, lately, before } in counts.additions.added() {
            let kept = accounts.entry(account).or_default();
            (kept.added, kept.added_before) = (lately, before);
        }
        let accounts = accounts.into_iter().map(|(account, kept)| KeptAccount { id: account.into_id(), ..kept });
        Self {
            version: VERSION,
            saved_at,
            closed_for_ms: millis(counts.closed_until.saturating_sub(now)),
            additions_age_ms: age_ms(counts.additions.since()),
            accounts: accounts.collect(),
        }
    }

    /// Reads what [`Self::bytes`] wrote.
    ///
    /// # Errors
    /// [`KeptError`].
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeptError> {
        let kept: Self = serde_json::from_slice(bytes)?;
        if kept.version == VERSION { Ok(kept) } else { Err(KeptError::Version(kept.version)) }
    }

    /// What is written.
    ///
    /// # Errors
    /// [`serde_json::Error`].
    pub(super) fn bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// The counts of a process that starts now. A wall clock that was set back since adds no time: what was counted then stays counted
    /// for its whole hour.
    pub(super) fn into_counts(self, now: Duration, wall: Timestamp) -> Counts {
        let since_saved = wall.since(self.saved_at);
        let age = |ms: u64| Duration::from_millis(ms).saturating_add(since_saved);
        let mut counts = Counts::default();
        let mut added = Vec::new();
        for KeptAccount { id, added: lately, added_before, slots } in self.accounts {
            let account = id.as_deref().map_or(Account::Unverified, Account::own);
            let slots = slots.into_iter().filter(|slot| age(slot.age_ms) < SLOT_LIFE);
            let slots: Vec<Slot> = slots
                .map(|slot| Slot {
                    since: now.saturating_sub(age(slot.age_ms)),
                    deletions: Nodes { all: slot.deletions, established: slot.of_established },
                    held: Nodes { all: slot.nodes, established: slot.established },
                })
                .collect();
            if !slots.is_empty() {
                counts.windows.insert(account.clone(), Window::of(slots));
            }
            if lately > 0 || added_before > 0 {
                added.push(Added { account, lately, before: added_before });
            }
        }
        counts.additions = Additions::of(now.saturating_sub(age(self.additions_age_ms)), added);
        counts.additions.advance(now);
        let closed_for = Duration::from_millis(self.closed_for_ms).saturating_sub(since_saved);
        counts.closed_until = if closed_for.is_zero() { Duration::ZERO } else { now.saturating_add(closed_for) };
        counts
    }
}
