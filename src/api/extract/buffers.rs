//! Memory of large bodies, kept for those that come next: the allocator gives it back to the system each time, which then clears every page
//! of it anew, and that costs more than all else that is done with such a body.

use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many are kept, of this length each at most: sixteen megabytes.
const MOST_KEPT: usize = 4;
const LONGEST_KEPT_BYTES: usize = 4 << 20;
/// A buffer that is so many times too long is left for a longer body.
const MOST_ROOM: usize = 4;

/// The buffers of one application. Cloning it shares them.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A body's buffer, kept again on drop.
struct Filled {
    bytes: Vec<u8>,
    buffers: Buffers,
}

impl Buffers {
    fn kept(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer with room for `length` bytes, and `begun` in it.
    pub(super) fn take(&self, length: usize, mut begun: Vec<u8>) -> Vec<u8> {
        let fits = |buffer: &Vec<u8>| buffer.capacity() >= length && buffer.capacity() / MOST_ROOM <= length;
        let found = {
            let mut kept = self.kept();
            kept.iter().position(fits).map(|at| kept.swap_remove(at))
        };
        let Some(mut buffer) = found else {
            begun.reserve(length.saturating_sub(begun.len()));
            return begun;
        };
        buffer.extend_from_slice(&begun);
        buffer
    }

    /// The body in a buffer, which is kept when the last of it is gone.
    pub(super) fn seal(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Filled { bytes, buffers: self.clone() })
    }
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.bytes);
        if buffer.capacity() > LONGEST_KEPT_BYTES {
            return;
        }
        buffer.clear();
        let mut kept = self.buffers.kept();
        // The one that waited longest goes: lengths that are no longer asked for go with it.
        if kept.len() >= MOST_KEPT {
            kept.remove(0);
        }
        kept.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_into_what_another_one_left() {
        let buffers = Buffers::default();
        let mut first = buffers.take(100_000, b"be".to_vec());
        first.extend_from_slice(b"gun");
        let at = first.as_ptr();
        let body = buffers.seal(first);
        let part = body.slice(2..);
        drop(body);
        assert_eq!((&part[..], buffers.kept().len()), (&b"gun"[..], 0), "a part of it is in use");
        drop(part);
        let second = buffers.take(90_000, b"next".to_vec());
        assert_eq!((second.as_ptr(), &second[..]), (at, &b"next"[..]));
        drop(buffers.seal(second));
        let (too_long, too_short) = (buffers.take(100_001, Vec::new()), buffers.take(10_000, Vec::new()));
        assert!(too_long.as_ptr() != at && too_short.as_ptr() != at);
        assert_eq!(buffers.kept().len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = Buffers::default();
        let bodies: Vec<_> = (0..10).map(|number| buffers.seal(Vec::with_capacity(100_000 + number))).collect();
        drop(bodies);
        assert_eq!(buffers.kept().len(), MOST_KEPT);
        assert!(buffers.kept().iter().all(|buffer| buffer.capacity() >= 100_006), "the newest are kept");
        drop(buffers.seal(Vec::with_capacity(LONGEST_KEPT_BYTES + 1)));
        assert_eq!(buffers.kept().len(), MOST_KEPT);
        assert!(buffers.kept().iter().all(|buffer| buffer.capacity() <= LONGEST_KEPT_BYTES));
    }
}
