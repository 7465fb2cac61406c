//! What a round needs of the other side. [`super::client::Client`] asks over HTTP; tests ask over ways that lose, repeat and reorder.

use super::{
    client::ClientError,
    exchange::Signer,
    feed::Received,
    filter::Filter,
    lines::Lines,
    reconcile::{Answer, item::ItemId},
    waiting::Waits,
};
use crate::{
    manifest::{EpochStart, Head, Lineage, Position, Verified},
    types::{Limits, NodeId},
};
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;

/// Which changes are asked for.
#[derive(Debug, Clone, Copy)]
pub struct ChangesQuery<'a> {
    /// Whose positions `since` belongs to.
    pub index_id: &'a str,
    /// Changes after this position.
    pub since: u64,
    /// Whether each node comes along.
    pub contents: bool,
    /// Only these nodes.
    pub filter: &'a Filter,
    /// Whether each line says its node's priority.
    pub priorities: bool,
    /// The position of the head that is acted on: refused where their journal does not continue from there. `None`: it has no epochs.
    pub seen: Option<&'a Position>,
}

/// What is known of the other side's journal when changes are offered or sent. Nothing of it where that has no epochs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Knowing<'a> {
    /// The position of the head that is acted on: refused where their journal does not continue from there.
    pub seen: Option<&'a Position>,
    /// Everything up to here came to us.
    pub holds: Option<&'a Position>,
    /// Where our own journal stands: of two instances with one identity these alternate.
    pub stands: Option<&'a Position>,
}

/// Where a journal stood when it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalStand {
    /// Its newest epoch.
    pub start: EpochStart,
    /// Its newest position.
    pub seq: u64,
}

impl JournalStand {
    /// The position.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::new(self.start.epoch.clone(), self.seq)
    }
}

/// What an instance takes of others; `None`: it does not state it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiverBounds {
    /// Its largest node, bytes of JSON text without blanks.
    pub node_bytes: Option<usize>,
    /// Its largest request body, bytes.
    pub body_bytes: Option<usize>,
}

/// The answer to an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferAnswer {
    /// Of which changes the content is wanted.
    pub wanted: Vec<NodeId>,
    /// Where the journal stood then: the other versions are in it. `None`: it has no epochs.
    pub stood: Option<JournalStand>,
    /// What it takes.
    pub bounds: ReceiverBounds,
}

/// The answer to changes that were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushAnswer {
    /// What became of them.
    pub received: Received,
    /// From where to where the other side's journal moved meanwhile.
    pub moved: Range<u64>,
    /// Its newest epoch afterwards. `None`: it has none.
    pub epoch: Option<EpochStart>,
    /// Another instance pushes there with our identity.
    pub has_twin: bool,
    /// Nodes that it left out because they are larger than it takes.
    pub too_large: Vec<NodeId>,
    /// What it takes.
    pub bounds: ReceiverBounds,
}

/// The other side of a round.
#[async_trait]
pub trait Remote: Send + Sync {
    /// Where it stands, and who says so. The signature is checked; whether it is the right key is the caller's to say.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn head(&self, limits: &Limits) -> Result<Verified<Head>, ClientError>;

    /// The epochs of its journal, up to the one that the head states, and as its hash states them.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn lineage(&self, head: &Verified<Head>) -> Result<Lineage, ClientError>;

    /// What changed there, as lines, from the first one on.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn changes(&self, query: &ChangesQuery<'_>) -> Result<Lines, ClientError>;

    /// These nodes, as lines of a feed.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn nodes(&self, ids: &[NodeId]) -> Result<Lines, ClientError>;

    /// The answer to a message of a set reconciliation; `None` where the other side does not know of it.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn reconcile(&self, message: &[u8]) -> Result<Option<Answer>, ClientError>;

    /// These versions, or what their nodes became since, as lines of a feed; each node once. `contents`: whether each node comes
    /// along.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn versions(&self, items: &[ItemId], contents: bool) -> Result<Lines, ClientError>;

    /// The nodes whose files are broken there, as lines of a feed; `None` where the other side does not know of it.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn unavailable(&self) -> Result<Option<Lines>, ClientError> {
        Ok(None)
    }

    /// Of which of these changes the content is wanted.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn offer(&self, signer: &Signer<'_>, knowing: Knowing<'_>, lines: Bytes) -> Result<OfferAnswer, ClientError>;

    /// What became of these changes. Deletions count there for nodes that the filter lets through.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn push(
        &self,
        signer: &Signer<'_>,
        knowing: Knowing<'_>,
        filter: &Filter,
        lines: Bytes,
    ) -> Result<PushAnswer, ClientError>;

    /// What waits there of our deletions, and where its journal stands: the answer to a push of nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn waiting(&self, signer: &Signer<'_>) -> Result<(Option<Waits>, u64), ClientError> {
        let PushAnswer { received, moved, .. } =
            self.push(signer, Knowing::default(), &Filter::ALL, Bytes::new()).await?;
        Ok((received.there, moved.end))
    }
}
