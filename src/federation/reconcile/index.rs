//! The versions that a lattice holds, in the order of their ids, with sums from which the fingerprint of any range is made. One
//! change touches one bucket; a fingerprint adds some hundred sums, however many versions there are.

use super::item::{ITEM_BYTES, ItemId, NodePart};
use sha2::{Digest, Sha256};
use std::ops::Range;

/// Buckets are what the first 12 bits of an id say; [`GROUPS`] of as many each hold their sums.
const BUCKETS: usize = 1 << 12;
const GROUPS: usize = 1 << 6;
const GROUP: usize = BUCKETS / GROUPS;

/// How long a fingerprint is.
pub const FINGERPRINT_BYTES: usize = 16;

/// What stands for all versions of a range.
pub type Fingerprint = [u8; FINGERPRINT_BYTES];

/// Ids as little-endian numbers, added modulo 2^256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sum([u64; 4]);

impl Sum {
    fn of(item: &ItemId) -> Self {
        let (lanes, _) = item.as_bytes().as_chunks::<8>();
        let mut sum = Self::default();
        sum.0.iter_mut().zip(lanes).for_each(|(to, lane)| *to = u64::from_le_bytes(*lane));
        sum
    }

    fn plus(self, other: Self) -> Self {
        let mut carry = false;
        let mut sum = self;
        for (to, more) in sum.0.iter_mut().zip(other.0) {
            let (added, first) = to.overflowing_add(more);
            let (added, second) = added.overflowing_add(u64::from(carry));
            (*to, carry) = (added, first || second);
        }
        sum
    }

    fn minus(self, other: Self) -> Self {
        let mut borrow = false;
        let mut rest = self;
        for (to, less) in rest.0.iter_mut().zip(other.0) {
            let (taken, first) = to.overflowing_sub(less);
            let (taken, second) = taken.overflowing_sub(u64::from(borrow));
            (*to, borrow) = (taken, first || second);
        }
        rest
    }

    fn to_bytes(self) -> [u8; ITEM_BYTES] {
        let mut bytes = [0; ITEM_BYTES];
        let lanes = self.0.into_iter().flat_map(u64::to_le_bytes);
        bytes.iter_mut().zip(lanes).for_each(|(to, from)| *to = from);
        bytes
    }
}

/// A version, and where its change stands in the journal.
#[derive(Debug, Clone, Copy)]
struct Held {
    item: ItemId,
    seq: u64,
}

#[derive(Debug, Clone, Default)]
struct Bucket {
    held: Vec<Held>,
    sum: Sum,
}

impl Bucket {
    fn before(&self, item: &ItemId) -> usize {
        self.held.partition_point(|held| held.item < *item)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Group {
    count: usize,
    sum: Sum,
}

/// Everything before it ends before a position: whole groups, whole buckets of the next group, versions of the next bucket.
#[derive(Debug, Clone, Copy)]
struct Place {
    group: usize,
    bucket: usize,
    offset: usize,
}

/// See the module.
#[derive(Debug)]
pub struct SetIndex {
    buckets: Vec<Bucket>,
    groups: Vec<Group>,
    len: usize,
}

impl Default for SetIndex {
    fn default() -> Self {
        Self { buckets: vec![Bucket::default(); BUCKETS], groups: vec![Group::default(); GROUPS], len: 0 }
    }
}

fn bucket_of(item: &ItemId) -> usize {
    let [first, second, ..] = item.as_bytes();
    usize::from(*first) << 4 | usize::from(*second) >> 4
}

impl SetIndex {
    /// How many versions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// No version at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a version in, or gives it another position.
    pub fn insert(&mut self, item: ItemId, seq: u64) {
        let number = bucket_of(&item);
        let Some(bucket) = self.buckets.get_mut(number) else { return };
        let at = bucket.before(&item);
        if let Some(held) = bucket.held.get_mut(at).filter(|held| held.item == item) {
            held.seq = seq;
            return;
        }
        bucket.held.insert(at, Held { item, seq });
        bucket.sum = bucket.sum.plus(Sum::of(&item));
        self.len = self.len.saturating_add(1);
        if let Some(group) = self.groups.get_mut(number / GROUP) {
            group.count = group.count.saturating_add(1);
            group.sum = group.sum.plus(Sum::of(&item));
        }
    }

    /// Takes a version out.
    pub fn remove(&mut self, item: &ItemId) {
        let number = bucket_of(item);
        let Some(bucket) = self.buckets.get_mut(number) else { return };
        let at = bucket.before(item);
        if bucket.held.get(at).is_none_or(|held| held.item != *item) {
            return;
        }
        bucket.held.remove(at);
        bucket.sum = bucket.sum.minus(Sum::of(item));
        self.len = self.len.saturating_sub(1);
        if let Some(group) = self.groups.get_mut(number / GROUP) {
            group.count = group.count.saturating_sub(1);
            group.sum = group.sum.minus(Sum::of(item));
        }
    }

    /// The position of a version.
    #[must_use]
    pub fn get(&self, item: &ItemId) -> Option<u64> {
        let bucket = self.buckets.get(bucket_of(item))?;
        bucket.held.get(bucket.before(item)).filter(|held| held.item == *item).map(|held| held.seq)
    }

    /// The versions of a node, with their positions: one, unless another node's id has the same hash in its first bytes.
    pub fn of_node(&self, part: NodePart) -> impl Iterator<Item = (ItemId, u64)> + '_ {
        let mut least = [0; ITEM_BYTES];
        least.iter_mut().zip(part).for_each(|(to, from)| *to = from);
        let least = ItemId::from_bytes(least);
        let bucket = self.buckets.get(bucket_of(&least));
        let from = bucket.map(|bucket| bucket.held.get(bucket.before(&least)..).unwrap_or_default());
        let its = from.unwrap_or_default().iter().take_while(move |held| held.item.node_part() == part);
        its.map(|held| (held.item, held.seq))
    }

    /// The versions at these places in the order, as far as there are any.
    pub fn items(&self, range: Range<usize>) -> impl Iterator<Item = &ItemId> {
        let place = self.place(range.start);
        let first =
            self.buckets.get(place.bucket).and_then(|bucket| bucket.held.get(place.offset..)).unwrap_or_default();
        let rest = self.buckets.iter().skip(place.bucket.saturating_add(1)).flat_map(|bucket| &bucket.held);
        first.iter().chain(rest).take(range.len()).map(|held| &held.item)
    }

    /// How many versions stand before `bound`.
    #[must_use]
    pub fn rank(&self, bound: &ItemId) -> usize {
        let number = bucket_of(bound);
        let groups = self.groups.iter().take(number / GROUP).map(|group| group.count);
        let buckets = self.buckets.iter().take(number).skip(number / GROUP * GROUP).map(|bucket| bucket.held.len());
        let within = self.buckets.get(number).map_or(0, |bucket| bucket.before(bound));
        groups.chain(buckets).sum::<usize>().saturating_add(within)
    }

    /// What stands for the versions at these places, their number included.
    #[must_use]
    pub fn fingerprint(&self, range: Range<usize>) -> Fingerprint {
        let before = |position| self.terms(position).fold(Sum::default(), Sum::plus);
        let sum = before(range.end).minus(before(range.start));
        let mut hasher = Sha256::new();
        hasher.update(sum.to_bytes());
        let mut count = Vec::new();
        super::message::write_number(u64::try_from(range.len()).unwrap_or(u64::MAX), &mut count);
        hasher.update(count);
        let digest: [u8; 32] = hasher.finalize().into();
        let (fingerprint, _) = digest.split_first_chunk().unwrap_or((&[0; FINGERPRINT_BYTES], &[]));
        *fingerprint
    }

    /// What is to be added for everything before a position.
    fn terms(&self, position: usize) -> impl Iterator<Item = Sum> + '_ {
        let Place { group, bucket, offset } = self.place(position);
        let groups = self.groups.iter().take(group).map(|group| group.sum);
        let buckets = self.buckets.iter().take(bucket).skip(group * GROUP).map(|bucket| bucket.sum);
        let within = self.buckets.get(bucket).and_then(|bucket| bucket.held.get(..offset)).unwrap_or_default();
        groups.chain(buckets).chain(within.iter().map(|held| Sum::of(&held.item)))
    }

    fn place(&self, position: usize) -> Place {
        let mut offset = position.min(self.len);
        let mut group = 0;
        for it in &self.groups {
            if offset < it.count {
                break;
            }
            offset -= it.count;
            group += 1;
        }
        let mut bucket = group * GROUP;
        for it in self.buckets.iter().skip(bucket) {
            if offset < it.held.len() {
                break;
            }
            offset -= it.held.len();
            bucket += 1;
        }
        Place { group, bucket, offset }
    }
}

#[cfg(test)]
#[path = "index/tests.rs"]
mod tests;
