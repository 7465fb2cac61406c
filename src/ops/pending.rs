//! Unknown instances that ask to write: noted where they are refused, accepted or refused by the admin.

use super::{
    Context, RequestError, Speaker, TrustOpError,
    known_key::pinned_key,
    requests::{self, OTHER_KEY, accept_command},
    trust::{Relationship, beside, decide, known_keys, relationship},
};
use crate::{
    federation::{
        events::EventKind,
        inbox::{Asking, Noted, Pending},
        shared_ids::{Shared, Sharing},
    },
    trust::{Decision, DecisionError, Distrust, TrustLevel},
    types::{PeerId, PublicKey},
};
use serde_json::{Map, json};
use std::{net::IpAddr, sync::Arc};

/// Notes how a signed request to write was judged: an instance that is refused for want of trust is listed, one that may write is not.
pub(super) async fn note(
    context: &Context,
    speaker: &Speaker,
    address: Option<IpAddr>,
    judged: &Result<(), RequestError>,
) {
    let (inbox, peer, key) = (&context.pairing.inbox, speaker.peer(), speaker.public_key());
    match judged {
        Ok(()) => {
            context.shared_ids.settle(peer, key, context.clock.now());
            inbox.remove(peer, key);
        }
        Err(error) if wants_trust(context, key, error) => {
            // An id that is listed or verified, under another key: perhaps its owner's, who lost the one before.
            let known = requests::is_known(context, speaker) || context.trust.names(peer);
            let bound = context.registry.bound(peer).await.ok().flatten();
            let bound = bound.is_some_and(|bound| bound.public_key == key);
            if is_other_key(error) {
                let seen_at = address.map(|address| address.to_string());
                let shared = Shared {
                    id: peer,
                    sharing: Sharing::OtherKey,
                    is_own: false,
                    is_known: known,
                    other_key: Some(key),
                    seen_at,
                };
                context.shared_ids.note(&shared, context.clock.now());
            }
            let asking = Asking { peer: peer.clone(), key, address, known, bound };
            if inbox.note(asking, context.clock.now(), context.clock.elapsed()) == Noted::New(true) {
                send_event(context, peer, key, address);
            }
        }
        Err(_) => {}
    }
}

/// Would a decision of the admin let this key write?
fn wants_trust(context: &Context, key: PublicKey, error: &RequestError) -> bool {
    match error {
        RequestError::Distrust(Distrust::NotVerified(..)) => true,
        // Of a key that was replaced the same is said; nothing makes that one right again.
        RequestError::Distrust(Distrust::OtherKey(..)) => !context.trust.is_revoked(key),
        RequestError::NotTrusted { reason, .. } => *reason == OTHER_KEY,
        _ => false,
    }
}

/// Has another key the id?
fn is_other_key(error: &RequestError) -> bool {
    match error {
        RequestError::Distrust(Distrust::OtherKey(..)) => true,
        RequestError::NotTrusted { reason, .. } => *reason == OTHER_KEY,
        _ => false,
    }
}

fn send_event(context: &Context, peer: &PeerId, key: PublicKey, address: Option<IpAddr>) {
    let Some(engine) = &context.engine else { return };
    let command = accept_command(peer, key);
    let data = json!({
        "nodeId": peer.as_str(), "publicKey": key.to_base64(), "address": address.map(|it| it.to_string()),
        "command": command,
    });
    engine.events().tell(EventKind::PeerPending, data);
}

/// The instances that wait, the last that asked first. One that was verified meanwhile does not wait.
#[must_use]
pub fn pending(context: &Context) -> Vec<Pending> {
    let waits = |it: &Pending| context.trust.level(&it.asking.peer, it.asking.key) != TrustLevel::Verified;
    context.pairing.inbox.list().into_iter().filter(waits).collect()
}

/// The admin accepts an instance: its key is verified. Without `key` it is the only one that is known of the id: with which it asked, that it
/// registered, that is bound or pinned to it, or that was decided on.
///
/// # Errors
/// [`TrustOpError::Several`], [`TrustOpError::Unknown`] and those of decisions.
pub async fn accept_pending(
    context: &Context,
    peer: PeerId,
    key: Option<PublicKey>,
    reason: String,
) -> Result<Relationship, TrustOpError> {
    let key = match key {
        Some(key) => key,
        None => the_key(context, &peer).await?,
    };
    let decision =
        Decision { peer: peer.clone(), key, level: TrustLevel::Verified, by: "operator", reason, proof: None };
    let record = decide(context, decision).await?;
    context.pairing.inbox.remove(&peer, key);
    relationship(context, record).await
}

async fn the_key(context: &Context, peer: &PeerId) -> Result<PublicKey, TrustOpError> {
    let mut keys = known_keys(context, peer).await?;
    // An id belongs to its bound key also while no manifest of it is live.
    keys.extend(context.registry.bound(peer).await?.map(|bound| bound.public_key));
    keys.extend(pinned_key(context, peer));
    keys.retain(|key| !context.trust.is_revoked(*key));
    keys.extend(context.pairing.inbox.keys_of(peer));
    let mut keys = keys.into_iter();
    match (keys.next(), keys.next()) {
        (None, _) => Err(TrustOpError::Unknown(peer.clone())),
        (Some(key), None) => Ok(key),
        (Some(first), Some(second)) => {
            let commands = [first, second].into_iter().chain(keys).map(|key| accept_command(peer, key)).collect();
            Err(TrustOpError::Several { peer: peer.clone(), commands })
        }
    }
}

/// The admin refuses an instance: it is not listed again for a week, or until the next start. Its key is not revoked: it may still
/// register and read as before.
///
/// # Errors
/// [`TrustOpError::Unknown`]: it does not wait.
pub async fn refuse_pending(
    context: &Context,
    peer: PeerId,
    key: Option<PublicKey>,
) -> Result<Vec<PublicKey>, TrustOpError> {
    let refused = context.pairing.inbox.refuse(&peer, key, context.clock.elapsed());
    if refused.is_empty() {
        return Err(TrustOpError::Unknown(peer));
    }
    let (trust, keys) = (Arc::clone(&context.trust), refused.clone());
    let write = move || {
        keys.iter().try_for_each(|key| {
            let detail = Map::from_iter([("public_key".to_owned(), key.to_base64().into())]);
            trust.audit().append("pending_refused", peer.as_str(), detail).map(drop)
        })
    };
    beside(write).await?.map_err(DecisionError::from)?;
    Ok(refused)
}
