//! Taking a signed manifest: verify, then trust, then act.

use super::{
    Context,
    audit::quarantine,
    known_key::{catch_up, known_line, named_key, restore},
    limits,
    limits::{KeyAllowance, NewIdError},
    own_id,
};
use crate::{
    federation::offload::offload,
    guard::{Caller, Limited},
    manifest::{EnvelopeError, verify},
    registry::{Registered, RegistryError},
    trust::{Admitted, Step, TrustError, TrustLevel, VersionError, check_age},
    types::{PeerId, PublicKey, SetHash},
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

/// A refused manifest: why, and who signed it, where the signature is right.
#[derive(Debug)]
pub struct RefusedManifest {
    /// Why.
    pub error: RegisterError,
    /// Whose it is.
    pub speaker: Option<(PeerId, PublicKey)>,
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

/// What was taken before is most likely still the newest of its peer, which costs less to find out than to register it.
async fn renew_or_register(
    context: &Context,
    admitted: &Admitted,
    is_known: bool,
) -> Result<Registered, RegistryError> {
    if is_known && let Some(renewed) = context.registry.renew(admitted).await? {
        return Ok(renewed);
    }
    context.registry.register(admitted).await
}

/// Registers the envelope in `received`, which `caller` sent.
///
/// # Errors
/// [`RefusedManifest`]; nothing was registered. Who contradicted himself is in quarantine then.
pub async fn register(context: &Context, caller: Caller, received: Bytes) -> Result<Registration, RefusedManifest> {
    let limits = context.limits;
    let known = context.heartbeats.find(&received);
    let is_known = known.is_some();
    let manifest = match known {
        Some(manifest) => Ok(manifest),
        None => offload(received.len(), move || verify(received, &limits)).await,
    };
    let manifest = manifest.map_err(|error| RefusedManifest { error: error.into(), speaker: None })?;
    let (peer, key) = (manifest.get().peer().clone(), manifest.public_key());
    let refused = |error| RefusedManifest { error, speaker: Some((peer.clone(), key)) };
    if own_id::is_anothers(context, &peer, key) {
        own_id::note_anothers(context, key, None);
        return Err(refused(TrustError::OtherKey { peer: peer.clone() }.into()));
    }
    check_age(manifest.get(), context.clock.now()).map_err(|error| refused(error.into()))?;
    // Anybody can repeat a public envelope, on the account of his address: it costs its signer's key nothing.
    let allowance = if is_known { None } else { Some(KeyAllowance::take(context, caller, key)) };
    let allowance = allowance.transpose().map_err(|error| refused(error.into()))?;
    // It may have come in the place of the one that the operator knows.
    if context.trust.knows_another(&peer, key) {
        let line = known_line(context, &peer).await.map_err(|error| refused(error.into()))?;
        catch_up(context, &peer, line.as_ref()).await;
    }
    let named = named_key(context, &peer, key).await.map_err(|error| refused(error.into()))?;
    let now = context.clock.latest();
    let admitted = context.trust.admit(manifest, now, named).map_err(|error| refused(error.into()))?;
    let admitted = admitted.with_standing(limits::standing(context, caller, &peer, key));
    limits::admit_id(context, caller, &peer, key).await.map_err(|error| refused(error.into()))?;
    let registered = match renew_or_register(context, &admitted, is_known).await {
        Err(RegistryError::Refused(VersionError::KeyMismatch | VersionError::Revoked))
            if restore(context, &peer, key).await.map_err(|error| refused(error.into()))? =>
        {
            context.registry.register(&admitted).await
        }
        outcome => outcome,
    };
    let registered = match registered {
        Ok(registered) => registered,
        Err(error) => {
            if matches!(error, RegistryError::Refused(VersionError::Equivocation)) {
                quarantine(context, peer.clone(), key, "two manifests with one seq").await;
            }
            return Err(refused(error.into()));
        }
    };
    if registered.step != Step::Heartbeat
        && let Some(allowance) = allowance
    {
        allowance.spend().await;
    }
    context.known_ids.note(&peer);
    let manifest = admitted.manifest();
    if !is_known {
        // Repeats are anybody's.
        if let Some(engine) = &context.engine {
            engine.contacted(&peer, key);
        }
        context.heartbeats.note(manifest);
    }
    Ok(Registration {
        trust_level: context.trust.level(&peer, key),
        peer,
        expires_in: registered.expires_in,
        set_hash: manifest.get().set_hash(),
        step: registered.step,
    })
}
