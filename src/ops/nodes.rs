//! Nodes, one at a time and in pages.

use super::Context;
use crate::{
    lattice::{LatticeError, NodeDocument, NodeFilter, NodePage, Precondition, Stamp, StoredNode, Tombstone, Written},
    types::NodeId,
};

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
    let stamp = Stamp::Edit(context.clock.now());
    context.lattice.put(node, stamp, precondition).await
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
    context.lattice.delete(id, precondition).await
}
