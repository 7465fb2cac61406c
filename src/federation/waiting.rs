//! Deletions that wait for the admin, between two instances (DESIGN 4.7): which are carried out at once, and whether two sets are equal
//! but for what waits. Waiting itself is the lattice's.

use super::{
    deletions::{DeletionGuard, Reservation, Sender},
    feed::{self, FeedError, Received},
    wire::WireChange,
};
use crate::{
    lattice::{Applied, DeletionBudget, Lattice, LatticeError},
    types::{NodeId, PeerId, SetHash},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Waiting deletions that are looked up together.
const PAGE: usize = 4096;
/// Changes that are applied together.
const BATCH: usize = 1024;
/// How often changes are taken again of which a deletion waits only because a node came meanwhile.
const ATTEMPTS: u32 = 3;

/// What waits at an instance of the deletions that another one sent there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// How many.
    pub deletions: u64,
    /// The hash of the set there as it would be without these nodes.
    pub set_hash: SetHash,
}

/// What the admin types where deletions of `from` wait.
#[must_use]
pub fn confirm_command(from: &PeerId) -> String {
    format!("ark-lattice federation confirm-deletions {from}")
}

/// The event that so many deletions of `from` wait here.
#[must_use]
pub fn waiting_here(from: &PeerId, url: Option<&str>, deletions: u64) -> Value {
    json!({
        "peer": url, "nodeId": from.as_str(), "where": "here", "deletions": deletions, "command": confirm_command(from),
    })
}

/// What waits here of the deletions of `from`; `None`: nothing.
///
/// # Errors
/// [`LatticeError::Loading`], [`LatticeError::Io`].
pub fn waits(lattice: &dyn Lattice, from: &str) -> Result<Option<Waits>, LatticeError> {
    let deletions = lattice.waiting_of(from)?;
    if deletions == 0 {
        return Ok(None);
    }
    let snapshot = lattice.snapshot()?;
    let ids = waiting_ids(lattice, from)?;
    Ok(Some(Waits { deletions, set_hash: snapshot.hash_with(ids.iter().map(|id| (id, None))) }))
}

/// The nodes whose deletions by `from` wait here.
///
/// # Errors
/// [`LatticeError::Io`].
pub fn waiting_ids(lattice: &dyn Lattice, from: &str) -> Result<Vec<NodeId>, LatticeError> {
    let (mut ids, mut after) = (Vec::new(), None::<NodeId>);
    loop {
        let page = lattice.waiting(Some(from), after.as_ref().map(|id| (id, from)), PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        ids.extend(page.into_iter().map(|waiting| waiting.id));
    }
    Ok(ids)
}

/// Ends what waits here of the deletions of `from` for nodes that it states to hold: it has them again, from a backup for instance, with
/// a version that may be older than its deletion. Answers for how many.
///
/// # Errors
/// [`LatticeError`]; what came before it ended.
pub async fn end_where_held(lattice: &dyn Lattice, from: &PeerId, stated: &[WireChange]) -> Result<u64, LatticeError> {
    if lattice.waiting_of(from.as_str())? == 0 {
        return Ok(0);
    }
    let held = stated.iter().filter(|change| change.content_hash().is_some());
    let held: Vec<NodeId> = held.map(|change| change.id.clone()).collect();
    let ended = lattice.end_waiting(from.as_str(), &held).await?;
    if ended > 0 {
        tracing::info!(
            peer.id = from.as_str(),
            deletions = ended,
            "deletions of a peer no longer wait here: it holds the nodes again"
        );
    }
    Ok(ended)
}

/// What became of versions of another instance.
#[derive(Debug, Default)]
pub struct Judged {
    /// What became of each, counted.
    pub received: Received,
    /// Nodes that were deleted.
    pub deleted: usize,
    /// Why some were not taken, where a [bound](LatticeError::leaves_out_one) is reached; all others were.
    pub left_out: Option<LatticeError>,
}

/// Judges and stores versions of another instance. Where these changes would delete more than the guard lets through, all of their
/// deletions wait; everything else is taken. `elapsed`: by the process's own clock.
///
/// # Errors
/// [`FeedError::NoContent`], [`FeedError::Lattice`]; what came before may have been written.
pub async fn receive(
    lattice: &dyn Lattice,
    guard: &Arc<DeletionGuard>,
    sender: Sender<'_>,
    elapsed: Duration,
    mut changes: Vec<WireChange>,
) -> Result<Judged, FeedError> {
    let mut all = Judged::default();
    for attempt in 1.. {
        let wanted = feed::deletions(lattice, &changes)?;
        let reserved = reserve(lattice, guard, &sender, &wanted, elapsed).await;
        let may_delete = reserved.as_ref().map_or(0, |reserved| reserved.deletions);
        let budget = Arc::new(sender.budget(may_delete));
        // A node that came between the count and the deletion: counted again, its deletion may fit.
        let again = reserved.is_some() && attempt < ATTEMPTS;
        let applied = apply(lattice, (sender.id, sender.given), changes, &budget, again).await;
        all.deleted = all.deleted.saturating_add(budget.deleted());
        guard.note_stored(&sender, &budget.take_stored(), elapsed);
        if budget.deleted() > 0 {
            // One that cannot be looked up counts as here until two hours are over.
            let is_gone = |version: &&(NodeId, u64)| lattice.entry(&version.0).is_ok_and(|entry| entry.is_none());
            guard.note_gone(wanted.iter().filter(is_gone));
        }
        if let Some(reserved) = reserved {
            guard.settle(reserved, budget.deleted());
        }
        let (received, left) = applied?;
        all.received.add(&received);
        all.left_out = all.left_out.or_else(|| budget.take_left_out());
        if left.is_empty() {
            break;
        }
        changes = left;
    }
    keep_additions(lattice, guard).await;
    Ok(all)
}

/// Reserves deletions, durably: a process that is killed after them has them counted when it starts again.
async fn reserve(
    lattice: &dyn Lattice,
    guard: &Arc<DeletionGuard>,
    sender: &Sender<'_>,
    versions: &[(NodeId, u64)],
    elapsed: Duration,
) -> Option<Reservation> {
    let reserved = guard.reserve(sender, versions, lattice.status().nodes, elapsed)?;
    if reserved.is_counted() && !guard.save_soon().await {
        guard.settle(reserved, 0);
        return None;
    }
    Some(reserved)
}

/// Keeps how many nodes were added, where that is more than a killed process may forget.
pub async fn keep_additions(lattice: &dyn Lattice, guard: &Arc<DeletionGuard>) {
    if guard.is_save_due(lattice.status().nodes) {
        guard.save_soon().await;
    }
}

/// Answers what became of the changes; with `again`, the deletions that wait now instead of counting them.
async fn apply(
    lattice: &dyn Lattice,
    from: (&str, u64),
    changes: Vec<WireChange>,
    budget: &Arc<DeletionBudget>,
    again: bool,
) -> Result<(Received, Vec<WireChange>), FeedError> {
    let (mut received, mut left) = (Received::default(), Vec::new());
    let mut changes = changes.into_iter();
    loop {
        let part: Vec<WireChange> = changes.by_ref().take(BATCH).collect();
        if part.is_empty() {
            return Ok((received, left));
        }
        let deletion = |change: &WireChange| (again && change.content_hash().is_none()).then(|| change.clone());
        let deletions: Vec<Option<WireChange>> = part.iter().map(deletion).collect();
        let applied = lattice.apply_within(feed::arrivals(from, part)?, budget).await?;
        for (applied, deletion) in applied.into_iter().zip(deletions) {
            match (applied, deletion) {
                (Applied::Waiting, Some(deletion)) => left.push(deletion),
                (applied, _) => received.count(applied),
            }
        }
    }
}
