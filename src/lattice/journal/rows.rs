//! Rows of the tables, and what they mean.

use super::{FileValue, JournalError, Record, TombstoneValue};
use crate::{
    lattice::{Change, Entry, Tombstone, reader::FileStamp, version::Ancestry},
    types::{ContentHash, NodeId, Timestamp},
};
use std::sync::Arc;

/// Where a node's version came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lattice) struct Lineage {
    /// It was made here.
    pub(in crate::lattice) made_here: bool,
    /// What it was before.
    pub(in crate::lattice) ancestry: Ancestry,
}

impl Default for Lineage {
    fn default() -> Self {
        Self { made_here: true, ancestry: Ancestry::default() }
    }
}

impl Lineage {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let (made_here, ancestry) = bytes.split_first().unwrap_or((&1, &[]));
        Self { made_here: *made_here != 0, ancestry: Ancestry::from_bytes(ancestry) }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [&[u8::from(self.made_here)], self.ancestry.to_bytes().as_slice()].concat()
    }
}

pub(super) fn change(id: NodeId, value: FileValue<'_>, ancestry: Ancestry) -> Change {
    let (_, (_, _, size_bytes, _, _), content_hash, _, node_type, updated_at, seq, _) = value;
    Change::Put {
        seq,
        id,
        content_hash: ContentHash::from_digest(*content_hash),
        updated_at: Timestamp::from_micros(updated_at),
        node_type: node_type.map(Into::into),
        size_bytes,
        ancestry,
    }
}

pub(super) fn node_id(text: &str) -> Result<NodeId, JournalError> {
    NodeId::parse(text).map_err(|error| JournalError::Damaged(error.to_string()))
}

pub(super) fn file_value(record: &Record) -> FileValue<'_> {
    let (stamp, entry) = (&record.stamp, &record.entry);
    (
        &record.name,
        (stamp.mtime_ns, stamp.ctime_ns, stamp.size, stamp.inode, record.read_at_ns),
        entry.content_hash.as_bytes(),
        &entry.file_hash,
        entry.node_type.as_deref(),
        entry.updated_at.micros(),
        entry.seq,
        record.live,
    )
}

pub(super) fn record(id: &str, value: FileValue<'_>) -> Result<Record, JournalError> {
    let (
        name,
        (mtime_ns, ctime_ns, size, inode, read_at_ns),
        content_hash,
        file_hash,
        node_type,
        updated_at,
        seq,
        live,
    ) = value;
    let entry = Entry {
        id: node_id(id)?,
        content_hash: ContentHash::from_digest(*content_hash),
        file_hash: *file_hash,
        node_type: node_type.map(Into::into),
        updated_at: Timestamp::from_micros(updated_at),
        size_bytes: size,
        seq,
    };
    let stamp = FileStamp { mtime_ns, ctime_ns, size, inode };
    Ok(Record { entry: Arc::new(entry), name: name.into(), stamp, read_at_ns, live })
}

pub(super) fn tombstone(id: NodeId, (deleted_at, content_hash, seq): TombstoneValue<'_>) -> Tombstone {
    let content_hash = ContentHash::from_digest(*content_hash);
    Tombstone { id, deleted_at: Timestamp::from_micros(deleted_at), content_hash, seq }
}
