//! What is thought of each key, and why: the operator's rules, what was decided since, and the newest heads. The audit log is its
//! memory: read from the beginning it gives the same state again.

use super::{
    Admitted, Audit, Entry, FreshnessError, Named, Right, Rules, TrustError, TrustLevel, TrustMode, TrustPolicy,
    chain::ChainError,
    challenge::Challenges,
    freshness::{Accepted, Follows, Freshness},
    key_changes::KeyChanges,
    levels::may,
    refusals::Refusal,
    state::{LEVEL, QUARANTINE, RELEASE, Record, State, UNASKED},
};
use crate::{
    manifest::{Epoch, Head, Lineage, Manifest, Position, Verified},
    types::{PeerId, PublicKey, ShellWord, Timestamp},
};
use serde_json::{Map, Value, json};
use std::{
    collections::HashSet,
    io,
    sync::atomic::{AtomicU64, Ordering},
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

mod keys;
mod places;
mod vouchers;

use places::Places;

/// Kinds of the audit log: the journal of a peer goes on from an earlier position,
const RESTORED: &str = "restored";
/// and goes on in two ways that alternate.
const CLONED: &str = "cloned";
/// The most keys in quarantine that nobody verified. Whoever contradicts himself with one key after the other must not fill the disk;
/// what he contradicts himself with is refused all the same.
const MAX_QUARANTINED: usize = 1000;
/// The longest reason, in characters.
pub const MAX_REASON_CHARS: usize = 300;

/// A decision to be made.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The instance.
    pub peer: PeerId,
    /// Its key.
    pub key: PublicKey,
    /// What the key may do from now on.
    pub level: TrustLevel,
    /// Who decides.
    pub by: &'static str,
    /// Why.
    pub reason: String,
    /// The signature that proves that the peer holds the key, base64.
    pub proof: Option<String>,
}

/// Why a decision is not made.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// Another key has this id.
    #[error("{known} is the verified key of {peer}; revoke that one first, or have it rotated")]
    OtherKey {
        /// The instance.
        peer: PeerId,
        /// Its key.
        known: PublicKey,
    },
    /// The key has another id.
    #[error("that key is known as {known}'s; one key speaks for one id")]
    OtherPeer {
        /// The instance.
        known: PeerId,
    },
    /// Its owner withdrew it.
    #[error("the key was withdrawn by its own owner, for good; it takes another one")]
    Withdrawn,
    /// Somebody else has the id.
    #[error("that key does not speak for {0}, so it cannot give the id on")]
    NotItsKey(PeerId),
    /// The operator's settings say otherwise.
    #[error("trust.listed names another key for {0}; correct the settings")]
    Listed(PeerId),
    /// There are as many as there may be.
    #[error("there are as many decisions as there may be")]
    Full,
    /// It cannot be written down.
    #[error("the audit log cannot be written: {0}")]
    Unkept(#[from] io::Error),
}

/// Why nothing is taken from a peer. The text is for people; the code for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Its key was revoked.
    #[error("the key of {0} is revoked here")]
    Revoked(PeerId),
    /// It contradicted itself.
    #[error("{0} contradicted itself and is in quarantine until the operator verifies it again")]
    Quarantined(PeerId),
    /// Somebody else has the id.
    #[error(
        "another key is trusted to speak for {0}, or only listed ones are; on this instance's machine: \
         ark-lattice federation accept {word} --key {1}",
        word = ShellWord(.0.as_str())
    )]
    OtherKey(PeerId, PublicKey),
    /// Its level does not allow it.
    #[error(
        "changes of {0} are not taken: its key is not verified here, and the admin did not name it; \
         on this instance's machine: ark-lattice federation accept {word} --key {1}",
        word = ShellWord(.0.as_str())
    )]
    NotVerified(PeerId, PublicKey),
    /// What it says is old, or contradicts what it said.
    #[error(transparent)]
    Freshness(#[from] FreshnessError),
}

/// What stands before the command that lets a refused instance write, in the text of a refusal.
const ON_ITS_MACHINE: &str = "on this instance's machine: ";
/// How that command begins.
const ACCEPT: &str = "ark-lattice federation accept ";

/// The command in the text of a refusal that lets the refused instance write. It belongs on the machine of the instance that refuses.
#[must_use]
pub fn accept_command(refusal: &str) -> Option<&str> {
    let (_, command) = refusal.split_once(ON_ITS_MACHINE)?;
    Some(command.trim()).filter(|command| command.starts_with(ACCEPT))
}

impl Distrust {
    /// The problem's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Revoked(_) => "peer_revoked",
            Self::Quarantined(_) => "quarantined",
            Self::OtherKey(..) | Self::NotVerified(..) => "not_trusted",
            Self::Freshness(FreshnessError::Rollback { .. }) => "rollback",
            Self::Freshness(FreshnessError::Equivocation) => "equivocation",
            Self::Freshness(FreshnessError::FastForward(_)) => "fast_forward",
            Self::Freshness(FreshnessError::Unkept(_)) => "state_unavailable",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct TrustStore {
    policy: TrustPolicy,
    rules: Rules,
    vouchers: usize,
    audit: Audit,
    heads: Freshness,
    state: RwLock<State>,
    challenges: Mutex<Challenges>,
    key_changes: Mutex<KeyChanges>,
    /// Peers of which an expired head is shown.
    frozen: Mutex<HashSet<(PeerId, PublicKey)>>,
    /// One change at a time: what is decided and what is written go together.
    changing: Mutex<()>,
    /// How often the state was changed.
    changes: AtomicU64,
}

impl TrustStore {
    /// From the log's entries. `vouchers`: how many verified keys make another one verified; 0: none do.
    ///
    /// # Errors
    /// [`ChainError::Text`]: an entry says what this version cannot understand. Nothing is left out silently.
    pub fn new(
        policy: TrustPolicy,
        rules: Rules,
        vouchers: usize,
        (audit, entries): (Audit, &[Entry]),
        heads: Freshness,
    ) -> Result<Self, ChainError> {
        let mut state = State::default();
        for entry in entries {
            let wrong =
                |field: &str| ChainError::Text { number: entry.number, problem: format!("{field} of {}", entry.kind) };
            state.apply(entry).map_err(wrong)?;
        }
        let state = RwLock::new(state);
        let (challenges, frozen, changing) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (key_changes, changes) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self { policy, rules, vouchers, audit, heads, state, challenges, key_changes, frozen, changing, changes })
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another number after each change of what is thought of a key: what was made of levels before it may be wrong since.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The settings that decide what a key may do.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// The mode.
    #[must_use]
    pub fn mode(&self) -> TrustMode {
        self.rules.mode
    }

    /// Are nodes exchanged with verified keys only?
    #[must_use]
    pub fn requires_verified(&self) -> bool {
        self.rules.require_verified
    }

    /// Does whoever proves the network's key count as named by the admin?
    #[must_use]
    pub fn network_key_names(&self) -> bool {
        self.rules.network_key_names
    }

    /// Do other instances' vouchers count here?
    #[must_use]
    pub fn goes_by_vouchers(&self) -> bool {
        self.vouchers > 0
    }

    /// Conversations in which keys are proved.
    pub fn challenges(&self) -> MutexGuard<'_, Challenges> {
        self.challenges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// What this instance thinks of `key` speaking for `peer`.
    #[must_use]
    pub fn level(&self, peer: &PeerId, key: PublicKey) -> TrustLevel {
        self.level_in(&self.state(), peer, key)
    }

    /// The level of the instance with this id: of the key that has it by decision, else of `bound`, which has it by other means; without
    /// either, what was decided last of its keys. Keys that gave their place away do not count.
    #[must_use]
    pub fn level_of(&self, peer: &PeerId, bound: Option<PublicKey>) -> TrustLevel {
        if let Some(key) = self.known_key(peer).or(bound) {
            return self.level(peer, key);
        }
        let state = self.state();
        let of_peer = state.records.values().filter(|record| record.node_id == *peer && record.successor.is_none());
        of_peer.max_by_key(|record| record.changed_at).map_or(TrustLevel::Unknown, |record| record.level)
    }

    /// Was anything decided of a key of this instance?
    #[must_use]
    pub fn has_decided_of(&self, peer: &PeerId) -> bool {
        self.state().records.values().any(|record| record.node_id == *peer)
    }

    /// The level of each key that something was decided of.
    #[must_use]
    pub fn levels(&self) -> Vec<TrustLevel> {
        let state = self.state();
        state.records.values().map(|record| self.level_in(&state, &record.node_id, record.public_key)).collect()
    }

    fn level_in(&self, state: &State, peer: &PeerId, key: PublicKey) -> TrustLevel {
        let record = state.records.get(&key);
        if record.is_some_and(|record| record.level == TrustLevel::Revoked) {
            return TrustLevel::Revoked;
        }
        if let Some(listed) = self.listed(state, peer) {
            return if listed == key { TrustLevel::Verified } else { TrustLevel::Revoked };
        }
        if let Some(owner) = state.owners.get(peer).filter(|owner| **owner != key) {
            let verified = state.records.get(owner).is_some_and(|record| record.level == TrustLevel::Verified);
            // As with the operator's list: whoever else speaks for the id is an impostor.
            return if verified { TrustLevel::Revoked } else { TrustLevel::Unknown };
        }
        match record.filter(|record| record.node_id == *peer).map(|record| record.level) {
            Some(TrustLevel::Verified) if record.is_some_and(Record::is_by_vouchers) => {
                let counts = self.is_still_vouched_for(state, peer, key);
                if counts { TrustLevel::Verified } else { TrustLevel::Pending }
            }
            Some(TrustLevel::Verified) => TrustLevel::Verified,
            _ if self.is_vouched_for(state, peer, key) => TrustLevel::Verified,
            Some(level) => level,
            None => self.policy.level(peer, key),
        }
    }

    /// May this key do that for this instance?
    #[must_use]
    pub fn may(&self, peer: &PeerId, key: PublicKey, named: Named, right: Right) -> bool {
        may(self.level(peer, key), named, self.rules, right)
    }

    /// How many ids are listed or have a verified key; one that is both counts twice.
    #[must_use]
    pub fn known_count(&self) -> usize {
        self.state().owners.len().saturating_add(self.policy.listed_count())
    }

    /// Was this key revoked, whoever it speaks for?
    #[must_use]
    pub fn is_revoked(&self, key: PublicKey) -> bool {
        self.state().records.get(&key).is_some_and(|record| record.level == TrustLevel::Revoked)
    }

    /// Did whoever holds this key contradict himself?
    #[must_use]
    pub fn is_quarantined(&self, key: PublicKey) -> bool {
        self.state().quarantined.contains(&key)
    }

    /// The key that the settings list for an id, or what took its place since by statements of both.
    fn listed(&self, state: &State, peer: &PeerId) -> Option<PublicKey> {
        let mut key = self.policy.listed(peer)?;
        // A key never comes back once it was replaced, so this ends; the bound is for a log that somebody made up.
        for _ in 0..state.records.len() {
            match state.records.get(&key).and_then(|record| record.successor) {
                Some(successor) => key = successor,
                None => break,
            }
        }
        Some(key)
    }

    /// Lets a verified manifest in, or says why not. Version and first-key rules are the registry's, in one step with its write. `pinned`:
    /// the key of the peer that the admin named under this id.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn admit(
        &self,
        manifest: Verified<Manifest>,
        now: Timestamp,
        pinned: Option<PublicKey>,
    ) -> Result<Admitted, TrustError> {
        let (peer, key) = (manifest.get().peer().clone(), manifest.public_key());
        let (listed, owner) = {
            let state = self.state();
            if let Some(record) = state.records.get(&key).filter(|record| record.level == TrustLevel::Revoked) {
                return Err(match record.successor {
                    Some(_) => TrustError::OtherKey { peer },
                    None => TrustError::Revoked { peer },
                });
            }
            let vouched = || self.vouched_key(&state, &peer);
            // An allowlist takes nobody who is not on it.
            let pinned = pinned.filter(|_| self.rules.mode != TrustMode::Allowlist);
            (self.listed(&state, &peer), state.owners.get(&peer).copied().or(pinned).or_else(vouched))
        };
        self.policy.admit_for(manifest, now, listed, owner)
    }

    /// May nodes be exchanged with the signer of this head, and does the head follow what he said before? It is written down as
    /// his newest before this returns. Blocks on the disk.
    ///
    /// # Errors
    /// [`Distrust`].
    pub fn take_head(&self, signed: &Verified<Head>, lineage: &Lineage, named: Named) -> Result<Follows, Distrust> {
        let (head, key) = (signed.get(), signed.public_key());
        let peer = &head.node_id;
        self.may_pull(peer, key, named)?;
        let before = self.heads.newest(peer, key);
        match self.heads.accept(signed, lineage) {
            Ok(follows) => {
                self.note_continuation(signed, before.as_ref(), follows);
                Ok(follows)
            }
            Err(error) => {
                if error == FreshnessError::Equivocation {
                    self.quarantine(peer, key, "two heads for one position and one instant");
                }
                Err(error.into())
            }
        }
    }

    /// Writes into the audit log that a peer was restored, or that two instances have its identity; the latter once a day.
    fn note_continuation(&self, signed: &Verified<Head>, before: Option<&Accepted>, follows: Follows) {
        let (head, key) = (signed.get(), signed.public_key());
        let kind = match follows {
            Follows::Continues => return,
            Follows::Restored | Follows::Returned => RESTORED,
            Follows::Cloned if before.is_some_and(|before| before.is_cloned(head.issued_at)) => return,
            Follows::Cloned => CLONED,
        };
        let detail = json!({
            "public_key": key.to_base64(), "seq": head.seq, "epoch": head.current_epoch().as_str(),
            "seq_before": before.map(|it| it.seq), "epoch_before": before.and_then(|it| it.epoch.as_ref()).map(Epoch::as_str),
        });
        let Value::Object(detail) = detail else { return };
        // What was accepted is kept already; the log of the service has it in any case.
        if let Err(error) = self.audit.append(kind, head.node_id.as_str(), detail) {
            tracing::warn!(%error, "the audit log cannot be written");
        }
    }

    /// Writes into the audit log that two instances push with the identity of this peer. `stands`: where the journal of one of them stands.
    pub fn note_twins(&self, peer: &PeerId, key: PublicKey, stands: &Position) {
        let detail = json!({ "public_key": key.to_base64(), "seq": stands.seq, "epoch": stands.epoch.as_str() });
        let Value::Object(detail) = detail else { return };
        if let Err(error) = self.audit.append(CLONED, peer.as_str(), detail) {
            tracing::warn!(%error, "the audit log cannot be written");
        }
    }

    /// The newest accepted head of this instance, as it was signed.
    #[must_use]
    pub fn signed_head(&self, peer: &PeerId) -> Option<String> {
        self.heads.envelope(peer)
    }

    /// Notes whether the head that is shown for a peer has expired (freeze).
    pub fn note_frozen(&self, peer: &PeerId, key: PublicKey, is_frozen: bool) {
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        if is_frozen {
            frozen.insert((peer.clone(), key))
        } else {
            frozen.remove(&(peer.clone(), key))
        };
    }

    /// Has what was last shown of this peer expired?
    #[must_use]
    pub fn is_frozen(&self, peer: &PeerId, key: PublicKey) -> bool {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner).contains(&(peer.clone(), key))
    }

    /// May nodes be taken from this key?
    ///
    /// # Errors
    /// [`Distrust`], other than of freshness.
    pub fn may_pull(&self, peer: &PeerId, key: PublicKey, named: Named) -> Result<(), Distrust> {
        self.may_exchange(peer, key, named, Right::PulledFrom)
    }

    /// May this key change nodes here?
    ///
    /// # Errors
    /// [`Distrust`], other than of freshness.
    pub fn may_push(&self, peer: &PeerId, key: PublicKey, named: Named) -> Result<(), Distrust> {
        self.may_exchange(peer, key, named, Right::Push)
    }

    fn may_exchange(&self, peer: &PeerId, key: PublicKey, named: Named, right: Right) -> Result<(), Distrust> {
        if let Some(record) = self.record(key).filter(|record| record.level == TrustLevel::Revoked) {
            return Err(match record.successor {
                Some(_) => Distrust::OtherKey(peer.clone(), key),
                None => Distrust::Revoked(peer.clone()),
            });
        }
        if self.is_quarantined(key) {
            return Err(Distrust::Quarantined(peer.clone()));
        }
        match self.level(peer, key) {
            level if may(level, named, self.rules, right) => Ok(()),
            TrustLevel::Revoked => Err(Distrust::OtherKey(peer.clone(), key)),
            TrustLevel::Unknown | TrustLevel::Pending | TrustLevel::Verified => {
                Err(Distrust::NotVerified(peer.clone(), key))
            }
        }
    }

    /// The newest accepted head of a peer.
    #[must_use]
    pub fn newest_head(&self, peer: &PeerId, key: PublicKey) -> Option<Accepted> {
        self.heads.newest(peer, key)
    }

    /// What was decided of a key.
    #[must_use]
    pub fn record(&self, key: PublicKey) -> Option<Record> {
        self.state().records.get(&key).cloned()
    }

    /// Everything that was decided, the newest first.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let mut records: Vec<Record> = self.state().records.values().cloned().collect();
        records.sort_by(|a, b| (b.changed_at, &a.node_id, a.public_key).cmp(&(a.changed_at, &b.node_id, b.public_key)));
        records
    }

    /// Decides what a key may do, durably. Blocks on the disk.
    ///
    /// # Errors
    /// [`DecisionError`]; nothing has changed.
    pub fn set(&self, decision: Decision) -> Result<Record, DecisionError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Decision { peer, key, level, by, reason, proof } = decision;
        let known = self.check(&peer, key, level, if by == UNASKED { Places::Shared } else { Places::All })?;
        // What proved itself is not less than it was.
        if let Some(known) = known.filter(|it| it.level == TrustLevel::Verified && level == TrustLevel::Pending) {
            return Ok(known);
        }
        let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
        let detail = json!({
            "node_id": peer.as_str(), "public_key": key.to_base64(), "level": level.as_str(), "by": by, "reason": reason,
            "proof": proof, "final": false,
        });
        self.write(LEVEL, peer.as_str(), detail)?;
        if level == TrustLevel::Verified {
            self.heads.forget(&peer)?;
            if self.is_quarantined(key) {
                self.write(RELEASE, peer.as_str(), json!({"public_key": key.to_base64(), "by": by}))?;
            }
        }
        self.record(key).ok_or_else(|| io::Error::other("the decision is not there").into())
    }

    fn check(
        &self,
        peer: &PeerId,
        key: PublicKey,
        level: TrustLevel,
        places: Places,
    ) -> Result<Option<Record>, DecisionError> {
        let state = self.state();
        let record = state.records.get(&key);
        if let Some(record) = record {
            if record.node_id != *peer {
                return Err(DecisionError::OtherPeer { known: record.node_id.clone() });
            }
            if record.is_final && level != TrustLevel::Revoked {
                return Err(DecisionError::Withdrawn);
            }
        } else if state.records.len() >= places.most() {
            return Err(DecisionError::Full);
        }
        if level == TrustLevel::Verified {
            if self.listed(&state, peer).is_some_and(|listed| listed != key) {
                return Err(DecisionError::Listed(peer.clone()));
            }
            if let Some(owner) = state.owners.get(peer).filter(|owner| **owner != key) {
                return Err(DecisionError::OtherKey { peer: peer.clone(), known: *owner });
            }
        }
        Ok(record.cloned())
    }

    /// Takes nothing more from a key whose holder contradicted himself, until the operator verifies it again. It holds at once, and
    /// durably where it can be written down.
    pub fn quarantine(&self, peer: &PeerId, key: PublicKey, reason: &str) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = self.state().quarantined.len() >= MAX_QUARANTINED;
        if self.is_quarantined(key) || (is_full && self.level(peer, key) != TrustLevel::Verified) {
            return;
        }
        tracing::warn!(peer = peer.as_str(), %key, reason, "a peer contradicted itself and is in quarantine");
        let detail = json!({"public_key": key.to_base64(), "reason": reason, "by": "service"});
        if let Err(error) = self.write(QUARANTINE, peer.as_str(), detail) {
            tracing::error!(%error, "the quarantine holds only until the next start");
            self.state.write().unwrap_or_else(PoisonError::into_inner).quarantined.insert(key);
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Notes who was refused, for the audit log. Waits for nobody.
    pub fn refused(&self, refusal: Refusal) {
        self.audit.refused(refusal);
    }

    fn write(&self, kind: &str, subject: &str, detail: Value) -> io::Result<()> {
        let detail = match detail {
            Value::Object(detail) => detail,
            _ => Map::new(),
        };
        let entry = self.audit.append(kind, subject, detail)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let applied = state.apply(&entry).map_err(|field| io::Error::other(format!("{field} of {kind}")));
        self.changes.fetch_add(1, Ordering::AcqRel);
        applied
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
