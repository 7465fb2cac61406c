//! Deletions of other instances that wait for the admin: listed, carried out, refused.

use super::{Context, FederationError, Speaker, federation::NothingWaits};
use crate::{
    federation::{
        deletions::{Account, Sender},
        events::EventKind,
        waiting::{Waits, waiting_here},
        wire::WireChange,
    },
    lattice::{LatticeError, WaitingDeletion, WaitingSender},
    trust::Named,
    types::{NodeId, PeerId},
};

/// Sorts behind every sender's id.
const LAST: &str = "\u{10ffff}";
/// The most deletions in one page.
pub const MOST_WAITING: usize = 1000;

/// Some of the deletions that wait.
#[derive(Debug)]
pub struct WaitingPage {
    /// In order of node, then sender.
    pub deletions: Vec<WaitingDeletion>,
    /// Every sender of which any wait.
    pub senders: Vec<WaitingSender>,
    /// The last node, where there may be more behind it.
    pub next: Option<NodeId>,
}

/// The sender of these changes, with the account on which they count.
pub(super) fn sender<'a>(context: &Context, from: &'a Speaker, changes: &[WireChange]) -> Sender<'a> {
    let account = if changes.is_empty() { Account::Unverified } else { account(context, from) };
    Sender { id: from.peer().as_str(), account, address: from.address(), given: 0, is_pulled: false }
}

/// On whose account the deletions and additions of this sender count: on its own where its key is verified, or is that of a peer that
/// the admin named. Its id proves nothing: in `open` mode any key states any.
pub(super) fn account(context: &Context, from: &Speaker) -> Account {
    let (peer, key) = (from.peer(), from.public_key());
    let is_named = context.engine.as_ref().is_some_and(|engine| engine.names(peer, key) == Named::Yes);
    Account::of(&context.trust, peer, key, is_named)
}

/// Has an instance with this id an account of its own?
fn has_own_account(context: &Context, peer: &PeerId) -> bool {
    context.trust.has_verified(peer) || context.engine.as_ref().is_some_and(|engine| engine.names_id(peer))
}

/// Tells once where more of an instance waits than before.
pub(super) fn tell(context: &Context, from: &PeerId, waited: u64, waits: Option<Waits>) {
    let Some(waits) = waits.filter(|waits| waits.deletions > waited) else { return };
    let data = waiting_here(from, None, waits.deletions);
    match &context.engine {
        Some(engine) => engine.events().tell(EventKind::DeletionsWaiting, data),
        None => tracing::warn!(%data, "deletions wait for the admin"),
    }
}

/// Up to `limit` deletions that wait behind the node `after`, and a few more where the last node has several senders.
///
/// # Errors
/// [`LatticeError::Io`].
pub fn waiting_deletions(
    context: &Context,
    from: Option<&PeerId>,
    after: Option<&NodeId>,
    limit: usize,
) -> Result<WaitingPage, LatticeError> {
    let (lattice, from) = (&context.lattice, from.map(PeerId::as_str));
    let mut deletions = lattice.waiting(from, after.map(|id| (id, LAST)), limit)?;
    let full = deletions.len() >= limit;
    let last = deletions.last().filter(|_| full).map(|last| (last.id.clone(), last.from.clone()));
    if let Some((id, sender)) = &last {
        let more = lattice.waiting(from, Some((id, sender)), MOST_WAITING)?;
        deletions.extend(more.into_iter().take_while(|more| more.id == *id));
    }
    Ok(WaitingPage { deletions, senders: lattice.waiting_senders()?, next: last.map(|(id, _)| id) })
}

/// How many deletions of each instance wait.
///
/// # Errors
/// [`LatticeError::Io`].
pub fn waiting_senders(context: &Context) -> Result<Vec<WaitingSender>, LatticeError> {
    context.lattice.waiting_senders()
}

/// Carries out the deletions of `from` that wait, each judged again; the rest of the same wave is let through
/// ([`DeletionGuard::confirm`](crate::federation::deletions::DeletionGuard::confirm)). Answers how many nodes were deleted.
///
/// # Errors
/// [`FederationError::NothingWaits`]: then nothing is let through. [`FederationError::Lattice`]; what was not carried out waits still.
pub async fn confirm_deletions(context: &Context, from: &PeerId) -> Result<u64, FederationError> {
    something_waits(context, from, "confirm")?;
    let deleted = context.lattice.confirm_waiting(from.as_str()).await?;
    let count = usize::try_from(deleted).unwrap_or(usize::MAX);
    let is_own = has_own_account(context, from);
    context.deletions.confirm(from.as_str(), is_own, count, context.clock.elapsed());
    // Where that fails, what was deleted before stays counted after a restart.
    context.deletions.save_soon().await;
    tracing::info!(peer_id = %from, deletions = deleted, "the admin confirmed deletions");
    Ok(deleted)
}

fn something_waits(context: &Context, from: &PeerId, verb: &'static str) -> Result<(), FederationError> {
    if context.lattice.waiting_of(from.as_str())? > 0 {
        return Ok(());
    }
    let here = context.lattice.waiting_senders()?.into_iter().map(|sender| sender.from).collect();
    let peers = context.engine.as_ref().map(|engine| engine.peers()).unwrap_or_default();
    let there = peers.into_iter().filter(|peer| peer.waiting_there > 0).map(|peer| peer.url).collect();
    let own_id = context.identity.node_id.clone();
    Err(NothingWaits { verb, from: from.clone(), own_id, here, there }.into())
}

/// Refuses the deletions of `from` that wait: the nodes stay, and go back to it where changes go that way. Answers how many.
///
/// # Errors
/// [`FederationError::NothingWaits`]. [`FederationError::Lattice`]; what was not refused waits still.
pub async fn refuse_deletions(context: &Context, from: &PeerId) -> Result<u64, FederationError> {
    something_waits(context, from, "refuse")?;
    let nodes = context.lattice.refuse_waiting(from.as_str()).await?;
    tracing::info!(peer_id = %from, nodes, "the admin refused deletions");
    Ok(nodes)
}
