//! Nodes that are left out between two instances because their files are broken at one of them (DESIGN 4.6): how many, and what is
//! recorded of them from one round to the next.

use crate::types::{ContentHash, NodeId};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// The most nodes of one peer that are recorded.
pub const MAX_RECORDED: usize = 2000;

/// How many nodes a round left out because their files are broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LeftOut {
    /// Of this instance.
    pub here: u64,
    /// Of the peer.
    pub there: u64,
}

impl LeftOut {
    /// Nothing was left out.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Nodes of a peer that would count here and whose contents could not be had, each with the hash of the content. At most
/// [`MAX_RECORDED`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct UnavailableNodes(BTreeMap<NodeId, ContentHash>);

impl UnavailableNodes {
    /// Records a node; `false`: there are too many.
    pub fn insert(&mut self, id: &NodeId, content_hash: ContentHash) -> bool {
        if self.0.len() >= MAX_RECORDED && !self.0.contains_key(id) {
            return false;
        }
        self.0.insert(id.clone(), content_hash);
        true
    }

    /// Forgets a node.
    pub fn remove(&mut self, id: &NodeId) {
        self.0.remove(id);
    }

    /// The content of this node that could not be had.
    #[must_use]
    pub fn get(&self, id: &NodeId) -> Option<&ContentHash> {
        self.0.get(id)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &ContentHash)> {
        self.0.iter()
    }
}

impl<'de> Deserialize<'de> for UnavailableNodes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut nodes = Self::default();
        for (id, content_hash) in BTreeMap::<String, String>::deserialize(from)? {
            let id = NodeId::parse(&id).map_err(serde::de::Error::custom)?;
            nodes.insert(&id, ContentHash::parse(&content_hash).map_err(serde::de::Error::custom)?);
        }
        Ok(nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_nodes_are_bounded_and_read_again() {
        let mut nodes = UnavailableNodes::default();
        let id = |n: usize| NodeId::parse(&format!("node-{n}")).unwrap();
        let hash = ContentHash::of(b"");
        assert!((0..MAX_RECORDED).all(|n| nodes.insert(&id(n), hash)));
        assert!(!nodes.insert(&id(MAX_RECORDED), hash));
        assert!(nodes.insert(&id(7), ContentHash::of(b"later")));
        nodes.remove(&id(0));
        assert!(nodes.insert(&id(MAX_RECORDED), hash));
        let text = serde_json::to_string(&nodes).unwrap();
        assert_eq!(serde_json::from_str::<UnavailableNodes>(&text).unwrap(), nodes);
        assert!(serde_json::from_str::<UnavailableNodes>("{\"a\":\"x\"}").is_err());
    }
}
