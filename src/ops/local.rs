//! Nodes of a data directory, whether or not a service runs there.

use crate::{
    json::{Document, JsonError, jcs},
    lattice::{
        NodeDocument, NodeError, Written,
        offline::{OfflineDirectory, OfflineError},
    },
    types::{ContentHash, Limits, NodeId},
};
use bytes::Bytes;

/// Why a node was not written.
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
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] OfflineError),
}

/// Writes a node as it is, durably: an edit made now. `named` is the id that the caller expects.
///
/// # Errors
/// [`LocalError`]; nothing was written.
pub fn put_local(
    directory: &OfflineDirectory,
    text: Bytes,
    named: Option<&NodeId>,
    limits: &Limits,
) -> Result<Written, LocalError> {
    let node = NodeDocument::parse(text, limits.json_depth)?;
    if let Some(named) = named
        && named != node.id()
    {
        return Err(LocalError::OtherId { found: node.id().clone(), named: named.clone() });
    }
    let id = node.id().clone();
    let mut answers = directory.put_many(vec![node], false)?;
    let broken = || OfflineError::Broken { file: id.to_string(), reason: "the write has no outcome".to_owned() };
    Ok(answers.pop().ok_or_else(broken)??)
}

/// The content hash of any JSON text.
///
/// # Errors
/// The strict gate refuses it.
pub fn hash_node(text: Bytes, limits: &Limits) -> Result<ContentHash, JsonError> {
    Ok(jcs::content_hash(Document::parse(text, limits.json_depth)?.root()))
}
