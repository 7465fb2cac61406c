//! What changes of another instance would do here: which of them would count, and which would delete a node.

use super::FeedError;
use crate::{
    federation::wire::{WireChange, WireContent},
    lattice::{
        Lattice, LatticeError, Version,
        version::{Verdict, judge},
    },
    types::{NodeId, Timestamp},
};

/// Would this change delete a node that is here?
///
/// # Errors
/// [`LatticeError::Loading`].
pub fn deletes(lattice: &dyn Lattice, change: &WireChange) -> Result<bool, LatticeError> {
    if change.content_hash().is_some() {
        return Ok(false);
    }
    let held = lattice.entry(&change.id)?;
    Ok(held.is_some_and(|entry| Version { at: change.at, content: None } > entry.version()))
}

/// Which nodes these changes would delete here.
///
/// # Errors
/// [`LatticeError::Loading`].
pub fn deletions<'a>(lattice: &dyn Lattice, changes: &'a [WireChange]) -> Result<Vec<&'a NodeId>, LatticeError> {
    let mut deletions = Vec::new();
    for change in changes {
        if deletes(lattice, change)? {
            deletions.push(&change.id);
        }
    }
    Ok(deletions)
}

/// Which of these nodes would be added: they are not here.
///
/// # Errors
/// [`LatticeError::Loading`].
pub fn additions<'a>(
    lattice: &dyn Lattice,
    ids: impl Iterator<Item = &'a NodeId>,
) -> Result<Vec<&'a NodeId>, LatticeError> {
    let ids: Vec<&NodeId> = ids.collect();
    let held = lattice.entries(&ids)?;
    Ok(ids.into_iter().zip(held).filter(|(_, entry)| entry.is_none()).map(|(id, _)| id).collect())
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
