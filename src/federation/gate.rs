//! Who may exchange at the same time. Asking where a peer stands costs little and is free; whatever costs more waits for its turn,
//! and a peer that failed last time waits where only others like it are waited for.

use super::{
    client::ClientError,
    events::Exchange,
    exchange::Signer,
    filter::Filter,
    lines::Lines,
    reconcile::{Answer, item::ItemId},
    remote::{ChangesQuery, Knowing, OfferAnswer, PushAnswer, Remote},
    waiting::Waits,
};
use crate::{
    manifest::{Head, Lineage, Verified},
    types::{Limits, NodeId},
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

/// Turns of rounds.
#[derive(Debug)]
pub(super) struct Gate {
    all: Semaphore,
    /// At most half of them go to peers that failed: however many of these there are, they delay no other.
    doubtful: Semaphore,
}

impl Gate {
    pub(super) fn new(at_once: usize) -> Self {
        let at_once = at_once.max(1);
        Self { all: Semaphore::new(at_once), doubtful: Semaphore::new((at_once / 2).max(1)) }
    }

    /// A turn for a round that takes it at once; it lasts until the answer is dropped.
    pub(super) async fn turn(&self, doubtful: bool) -> (Option<SemaphorePermit<'_>>, Option<SemaphorePermit<'_>>) {
        // Closed never: the gate lives as long as its turns.
        let doubtful = if doubtful { self.doubtful.acquire().await.ok() } else { None };
        (doubtful, self.all.acquire().await.ok())
    }

    /// The other side of a round, which takes its turn when it needs one and keeps it until it is dropped; then the exchange begins.
    pub(super) fn guard<'a>(
        &'a self,
        remote: &'a dyn Remote,
        doubtful: bool,
        exchange: &'a Exchange<'a>,
    ) -> Guarded<'a> {
        Guarded { gate: self, remote, doubtful, exchange, turn: OnceCell::new() }
    }
}

/// See [`Gate::guard`].
pub(super) struct Guarded<'a> {
    gate: &'a Gate,
    remote: &'a dyn Remote,
    doubtful: bool,
    exchange: &'a Exchange<'a>,
    turn: OnceCell<(Option<SemaphorePermit<'a>>, Option<SemaphorePermit<'a>>)>,
}

impl Guarded<'_> {
    async fn turn(&self) {
        let take = || async {
            // Closed never: the gate lives as long as its turns.
            let doubtful = if self.doubtful { self.gate.doubtful.acquire().await.ok() } else { None };
            (doubtful, self.gate.all.acquire().await.ok())
        };
        self.turn.get_or_init(take).await;
        self.exchange.begin();
    }
}

#[async_trait]
impl Remote for Guarded<'_> {
    async fn head(&self, limits: &Limits) -> Result<Verified<Head>, ClientError> {
        self.remote.head(limits).await
    }

    async fn lineage(&self, head: &Verified<Head>) -> Result<Lineage, ClientError> {
        self.remote.lineage(head).await
    }

    async fn changes(&self, query: &ChangesQuery<'_>) -> Result<Lines, ClientError> {
        self.turn().await;
        self.remote.changes(query).await
    }

    async fn nodes(&self, ids: &[NodeId]) -> Result<Lines, ClientError> {
        self.turn().await;
        self.remote.nodes(ids).await
    }

    async fn reconcile(&self, message: &[u8]) -> Result<Option<Answer>, ClientError> {
        self.turn().await;
        self.remote.reconcile(message).await
    }

    async fn versions(&self, items: &[ItemId], contents: bool) -> Result<Lines, ClientError> {
        self.turn().await;
        self.remote.versions(items, contents).await
    }

    async fn unavailable(&self) -> Result<Option<Lines>, ClientError> {
        self.turn().await;
        self.remote.unavailable().await
    }

    async fn offer(&self, signer: &Signer<'_>, knowing: Knowing<'_>, lines: Bytes) -> Result<OfferAnswer, ClientError> {
        self.turn().await;
        self.remote.offer(signer, knowing, lines).await
    }

    async fn push(
        &self,
        signer: &Signer<'_>,
        knowing: Knowing<'_>,
        filter: &Filter,
        lines: Bytes,
    ) -> Result<PushAnswer, ClientError> {
        self.turn().await;
        self.remote.push(signer, knowing, filter, lines).await
    }
    // One small answer, as a head: no turn is needed for it.
    async fn waiting(&self, signer: &Signer<'_>) -> Result<(Option<Waits>, u64), ClientError> {
        self.remote.waiting(signer).await
    }
}
