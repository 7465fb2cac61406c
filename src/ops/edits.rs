//! Edits that a command makes in a data directory: nodes that are put and deleted now. Versions that were made elsewhere are taken by
//! [`super::Target`].

use super::versions::concerns_all;
use crate::{
    lattice::{
        Entry, Lattice, LatticeError, NodeDocument, Precondition, Written,
        offline::{OfflineDirectory, OfflineError},
    },
    types::NodeId,
};
use std::sync::Arc;

/// What edits are written to.
#[derive(Debug, Clone)]
pub enum EditTarget {
    /// The files alone: there is no journal, or a running service sees what changes in them.
    Files(OfflineDirectory),
    /// Directory and journal, which no service has open. The directory is that of the lattice. An edit of the files alone would leave no
    /// record, and would change the time of the directory, by which a start recognises one that was restored from a backup.
    Lattice(Arc<dyn Lattice>, OfflineDirectory),
}

/// Why an edit was not made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] OfflineError),
    /// The lattice does not take it.
    #[error(transparent)]
    Lattice(#[from] LatticeError),
}

impl EditTarget {
    /// Writes a node as it is, durably.
    ///
    /// # Errors
    /// [`EditError`]; nothing was written.
    pub async fn put(&self, node: NodeDocument) -> Result<Written, EditError> {
        match self {
            Self::Files(directory) => Ok(directory.put(node)?),
            Self::Lattice(lattice, directory) => {
                directory.check_size(&node)?;
                Ok(lattice.put(node, Precondition::None).await?)
            }
        }
    }

    /// Writes nodes as they are, durably. One answer a node, in their order: one that cannot be written does not stop the others.
    ///
    /// # Errors
    /// [`EditError`]: no node can be written; nodes before may have been.
    pub async fn put_many(&self, nodes: Vec<NodeDocument>) -> Result<Vec<Result<Written, EditError>>, EditError> {
        match self {
            Self::Files(directory) => {
                let written = directory.put_many(nodes, false)?;
                Ok(written.into_iter().map(|written| Ok(written?)).collect())
            }
            Self::Lattice(lattice, directory) => put_fitting(&**lattice, directory, nodes).await,
        }
    }

    /// Deletes a node, durably, also where its file is broken. Answers whether there was one.
    ///
    /// # Errors
    /// [`EditError`].
    pub async fn remove(&self, id: &NodeId) -> Result<bool, EditError> {
        match self {
            Self::Files(directory) => Ok(directory.remove(id)?),
            Self::Lattice(lattice, directory) => {
                if lattice.delete(id, Precondition::None).await?.is_some() {
                    return Ok(true);
                }
                if !directory.remove(id)? {
                    return Ok(false);
                }
                // It was broken. The journal may know a version of before, which is deleted with it.
                lattice.rescan().await?;
                Ok(true)
            }
        }
    }

    /// Closes what was opened.
    pub async fn close(&self) {
        if let Self::Lattice(lattice, _) = self {
            lattice.close().await;
        }
    }
}

/// Writes those that are not too large; the others are refused, each by itself.
async fn put_fitting(
    lattice: &dyn Lattice,
    directory: &OfflineDirectory,
    nodes: Vec<NodeDocument>,
) -> Result<Vec<Result<Written, EditError>>, EditError> {
    let (mut refused, mut fitting) = (Vec::with_capacity(nodes.len()), Vec::with_capacity(nodes.len()));
    for node in nodes {
        match directory.check_size(&node) {
            Ok(()) => {
                refused.push(None);
                fitting.push(node);
            }
            Err(error) => refused.push(Some(Err(error.into()))),
        }
    }
    let mut written = put_all(lattice, fitting).await?.into_iter();
    Ok(refused.into_iter().filter_map(|refused| refused.or_else(|| written.next())).collect())
}

/// Writes all of them; where that fails for a reason that may be one node's own, each by itself, so that the others are written.
async fn put_all(
    lattice: &dyn Lattice,
    nodes: Vec<NodeDocument>,
) -> Result<Vec<Result<Written, EditError>>, LatticeError> {
    let held = nodes.iter().map(|node| readable(lattice, node.id())).collect::<Result<Vec<_>, _>>()?;
    match lattice.put_many(nodes.clone()).await {
        Ok(written) => return Ok(written.into_iter().map(Ok).collect()),
        Err(error) if concerns_all(&error) => return Err(error),
        Err(_) => {}
    }
    let mut answers = Vec::with_capacity(nodes.len());
    for (node, held) in nodes.into_iter().zip(held) {
        answers.push(match lattice.put(node, Precondition::None).await {
            Ok(written) => Ok(since(held.as_deref(), written)),
            Err(error) if concerns_all(&error) => return Err(error),
            Err(error) => Err(error.into()),
        });
    }
    Ok(answers)
}

/// The node's entry, where its file is not broken.
fn readable(lattice: &dyn Lattice, id: &NodeId) -> Result<Option<Arc<Entry>>, LatticeError> {
    Ok(lattice.entry(id)?.filter(|_| !lattice.is_unavailable(id)))
}

/// What two attempts did together: the first may have written what the second finds unchanged.
fn since(held: Option<&Entry>, written: Written) -> Written {
    match (held, written) {
        (None, Written::Unchanged(entry)) => Written::Created(entry),
        (Some(held), Written::Unchanged(entry)) if held.content_hash != entry.content_hash => Written::Replaced(entry),
        (_, written) => written,
    }
}
