//! What a client may ask for, counted.

use super::{Context, requests::named};
use crate::{
    guard::{Allowance, Caller, Class, Limited, Payer},
    registry::{RegistryError, Spent},
    trust::{Named, Standing, TrustLevel, TrustMode},
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

/// One of what a key may have, taken for a manifest that may be a repetition by anybody. Given back when it is dropped, unless
/// [`Self::spend`] says that the key's holder used it.
pub(super) struct KeyAllowance<'a> {
    context: &'a Context,
    payer: Option<Payer>,
}

impl<'a> KeyAllowance<'a> {
    /// Of this replica's account; no other is asked before it is known whose it is.
    ///
    /// # Errors
    /// [`Limited`].
    pub(super) fn take(context: &'a Context, caller: Caller, key: PublicKey) -> Result<Self, Limited> {
        let payer = caller.payer().map(|_| Payer::Key(key));
        let payer = payer.map(|payer| context.limiter.take(Class::Key, payer).map(|taken| taken.map(|_| payer)));
        Ok(Self { context, payer: payer.transpose()?.flatten() })
    }

    /// The key's holder used it; of all replicas' account too. Where that is used up, so is this replica's.
    pub(super) async fn spend(mut self) {
        let Some(payer) = self.payer.take() else { return };
        let (limiter, registry) = (&self.context.limiter, &self.context.registry);
        let Some(most) = limiter.most(Class::Key) else { return };
        if let Some(Spent::Wait(_)) = registry.spend(Class::Key, payer, most.most, most.window()).await {
            let _left = limiter.take_more(payer, most, most.most);
        }
    }
}

impl Drop for KeyAllowance<'_> {
    fn drop(&mut self) {
        if let Some(payer) = self.payer {
            self.context.limiter.give_back(Class::Key, payer);
        }
    }
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

/// Is this a known peer, which may use what is reserved of every pool: verified or listed, named by the admin and not revoked, or this
/// instance? Always with this key: anybody can sign with an id that is not its own.
pub(super) fn is_known_peer(context: &Context, peer: &PeerId, key: PublicKey, named: Named) -> bool {
    match context.trust.level(peer, key) {
        TrustLevel::Verified => true,
        TrustLevel::Revoked => false,
        TrustLevel::Unknown | TrustLevel::Pending => {
            named == Named::Yes || (*peer == context.identity.node_id && context.public_key() == Some(key))
        }
    }
}

/// On whose account a registration goes.
pub(super) fn standing(context: &Context, caller: Caller, peer: &PeerId, key: PublicKey) -> Standing {
    let added = context.engine.as_ref().map_or(0, |engine| engine.peer_count());
    // The network's key alone proves no id, so it keeps no binding and no place: envelopes can be repeated by any of its holders.
    let named = named(context, peer, key, false);
    // And this instance itself.
    let known_peers = context.trust.known_count().saturating_add(added).saturating_add(1);
    Standing {
        known: is_known_peer(context, peer, key, named),
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
    let binds = matches!(context.trust.mode(), TrustMode::Tofu | TrustMode::Verified);
    let bounded = context.ids_per_key > 0 && binds;
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
