//! Nodes that are left out between two instances because their files are broken at one of them, or because they are larger than one of them
//! takes (DESIGN 4.6): how many, and what is recorded of them from one round to the next.

use crate::types::{ContentHash, NodeId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;

/// The most nodes of one peer that are recorded.
pub const MAX_RECORDED: usize = 2000;

/// How many nodes a round left out because of what is at one of the two instances: broken files, or a limit that they exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LeftOut {
    /// At this instance.
    pub here: u64,
    /// At the peer.
    pub there: u64,
}

impl LeftOut {
    /// Nothing was left out.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// A content that was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOutContent {
    /// Its hash.
    pub content_hash: ContentHash,
    /// Its bytes, where it is larger than its receiver takes; `None`: the file is broken at the sender.
    pub too_large: Option<u64>,
    /// When a request was refused that brought it alone.
    pub refused_at: Option<Timestamp>,
}

impl LeftOutContent {
    /// Its file is broken.
    #[must_use]
    pub const fn broken(content_hash: ContentHash) -> Self {
        Self { content_hash, too_large: None, refused_at: None }
    }

    /// It is larger than its receiver takes.
    #[must_use]
    pub const fn too_large(content_hash: ContentHash, bytes: u64) -> Self {
        Self { content_hash, too_large: Some(bytes), refused_at: None }
    }
}

/// As it is recorded: of a broken file the hash alone.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Recorded {
    Broken(String),
    TooLarge {
        hash: String,
        bytes: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused_at: Option<Timestamp>,
    },
}

impl Serialize for LeftOutContent {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let hash = self.content_hash.to_string();
        let recorded = match self.too_large {
            None => Recorded::Broken(hash),
            Some(bytes) => Recorded::TooLarge { hash, bytes, refused_at: self.refused_at },
        };
        recorded.serialize(to)
    }
}

impl<'de> Deserialize<'de> for LeftOutContent {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let content_hash = |hash: &str| ContentHash::parse(hash).map_err(de::Error::custom);
        Ok(match Recorded::deserialize(from)? {
            Recorded::Broken(hash) => Self::broken(content_hash(&hash)?),
            Recorded::TooLarge { hash, bytes, refused_at } => {
                Self { refused_at, ..Self::too_large(content_hash(&hash)?, bytes) }
            }
        })
    }
}

/// Nodes whose contents were left out between an instance and one of its peers, each with what is known of the content. At most
/// [`MAX_RECORDED`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct UnavailableNodes(BTreeMap<NodeId, LeftOutContent>);

impl UnavailableNodes {
    /// Records a node; `false`: there are too many.
    pub fn insert(&mut self, id: &NodeId, content: LeftOutContent) -> bool {
        if self.0.len() >= MAX_RECORDED && !self.0.contains_key(id) {
            return false;
        }
        self.0.insert(id.clone(), content);
        true
    }

    /// Forgets a node.
    pub fn remove(&mut self, id: &NodeId) {
        self.0.remove(id);
    }

    /// The content of this node that was left out.
    #[must_use]
    pub fn get(&self, id: &NodeId) -> Option<&LeftOutContent> {
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
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &LeftOutContent)> {
        self.0.iter()
    }
}

impl<'de> Deserialize<'de> for UnavailableNodes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut nodes = Self::default();
        for (id, content) in BTreeMap::<String, LeftOutContent>::deserialize(from)? {
            nodes.insert(&NodeId::parse(&id).map_err(de::Error::custom)?, content);
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
        let broken = LeftOutContent::broken(ContentHash::of(b""));
        assert!((0..MAX_RECORDED).all(|n| nodes.insert(&id(n), broken)));
        assert!(!nodes.insert(&id(MAX_RECORDED), broken));
        let large = LeftOutContent::too_large(ContentHash::of(b"later"), 5 << 20);
        assert!(nodes.insert(&id(7), large));
        assert!(nodes.insert(&id(8), LeftOutContent { refused_at: Some(Timestamp::from_seconds(5)), ..large }));
        nodes.remove(&id(0));
        assert!(nodes.insert(&id(MAX_RECORDED), broken));
        let text = serde_json::to_string(&nodes).unwrap();
        assert!(text.contains(&format!("\"node-1\":\"{}\"", broken.content_hash)), "as before there were limits");
        assert_eq!(serde_json::from_str::<UnavailableNodes>(&text).unwrap(), nodes);
        assert!(serde_json::from_str::<UnavailableNodes>("{\"a\":\"x\"}").is_err());
    }
}
