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
    manifest::{Head, Verified},
    types::{Limits, NodeId},
};
use async_trait::async_trait;
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
}

/// The other side of a round.
#[async_trait]
pub trait Remote: Send + Sync {
    /// Where it stands, and who says so. The signature is checked; whether it is the right key is the caller's to say.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn head(&self, limits: &Limits) -> Result<Verified<Head>, ClientError>;

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

    /// Of which of these changes the content is wanted.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn offer(&self, signer: &Signer<'_>, lines: Vec<u8>) -> Result<Vec<NodeId>, ClientError>;

    /// What became of these changes, and from where to where the other side's journal moved meanwhile. Deletions count there for
    /// nodes that the filter lets through.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn push(
        &self,
        signer: &Signer<'_>,
        filter: &Filter,
        lines: Vec<u8>,
    ) -> Result<(Received, Range<u64>), ClientError>;

    /// What waits there of our deletions, and where its journal stands: the answer to a push of nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn waiting(&self, signer: &Signer<'_>) -> Result<(Option<Waits>, u64), ClientError> {
        let (received, moved) = self.push(signer, &Filter::ALL, Vec::new()).await?;
        Ok((received.there, moved.end))
    }
}
