//! What callers in step ask with: as long as nothing changes on their side, the same bytes each time. Once such a request was read and
//! found right, the same bytes need not be read again to know which set hash they state.

use crate::types::SetHash;
use bytes::Bytes;
use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
};

/// Some 20,000 nodes. Longer ones are read each time.
const MAX_REQUEST_BYTES: usize = 2 << 20;
/// What all of them may take; one more begins anew.
const MAX_BYTES: usize = 16 << 20;
/// From both ends of a request. Two that they do not tell apart take each other's place, no more: the whole is compared.
const END_BYTES: usize = 256;

/// The requests of callers in step, of those that came last.
#[derive(Debug, Default)]
pub struct KnownLists {
    marks: RandomState,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_mark: HashMap<u64, (Bytes, SetHash)>,
    bytes: usize,
}

impl KnownLists {
    fn mark(&self, body: &[u8]) -> u64 {
        let head = body.get(..END_BYTES).unwrap_or(body);
        let tail = body.get(body.len().saturating_sub(END_BYTES)..).unwrap_or_default();
        self.marks.hash_one((body.len(), head, tail))
    }

    /// The set hash that exactly these bytes state, where they were found right.
    pub(super) fn stated(&self, body: &[u8]) -> Option<SetHash> {
        if body.len() > MAX_REQUEST_BYTES {
            return None;
        }
        let mark = self.mark(body);
        let (known, stated) = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.by_mark.get(&mark).cloned()?
        };
        (known == body).then_some(stated)
    }

    /// Keeps a request that was found right and states `stated`.
    pub(super) fn note(&self, body: Bytes, stated: SetHash) {
        if body.len() > MAX_REQUEST_BYTES {
            return;
        }
        let mark = self.mark(&body);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes.saturating_add(body.len()) > MAX_BYTES {
            *kept = Kept::default();
        }
        kept.bytes = kept.bytes.saturating_add(body.len());
        if let Some((before, _)) = kept.by_mark.insert(mark, (body, stated)) {
            kept.bytes = kept.bytes.saturating_sub(before.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_bytes_are_known() {
        let (lists, stated) = (KnownLists::default(), SetHash::of(b"a"));
        let body = Bytes::from(vec![b'x'; 4096]);
        assert!(lists.stated(&body).is_none());
        lists.note(body.clone(), stated);
        assert_eq!(lists.stated(&body), Some(stated));
        for at in [0, 300, 2048, 4095] {
            let mut changed = body.to_vec();
            changed[at] = b'y';
            assert!(lists.stated(&changed).is_none(), "byte {at}");
        }
        assert!(lists.stated(&body[1..]).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (lists, stated) = (KnownLists::default(), SetHash::of(b"a"));
        let large = Bytes::from(vec![b'x'; MAX_REQUEST_BYTES + 1]);
        lists.note(large.clone(), stated);
        assert!(lists.stated(&large).is_none());
        let body = |number: u32| Bytes::from([number.to_be_bytes().as_slice(), &[0; 1 << 20]].concat());
        for number in 0..40 {
            lists.note(body(number), stated);
            lists.note(body(number), stated);
            let kept = lists.kept.lock().unwrap();
            assert_eq!(kept.bytes, kept.by_mark.values().map(|(body, _)| body.len()).sum::<usize>());
            assert!(kept.bytes <= MAX_BYTES);
        }
        assert_eq!(lists.stated(&body(39)), Some(stated));
    }
}
