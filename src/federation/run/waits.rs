//! What a round knows of deletions that wait for an admin, here or at the peer.

use super::{Parties, RoundError, Run};
use crate::federation::{
    round::{Outcome, Positions, Round},
    waiting,
};

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// The admin confirmed what the peer deletes: what waits of it is carried out, and nothing of this round waits.
    pub(super) async fn confirm_deletions(&mut self) -> Result<(), RoundError> {
        let Parties { lattice, deletions, clock, .. } = self.parties;
        deletions.confirm(self.peer.as_str(), clock.elapsed());
        let deleted = lattice.confirm_waiting(self.peer.as_str()).await?;
        self.report.deleted = self.report.deleted.saturating_add(usize::try_from(deleted).unwrap_or(usize::MAX));
        Ok(())
    }

    /// At the end of a round: how it ended where nothing differs but nodes whose deletion waits here or at the peer. `known`: how many
    /// waited there before.
    pub(super) async fn but_for_waiting(
        &mut self,
        round: &Round,
        outcome: Outcome,
        known: u64,
    ) -> Result<Outcome, RoundError> {
        if outcome == Outcome::InStep {
            self.report.waiting_there = Some(0);
        }
        if !matches!(outcome, Outcome::Unexplained | Outcome::Exchanged) {
            return Ok(outcome);
        }
        let lattice = &**self.parties.lattice;
        let (here, mut there) = (waiting::waits(lattice, self.peer.as_str())?, None);
        let mut seq = round.theirs.seq;
        if round.directions.push && (known > 0 || self.report.waiting_there.is_some_and(|count| count > 0)) {
            self.report.requests = self.report.requests.saturating_add(1);
            (there, seq) = self.parties.client.waiting(&self.signer()).await?;
            self.report.waiting_there = Some(there.map_or(0, |there| there.deletions));
        }
        if outcome == Outcome::Exchanged || (here.is_none() && there.is_none()) {
            return Ok(outcome);
        }
        if seq != round.theirs.seq || lattice.status().seq != round.ours.seq {
            return Ok(Outcome::Moving);
        }
        let ours = here.map_or(round.ours.manifest_hash, |here| here.set_hash);
        let theirs = there.map_or(round.theirs.manifest_hash, |there| there.set_hash);
        if ours != theirs {
            return Ok(Outcome::Unexplained);
        }
        self.report.waiting_there.get_or_insert(0);
        Ok(Outcome::Waiting)
    }

    /// Notes how many deletions of the peer wait here, however the round ended.
    pub(super) fn count_waiting(&mut self) {
        // Where the journal fails, the round says so.
        self.report.waiting_here = self.parties.lattice.waiting_of(self.peer.as_str()).unwrap_or_default();
    }
}
