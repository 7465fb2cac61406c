//! What a client may ask for, counted.

use super::Context;
use crate::{
    guard::{Allowance, Caller, Class, Limited, Payer},
    registry::{RegistryError, Spent},
    trust::{Standing, TrustLevel, TrustMode},
    types::{PeerId, PublicKey},
};
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// Ids that are known to be bound; when there are more, all are asked for again.
const MAX_KNOWN: usize = 100_000;

/// Why an id is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NewIdError {
    /// Too many came from there, or of that key.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The key has as many ids as it may.
    #[error("this key speaks for {0} ids already, which is as many as one key may have here (limits.ids_per_key)")]
    Quota(u64),
    /// What is bound cannot be looked up.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Ids that this process saw bound.
#[derive(Debug, Default)]
pub struct KnownIds(Mutex<HashSet<PeerId>>);

impl KnownIds {
    fn has(&self, peer: &PeerId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(peer)
    }

    pub(super) fn note(&self, peer: &PeerId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        if !known.contains(peer) {
            known.insert(peer.clone());
        }
    }
}

/// Takes one of this class from what the caller may have; of what replicas count together, from that as well. `None`: there is no
/// bound for him.
///
/// # Errors
/// [`Limited`].
pub async fn spend(context: &Context, class: Class, payer: Option<Payer>) -> Result<Option<Allowance>, Limited> {
    let Some(payer) = payer else { return Ok(None) };
    let Some(mut allowance) = context.limiter.take(class, payer)? else { return Ok(None) };
    if !class.is_shared() {
        return Ok(Some(allowance));
    }
    match context.registry.spend(class, payer, allowance.most, allowance.window()).await {
        None => {}
        Some(Spent::Left(left)) => allowance.left = allowance.left.min(left),
        Some(Spent::Wait(wait)) => return Err(Limited { class, most: allowance.most, wait }),
    }
    Ok(Some(allowance))
}

/// A signature that does not fit costs its sender as much as so many that do: who has the key sends none, and who has not may send as
/// many as he likes, each of which costs a check.
const WRONG_SIGNATURE_COSTS: u32 = 10;

/// Takes what a wrong signature costs beyond the request, of this replica's account alone; answers what is left of `allowance` then.
#[must_use]
pub fn charge_wrong_signature(context: &Context, payer: Payer, allowance: Allowance) -> Allowance {
    context.limiter.take_more(payer, allowance, WRONG_SIGNATURE_COSTS - 1)
}

/// Takes one of what this key may have. Its signature was checked: nobody else uses up what is his.
///
/// # Errors
/// [`Limited`].
pub(super) async fn spend_of_key(context: &Context, caller: Caller, key: PublicKey) -> Result<(), Limited> {
    if caller.payer().is_some() {
        spend(context, Class::Key, Some(Payer::Key(key))).await?;
    }
    Ok(())
}

/// Is this a peer that the admin knows, so that it may use what is reserved: verified or listed, added as a peer, or this instance?
pub(super) fn is_known_peer(context: &Context, peer: &PeerId, key: PublicKey) -> bool {
    let is_own = || *peer == context.identity.node_id && context.public_key() == Some(key);
    let is_added = || context.engine.as_ref().is_some_and(|engine| engine.has_instance(peer.as_str()));
    context.trust.level(peer, key) == TrustLevel::Verified || is_own() || is_added()
}

/// On whose account a registration goes.
pub(super) fn standing(context: &Context, caller: Caller, peer: &PeerId, key: PublicKey) -> Standing {
    let added = context.engine.as_ref().map_or(0, |engine| engine.peer_count());
    // And this instance itself.
    let known_peers = context.trust.known_count().saturating_add(added).saturating_add(1);
    Standing {
        known: is_known_peer(context, peer, key),
        address: caller.payer().map(|payer| payer.to_string().into()),
        known_peers: u64::try_from(known_peers).unwrap_or(u64::MAX),
    }
}

/// May an id be taken that was perhaps never seen? Each is kept for months, so they are what there is least of (id squatting).
///
/// # Errors
/// [`NewIdError`].
pub(super) async fn admit_id(
    context: &Context,
    caller: Caller,
    peer: &PeerId,
    key: PublicKey,
) -> Result<(), NewIdError> {
    let bounded = context.ids_per_key > 0 && context.trust.mode() == TrustMode::Tofu;
    if (caller.payer().is_none() && !bounded) || context.known_ids.has(peer) {
        return Ok(());
    }
    let bindings = context.registry.bindings(peer, key).await?;
    if bindings.known {
        return Ok(());
    }
    if bounded && bindings.of_key >= context.ids_per_key {
        return Err(NewIdError::Quota(context.ids_per_key));
    }
    spend(context, Class::NewId, caller.payer()).await?;
    Ok(())
}
