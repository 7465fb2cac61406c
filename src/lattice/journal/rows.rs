//! Rows of the tables, and what they mean.

use super::{FileValue, JournalError, Record, TombstoneValue};
use crate::{
    lattice::{Change, Entry, NodeType, Tombstone, reader::FileStamp, version::Ancestry},
    types::{ContentHash, NodeId, Timestamp},
};
use std::sync::Arc;

/// Where a node's version came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lattice) struct Lineage {
    /// It was made here.
    pub(in crate::lattice) made_here: bool,
    /// It was replaced before, and came back from a backup. Who made it is not known then.
    pub(in crate::lattice) came_back: bool,
    /// Who gave it; `None`: it was made here, or nobody noted it.
    pub(in crate::lattice) from: Option<Box<str>>,
    /// What it was before.
    pub(in crate::lattice) ancestry: Ancestry,
}

/// How a row begins: given by somebody, made here, given by the one that is named next.
const GIVEN: u8 = 0;
const MADE_HERE: u8 = 1;
const GIVEN_BY: u8 = 2;
/// Came back from a backup; for an older release, given by somebody.
const CAME_BACK: u8 = 3;

impl Default for Lineage {
    fn default() -> Self {
        Self { made_here: true, came_back: false, from: None, ancestry: Ancestry::default() }
    }
}

impl Lineage {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let (kind, rest) = bytes.split_first().unwrap_or((&MADE_HERE, &[]));
        let (from, ancestry) = match rest.split_first() {
            Some((length, rest)) if *kind == GIVEN_BY => {
                rest.split_at_checked(usize::from(*length)).unwrap_or_default()
            }
            _ => (Default::default(), rest),
        };
        let from = std::str::from_utf8(from).ok().filter(|from| !from.is_empty()).map(Into::into);
        let ancestry = Ancestry::from_bytes(ancestry);
        Self { made_here: *kind == MADE_HERE, came_back: *kind == CAME_BACK, from, ancestry }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let ancestry = self.ancestry.to_bytes();
        // Whose name is longer than any id is not noted.
        let from = self.from.as_deref().and_then(|from| Some((u8::try_from(from.len()).ok()?, from)));
        match from {
            Some((length, from)) if !self.made_here => {
                [&[GIVEN_BY, length], from.as_bytes(), ancestry.as_slice()].concat()
            }
            _ => {
                let kind = match (self.made_here, self.came_back) {
                    (true, _) => MADE_HERE,
                    (false, true) => CAME_BACK,
                    (false, false) => GIVEN,
                };
                [&[kind], ancestry.as_slice()].concat()
            }
        }
    }
}

pub(super) fn change(id: NodeId, value: FileValue<'_>, ancestry: Ancestry) -> Change {
    let (_, (_, _, size_bytes, _, _), content_hash, _, node_type, updated_at, seq, _) = value;
    Change::Put {
        seq,
        id,
        content_hash: ContentHash::from_digest(*content_hash),
        updated_at: Timestamp::from_micros(updated_at),
        node_type: node_type.and_then(NodeType::parse),
        size_bytes,
        ancestry,
    }
}

/// The same of what the index has.
pub(super) fn entry_change(entry: &Entry, ancestry: Ancestry) -> Change {
    Change::Put {
        seq: entry.seq,
        id: entry.id.clone(),
        content_hash: entry.content_hash,
        updated_at: entry.updated_at,
        node_type: entry.node_type.clone(),
        size_bytes: entry.size_bytes,
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

/// A row of `files`.
#[derive(Debug)]
pub(in crate::lattice) struct Loaded<'a> {
    /// Without its type.
    pub(in crate::lattice) entry: Entry,
    pub(in crate::lattice) node_type: Option<&'a str>,
    pub(in crate::lattice) name: &'a str,
    pub(in crate::lattice) stamp: FileStamp,
    pub(in crate::lattice) read_at_ns: i64,
    pub(in crate::lattice) live: bool,
    /// It has its position: its last good version is advertised also while its file is broken.
    pub(in crate::lattice) is_listed: bool,
}

impl Loaded<'_> {
    pub(super) fn into_record(self) -> Record {
        let Self { entry, node_type, name, stamp, read_at_ns, live, is_listed: _ } = self;
        let entry = Entry { node_type: node_type.and_then(NodeType::parse), ..entry };
        // Only rewritten as broken: what the document states stays as it is noted.
        Record { entry: Arc::new(entry), name: name.into(), stamp, read_at_ns, stated: None, live }
    }
}

pub(super) fn loaded<'a>(id: &str, value: FileValue<'a>) -> Result<Loaded<'a>, JournalError> {
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
        node_type: None,
        updated_at: Timestamp::from_micros(updated_at),
        size_bytes: size,
        seq,
    };
    let stamp = FileStamp { mtime_ns, ctime_ns, size, inode };
    Ok(Loaded { entry, node_type, name, stamp, read_at_ns, live, is_listed: live })
}

pub(super) fn tombstone(id: NodeId, (deleted_at, content_hash, seq): TombstoneValue<'_>) -> Tombstone {
    let content_hash = ContentHash::from_digest(*content_hash);
    Tombstone { id, deleted_at: Timestamp::from_micros(deleted_at), content_hash, seq }
}
