//! Changes of the set on their way into the journal: gathered, given their positions, and written down together.

use super::Store;
use crate::{
    lattice::{
        Entry, Tombstone,
        journal::{Op, Record, Source, is_late},
        reader::FileStamp,
    },
    types::{ContentHash, NodeId, Timestamp},
};
use std::{collections::HashSet, sync::Arc};

/// A file as it was seen.
#[derive(Debug, Clone, Copy)]
pub(in crate::lattice) struct SeenFile<'a> {
    pub(in crate::lattice) name: &'a str,
    pub(in crate::lattice) stamp: FileStamp,
    /// By the machine's clock, ns since the epoch.
    pub(in crate::lattice) read_at_ns: i64,
    /// See [`Record::stated`].
    pub(in crate::lattice) stated: Option<Option<Timestamp>>,
}

impl SeenFile<'_> {
    fn record(self, entry: Arc<Entry>) -> Record {
        let Self { name, stamp, read_at_ns, stated } = self;
        Record { entry, name: name.into(), stamp, read_at_ns, stated, live: true }
    }
}

/// Changes that are written down together. Each node at most once.
#[derive(Debug, Default)]
pub(in crate::lattice) struct Changes {
    pub(in crate::lattice) ops: Vec<Op>,
    /// Files that are broken no longer, or gone: reported so until the node shows.
    pub(in crate::lattice) repaired: Vec<String>,
    touched: HashSet<NodeId>,
    pub(super) positions: u64,
}

impl Changes {
    pub(in crate::lattice) fn touches(&self, id: &NodeId) -> bool {
        self.touched.contains(id)
    }

    /// Nothing but files whose nodes are as they were.
    pub(in crate::lattice) fn only_looks(&self) -> bool {
        self.ops.iter().all(|op| matches!(op, Op::Seen(_)))
    }

    pub(in crate::lattice) fn deletes(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::Deleted(..) | Op::Lost(_)))
    }
}

impl Store {
    /// The position of the next change of this batch.
    fn next_seq(&self, changes: &mut Changes) -> u64 {
        changes.positions += 1;
        self.seq.saturating_add(changes.positions)
    }

    /// The node has new content. Answers its entry as it will be.
    pub(in crate::lattice) fn stage_put(
        &self,
        changes: &mut Changes,
        entry: Entry,
        file: SeenFile<'_>,
        source: Source,
    ) -> Arc<Entry> {
        let mut entry = Entry { seq: self.next_seq(changes), ..entry };
        entry.node_type.iter_mut().for_each(|own| self.types.share(own));
        let entry = Arc::new(entry);
        changes.touched.insert(entry.id.clone());
        changes.ops.push(Op::Put(file.record(Arc::clone(&entry)), source));
        entry
    }

    /// The node has the content that it had, in a file that looks different or was looked at again. Answers its entry as it will be.
    pub(in crate::lattice) fn stage_seen(
        &self,
        changes: &mut Changes,
        mut entry: Entry,
        file: SeenFile<'_>,
    ) -> Arc<Entry> {
        entry.node_type.iter_mut().for_each(|own| self.types.share(own));
        let entry = Arc::new(entry);
        changes.touched.insert(entry.id.clone());
        changes.ops.push(Op::Seen(file.record(Arc::clone(&entry))));
        entry
    }

    /// The node was lost with an older copy of the directory.
    pub(in crate::lattice) fn stage_lost(&self, changes: &mut Changes, id: NodeId) {
        changes.touched.insert(id.clone());
        changes.ops.push(Op::Lost(id));
        self.stage_void(changes);
    }

    /// The directory holds older versions than before: what others know of the journal is void.
    pub(in crate::lattice) fn stage_void(&self, changes: &mut Changes) {
        if !changes.ops.iter().any(|op| matches!(op, Op::VoidPositions)) {
            // A position of its own: others see that something happened.
            changes.positions += 1;
            changes.ops.push(Op::VoidPositions);
        }
    }

    /// The node's file broke.
    pub(in crate::lattice) fn stage_broke(&self, changes: &mut Changes, id: NodeId) {
        changes.touched.insert(id.clone());
        changes.ops.push(Op::Broke(id));
    }

    /// The node is gone since `at`. Answers its tombstone as it will be.
    pub(in crate::lattice) fn stage_deleted(
        &self,
        changes: &mut Changes,
        (id, content_hash): (&NodeId, ContentHash),
        at: Timestamp,
        source: Source,
    ) -> Tombstone {
        let tombstone = Tombstone { id: id.clone(), deleted_at: at, content_hash, seq: self.next_seq(changes) };
        changes.touched.insert(id.clone());
        changes.ops.push(Op::Deleted(tombstone.clone(), source));
        let now = self.shared.clock.now();
        if is_late(at, now) {
            changes.ops.push(Op::Buried(id.clone(), now));
        }
        tombstone
    }
}
