//! What differs within the filter after a round that goes one way only: the peer lists what the filter lets through, without contents, and
//! that is compared with what is held here. The messages of the set reconciliation compare whole sets, of which a filter selects a part.

use super::{RoundError, Run, forgotten::ListEnd};
use crate::{
    federation::{
        feed::{self, FeedOptions, Walk},
        filter::Matcher,
        round::{
            Positions, Round,
            differences::{Compared, Differences},
        },
        wire::{WireChange, WireContent},
    },
    lattice::{Change, Entry, Version, index::Snapshot},
    types::NodeId,
};
use std::{collections::HashSet, sync::Arc};

/// Lines of a list that is compared: some MB.
const MOST_LISTED: usize = 50_000;
/// Lines of what moved since the sets were alike; beyond it everything is listed.
const MOST_MOVED: usize = 5000;

/// What they listed, beside what is held here.
struct Listed {
    ours: Arc<Snapshot>,
    most: usize,
    /// Nodes that both sides hold with the same content, or both deleted.
    alike: HashSet<NodeId>,
    other: Vec<WireChange>,
}

impl Listed {
    fn new(ours: Arc<Snapshot>, most: usize) -> Self {
        Self { ours, most, alike: HashSet::new(), other: Vec::new() }
    }

    /// Answers whether there is room for more.
    fn add(&mut self, change: WireChange) -> bool {
        let ours = self.ours.get(change.id.as_str()).map(|entry| &entry.content_hash);
        if ours == change.content_hash() {
            self.alike.insert(change.id);
        } else {
            self.other.push(change);
        }
        self.alike.len().saturating_add(self.other.len()) < self.most
    }
}

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// Counts what differs within the filter; `None`: one side moved meanwhile, or the round's time is over.
    pub(super) async fn compare_within_filter(&mut self, round: &mut Round) -> Result<Option<Compared>, RoundError> {
        let ours = round.ours.seq;
        if self.parties.lattice.status().seq != ours {
            return Ok(None);
        }
        let snapshot = self.parties.lattice.snapshot()?;
        if let Some(theirs) = self.are_still_alike(round, &snapshot).await? {
            let differences = Some(Differences::default());
            return Ok((!self.has_moved(round, theirs)).then_some(Compared { theirs, ours, differences }));
        }
        let too_many = Compared { theirs: round.theirs.seq, ours, differences: None };
        if self.exceeds(&snapshot) {
            return Ok(Some(self.log_too_many(too_many)));
        }
        let mut listed = Listed::new(snapshot, MOST_LISTED);
        let filter = self.matcher.filter().clone();
        let theirs = match self.list_theirs(round, (0, &filter), |change| listed.add(change)).await? {
            ListEnd::At(theirs) => theirs,
            ListEnd::Refused => return Ok(Some(self.log_too_many(too_many))),
            ListEnd::Over => return Ok(None),
        };
        let mut differences = self.count_listed(round, &listed).await?;
        if round.directions.push {
            self.count_lacking(&listed, &mut differences)?;
        }
        let differences = Some(differences);
        Ok((!self.has_moved(round, theirs)).then_some(Compared { theirs, ours, differences }))
    }

    /// Did one side move on, so that what was compared is not what was exchanged? What moves at a peer that only receives is its state
    /// all the same.
    fn has_moved(&self, round: &Round, theirs: u64) -> bool {
        self.parties.lattice.status().seq != round.ours.seq || (round.directions.pull && theirs != round.theirs.seq)
    }

    fn log_too_many(&self, too_many: Compared) -> Compared {
        tracing::info!(
            peer.id = self.peer.as_str(),
            most = MOST_LISTED,
            "the filter lets too many nodes through: the round does not compare them"
        );
        too_many
    }

    /// Does the filter select more here than is compared? Then the list there need not begin. With tags only a list can tell.
    fn exceeds(&self, ours: &Snapshot) -> bool {
        let matches = |entry: &&Arc<Entry>| self.matcher.may_match(&entry.id, entry.node_type.as_deref());
        !self.matcher.needs_content() && ours.iter_after(None).filter(matches).nth(MOST_LISTED).is_some()
    }

    /// Where nothing differed when the sets were last compared, only what moved since can: compares that. Answers the position in their
    /// journal; `None`: everything must be compared.
    async fn are_still_alike(&mut self, round: &mut Round, ours: &Arc<Snapshot>) -> Result<Option<u64>, RoundError> {
        let before = round.positions.differences.filter(|it| it.differences.is_some_and(|it| it.is_nothing()));
        let Some(before) = before.filter(|it| it.theirs > 0 && it.ours <= round.ours.seq) else { return Ok(None) };
        if before.theirs > round.theirs.seq || before.theirs < round.theirs.floor || before.ours < round.ours.floor {
            return Ok(None);
        }
        let mut listed = Listed::new(Arc::clone(ours), MOST_MOVED);
        let filter = self.matcher.filter().clone();
        let end = self.list_theirs(round, (before.theirs, &filter), |change| listed.add(change)).await?;
        let ListEnd::At(theirs) = end else { return Ok(None) };
        let is_nothing = self.count_listed(round, &listed).await?.is_nothing();
        let are_alike = is_nothing && self.moved_alike(before.ours, round.ours.seq, &listed.alike).await?;
        Ok(are_alike.then_some(theirs))
    }

    /// Is everything of ours after `since` that the filter lets through at the other side as well?
    async fn moved_alike(&self, since: u64, end: u64, alike: &HashSet<NodeId>) -> Result<bool, RoundError> {
        let lattice = self.parties.lattice;
        let options = FeedOptions { matcher: self.matcher.clone(), ..FeedOptions::default() };
        let mut walk = Walk::new(lattice, since, end, options);
        loop {
            let batch = walk.next_batch()?;
            if batch.is_empty() {
                return Ok(true);
            }
            for change in &batch {
                let is_alike = match change {
                    Change::Put { id, .. } => {
                        alike.contains(id) || !feed::holds_match(&**lattice, &self.matcher, id).await?
                    }
                    Change::Deleted(tombstone, _) => alike.contains(&tombstone.id),
                };
                if !is_alike {
                    return Ok(false);
                }
            }
        }
    }

    /// Counts what is otherwise here than they listed it. A node that passes the filter on one side only is not exchanged, and not counted.
    async fn count_listed(&self, round: &Round, listed: &Listed) -> Result<Differences, RoundError> {
        let left_out = self.left_out()?;
        let mut differences = Differences::default();
        for theirs in &listed.other {
            if left_out.contains(&theirs.id) || matches!(theirs.content, WireContent::Unavailable { .. }) {
                continue;
            }
            match listed.ours.get(theirs.id.as_str()) {
                Some(ours) => self.count_held(theirs, ours.version(), &mut differences).await?,
                None => self.count_alone(round, theirs, &mut differences)?,
            }
        }
        let waiting = self.report.waiting_there.unwrap_or_default();
        differences.deleted_here = differences.deleted_here.saturating_sub(waiting);
        Ok(differences)
    }

    /// Counts a node of ours that is another one there.
    async fn count_held(
        &self,
        theirs: &WireChange,
        ours: Version,
        differences: &mut Differences,
    ) -> Result<(), RoundError> {
        if !feed::holds_match(&**self.parties.lattice, &self.matcher, &theirs.id).await? {
            return Ok(());
        }
        let is_newer_there = version(theirs) > ours;
        add(match (is_newer_there, theirs.content_hash()) {
            (true, Some(_)) => &mut differences.newer_there,
            (true, None) => &mut differences.deleted_there,
            (false, _) => &mut differences.newer_here,
        });
        Ok(())
    }

    /// Counts a node of theirs that is not here. One that only the receiver ever held is its own.
    fn count_alone(&self, round: &Round, theirs: &WireChange, differences: &mut Differences) -> Result<(), RoundError> {
        let deleted = self.parties.lattice.tombstone(&theirs.id)?.map(|tombstone| tombstone.version());
        match deleted {
            Some(ours) if version(theirs) > ours => add(&mut differences.newer_there),
            Some(_) => add(&mut differences.deleted_here),
            None if self.forgotten.is_deleted_here(theirs) => add(&mut differences.deleted_here),
            None if round.directions.pull => add(&mut differences.only_there),
            None => {}
        }
        Ok(())
    }

    /// Counts nodes of ours that the peer should have and does not list. With types or tags it may hold them with other ones.
    fn count_lacking(&self, listed: &Listed, differences: &mut Differences) -> Result<(), RoundError> {
        if !selects_by_id(&self.matcher) {
            return Ok(());
        }
        let mut known = self.left_out()?;
        known.extend(listed.other.iter().map(|change| change.id.clone()));
        for entry in listed.ours.iter_after(None).filter(|entry| self.matcher.id_may_match(&entry.id)) {
            if known.contains(&entry.id) || listed.alike.contains(&entry.id) {
                continue;
            }
            add(match self.forgotten.has_deleted_there(&entry.id, entry.seq) {
                true => &mut differences.deleted_there,
                false => &mut differences.only_here,
            });
        }
        Ok(())
    }
}

/// Does a node pass whatever its content is?
fn selects_by_id(matcher: &Matcher) -> bool {
    matcher.filter().types.is_empty() && matcher.filter().tags.is_empty()
}

fn version(change: &WireChange) -> Version {
    Version { at: change.at, content: change.content_hash().copied() }
}

fn add(count: &mut u64) {
    *count = count.saturating_add(1);
}
