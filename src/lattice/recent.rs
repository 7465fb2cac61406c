//! Contents of small nodes that were read one by one of late, or of a small lattice. An edit is asked for by each peer in turn: only the
//! first one needs the file, and a thread that may wait for it.

use super::{Entry, StoredNode, packs::LEAST_NODES, reader::SmallFiles, store::Shared};
use crate::types::Sha256Digest;
use bytes::Bytes;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What is kept at most. More begins anew.
const ALL_BYTES: usize = 4 << 20;
/// What one of them costs beside its bytes, about.
const OVERHEAD_BYTES: usize = 128;
/// Who reads more at once reads them from copies, or rarely again; unless the lattice is so small that there are no copies of it.
const MOST_NODES: usize = 16;

/// By the hash of the content: whoever asks knows from the index which one is right now.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_hash: HashMap<Sha256Digest, Bytes>,
    bytes: usize,
}

impl Recent {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of these nodes, or nothing.
    pub(super) fn all_of(&self, entries: &[Arc<Entry>]) -> Option<Vec<StoredNode>> {
        let kept = self.kept();
        let node = |entry: &Arc<Entry>| {
            let bytes = kept.by_hash.get(&entry.file_hash)?.clone();
            Some(StoredNode { entry: Arc::clone(entry), bytes })
        };
        entries.iter().map(node).collect()
    }

    /// Are so many nodes of so many bytes, read at once of a lattice with `live` nodes, worth being kept?
    pub(super) fn is_worth(nodes: usize, bytes: usize, live: usize) -> bool {
        let all_fit = bytes.saturating_mul(live) / nodes.max(1) <= ALL_BYTES / 2;
        nodes <= MOST_NODES || live < LEAST_NODES && all_fit
    }

    /// Keeps a copy of `content`, whose hash this is.
    pub(super) fn keep(&self, hash: &Sha256Digest, content: &[u8]) {
        if content.len() > SmallFiles::LARGEST_BYTES {
            return;
        }
        let cost = content.len().saturating_add(OVERHEAD_BYTES);
        let mut kept = self.kept();
        if kept.by_hash.contains_key(hash) {
            return;
        }
        if kept.bytes.saturating_add(cost) > ALL_BYTES {
            *kept = Kept::default();
        }
        kept.bytes = kept.bytes.saturating_add(cost);
        kept.by_hash.insert(*hash, Bytes::copy_from_slice(content));
    }
}

impl Shared {
    /// These nodes, where all of them are those of the index and were read of late. Waits for no disk.
    pub(super) fn recent(&self, entries: &[Arc<Entry>]) -> Option<Vec<StoredNode>> {
        let nodes = self.recent.all_of(entries)?;
        let index = self.index();
        let is_current = |entry: &Arc<Entry>| index.get(entry.id.as_str()).is_some_and(|now| Arc::ptr_eq(now, entry));
        let all_are_current = entries.iter().all(is_current);
        drop(index);
        // Of a broken file the content cannot be had, whatever copy of it is left.
        let all_are_current = all_are_current && {
            let unavailable = self.unavailable();
            unavailable.is_empty() || entries.iter().all(|entry| !unavailable.contains(&entry.id))
        };
        (all_are_current && self.is_well()).then_some(nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::index::tests::entry, *};
    use crate::types::ContentHash;

    fn with(content: &str) -> Arc<Entry> {
        let mut node = Entry::clone(&entry("a", content));
        node.file_hash = *ContentHash::of(content.as_bytes()).as_bytes();
        Arc::new(node)
    }

    #[test]
    fn all_are_there_or_nothing() {
        let recent = Recent::default();
        let (one, other) = (with("one"), with("other"));
        assert!(recent.all_of(std::slice::from_ref(&one)).is_none());
        recent.keep(&one.file_hash, b"one");
        recent.keep(&one.file_hash, b"one");
        let found = recent.all_of(std::slice::from_ref(&one)).unwrap();
        assert!(found[0].bytes == b"one"[..] && Arc::ptr_eq(&found[0].entry, &one));
        assert!(recent.all_of(&[Arc::clone(&one), other]).is_none());
        assert!(Recent::is_worth(MOST_NODES, 9000, 1 << 20) && !Recent::is_worth(MOST_NODES + 1, 9000, LEAST_NODES));
        assert!(Recent::is_worth(LEAST_NODES - 1, 400_000, LEAST_NODES - 1), "there is no pack of it");
        assert!(!Recent::is_worth(20, 200_000, 900), "one would take the other's place");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let recent = Recent::default();
        let large = vec![b' '; SmallFiles::LARGEST_BYTES + 1];
        recent.keep(ContentHash::of(&large).as_bytes(), &large);
        assert!(recent.kept().by_hash.is_empty());
        for number in 0..1000 {
            let content = format!("{number:010}").repeat(1000);
            recent.keep(ContentHash::of(content.as_bytes()).as_bytes(), content.as_bytes());
            let kept = recent.kept();
            let sum: usize = kept.by_hash.values().map(|content| content.len() + OVERHEAD_BYTES).sum();
            assert!(sum == kept.bytes && sum <= ALL_BYTES && !kept.by_hash.is_empty());
        }
    }
}
