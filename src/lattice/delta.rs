//! Which nodes a caller lacks, and which we do (DESIGN 4.5). Pure: a snapshot and a list in, nodes out, one pass.

use super::{Entry, index::Snapshot};
use crate::types::{ContentHash, NodeId, Sha256Digest};
use std::{collections::HashMap, sync::Arc};

/// A hash as a caller states it for one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerHash(Option<Sha256Digest>);

impl CallerHash {
    /// Reads 64 lower-case hex digits with or without `sha256:`. Every other text is a hash that equals none of ours.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(ContentHash::parse(text).ok().map(|hash| *hash.as_bytes()))
    }

    /// Does the caller hold what we hold: by content, or by the bytes of our file (the seed's `compute_hash`)?
    #[must_use]
    pub fn equals(self, entry: &Entry) -> bool {
        self.0.is_some_and(|digest| digest == *entry.content_hash.as_bytes() || digest == entry.file_hash)
    }
}

/// What differs between a snapshot and a caller's list.
#[derive(Debug)]
pub struct Delta {
    snapshot: Arc<Snapshot>,
    caller: HashMap<NodeId, CallerHash>,
}

impl Delta {
    /// Compares nothing yet.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, caller: HashMap<NodeId, CallerHash>) -> Self {
        Self { snapshot, caller }
    }

    /// The nodes that the caller lacks or holds with another hash, after the node `after`, in the snapshot's order. Lazy: a page
    /// costs what it looks at. An id that is gone still serves as `after`.
    pub fn entries(&self, after: Option<&NodeId>) -> impl Iterator<Item = &Arc<Entry>> + '_ {
        self.snapshot
            .iter_after(after)
            .filter(|entry| !self.caller.get(&entry.id).is_some_and(|hash| hash.equals(entry)))
    }

    /// The ids that the caller has and we lack, sorted.
    #[must_use]
    pub fn wanted(&self) -> Vec<&NodeId> {
        wanted(&self.snapshot, self.caller.keys())
    }
}

/// Those of `ids` that the snapshot lacks, sorted.
pub fn wanted<'a>(snapshot: &Snapshot, ids: impl IntoIterator<Item = &'a NodeId>) -> Vec<&'a NodeId> {
    let mut wanted: Vec<_> = ids.into_iter().filter(|id| snapshot.get(id.as_str()).is_none()).collect();
    wanted.sort_unstable();
    wanted
}

#[cfg(test)]
mod tests {
    use super::{super::index::tests::entry, *};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn id(text: &str) -> NodeId {
        NodeId::parse(text).unwrap()
    }

    #[test]
    fn both_hashes_count_with_and_without_their_prefix_and_nothing_else_does() {
        let node = entry("a", "content");
        let content = node.content_hash.to_hex();
        let file = ContentHash::from_digest(node.file_hash).to_hex();
        for text in [&content, &file] {
            assert!(CallerHash::parse(text).equals(&node));
            assert!(CallerHash::parse(&format!("sha256:{text}")).equals(&node));
            assert!(!CallerHash::parse(&format!("sha512:{text}")).equals(&node));
            assert!(!CallerHash::parse(&text.to_uppercase()).equals(&node));
        }
        assert!(!CallerHash::parse("").equals(&node));
    }

    proptest! {
        #[test]
        fn applying_the_delta_makes_the_sets_equal(
            ours in proptest::collection::btree_map("[a-f]{1,2}", "[xy]{1,2}", 0..30),
            theirs in proptest::collection::btree_map("[a-f]{1,2}", "[xy]{1,2}", 0..30),
            page in 1_usize..7,
        ) {
            let snapshot = Snapshot::of(ours.iter().map(|(id, content)| entry(id, content)));
            let hash = |content: &String| CallerHash::parse(&ContentHash::of(content.as_bytes()).to_hex());
            let caller = theirs.iter().map(|(text, content)| (id(text), hash(content))).collect();
            let delta = Delta::new(Arc::clone(&snapshot), caller);

            let mut applied: BTreeMap<_, _> =
                theirs.iter().map(|(id, content)| (id.clone(), ContentHash::of(content.as_bytes()))).collect();
            let (mut cursor, mut sent) = (None, 0);
            loop {
                let part: Vec<_> = delta.entries(cursor.as_ref()).take(page).cloned().collect();
                let Some(last) = part.last() else { break };
                cursor = Some(last.id.clone());
                sent += part.len();
                applied.extend(part.iter().map(|entry| (entry.id.to_string(), entry.content_hash)));
            }
            for unknown in delta.wanted() {
                prop_assert!(applied.remove(unknown.as_str()).is_some());
            }
            let target: BTreeMap<_, _> =
                ours.iter().map(|(id, content)| (id.clone(), ContentHash::of(content.as_bytes()))).collect();
            prop_assert_eq!(&applied, &target);
            prop_assert_eq!(sent, ours.iter().filter(|(id, content)| theirs.get(*id) != Some(content)).count());
        }
    }
}
