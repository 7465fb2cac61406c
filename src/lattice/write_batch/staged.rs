//! Writes whose turn came and whose files are not in place yet.

use super::Precondition;
use crate::{
    lattice::{
        Conflict, Entry,
        apply::Accepted,
        atomic_file::TempFile,
        journal::{Coming, Waiting},
        reader::FileStamp,
        restore::Restoration,
        waiting::WaitingDeletion,
    },
    types::{ContentHash, NodeId, Timestamp},
};
use bytes::Bytes;
use std::sync::Arc;

/// A write whose turn came and whose file is not in place yet.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) request: usize,
    pub(super) slot: usize,
    pub(super) name: String,
    pub(super) precondition: Precondition,
    pub(super) kind: StagedKind,
}

#[derive(Debug)]
pub(super) enum StagedKind {
    Put(Box<StagedPut>),
    Delete { id: NodeId, content_hash: ContentHash, accepted: Option<Accepted>, has_file: bool },
    Revive { id: NodeId, content_hash: ContentHash, at: Timestamp },
    Retime(Arc<Entry>, Accepted),
    Wait(Box<Waiting>),
    WaitNoLonger(Box<WaitingDeletion>),
}

#[derive(Debug)]
pub(super) struct StagedPut {
    pub(super) bytes: Bytes,
    /// Durable, and not in its place yet.
    pub(super) temp: Option<TempFile>,
    pub(super) entry: Entry,
    pub(super) existed: bool,
    /// It came from another instance.
    pub(super) accepted: Option<Accepted>,
    /// It lost before, and counts again.
    pub(super) restoration: Option<Restoration>,
    /// Another text of the content that the node has.
    pub(super) is_same: bool,
    /// The document's own date.
    pub(super) stated: Option<Timestamp>,
    /// Of the file in its place.
    pub(super) stamp: FileStamp,
}

impl StagedPut {
    /// The mtime of its file; `None`: when it is written.
    pub(super) fn dated(&self) -> Option<Timestamp> {
        self.accepted.as_ref().map(|accepted| accepted.at)
    }
}

impl StagedKind {
    pub(super) fn id(&self) -> &NodeId {
        match self {
            Self::Put(put) => &put.entry.id,
            Self::Delete { id, .. } | Self::Revive { id, .. } => id,
            Self::Retime(entry, _) => &entry.id,
            Self::Wait(waiting) => &waiting.deletion.id,
            Self::WaitNoLonger(deletion) => &deletion.id,
        }
    }

    pub(super) fn accepted(&self) -> Option<&Accepted> {
        match self {
            Self::Put(put) => put.accepted.as_ref(),
            Self::Delete { accepted, .. } => accepted.as_ref(),
            Self::Retime(_, accepted) => Some(accepted),
            Self::Revive { .. } | Self::Wait(_) | Self::WaitNoLonger(_) => None,
        }
    }

    /// What it replaces is kept under this number.
    pub(super) fn set_kept(&mut self, number: u64) {
        match self {
            Self::Put(put) => match (&mut put.restoration, &mut put.accepted) {
                (Some(restoration), _) => restoration.kept = Some(number),
                (None, Some(accepted)) => accepted.kept = Some(number),
                (None, None) => {}
            },
            Self::Delete { accepted: Some(accepted), .. } => accepted.kept = Some(number),
            _ => {}
        }
    }

    /// The number under which what it replaces is kept.
    pub(super) fn kept(&self) -> Option<u64> {
        let restoration = match self {
            Self::Put(put) => put.restoration.as_ref(),
            _ => None,
        };
        restoration.map_or_else(|| self.accepted()?.kept, |restoration| restoration.kept)
    }

    /// What it puts in another one's place.
    pub(super) fn coming(&self) -> Option<(NodeId, Coming)> {
        let accepted = self.accepted()?;
        let coming = match self {
            Self::Put(put) => accepted.coming(put.entry.content_hash, false),
            Self::Delete { content_hash, has_file: true, .. } => accepted.coming(*content_hash, true),
            _ => None,
        };
        Some((self.id().clone(), coming?))
    }

    /// What it replaces and must be kept.
    pub(super) fn loser(&self) -> Option<&(Conflict, Bytes)> {
        let restored = match self {
            Self::Put(put) => put.restoration.as_ref().and_then(|restoration| restoration.loser.as_deref()),
            _ => None,
        };
        restored.or_else(|| self.accepted()?.loser.as_deref())
    }
}
