//! The index in memory: which nodes there are, in two orders, with the hashes of the set kept as far as they still hold.

use super::{
    Entry, NodeFilter, NodePage,
    sorted::{Sorted, Walk},
};
use crate::{
    manifest::{BUCKETS, SetHasher, bucket_hash, bucket_of},
    types::{ContentHash, NodeId, SetHash, Sha256Digest, Timestamp},
};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

/// The most entries that one call of [`Index::page`] looks at.
const PAGE_LOOKS: usize = 10_000;

/// The nodes of one bucket, sorted by id (bytes).
#[derive(Debug, Default)]
struct Bucket {
    entries: Vec<Arc<Entry>>,
    hash: OnceLock<Sha256Digest>,
}

impl Clone for Bucket {
    // A bucket is cloned to be changed: its hash does not go with it.
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), hash: OnceLock::new() }
    }
}

impl Bucket {
    fn find(&self, id: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.id.as_str().cmp(id))
    }

    /// Adds one whose id is greater than all others.
    fn push(&mut self, entry: Arc<Entry>) {
        self.hash = OnceLock::new();
        self.entries.push(entry);
    }

    fn put(&mut self, entry: Arc<Entry>) {
        self.hash = OnceLock::new();
        match self.find(entry.id.as_str()) {
            Ok(at) => {
                if let Some(slot) = self.entries.get_mut(at) {
                    *slot = entry;
                }
            }
            Err(at) => self.entries.insert(at, entry),
        }
    }

    fn remove(&mut self, id: &str) {
        if let Ok(at) = self.find(id) {
            self.entries.remove(at);
            self.hash = OnceLock::new();
        }
    }

    fn hash(&self) -> Sha256Digest {
        *self.hash.get_or_init(|| {
            bucket_hash(self.entries.iter().map(|entry| (entry.id.as_str(), wire_text(entry.content_hash))))
        })
    }
}

/// An entry of which only the hash is known.
fn stand_in(id: &NodeId, content_hash: ContentHash) -> Entry {
    Entry {
        id: id.clone(),
        content_hash,
        file_hash: *content_hash.as_bytes(),
        node_type: None,
        updated_at: Timestamp::EPOCH,
        size_bytes: 0,
        seq: 0,
    }
}

/// `sha256:` and the hex digits, without an allocation a node.
fn wire_text(hash: ContentHash) -> [u8; 71] {
    let mut text = *b"sha256:................................................................";
    for (to, from) in text.iter_mut().skip(7).zip(hash.hex_bytes()) {
        *to = from;
    }
    text
}

/// The set at one moment.
#[derive(Debug)]
pub struct Snapshot {
    buckets: Vec<Arc<Bucket>>,
    sorted: Sorted,
    hash: OnceLock<SetHash>,
}

impl Snapshot {
    /// The set of these entries; of two with one id the later one counts.
    #[must_use]
    pub fn of(entries: impl IntoIterator<Item = Arc<Entry>>) -> Arc<Self> {
        let mut index = Index::default();
        for entry in entries {
            index.insert(entry, None);
        }
        index.snapshot()
    }

    /// This set with one node added or replaced. Every other bucket is shared, with its hash.
    #[must_use]
    pub fn with(&self, entry: Arc<Entry>) -> Arc<Self> {
        let mut buckets = self.buckets.clone();
        let bucket = buckets.get_mut(usize::from(bucket_of(entry.id.as_str())));
        if let Some(bucket) = bucket {
            Arc::make_mut(bucket).put(Arc::clone(&entry));
        }
        let mut sorted = self.sorted.clone();
        sorted.put(entry);
        Arc::new(Self { buckets, sorted, hash: OnceLock::new() })
    }

    /// The set hash that this set would have with these nodes put (`None`: deleted), one after the other.
    #[must_use]
    pub fn hash_with<'a>(&self, changes: impl IntoIterator<Item = (&'a NodeId, Option<ContentHash>)>) -> SetHash {
        let mut buckets = self.buckets.clone();
        for (id, content_hash) in changes {
            let Some(bucket) = buckets.get_mut(usize::from(bucket_of(id.as_str()))) else { continue };
            let bucket = Arc::make_mut(bucket);
            match content_hash {
                Some(content_hash) => {
                    bucket.put(Arc::new(stand_in(id, content_hash)));
                }
                None => bucket.remove(id.as_str()),
            }
        }
        Self { buckets, sorted: Sorted::default(), hash: OnceLock::new() }.set_hash()
    }

    /// How many nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// No node at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The set hash. Computed on first use, from buckets whose hashes are kept.
    #[must_use]
    pub fn set_hash(&self) -> SetHash {
        *self.hash.get_or_init(|| {
            let mut hasher = SetHasher::default();
            for (number, bucket) in (0_u16..).zip(&self.buckets) {
                if !bucket.entries.is_empty() {
                    hasher.bucket(number, bucket.hash());
                }
            }
            hasher.finish()
        })
    }

    /// Computes what the set hash needs of one of the [`BUCKETS`], so that several threads can.
    pub(super) fn prepare_hash(&self, bucket: usize) {
        if let Some(bucket) = self.buckets.get(bucket).filter(|bucket| !bucket.entries.is_empty()) {
            bucket.hash();
        }
    }

    /// One node.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Entry>> {
        let bucket = self.buckets.get(usize::from(bucket_of(id)))?;
        bucket.entries.get(bucket.find(id).ok()?)
    }

    /// Every node after `after` (from the start where that is `None`), in the order of their ids. `after` itself need not exist.
    pub fn iter_after<'a>(&'a self, after: Option<&NodeId>) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        self.ranked_after(after).map(|(_, entry)| entry)
    }

    /// The same, each with the number of nodes before it.
    pub(super) fn ranked_after<'a>(
        &'a self,
        after: Option<&NodeId>,
    ) -> impl Iterator<Item = (usize, &'a Arc<Entry>)> + 'a {
        self.sorted.ranked_after(after.map(NodeId::as_str))
    }

    /// Finds one id after another, in ascending order.
    pub(super) fn walk(&self) -> Walk<'_> {
        self.sorted.walk()
    }
}

/// The live nodes. Snapshots share what they consist of until it changes.
#[derive(Debug)]
pub(super) struct Index {
    buckets: Vec<Arc<Bucket>>,
    sorted: Sorted,
    /// File names other than the plain one; there are few.
    names: HashMap<NodeId, Box<str>>,
    snapshot: OnceLock<Arc<Snapshot>>,
}

impl Default for Index {
    fn default() -> Self {
        let empty = Arc::new(Bucket::default());
        Self {
            buckets: vec![empty; BUCKETS],
            sorted: Sorted::default(),
            names: HashMap::new(),
            snapshot: OnceLock::new(),
        }
    }
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<Entry>> {
        self.sorted.get(id)
    }

    /// Finds one id after another, in ascending order.
    pub(super) fn walk(&self) -> Walk<'_> {
        self.sorted.walk()
    }

    /// What there is of these ids, in their order. Cheap where that is the order of the index.
    pub(super) fn get_each<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Vec<Option<Arc<Entry>>> {
        let mut walk = self.sorted.walk();
        let mut passed = None;
        let find = |id: &'a str| {
            if passed.is_some_and(|passed| passed >= id) {
                return self.sorted.get(id).cloned();
            }
            passed = Some(id);
            walk.seek(id.as_bytes()).map(|(_, entry)| Arc::clone(entry))
        };
        ids.map(find).collect()
    }

    /// The file name of a node that is not in its plain file.
    pub(super) fn name(&self, id: &NodeId) -> Option<&str> {
        self.names.get(id).map(|name| &**name)
    }

    /// Adds or replaces a node. `name` is its file where that is not the plain one.
    pub(super) fn insert(&mut self, entry: Arc<Entry>, name: Option<&str>) {
        self.snapshot = OnceLock::new();
        match name {
            Some(name) => drop(self.names.insert(entry.id.clone(), name.into())),
            None if self.names.is_empty() => {}
            None => drop(self.names.remove(&entry.id)),
        }
        // At the start they come in order: no other need be looked at.
        let is_last = self.sorted.ends_before(entry.id.as_str());
        if let Some(bucket) = self.buckets.get_mut(usize::from(bucket_of(entry.id.as_str()))) {
            let bucket = Arc::make_mut(bucket);
            if is_last { bucket.push(Arc::clone(&entry)) } else { bucket.put(Arc::clone(&entry)) }
        }
        self.sorted.put(entry);
    }

    /// Takes a node out.
    pub(super) fn remove(&mut self, id: &str) {
        if !self.sorted.remove(id) {
            return;
        }
        self.snapshot = OnceLock::new();
        self.names.remove(id);
        if let Some(bucket) = self.buckets.get_mut(usize::from(bucket_of(id))) {
            Arc::make_mut(bucket).remove(id);
        }
    }

    /// The set as it is now; the same one until the next change.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        let make =
            || Arc::new(Snapshot { buckets: self.buckets.clone(), sorted: self.sorted.clone(), hash: OnceLock::new() });
        Arc::clone(self.snapshot.get_or_init(make))
    }

    /// See [`Lattice::page`](super::Lattice::page).
    pub(super) fn page(&self, after: Option<&NodeId>, filter: &NodeFilter, limit: usize) -> NodePage {
        let mut rest = self.sorted.ranked_after(after.map(NodeId::as_str)).map(|(_, entry)| entry);
        let mut entries = Vec::new();
        let mut last = None;
        let mut looks = 0_usize;
        while entries.len() < limit && looks < PAGE_LOOKS {
            let Some(entry) = rest.next() else {
                last = None;
                break;
            };
            looks += 1;
            last = Some(entry);
            let typed = filter.node_type.as_deref().is_none_or(|wanted| entry.node_type.as_deref() == Some(wanted));
            if typed && filter.updated_since.is_none_or(|since| entry.updated_at >= since) {
                entries.push(Arc::clone(entry));
            }
        }
        let next = last.filter(|_| rest.next().is_some()).map(|entry| entry.id.clone());
        NodePage { entries, next, total: self.len() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    pub(crate) fn entry(id: &str, content: &str) -> Arc<Entry> {
        Arc::new(Entry {
            id: NodeId::parse(id).unwrap(),
            content_hash: ContentHash::of(content.as_bytes()),
            file_hash: *b"file hash of thirty-two bytes ok",
            node_type: crate::lattice::NodeType::parse(if content.len().is_multiple_of(2) { "even" } else { "odd" }),
            updated_at: Timestamp::from_seconds(i64::try_from(content.len()).unwrap()),
            size_bytes: 0,
            seq: 1,
        })
    }

    /// DESIGN 4.5 said again, without buckets that are kept.
    fn naive_set_hash(nodes: &BTreeMap<String, String>) -> SetHash {
        let mut buckets: BTreeMap<u16, Vec<(&str, String)>> = BTreeMap::new();
        for (id, content) in nodes {
            buckets.entry(bucket_of(id)).or_default().push((id, ContentHash::of(content.as_bytes()).to_string()));
        }
        let mut hasher = SetHasher::default();
        for (number, nodes) in buckets {
            hasher.bucket(number, bucket_hash(nodes));
        }
        hasher.finish()
    }

    proptest! {
        #[test]
        fn the_set_hash_is_that_of_a_fresh_build_after_any_changes(
            changes in proptest::collection::vec(("[a-d]{1,2}", proptest::option::of("[xy]{1,3}")), 0..60)
        ) {
            let mut index = Index::default();
            let mut model = BTreeMap::new();
            for (id, content) in changes {
                match content {
                    Some(content) => {
                        index.insert(entry(&id, &content), None);
                        model.insert(id, content);
                    }
                    None => {
                        index.remove(&id);
                        model.remove(&id);
                    }
                }
                let extra = index.snapshot().with(entry("ab", "new"));
                let mut with_extra = model.clone();
                with_extra.insert("ab".to_owned(), "new".to_owned());
                prop_assert_eq!((extra.set_hash(), extra.len()), (naive_set_hash(&with_extra), with_extra.len()));
                let before = index.snapshot();
                prop_assert_eq!(before.set_hash(), naive_set_hash(&model));
                prop_assert_eq!(before.len(), model.len());
            }
            let all: Vec<_> = index.snapshot().iter_after(None).map(|entry| entry.id.clone()).collect();
            let asked = ["b", "a", "ab", "cc", "bb", "bb", "d", "aa", "x"];
            let found: Vec<_> = index.get_each(asked.into_iter()).into_iter().map(|entry| entry.map(|it| it.id.to_string())).collect();
            let expected: Vec<_> = asked.iter().map(|id| model.contains_key(*id).then(|| (*id).to_owned())).collect();
            prop_assert_eq!(found, expected);
            for (at, id) in all.iter().enumerate() {
                let rest: Vec<_> = index.snapshot().iter_after(Some(id)).map(|entry| entry.id.clone()).collect();
                prop_assert_eq!(&rest[..], &all[at + 1..]);
            }
        }
    }

    #[test]
    fn a_snapshot_stays_as_it_was_and_is_shared_until_the_next_change() {
        let mut index = Index::default();
        index.insert(entry("a", "1"), None);
        let first = index.snapshot();
        assert!(Arc::ptr_eq(&first, &index.snapshot()));
        index.insert(entry("a", "22"), None);
        index.insert(entry("b", "1"), Some("b~0.json"));
        assert_eq!(first.len(), 1);
        assert_eq!(first.get("a").unwrap().content_hash, ContentHash::of(b"1"));
        assert_eq!(index.snapshot().get("a").unwrap().content_hash, ContentHash::of(b"22"));
        assert_eq!(index.name(&NodeId::parse("b").unwrap()), Some("b~0.json"));
        index.remove("b");
        assert_eq!(index.name(&NodeId::parse("b").unwrap()), None);
        assert!(first.get("b").is_none() && index.snapshot().get("b").is_none());
    }

    #[test]
    fn pages_follow_the_ids_and_end() {
        let mut index = Index::default();
        for id in ["a", "b", "c", "d"] {
            index.insert(entry(id, if id < "c" { "1" } else { "22" }), None);
        }
        let ids = |page: &NodePage| page.entries.iter().map(|entry| entry.id.to_string()).collect::<Vec<_>>();
        let page = index.page(None, &NodeFilter::default(), 3);
        assert_eq!(ids(&page), ["a", "b", "c"]);
        let page = index.page(page.next.as_ref(), &NodeFilter::default(), 3);
        assert_eq!((ids(&page), page.next, page.total), (vec!["d".to_owned()], None, 4));
        let even = NodeFilter { node_type: Some("even".to_owned()), ..NodeFilter::default() };
        assert_eq!(ids(&index.page(None, &even, 10)), ["c", "d"]);
        let late = NodeFilter { updated_since: Some(Timestamp::from_seconds(2)), ..NodeFilter::default() };
        assert_eq!(ids(&index.page(None, &late, 1)), ["c"]);
        assert_eq!(index.page(None, &late, 2).next, None);
    }

    #[test]
    fn one_page_looks_at_a_bounded_number_of_nodes() {
        let mut index = Index::default();
        for number in 0..=PAGE_LOOKS {
            index.insert(entry(&format!("{number:06}"), "1"), None);
        }
        let none = NodeFilter { node_type: Some("no such".to_owned()), ..NodeFilter::default() };
        let page = index.page(None, &none, 10);
        assert!(page.entries.is_empty() && page.next.is_some());
        assert_eq!(index.page(page.next.as_ref(), &none, 10).next, None);
    }
}
