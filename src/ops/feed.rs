//! What changed, for other instances.

use super::{Context, Speaker, deletions, inbound, requests};
use crate::{
    federation::{
        deletions::Sender,
        feed,
        remote::ReceiverBounds,
        shared_ids::{Shared, Sharing},
        twins::{ANOTHER_IDENTITY, Sighting},
        waiting::{self, Judged},
        wire::{WireChange, WireContent},
    },
    lattice::LatticeError,
    manifest::{Head, Position, sign_head},
    types::{NodeId, PeerId},
};
use bytes::Bytes;
use futures_util::StreamExt;

pub use crate::federation::{
    exchange::{ANSWERS_HEADER, INDEX_HEADER, POSITION_HEADER},
    feed::{FeedError, FeedOptions, LineStream, Received, read_changes},
    filter::Filter,
    reconcile::{Answer, item::ItemId, message::FRAME_BYTES},
    remote::{JournalStand, Knowing, PushAnswer},
    wire::most_node_bytes,
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

/// The epochs of the journal, as the wire has them.
#[must_use]
pub fn lineage(context: &Context) -> String {
    context.lattice.epochs().lineage.to_json()
}

/// The newest accepted head of an instance, as it was signed. `None`: nothing is known of it.
#[must_use]
pub fn head_of(context: &Context, peer: &PeerId) -> Option<String> {
    context.trust.signed_head(peer)
}

/// Where the journal stands now.
#[must_use]
pub fn here(context: &Context) -> JournalStand {
    feed::here(&*context.lattice)
}

/// The changes after `since`, up to where the journal stands now; not faster than the operator allows. `seen`: the position of the head
/// that the other side acts on.
///
/// # Errors
/// [`FeedError`]. The stream itself may fail with [`LatticeError`].
pub fn changes(
    context: &Context,
    index_id: Option<&str>,
    since: u64,
    options: FeedOptions,
    seen: Option<&Position>,
) -> Result<LineStream, FeedError> {
    Ok(paced(context, feed::feed(&context.lattice, index_id, since, options, seen)?))
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
pub fn contents(context: &Context, ids: Vec<NodeId>, options: FeedOptions) -> Result<LineStream, LatticeError> {
    Ok(paced(context, feed::contents(&context.lattice, ids, options)?))
}

/// The nodes whose files are broken here, at most `limit` of them, as lines of a feed.
///
/// # Errors
/// [`LatticeError::Loading`]. The stream itself may fail with [`LatticeError`].
pub fn unavailable(context: &Context, limit: usize) -> Result<LineStream, LatticeError> {
    Ok(paced(context, feed::unavailable(&context.lattice, limit)?))
}

/// The answer to a message of a set reconciliation.
///
/// # Errors
/// [`FeedError::Message`], [`FeedError::Lattice`].
pub async fn reconcile(context: &Context, message: Bytes) -> Result<Answer, FeedError> {
    context.sets.respond(&context.lattice, message).await
}

/// These versions, or what their nodes became since, as lines of a feed.
///
/// # Errors
/// [`LatticeError`]. The stream itself may fail with it.
pub async fn versions(context: &Context, items: Vec<ItemId>, options: FeedOptions) -> Result<LineStream, LatticeError> {
    let end = context.lattice.status().seq;
    let changes = context.sets.changes_of(&context.lattice, items).await?;
    Ok(paced(context, feed::lines_of(&context.lattice, changes, end, options)))
}

/// Judges and stores versions of another instance; with a filter, those that it lets in. `knowing`: what the sender states of this
/// journal. Answers what became of them, from where to where the journal moved meanwhile, and where it stands.
///
/// # Errors
/// [`FeedError::NoContent`], [`FeedError::Lattice`]; with the last, what came before may have been written.
pub async fn receive(
    context: &Context,
    from: &Speaker,
    knowing: Knowing<'_>,
    filter: &Filter,
    changes: Vec<WireChange>,
) -> Result<PushAnswer, FeedError> {
    feed::continues(&*context.lattice, knowing.seen)?;
    let given = given(context, from.peer(), knowing);
    let changes = feed::admitted(&*context.lattice, &filter.matcher(), changes).await?;
    let (changes, too_large) = without_too_large(context, from.peer(), changes)?;
    let (lattice, elapsed) = (&*context.lattice, context.clock.elapsed());
    let (since, waited) = (lattice.status().seq, lattice.waiting_of(from.peer().as_str())?);
    let sender = Sender { given, ..deletions::sender(context, from, &changes) };
    let Judged { mut received, left_out, .. } =
        waiting::receive(lattice, &context.deletions, sender, elapsed, changes).await?;
    if let Some(error) = left_out {
        return Err(error.into());
    }
    // The position first: what is added meanwhile shows as another position of the head.
    let JournalStand { start, seq } = feed::here(lattice);
    received.there = waiting::waits(lattice, from.peer().as_str())?;
    deletions::tell(context, from.peer(), waited, received.there);
    inbound::record_push(context, from, received.taken);
    let has_twin = knowing.stands.is_some_and(|stands| has_twin(context, from, stands));
    let bounds = ReceiverBounds {
        node_bytes: Some(most_node_bytes(&context.limits)),
        body_bytes: Some(context.limits.sync_bytes),
    };
    Ok(PushAnswer { received, moved: since..seq, epoch: Some(start), has_twin, too_large, bounds })
}

/// The changes without nodes that are too large for this instance; and those of these nodes whose version would count here, which are
/// named in the log, each once.
fn without_too_large(
    context: &Context,
    from: &PeerId,
    changes: Vec<WireChange>,
) -> Result<(Vec<WireChange>, Vec<NodeId>), FeedError> {
    let (mut rest, mut left_out) = (Vec::with_capacity(changes.len()), Vec::new());
    let now = context.clock.now();
    for change in changes {
        let WireContent::Unavailable { content_hash, too_large: Some(bytes), .. } = change.content else {
            rest.push(change);
            continue;
        };
        if !feed::would_count(&*context.lattice, &change, now)? {
            continue;
        }
        if context.left_out.is_new(&change.id, &content_hash) {
            tracing::warn!(
                peer.id = from.as_str(),
                node.id = change.id.as_str(),
                node.bytes = bytes,
                "a node that a peer sends is too large for this instance and is left out here; to take it, raise limits.node_bytes here"
            );
        }
        left_out.push(change.id);
    }
    Ok((rest, left_out))
}

/// Does another instance push here with the identity of this sender? Says so once in the log.
fn has_twin(context: &Context, from: &Speaker, stands: &Position) -> bool {
    let (peer, key, now) = (from.peer(), from.public_key(), context.clock.now());
    match context.twins.note((peer, key), requests::is_known(context, from), stands, now) {
        Sighting::Single => false,
        Sighting::Twin { is_new } => {
            if is_new {
                tracing::warn!(
                    peer.id = peer.as_str(),
                    "two instances have the identity of {peer}: both send changes here, in turn. Give one of them its own: {ANOTHER_IDENTITY}"
                );
                context.trust.note_twins(peer, key, stands);
            }
            note_copied(context, from);
            true
        }
    }
}

fn note_copied(context: &Context, from: &Speaker) {
    let shared = Shared {
        id: from.peer(),
        sharing: Sharing::CopiedKey,
        is_own: false,
        is_known: requests::is_known(context, from),
        other_key: None,
        seen_at: from.address().map(|address| address.to_string()),
    };
    context.shared_ids.note(&shared, context.clock.now());
}

/// Up to which position of the journal here the sender of a push had been given the versions: by what it states that it holds, and by
/// what went to it from here.
fn given(context: &Context, from: &PeerId, knowing: Knowing<'_>) -> u64 {
    let stated = feed::given(&*context.lattice, knowing.holds);
    let pushed = context.engine.as_ref().and_then(|engine| engine.pushed_to(from));
    stated.max(feed::given(&*context.lattice, pushed.as_ref()))
}

/// Of which of these versions, that `from` offers, the content is wanted: they would count here. A deletion by it of a node that it
/// offers waits no longer.
///
/// # Errors
/// [`FeedError::Lattice`], [`FeedError::OtherHistory`].
pub async fn wanted(
    context: &Context,
    from: &Speaker,
    seen: Option<&Position>,
    changes: &[WireChange],
) -> Result<Vec<NodeId>, FeedError> {
    feed::continues(&*context.lattice, seen)?;
    waiting::end_where_held(&*context.lattice, from.peer(), changes).await?;
    feed::wanted(&*context.lattice, changes, context.clock.now())
}
