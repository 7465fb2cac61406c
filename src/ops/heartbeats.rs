//! Envelopes that were checked and taken: the same bytes again are as right as they were, so their signature is not checked again.
//! Only that: what the operator thinks of the key, how fresh the statement is, and whether a newer one came meanwhile, is judged
//! for each of them as for every other.

use crate::{
    manifest::{Manifest, Verified},
    types::PeerId,
};
use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
};

/// Larger ones are checked each time.
const MAX_ENVELOPE_BYTES: usize = 64 << 10;
/// What all of them may take; one more begins anew.
const MAX_BYTES: usize = 32 << 20;
/// What is kept of each beside its bytes, about.
const OVERHEAD_BYTES: usize = 2 << 10;
/// From both ends of an envelope, which tell almost all of them apart: its signature is at one of them in every form that is in use.
/// Two that they do not tell apart take each other's place, no more: the whole is compared.
const HEAD_BYTES: usize = 64;
const TAIL_BYTES: usize = 320;

/// The newest accepted envelope of each peer, of those that came last.
#[derive(Debug, Default)]
pub struct Heartbeats {
    marks: RandomState,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_mark: HashMap<u64, Verified<Manifest>>,
    of_peer: HashMap<PeerId, u64>,
    bytes: usize,
}

impl Kept {
    fn remove(&mut self, mark: u64) {
        if let Some(old) = self.by_mark.remove(&mark) {
            self.bytes = self.bytes.saturating_sub(cost(&old));
        }
    }
}

fn cost(manifest: &Verified<Manifest>) -> usize {
    manifest.received().len().saturating_add(OVERHEAD_BYTES)
}

impl Heartbeats {
    fn mark(&self, received: &[u8]) -> u64 {
        let head = received.get(..HEAD_BYTES).unwrap_or(received);
        let tail = received.get(received.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
        self.marks.hash_one((received.len(), head, tail))
    }

    /// What was verified of exactly these bytes, where they are the newest that were accepted of somebody.
    pub(super) fn find(&self, received: &[u8]) -> Option<Verified<Manifest>> {
        if received.len() > MAX_ENVELOPE_BYTES {
            return None;
        }
        let mark = self.mark(received);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.by_mark.get(&mark).filter(|manifest| manifest.received() == received).cloned()
    }

    /// Keeps what was accepted in the place of what its peer said before.
    pub(super) fn note(&self, manifest: &Verified<Manifest>) {
        let mark = self.mark(manifest.received());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = manifest.get().peer();
        if let Some(before) = kept.of_peer.remove(peer) {
            kept.remove(before);
        }
        if manifest.received().len() > MAX_ENVELOPE_BYTES {
            return;
        }
        if kept.bytes.saturating_add(cost(manifest)) > MAX_BYTES {
            *kept = Kept::default();
        }
        kept.remove(mark);
        kept.bytes = kept.bytes.saturating_add(cost(manifest));
        kept.of_peer.insert(peer.clone(), mark);
        kept.by_mark.insert(mark, manifest.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::KeyPair,
        manifest::{Canonicalization, sign, verify},
        types::Limits,
    };
    use bytes::Bytes;

    fn envelope(key: &KeyPair, peer: &str, seq: usize, padding: usize) -> Bytes {
        let padding = "x".repeat(padding);
        let nodes = format!("[{{\"id\":\"a\",\"hash\":\"b\",\"padding\":\"{padding}\"}}]");
        let manifest = format!("{{\"node_id\":\"{peer}\",\"seq\":{seq},\"nodes\":{nodes}}}");
        let sign =
            sign(manifest.into(), Canonicalization::Jcs, &Limits::default(), key.public_key(), |it| key.sign(it));
        Bytes::from(sign.unwrap())
    }

    fn verified(envelope: &Bytes) -> Verified<Manifest> {
        verify(envelope.clone(), &Limits::default()).unwrap()
    }

    #[test]
    fn only_the_very_bytes_that_were_accepted_last_are_known() {
        let (heartbeats, key) = (Heartbeats::default(), KeyPair::generate().unwrap());
        let (first, second) = (envelope(&key, "a", 1, 0), envelope(&key, "a", 2, 0));
        assert!(heartbeats.find(&first).is_none());
        heartbeats.note(&verified(&first));
        let found = heartbeats.find(&first).unwrap();
        assert_eq!((found.get().seq(), found.public_key()), (Some(1), key.public_key()));
        for at in 0..first.len() {
            let mut changed = first.to_vec();
            changed[at] ^= 1;
            assert!(heartbeats.find(&changed).is_none(), "byte {at}");
            assert!(heartbeats.find(&first[..at]).is_none(), "cut at {at}");
        }
        heartbeats.note(&verified(&second));
        assert!(heartbeats.find(&first).is_none(), "it is no longer the newest");
        assert!(heartbeats.find(&second).is_some());
    }

    #[test]
    fn bytes_between_the_marked_ends_count() {
        let (heartbeats, key) = (Heartbeats::default(), KeyPair::generate().unwrap());
        let long = envelope(&key, "a", 1, 4096);
        heartbeats.note(&verified(&long));
        let mut changed = long.to_vec();
        changed[2048] ^= 1;
        assert_eq!(heartbeats.mark(&long), heartbeats.mark(&changed));
        assert!(heartbeats.find(&long).is_some() && heartbeats.find(&changed).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (heartbeats, key) = (Heartbeats::default(), KeyPair::generate().unwrap());
        let large = envelope(&key, "large", 1, MAX_ENVELOPE_BYTES);
        heartbeats.note(&verified(&large));
        assert!(heartbeats.find(&large).is_none());
        let many: Vec<_> = (0..560).map(|peer| envelope(&key, &format!("{peer}"), 1, 60 << 10)).collect();
        for envelope in &many {
            heartbeats.note(&verified(envelope));
            let kept = heartbeats.kept.lock().unwrap();
            assert!(kept.bytes <= MAX_BYTES && kept.of_peer.len() == kept.by_mark.len());
        }
        assert!(heartbeats.find(&many[559]).is_some());
        assert!(heartbeats.find(&many[0]).is_none());
    }
}
