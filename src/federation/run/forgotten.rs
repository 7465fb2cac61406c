//! Nodes that one side deleted so long ago that its tombstone is gone (DESIGN 4.7). Where the sets are exchanged anew from the beginning,
//! such a node would come back: the side that lacks it shows no deletion. It counts as deleted where that side is known to have held it,
//! and it did not change since. Whatever is in doubt comes back: that loses nothing.

use super::{BATCH, Known, RoundError, Run, meet};
use crate::{
    federation::{
        feed::{self, WrittenLines},
        filter::Filter,
        remote::ChangesQuery,
        round::{Position, Positions, Round, confirmed::ForgottenBefore},
        run::push::seen,
        waiting,
        wire::{Line, WireChange, WireContent, write_line},
    },
    lattice::{Change, Entry, Tombstone, index::Snapshot, version::just_after},
    manifest::Head,
    types::{ContentHash, NodeId},
};
use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
};

/// How often their set is listed anew that changes while it is read.
const MAX_LISTS: u32 = 3;

/// Nodes whose deletions are forgotten, as far as this round found them.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    is_searched: bool,
    /// Ours that were deleted there, with their positions in our journal.
    there: HashMap<NodeId, u64>,
    /// Theirs that were deleted here, with their positions in their journal.
    here: HashMap<NodeId, u64>,
    /// Everything of theirs up to here was here when they were deleted here.
    held: Option<Position>,
    /// The deletions that were made here went to them.
    are_sent: bool,
}

impl Forgotten {
    /// Were they looked for in this round?
    pub(super) fn is_searched(&self) -> bool {
        self.is_searched
    }

    /// Is this version of ours one that they deleted? Then it does not go to them.
    pub(super) fn is_deleted_there(&self, change: &Change) -> bool {
        match change {
            Change::Put { id, seq, .. } => self.has_deleted_there(id, *seq),
            Change::Deleted(..) => false,
        }
    }

    /// Is the version of ours at this position one that they deleted?
    pub(super) fn has_deleted_there(&self, id: &NodeId, seq: u64) -> bool {
        self.there.get(id) == Some(&seq)
    }

    /// Is this version of theirs one that was deleted here? Then it is not taken.
    pub(super) fn is_deleted_here(&self, change: &WireChange) -> bool {
        change.content_hash().is_some() && self.here.get(&change.id) == Some(&change.seq)
    }

    /// How many nodes of theirs were deleted here, and are there still as far as this round knows.
    pub(super) fn deleted_here(&self) -> u64 {
        if self.are_sent { 0 } else { u64::try_from(self.here.len()).unwrap_or(u64::MAX) }
    }

    /// The position in their journal that is stated while these deletions are sent.
    pub(super) fn held(&self) -> Option<&Position> {
        self.held.as_ref()
    }
}

/// How a list of theirs ended.
pub(super) enum ListEnd {
    /// At this position in their journal.
    At(u64),
    /// The reader takes no more.
    Refused,
    /// The round's time is over.
    Over,
}

/// Their set, compared with ours while it is read. The ids themselves are not kept.
struct TheirSet {
    ours: Arc<Snapshot>,
    hashing: RandomState,
    /// Nodes that are there, and nodes of which a tombstone is there.
    live: HashSet<u64>,
    buried: HashSet<u64>,
    /// Nodes of theirs that we do not hold so.
    other: Vec<(NodeId, ContentHash)>,
    /// Those of them that we do not hold at all, and that stand at most at the last position that counts.
    alone: Vec<WireChange>,
}

impl TheirSet {
    fn new(ours: Arc<Snapshot>) -> Self {
        let (live, buried) = (HashSet::new(), HashSet::new());
        Self { ours, hashing: RandomState::new(), live, buried, other: Vec::new(), alone: Vec::new() }
    }

    fn add(&mut self, change: WireChange, before: &ForgottenBefore) {
        let key = self.hashing.hash_one(change.id.as_str());
        let Some(content_hash) = change.content_hash().copied() else {
            self.buried.insert(key);
            return;
        };
        self.live.insert(key);
        let held = self.ours.get(change.id.as_str()).map(|entry| entry.content_hash);
        if held == Some(content_hash) {
            return;
        }
        self.other.push((change.id.clone(), content_hash));
        if held.is_none() && before.here.is_some_and(|before| change.seq <= before) {
            self.alone.push(change);
        }
    }

    /// Nodes of ours that they lack.
    fn lacking(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.ours.iter_after(None).filter(|entry| !self.live.contains(&self.hashing.hash_one(entry.id.as_str())))
    }

    /// Is it the set that they signed?
    fn is_signed(&self, head: &Head) -> bool {
        let lacking = self.lacking().map(|entry| (&entry.id, None));
        let other = self.other.iter().map(|(id, content_hash)| (id, Some(*content_hash)));
        self.ours.hash_with(lacking.chain(other)) == head.manifest_hash
    }

    fn has_tombstone(&self, id: &NodeId) -> bool {
        self.buried.contains(&self.hashing.hash_one(id.as_str()))
    }
}

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// Before the sets are exchanged from the beginning, once a round: finds nodes whose deletions are forgotten. Deletions of the peer are
    /// carried out here where they are pulled, within what the guard lets through; those of this instance go to the peer where they are
    /// pushed.
    pub(super) async fn find_forgotten(&mut self, round: &mut Round, known: &Known) -> Result<(), RoundError> {
        let before = round.forgotten_before();
        if std::mem::replace(&mut self.forgotten.is_searched, true) || before.is_nothing() {
            return Ok(());
        }
        let Some(theirs) = self.list_their_set(round, known, &before).await? else {
            tracing::info!(
                peer.id = self.peer.as_str(),
                "the peer changes while its set is listed: nodes that it deleted more than 30 days ago come back"
            );
            return Ok(());
        };
        let there = self.deleted_there(&theirs, &before)?;
        let here = self.deleted_here(theirs.alone)?;
        self.forgotten.there = there.iter().map(|entry| (entry.id.clone(), entry.seq)).collect();
        self.forgotten.here = here.iter().map(|change| (change.id.clone(), change.seq)).collect();
        if !(there.is_empty() && here.is_empty()) {
            tracing::info!(
                peer.id = self.peer.as_str(),
                there = there.len(),
                here = here.len(),
                "nodes that one side lacks were deleted there so long ago that the deletions are forgotten"
            );
        }
        if round.directions.pull {
            let given = before.there.max(before.given_there).unwrap_or(0);
            self.delete_here(there, given).await?;
            round.stand(self.stand()?);
        }
        if round.directions.push && !here.is_empty() {
            self.forgotten.held = round.positions.held_here.as_ref().map(|it| it.theirs.clone());
            let sent = self.delete_there(round, here).await;
            self.forgotten.held = None;
            sent?;
            self.forgotten.are_sent = true;
            self.report.requests = self.report.requests.saturating_add(1);
            let head = meet(self.parties, known).await?;
            round.asked(self.stand_of(&head, &round.positions).await?);
        }
        Ok(())
    }

    /// Their set as they signed it; `None`: it changes faster than it can be listed.
    async fn list_their_set(
        &mut self,
        round: &mut Round,
        known: &Known,
        before: &ForgottenBefore,
    ) -> Result<Option<TheirSet>, RoundError> {
        for _ in 0..MAX_LISTS {
            if self.is_over() {
                return Ok(None);
            }
            let mut theirs = TheirSet::new(self.parties.lattice.snapshot()?);
            let end = self.read_their_set(round, &mut theirs, before).await?;
            if end == round.theirs.seq && theirs.is_signed(&round.theirs) {
                return Ok(Some(theirs));
            }
            self.report.requests = self.report.requests.saturating_add(1);
            let head = meet(self.parties, known).await?;
            let is_signed = head.get().seq == end && theirs.is_signed(head.get());
            let epoch = round.theirs.current_epoch();
            round.asked(self.stand_of(&head, &round.positions).await?);
            if round.forgotten_before() != *before {
                // It was restored meanwhile, or forgot more.
                return Ok(None);
            }
            if is_signed && epoch == round.theirs.current_epoch() {
                return Ok(Some(theirs));
            }
        }
        Ok(None)
    }

    /// Reads the list of what they hold to its end, which it answers.
    async fn read_their_set(
        &mut self,
        round: &mut Round,
        theirs: &mut TheirSet,
        before: &ForgottenBefore,
    ) -> Result<u64, RoundError> {
        let add = |change| {
            theirs.add(change, before);
            true
        };
        match self.list_theirs(round, (0, &Filter::ALL), add).await? {
            ListEnd::At(end) => Ok(end),
            ListEnd::Refused | ListEnd::Over => Err(RoundError::TooLong),
        }
    }

    /// Lists their changes after `since` that a filter lets through, without contents, until `take` refuses one.
    pub(super) async fn list_theirs(
        &mut self,
        round: &mut Round,
        (since, filter): (u64, &Filter),
        mut take: impl FnMut(WireChange) -> bool + Send,
    ) -> Result<ListEnd, RoundError> {
        let seen = seen(round);
        let query = ChangesQuery {
            index_id: &round.theirs.index_id,
            seen: seen.as_ref(),
            since,
            contents: false,
            filter,
            priorities: false,
        };
        self.report.requests = self.report.requests.saturating_add(1);
        let mut lines = self.parties.client.changes(&query).await?;
        let mut promise = self.begin(&mut lines, round, since).await?;
        let mut counted = 0;
        let end = loop {
            match self.next_line(&mut lines).await?.0 {
                Line::Start(_) => return Err(RoundError::OtherFeed("it begins twice")),
                Line::End(end) => {
                    promise.end(end).map_err(RoundError::OtherFeed)?;
                    break ListEnd::At(end);
                }
                Line::Change(change) => {
                    promise.change(&change).map_err(RoundError::OtherFeed)?;
                    if !take(*change) {
                        break ListEnd::Refused;
                    }
                }
            }
            if self.is_over() {
                break ListEnd::Over;
            }
        };
        self.count_in(lines.bytes(), &mut counted).await;
        Ok(end)
    }

    /// Nodes of ours that were deleted there: they held them, lack them now, and show no tombstone.
    fn deleted_there(&self, theirs: &TheirSet, before: &ForgottenBefore) -> Result<Vec<Arc<Entry>>, RoundError> {
        let lattice = &**self.parties.lattice;
        let up_to = |bound: Option<u64>, entry: &Entry| bound.is_some_and(|bound| entry.seq <= bound);
        let mut found = Vec::new();
        let mut perhaps = Vec::new();
        for entry in theirs.lacking() {
            // A broken file may be a half-finished edit.
            if theirs.has_tombstone(&entry.id) || lattice.is_unavailable(&entry.id) {
                continue;
            }
            if up_to(before.there, entry) {
                found.push(Arc::clone(entry));
            } else if up_to(before.given_there, entry) {
                perhaps.push(Arc::clone(entry));
            }
        }
        for part in perhaps.chunks(BATCH) {
            let ids: Vec<&NodeId> = part.iter().map(|entry| &entry.id).collect();
            let givers = lattice.givers(&ids)?;
            let given = part.iter().zip(givers).filter(|(_, giver)| giver.as_deref() == Some(self.peer.as_str()));
            found.extend(given.map(|(entry, _)| Arc::clone(entry)));
        }
        Ok(found)
    }

    /// Nodes of theirs that were deleted here: we held them, and have neither them nor a tombstone.
    fn deleted_here(&self, alone: Vec<WireChange>) -> Result<Vec<WireChange>, RoundError> {
        let lattice = &**self.parties.lattice;
        let mut found = Vec::with_capacity(alone.len());
        for change in alone {
            let is_unavailable = matches!(change.content, WireContent::Unavailable { .. });
            if !is_unavailable && lattice.entry(&change.id)?.is_none() && lattice.tombstone(&change.id)?.is_none() {
                found.push(change);
            }
        }
        Ok(found)
    }

    /// Carries out deletions of the peer. Each is dated just after the version that it deletes: an edit of anybody counts.
    async fn delete_here(&mut self, entries: Vec<Arc<Entry>>, given: u64) -> Result<(), RoundError> {
        let lattice = &**self.parties.lattice;
        let mut changes = Vec::with_capacity(entries.len());
        for entry in entries {
            changes.push(WireChange {
                seq: 0,
                at: just_after(entry.updated_at),
                ancestry: lattice.ancestry(&entry.id)?,
                priority: 0.0,
                content: WireContent::Deleted(entry.content_hash),
                id: entry.id.clone(),
            });
        }
        let changes = feed::admitted(lattice, &self.matcher, changes).await?;
        let sender = self.sender(given);
        let elapsed = self.parties.clock.elapsed();
        let judged = waiting::receive(lattice, self.parties.deletions, sender, elapsed, changes).await?;
        self.judged(judged, None)
    }

    /// Sends deletions of this instance, dated as in [`Self::delete_here`].
    async fn delete_there(&mut self, round: &mut Round, changes: Vec<WireChange>) -> Result<(), RoundError> {
        for part in changes.chunks(BATCH) {
            let mut lines = WrittenLines::default();
            for WireChange { seq, id, at, ancestry, content, .. } in part {
                let WireContent::Put { content_hash, .. } = content else { continue };
                let (id, deleted_at) = (id.clone(), just_after(*at));
                let tombstone = Tombstone { id, deleted_at, content_hash: *content_hash, seq: *seq };
                write_line(&Change::Deleted(tombstone, ancestry.clone()), None, None, &mut lines.text);
                lines.count = lines.count.saturating_add(1);
            }
            self.send(round, lines).await?;
        }
        Ok(())
    }
}
