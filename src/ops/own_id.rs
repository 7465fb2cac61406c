//! This instance's own id: it belongs to this instance's key, whatever anybody registers, pushes or writes into a registry that is shared.

use super::Context;
use crate::{
    federation::shared_ids::{Shared, SharedId, Sharing},
    manifest::verify,
    registry::RegistryError,
    types::{PeerId, PublicKey},
};
use bytes::Bytes;

/// What others are told that use the id.
pub(super) const OTHER_KEY: &str = "that is the id of this instance itself, which has another key";

/// Is this our id under a key that is not ours now? One of ours that was replaced is another's too.
pub(super) fn is_anothers(context: &Context, peer: &PeerId, key: PublicKey) -> bool {
    *peer == context.identity.node_id && context.public_key().is_some_and(|own| own != key)
}

/// Notes that another machine uses our id, as it signed. A key that was ours before tells nothing: anybody can repeat what it signed.
pub(super) fn note_anothers(context: &Context, key: PublicKey, seen_at: Option<String>) {
    let was_ours = context.signer.as_ref().is_some_and(|ring| {
        let held = ring.held();
        held.log.statements().iter().map(|it| it.statement()).any(|it| it.public_key == key || it.old_key == Some(key))
    });
    if was_ours {
        return;
    }
    let shared = Shared {
        id: &context.identity.node_id,
        sharing: Sharing::OtherKey,
        is_own: true,
        is_known: true,
        other_key: Some(key),
        seen_at,
    };
    context.shared_ids.note(&shared, context.clock.now());
}

/// Ids that two machines used within the last day.
#[must_use]
pub fn shared_ids(context: &Context) -> Vec<SharedId> {
    context.shared_ids.list(&context.identity.node_id, context.clock.now())
}

/// An envelope of the registry, unless it says with another key that it is ours.
pub(super) fn not_of_anothers(context: &Context, peer: &PeerId, envelope: Bytes) -> Option<Bytes> {
    if *peer != context.identity.node_id {
        return Some(envelope);
    }
    let signed = verify(envelope.clone(), &context.limits).ok()?;
    (!is_anothers(context, peer, signed.public_key())).then_some(envelope)
}

/// Binds our id to our key in the registry, where it is bound to none. Logs what is to be done where it is bound to another. Answers
/// whether the registry could be asked.
pub async fn claim_own_id(context: &Context) -> bool {
    let Some(own) = context.public_key() else { return true };
    let peer = &context.identity.node_id;
    match context.registry.claim(peer, own).await {
        Ok(bound) if bound == own => true,
        Ok(bound) => {
            tracing::error!(
                node.id = peer.as_str(), key.own = %own, key.bound = %bound, registry.kind = context.registry.kind(),
                "the registry binds the id of this instance to another key: what is registered there under this id is neither listed nor \
                 served by this instance, and other instances that share the registry refuse this instance's manifests. Give this \
                 instance the key that the id is bound to, or another id (ARK_NODE_ID); if nobody may have that other key, delete the \
                 id's binding from the registry (in Redis the keys pin:ID and peer:ID) and restart"
            );
            true
        }
        Err(RegistryError::Unavailable(_)) => false,
        Err(error) => {
            tracing::error!(%error, node.id = peer.as_str(), "the id of this instance cannot be bound to its key in the registry");
            true
        }
    }
}
