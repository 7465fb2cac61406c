//! What the writer thread knows of each node's file. Small: a million of them are to fit beside the index.

use super::{Entry, file_name};
use crate::types::NodeId;
use hashbrown::{HashTable, hash_table};
use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
};

/// What the writer thread knows of one node's file.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) entry: Arc<Entry>,
    /// Of the file's stamp.
    pub(super) fingerprint: u64,
    /// The scan that saw it last.
    pub(super) generation: u32,
    /// The stamp alone does not prove that the content is the same.
    pub(super) racy: bool,
    /// `false`: the file broke.
    pub(super) live: bool,
    /// The file's name is not the plain one.
    pub(super) is_odd: bool,
}

/// All of them, by id. The id stands in the entry alone. They lie close together, in no order: of a hash table's places up to half are
/// empty, and empty ones of four bytes are many fewer bytes than empty ones of twenty-four.
#[derive(Debug, Default)]
pub(super) struct KnownFiles {
    files: Vec<Known>,
    /// Where in `files` each is.
    places: HashTable<u32>,
    hashes: RandomState,
    /// Those names that are not the plain ones; there are few.
    odd_names: HashMap<NodeId, Box<str>>,
    /// What all files take.
    bytes: u64,
}

/// Is the file at `place` that of this node?
fn is_at(files: &[Known], place: u32, id: &str) -> bool {
    at(files, place).is_some_and(|known| known.entry.id.as_str() == id)
}

fn at(files: &[Known], place: u32) -> Option<&Known> {
    files.get(usize::try_from(place).ok()?)
}

/// The hash of the node whose file is at `place`.
fn hash_at(hashes: &RandomState, files: &[Known], place: u32) -> u64 {
    at(files, place).map_or(0, |known| hashes.hash_one(known.entry.id.as_str()))
}

impl KnownFiles {
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// What all files take, bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn hash(&self, id: &str) -> u64 {
        self.hashes.hash_one(id)
    }

    fn place(&self, id: &str) -> Option<usize> {
        let place = self.places.find(self.hash(id), |place| is_at(&self.files, *place, id))?;
        usize::try_from(*place).ok()
    }

    /// Makes room for so many more at once: growing by and by takes twice the memory for a moment.
    pub(super) fn reserve(&mut self, more: usize) {
        self.files.reserve_exact(more);
        let (hashes, files) = (&self.hashes, &self.files);
        self.places.reserve(more, |place| hash_at(hashes, files, *place));
    }

    /// Where the node's file is, if it is `live`, surely has the content that it had, and has this fingerprint.
    pub(super) fn unchanged(&self, id: &str, name: &str, fingerprint: u64) -> Option<u32> {
        let place = *self.places.find(self.hash(id), |place| is_at(&self.files, *place, id))?;
        let known = at(&self.files, place)?;
        let is_its = !known.is_odd || self.odd_name(known) == Some(name);
        (is_its && known.live && !known.racy && known.fingerprint == fingerprint).then_some(place)
    }

    /// The file at this place is there.
    pub(super) fn seen(&mut self, place: u32, generation: u32) {
        let known = usize::try_from(place).ok().and_then(|place| self.files.get_mut(place));
        if let Some(known) = known {
            known.generation = generation;
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Known> {
        self.files.get(self.place(id)?)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Known> {
        let place = self.place(id)?;
        self.files.get_mut(place)
    }

    /// Keeps `known`, whose file has this name, in the place of what was known of its node.
    pub(super) fn insert(&mut self, known: Known, name: &str) {
        let id = known.entry.id.clone();
        if known.is_odd {
            self.odd_names.insert(id.clone(), name.into());
        } else if !self.odd_names.is_empty() {
            self.odd_names.remove(&id);
        }
        self.bytes = self.bytes.saturating_add(known.entry.size_bytes);
        let (hash, hashes, files) = (self.hash(id.as_str()), &self.hashes, &self.files);
        let is_its = |place: &u32| is_at(files, *place, id.as_str());
        match self.places.entry(hash, is_its, |place| hash_at(hashes, files, *place)) {
            hash_table::Entry::Occupied(found) => {
                if let Some(before) = usize::try_from(*found.get()).ok().and_then(|place| self.files.get_mut(place)) {
                    self.bytes = self.bytes.saturating_sub(before.entry.size_bytes);
                    *before = known;
                }
            }
            hash_table::Entry::Vacant(free) => {
                // A directory holds fewer files than that.
                let Ok(place) = u32::try_from(self.files.len()) else { return };
                free.insert(place);
                self.files.push(known);
            }
        }
    }

    /// Forgets the node; answers the name of its file.
    pub(super) fn remove(&mut self, id: &NodeId) -> Option<String> {
        let hash = self.hash(id.as_str());
        let files = &self.files;
        let found = self.places.find_entry(hash, |place| is_at(files, *place, id.as_str())).ok()?;
        let (place, _) = found.remove();
        // The last one takes the place that is free now, and has to be found there.
        if let Some(last) = u32::try_from(self.files.len()).ok()?.checked_sub(1)
            && last != place
        {
            let moved = hash_at(&self.hashes, &self.files, last);
            if let Some(its) = self.places.find_mut(moved, |it| *it == last) {
                *its = place;
            }
        }
        let place = usize::try_from(place).ok().filter(|place| *place < self.files.len())?;
        let known = self.files.swap_remove(place);
        self.bytes = self.bytes.saturating_sub(known.entry.size_bytes);
        let odd = self.odd_names.remove(id).filter(|_| known.is_odd);
        Some(odd.map_or_else(|| file_name::plain(id), String::from))
    }

    /// The name of the file.
    pub(super) fn name(&self, known: &Known) -> String {
        let odd = self.odd_name(known).map(str::to_owned);
        odd.unwrap_or_else(|| file_name::plain(&known.entry.id))
    }

    /// The name of the file, where it is not the plain one.
    pub(super) fn odd_name(&self, known: &Known) -> Option<&str> {
        self.odd_names.get(&known.entry.id).map(|name| &**name).filter(|_| known.is_odd)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.files.iter()
    }

    #[cfg(test)]
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Known> {
        self.files.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::index::tests::entry, *};
    use std::collections::BTreeMap;

    fn known(id: &str, fingerprint: u64, is_odd: bool) -> Known {
        let entry = entry(id, "1");
        Known { entry, fingerprint, generation: 1, racy: false, live: true, is_odd }
    }

    #[test]
    fn a_million_of_them_are_small() {
        assert!(size_of::<Known>() <= 24);
    }

    proptest::proptest! {
        #[test]
        fn it_is_a_map_by_id(changes in proptest::collection::vec(("[a-c]{1,2}", proptest::bool::ANY, proptest::bool::ANY), 0..60)) {
            let mut files = KnownFiles::default();
            let mut model: BTreeMap<String, (u64, String)> = BTreeMap::new();
            for (number, (id, keep, is_odd)) in (0..).zip(changes) {
                let name = if is_odd { format!("{id}~{number}.json") } else { format!("{id}.json") };
                if keep {
                    files.reserve(1);
                    files.insert(known(&id, number, is_odd), &name);
                    model.insert(id, (number, name));
                } else {
                    let gone = files.remove(&NodeId::parse(&id).unwrap());
                    proptest::prop_assert_eq!(gone, model.remove(&id).map(|(_, name)| name));
                }
                proptest::prop_assert_eq!(files.len(), model.len());
                proptest::prop_assert_eq!(files.bytes(), files.iter().map(|it| it.entry.size_bytes).sum::<u64>());
                let all: BTreeMap<_, _> =
                    files.iter().map(|it| (it.entry.id.to_string(), (it.fingerprint, files.name(it)))).collect();
                proptest::prop_assert_eq!(&all, &model);
                for id in model.keys() {
                    proptest::prop_assert_eq!(files.get(id).map(|it| it.fingerprint), files.get_mut(id).map(|it| it.fingerprint));
                    proptest::prop_assert_eq!(files.get(id).map(|it| it.fingerprint), Some(model[id].0));
                }
            }
        }
    }
}
