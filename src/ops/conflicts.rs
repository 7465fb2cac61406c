//! Versions that were made here and lost: kept until somebody has looked at them.

use super::Context;
use crate::lattice::{Conflict, LatticeError};
use bytes::Bytes;

/// The most bytes of contents in one page.
const PAGE_BYTES: u64 = 16 << 20;

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

/// Up to `limit` conflicts with greater numbers than `after`. With contents a page is also bounded in bytes.
///
/// # Errors
/// [`LatticeError::Io`].
pub fn list_conflicts(
    context: &Context,
    after: u64,
    limit: usize,
    contents: bool,
) -> Result<ConflictPage, LatticeError> {
    let lattice = &context.lattice;
    let mut found = lattice.conflicts(after, limit.saturating_add(1))?;
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
    Ok(ConflictPage { next: last.filter(|_| more), conflicts, total: lattice.conflict_count()? })
}
