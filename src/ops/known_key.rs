//! Ids of which the admin knows the key: verified, listed, or pinned as a named peer's. What a registry says of such an id counts only as
//! far as signed statements lead from that key.

use super::Context;
use crate::{
    registry::{Bound, RegistryError},
    trust::{KeyLine, Named},
    types::{PeerId, PublicKey},
};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// The key of the peer that the admin named under this id.
pub(super) fn pinned_key(context: &Context, peer: &PeerId) -> Option<PublicKey> {
    context.engine.as_ref().and_then(|engine| engine.pinned_key(peer))
}

/// Is this the pinned key of a peer that the admin named, or one that took its place by statements?
pub(super) fn is_pinned(context: &Context, peer: &PeerId, key: PublicKey) -> bool {
    context.engine.as_ref().is_some_and(|engine| engine.names(peer, key) == Named::Yes)
}

/// The key that is to sign for an id, where a peer is named under it: `key` itself where it is that one.
pub(super) fn named_key(context: &Context, peer: &PeerId, key: PublicKey) -> Option<PublicKey> {
    if is_pinned(context, peer, key) { Some(key) } else { pinned_key(context, peer) }
}

fn known_key(context: &Context, peer: &PeerId) -> Option<PublicKey> {
    context.trust.known_key(peer).or_else(|| pinned_key(context, peer))
}

/// The key line of an id, as far as it counts.
pub(super) async fn line_of(
    context: &Context,
    peer: &PeerId,
    bound: Option<&Bound>,
) -> Result<Option<KeyLine>, RegistryError> {
    let Some(bound) = bound else { return Ok(None) };
    match known_key(context, peer) {
        Some(known) => context.registry.line_from(peer, bound, known, context.clock.latest()).await,
        None => Ok(bound.line.clone()),
    }
}

/// Takes over what statements say of a key that the admin knows and that was not received here: another process took them, or this one was
/// killed in between.
pub(super) async fn catch_up(context: &Context, peer: &PeerId, line: Option<&KeyLine>) {
    let Some(line) = line else { return };
    if context.trust.is_behind(peer, line) {
        let (trust, peer, line) = (Arc::clone(&context.trust), peer.clone(), line.clone());
        drop(spawn_blocking(move || trust.catch_up(&peer, &line)).await);
    }
}

/// As [`catch_up`], with what the registry says of the id.
pub(super) async fn catch_up_from_registry(context: &Context, peer: &PeerId) -> Result<(), RegistryError> {
    let bound = context.registry.bound(peer).await?;
    let line = line_of(context, peer, bound.as_ref()).await?;
    catch_up(context, peer, line.as_ref()).await;
    Ok(())
}

/// Binds an id to its known key where a shared registry refuses that key for something that no statement says. Answers whether that was done.
pub(super) async fn restore(context: &Context, peer: &PeerId, key: PublicKey) -> Result<bool, RegistryError> {
    if context.trust.known_key(peer) != Some(key) && !is_pinned(context, peer, key) {
        return Ok(false);
    }
    let Some(bound) = context.registry.bound(peer).await? else { return Ok(false) };
    let line = line_of(context, peer, Some(&bound)).await?;
    if line.is_some_and(|line| !line.speaks(key)) {
        return Ok(false);
    }
    context.registry.restore(peer, &bound, key).await
}
