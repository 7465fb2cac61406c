//! Versions that were left out and are named in the log: each once, although its sender may send it again and again.

use crate::types::{ContentHash, NodeId};
use std::{
    collections::{HashSet, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
};

/// The most versions that are remembered; beyond it they are named again.
const MOST: usize = 10_000;

/// The versions that were named, in memory.
#[derive(Debug, Default)]
pub struct NamedVersions {
    hashing: RandomState,
    named: Mutex<HashSet<u64>>,
}

impl NamedVersions {
    /// Notes a version; answers whether it was not named before.
    pub fn is_new(&self, id: &NodeId, content_hash: &ContentHash) -> bool {
        let key = self.hashing.hash_one((id.as_str(), content_hash.as_bytes()));
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() >= MOST {
            named.clear();
        }
        named.insert(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_once() {
        let named = NamedVersions::default();
        let id = NodeId::parse("a").unwrap();
        let (one, other) = (ContentHash::of(b"1"), ContentHash::of(b"2"));
        assert!(named.is_new(&id, &one) && !named.is_new(&id, &one) && named.is_new(&id, &other));
        for n in 0..MOST {
            named.is_new(&NodeId::parse(&format!("node-{n}")).unwrap(), &one);
        }
        assert!(named.named.lock().unwrap().len() <= MOST);
    }
}
