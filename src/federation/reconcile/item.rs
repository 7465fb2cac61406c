//! A version of a node in 32 bytes, as sets are reconciled.

use crate::{
    lattice::Change,
    types::{ContentHash, NodeId, Timestamp, decode_hex, encode_hex},
};
use sha2::{Digest, Sha256};

/// How long an [`ItemId`] is.
pub const ITEM_BYTES: usize = 32;
/// How much of it is the node's, whatever its version.
const NODE_BYTES: usize = 8;

/// The node's part of an [`ItemId`].
pub type NodePart = [u8; NODE_BYTES];

/// Stands for one version of one node, a deletion included: the first 8 bytes of the SHA-256 of the node's id, then the first 24 of the
/// SHA-256 of the version. All versions of one node are neighbours in every order by bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId([u8; ITEM_BYTES]);

impl ItemId {
    /// The version of `id` that was made `at`. `content`: `None` where it is a deletion.
    #[must_use]
    pub fn of(id: &NodeId, at: Timestamp, content: Option<&ContentHash>) -> Self {
        // The id's length goes before it, and only a deletion has nothing behind the time: no two versions have the same text.
        let length = u64::try_from(id.as_str().len()).unwrap_or(u64::MAX);
        let mut version = Sha256::new();
        version.update(length.to_be_bytes());
        version.update(id.as_str());
        version.update(at.micros().to_be_bytes());
        if let Some(content) = content {
            version.update(content.as_bytes());
        }
        let version: [u8; 32] = version.finalize().into();
        let mut bytes = [0; ITEM_BYTES];
        bytes.iter_mut().zip(node_part(id).into_iter().chain(version)).for_each(|(to, from)| *to = from);
        Self(bytes)
    }

    /// The version that a change made.
    #[must_use]
    pub fn of_change(change: &Change) -> Self {
        match change {
            Change::Put { id, content_hash, updated_at, .. } => Self::of(id, *updated_at, Some(content_hash)),
            Change::Deleted(tombstone, _) => Self::of(&tombstone.id, tombstone.deleted_at, None),
        }
    }

    /// As it came over the wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; ITEM_BYTES]) -> Self {
        Self(bytes)
    }

    /// As it goes over the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; ITEM_BYTES] {
        &self.0
    }

    /// From 64 hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        decode_hex(text).map(Self)
    }

    /// As 64 hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        encode_hex(&self.0)
    }

    /// What all versions of the node have in common.
    #[must_use]
    pub fn node_part(&self) -> NodePart {
        let (part, _) = self.0.split_first_chunk().unwrap_or((&[0; NODE_BYTES], &[]));
        *part
    }
}

/// What all versions of a node have in common.
#[must_use]
pub fn node_part(id: &NodeId) -> NodePart {
    let digest: [u8; 32] = Sha256::digest(id.as_str()).into();
    let (part, _) = digest.split_first_chunk().unwrap_or((&[0; NODE_BYTES], &[]));
    *part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_version_counts_and_its_versions_are_neighbours() {
        let id = |text: &str| NodeId::parse(text).unwrap();
        let at = Timestamp::from_micros;
        let (one, other) = (ContentHash::of(b"1"), ContentHash::of(b"2"));
        let items = [
            ItemId::of(&id("a"), at(1), Some(&one)),
            ItemId::of(&id("a"), at(1), Some(&other)),
            ItemId::of(&id("a"), at(2), Some(&one)),
            ItemId::of(&id("a"), at(1), None),
            ItemId::of(&id("b"), at(1), Some(&one)),
        ];
        assert!(items.iter().enumerate().all(|(at, item)| !items[..at].contains(item)));
        assert!(items[..4].iter().all(|item| item.node_part() == node_part(&id("a"))));
        assert_ne!(items[4].node_part(), node_part(&id("a")));
        assert_eq!(ItemId::parse(&items[0].to_hex()), Some(items[0]));
    }

    #[test]
    fn the_form_is_the_one_that_others_make() {
        // SHA-256 of "a"; of 0000000000000001, "a", the time 7 in 8 bytes, and nothing, as `sha256sum` says.
        let item = ItemId::of(&NodeId::parse("a").unwrap(), Timestamp::from_micros(7), None);
        assert_eq!(item.to_hex(), "ca978112ca1bbdca0d048b25d71eb3802361798b64014f193ee779c059ead391");
    }
}
