//! Keys that other instances vouch for.

use super::{DecisionError, TrustStore};
use crate::{
    trust::{
        TrustLevel,
        state::{STATEMENT, State, VOUCH, VOUCHED_STATEMENT},
    },
    types::{PeerId, PublicKey},
};
use serde_json::json;
use std::{collections::BTreeSet, sync::PoisonError};

/// The most keys that one key vouches for.
const MAX_VOUCHES_OF_ONE: usize = 1000;
/// The most keys that are followed from a verified one to the instance that answers for it.
const LONGEST_CHAIN: usize = 1000;

impl TrustStore {
    /// The instance that answers for a verified key: the one that vouched for it (of several the same one each time), or itself where the
    /// admin verified the key. A key in the place of one that was vouched for is answered for as that one was. `None`: it is not verified,
    /// or no instance answers for it: some vouched for each other in a circle.
    #[must_use]
    pub fn answerable_for(&self, peer: &PeerId, key: PublicKey) -> Option<PeerId> {
        let state = self.state();
        if self.level_in(&state, peer, key) != TrustLevel::Verified {
            return None;
        }
        let (mut answerable, mut key) = (peer.clone(), key);
        for _ in 0..LONGEST_CHAIN {
            match self.answers_for(&state, &answerable, key) {
                Some(next) => (answerable, key) = next,
                None => return Some(answerable),
            }
        }
        None
    }

    /// The key in whose place this one came by its owner's statement, or else that of a voucher; `None`: the admin decided of this key.
    fn answers_for(&self, state: &State, peer: &PeerId, key: PublicKey) -> Option<(PeerId, PublicKey)> {
        if self.policy.listed(peer) == Some(key) {
            return None;
        }
        let record = state.records.get(&key);
        let by_statement = record.is_some_and(|it| it.by == STATEMENT || it.by == VOUCHED_STATEMENT);
        if let Some(old) = state.replaced.get(&key).filter(|_| by_statement) {
            return Some((peer.clone(), *old));
        }
        if record.is_some_and(|record| record.level == TrustLevel::Verified) {
            return None;
        }
        let id_of = |voucher: &PublicKey| {
            let record = state.records.get(voucher).map(|record| record.node_id.clone());
            Some((record.or_else(|| self.policy.listed_id(*voucher).cloned())?, *voucher))
        };
        let vouchers = state.vouches.get(&(peer.clone(), key))?;
        let counting = vouchers.iter().filter(|voucher| self.voucher_counts(state, voucher));
        counting.chain(vouchers).find_map(id_of)
    }

    /// Has an instance with this id a verified key?
    #[must_use]
    pub fn has_verified(&self, peer: &PeerId) -> bool {
        let state = self.state();
        let vouched = || state.vouches.keys().filter(|(of, _)| of == peer);
        self.policy.listed(peer).is_some()
            || state.owners.contains_key(peer)
            || vouched().any(|(_, key)| self.is_vouched_for(&state, peer, *key))
    }

    fn voucher_counts(&self, state: &State, voucher: &PublicKey) -> bool {
        let record = state.records.get(voucher);
        let decided = record.is_some_and(|it| it.level == TrustLevel::Verified && !it.is_by_vouchers());
        let withdrawn = record.is_some_and(|record| record.level == TrustLevel::Revoked);
        !state.quarantined.contains(voucher) && !withdrawn && (decided || self.policy.lists(*voucher))
    }

    /// k vouchers. Only who is verified by the operator counts: a chain of vouchers would be as weak as its first link.
    pub(super) fn is_vouched_for(&self, state: &State, peer: &PeerId, key: PublicKey) -> bool {
        if self.vouchers == 0 {
            return false;
        }
        let counts = |voucher: &&PublicKey| self.voucher_counts(state, voucher);
        let is_enough = |vouchers: &BTreeSet<PublicKey>| vouchers.iter().filter(counts).count() >= self.vouchers;
        let is_revoked = |key| state.records.get(key).is_some_and(|record| record.level == TrustLevel::Revoked);
        if !state.vouches.get(&(peer.clone(), key)).is_some_and(is_enough) {
            return false;
        }
        // Of two keys that are vouched for it is not known here which one is right: that takes the admin.
        let mut others =
            state.vouches.iter().filter(|((of, other), _)| of == peer && *other != key && !is_revoked(other));
        !others.any(|(_, vouchers)| is_enough(vouchers))
    }

    /// Do the vouchers of the key in whose place this one came by statements still count?
    pub(super) fn is_still_vouched_for(&self, state: &State, peer: &PeerId, key: PublicKey) -> bool {
        let before = |key: &PublicKey| {
            let record = state.records.get(key).filter(|record| record.is_by_vouchers());
            record.and_then(|_| state.replaced.get(key)).copied()
        };
        let line = std::iter::successors(Some(key), before).take(state.records.len().saturating_add(1));
        line.last().is_some_and(|first| self.is_vouched_for(state, peer, first))
    }

    /// The key of this id that enough keys vouch for: as with a verified key, no other one registers the id, whichever comes first.
    pub(super) fn vouched_key(&self, state: &State, peer: &PeerId) -> Option<PublicKey> {
        if self.vouchers == 0 {
            return None;
        }
        let mut of_peer = state.vouches.keys().filter(|(of, _)| of == peer);
        of_peer.find(|(_, key)| self.is_vouched_for(state, peer, *key)).map(|(_, key)| *key)
    }

    /// A verified key says that another one is right. `bound`: the key that the registry binds the id to. Blocks on the disk. Answers
    /// whether that is new.
    ///
    /// # Errors
    /// [`DecisionError::OtherKey`]: the id has another key already, bound, verified or vouched for, by this voucher or by enough of them.
    /// [`DecisionError::Unkept`].
    pub fn vouch(
        &self,
        voucher: (&PeerId, PublicKey),
        (peer, key): (&PeerId, PublicKey),
        bound: Option<PublicKey>,
    ) -> Result<bool, DecisionError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let state = self.state();
            if let Some(known) = self.other_key(&state, voucher.1, (peer, key), bound) {
                return Err(DecisionError::OtherKey { peer: peer.clone(), known });
            }
            let known = state.vouches.get(&(peer.clone(), key));
            let of_one = state.vouches.values().filter(|vouchers| vouchers.contains(&voucher.1)).count();
            if known.is_some_and(|known| known.contains(&voucher.1)) || of_one >= MAX_VOUCHES_OF_ONE {
                return Ok(false);
            }
        }
        let detail = json!({
            "public_key": key.to_base64(), "voucher": voucher.1.to_base64(), "by": voucher.0.as_str(),
        });
        self.write(VOUCH, peer.as_str(), detail)?;
        Ok(true)
    }

    /// The key that an id has already, if that is another than the one that is vouched for. A voucher speaks for a key of an id that has
    /// none: whoever could have a second one verified by vouchers would take ids from their owners.
    fn other_key(
        &self,
        state: &State,
        voucher: PublicKey,
        (peer, key): (&PeerId, PublicKey),
        bound: Option<PublicKey>,
    ) -> Option<PublicKey> {
        let decided = [bound, self.listed(state, peer), state.owners.get(peer).copied()];
        let of_peer = state.vouches.iter().filter(|((of, _), _)| of == peer);
        let vouched = of_peer.filter(|((_, other), vouchers)| {
            // Where the id has this key by now, what was said of the one before is over.
            let before = bound.is_none() && vouchers.contains(&voucher);
            before || self.is_vouched_for(state, peer, *other)
        });
        decided.into_iter().flatten().chain(vouched.map(|((_, other), _)| *other)).find(|other| *other != key)
    }
}
