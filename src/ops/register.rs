//! Taking a signed manifest: verify, then trust, then act.

use super::{Context, limits, limits::NewIdError, offload::offload};
use crate::{
    guard::{Caller, Limited},
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
    /// Its sender or its key asks too often.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// One more id is not taken.
    #[error(transparent)]
    NewId(#[from] NewIdError),
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

/// Registers the envelope in `received`, which `caller` sent.
///
/// # Errors
/// [`RegisterError`]; nothing was registered.
pub async fn register(context: &Context, caller: Caller, received: Bytes) -> Result<Registration, RegisterError> {
    let limits = context.limits;
    let manifest = offload(received.len(), move || verify(received, &limits)).await?;
    limits::spend_of_key(context, caller, manifest.public_key()).await?;
    let admitted = context.trust.admit(manifest, context.clock.latest())?;
    let manifest = admitted.manifest();
    limits::admit_id(context, caller, manifest.get().peer(), manifest.public_key()).await?;
    let registered = context.registry.register(&admitted).await?;
    context.known_ids.note(manifest.get().peer());
    Ok(Registration {
        peer: manifest.get().peer().clone(),
        expires_in: registered.expires_in,
        trust_level: context.trust.level(manifest.get().peer(), manifest.public_key()),
        set_hash: manifest.get().set_hash(),
        step: registered.step,
    })
}
