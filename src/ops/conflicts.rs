//! Versions that were overruled by those of other instances: conflicts, which are kept until the admin settles them, and the history,
//! of which the oldest go.

use super::Context;
use crate::lattice::{Conflict, Dismissed, LatticeError, Restored, StoredNode, Tombstone};
use bytes::Bytes;

/// The most bytes of contents in one page.
const PAGE_BYTES: u64 = 4 << 20;

/// Which overruled versions are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverruledKinds {
    /// Conflicts only.
    Conflicts,
    /// Conflicts and the history.
    All,
}

/// Some conflicts.
#[derive(Debug)]
pub struct ConflictPage {
    /// In order of their numbers; with the content that lost, where that was asked for.
    pub conflicts: Vec<(Conflict, Option<Bytes>)>,
    /// How many there are in all.
    pub total: u64,
    /// The last number that was looked at, where there are more.
    pub next: Option<u64>,
}

/// Up to `limit` conflicts, or all kinds of overruled versions, with greater numbers than `after`. With contents a page is also bounded in
/// bytes.
///
/// # Errors
/// [`LatticeError::Io`].
pub fn list_conflicts(
    context: &Context,
    kinds: OverruledKinds,
    (after, limit): (u64, usize),
    contents: bool,
) -> Result<ConflictPage, LatticeError> {
    let lattice = &context.lattice;
    let mut found = lattice.conflicts(after, limit.saturating_add(1))?;
    let mut total = lattice.conflict_count()?;
    if kinds == OverruledKinds::All {
        found.extend(lattice.overruled(after, limit.saturating_add(1))?);
        found.sort_by_key(|conflict| conflict.number);
        total = total.saturating_add(lattice.overruled_count()?);
    }
    let mut more = found.len() > limit;
    found.truncate(limit);
    let (mut conflicts, mut bytes) = (Vec::with_capacity(found.len()), 0_u64);
    for conflict in found {
        let content = match contents {
            true => lattice.conflict(conflict.number)?.map(|(_, content)| content),
            false => None,
        };
        bytes = bytes.saturating_add(content.as_ref().map_or(0, |_| conflict.size_bytes));
        if bytes > PAGE_BYTES && !conflicts.is_empty() {
            more = true;
            break;
        }
        conflicts.push((conflict, content));
    }
    let last = conflicts.last().map(|(conflict, _)| conflict.number);
    Ok(ConflictPage { next: last.filter(|_| more), conflicts, total })
}

/// A conflict with both sides.
#[derive(Debug)]
pub struct ConflictDetail {
    /// What is known of it.
    pub conflict: Conflict,
    /// The content that lost.
    pub lost: Bytes,
    /// What the node holds now.
    pub current: NodeState,
}

/// How a node stands.
#[derive(Debug)]
pub enum NodeState {
    /// It is there.
    Held(StoredNode),
    /// It was deleted.
    Deleted(Tombstone),
    /// It was deleted, and when is forgotten.
    Gone,
    /// Its file is broken, or cannot be read now.
    Unavailable,
}

/// One conflict. `None` where there is no such conflict.
///
/// # Errors
/// [`LatticeError`].
pub async fn get_conflict(context: &Context, number: u64) -> Result<Option<ConflictDetail>, LatticeError> {
    let Some((conflict, lost)) = context.lattice.conflict(number)? else { return Ok(None) };
    let current = match context.lattice.read(&conflict.id).await {
        Ok(Some(node)) => NodeState::Held(node),
        // What lost can be looked at all the same.
        Err(LatticeError::Unavailable(_)) => NodeState::Unavailable,
        Err(error) => return Err(error),
        Ok(None) => context.lattice.tombstone(&conflict.id)?.map_or(NodeState::Gone, NodeState::Deleted),
    };
    Ok(Some(ConflictDetail { conflict, lost, current }))
}

/// Makes the version that lost count again; what it replaces goes to the history. `None` where there is no such conflict.
///
/// # Errors
/// [`LatticeError`]; the conflict is there still.
pub async fn restore_conflict(context: &Context, number: u64) -> Result<Option<Restored>, LatticeError> {
    context.lattice.restore(number, context.identity.node_id.as_str()).await
}

/// Settles a conflict: its version goes to the history. A version of the history is forgotten. `None`: there is neither.
///
/// # Errors
/// [`LatticeError`].
pub async fn dismiss_conflict(context: &Context, number: u64) -> Result<Option<Dismissed>, LatticeError> {
    context.lattice.dismiss_conflict(number).await
}
