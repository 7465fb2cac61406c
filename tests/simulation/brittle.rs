//! A lattice whose process dies, or whose disk is full, while versions of others are written.

use ark_lattice::{
    lattice::{
        Ancestry, Applied, Arrival, Change, Conflict, DeletionBudget, Dismissed, Entry, Epochs, Lattice, LatticeError,
        LatticeStatus, NodeDocument, NodeFilter, NodePage, Precondition, Restored, StoredNode, Tombstone,
        WaitingDeletion, WaitingSender, Written, index::Snapshot,
    },
    types::{NodeId, Timestamp},
};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::{Notify, watch};

/// What happens to one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Nothing is written, and said so.
    Full,
    /// Some of it is written, the rest refused.
    Half,
    /// Nothing is written, and nobody is told: the process is gone.
    KilledBefore,
    /// Everything is written, and nobody is told.
    KilledAfter,
}

/// The process of an instance, as far as it can end.
#[derive(Debug, Default)]
pub(crate) struct Process {
    killed: AtomicBool,
    told: Notify,
}

impl Process {
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.told.notify_one();
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    pub(crate) async fn dead(&self) {
        self.told.notified().await;
    }
}

#[derive(Debug)]
pub(crate) struct Brittle {
    pub(crate) inner: Arc<dyn Lattice>,
    pub(crate) process: Arc<Process>,
    /// What happens to the write after so many others.
    pub(crate) plan: Mutex<Option<(usize, Break)>>,
}

impl Brittle {
    fn next(&self) -> Option<Break> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        match plan.take() {
            Some((0, fault)) => Some(fault),
            Some((more, fault)) => {
                *plan = Some((more - 1, fault));
                None
            }
            None => None,
        }
    }

    fn gone() -> LatticeError {
        LatticeError::Io("the process is gone".to_owned())
    }
}

#[async_trait]
impl Lattice for Brittle {
    async fn apply(&self, arrivals: Vec<Arrival>) -> Result<Vec<Applied>, LatticeError> {
        self.apply_within(arrivals, &Arc::new(DeletionBudget::new(usize::MAX, false))).await
    }

    async fn apply_within(
        &self,
        mut arrivals: Vec<Arrival>,
        budget: &Arc<DeletionBudget>,
    ) -> Result<Vec<Applied>, LatticeError> {
        if self.process.is_killed() {
            return Err(Self::gone());
        }
        match self.next() {
            None => self.inner.apply_within(arrivals, budget).await,
            Some(Break::Full) => Err(LatticeError::NoSpace),
            Some(Break::Half) => {
                arrivals.truncate(arrivals.len() / 2);
                self.inner.apply_within(arrivals, budget).await?;
                Err(LatticeError::NoSpace)
            }
            Some(Break::KilledBefore) => {
                self.process.kill();
                Err(Self::gone())
            }
            Some(Break::KilledAfter) => {
                self.inner.apply_within(arrivals, budget).await?;
                self.process.kill();
                Err(Self::gone())
            }
        }
    }

    fn status(&self) -> LatticeStatus {
        self.inner.status()
    }

    fn positions(&self) -> watch::Receiver<u64> {
        self.inner.positions()
    }

    fn epochs(&self) -> Epochs {
        self.inner.epochs()
    }

    fn begin_epoch(&self) {
        self.inner.begin_epoch();
    }

    fn note_clock_agrees(&self) {
        self.inner.note_clock_agrees();
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, LatticeError> {
        self.inner.snapshot()
    }

    fn entry(&self, id: &NodeId) -> Result<Option<Arc<Entry>>, LatticeError> {
        self.inner.entry(id)
    }

    fn page(&self, after: Option<&NodeId>, filter: &NodeFilter, limit: usize) -> Result<NodePage, LatticeError> {
        self.inner.page(after, filter, limit)
    }

    async fn read(&self, id: &NodeId) -> Result<Option<StoredNode>, LatticeError> {
        self.inner.read(id).await
    }

    async fn read_many(&self, entries: Vec<Arc<Entry>>) -> Result<Vec<StoredNode>, LatticeError> {
        self.inner.read_many(entries).await
    }

    async fn put(&self, node: NodeDocument, precondition: Precondition) -> Result<Written, LatticeError> {
        self.inner.put(node, precondition).await
    }

    async fn put_many(&self, nodes: Vec<NodeDocument>) -> Result<Vec<Written>, LatticeError> {
        self.inner.put_many(nodes).await
    }

    async fn delete(&self, id: &NodeId, precondition: Precondition) -> Result<Option<Tombstone>, LatticeError> {
        self.inner.delete(id, precondition).await
    }

    fn stays_deleted(&self, id: &NodeId, at: Timestamp) -> Result<bool, LatticeError> {
        self.inner.stays_deleted(id, at)
    }

    fn tombstone(&self, id: &NodeId) -> Result<Option<Tombstone>, LatticeError> {
        self.inner.tombstone(id)
    }

    fn changes(&self, since: u64, limit: usize) -> Result<Vec<Change>, LatticeError> {
        self.inner.changes(since, limit)
    }

    fn change_count(&self) -> Result<u64, LatticeError> {
        self.inner.change_count()
    }

    fn ancestry(&self, id: &NodeId) -> Result<Ancestry, LatticeError> {
        self.inner.ancestry(id)
    }

    fn givers(&self, ids: &[&NodeId]) -> Result<Vec<Option<Box<str>>>, LatticeError> {
        self.inner.givers(ids)
    }

    fn floor(&self) -> Result<u64, LatticeError> {
        self.inner.floor()
    }

    fn waiting(
        &self,
        from: Option<&str>,
        after: Option<(&NodeId, &str)>,
        limit: usize,
    ) -> Result<Vec<WaitingDeletion>, LatticeError> {
        self.inner.waiting(from, after, limit)
    }

    fn waiting_senders(&self) -> Result<Vec<WaitingSender>, LatticeError> {
        self.inner.waiting_senders()
    }

    fn waiting_of(&self, from: &str) -> Result<u64, LatticeError> {
        self.inner.waiting_of(from)
    }

    async fn confirm_waiting(&self, from: &str) -> Result<u64, LatticeError> {
        self.inner.confirm_waiting(from).await
    }

    async fn refuse_waiting(&self, from: &str) -> Result<u64, LatticeError> {
        self.inner.refuse_waiting(from).await
    }

    async fn end_waiting(&self, from: &str, ids: &[NodeId]) -> Result<u64, LatticeError> {
        self.inner.end_waiting(from, ids).await
    }

    fn conflicts(&self, after: u64, limit: usize) -> Result<Vec<Conflict>, LatticeError> {
        self.inner.conflicts(after, limit)
    }

    async fn accept(&self, ids: Vec<NodeId>) -> Result<Vec<NodeId>, LatticeError> {
        self.inner.accept(ids).await
    }

    fn overruled(&self, after: u64, limit: usize) -> Result<Vec<Conflict>, LatticeError> {
        self.inner.overruled(after, limit)
    }

    fn unavailable(&self) -> Vec<NodeId> {
        self.inner.unavailable()
    }

    fn is_unavailable(&self, id: &NodeId) -> bool {
        self.inner.is_unavailable(id)
    }

    fn overruled_count(&self) -> Result<u64, LatticeError> {
        self.inner.overruled_count()
    }

    fn last_conflict(&self) -> Result<u64, LatticeError> {
        self.inner.last_conflict()
    }

    fn conflict(&self, number: u64) -> Result<Option<(Conflict, Bytes)>, LatticeError> {
        self.inner.conflict(number)
    }

    async fn dismiss_conflict(&self, number: u64) -> Result<Option<Dismissed>, LatticeError> {
        self.inner.dismiss_conflict(number).await
    }

    async fn restore(&self, number: u64, by: &str) -> Result<Option<Restored>, LatticeError> {
        self.inner.restore(number, by).await
    }

    fn conflict_count(&self) -> Result<u64, LatticeError> {
        self.inner.conflict_count()
    }

    async fn rescan(&self) -> Result<(), LatticeError> {
        self.inner.rescan().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
