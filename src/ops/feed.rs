//! What changed, for other instances.

use super::{Context, Speaker, deletions};
use crate::{
    federation::{feed, waiting, wire::WireChange},
    lattice::LatticeError,
    manifest::{Head, sign_head},
    types::NodeId,
};
use bytes::Bytes;
use futures_util::StreamExt;
use std::ops::Range;

pub use crate::federation::{
    exchange::{ANSWERS_HEADER, INDEX_HEADER, POSITION_HEADER},
    feed::{FeedError, FeedOptions, LineStream, Received, read_changes},
    filter::Filter,
    reconcile::{Answer, item::ItemId, message::FRAME_BYTES},
};

/// Where this lattice stands, and that signed.
///
/// # Errors
/// [`FeedError::NoKey`], [`FeedError::Revoked`], [`FeedError::Lattice`].
pub fn head(context: &Context) -> Result<(Head, String), FeedError> {
    let held = context.signer.as_ref().ok_or(FeedError::NoKey)?.held();
    if held.is_revoked() {
        return Err(FeedError::Revoked);
    }
    let head = feed::stand(&*context.lattice, &context.identity.node_id, context.clock.now())?;
    let signed = sign_head(&head, held.key.public_key(), |bytes| held.key.sign(bytes));
    Ok((head, signed))
}

/// The changes after `since`, up to where the journal stands now; not faster than the operator allows.
///
/// # Errors
/// [`FeedError`]. The stream itself may fail with [`LatticeError`].
pub fn changes(
    context: &Context,
    index_id: Option<&str>,
    since: u64,
    options: FeedOptions,
) -> Result<LineStream, FeedError> {
    Ok(paced(context, feed::feed(&context.lattice, index_id, since, options)?))
}

/// The same parts, not faster than the operator allows.
#[must_use]
pub fn paced(context: &Context, lines: LineStream) -> LineStream {
    let rate = context.rates.upload.clone();
    let pay = move |part: Result<Bytes, LatticeError>| {
        let rate = rate.clone();
        async move {
            rate.take(part.as_ref().map_or(0, Bytes::len)).await;
            part
        }
    };
    lines.then(pay).boxed()
}

/// The nodes with these ids, as lines of a feed.
///
/// # Errors
/// [`LatticeError::Loading`]. The stream itself may fail with [`LatticeError`].
pub fn contents(context: &Context, ids: Vec<NodeId>) -> Result<LineStream, LatticeError> {
    Ok(paced(context, feed::contents(&context.lattice, ids)?))
}

/// The answer to a message of a set reconciliation.
///
/// # Errors
/// [`FeedError::Message`], [`FeedError::Lattice`].
pub async fn reconcile(context: &Context, message: Bytes) -> Result<Answer, FeedError> {
    context.sets.respond(&context.lattice, message).await
}

/// These versions, or what their nodes became since, as lines of a feed. `contents`: whether each node comes along.
///
/// # Errors
/// [`LatticeError`]. The stream itself may fail with it.
pub async fn versions(context: &Context, items: Vec<ItemId>, contents: bool) -> Result<LineStream, LatticeError> {
    let end = context.lattice.status().seq;
    let changes = context.sets.changes_of(&context.lattice, items).await?;
    Ok(paced(context, feed::lines_of(&context.lattice, changes, end, contents)))
}

/// Judges and stores versions of another instance; with a filter, those that it lets in. Deletions beyond the guard wait. Answers what
/// became of them, and from where to where the journal moved meanwhile.
///
/// # Errors
/// [`FeedError::NoContent`], [`FeedError::Lattice`]; with the last, what came before may have been written.
pub async fn receive(
    context: &Context,
    from: &Speaker,
    filter: &Filter,
    changes: Vec<WireChange>,
) -> Result<(Received, Range<u64>), FeedError> {
    let changes = feed::admitted(&*context.lattice, &filter.matcher(), changes).await?;
    let (lattice, elapsed) = (&*context.lattice, context.clock.elapsed());
    let (since, waited) = (lattice.status().seq, lattice.waiting_of(from.peer().as_str())?);
    let sender = deletions::sender(context, from, &changes);
    let (mut received, _) = waiting::receive(lattice, &context.deletions, sender, elapsed, changes).await?;
    // The position first: what is added meanwhile shows as another position of the head.
    let end = lattice.status().seq;
    received.there = waiting::waits(lattice, sender.id)?;
    deletions::tell(context, from.peer(), waited, received.there);
    Ok((received, since..end))
}

/// Of which of these versions the content is wanted: they would count here.
///
/// # Errors
/// [`FeedError::Lattice`].
pub fn wanted(context: &Context, changes: &[WireChange]) -> Result<Vec<NodeId>, FeedError> {
    feed::wanted(&*context.lattice, changes, context.clock.now())
}
