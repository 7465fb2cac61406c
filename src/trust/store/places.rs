//! How many records there may be, and whose: what strangers and statements add leaves room for the admin's decisions.

use super::{Decision, DecisionError, TrustStore};
use crate::{
    trust::{
        TrustLevel,
        state::{State, UNASKED},
    },
    types::{PeerId, PublicKey},
};
use std::io;

/// The most keys that something was decided of: about 60 MiB of memory, and of the audit log at the start.
const MAX_RECORDS: usize = 100_000;
/// Of these the ones that are left to the admin's own decisions: statements, also those of verified peers, cannot keep the admin from
/// verifying or revoking a key.
const RESERVED_RECORDS: usize = 10_000;
/// The most of them that are pending because they came by themselves: strangers leave place for the operator.
pub(super) const MAX_UNASKED: usize = 1000;
/// The most of those for one id: whoever asks in another's name must not hide him among many.
pub(super) const MAX_UNASKED_OF_ONE: usize = 8;

/// Which records a decision may take.
#[derive(Debug, Clone, Copy)]
pub(super) enum Places {
    /// Those of everybody.
    Shared,
    /// And those that are left to the admin.
    All,
}

impl Places {
    pub(super) const fn most(self) -> usize {
        match self {
            Self::Shared => MAX_RECORDS - RESERVED_RECORDS,
            Self::All => MAX_RECORDS,
        }
    }
}

/// Is there room for one more record of this id that nobody asked for?
pub(super) fn has_place_for_unasked(state: &State, peer: &PeerId) -> bool {
    let of_one = || state.records.values().filter(|it| it.is_unasked() && it.node_id == *peer).count();
    state.unasked < MAX_UNASKED && of_one() < MAX_UNASKED_OF_ONE
}

impl TrustStore {
    /// Notes as pending whoever proved by himself that he holds a key: the operator sees him, and decides. Nothing where something is
    /// known of the key already, or where many came so.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn note_unasked(&self, peer: &PeerId, key: PublicKey, proof: String) -> io::Result<()> {
        {
            let state = self.state();
            let is_known = state.records.contains_key(&key) || state.owners.contains_key(peer);
            if is_known || !has_place_for_unasked(&state, peer) {
                return Ok(());
            }
        }
        let (level, by) = (TrustLevel::Pending, UNASKED);
        let reason = "it asked for trust".to_owned();
        match self.set(Decision { peer: peer.clone(), key, level, by, reason, proof: Some(proof) }) {
            Err(DecisionError::Unkept(error)) => Err(error),
            _ => Ok(()),
        }
    }
}
