//! Which nodes a caller lacks, and which we do (DESIGN 4.5). Pure: a snapshot and a list in, nodes out, one pass over both.

use super::{Entry, index::Snapshot};
use crate::types::{ContentHash, NodeId};
use bytes::Bytes;
use std::{ops::Range, sync::Arc};

/// Where one node of a caller's list has its id and its hash, in the list's text.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    id: (u32, u32),
    hash: (u32, u32),
}

fn narrow(range: &Range<usize>) -> Option<(u32, u32)> {
    Some((u32::try_from(range.start).ok()?, u32::try_from(range.end).ok()?))
}

fn part(text: &[u8], (start, end): (u32, u32)) -> &[u8] {
    let wide = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
    text.get(wide(start)..wide(end)).unwrap_or_default()
}

impl Place {
    /// `None` where the text is longer than 4 GiB.
    #[must_use]
    pub fn new(id: &Range<usize>, hash: &Range<usize>) -> Option<Self> {
        Some(Self { id: narrow(id)?, hash: narrow(hash)? })
    }

    fn id(self, text: &[u8]) -> &[u8] {
        part(text, self.id)
    }
}

/// What a caller holds: nodes in the order of their ids, each once. Nothing of its text is copied.
#[derive(Debug, Default)]
pub struct Held {
    text: Bytes,
    places: Vec<Place>,
}

impl Held {
    /// `places` are ids and hashes in `text`, in any order. `None` where an id is there twice.
    #[must_use]
    pub fn new(text: Bytes, mut places: Vec<Place>) -> Option<Self> {
        let ascend = |one: &Place, next: &Place| one.id(&text) < next.id(&text);
        // Callers list their nodes in order, as a rule.
        if !places.is_sorted_by(ascend) {
            places.sort_unstable_by(|one, other| one.id(&text).cmp(other.id(&text)));
            if !places.is_sorted_by(ascend) {
                return None;
            }
        }
        Some(Self { text, places })
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Ids and hashes as the caller states them, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        self.places.iter().map(|place| (place.id(&self.text), part(&self.text, place.hash)))
    }
}

/// In what a caller's node is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Same {
    Content,
    /// The bytes of the file: what the seed's `compute_hash` yields.
    File,
}

/// Is `stated`, which a caller says of one node, our hash of it? That is 64 lower-case hex digits with or without `sha256:`. Every
/// other text equals none of ours.
fn same(stated: &[u8], entry: &Entry) -> Option<Same> {
    let digits = <&[u8; 64]>::try_from(stated.strip_prefix(b"sha256:").unwrap_or(stated)).ok()?;
    if *digits == entry.content_hash.hex_bytes() {
        return Some(Same::Content);
    }
    (*digits == ContentHash::from_digest(entry.file_hash).hex_bytes()).then_some(Same::File)
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}
impl Eq for Held {}

/// What differs between a snapshot and a caller's list, of which nothing else is kept.
#[derive(Debug)]
pub struct Delta {
    snapshot: Arc<Snapshot>,
    /// The ranks of the nodes that the caller holds as we do, ascending. All others differ; there may be many more of them.
    equal: Vec<u32>,
    /// Each of them by its content.
    by_content: bool,
    wanted: Vec<NodeId>,
}

impl Delta {
    /// Compares the two.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, held: &Held) -> Self {
        let mut equal = Vec::with_capacity(held.len().min(snapshot.len()));
        let mut by_content = true;
        let mut wanted = Vec::new();
        let mut ours = snapshot.walk();
        for (id, hash) in held.iter() {
            match ours.seek(id) {
                Some((rank, entry)) => {
                    let Some(same) = same(hash, entry) else { continue };
                    by_content &= same == Same::Content;
                    // A node whose rank were too large for the list would be sent, which is never wrong.
                    equal.extend(u32::try_from(rank));
                }
                None => wanted.extend(std::str::from_utf8(id).ok().and_then(|id| NodeId::parse(id).ok())),
            }
        }
        Self { snapshot, equal, by_content, wanted }
    }

    /// The nodes that the caller lacks or holds with another hash, after the node `after`, in the order of their ids. Lazy: a page
    /// costs what it looks at. An id that is gone still serves as `after`.
    pub fn entries(&self, after: Option<&NodeId>) -> impl Iterator<Item = &Arc<Entry>> + '_ {
        let mut ours = self.snapshot.ranked_after(after).peekable();
        let first = ours.peek().map_or(0, |(rank, _)| *rank);
        let passed = self.equal.partition_point(|rank| usize::try_from(*rank).is_ok_and(|rank| rank < first));
        let mut equal = self.equal.get(passed..).unwrap_or_default().iter().peekable();
        ours.filter(move |(rank, _)| equal.next_if(|equal| u32::try_from(*rank).as_ref() == Ok(*equal)).is_none())
            .map(|(_, entry)| entry)
    }

    /// Does the caller hold what the set hash stands for, and nothing else?
    #[must_use]
    pub fn is_our_set(&self) -> bool {
        self.by_content && self.wanted.is_empty() && self.equal.len() == self.snapshot.len()
    }

    /// The ids that the caller has and we lack, sorted.
    #[must_use]
    pub fn wanted(&self) -> &[NodeId] {
        &self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::{super::index::tests::entry, *};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn held(list: impl Iterator<Item = (String, String)>) -> Option<Held> {
        let (mut text, mut places) = (Vec::new(), Vec::new());
        for (id, hash) in list {
            let start = text.len();
            text.extend([id.as_bytes(), hash.as_bytes()].concat());
            let middle = start + id.len();
            places.push(Place::new(&(start..middle), &(middle..text.len())).unwrap());
        }
        Held::new(text.into(), places)
    }

    #[test]
    fn a_list_is_put_in_order_and_has_each_id_once() {
        let of = |ids: &[&str]| held(ids.iter().map(|id| ((*id).to_owned(), "h".to_owned())));
        for ids in [["a", "b", "c"], ["c", "a", "b"], ["c", "b", "a"]] {
            let held = of(&ids).unwrap();
            assert_eq!(held.iter().map(|(id, _)| id).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        }
        assert!(of(&["a", "a"]).is_none() && of(&["b", "a", "b"]).is_none());
        assert!(of(&[]).is_some_and(|held| held.is_empty()));
        assert!(Place::new(&(0..1), &(1..1 << 33)).is_none());
    }

    #[test]
    fn both_hashes_count_with_and_without_their_prefix_and_nothing_else_does() {
        let node = entry("a", "content");
        let content = node.content_hash.to_hex();
        let file = ContentHash::from_digest(node.file_hash).to_hex();
        let of = |text: &str| same(text.as_bytes(), &node);
        for (text, expected) in [(&content, Same::Content), (&file, Same::File)] {
            assert_eq!((of(text), of(&format!("sha256:{text}"))), (Some(expected), Some(expected)));
            for other in [format!("sha512:{text}"), text.to_uppercase(), format!("{text} ")] {
                assert_eq!(of(&other), None, "{other}");
            }
        }
        for other in [String::new(), "sha256:".to_owned(), "0".repeat(64)] {
            assert_eq!(of(&other), None, "{other}");
        }
    }

    /// Whoever states our file's bytes will not hold them when the file is written anew with the same content: the set hash stays.
    #[test]
    fn a_set_is_ours_by_its_contents_alone() {
        let nodes = [entry("a", "1"), entry("b", "2")];
        let snapshot = Snapshot::of(nodes.iter().cloned());
        let content = |node: &Entry| node.content_hash.to_hex();
        let file = |node: &Entry| ContentHash::from_digest(node.file_hash).to_hex();
        let [a, b] = &nodes;
        let listed = |list: &[(&str, String)]| {
            let held = held(list.iter().map(|(id, hash)| ((*id).to_owned(), hash.clone()))).unwrap();
            let delta = Delta::new(Arc::clone(&snapshot), &held);
            (delta.entries(None).count() + delta.wanted().len(), delta.is_our_set())
        };
        assert_eq!(listed(&[("a", content(a)), ("b", content(b))]), (0, true));
        assert_eq!(listed(&[("a", content(a)), ("b", file(b))]), (0, false));
        assert_eq!(listed(&[("a", content(a))]), (1, false));
        assert_eq!(listed(&[("a", content(a)), ("b", content(b)), ("c", content(b))]), (1, false));
        assert_eq!(listed(&[("a", content(a)), ("b", content(a))]), (1, false));
    }

    proptest! {
        #[test]
        fn applying_the_delta_makes_the_sets_equal(
            ours in proptest::collection::btree_map("[a-f]{1,2}", "[xy]{1,2}", 0..30),
            theirs in proptest::collection::btree_map("[a-f]{1,2}", "[xy]{1,2}", 0..30),
            page in 1_usize..7,
        ) {
            let snapshot = Snapshot::of(ours.iter().map(|(id, content)| entry(id, content)));
            let list = theirs.iter().map(|(id, content)| (id.clone(), ContentHash::of(content.as_bytes()).to_hex()));
            let delta = Delta::new(Arc::clone(&snapshot), &held(list.rev()).unwrap());

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
