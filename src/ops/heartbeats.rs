//! Envelopes that were checked and taken: the same bytes again are as right as they were, so their signature is not checked again.
//! Only that: what the operator thinks of the key, how fresh the statement is, and whether a newer one came meanwhile, is judged
//! for each of them as for every other.

use super::known_bytes::{Bounds, KnownBytes, Mark};
use crate::{
    manifest::{Manifest, Verified},
    types::PeerId,
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// The signature is at one of the ends in every form of envelope that is in use.
const BOUNDS: Bounds =
    Bounds { longest_bytes: 64 << 10, all_bytes: 32 << 20, overhead_bytes: 2 << 10, head_bytes: 64, tail_bytes: 320 };

/// The newest accepted envelope of each peer, of those that came last.
#[derive(Debug)]
pub struct Heartbeats(Mutex<Newest>);

#[derive(Debug)]
struct Newest {
    envelopes: KnownBytes<Verified<Manifest>>,
    of_peer: HashMap<PeerId, Mark>,
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self(Mutex::new(Newest { envelopes: KnownBytes::new(BOUNDS), of_peer: HashMap::new() }))
    }
}

impl Heartbeats {
    /// What was verified of exactly these bytes, where they are the newest that were accepted of somebody.
    pub(super) fn find(&self, received: &[u8]) -> Option<Verified<Manifest>> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, manifest) = newest.envelopes.with_mark_of(received)?;
        (known == received).then(|| manifest.clone())
    }

    /// Keeps what was accepted in the place of what its peer said before.
    pub(super) fn note(&self, manifest: &Verified<Manifest>) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Newest { envelopes, of_peer } = &mut *newest;
        let peer = manifest.get().peer();
        if let Some(before) = of_peer.remove(peer) {
            envelopes.remove(before);
        }
        if let Some(kept) = envelopes.insert(manifest.received().clone(), manifest.clone()) {
            if kept.begun_anew {
                of_peer.clear();
            }
            of_peer.insert(peer.clone(), kept.mark);
        }
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
        {
            let newest = heartbeats.0.lock().unwrap();
            assert_eq!(newest.envelopes.mark(&long), newest.envelopes.mark(&changed));
        }
        assert!(heartbeats.find(&long).is_some() && heartbeats.find(&changed).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (heartbeats, key) = (Heartbeats::default(), KeyPair::generate().unwrap());
        let large = envelope(&key, "large", 1, BOUNDS.longest_bytes);
        heartbeats.note(&verified(&large));
        assert!(heartbeats.find(&large).is_none());
        let many: Vec<_> = (0..560).map(|peer| envelope(&key, &format!("{peer}"), 1, 60 << 10)).collect();
        for envelope in &many {
            heartbeats.note(&verified(envelope));
            let newest = heartbeats.0.lock().unwrap();
            assert_eq!(newest.envelopes.size().0, newest.of_peer.len());
        }
        assert!(heartbeats.find(&many[559]).is_some());
        assert!(heartbeats.find(&many[0]).is_none());
    }
}
