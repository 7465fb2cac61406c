//! Nodes, one at a time and in pages.

use super::{Context, known_key::pinned_key};
use crate::{
    lattice::{
        Conflict, Lattice, LatticeError, NodeDocument, NodeFilter, NodePage, Precondition, StoredNode, Tombstone,
        Written,
    },
    trust::TrustLevel,
    types::{NodeId, PeerId},
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Kept versions that are looked at together.
const PAGE: usize = 1000;

/// Up to `limit` nodes after `after` that pass `filter`. Stops early rather than look at the whole lattice at one go.
///
/// # Errors
/// The index is being built.
pub fn list_nodes(
    context: &Context,
    after: Option<&NodeId>,
    filter: &NodeFilter,
    limit: usize,
) -> Result<NodePage, LatticeError> {
    context.lattice.page(after, filter, limit)
}

/// Who gave a version, and what is decided of that instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Giver {
    /// Its id.
    pub peer: Box<str>,
    /// The level of its key.
    pub level: TrustLevel,
}

/// Who gave the versions of these nodes that are here, in their order; `None` for what was made here.
///
/// # Errors
/// The journal cannot be read.
pub async fn givers<'a>(
    context: &Context,
    ids: impl IntoIterator<Item = &'a NodeId>,
) -> Result<Vec<Option<Giver>>, LatticeError> {
    let ids: Vec<&NodeId> = ids.into_iter().collect();
    let givers = context.lattice.givers(&ids)?;
    let mut levels: HashMap<Box<str>, TrustLevel> = HashMap::new();
    for peer in givers.iter().flatten() {
        if !levels.contains_key(peer) {
            levels.insert(peer.clone(), level_of_giver(context, peer).await);
        }
    }
    let known = givers.into_iter().map(|peer| {
        let peer = peer?;
        let level = levels.get(&peer).copied().unwrap_or(TrustLevel::Unknown);
        Some(Giver { peer, level })
    });
    Ok(known.collect())
}

/// The level of the key that an instance has now; which key gave a version is not recorded.
async fn level_of_giver(context: &Context, peer: &str) -> TrustLevel {
    let Ok(peer) = PeerId::parse(peer) else { return TrustLevel::Unknown };
    if context.trust.known_key(&peer).is_some() || !context.trust.has_decided_of(&peer) {
        return context.trust.level_of(&peer, None);
    }
    // Where the registry does not answer, what was decided is shown.
    let bound = match pinned_key(context, &peer) {
        Some(pinned) => Some(pinned),
        None => context.registry.bound(&peer).await.ok().flatten().map(|bound| bound.public_key),
    };
    context.trust.level_of(&peer, bound)
}

/// One node with its content.
///
/// # Errors
/// The index is being built, or the file cannot be read.
pub async fn get_node(context: &Context, id: &NodeId) -> Result<Option<StoredNode>, LatticeError> {
    context.lattice.read(id).await
}

/// Writes a node as an edit made here; durable when this answers.
///
/// # Errors
/// [`LatticeError`]; nothing was acknowledged.
pub async fn put_node(
    context: &Context,
    node: NodeDocument,
    precondition: Precondition,
) -> Result<Written, LatticeError> {
    context.lattice.put(node, precondition).await
}

/// What [`accept_nodes`] did.
#[derive(Debug)]
pub struct AcceptedNodes {
    /// The nodes whose versions are dated now.
    pub accepted: Vec<NodeId>,
    /// The ids of which there is no node, or a broken file.
    pub missing: Vec<NodeId>,
    /// The nodes whose files another instance's version replaced already, each with what keeps the content that was replaced.
    pub replaced: Vec<Conflict>,
}

/// Dates the versions of these nodes now, durably: they count as edited here in this moment. A node that holds what replaced its file is
/// left as it is: not that version is meant.
///
/// # Errors
/// [`LatticeError`]; nodes before the one that failed may have been dated.
pub async fn accept_nodes(lattice: &dyn Lattice, ids: Vec<NodeId>) -> Result<AcceptedNodes, LatticeError> {
    let mut ids: BTreeSet<NodeId> = ids.into_iter().collect();
    let replaced = replaced(lattice, &ids)?;
    for conflict in &replaced {
        ids.remove(&conflict.id);
    }
    let accepted = lattice.accept(ids.iter().cloned().collect()).await?;
    let missing = ids.into_iter().filter(|id| accepted.binary_search(id).is_err()).collect();
    Ok(AcceptedNodes { accepted, missing, replaced })
}

/// What was overruled of these nodes by the versions that they hold now, by node; the newest of each.
fn replaced(lattice: &dyn Lattice, ids: &BTreeSet<NodeId>) -> Result<Vec<Conflict>, LatticeError> {
    let mut found: BTreeMap<NodeId, Conflict> = BTreeMap::new();
    let lists: [&dyn Fn(u64) -> Result<Vec<Conflict>, LatticeError>; 2] =
        [&|after| lattice.conflicts(after, PAGE), &|after| lattice.overruled(after, PAGE)];
    for list in lists {
        let mut after = 0;
        loop {
            let page = list(after)?;
            let Some(last) = page.last() else { break };
            after = last.number;
            for conflict in page.into_iter().filter(|conflict| ids.contains(&conflict.id)) {
                let holds_winner = lattice.entry(&conflict.id)?.is_some_and(|entry| entry.version() == conflict.won);
                // What a restore here made count is no other instance's.
                let holds_winner = holds_winner && lattice.givers(&[&conflict.id])?.into_iter().any(|by| by.is_some());
                let is_newer = found.get(&conflict.id).is_none_or(|found| found.number < conflict.number);
                if holds_winner && is_newer {
                    found.insert(conflict.id.clone(), conflict);
                }
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Deletes a node and leaves a tombstone; durable when this answers.
///
/// # Errors
/// [`LatticeError`]; nothing was acknowledged.
pub async fn delete_node(
    context: &Context,
    id: &NodeId,
    precondition: Precondition,
) -> Result<Option<Tombstone>, LatticeError> {
    let held = context.lattice.entry(id)?.map(|entry| (id.clone(), entry.seq));
    let deleted = context.lattice.delete(id, precondition).await?;
    if deleted.is_some() {
        // Where another instance added it, the mass-delete guard leaves it out no longer.
        context.deletions.note_gone(held.iter());
    }
    Ok(deleted)
}
