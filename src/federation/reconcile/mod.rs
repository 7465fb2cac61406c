//! Set reconciliation (DESIGN 4.6 step 2): two lattices that hold much in common find what only one of them has, at a cost that grows
//! with the differences and hardly with what is held. `item` is a version in 32 bytes, `index` the versions of a lattice with their
//! sums, `message` the protocol. Here is the index of this lattice, made when somebody asks and kept for a while.
//!
//! Fingerprints are sums of hashes, which somebody who makes many versions could make alike on purpose: the two sets are compared by
//! their hashes at the end of the round all the same.

pub mod index;
pub mod item;
pub mod message;

use self::{
    index::SetIndex,
    item::{ItemId, NodePart},
    message::{Differences, MessageError},
};
use super::feed::{FeedError, position};
use crate::{
    lattice::{Change, Lattice, LatticeError},
    types::{Sha256Digest, SharedClock},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    collections::HashSet,
    panic,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::Mutex as AsyncMutex,
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

/// From so many nodes on each side on, sets are reconciled; below, a list is as short.
pub const LEAST_NODES: u64 = 256;
/// Changes that are read from the journal together.
const PAGE: usize = 4096;
/// Unused for so long, the index is given up: some 40 bytes a version.
const KEPT_UNUSED: Duration = Duration::from_secs(5 * 60);
/// How often what changes meanwhile is followed, before it is compared with the journal another time.
const ATTEMPTS: usize = 3;

/// What a responder says to a message. It keeps nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose versions these are.
    pub index_id: String,
    /// Everything up to this position is in it.
    pub seq: u64,
    /// SHA-256 of the message that this answers: an answer that was given before is not taken for another one.
    pub answers: Sha256Digest,
    /// The next message.
    pub message: Bytes,
}

/// What became of an answer.
#[derive(Debug, Default)]
pub struct Found {
    /// What is to be said next; `None`: everything is said.
    pub next: Option<Vec<u8>>,
    /// Positions of what we have and they lack, in our journal.
    pub have: Vec<u64>,
    /// What they have and we lack, of nodes that we know nothing of.
    pub new: Vec<ItemId>,
    /// What they have and we lack, of nodes of which we have another version.
    pub other: Vec<ItemId>,
}

/// SHA-256 of a message, by which its answer is known.
#[must_use]
pub fn digest(message: &[u8]) -> Sha256Digest {
    Sha256::digest(message).into()
}

/// The versions of the lattice of this instance. One question at a time: what they cost together is bounded.
#[derive(Debug)]
pub struct Sets {
    kept: Arc<AsyncMutex<Kept>>,
    clock: SharedClock,
    least_nodes: u64,
    reaper: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Kept {
    current: Option<Current>,
    /// By the process's own clock.
    used_at: Duration,
}

#[derive(Debug)]
struct Current {
    index: SetIndex,
    index_id: String,
    /// The last change that is in it.
    seq: u64,
}

impl Drop for Sets {
    fn drop(&mut self) {
        if let Some(reaper) = self.reaper.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            reaper.abort();
        }
    }
}

impl Sets {
    /// Nothing is read before somebody asks. `least_nodes`: from how many nodes on each side on this instance begins to reconcile.
    #[must_use]
    pub fn new(clock: SharedClock, least_nodes: u64) -> Self {
        Self { kept: Arc::default(), clock, least_nodes, reaper: Mutex::default() }
    }

    /// From how many nodes on each side on this instance begins to reconcile.
    #[must_use]
    pub fn least_nodes(&self) -> u64 {
        self.least_nodes
    }

    /// The answer to another instance's message.
    ///
    /// # Errors
    /// [`FeedError::Message`], [`FeedError::Lattice`].
    pub async fn respond(&self, lattice: &Arc<dyn Lattice>, message: Bytes) -> Result<Answer, FeedError> {
        self.with(lattice, move |current, seq| {
            let next = message::respond(&current.index, &message)?;
            Ok(Answer { index_id: current.index_id.clone(), seq, answers: digest(&message), message: next.into() })
        })
        .await?
    }

    /// The first message to another instance.
    ///
    /// # Errors
    /// [`LatticeError`].
    pub async fn open(&self, lattice: &Arc<dyn Lattice>) -> Result<Vec<u8>, LatticeError> {
        self.with(lattice, |current, _| message::open(&current.index)).await
    }

    /// What another instance's answer says.
    ///
    /// # Errors
    /// [`FeedError::Message`], [`FeedError::Lattice`].
    pub async fn go_on(&self, lattice: &Arc<dyn Lattice>, answer: Bytes) -> Result<Found, FeedError> {
        self.with(lattice, move |Current { index, .. }, _| {
            let mut differences = Differences::default();
            let next = message::go_on(index, &answer, &mut differences)?;
            let have = differences.have.iter().filter_map(|item| index.get(item)).collect();
            let is_new = |item: &ItemId| index.of_node(item.node_part()).next().is_none();
            let (new, other) = differences.need.into_iter().partition(is_new);
            Ok::<_, MessageError>(Found { next, have, new, other })
        })
        .await?
        .map_err(FeedError::Message)
    }

    /// The changes that made these versions, or what the nodes became since.
    ///
    /// # Errors
    /// [`LatticeError`].
    pub async fn changes_of(
        &self,
        lattice: &Arc<dyn Lattice>,
        items: Vec<ItemId>,
    ) -> Result<Vec<Change>, LatticeError> {
        let journal = Arc::clone(lattice);
        self.with(lattice, move |Current { index, .. }, _| {
            let mut positions = Vec::with_capacity(items.len());
            let mut nodes: HashSet<NodePart> = HashSet::new();
            for item in items {
                match index.get(&item) {
                    Some(seq) => positions.push(seq),
                    // Each once, however many of its versions are asked for.
                    None if nodes.insert(item.node_part()) => {
                        positions.extend(index.of_node(item.node_part()).map(|(_, seq)| seq));
                    }
                    None => {}
                }
            }
            positions.sort_unstable();
            positions.dedup();
            changes_at(&*journal, &positions)
        })
        .await?
    }

    /// Does `work` on the versions as they are now, on a thread that may take its time. It is told the position up to which they are
    /// complete.
    async fn with<T: Send + 'static>(
        &self,
        lattice: &Arc<dyn Lattice>,
        work: impl FnOnce(&Current, u64) -> T + Send + 'static,
    ) -> Result<T, LatticeError> {
        let mut kept = Arc::clone(&self.kept).lock_owned().await;
        kept.used_at = self.clock.elapsed();
        self.reap();
        let lattice = Arc::clone(lattice);
        let done = spawn_blocking(move || {
            let (current, seq) = up_to_date(&mut kept, &*lattice)?;
            Ok(work(current, seq))
        });
        match done.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                // The caller's to answer for, as it would be without the thread.
                Ok(cause) => panic::resume_unwind(cause),
                // The runtime stops, and with it whoever waits here.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// How many versions are in memory; `None`: nobody asked for them lately.
    pub async fn kept(&self) -> Option<usize> {
        self.kept.lock().await.current.as_ref().map(|current| current.index.len())
    }

    /// Gives the index up when nobody used it for a while.
    pub async fn release_unused(&self) {
        release(&self.kept, &self.clock).await;
    }

    fn reap(&self) {
        let mut reaper = self.reaper.lock().unwrap_or_else(PoisonError::into_inner);
        if reaper.as_ref().is_some_and(|reaper| !reaper.is_finished()) {
            return;
        }
        let (kept, clock) = (Arc::downgrade(&self.kept), Arc::clone(&self.clock));
        *reaper = Some(tokio::spawn(async move {
            loop {
                sleep(KEPT_UNUSED).await;
                let Some(kept) = Weak::upgrade(&kept) else { return };
                if release(&kept, &clock).await {
                    return;
                }
            }
        }));
    }
}

/// Answers whether there is none any more.
async fn release(kept: &AsyncMutex<Kept>, clock: &SharedClock) -> bool {
    let mut kept = kept.lock().await;
    if clock.elapsed().saturating_sub(kept.used_at) >= KEPT_UNUSED {
        kept.current = None;
    }
    kept.current.is_none()
}

/// Brings the index to what the journal holds; answers it, and the position up to which it is complete.
fn up_to_date<'a>(kept: &'a mut Kept, lattice: &dyn Lattice) -> Result<(&'a Current, u64), LatticeError> {
    let status = lattice.status();
    let fresh = || Current { index: SetIndex::default(), index_id: status.index_id.clone(), seq: 0 };
    let current = kept.current.get_or_insert_with(fresh);
    if current.index_id != status.index_id {
        *current = fresh();
    }
    for _ in 0..ATTEMPTS {
        current.follow(lattice)?;
        if usize::try_from(lattice.change_count()?) == Ok(current.index.len()) {
            break;
        }
        // Not by what came between. What breaks or is forgotten leaves the journal without a change.
        if !current.follow(lattice)? {
            *current = fresh();
            current.follow(lattice)?;
            break;
        }
    }
    Ok((current, status.seq))
}

impl Current {
    /// Takes in what changed; answers whether anything did.
    fn follow(&mut self, lattice: &dyn Lattice) -> Result<bool, LatticeError> {
        let begin = self.seq;
        loop {
            let page = lattice.changes(self.seq, PAGE)?;
            let Some(last) = page.last() else { return Ok(self.seq > begin) };
            let last = position(last);
            for change in &page {
                self.take(lattice, change)?;
            }
            self.seq = last;
        }
    }

    fn take(&mut self, lattice: &dyn Lattice, change: &Change) -> Result<(), LatticeError> {
        let item = ItemId::of_change(change);
        let before: Vec<(ItemId, u64)> = self.index.of_node(item.node_part()).collect();
        for (old, seq) in before {
            // Another node's, whose id has the same hash in its first bytes, still stands there.
            if changes_at(lattice, &[seq])?.is_empty() {
                self.index.remove(&old);
            }
        }
        self.index.insert(item, position(change));
        Ok(())
    }
}

/// The changes at exactly these positions; those that are not the last ones of their nodes any more are left out.
///
/// # Errors
/// [`LatticeError`].
pub fn changes_at(lattice: &dyn Lattice, positions: &[u64]) -> Result<Vec<Change>, LatticeError> {
    let mut changes = Vec::with_capacity(positions.len());
    for seq in positions {
        let found = lattice.changes(seq.saturating_sub(1), 1)?;
        changes.extend(found.into_iter().filter(|change| position(change) == *seq));
    }
    Ok(changes)
}
