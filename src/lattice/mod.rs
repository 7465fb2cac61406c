//! The lattice port: the nodes of this instance, their index, and the journal of what changed.
//!
//! The directory of `{id}.json` files is the truth; index and journal follow it. A write is acknowledged once the file is
//! durable (temp file, fsync, rename, fsync of the directory) and the journal entry is committed.

mod adopt;
mod aging;
mod ahead;
mod apply;
pub mod atomic_file;
mod catch_up;
mod clock_agreement;
mod clock_jump;
mod dating;
pub mod delta;
pub mod directory;
mod error;
mod examine;
mod file_name;
mod half_written;
mod hold;
pub mod index;
mod journal;
mod known;
mod listing;
mod manifest_file;
mod marker;
mod node;
mod node_type;
pub mod offline;
mod pack;
mod packs;
mod place;
mod read;
mod reader;
mod recent;
mod redate;
mod replaced;
mod reserve;
mod restore;
mod scan;
mod sorted;
mod status;
mod store;
mod turns;
mod unreadable_times;
pub mod version;
mod waiting;
mod watch;
mod whole_sync;
mod write_batch;
mod writer;

pub use error::LatticeError;
pub use node::{NodeDocument, NodeError, OVERSIZE_BYTES};
pub use node_type::{MAX_TYPE_BYTES, NodeType};
pub use status::{BrokenFile, Epochs, LatticeStatus};
pub use version::{Ancestry, Version};
pub use waiting::{DeletionBudget, StoredVersion, WaitingDeletion, WaitingSender};

use crate::types::{ContentHash, NodeId, Sha256Digest, Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

/// What the index knows of one node, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The node's id.
    pub id: NodeId,
    /// SHA-256 of the node's canonical bytes.
    pub content_hash: ContentHash,
    /// SHA-256 of the file's bytes: what the seed's `compute_hash` yields.
    pub file_hash: Sha256Digest,
    /// The node's `type`, where that is a string.
    pub node_type: Option<NodeType>,
    /// The version's time: when the edit counts as made (DESIGN 4.7).
    pub updated_at: Timestamp,
    /// The file's length, bytes.
    pub size_bytes: u64,
    /// Position of the node's last change in the journal.
    pub seq: u64,
}

/// A node with its content.
#[derive(Debug, Clone)]
pub struct StoredNode {
    /// What the index knows; matches `bytes`.
    pub entry: Arc<Entry>,
    /// The file's bytes: JSON text that passed the strict gate.
    pub bytes: Bytes,
}

/// What must hold of the current version for a write to happen (RFC 9110 section 13.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// `If-Match: *`: the node exists.
    Exists,
    /// `If-None-Match: *`: the node does not exist.
    Absent,
    /// `If-Match: "…"`: the node's content hash is one of these.
    OneOf(Vec<ContentHash>),
}

/// What a write did.
#[derive(Debug, Clone)]
pub enum Written {
    /// The node is new.
    Created(Arc<Entry>),
    /// The node has another content than before.
    Replaced(Arc<Entry>),
    /// The node had this content already. Its text is the one of the write, if that was another one; it is no new version.
    Unchanged(Arc<Entry>),
}

impl Written {
    /// The node as it is stored now.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        match self {
            Self::Created(entry) | Self::Replaced(entry) | Self::Unchanged(entry) => entry,
        }
    }
}

/// That a node was deleted, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The node.
    pub id: NodeId,
    /// When it was deleted here.
    pub deleted_at: Timestamp,
    /// The content that was deleted.
    pub content_hash: ContentHash,
    /// Position in the journal.
    pub seq: u64,
}

/// One line of the journal. A node appears at the position of its last change only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The node has this content since.
    Put {
        /// Position in the journal.
        seq: u64,
        /// The node.
        id: NodeId,
        /// Its content hash.
        content_hash: ContentHash,
        /// Its version's time.
        updated_at: Timestamp,
        /// Its `type`, where that is a string.
        node_type: Option<NodeType>,
        /// Its file's length, bytes.
        size_bytes: u64,
        /// What it was before.
        ancestry: Ancestry,
    },
    /// The node is deleted since. Before that it was this.
    Deleted(Tombstone, Ancestry),
}

/// A version of another instance, to be judged against what is held.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// What it says.
    pub change: Arrived,
    /// What the version came from, as the other instance tells.
    pub ancestry: Ancestry,
    /// Who sent it: for people, beside the version that it replaces.
    pub from: Box<str>,
    /// Position in our journal up to which the sender had been given our versions when it sent this one; 0: not known.
    pub given: u64,
}

/// What an [`Arrival`] says.
#[derive(Debug, Clone)]
pub enum Arrived {
    /// The node has this content.
    Put {
        /// The node.
        node: NodeDocument,
        /// The version's time.
        at: Timestamp,
    },
    /// The node is deleted.
    Deleted {
        /// The node.
        id: NodeId,
        /// The version's time.
        at: Timestamp,
        /// The content that was deleted.
        content_hash: ContentHash,
    },
}

/// What became of an [`Arrival`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It counts, and is durable. The version that it replaced may be among the conflicts, under this number.
    Taken(Option<u64>),
    /// It was held already.
    Same,
    /// The version that is held counts.
    Kept,
    /// It is dated too far ahead; nothing was done.
    Ahead,
    /// It would delete a node and waits for the admin, durably; the node is here still.
    Waiting,
    /// A bound is reached, which [`DeletionBudget::take_left_out`] names; nothing was done.
    LeftOut,
}

/// A version that was held here and overruled by one of another instance. Its content is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Its number; grows.
    pub number: u64,
    /// The node.
    pub id: NodeId,
    /// When it lost.
    pub noticed_at: Timestamp,
    /// Who sent the version that won.
    pub from: Box<str>,
    /// The version that lost.
    pub lost: Version,
    /// The version that won.
    pub won: Version,
    /// Length of the content that is kept, bytes.
    pub size_bytes: u64,
    /// It was made here, and the other instance had not been given it as far as this instance knows. It is kept until the admin settles
    /// it. Otherwise it is history, of which the oldest go.
    pub is_conflict: bool,
    /// Whose version won, as far as that bounds what is kept.
    pub winner: Winner,
}

/// On whose account versions are kept that lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Winner {
    /// Conflicts count for this account; `None`: for the id that sent the version that won.
    pub account: Option<Box<str>>,
    /// It is not verified: where the history is full, nothing of others goes for its versions.
    pub is_unverified: bool,
}

/// What was dismissed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dismissed {
    /// A conflict: its version is in the history.
    Conflict,
    /// A version of the history: it is forgotten.
    Overruled,
}

/// What restoring a [`Conflict`] did.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What became of the node.
    pub written: Written,
    /// The number of the conflict that keeps what the node held until then.
    pub kept: Option<u64>,
}

/// Which nodes [`Lattice::page`] shows.
#[derive(Debug, Clone, Default)]
pub struct NodeFilter {
    /// Only nodes of this `type`.
    pub node_type: Option<String>,
    /// Only nodes whose `updated_at` is at this instant or later.
    pub updated_since: Option<Timestamp>,
}

/// Some nodes in order of id (bytes).
#[derive(Debug, Clone)]
pub struct NodePage {
    /// The nodes.
    pub entries: Vec<Arc<Entry>>,
    /// The last id that was looked at, where there may be more after it.
    pub next: Option<NodeId>,
    /// Live nodes in all, whatever the filter.
    pub total: usize,
}

/// The nodes of this instance.
///
/// Calls that only look at the index do not block. Calls that touch files run elsewhere than on the async threads; a write that
/// has begun is carried to its end also when the returned future is dropped.
#[async_trait]
pub trait Lattice: Send + Sync + std::fmt::Debug {
    /// How the lattice is. Answers also while loading.
    fn status(&self) -> LatticeStatus;

    /// Fails where the data directory is not there, or is another one: then no file can be read, and none counts as deleted. Cheap.
    ///
    /// # Errors
    /// [`LatticeError::Io`], with what to check.
    fn check_directory(&self) -> Result<(), LatticeError> {
        Ok(())
    }

    /// The journal's newest position, and every later one as it is reached.
    fn positions(&self) -> tokio::sync::watch::Receiver<u64>;

    /// The journal's epochs. A position that is read before them lies in them.
    fn epochs(&self) -> Epochs;

    /// The next write begins a new epoch: the journal may be continued elsewhere from where it stands.
    fn begin_epoch(&self);

    /// The wall clock of this machine agrees with the one by which another instance dated what it signed just now. From then on, until the
    /// clock is set, an edit of a version that lies further ahead than peers accept is dated now: the clock was wrong when that version was
    /// made, and dated after it the edit would be refused as well.
    fn note_clock_agrees(&self);

    /// The set as it is now, unchanging: for deltas. Cheap: shared until the next change.
    ///
    /// # Errors
    /// [`LatticeError::Loading`].
    fn snapshot(&self) -> Result<Arc<index::Snapshot>, LatticeError>;

    /// What the index knows of one node.
    ///
    /// # Errors
    /// [`LatticeError::Loading`].
    fn entry(&self, id: &NodeId) -> Result<Option<Arc<Entry>>, LatticeError>;

    /// What the index knows of each of these nodes, in their order. Cheapest where they are in the order of their ids.
    ///
    /// # Errors
    /// [`LatticeError::Loading`].
    fn entries(&self, ids: &[&NodeId]) -> Result<Vec<Option<Arc<Entry>>>, LatticeError> {
        ids.iter().map(|id| self.entry(id)).collect()
    }

    /// Up to `limit` nodes after `after` that pass `filter`. May answer fewer (also none) with `next` set, so that no single
    /// call looks at the whole lattice.
    ///
    /// # Errors
    /// [`LatticeError::Loading`].
    fn page(&self, after: Option<&NodeId>, filter: &NodeFilter, limit: usize) -> Result<NodePage, LatticeError>;

    /// The nodes whose files are broken: the set holds their last good versions, whose contents cannot be had.
    fn unavailable(&self) -> Vec<NodeId>;

    /// Is it one of [`Self::unavailable`]?
    fn is_unavailable(&self, id: &NodeId) -> bool;

    /// One node with its content. `None` where there is no such node.
    ///
    /// # Errors
    /// [`LatticeError::Loading`], [`LatticeError::Unavailable`], [`LatticeError::Io`].
    async fn read(&self, id: &NodeId) -> Result<Option<StoredNode>, LatticeError>;

    /// Many nodes with their contents, in the order of `entries`, in one hop to the file threads. A node that was changed since
    /// comes with its newer entry; one that is gone or [unavailable](Self::unavailable) is left out.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    async fn read_many(&self, entries: Vec<Arc<Entry>>) -> Result<Vec<StoredNode>, LatticeError>;

    /// Writes a node as an edit made now, durably and exactly as it is (DESIGN 4.7).
    ///
    /// # Errors
    /// Every variant of [`LatticeError`].
    async fn put(&self, node: NodeDocument, precondition: Precondition) -> Result<Written, LatticeError>;

    /// Writes many nodes with few fsyncs of the directory and one commit of the journal; in the order given.
    /// All of it is durable when this answers.
    ///
    /// # Errors
    /// The first error; nodes before it may have been written.
    async fn put_many(&self, nodes: Vec<NodeDocument>) -> Result<Vec<Written>, LatticeError>;

    /// Dates the versions of these nodes now, durably: they count as edited here in this moment, with the contents that they have. Answers
    /// those that are here.
    ///
    /// # Errors
    /// The first error; nodes before it may have been dated.
    async fn accept(&self, ids: Vec<NodeId>) -> Result<Vec<NodeId>, LatticeError>;

    /// Deletes a node, durably, and leaves a tombstone. `None` where there is no such node.
    ///
    /// # Errors
    /// Every variant of [`LatticeError`].
    async fn delete(&self, id: &NodeId, precondition: Precondition) -> Result<Option<Tombstone>, LatticeError>;

    /// The tombstone of a node that was deleted and not put back.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn tombstone(&self, id: &NodeId) -> Result<Option<Tombstone>, LatticeError>;

    /// The version of a node that counts here, be it a content or a deletion.
    ///
    /// # Errors
    /// [`LatticeError::Loading`], [`LatticeError::Io`].
    fn current_version(&self, id: &NodeId) -> Result<Option<Version>, LatticeError> {
        match self.entry(id)? {
            Some(entry) => Ok(Some(entry.version())),
            None => Ok(self.tombstone(id)?.map(|tombstone| tombstone.version())),
        }
    }

    /// Was this node, which is not here and has no tombstone, deleted at `at` or later, so long ago that its tombstone is forgotten? A
    /// version of then that comes by another way than a round must not bring it back.
    ///
    /// # Errors
    /// [`LatticeError::Loading`], [`LatticeError::Io`].
    fn stays_deleted(&self, id: &NodeId, at: Timestamp) -> Result<bool, LatticeError>;

    /// Those of `ids` that have no tombstone.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn not_deleted<'a>(&self, ids: Vec<&'a NodeId>) -> Result<Vec<&'a NodeId>, LatticeError> {
        let mut left = Vec::new();
        for id in ids {
            if self.tombstone(id)?.is_none() {
                left.push(id);
            }
        }
        Ok(left)
    }

    /// Up to `limit` changes after position `since`, in order. Each node appears once, at its last change.
    ///
    /// # Errors
    /// [`LatticeError::Loading`], [`LatticeError::Io`].
    fn changes(&self, since: u64, limit: usize) -> Result<Vec<Change>, LatticeError>;

    /// How many changes there are in all: one for each node and each tombstone. A node whose file breaks, and a tombstone that is
    /// forgotten, leaves without a new position.
    ///
    /// # Errors
    /// [`LatticeError::Loading`], [`LatticeError::Io`].
    fn change_count(&self) -> Result<u64, LatticeError>;

    /// What the node's version, or its deletion, came from.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn ancestry(&self, id: &NodeId) -> Result<Ancestry, LatticeError>;

    /// Who gave the versions of these nodes that are here, in their order; `None` for what was made here.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn givers(&self, ids: &[&NodeId]) -> Result<Vec<Option<Box<str>>>, LatticeError>;

    /// The position up to which deletions may be missing in [`Self::changes`]: their tombstones are forgotten. Who asks for what
    /// came after an older position must look at the whole set.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn floor(&self) -> Result<u64, LatticeError>;

    /// Judges versions of another instance, each against what is held in that moment, and writes those that count, durably; in
    /// the order given. A version that was made here and is replaced by one that did not come from it is kept before as a
    /// [`Conflict`].
    ///
    /// # Errors
    /// The first error; arrivals before it may have been written. After one that [leaves out one](LatticeError::leaves_out_one) all
    /// others of them are.
    async fn apply(&self, arrivals: Vec<Arrival>) -> Result<Vec<Applied>, LatticeError>;

    /// The same, with a bound on the nodes that are deleted: deletions beyond `budget` are kept as waiting, durably, and their nodes stay. A
    /// version for which a bound is reached is [`Applied::LeftOut`], and the budget has the reason.
    ///
    /// # Errors
    /// The first error; arrivals before it may have been written.
    async fn apply_within(
        &self,
        arrivals: Vec<Arrival>,
        budget: &Arc<DeletionBudget>,
    ) -> Result<Vec<Applied>, LatticeError>;

    /// Up to `limit` deletions that wait, behind the one of this node and sender; in order of node, then sender. Of one sender, where one
    /// is named.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn waiting(
        &self,
        from: Option<&str>,
        after: Option<(&NodeId, &str)>,
        limit: usize,
    ) -> Result<Vec<WaitingDeletion>, LatticeError>;

    /// How many deletions of each sender wait, in order of its name.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn waiting_senders(&self) -> Result<Vec<WaitingSender>, LatticeError>;

    /// How many deletions of this sender wait.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn waiting_of(&self, from: &str) -> Result<u64, LatticeError>;

    /// Carries out what waits of this sender, each judged again against what is held now. Answers how many nodes were deleted.
    ///
    /// # Errors
    /// The first error; what came before it was carried out, the rest waits still.
    async fn confirm_waiting(&self, from: &str) -> Result<u64, LatticeError>;

    /// Refuses what waits of this sender: each node gets a later time and a new position, so that it counts also where it was deleted.
    /// Answers how many nodes.
    ///
    /// # Errors
    /// The first error; what came before it was refused, the rest waits still.
    async fn refuse_waiting(&self, from: &str) -> Result<u64, LatticeError>;

    /// Ends what waits of this sender for these nodes, which stay as they are. Answers for how many.
    ///
    /// # Errors
    /// The first error; what came before it ended, the rest waits still.
    async fn end_waiting(&self, from: &str, ids: &[NodeId]) -> Result<u64, LatticeError>;

    /// Up to `limit` conflicts with greater numbers than `after`, in order.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn conflicts(&self, after: u64, limit: usize) -> Result<Vec<Conflict>, LatticeError>;

    /// Up to `limit` versions of the history with greater numbers than `after`, in order: overruled by instances that had been given
    /// them. Bounded: the oldest go.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn overruled(&self, after: u64, limit: usize) -> Result<Vec<Conflict>, LatticeError>;

    /// How many versions the history holds.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn overruled_count(&self) -> Result<u64, LatticeError>;

    /// The greatest number that a conflict was given so far; 0 where there was none.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn last_conflict(&self) -> Result<u64, LatticeError>;

    /// A conflict, or a version of the history, and the content that lost: JSON text that passed the strict gate.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn conflict(&self, number: u64) -> Result<Option<(Conflict, Bytes)>, LatticeError>;

    /// Settles a conflict, durably: its version goes to the history, under the same number. A version of the history is forgotten. `None`
    /// where there is neither.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    async fn dismiss_conflict(&self, number: u64) -> Result<Option<Dismissed>, LatticeError>;

    /// Makes the version that lost count again: writes it as it was, as an edit made now by `by`, and forgets the conflict in the same step. What
    /// the node held until then goes to the history. Durable. `None` where there is no such conflict.
    ///
    /// # Errors
    /// Every variant of [`LatticeError`]; the conflict is there still. [`LatticeError::PreconditionFailed`]: another program wrote
    /// the node in that moment.
    async fn restore(&self, number: u64, by: &str) -> Result<Option<Restored>, LatticeError>;

    /// How many conflicts are kept.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    fn conflict_count(&self) -> Result<u64, LatticeError>;

    /// Looks at every file again, now, and answers when the index agrees with the directory.
    ///
    /// # Errors
    /// [`LatticeError::Io`].
    async fn rescan(&self) -> Result<(), LatticeError>;

    /// Answers once every change that other programs made before is in the index, also deletions, of which it takes two seconds to be
    /// sure; after five seconds at the longest.
    async fn catch_up(&self) {}

    /// Stops the watcher and flushes. Later writes answer [`LatticeError::Io`].
    async fn close(&self);
}
