//! Changes that wait until they are known to lead to the set that was signed: nothing of an answer that mixes what the peer held at one
//! time with what it held at another one is taken (mix-and-match, TUF 1.0.34, section 1.5.2).
//!
//! Their set is known where the list is whole, and where both sets were equal and nothing changed here since. What is more than fits, or
//! comes while ours changes, is taken as it comes; then the end of the round compares the sets.

use super::{BATCH, Known, LIST, RoundError, Run, meet, pull::Pulling};
use crate::{
    federation::{
        round::{Mode, Positions, Reset, Round},
        wire::WireChange,
    },
    lattice::index::Snapshot,
    manifest::Head,
    types::NodeId,
};
use std::sync::Arc;

/// The most changes that wait, and their bytes.
const STAGED: usize = 10_000;
const STAGED_BYTES: usize = 16 << 20;
/// How often the rest of a feed is fetched that grows while it is read.
const MAX_PARTS: u32 = 3;

/// Changes that wait.
#[derive(Debug)]
pub(super) struct Stage {
    /// What they held before these; with where our journal stood, where it is ours.
    base: Option<(Arc<Snapshot>, u64)>,
    changes: Vec<WireChange>,
    bytes: usize,
}

impl Stage {
    pub(super) fn new(base: Option<(Arc<Snapshot>, u64)>) -> Self {
        Self { base, changes: Vec::new(), bytes: 0 }
    }

    /// Takes a batch; answers whether it is too much now.
    fn add(&mut self, batch: Vec<WireChange>, bytes: usize) -> bool {
        self.changes.extend(batch);
        self.bytes = self.bytes.saturating_add(bytes);
        self.changes.len() > STAGED || self.bytes > STAGED_BYTES
    }

    /// Did our own set change, now that our journal stands at `seq`? What was theirs is not known any more then.
    fn has_moved(&self, seq: u64) -> bool {
        self.base.as_ref().is_some_and(|(_, before)| *before != seq)
    }

    /// Is this the set that they signed? `lacking`: what they lack of the base.
    fn leads_to(&self, lacking: &[NodeId], head: &Head) -> bool {
        let nothing = Snapshot::of([]);
        let base = self.base.as_ref().map_or(&nothing, |(base, _)| base);
        let changes = self.changes.iter().map(|change| (&change.id, change.content_hash().copied()));
        base.hash_with(lacking.iter().map(|id| (id, None)).chain(changes)) == head.manifest_hash
    }
}

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// Where what comes can be compared with what was signed before any of it is taken.
    pub(super) fn stage(&self, round: &Round, since: u64, reset: Option<Reset>) -> Result<Option<Stage>, RoundError> {
        if round.directions.filtered || self.unstaged {
            return Ok(None);
        }
        if since == 0 {
            return Ok(Some(Stage::new(None)));
        }
        let seq = self.parties.lattice.status().seq;
        if reset.is_some() || round.positions.in_step != Some((since, seq)) {
            return Ok(None);
        }
        Ok(Some(Stage::new(Some((self.parties.lattice.snapshot()?, seq)))))
    }

    /// Takes what came, or lets it wait with what came before; all of it is taken once that is too much.
    pub(super) async fn stage_or_take(
        &mut self,
        round: &Round,
        pulling: &mut Pulling,
        batch: Vec<WireChange>,
        bytes: usize,
    ) -> Result<(), RoundError> {
        let Some(stage) = &mut pulling.stage else { return self.take(round, pulling, batch, bytes).await };
        if stage.add(batch, bytes)
            && let Some(stage) = pulling.stage.take()
        {
            self.take_staged(round, pulling, stage.changes).await?;
        }
        Ok(())
    }

    /// Takes what waits, if it leads to what was signed. `end`: up to where it was read. Answers up to where it was read in the end;
    /// `None`: the round's time is over.
    pub(super) async fn settle(
        &mut self,
        round: &mut Round,
        pulling: &mut Pulling,
        known: &Known,
        mut end: u64,
    ) -> Result<Option<u64>, RoundError> {
        for _ in 0..MAX_PARTS {
            let Some(stage) = &pulling.stage else { return Ok(Some(end)) };
            let moved = stage.has_moved(self.parties.lattice.status().seq);
            if moved || (end == round.theirs.seq && stage.leads_to(&[], &round.theirs)) {
                break;
            }
            let before = (round.theirs.seq, round.theirs.manifest_hash);
            self.report.requests = self.report.requests.saturating_add(1);
            round.theirs = meet(self.parties, known).await?.get().clone();
            if round.theirs.seq < end {
                return Err(RoundError::OtherFeed("it goes beyond the signed position"));
            }
            if before == (round.theirs.seq, round.theirs.manifest_hash) && end == round.theirs.seq {
                return Err(RoundError::Mixed);
            }
            if end < round.theirs.seq {
                let Some(last) = self.read(round, pulling).await? else { return Ok(None) };
                end = last;
            }
        }
        let Some(stage) = pulling.stage.take() else { return Ok(Some(end)) };
        self.take_staged(round, pulling, stage.changes).await?;
        Ok(Some(end))
    }

    /// Takes versions that wait, if they lead from our set to what was signed. `lacking`: what they lack of ours.
    pub(super) async fn settle_versions(
        &mut self,
        round: &Round,
        pulling: &mut Pulling,
        known: &Known,
        lacking: &[NodeId],
    ) -> Result<(), RoundError> {
        let Some(stage) = pulling.stage.take() else { return Ok(()) };
        if !stage.has_moved(self.parties.lattice.status().seq) && !stage.leads_to(lacking, &round.theirs) {
            self.report.requests = self.report.requests.saturating_add(1);
            let head = meet(self.parties, known).await?;
            let (before, now) = (&round.theirs, head.get());
            if (before.seq, before.manifest_hash) == (now.seq, now.manifest_hash) {
                return Err(RoundError::Mixed);
            }
        }
        self.take_staged(round, pulling, stage.changes).await
    }

    /// Takes what waited, in batches as they would have come.
    async fn take_staged(
        &mut self,
        round: &Round,
        pulling: &mut Pulling,
        mut changes: Vec<WireChange>,
    ) -> Result<(), RoundError> {
        let (end, most) = (pulling.last, if pulling.mode == Mode::Inline { BATCH } else { LIST });
        while !changes.is_empty() {
            let later = changes.split_off(changes.len().min(most));
            let batch = std::mem::replace(&mut changes, later);
            // Versions that were asked for one by one, not read up to a position, reach none.
            pulling.last = batch.last().map_or(end, |change| change.seq.min(end));
            self.take(round, pulling, batch, 0).await?;
        }
        pulling.last = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        federation::wire::WireContent,
        lattice::{Ancestry, index::tests::entry},
        types::{ContentHash, PeerId, Timestamp},
    };

    #[test]
    fn an_unavailable_node_belongs_to_the_signed_set() {
        let set = Snapshot::of([entry("a", "1"), entry("b", "1")]);
        let head = Head {
            node_id: PeerId::parse("p").unwrap(),
            index_id: "p".to_owned(),
            seq: 2,
            floor: 0,
            manifest_hash: set.set_hash(),
            count: 2,
            issued_at: Timestamp::EPOCH,
            expires: Timestamp::EPOCH,
            epoch: None,
        };
        let content_hash = ContentHash::of(b"1");
        let available = WireContent::Put { content_hash, node_type: None, size_bytes: 1, node: None };
        let change = |id: &str, content: WireContent| WireChange {
            seq: 1,
            id: NodeId::parse(id).unwrap(),
            at: Timestamp::EPOCH,
            ancestry: Ancestry::default(),
            priority: 0.0,
            content,
        };
        let mut stage = Stage::new(None);
        stage.add(vec![change("a", available)], 0);
        assert!(!stage.leads_to(&[], &head));
        stage.add(vec![change("b", WireContent::Unavailable { content_hash, node_type: None, too_large: None })], 0);
        assert!(stage.leads_to(&[], &head));
    }
}
