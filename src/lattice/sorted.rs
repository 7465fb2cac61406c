//! The nodes in the order of their ids (bytes). Cheap to clone: what two clones have in common they share.

use super::Entry;
use std::{cmp::Ordering, sync::Arc};

/// A part with more nodes than this is cut in two; two neighbours with no more than half of it together become one. So much is copied
/// for one change while a clone shares the part.
const PART_NODES: usize = 512;

type Part = Arc<Vec<Arc<Entry>>>;

/// Nodes sorted by id, each id once. No part is empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Sorted {
    parts: Vec<Part>,
    len: usize,
}

fn order(entry: &Entry, id: &[u8]) -> Ordering {
    entry.id.as_str().as_bytes().cmp(id)
}

fn ends_before(part: &Part, id: &[u8]) -> bool {
    part.last().is_some_and(|last| order(last, id).is_lt())
}

fn find(part: &[Arc<Entry>], id: &[u8]) -> Result<usize, usize> {
    part.binary_search_by(|entry| order(entry, id))
}

impl Sorted {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Is `id` greater than all others?
    pub(super) fn ends_before(&self, id: &str) -> bool {
        self.parts.last().is_none_or(|part| ends_before(part, id.as_bytes()))
    }

    /// The part that holds `id`, or would: the first that does not end before it.
    fn part_of(&self, id: &[u8]) -> usize {
        self.parts.partition_point(|part| ends_before(part, id))
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<Entry>> {
        let part = self.parts.get(self.part_of(id.as_bytes()))?;
        part.get(find(part, id.as_bytes()).ok()?)
    }

    /// Adds a node or puts it into the place of the one with its id. Answers whether it is new.
    pub(super) fn put(&mut self, entry: Arc<Entry>) -> bool {
        let id = entry.id.as_str().as_bytes();
        // At the start they come in order: the parts are then full, and not half full.
        if self.ends_before(entry.id.as_str()) {
            match self.parts.last_mut().filter(|part| part.len() < PART_NODES) {
                Some(part) => Arc::make_mut(part).push(entry),
                None => self.parts.push(Arc::new(vec![entry])),
            }
            self.len = self.len.saturating_add(1);
            return true;
        }
        let number = self.part_of(id).min(self.parts.len().saturating_sub(1));
        let Some(part) = self.parts.get_mut(number).map(Arc::make_mut) else {
            self.parts.push(Arc::new(vec![entry]));
            self.len = 1;
            return true;
        };
        match find(part, id) {
            Ok(at) => {
                if let Some(slot) = part.get_mut(at) {
                    *slot = entry;
                }
                return false;
            }
            Err(at) => part.insert(at, entry),
        }
        self.len = self.len.saturating_add(1);
        if part.len() > PART_NODES {
            let upper = part.split_off(PART_NODES / 2);
            part.shrink_to_fit();
            self.parts.insert(number.saturating_add(1), Arc::new(upper));
        }
        true
    }

    /// Takes a node out. Answers whether it was there.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let number = self.part_of(id.as_bytes());
        let Some(part) = self.parts.get_mut(number) else { return false };
        let Ok(at) = find(part, id.as_bytes()) else { return false };
        Arc::make_mut(part).remove(at);
        self.len = self.len.saturating_sub(1);
        self.join(number);
        true
    }

    /// Joins a part that has shrunk with a neighbour, where both are small.
    fn join(&mut self, number: usize) {
        let length = |number: usize| self.parts.get(number).map(|part| part.len());
        let Some(left) = length(number) else { return };
        if left == 0 {
            self.parts.remove(number);
            return;
        }
        let fits = |other: Option<usize>| other.is_some_and(|other| other + left <= PART_NODES / 2);
        let first = match number.checked_sub(1) {
            Some(before) if fits(length(before)) => before,
            _ if fits(length(number.saturating_add(1))) => number,
            _ => return,
        };
        let second = self.parts.remove(first.saturating_add(1));
        if let Some(part) = self.parts.get_mut(first) {
            Arc::make_mut(part).extend(second.iter().cloned());
        }
    }

    /// Every node after `after`, which need not exist (from the first where that is `None`), with its rank: how many are before it.
    pub(super) fn ranked_after(&self, after: Option<&str>) -> impl Iterator<Item = (usize, &Arc<Entry>)> + '_ {
        let number = after.map_or(0, |id| self.part_of(id.as_bytes()));
        let skip = after.zip(self.parts.get(number)).map_or(0, |(id, part)| match find(part, id.as_bytes()) {
            Ok(at) => at.saturating_add(1),
            Err(at) => at,
        });
        let before: usize = self.parts.iter().take(number).map(|part| part.len()).sum();
        let first = self.parts.get(number).and_then(|part| part.get(skip..)).unwrap_or_default();
        let rest = self.parts.iter().skip(number.saturating_add(1)).flat_map(|part| part.iter());
        (before + skip..).zip(first.iter().chain(rest))
    }

    /// Finds one id after another, in ascending order.
    pub(super) fn walk(&self) -> Walk<'_> {
        Walk { parts: &self.parts, at: 0, before: 0 }
    }
}

/// A way through all nodes. Whoever asks for each of them passes over each once; whoever asks for few leaps.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    /// The part that the way has come to, and those after it.
    parts: &'a [Part],
    /// The node in it.
    at: usize,
    /// How many nodes are in the parts before.
    before: usize,
}

impl<'a> Walk<'a> {
    /// The node with this id, and its rank. `id` is greater than the one that was asked for before.
    #[inline]
    pub(super) fn seek(&mut self, id: &[u8]) -> Option<(usize, &'a Arc<Entry>)> {
        let parts = self.parts;
        // Nearly always it is the next one.
        if let Some(next) = parts.first()?.get(self.at) {
            match order(next, id) {
                Ordering::Less => {}
                Ordering::Equal => return Some(self.step(next)),
                Ordering::Greater => return None,
            }
        }
        if ends_before(parts.first()?, id) {
            self.leap(id);
        }
        let part: &'a Part = self.parts.first()?;
        let rest = part.get(self.at..)?;
        match find(rest, id) {
            Ok(at) => {
                self.at += at;
                Some(self.step(rest.get(at)?))
            }
            Err(at) => {
                self.at += at;
                None
            }
        }
    }

    fn step(&mut self, found: &'a Arc<Entry>) -> (usize, &'a Arc<Entry>) {
        let rank = self.before + self.at;
        self.at += 1;
        (rank, found)
    }

    /// On to the first part that does not end before `id`.
    fn leap(&mut self, id: &[u8]) {
        let skipped = match self.parts {
            [_, next, ..] if !ends_before(next, id) => 1,
            parts => parts.partition_point(|part| ends_before(part, id)),
        };
        let (passed, left) = self.parts.split_at_checked(skipped).unwrap_or((self.parts, &[]));
        self.before += passed.iter().map(|part| part.len()).sum::<usize>();
        self.parts = left;
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::index::tests::entry, *};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// What holds of every [`Sorted`], and that it is this map.
    fn check(sorted: &Sorted, model: &BTreeMap<String, String>) {
        assert_eq!(sorted.len(), model.len());
        for part in &sorted.parts {
            assert!((1..=PART_NODES).contains(&part.len()));
        }
        for pair in sorted.parts.windows(2) {
            assert!(pair[0].last().unwrap().id < pair[1].first().unwrap().id);
        }
        let all: Vec<_> = sorted.ranked_after(None).map(|(rank, entry)| (rank, entry.id.as_str())).collect();
        assert_eq!(all, model.keys().map(String::as_str).enumerate().collect::<Vec<_>>());
        for (id, content) in model {
            assert_eq!(sorted.get(id).unwrap().content_hash, entry(id, content).content_hash);
        }
    }

    fn of_range(numbers: impl IntoIterator<Item = usize>) -> (Sorted, BTreeMap<String, String>) {
        let (mut sorted, mut model) = (Sorted::default(), BTreeMap::new());
        for number in numbers {
            let id = format!("{number:06}");
            assert!(sorted.put(entry(&id, "x")));
            model.insert(id, "x".to_owned());
        }
        (sorted, model)
    }

    #[test]
    fn parts_are_cut_and_joined() {
        let (mut sorted, mut model) = of_range((0..4000).map(|number| number * 1001 % 4000));
        check(&sorted, &model);
        let (before, as_it_was) = (sorted.clone(), model.clone());
        for number in (0..4000).filter(|number| number % 50 != 0) {
            let id = format!("{:06}", number * 37 % 4000);
            assert_eq!(sorted.remove(&id), model.remove(&id).is_some());
            assert!(!sorted.remove(&id));
        }
        check(&sorted, &model);
        assert!(sorted.parts.len() <= 2, "{} parts of {} nodes", sorted.parts.len(), sorted.len());
        check(&before, &as_it_was);
        for id in model.keys().cloned().collect::<Vec<_>>() {
            assert!(sorted.remove(&id));
        }
        check(&sorted, &BTreeMap::new());
        assert!(sorted.parts.is_empty() && sorted.walk().seek(b"a").is_none());
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(changes in proptest::collection::vec(("[a-d]{1,2}", proptest::option::of("[xy]{1,3}")), 0..60)) {
            let (mut sorted, mut model) = (Sorted::default(), BTreeMap::new());
            for (id, content) in changes {
                match content {
                    Some(content) => {
                        let is_new = sorted.put(entry(&id, &content));
                        prop_assert_eq!(is_new, model.insert(id, content).is_none());
                    }
                    None => prop_assert_eq!(sorted.remove(&id), model.remove(&id).is_some()),
                }
            }
            check(&sorted, &model);
        }

        #[test]
        fn a_walk_finds_what_is_there_with_its_rank(
            step in 1_usize..5, from in 0_usize..3000, asked in proptest::collection::btree_set(0_usize..6000, 0..200)
        ) {
            let (sorted, model) = of_range((0..3000).map(|number| number * step));
            let ranks: BTreeMap<_, _> = model.keys().enumerate().map(|(rank, id)| (id.clone(), rank)).collect();
            let mut walk = sorted.walk();
            for number in asked {
                let id = format!("{number:06}");
                let found = walk.seek(id.as_bytes());
                prop_assert_eq!(found.map(|(rank, _)| rank), ranks.get(&id).copied());
                prop_assert!(found.is_none_or(|(_, entry)| entry.id.as_str() == id));
            }
            let mut walk = sorted.walk();
            prop_assert!(model.keys().enumerate().all(|(rank, id)| walk.seek(id.as_bytes()).unwrap().0 == rank));

            let after = format!("{from:06}");
            let rest: Vec<_> = sorted.ranked_after(Some(&after)).map(|(rank, entry)| (entry.id.to_string(), rank)).collect();
            let expected: Vec<_> = ranks.into_iter().filter(|(id, _)| *id > after).collect();
            prop_assert_eq!(rest, expected);
        }
    }
}
