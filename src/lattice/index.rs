//! The index in memory. (Snapshot's public calls are final, the rest is being written)

use super::Entry;
use crate::types::{NodeId, SetHash};
use std::sync::Arc;

/// The set at one moment. Order: by bucket (`manifest::bucket_of`), then id.
#[derive(Debug)]
pub struct Snapshot {}

impl Snapshot {
    /// How many nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// No node at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The set hash. Computed on first use, from buckets whose hashes are kept.
    #[must_use]
    pub fn set_hash(&self) -> SetHash {
        unimplemented!()
    }

    /// One node.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Entry>> {
        let _ = id;
        unimplemented!()
    }

    /// Every node after `after` (from the start where that is `None`), in the snapshot's order.
    pub fn iter_after<'a>(&'a self, after: Option<&NodeId>) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        let _ = after;
        std::iter::empty()
    }
}
