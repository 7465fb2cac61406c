//! Deletions that wait for the admin, on the writer's thread: which are kept, and how they end.

use super::{
    Applied, Arrival, Arrived, Entry, LatticeError,
    apply::{Accepted, Decision},
    directory::DirectoryLattice,
    journal::{Source, Waiting},
    store::Store,
    version,
    waiting::{DeletionBudget, WaitingDeletion},
    write_batch::WriteOp,
};
use crate::types::NodeId;
use std::sync::Arc;

/// Waiting deletions that are ended together.
const PAGE: usize = 1000;

/// How a waiting deletion ends, beside by a later version of its node.
#[derive(Debug)]
pub(super) struct Settle {
    pub(super) deletion: WaitingDeletion,
    /// It was refused: the node gets a later time, so that it counts wherever the deletion did.
    pub(super) refused: bool,
}

/// What there is to do for a [`Settle`].
#[derive(Debug)]
pub(super) enum Settling {
    /// It is over already.
    Over,
    /// Its row goes; the node is as it is.
    Forget,
    /// The node gets this later time, and the row goes with that.
    Retime(Arc<Entry>, Accepted),
}

/// Keeps a deletion for which no budget is left.
///
/// # Errors
/// [`LatticeError`]: what waits cannot be read, or is as much as may be.
pub(super) fn wait(store: &Store, arrival: Arrival, budget: &DeletionBudget) -> Result<Decision, LatticeError> {
    let journal = &store.shared.journal;
    let Arrival { change: Arrived::Deleted { id, at, content_hash }, ancestry, from, given: _ } = arrival else {
        return Ok(Decision::Done(Applied::Kept));
    };
    let before = journal.waiting_at(&id, &from)?;
    if before.as_ref().is_some_and(|before| before.deletion.at >= at) {
        return Ok(Decision::Done(Applied::Waiting));
    }
    let nodes = u64::try_from(store.known.len()).unwrap_or(u64::MAX);
    if budget.bounded && before.is_none() && journal.waiting_bounded()? >= nodes {
        // Whoever fills it with many keys must not keep out those of which little waits.
        let Some((dropped, deletions)) = journal.drop_most_waiting(&from)? else {
            return Err(LatticeError::WaitingFull { from });
        };
        tracing::warn!(
            peer_id = dropped,
            deletions,
            "as many deletions of instances that are not verified wait as there are nodes: those of the one that sent most are dropped"
        );
    }
    let since = before.map_or_else(|| store.shared.clock.now(), |before| before.deletion.since);
    let deletion = WaitingDeletion { id, from, at, content_hash, since };
    Ok(Decision::Wait(Box::new(Waiting { deletion, ancestry, bounded: budget.bounded })))
}

/// Decides how a waiting deletion ends.
///
/// # Errors
/// [`LatticeError`]: what waits cannot be read.
pub(super) fn settle(store: &Store, settle: &Settle) -> Result<Settling, LatticeError> {
    let Settle { deletion, refused } = settle;
    let row = store.shared.journal.waiting_at(&deletion.id, &deletion.from)?;
    if row.is_none_or(|row| row.deletion.at != deletion.at) {
        return Ok(Settling::Over);
    }
    let Some(entry) = store.live(&deletion.id).filter(|_| *refused) else { return Ok(Settling::Forget) };
    let previous = entry.updated_at.max(deletion.at);
    let at = version::edit_time(store.shared.to_follow(Some(previous)), None, store.shared.clock.now());
    Ok(Settling::Retime(Arc::clone(entry), Accepted::made_here(at, Source::Edit)))
}

impl DirectoryLattice {
    /// Carries out or refuses what waits of this sender. Answers how many nodes were deleted, or got a later time.
    ///
    /// # Errors
    /// The first error; the rest waits still.
    pub(super) async fn settle_waiting(&self, from: &str, refused: bool) -> Result<u64, LatticeError> {
        let (mut settled, mut after) = (0_u64, None::<NodeId>);
        loop {
            let behind = after.as_ref().map(|id| (id.as_str(), from));
            let page = self.journal().waiting(Some(from), behind, PAGE)?;
            let Some(last) = page.last() else { return Ok(settled) };
            after = Some(last.deletion.id.clone());
            if !refused {
                let budget = Arc::new(DeletionBudget::new(usize::MAX, false));
                let ops =
                    page.iter().map(|waiting| WriteOp::Apply(arrival(waiting.clone()), Some(Arc::clone(&budget))));
                self.apply_ops(ops.collect()).await?;
                settled = settled.saturating_add(u64::try_from(budget.deleted()).unwrap_or(u64::MAX));
            }
            // What did not count any more ends all the same.
            let settle = |waiting: Waiting| WriteOp::Settle(Settle { deletion: waiting.deletion, refused });
            let ended = self.apply_ops(page.into_iter().map(settle).collect()).await?;
            if refused {
                let back = ended.into_iter().filter(|applied| *applied == Applied::Same).count();
                settled = settled.saturating_add(u64::try_from(back).unwrap_or(u64::MAX));
            }
        }
    }

    /// Ends what waits of this sender for these nodes. Answers for how many.
    ///
    /// # Errors
    /// The first error; the rest waits still.
    pub(super) async fn withdraw(&self, from: &str, ids: &[NodeId]) -> Result<u64, LatticeError> {
        let mut ended = 0_u64;
        for part in ids.chunks(PAGE) {
            let mut ops = Vec::new();
            for id in part {
                let Some(Waiting { deletion, .. }) = self.journal().waiting_at(id, from)? else { continue };
                ops.push(WriteOp::Settle(Settle { deletion, refused: false }));
            }
            let count = u64::try_from(ops.len()).unwrap_or(u64::MAX);
            if count > 0 {
                self.apply_ops(ops).await?;
            }
            ended = ended.saturating_add(count);
        }
        Ok(ended)
    }
}

/// The deletion as it is carried out. The admin saw it: where it is of the very version that is here, nothing contradicts it.
fn arrival(waiting: Waiting) -> Arrival {
    let WaitingDeletion { id, from, at, content_hash, .. } = waiting.deletion;
    Arrival { change: Arrived::Deleted { id, at, content_hash }, ancestry: waiting.ancestry, from, given: u64::MAX }
}
