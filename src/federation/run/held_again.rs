//! Deletions that wait at one side while the side that sent them holds the nodes again, from a backup for instance: they end. The version
//! that came back may be older than the deletion, so that the order of versions does not show it; what each side holds does.

use super::{LIST, RoundError, Run};
use crate::{
    federation::{
        reconcile::item::ItemId,
        round::{Positions, Round},
        waiting,
    },
    lattice::Change,
};

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// Before the sets are exchanged from the beginning: one side was perhaps restored. Deletions that still count wait on.
    pub(super) async fn end_waits(&mut self, round: &mut Round) -> Result<(), RoundError> {
        self.end_waiting_here(round).await?;
        if round.directions.push && self.waits_there.known > 0 {
            self.state_held_nodes(round).await?;
            self.waits_there.known = self.ask_what_waits().await?.min(self.waits_there.known);
        }
        Ok(())
    }

    /// Looks at the peer for the nodes whose deletions by it wait here: those that it holds wait no longer.
    pub(super) async fn end_waiting_here(&mut self, round: &Round) -> Result<(), RoundError> {
        let lattice = self.parties.lattice;
        let ids = waiting::waiting_ids(&**lattice, self.peer.as_str())?;
        // Release 0.1.0 cannot tell what became of one version.
        if round.theirs.epoch.is_none() {
            return Ok(());
        }
        for part in ids.chunks(LIST) {
            // Whichever version is named, what the node is there comes.
            let items: Vec<ItemId> = part.iter().map(|id| ItemId::of(id, round.theirs.issued_at, None)).collect();
            self.report.requests = self.report.requests.saturating_add(1);
            let lines = self.parties.client.versions(&items, false).await?;
            let (stated, _) = self.read_list(lines, items.len()).await?;
            waiting::end_where_held(&**lattice, &self.peer, &stated).await?;
        }
        Ok(())
    }

    /// Offers every node that is here: a deletion of it by this instance waits at the peer no longer.
    pub(super) async fn state_held_nodes(&mut self, round: &mut Round) -> Result<(), RoundError> {
        let mut walk = self.walk(0, self.parties.lattice.status().seq, false);
        loop {
            let mut batch = walk.next_batch()?;
            if batch.is_empty() {
                return Ok(());
            }
            batch.retain(|change| matches!(change, Change::Put { .. }));
            self.offer(round, batch).await?;
            if self.is_over() {
                return Ok(());
            }
        }
    }
}
