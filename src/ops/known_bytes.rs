//! Requests that were read and found right before: the same bytes again are as right as they were. What was made of them is kept
//! beside them, of those that came last, within bounds.

use bytes::Bytes;
use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
};

/// What is kept at most. One more than `all` begins anew.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Longer requests are not kept.
    pub longest_bytes: usize,
    /// What all of them may take.
    pub all_bytes: usize,
    /// What is kept of each beside its bytes, about.
    pub overhead_bytes: usize,
    /// From the beginning of a request, and from its end: they tell almost all of them apart, and spare hashing the whole. Two that
    /// they do not tell apart take each other's place, no more: the whole is compared.
    pub head_bytes: usize,
    /// See `head_bytes`.
    pub tail_bytes: usize,
}

/// The two ends of a request, as one number that nobody outside can foretell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Mark(u64);

/// That a request was kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    /// Under which mark.
    pub mark: Mark,
    /// Everything that was kept before is forgotten.
    pub begun_anew: bool,
}

/// Requests by their marks, with what was made of them.
#[derive(Debug)]
pub(super) struct KnownBytes<V> {
    bounds: Bounds,
    marks: RandomState,
    by_mark: HashMap<Mark, (Bytes, V)>,
    bytes: usize,
}

impl<V> KnownBytes<V> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, marks: RandomState::new(), by_mark: HashMap::new(), bytes: 0 }
    }

    pub(super) fn mark(&self, request: &[u8]) -> Mark {
        let head = request.get(..self.bounds.head_bytes).unwrap_or(request);
        let tail = request.get(request.len().saturating_sub(self.bounds.tail_bytes)..).unwrap_or_default();
        Mark(self.marks.hash_one((request.len(), head, tail)))
    }

    /// What has the mark of `request`. Only where its bytes are equal too, which is for the caller to find, it is known.
    pub(super) fn with_mark_of(&self, request: &[u8]) -> Option<&(Bytes, V)> {
        if request.len() > self.bounds.longest_bytes {
            return None;
        }
        self.by_mark.get(&self.mark(request))
    }

    pub(super) fn remove(&mut self, mark: Mark) {
        if let Some((old, _)) = self.by_mark.remove(&mark) {
            self.bytes = self.bytes.saturating_sub(self.cost(&old));
        }
    }

    /// Keeps `request` in the place of what had its mark. Nothing where it is too long.
    pub(super) fn insert(&mut self, request: Bytes, value: V) -> Option<Kept> {
        if request.len() > self.bounds.longest_bytes {
            return None;
        }
        let begun_anew = self.bytes.saturating_add(self.cost(&request)) > self.bounds.all_bytes;
        if begun_anew {
            self.by_mark.clear();
            self.bytes = 0;
        }
        let mark = self.mark(&request);
        self.remove(mark);
        self.bytes = self.bytes.saturating_add(self.cost(&request));
        self.by_mark.insert(mark, (request, value));
        Some(Kept { mark, begun_anew })
    }

    fn cost(&self, request: &[u8]) -> usize {
        request.len().saturating_add(self.bounds.overhead_bytes)
    }
}

#[cfg(test)]
impl<V> KnownBytes<V> {
    /// How many there are and what they take, which is as the bounds want it.
    pub(super) fn size(&self) -> (usize, usize) {
        let sum = self.by_mark.values().map(|(request, _)| self.cost(request)).sum();
        assert_eq!(self.bytes, sum);
        assert!(sum <= self.bounds.all_bytes);
        (self.by_mark.len(), sum)
    }
}
