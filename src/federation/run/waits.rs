//! What a round knows of deletions that wait for an admin, here or at the peer; and how a round ends where the sets differ.

use super::{Parties, RoundError, Run};
use crate::{
    federation::{
        round::{Outcome, Positions, Round},
        waiting,
    },
    types::{ContentHash, NodeId},
};
use std::collections::BTreeMap;

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// The admin confirmed what the peer deletes: what waits of it is carried out, and nothing of this round waits.
    pub(super) async fn confirm_deletions(&mut self) -> Result<(), RoundError> {
        let Parties { lattice, deletions, clock, .. } = self.parties;
        deletions.confirm(self.peer.as_str(), clock.elapsed());
        let deleted = lattice.confirm_waiting(self.peer.as_str()).await?;
        self.report.deleted = self.report.deleted.saturating_add(usize::try_from(deleted).unwrap_or(usize::MAX));
        Ok(())
    }

    /// At the end of a round: how it ended where nothing differs but nodes whose deletion waits here or at the peer, and nodes whose files
    /// are broken. `known`: how many waited there before.
    pub(super) async fn but_for_left_out(
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
        let (here, mut there) = (waiting::waiting_ids(lattice, self.peer.as_str())?, None);
        let mut seq = round.theirs.seq;
        if round.directions.push && (known > 0 || self.report.waiting_there.is_some_and(|count| count > 0)) {
            self.report.requests = self.report.requests.saturating_add(1);
            (there, seq) = self.parties.client.waiting(&self.signer()).await?;
            self.report.waiting_there = Some(there.map_or(0, |there| there.deletions));
        }
        if outcome == Outcome::Exchanged {
            return Ok(outcome);
        }
        let snapshot = lattice.snapshot()?;
        if seq != round.theirs.seq || lattice.status().seq != round.ours.seq {
            return Ok(Outcome::Moving);
        }
        let theirs = there.map_or(round.theirs.manifest_hash, |there| there.set_hash);
        let waits = !here.is_empty() || there.is_some();
        let is_theirs = |at_peer: &BTreeMap<NodeId, Option<ContentHash>>| {
            let is_with = |wanted: &dyn Fn(&NodeId) -> bool| {
                let unavailable = at_peer.iter().filter(|(id, _)| wanted(id)).map(|(id, content)| (id, *content));
                snapshot.hash_with(unavailable.chain(here.iter().map(|id| (id, None)))) == theirs
            };
            // A node whose deletion waits there is left out of what they stated.
            is_with(&|_| true) || (there.is_some() && is_with(&|id| snapshot.get(id.as_str()).is_some()))
        };
        let outcome = match waits && is_theirs(&BTreeMap::new()) {
            true => Outcome::Waiting,
            false => match self.but_for_unavailable(round, is_theirs).await? {
                Some(Outcome::Unavailable) if waits => Outcome::Waiting,
                Some(outcome) => outcome,
                None => Outcome::Unexplained,
            },
        };
        if outcome == Outcome::Waiting {
            self.report.waiting_there.get_or_insert(0);
        }
        Ok(outcome)
    }

    /// Notes how many deletions of the peer wait here, however the round ended.
    pub(super) fn count_waiting(&mut self) {
        // Where the journal fails, the round says so.
        self.report.waiting_here = self.parties.lattice.waiting_of(self.peer.as_str()).unwrap_or_default();
    }
}
