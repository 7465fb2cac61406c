//! What callers in step ask with: as long as nothing changes on their side, the same bytes each time. Once such a request was read and
//! found right, the same bytes need not be read again to know which set hash they state.

use super::known_bytes::{Bounds, KnownBytes};
use crate::types::SetHash;
use bytes::Bytes;
use std::sync::{Mutex, PoisonError};

/// The longest is some 20,000 nodes.
const BOUNDS: Bounds =
    Bounds { longest_bytes: 2 << 20, all_bytes: 16 << 20, overhead_bytes: 128, head_bytes: 256, tail_bytes: 256 };

/// The requests of callers in step, of those that came last.
#[derive(Debug)]
pub struct KnownLists(Mutex<KnownBytes<SetHash>>);

impl Default for KnownLists {
    fn default() -> Self {
        Self(Mutex::new(KnownBytes::new(BOUNDS)))
    }
}

impl KnownLists {
    /// The set hash that exactly these bytes state, where they were found right.
    pub(super) fn stated(&self, body: &[u8]) -> Option<SetHash> {
        // They may be long: comparing them keeps nobody else waiting.
        let (known, stated) = self.0.lock().unwrap_or_else(PoisonError::into_inner).with_mark_of(body).cloned()?;
        (known == body).then_some(stated)
    }

    /// Keeps a request that was found right and states `stated`.
    pub(super) fn note(&self, body: Bytes, stated: SetHash) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(body, stated);
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
        let large = Bytes::from(vec![b'x'; BOUNDS.longest_bytes + 1]);
        lists.note(large.clone(), stated);
        assert!(lists.stated(&large).is_none());
        let body = |number: u32| Bytes::from([number.to_be_bytes().as_slice(), &[0; 1 << 20]].concat());
        for number in 0..40 {
            lists.note(body(number), stated);
            lists.note(body(number), stated);
            assert!(lists.0.lock().unwrap().size().1 > 1 << 20);
        }
        assert_eq!(lists.stated(&body(39)), Some(stated));
    }
}
