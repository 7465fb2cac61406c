//! What a round knows of nodes whose files are broken, here or at the peer, and of nodes of the peer that are too large for this instance:
//! their contents are not exchanged, and the comparison of the two sets leaves them out (DESIGN 4.6).

use super::{Held, Known, LIST, RoundError, Run, pull::Wanted};
use crate::{
    federation::{
        client::ClientError,
        feed,
        lines::Lines,
        peers::Direction,
        reconcile::item::ItemId,
        round::{
            Outcome, Positions, Reset, Round,
            unavailable::{LeftOut, LeftOutContent, UnavailableNodes},
        },
        wire::{Line, WireChange, WireContent, most_node_bytes},
    },
    lattice::{Change, Lattice},
    types::{ContentHash, NodeId},
};
use std::collections::{BTreeMap, BTreeSet};

/// The most nodes of either side that a comparison leaves out: as many as are fetched at once.
const MAX_COMPARED: usize = 10_000;

/// Nodes whose contents cannot be had.
#[derive(Debug, Default)]
pub(super) struct Unavailable {
    /// Of the peer, where they would count here.
    theirs: UnavailableNodes,
    /// Those of them that were recorded before this round.
    before: Vec<NodeId>,
    /// More of them than are recorded: they come again.
    unrecorded: BTreeMap<NodeId, LeftOutContent>,
    /// Ours that could not be read in this round, and perhaps can in the next one.
    unread: BTreeSet<NodeId>,
    /// Nodes of the peer that differ from ours, and that it keeps because their files are broken.
    kept: u64,
    /// The sets are equal but for nodes that were left out.
    left_out: bool,
}

impl Unavailable {
    /// As it was recorded.
    pub(super) fn new(theirs: UnavailableNodes) -> Self {
        let before = theirs.iter().map(|(id, _)| id.clone()).collect();
        Self { theirs, before, ..Self::default() }
    }

    /// What is to be recorded.
    pub(super) fn recorded(&self) -> &UnavailableNodes {
        &self.theirs
    }

    /// Nodes of the peer, where they would count here.
    pub(super) fn of_peer(&self) -> impl Iterator<Item = &NodeId> {
        self.theirs.iter().map(|(id, _)| id).chain(self.unrecorded.keys())
    }

    /// Nodes of ours that could not be read in this round.
    pub(super) fn unread(&self) -> impl Iterator<Item = &NodeId> {
        self.unread.iter()
    }

    /// Are the sets equal but for nodes that are unavailable on either side?
    pub(super) fn are_left_out(&self) -> bool {
        self.left_out
    }

    /// Versions of ours, with their positions, that could not be read in this moment. They go in a later round.
    pub(super) fn hold_unread(&mut self, pushed: &mut Option<u64>, unread: Vec<(u64, NodeId)>) {
        for (seq, id) in unread {
            Held::before(pushed, seq);
            self.unread.insert(id);
        }
    }

    fn forget(&mut self, id: &NodeId) {
        self.theirs.remove(id);
        self.unrecorded.remove(id);
    }
}

/// How two sets differ in nodes that were left out: the nodes as the peer holds them.
pub(super) type AtPeer = BTreeMap<NodeId, Option<ContentHash>>;

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// Later versions of nodes that were unavailable came: these are so no longer.
    pub(super) fn note_available(&mut self, batch: &[WireChange]) {
        let nodes = batch.iter().filter(|change| !matches!(change.content, WireContent::Unavailable { .. }));
        nodes.for_each(|change| self.unavailable.forget(&change.id));
    }

    /// Records the nodes that the peer states as unavailable, where they would count here; answers the other changes.
    pub(super) fn set_aside(&mut self, batch: Vec<WireChange>) -> Result<Vec<WireChange>, RoundError> {
        let (lattice, now) = (&**self.parties.lattice, self.parties.clock.now());
        let mut rest = Vec::with_capacity(batch.len());
        for change in batch {
            let WireContent::Unavailable { content_hash, too_large, .. } = change.content else {
                rest.push(change);
                continue;
            };
            let is_here = lattice.entry(&change.id)?.is_some_and(|entry| entry.content_hash == content_hash);
            if is_here || !feed::would_count(lattice, &change, now)? {
                self.unavailable.forget(&change.id);
                continue;
            }
            let content = LeftOutContent { content_hash, too_large, refused_at: None };
            let is_new = self.unavailable.theirs.get(&change.id) != Some(&content);
            if let Some(bytes) = too_large.filter(|_| is_new) {
                self.too_large.name_here(&self.peer, &change.id, bytes);
            }
            if !self.unavailable.theirs.insert(&change.id, content) {
                Held::before(&mut self.held.pulled, change.seq);
                if self.unavailable.unrecorded.len() < MAX_COMPARED {
                    self.unavailable.unrecorded.insert(change.id, content);
                }
            }
        }
        Ok(rest)
    }

    /// Asks once a round for the contents that could not be had before this round, but for those that are still too large. Answers whether
    /// anything came.
    pub(super) async fn ask_for_unavailable(&mut self, round: &Round) -> Result<bool, RoundError> {
        let before = std::mem::take(&mut self.unavailable.before);
        let most = u64::try_from(most_node_bytes(&self.parties.limits)).unwrap_or(u64::MAX);
        let content = |id: NodeId| self.unavailable.theirs.get(&id).copied().map(|content| (id, content));
        let fits = |(_, content): &(NodeId, LeftOutContent)| content.too_large.is_none_or(|bytes| bytes <= most);
        let wanted: Vec<(NodeId, LeftOutContent)> = before.into_iter().filter_map(content).filter(fits).collect();
        if wanted.is_empty() || !round.directions.pull {
            return Ok(false);
        }
        let seq = self.parties.lattice.status().seq;
        // Those of which nothing comes are not there any more: what became of them has a later position.
        wanted.iter().for_each(|(id, _)| self.unavailable.forget(id));
        let content = |(id, content): &(NodeId, LeftOutContent)| Wanted {
            id: id.clone(),
            content_hash: content.content_hash,
            listed_at: None,
        };
        let contents = wanted.iter().map(content).collect();
        if let Err(error) = self.fetch(contents).await {
            for (id, content) in &wanted {
                self.unavailable.theirs.insert(id, *content);
            }
            return Err(error);
        }
        self.tell(&round.positions);
        Ok(self.parties.lattice.status().seq != seq)
    }

    /// Compares our set, but for nodes that are unavailable on either side, with theirs. `is_theirs`: is our set theirs with these nodes
    /// as they are at the peer? `None`: the sets differ in more than these nodes.
    pub(super) async fn but_for_unavailable(
        &mut self,
        round: &Round,
        is_theirs: impl Fn(&AtPeer) -> bool,
    ) -> Result<Option<Outcome>, RoundError> {
        let mut ours = self.parties.lattice.unavailable();
        ours.extend(self.unavailable.unread.iter().chain(self.too_large.there()).cloned());
        ours.truncate(MAX_COMPARED.saturating_add(1));
        let recorded = self.unavailable.theirs.iter().chain(&self.unavailable.unrecorded);
        let mut at_peer: AtPeer = recorded.map(|(id, content)| (id.clone(), Some(content.content_hash))).collect();
        let (mut end, mut is_cut) = (round.theirs.seq, ours.len() > MAX_COMPARED);
        if !is_cut {
            for part in ours.chunks(LIST) {
                let Some(seq) = self.find_at_peer(part, &mut at_peer).await? else { return Ok(None) };
                end = end.max(seq);
            }
        }
        if !is_cut && !at_peer.is_empty() && is_theirs(&at_peer) {
            self.unavailable.left_out = true;
            return Ok(Some(Outcome::Unavailable));
        }
        // Others are theirs alone: nodes that were deleted here, and that it keeps because their files are broken.
        if round.theirs.epoch.is_some() {
            let (kept, seq, is_part) = self.kept_by_peer().await?;
            is_cut |= is_part;
            end = end.max(seq.unwrap_or(end));
            let kept = kept.into_iter().filter(|(id, _)| !at_peer.contains_key(id));
            let kept: Vec<(NodeId, ContentHash)> = kept.collect();
            self.unavailable.kept = u64::try_from(kept.len()).unwrap_or(u64::MAX);
            at_peer.extend(kept.into_iter().map(|(id, content_hash)| (id, Some(content_hash))));
        }
        is_cut |= at_peer.len() >= MAX_COMPARED;
        Ok(if !at_peer.is_empty() && is_theirs(&at_peer) {
            self.unavailable.left_out = true;
            Some(Outcome::Unavailable)
        } else if at_peer.is_empty() && !is_cut {
            None
        } else if end != round.theirs.seq {
            Some(Outcome::Moving)
        } else {
            // Of so many not all are known: which set is theirs cannot be told.
            is_cut.then_some(Outcome::Exchanged)
        })
    }

    /// Reconciles the sets after nodes that the last rounds left out were repaired. Answers whether the round goes on; otherwise its time is
    /// over.
    pub(super) async fn find_repaired(&mut self, round: &mut Round, known: &Known) -> Result<bool, RoundError> {
        // No position was lost.
        let (reset, reconciles) = (self.report.reset, round.reconciles);
        let goes_on = self.reconcile(round, known, Reset::FirstContact).await;
        (self.report.reset, round.reconciles) = (reset, reconciles);
        goes_on
    }

    /// What the peer holds of these nodes of ours. Answers the position at which its journal stands; `None`: it does not say.
    async fn find_at_peer(&mut self, ids: &[NodeId], at_peer: &mut AtPeer) -> Result<Option<u64>, RoundError> {
        let mut items = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(entry) = self.parties.lattice.entry(id)? {
                items.push(ItemId::of(id, entry.updated_at, Some(&entry.content_hash)));
            }
            at_peer.insert(id.clone(), None);
        }
        self.report.requests = self.report.requests.saturating_add(1);
        let lines = match self.parties.client.versions(&items, false).await {
            Err(ClientError::Refused { .. }) => return Ok(None),
            lines => lines?,
        };
        let (changes, end) = self.read_list(lines, ids.len()).await?;
        for change in changes {
            let Some(found) = at_peer.get_mut(&change.id) else {
                return Err(RoundError::OtherFeed("it has versions that were not asked for"));
            };
            *found = change.content_hash().copied();
        }
        Ok(Some(end))
    }

    /// The nodes whose files are broken at the peer, where they differ from ours; the position at which its journal stands, `None`: it does
    /// not say; and whether there may be more of them.
    async fn kept_by_peer(&mut self) -> Result<(BTreeMap<NodeId, ContentHash>, Option<u64>, bool), RoundError> {
        self.report.requests = self.report.requests.saturating_add(1);
        let mut kept = BTreeMap::new();
        let Some(lines) = self.parties.client.unavailable().await? else { return Ok((kept, None, false)) };
        let (changes, end) = self.read_list(lines, MAX_COMPARED).await?;
        let is_part = changes.len() >= MAX_COMPARED;
        for change in changes {
            let WireContent::Unavailable { content_hash, .. } = change.content else { continue };
            let held = self.parties.lattice.entry(&change.id)?.map(|entry| entry.content_hash);
            if held != Some(content_hash) {
                kept.insert(change.id, content_hash);
            }
        }
        Ok((kept, Some(end), is_part))
    }

    /// The changes of a list of at most so many, and the position that it ends with.
    pub(super) async fn read_list(
        &mut self,
        mut lines: Lines,
        most: usize,
    ) -> Result<(Vec<WireChange>, u64), RoundError> {
        let (mut changes, mut counted) = (Vec::new(), 0);
        loop {
            match self.next_line(&mut lines).await?.0 {
                Line::Change(change) if changes.len() < most => changes.push(*change),
                Line::Change(_) => return Err(RoundError::OtherFeed("it has versions that were not asked for")),
                Line::Start(_) => return Err(RoundError::OtherFeed("it begins as another one")),
                Line::End(end) => {
                    self.count_in(lines.bytes(), &mut counted).await;
                    return Ok((changes, end));
                }
            }
        }
    }

    /// Counts for the report what was left out.
    pub(super) fn count_unavailable(&mut self) {
        if self.report.outcome == Some(Outcome::InStep) {
            return;
        }
        let Unavailable { theirs, unrecorded, unread, kept, .. } = &self.unavailable;
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let of_peer = theirs.iter().chain(unrecorded);
        let (too_large, broken): (Vec<_>, Vec<_>) = of_peer.partition(|(_, content)| content.too_large.is_some());
        self.report.unavailable = LeftOut {
            here: count(self.parties.lattice.unavailable().len().saturating_add(unread.len())),
            there: count(broken.len()).saturating_add(*kept),
        };
        let there = self.too_large.there().filter(|_| self.options.direction != Direction::Pull).count();
        self.report.too_large = LeftOut { here: count(too_large.len()), there: count(there) };
        self.too_large.name_rest(&self.peer);
    }
}

/// Can what the change needs to be sent be had here?
pub(super) fn is_available(lattice: &dyn Lattice, change: &Change) -> bool {
    match change {
        Change::Put { id, .. } => !lattice.is_unavailable(id),
        Change::Deleted(..) => true,
    }
}
