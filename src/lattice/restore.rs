//! A version that lost counts again. What it replaces is kept in its place, so that nothing that was here is lost on the way.

use super::{
    Conflict, LatticeError, NodeDocument, Restored, Version, Written, reader,
    stamp::{self, STAMP_ROOM_BYTES},
    store::Store,
    version,
};
use crate::types::Timestamp;
use bytes::Bytes;
use std::path::Path;

/// A conflict that is to be restored.
#[derive(Debug)]
pub(super) struct Restore {
    pub(super) number: u64,
    /// What lost.
    pub(super) node: NodeDocument,
    /// Who asks for it.
    pub(super) by: Box<str>,
}

/// What goes with the write of a version that counts again.
#[derive(Debug)]
pub(super) struct Restoration {
    /// The conflict that is settled by it.
    pub(super) number: u64,
    /// What it is about to replace.
    pub(super) loser: Option<Box<(Conflict, Bytes)>>,
    /// The number under which that is kept.
    pub(super) kept: Option<u64>,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Decision {
    /// Nothing; `None`: there is no such conflict any more.
    Done(Option<Restored>),
    /// Write this content, dated so.
    Write(Box<NodeDocument>, Timestamp, Restoration),
}

/// Decides it, on the writer's thread. `path` is where the node's file is or would be.
///
/// # Errors
/// [`LatticeError`]: what is held cannot be told, or not be kept.
pub(super) fn decide(store: &Store, restore: Restore, path: &Path) -> Result<Decision, LatticeError> {
    let Restore { number, node, by } = restore;
    let shared = &store.shared;
    // Two may have asked for it.
    if shared.journal.conflict(number)?.is_none() {
        return Ok(Decision::Done(None));
    }
    let failed = |error: &dyn std::fmt::Display| LatticeError::Io(error.to_string());
    let (held, depth) = (store.held(node.id())?, shared.limits.json_depth);
    let mut replaced = None;
    if let Some(entry) = store.live(node.id()) {
        let (bytes, _) = reader::read_bytes(path, &shared.limits).map_err(|error| failed(&error))?;
        let current = NodeDocument::parse(bytes.clone(), depth).map_err(|error| failed(&error))?;
        if stamp::same_but_for_time(&current, &node) {
            shared.journal.forget_conflict(number)?;
            let written = Written::Unchanged(entry.clone());
            return Ok(Decision::Done(Some(Restored { written, kept: None })));
        }
        replaced = Some(bytes);
    }
    let id = node.id().clone();
    let now = version::edit_time(held.map(|version| version.at), None, shared.clock.now());
    let most = shared.limits.node_bytes.saturating_add(STAMP_ROOM_BYTES);
    let stamped = stamp::restored(node.clone(), now, depth).map_err(|error| failed(&error))?;
    // A date of more digits may pass the limit. The journal dates the version all the same.
    let node = if stamped.document().source().len() > most { node } else { stamped };
    let at = store.edit_time(&id, node.updated_at())?;
    let won = Version { at, content: Some(node.content_hash()) };
    let loser = replaced.zip(held).map(|(content, lost)| {
        let noticed_at = shared.clock.now();
        let size_bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
        Box::new((Conflict { number: 0, id, noticed_at, from: by, lost, won, size_bytes, is_conflict: true }, content))
    });
    Ok(Decision::Write(Box::new(node), at, Restoration { number, loser, kept: None }))
}
