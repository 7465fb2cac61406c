//! The set hash of nodes as they come, in any order.

use crate::{
    lattice::NodeDocument,
    manifest::{SetHasher, bucket_hash, bucket_of},
    types::{ContentHash, NodeId, SetHash},
};
use std::collections::BTreeMap;

/// Ids and hashes. Of two versions of one node the last counts.
#[derive(Debug, Default)]
pub(super) struct SetSum(BTreeMap<u16, BTreeMap<NodeId, ContentHash>>);

impl SetSum {
    pub(super) fn add(&mut self, node: &NodeDocument) {
        self.insert(node.id().clone(), node.content_hash());
    }

    pub(super) fn insert(&mut self, id: NodeId, hash: ContentHash) {
        self.0.entry(bucket_of(id.as_str())).or_default().insert(id, hash);
    }

    pub(super) fn finish(&self) -> SetHash {
        let mut hasher = SetHasher::default();
        for (bucket, nodes) in &self.0 {
            hasher.bucket(*bucket, bucket_hash(nodes.iter().map(|(id, hash)| (id.as_str(), hash.to_string()))));
        }
        hasher.finish()
    }
}
