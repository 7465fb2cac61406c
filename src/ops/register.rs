//! Taking a signed manifest: verify, then trust, then act.

use super::{Context, offload::offload};
use crate::{
    manifest::{EnvelopeError, verify},
    registry::RegistryError,
    trust::{Step, TrustError, TrustLevel},
    types::{PeerId, SetHash},
};
use bytes::Bytes;
use std::time::Duration;

/// Why a manifest was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The envelope is malformed or its signature wrong.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The signature is right, but the operator's rules do not let it in.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The registry refused or did not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// A manifest that was taken.
#[derive(Debug)]
pub struct Registration {
    /// The instance that it speaks for.
    pub peer: PeerId,
    /// How long its entry lives from now.
    pub expires_in: Duration,
    /// What this instance thinks of the key.
    pub trust_level: TrustLevel,
    /// The set hash of the nodes that it lists.
    pub set_hash: SetHash,
    /// First, newer or heartbeat.
    pub step: Step,
}

/// Registers the envelope in `received`.
///
/// # Errors
/// [`RegisterError`]; nothing was registered.
pub async fn register(context: &Context, received: Bytes) -> Result<Registration, RegisterError> {
    let limits = context.limits;
    let manifest = offload(received.len(), move || verify(received, &limits)).await?;
    let (peer, key) = (manifest.get().peer().clone(), manifest.public_key());
    // It may have come in the place of the listed one.
    let bound = if context.trust.lists_another(&peer, key) { context.registry.bound(&peer).await? } else { None };
    let line = bound.as_ref().and_then(|bound| bound.line.as_ref());
    let admitted = context.trust.admit_in_line(manifest, line, context.clock.latest())?;
    let registered = context.registry.register(&admitted).await?;
    let manifest = admitted.manifest();
    Ok(Registration {
        trust_level: context.trust.level_in_line(&peer, key, line),
        peer,
        expires_in: registered.expires_in,
        set_hash: manifest.get().set_hash(),
        step: registered.step,
    })
}
