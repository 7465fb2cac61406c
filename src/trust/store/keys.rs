//! What becomes of a decision when its key is replaced or withdrawn by its owner.

use super::{
    DecisionError, TrustStore,
    places::{Places, has_place_for_unasked},
};
use crate::{
    trust::{
        KeyChange, KeyEvents, KeyLine, LineChange, TooManyChanges, TrustLevel,
        key_changes::Change,
        state::{LEVEL, QUARANTINE, ROTATION, STATEMENT, UNASKED_STATEMENT, VOUCHED_STATEMENT},
    },
    types::{PeerId, PublicKey},
};
use serde_json::json;
use std::{sync::PoisonError, time::Duration};

/// The most keys of one id of which something is known: what a key line remembers, and a few.
const MAX_RECORDS_OF_ONE: usize = 1100;
/// The most replaced keys of an id that nobody verified: its row takes up to 3.5 KiB.
const MAX_RETIRED_OF_STRANGER: usize = 64;
const ONE_HOUR: Duration = Duration::from_secs(3600);

impl TrustStore {
    /// Could this key be verified for this id now? Nothing changes.
    ///
    /// # Errors
    /// [`DecisionError`], other than that it cannot be written.
    pub fn can_verify(&self, peer: &PeerId, key: PublicKey) -> Result<(), DecisionError> {
        self.check(peer, key, TrustLevel::Verified, Places::All).map(drop)
    }

    /// Do the settings list a key for this id, or is one verified?
    #[must_use]
    pub fn names(&self, peer: &PeerId) -> bool {
        self.policy.listed(peer).is_some() || self.state().owners.contains_key(peer)
    }

    /// Another key takes the place of one, by a statement that both signed, or the recovery key (checked by the caller): its level goes
    /// over, and the old one speaks no more. Blocks on the disk.
    ///
    /// # Errors
    /// [`DecisionError`]; nothing has changed.
    pub fn rotate(&self, peer: &PeerId, change: KeyChange) -> Result<(), DecisionError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let KeyChange { old, new, by_recovery } = change;
        let (known, owner) = {
            let state = self.state();
            (state.records.get(&old).cloned(), state.owners.get(peer).copied())
        };
        let revoked = known.as_ref().filter(|it| it.level == TrustLevel::Revoked);
        let (level, word) = match (revoked, self.level(peer, old)) {
            // Only a key that has the id can give it on.
            _ if owner.is_some_and(|owner| owner != old) => return Err(DecisionError::NotItsKey(peer.clone())),
            // Withdrawn by its owner, who names another one now.
            (Some(it), _) if it.is_final && it.is_by_vouchers() => (it.before_withdrawal, VOUCHED_STATEMENT),
            (Some(it), _) if it.is_final => (it.before_withdrawal, STATEMENT),
            // Whom the operator revoked begins anew, if he has his recovery key at all.
            (Some(_), _) if by_recovery => return self.begin_anew(peer, new),
            (_, TrustLevel::Revoked) => return Err(DecisionError::NotItsKey(peer.clone())),
            (_, TrustLevel::Verified) => (TrustLevel::Verified, self.word_of_verified(peer, old)),
            (_, TrustLevel::Unknown | TrustLevel::Pending) => (TrustLevel::Pending, UNASKED_STATEMENT),
        };
        self.check(peer, old, TrustLevel::Revoked, Places::Shared)?;
        self.check(peer, new, TrustLevel::Pending, Places::Shared)?;
        let detail = json!({
            "node_id": peer.as_str(), "old_key": old.to_base64(), "public_key": new.to_base64(), "level": level.as_str(),
            "by": word, "by_recovery": by_recovery,
        });
        self.write(ROTATION, peer.as_str(), detail)?;
        // Nobody leaves quarantine by himself; but what a thief said is not its owner's contradiction.
        if !by_recovery && self.is_quarantined(old) {
            let reason = "the key before it contradicted itself";
            self.write(
                QUARANTINE,
                peer.as_str(),
                json!({"public_key": new.to_base64(), "reason": reason, "by": "service"}),
            )?;
        }
        Ok(self.heads.forget(peer)?)
    }

    /// The word for a statement of a verified key: was it verified by the admin, or by vouchers alone?
    fn word_of_verified(&self, peer: &PeerId, key: PublicKey) -> &'static str {
        let state = self.state();
        let record = state.records.get(&key).filter(|record| record.level == TrustLevel::Verified);
        let by_vouchers = match record {
            Some(record) => record.is_by_vouchers(),
            None => self.listed(&state, peer) != Some(key),
        };
        if by_vouchers { VOUCHED_STATEMENT } else { STATEMENT }
    }

    fn begin_anew(&self, peer: &PeerId, key: PublicKey) -> Result<(), DecisionError> {
        self.check(peer, key, TrustLevel::Pending, Places::Shared)?;
        let detail = json!({
            "node_id": peer.as_str(), "public_key": key.to_base64(), "level": TrustLevel::Pending.as_str(),
            "by": UNASKED_STATEMENT, "reason": "it took the place of a revoked key", "final": false,
        });
        Ok(self.write(LEVEL, peer.as_str(), detail)?)
    }

    /// Withdraws a key for good, by its owner's statement (checked by the caller). Blocks on the disk.
    ///
    /// # Errors
    /// [`DecisionError`]; nothing has changed.
    pub fn revoke(&self, peer: &PeerId, key: PublicKey) -> Result<(), DecisionError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(peer, key, TrustLevel::Revoked, Places::Shared)?;
        let before = self.level(peer, key);
        let word = if before == TrustLevel::Verified { self.word_of_verified(peer, key) } else { UNASKED_STATEMENT };
        let detail = json!({
            "node_id": peer.as_str(), "public_key": key.to_base64(), "level": TrustLevel::Revoked.as_str(), "by": word,
            "reason": "withdrawn by its owner", "final": true, "before": before.as_str(),
        });
        Ok(self.write(LEVEL, peer.as_str(), detail)?)
    }

    /// Did `key` take the place of `other`, or of one that did?
    #[must_use]
    pub fn succeeds(&self, key: PublicKey, other: PublicKey) -> bool {
        let state = self.state();
        let after = |key: &PublicKey| state.records.get(key).and_then(|record| record.successor);
        std::iter::successors(after(&other), after).take(state.records.len()).any(|successor| successor == key)
    }

    /// Is another key than this one the operator's word for the id, or was it once? Then statements may have made it this one.
    #[must_use]
    pub fn knows_another(&self, peer: &PeerId, key: PublicKey) -> bool {
        self.known_owners(peer).into_iter().flatten().any(|known| known != key)
    }

    /// The key that the settings list for the id, or that is verified, with what took its place by statements.
    #[must_use]
    pub fn known_key(&self, peer: &PeerId) -> Option<PublicKey> {
        self.known_owners(peer).into_iter().flatten().next()
    }

    fn known_owners(&self, peer: &PeerId) -> [Option<PublicKey>; 2] {
        let state = self.state();
        [self.listed(&state, peer), state.owners.get(peer).copied()]
    }

    /// Do statements say more of a key that the operator knows than is known here?
    #[must_use]
    pub fn is_behind(&self, peer: &PeerId, line: &KeyLine) -> bool {
        self.missed(peer, line).is_some()
    }

    /// Takes over what was missed. Blocks on the disk.
    pub fn catch_up(&self, peer: &PeerId, line: &KeyLine) {
        match self.missed(peer, line) {
            Some(old) if old == line.public_key => self.revoked(peer, old),
            Some(old) => self.rotated(peer, KeyChange { old, new: line.public_key, by_recovery: false }),
            None => {}
        }
    }

    /// The known key of which the statements say that it speaks no more.
    fn missed(&self, peer: &PeerId, line: &KeyLine) -> Option<PublicKey> {
        let ended = |key: &PublicKey| {
            let ends = if *key == line.public_key { line.revoked } else { !line.revoked && line.is_retired(*key) };
            ends && !self.record(*key).is_some_and(|it| it.level == TrustLevel::Revoked)
        };
        self.known_owners(peer).into_iter().flatten().find(ended)
    }

    /// Is anything known of this key, or is there place to note what strangers do? That a key is withdrawn adds no record where there
    /// is one.
    fn is_withdrawal_worth_noting(&self, peer: &PeerId, key: PublicKey) -> bool {
        let state = self.state();
        state.records.contains_key(&key)
            || self.listed(&state, peer) == Some(key)
            || has_place_for_unasked(&state, peer)
    }

    /// Was this key decided on here, or is there place to note what strangers do? A record that a stranger made gives no right to more.
    fn is_rotation_worth_noting(&self, peer: &PeerId, key: PublicKey) -> bool {
        let state = self.state();
        let is_decided = state.records.get(&key).is_some_and(|record| !record.is_unasked());
        is_decided || self.listed(&state, peer) == Some(key) || has_place_for_unasked(&state, peer)
    }

    /// May statements add one more record of this id, whose key is verified?
    fn has_place_for_successor(&self, peer: &PeerId) -> bool {
        let state = self.state();
        let of_one = || state.records.values().filter(|record| record.node_id == *peer).count();
        state.records.len() < Places::Shared.most() && of_one() < MAX_RECORDS_OF_ONE
    }
}

impl KeyEvents for TrustStore {
    fn known_key(&self, peer: &PeerId) -> Option<PublicKey> {
        Self::known_key(self, peer)
    }

    fn may_speak(&self, key: PublicKey) -> bool {
        // Its owner's own word that it is withdrawn does not bind the operator's part in it; the statements themselves do.
        !self.record(key).is_some_and(|it| it.level == TrustLevel::Revoked && !it.is_final)
    }

    fn may_change(&self, change: &LineChange<'_>) -> Result<(), TooManyChanges> {
        let LineChange { peer, old, line, by_recovery, address } = *change;
        let verified = self.level(peer, old.unwrap_or(line.public_key)) == TrustLevel::Verified;
        let full = |of| Err(TooManyChanges { of, wait: ONE_HOUR });
        if verified && old.is_some() && !self.has_place_for_successor(peer) {
            return full("are noted of this id, or of all ids");
        }
        if !verified && line.retired.len() > MAX_RETIRED_OF_STRANGER {
            return full("are remembered of an id that is not verified");
        }
        // Where its successor could not be noted, a key would leave quarantine by itself.
        if let Some(old) = old.filter(|old| !by_recovery && self.is_quarantined(*old))
            && !self.is_rotation_worth_noting(peer, old)
        {
            return full("of ids that are not verified");
        }
        let mut changes = self.key_changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.take(Change { peer, verified, withdraws: line.revoked, address }, self.audit.elapsed())
    }

    fn rotated(&self, peer: &PeerId, change: KeyChange) {
        let KeyChange { old, new, by_recovery } = change;
        tracing::info!(peer.id = peer.as_str(), key.old = %old, key.new = %new, by_recovery, "a peer has another key now, by its own statement");
        if self.is_rotation_worth_noting(peer, old)
            && let Err(error) = self.rotate(peer, change)
        {
            tracing::warn!(peer.id = peer.as_str(), key.new = %new, %error, "the new key has no part in what was decided of the old one");
        }
    }

    fn revoked(&self, peer: &PeerId, key: PublicKey) {
        tracing::warn!(peer.id = peer.as_str(), %key, "a peer's key was revoked; it speaks no more");
        if self.is_withdrawal_worth_noting(peer, key)
            && let Err(error) = self.revoke(peer, key)
        {
            tracing::warn!(peer.id = peer.as_str(), %key, %error, "that a key was withdrawn is not noted");
        }
    }
}
