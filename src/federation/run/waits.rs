//! What a round knows of deletions that wait for an admin, here or at the peer; and how a round ends where the sets differ.

use super::{Parties, RoundError, Run, unavailable::AtPeer};
use crate::{
    federation::{
        deletions::ConfirmedRound,
        round::{Outcome, Positions, Round},
        waiting,
    },
    lattice::index::Snapshot,
    types::{NodeId, SetHash},
};

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// The admin confirmed what the peer deletes: what waits of it is carried out, and nothing waits until the round ends.
    pub(super) async fn confirm_deletions(&mut self) -> Result<ConfirmedRound, RoundError> {
        let Parties { lattice, deletions, .. } = self.parties;
        let confirmed = deletions.confirm_round(self.peer.as_str());
        let deleted = lattice.confirm_waiting(self.peer.as_str()).await?;
        self.report.deleted = self.report.deleted.saturating_add(usize::try_from(deleted).unwrap_or(usize::MAX));
        Ok(confirmed)
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
        let comparison = Comparison { ours: &snapshot, waiting_here: &here, waiting_there: there.is_some(), theirs };
        let is_theirs = |at_peer: &AtPeer| comparison.is_theirs(at_peer);
        let outcome = match waits && is_theirs(&AtPeer::new()) {
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

/// Our set and theirs, but for what was left out.
struct Comparison<'a> {
    ours: &'a Snapshot,
    /// Nodes that were deleted there.
    waiting_here: &'a [NodeId],
    /// Their set is stated without nodes that were deleted here.
    waiting_there: bool,
    theirs: SetHash,
}

impl Comparison<'_> {
    /// Is our set theirs, with the nodes that are unavailable on either side as they are at the peer?
    fn is_theirs(&self, at_peer: &AtPeer) -> bool {
        let is_with = |wanted: &dyn Fn(&NodeId) -> bool| {
            let unavailable = at_peer.iter().filter(|(id, _)| wanted(id)).map(|(id, content)| (id, *content));
            let waiting = self.waiting_here.iter().map(|id| (id, None));
            self.ours.hash_with(unavailable.chain(waiting)) == self.theirs
        };
        // A node may be broken there, and its deletion wait there as well.
        is_with(&|_| true) || (self.waiting_there && is_with(&|id| self.ours.get(id.as_str()).is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lattice::index::tests::entry, types::ContentHash};

    #[test]
    fn sets_are_compared_but_for_what_was_left_out() {
        let set = |nodes: &[(&str, &str)]| Snapshot::of(nodes.iter().map(|(id, content)| entry(id, content)));
        let ours = set(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let node = |id: &str, content: Option<&str>| {
            (NodeId::parse(id).unwrap(), content.map(|it| ContentHash::of(it.as_bytes())))
        };
        let compare = |theirs: &[(&str, &str)], waiting: &[&str], there: bool, at_peer: &[(&str, Option<&str>)]| {
            let waiting_here: Vec<NodeId> = waiting.iter().map(|id| NodeId::parse(id).unwrap()).collect();
            let theirs = set(theirs).set_hash();
            let comparison = Comparison { ours: &ours, waiting_here: &waiting_here, waiting_there: there, theirs };
            comparison.is_theirs(&at_peer.iter().map(|(id, content)| node(id, *content)).collect())
        };
        let theirs = [("a", "1"), ("b", "2"), ("d", "1")];
        let left_out = [("b", Some("2")), ("c", None), ("d", Some("1"))];
        assert!(compare(&theirs, &[], false, &left_out));
        assert!(!compare(&theirs, &[], false, &left_out[1..]), "another version explains nothing");
        assert!(!compare(&theirs[1..], &[], false, &left_out), "nor does a node that is left out of what was signed");
        assert!(compare(&theirs, &["c"], false, &[left_out[0], left_out[2]]));
        assert!(compare(&theirs[..2], &["c"], true, &[left_out[0], left_out[2]]), "stated without the broken node");
        assert!(!compare(&theirs[..2], &["c"], false, &[left_out[0], left_out[2]]));
    }
}
