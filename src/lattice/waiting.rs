//! Deletions of other instances that wait for the admin (DESIGN 4.7): what is known of each, and how many may be carried out.

use crate::types::{ContentHash, NodeId, Timestamp};
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// How many nodes one call of [`Lattice::apply_within`](super::Lattice::apply_within) may delete.
#[derive(Debug)]
pub struct DeletionBudget {
    left: AtomicUsize,
    deleted: AtomicUsize,
    /// All senders of which this is true share one bound on what waits: as many as there are nodes.
    pub bounded: bool,
}

impl DeletionBudget {
    /// For `deletions` nodes.
    #[must_use]
    pub fn new(deletions: usize, bounded: bool) -> Self {
        Self { left: AtomicUsize::new(deletions), deleted: AtomicUsize::new(0), bounded }
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
}
