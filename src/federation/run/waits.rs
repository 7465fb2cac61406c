//! What a round knows of deletions that wait for an admin, here or at the peer; and how a round ends where the sets differ.

use super::{Known, Parties, RoundError, Run, unavailable::AtPeer};
use crate::{
    federation::{
        deletions::ConfirmedRound,
        round::{Outcome, Positions, Round},
        waiting::{self, Waits},
    },
    lattice::index::Snapshot,
    types::{NodeId, SetHash},
};

/// What is known of our deletions that wait at the peer.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct WaitsThere {
    /// How many, before this round.
    pub(super) known: u64,
    /// The peer is asked for that at the end in any case.
    is_asked: bool,
    /// Where their journal stood then, as far as that was noted.
    stood: u64,
    /// What the peer answered at the end of the round, and where its journal stood.
    told: Option<(Option<Waits>, u64)>,
    /// They were sent again in this round, since the peer had lost them.
    is_anew: bool,
}

impl WaitsThere {
    /// Before a round.
    pub(super) fn new(known: &Known) -> Self {
        let stood = known.positions.pushed_to.as_ref().map_or(0, |position| position.seq);
        Self { known: known.waiting_there, is_asked: known.asks_what_waits, stood, ..Self::default() }
    }
}

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// The admin confirmed what the peer deletes: what waits of it is carried out, and nothing waits until the round ends.
    pub(super) async fn confirm_deletions(&mut self) -> Result<ConfirmedRound, RoundError> {
        let Parties { lattice, deletions, .. } = self.parties;
        let confirmed = deletions.confirm_round(self.peer.as_str());
        let deleted = lattice.confirm_waiting(self.peer.as_str()).await?;
        self.report.deleted = self.report.deleted.saturating_add(usize::try_from(deleted).unwrap_or(usize::MAX));
        Ok(confirmed)
    }

    /// At the end of a round: asks what waits at the peer, where anything may.
    pub(super) async fn find_what_waits_there(
        &mut self,
        round: &mut Round,
        outcome: Outcome,
    ) -> Result<(), RoundError> {
        self.waits_there.told = None;
        let WaitsThere { known, is_asked, .. } = self.waits_there;
        let may_wait = known > 0 || self.report.waiting_there.is_some_and(|count| count > 0);
        // Nothing waits at an instance of release 0.1.0.
        let is_asked = is_asked && round.theirs.epoch.is_some();
        let is_end = matches!(outcome, Outcome::InStep | Outcome::Unexplained | Outcome::Exchanged);
        if !is_end || !round.directions.push || !(may_wait || is_asked) {
            return Ok(());
        }
        let there = match self.ask_what_waits().await {
            // What it takes from nobody does not wait there.
            Err(RoundError::Client(_)) if !may_wait => return Ok(()),
            there => there?,
        };
        let sent = u64::try_from(self.report.sent).unwrap_or(u64::MAX);
        // More than was sent: this instance forgot them. Where the sets are equal, it holds all of these nodes.
        if there > known.saturating_add(sent) || (there > 0 && outcome == Outcome::InStep) {
            self.state_held_nodes(round).await?;
            self.ask_what_waits().await?;
        }
        Ok(())
    }

    /// Is what waited at the peer gone without a trace? Then everything goes there again, once a round. Each deletion that ends otherwise
    /// moves the journal there; one that was restored from a backup may stand where it stood.
    pub(super) fn are_waits_lost_there(&mut self, round: &Round, outcome: Outcome) -> bool {
        let WaitsThere { known, stood, told, is_anew, .. } = self.waits_there;
        let Some((there, seq)) = told.filter(|_| !is_anew) else { return false };
        let ended = known.saturating_sub(there.map_or(0, |there| there.deletions));
        let is_lost = match outcome {
            Outcome::Unexplained => ended > 0,
            Outcome::Exchanged => ended > seq.max(round.theirs.seq).saturating_sub(stood),
            _ => false,
        };
        self.waits_there.is_anew = is_lost;
        is_lost
    }

    /// Asks how many deletions of this instance wait at the peer.
    pub(super) async fn ask_what_waits(&mut self) -> Result<u64, RoundError> {
        self.report.requests = self.report.requests.saturating_add(1);
        let told = self.parties.client.waiting(&self.signer()).await?;
        self.waits_there.told = Some(told);
        let count = told.0.map_or(0, |there| there.deletions);
        self.report.waiting_there = Some(count);
        Ok(count)
    }

    /// At the end of a round: how it ended where nothing differs but nodes whose deletion waits here or at the peer, and nodes whose files
    /// are broken.
    pub(super) async fn but_for_left_out(&mut self, round: &Round, outcome: Outcome) -> Result<Outcome, RoundError> {
        let (there, seq) = self.waits_there.told.unwrap_or((None, round.theirs.seq));
        match outcome {
            Outcome::InStep => return self.in_step_but_for_waits(round, there.is_some()).await,
            Outcome::Unexplained => {}
            outcome => return Ok(outcome),
        }
        let lattice = &**self.parties.lattice;
        let here = waiting::waiting_ids(lattice, self.peer.as_str())?;
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

    /// Where the sets are equal, each side holds what it deleted: nothing waits. Where something waits all the same, that is said.
    async fn in_step_but_for_waits(&mut self, round: &Round, waits_there: bool) -> Result<Outcome, RoundError> {
        self.report.waiting_there.get_or_insert(0);
        self.end_waiting_here(round).await?;
        let waits = waits_there || self.parties.lattice.waiting_of(self.peer.as_str())? > 0;
        Ok(if waits { Outcome::Waiting } else { Outcome::InStep })
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
