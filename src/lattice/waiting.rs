//! Deletions of other instances that wait for the admin (DESIGN 4.7): what is known of each, and how many may be carried out.

use super::{LatticeError, Winner};
use crate::types::{ContentHash, NodeId, Timestamp};
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// A deletion that is kept and not carried out: the node is still here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingDeletion {
    /// The node.
    pub id: NodeId,
    /// The instance that sent the deletion.
    pub from: Box<str>,
    /// The version's time.
    pub at: Timestamp,
    /// The content that was deleted there.
    pub content_hash: ContentHash,
    /// When it first came here.
    pub since: Timestamp,
}

/// What waits of one sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingSender {
    /// The instance that sent the deletions.
    pub from: Box<str>,
    /// How many wait.
    pub deletions: u64,
    /// When the oldest run of them began: the first came while none of this sender waited.
    pub since: Timestamp,
}

/// A version of another instance that is durable here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVersion {
    /// The node.
    pub id: NodeId,
    /// Its position in the journal.
    pub seq: u64,
    /// The position of the version that it replaced; `None`: the node is new here.
    pub replaced: Option<u64>,
}

/// How many nodes one call of [`Lattice::apply_within`](super::Lattice::apply_within) may delete, and what that call changed.
#[derive(Debug)]
pub struct DeletionBudget {
    left: AtomicUsize,
    deleted: AtomicUsize,
    stored: Mutex<Vec<StoredVersion>>,
    /// All senders of which this is true share one bound on what waits: as many as there are nodes. They are not verified.
    pub bounded: bool,
    conflict_account: Option<Box<str>>,
    left_out: Mutex<Option<LatticeError>>,
}

impl DeletionBudget {
    /// For `deletions` nodes.
    #[must_use]
    pub fn new(deletions: usize, bounded: bool) -> Self {
        let (left, deleted) = (AtomicUsize::new(deletions), AtomicUsize::new(0));
        Self { left, deleted, stored: Mutex::default(), bounded, conflict_account: None, left_out: Mutex::default() }
    }

    /// The same, where conflicts count for this account and not for the sender's id.
    #[must_use]
    pub fn with_conflict_account(self, account: Option<Box<str>>) -> Self {
        Self { conflict_account: account, ..self }
    }

    /// On whose account versions are kept that lose against the sender's.
    pub(super) fn winner(&self) -> Winner {
        Winner { account: self.conflict_account.clone(), is_unverified: self.bounded }
    }

    /// Nodes that were deleted so far, durably.
    #[must_use]
    pub fn deleted(&self) -> usize {
        self.deleted.load(Ordering::Acquire)
    }

    /// Takes one deletion out of the budget; `false`: none is left.
    pub(super) fn spend(&self) -> bool {
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok()
    }

    /// A deletion is durable.
    pub(super) fn count(&self) {
        self.deleted.fetch_add(1, Ordering::AcqRel);
    }

    /// A version is durable.
    pub(super) fn count_stored(&self, version: StoredVersion) {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).push(version);
    }

    /// A version is left out, as the lattice holds as much as it may. The first reason is kept.
    pub(super) fn leave_out(&self, reason: LatticeError) {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    /// Takes the reason why a version was left out; one at least has [`Applied::LeftOut`](super::Applied::LeftOut) then.
    #[must_use]
    pub fn take_left_out(&self) -> Option<LatticeError> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes the list of the versions that were stored so far, durably. Versions in the place of a broken file are left out: the node is
    /// neither new nor replaced.
    #[must_use]
    pub fn take_stored(&self) -> Vec<StoredVersion> {
        std::mem::take(&mut self.stored.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
