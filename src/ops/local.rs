//! Nodes of a data directory, whether or not a service runs there.

use crate::{
    json::{Document, JsonError, jcs},
    lattice::{NodeDocument, NodeError},
    types::{ContentHash, Limits, NodeId},
};
use bytes::Bytes;

/// Why a text is not the node that was meant.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The text is not a node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The text's id is not the one that was named.
    #[error("the node's id is {found:?}, not {named:?}: correct one of them")]
    OtherId {
        /// In the text.
        found: NodeId,
        /// On the command line.
        named: NodeId,
    },
}

/// Reads a node. `named` is the id that the caller expects.
///
/// # Errors
/// [`LocalError`].
pub fn parse_node(text: Bytes, named: Option<&NodeId>, limits: &Limits) -> Result<NodeDocument, LocalError> {
    let node = NodeDocument::parse(text, limits.json_depth)?;
    match named.filter(|named| *named != node.id()) {
        Some(named) => Err(LocalError::OtherId { found: node.id().clone(), named: named.clone() }),
        None => Ok(node),
    }
}

/// The content hash of any JSON text.
///
/// # Errors
/// The strict gate refuses it.
pub fn hash_node(text: Bytes, limits: &Limits) -> Result<ContentHash, JsonError> {
    Ok(jcs::content_hash(Document::parse(text, limits.json_depth)?.root()))
}
