//! What changes of another instance would do here: which of them would count, and which would delete a node.

use super::FeedError;
use crate::{
    federation::wire::{WireChange, WireContent},
    lattice::{
        Entry, Lattice, LatticeError, Version,
        version::{Verdict, judge},
    },
    types::{NodeId, Timestamp},
};
use std::sync::Arc;

/// Would this change delete a node that is here?
///
/// # Errors
/// [`LatticeError::Loading`].
pub fn deletes(lattice: &dyn Lattice, change: &WireChange) -> Result<bool, LatticeError> {
    Ok(deleted_by(lattice, change)?.is_some())
}

/// The version that this change would delete here.
fn deleted_by(lattice: &dyn Lattice, change: &WireChange) -> Result<Option<Arc<Entry>>, LatticeError> {
    if change.content_hash().is_some() {
        return Ok(None);
    }
    let held = lattice.entry(&change.id)?;
    Ok(held.filter(|entry| Version { at: change.at, content: None } > entry.version()))
}

/// Which nodes these changes would delete here, each with the position of its version in the journal.
///
/// # Errors
/// [`LatticeError::Loading`].
pub fn deletions(lattice: &dyn Lattice, changes: &[WireChange]) -> Result<Vec<(NodeId, u64)>, LatticeError> {
    let mut deletions = Vec::new();
    for change in changes {
        if let Some(entry) = deleted_by(lattice, change)? {
            deletions.push((change.id.clone(), entry.seq));
        }
    }
    Ok(deletions)
}

/// Of which of these versions the content is wanted: they would count here.
///
/// # Errors
/// [`FeedError::Lattice`].
pub fn wanted(lattice: &dyn Lattice, changes: &[WireChange], now: Timestamp) -> Result<Vec<NodeId>, FeedError> {
    let mut wanted = Vec::new();
    for change in changes {
        if matches!(change.content, WireContent::Put { .. }) && would_count(lattice, change, now)? {
            wanted.push(change.id.clone());
        }
    }
    Ok(wanted)
}

/// Would this version of a node count here?
///
/// # Errors
/// [`FeedError::Lattice`].
pub fn would_count(lattice: &dyn Lattice, change: &WireChange, now: Timestamp) -> Result<bool, FeedError> {
    let Some(content) = change.content_hash() else { return Ok(false) };
    let offered = Version { at: change.at, content: Some(*content) };
    let held = lattice.current_version(&change.id)?;
    Ok(matches!(judge(held.as_ref(), &offered, now), Verdict::Take | Verdict::Later))
}
