//! Ids of which the admin knows the key: verified, listed, or pinned as a named peer's. What a registry says of such an id counts only as
//! far as signed statements lead from that key.

use super::Context;
use crate::{
    registry::RegistryError,
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
///
/// # Errors
/// The registry does not answer.
pub(super) async fn named_key(
    context: &Context,
    peer: &PeerId,
    key: PublicKey,
) -> Result<Option<PublicKey>, RegistryError> {
    if is_pinned(context, peer, key) {
        return Ok(Some(key));
    }
    let Some(pinned) = pinned_key(context, peer) else { return Ok(None) };
    // Another process may have taken the statements.
    let line = known_line(context, peer).await?;
    Ok(Some(if line.is_some_and(|line| line.succeeds(key, pinned)) { key } else { pinned }))
}

/// The key that an id has, whatever is registered: by the admin's decision, else as a named peer's; else the one that is bound to it.
///
/// # Errors
/// The registry does not answer.
pub(super) async fn key_of_id(
    context: &Context,
    peer: &PeerId,
    key: PublicKey,
) -> Result<Option<PublicKey>, RegistryError> {
    if let Some(known) = context.trust.known_key(peer) {
        return Ok(Some(known));
    }
    match named_key(context, peer, key).await? {
        Some(named) => Ok(Some(named)),
        None => Ok(context.registry.bound(peer).await?.map(|bound| bound.public_key)),
    }
}

/// The key line of an id, as far as it counts.
///
/// # Errors
/// The registry does not answer; or its entry cannot be read, and the admin knows no key of the id.
pub(super) async fn known_line(context: &Context, peer: &PeerId) -> Result<Option<KeyLine>, RegistryError> {
    let known = context.trust.known_key(peer).or_else(|| pinned_key(context, peer));
    match (context.registry.bound(peer).await, known) {
        (Ok(None), _) => Ok(None),
        (Ok(Some(bound)), None) => Ok(bound.line),
        (Ok(Some(bound)), Some(known)) => context.registry.line_from(peer, &bound, known, context.clock.latest()).await,
        // What somebody wrote there ends no key that the admin knows.
        (Err(error), Some(_)) if error.is_unreadable() => {
            tracing::warn!(
                peer.id = peer.as_str(),
                %error,
                "the registry's binding of a known key cannot be read and does not count"
            );
            Ok(None)
        }
        (Err(error), _) => Err(error),
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

/// Binds an id to its known key where a shared registry refuses that key for something that no statement says. Answers whether that was done.
///
/// # Errors
/// The registry does not answer.
pub(super) async fn restore(context: &Context, peer: &PeerId, key: PublicKey) -> Result<bool, RegistryError> {
    let is_known = context.trust.known_key(peer) == Some(key) || is_pinned(context, peer, key);
    if !is_known {
        return Ok(false);
    }
    let Some(bound) = context.registry.bound(peer).await? else { return Ok(false) };
    let line = context.registry.line_from(peer, &bound, key, context.clock.latest()).await?;
    if line.as_ref().is_some_and(|line| !line.speaks(key)) {
        return Ok(false);
    }
    context.registry.restore(peer, &bound, key, line.as_ref()).await
}
