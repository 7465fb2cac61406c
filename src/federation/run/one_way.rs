//! What differs after a round that goes one way only: found by the messages of the set reconciliation, counted, and never exchanged.

use super::{LIST, RoundError, Run, reconcile::Search};
use crate::{
    federation::{
        reconcile::{changes_at, item::ItemId},
        round::{
            Outcome, Positions, Round,
            differences::{Compared, Differences},
        },
        waiting,
    },
    lattice::{Change, Version},
    types::NodeId,
};
use std::collections::{HashMap, HashSet};

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// How a one-way round ends whose sets differ: whether what differs is only what the direction leaves out.
    pub(super) async fn explain_one_way(&mut self, round: &mut Round) -> Result<Outcome, RoundError> {
        // Also what they took in this round ends what was found before it.
        let (theirs, ours) = (round.they_stand.seq, round.ours.seq);
        let known = round.positions.differences.filter(|it| (it.theirs, it.ours) == (theirs, ours));
        let compared = match known {
            Some(known) => Some(known),
            // Release 0.1.0 cannot tell.
            None if round.theirs.epoch.is_none() => None,
            None if round.directions.filtered => self.compare_within_filter(round).await?,
            None => self.compare_one_way(round).await?,
        };
        round.positions.differences = compared;
        let Some(differences) = compared.and_then(|it| it.differences) else { return Ok(Outcome::Exchanged) };
        self.report.differences = differences;
        let is_left = differences.are_left(round.directions.push);
        Ok(if is_left { Outcome::Diverged } else { Outcome::Exchanged })
    }

    /// Counts what differs; `None`: one side moved meanwhile.
    async fn compare_one_way(&mut self, round: &Round) -> Result<Option<Compared>, RoundError> {
        let compared = |differences| Some(Compared { theirs: round.they_stand.seq, ours: round.ours.seq, differences });
        let found = match self.search(round).await? {
            Search::Found(found) => found,
            Search::InVain => return Ok(compared(None)),
            Search::Over => return Ok(None),
        };
        let lattice = self.parties.lattice;
        if found.moved || lattice.status().seq != round.ours.seq {
            return Ok(None);
        }
        let theirs = self.their_versions(&found.other).await?;
        let left_out = self.left_out()?;
        let mut unavailable_alone = 0_u64;
        for id in self.unavailable.of_peer() {
            unavailable_alone = unavailable_alone.saturating_add(u64::from(lattice.entry(id)?.is_none()));
        }
        let mut differences = Differences::default();
        // Nodes that only one side holds now, whatever happened to them there.
        let (mut not_there, mut known_there) = (0_u64, 0_u64);
        for change in changes_at(&**lattice, &found.have)? {
            let (id, ours) = version(&change);
            let is_left_out = left_out.contains(id);
            let add = |count: &mut u64| *count = count.saturating_add(u64::from(!is_left_out));
            match (ours, theirs.get(id)) {
                (Version { content: Some(_), .. }, None) => {
                    not_there = not_there.saturating_add(1);
                    add(match self.forgotten.is_deleted_there(&change) {
                        true => &mut differences.deleted_there,
                        false => &mut differences.only_here,
                    });
                }
                (Version { content: Some(_), .. }, Some(theirs)) if theirs.content.is_none() => {
                    not_there = not_there.saturating_add(1);
                    add(if *theirs > ours { &mut differences.deleted_there } else { &mut differences.newer_here });
                }
                (Version { content: Some(_), .. }, Some(theirs)) if theirs.content != ours.content => {
                    add(if *theirs > ours { &mut differences.newer_there } else { &mut differences.newer_here });
                }
                (Version { content: None, .. }, Some(theirs)) if theirs.content.is_some() => {
                    known_there = known_there.saturating_add(1);
                    add(if *theirs > ours { &mut differences.newer_there } else { &mut differences.deleted_here });
                }
                // The dates alone, or two deletions.
                _ => {}
            }
        }
        let in_both = round.ours.count.saturating_sub(not_there);
        let alone = round.theirs.count.saturating_sub(in_both);
        let unknown_here = alone.saturating_sub(known_there).saturating_sub(unavailable_alone);
        let forgotten = self.forgotten.deleted_here().min(unknown_here);
        differences.deleted_here = differences
            .deleted_here
            .saturating_sub(self.report.waiting_there.unwrap_or_default())
            .saturating_add(forgotten);
        differences.only_there = unknown_here.saturating_sub(forgotten);
        Ok(compared(Some(differences)))
    }

    /// Nodes that were left out of the round, which are counted as what they are.
    pub(super) fn left_out(&self) -> Result<HashSet<NodeId>, RoundError> {
        let lattice = &**self.parties.lattice;
        let mut left_out: HashSet<NodeId> = waiting::waiting_ids(lattice, self.peer.as_str())?.into_iter().collect();
        left_out.extend(lattice.unavailable());
        left_out.extend(self.unavailable.unread().chain(self.unavailable.of_peer()).cloned());
        left_out.extend(self.too_large.there().cloned());
        Ok(left_out)
    }

    /// What became there of these nodes.
    async fn their_versions(&mut self, items: &[ItemId]) -> Result<HashMap<NodeId, Version>, RoundError> {
        let mut versions = HashMap::with_capacity(items.len());
        for part in items.chunks(LIST) {
            self.report.requests = self.report.requests.saturating_add(1);
            let lines = self.parties.client.versions(part, false).await?;
            let (changes, _) = self.read_list(lines, part.len()).await?;
            versions.extend(changes.into_iter().map(|change| {
                let content = change.content_hash().copied();
                (change.id, Version { at: change.at, content })
            }));
        }
        Ok(versions)
    }
}

fn version(change: &Change) -> (&NodeId, Version) {
    match change {
        Change::Put { id, updated_at, content_hash, .. } => {
            (id, Version { at: *updated_at, content: Some(*content_hash) })
        }
        Change::Deleted(tombstone, _) => (&tombstone.id, tombstone.version()),
    }
}
