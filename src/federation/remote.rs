//! What a round needs of the other side. [`super::client::Client`] asks over HTTP; tests ask over ways that lose, repeat and reorder.

use super::{client::ClientError, exchange::Signer, feed::Received, lines::Lines};
use crate::{
    manifest::{Head, Verified},
    types::{Limits, NodeId},
};
use async_trait::async_trait;
use std::ops::Range;

/// The other side of a round.
#[async_trait]
pub trait Remote: Send + Sync {
    /// Where it stands, and who says so. The signature is checked; whether it is the right key is the caller's to say.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn head(&self, limits: &Limits) -> Result<Verified<Head>, ClientError>;

    /// What changed there after `since`, as lines, from the first one on; with `contents` each node comes along.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn changes(&self, index_id: &str, since: u64, contents: bool) -> Result<Lines, ClientError>;

    /// These nodes, as lines of a feed.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn nodes(&self, ids: &[NodeId]) -> Result<Lines, ClientError>;

    /// Of which of these changes the content is wanted.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn offer(&self, signer: &Signer<'_>, lines: Vec<u8>) -> Result<Vec<NodeId>, ClientError>;

    /// What became of these changes, and from where to where the other side's journal moved meanwhile.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn push(&self, signer: &Signer<'_>, lines: Vec<u8>) -> Result<(Received, Range<u64>), ClientError>;
}
