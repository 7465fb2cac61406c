//! Signed requests of other instances: verified, fresh, seen for the first time, and of somebody who may.

use super::{Context, audit::catch_up, limits};
use crate::{
    federation::engine::NO_LIVE_MANIFEST,
    guard::{Caller, Limited},
    identity::message::{self, Message, MessageError, Sender, WINDOW},
    manifest::verify,
    registry::RegistryError,
    trust::{Distrust, NonceSender, ReplayError, TrustLevel, TrustMode},
    types::{PeerId, PublicKey},
};
use std::sync::PoisonError;

/// Why a signed request is refused.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It is not signed, or not rightly.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A header that says who speaks or who is meant is missing or no id.
    #[error("{0} is missing or is no id")]
    Header(&'static str),
    /// It is meant for another instance.
    #[error("the request is meant for {0:?}, which is not this instance")]
    Audience(String),
    /// The key was revoked, or its holder is in quarantine.
    #[error(transparent)]
    Distrust(#[from] Distrust),
    /// It was seen before.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// This instance does not take changes from that key.
    #[error("this instance takes no changes from {peer} with this key: {reason}")]
    NotTrusted {
        /// Who speaks.
        peer: PeerId,
        /// Why not, and what to do.
        reason: &'static str,
    },
    /// Its key asks too often.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The registry, which knows the keys, does not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// As another one of these, and the signature is right: who it is.
    #[error("{error}")]
    Of {
        /// Who signed.
        speaker: (PeerId, PublicKey),
        /// Why it is refused all the same.
        error: Box<Self>,
    },
}

impl RequestError {
    /// Who signed, where that is sure.
    #[must_use]
    pub fn speaker(&self) -> Option<(PeerId, PublicKey)> {
        match self {
            Self::Of { speaker, .. } => Some(speaker.clone()),
            _ => None,
        }
    }
}

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// Who sent it.
    pub caller: Caller,
    /// `POST`, …
    pub method: &'a str,
    /// The route that was matched, without any prefix.
    pub route: &'a str,
    /// The query, without its question mark.
    pub query: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// `Ark-Node-Id`.
    pub node_id: Option<&'a str>,
    /// `Ark-Audience`.
    pub audience: Option<&'a str>,
    /// `Signature-Input`.
    pub signature_input: Option<&'a str>,
    /// `Signature`.
    pub signature: Option<&'a str>,
}

/// Who sent a request and may change this lattice: only [`speaker`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    peer: PeerId,
    key: PublicKey,
}

impl Speaker {
    /// The instance.
    #[must_use]
    pub fn peer(&self) -> &PeerId {
        &self.peer
    }

    /// Its key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.key
    }
}

/// Checks a request in this order: signature, time, audience, trust, first sight. Only of those who may speak is it noted that a
/// request was seen: anybody can make a key, and fill what is noted.
///
/// # Errors
/// [`RequestError`], the first rule that it breaks.
pub async fn speaker(context: &Context, request: SignedRequest<'_>) -> Result<Speaker, RequestError> {
    let caller = request.caller;
    let (speaker, sender) = sender(context, request)?;
    limits::spend_of_key(context, caller, speaker.key).await?;
    let Speaker { peer, key } = &speaker;
    let of = |error| RequestError::Of { speaker: (peer.clone(), *key), error: Box::new(error) };
    trusted(context, peer, *key).await.map_err(of)?;
    first_sight(context, caller, &speaker, &sender).map_err(|error| of(error.into()))?;
    Ok(speaker)
}

/// Checks signature, time and audience: who speaks, whatever he may.
///
/// # Errors
/// [`RequestError`].
pub(super) fn sender(context: &Context, request: SignedRequest<'_>) -> Result<(Speaker, Sender), RequestError> {
    if request.signature_input.is_none() || request.signature.is_none() {
        return Err(MessageError::Unsigned.into());
    }
    let id = |text: Option<&str>, name| text.and_then(message::read_id).ok_or(RequestError::Header(name));
    let (node_id, audience) = (id(request.node_id, "Ark-Node-Id")?, id(request.audience, "Ark-Audience")?);
    let query = format!("?{}", request.query);
    let message = Message {
        method: request.method,
        route: request.route,
        query: &query,
        body: request.body,
        node_id: &node_id,
        audience: &audience,
    };
    let sender = message::verify(&message, request.signature_input, request.signature, context.clock.now())?;
    let peer = PeerId::parse(&node_id).map_err(|_| RequestError::Header("Ark-Node-Id"))?;
    let key = sender.public_key();
    if audience != context.identity.node_id.as_str() {
        let error = RequestError::Audience(audience.chars().take(256).collect());
        return Err(RequestError::Of { speaker: (peer, key), error: Box::new(error) });
    }
    Ok((Speaker { peer, key }, sender))
}

/// Notes that a request of a peer that may speak was seen, on the account of its key and of its address.
pub(super) fn first_sight(
    context: &Context,
    caller: Caller,
    speaker: &Speaker,
    sender: &Sender,
) -> Result<(), ReplayError> {
    let known = limits::is_known_peer(context, &speaker.peer, speaker.key);
    let from = NonceSender { key: sender.public_key(), address: caller.payer(), known };
    // Dated ahead by a window, it is valid for two of them.
    let (elapsed, keep) = (context.clock.elapsed(), WINDOW.saturating_mul(2));
    let mut nonces = context.nonces.lock().unwrap_or_else(PoisonError::into_inner);
    nonces.take(from, sender.nonce(), elapsed, keep)
}

/// Does this instance take nodes from anybody, signed or not?
#[must_use]
pub fn takes_from_anybody(context: &Context) -> bool {
    context.trust.mode() == TrustMode::Open && !context.trust.requires_verified()
}

/// May this key change nodes here in this instance's name? Listed keys may; in `open` mode everybody; otherwise the key that the
/// id's live manifest is signed with.
pub(super) async fn trusted(context: &Context, peer: &PeerId, key: PublicKey) -> Result<(), RequestError> {
    let refuse = |reason| Err(RequestError::NotTrusted { peer: peer.clone(), reason });
    // Whoever stole a key that was replaced or revoked meanwhile speaks for nobody with it, in no mode.
    let bound = context.registry.bound(peer).await?;
    match bound.as_ref().and_then(|bound| bound.line.as_ref()) {
        Some(line) if line.revoked && line.public_key == key => return Err(Distrust::Revoked(peer.clone()).into()),
        Some(line) if line.is_retired(key) => return refuse("another key took its place"),
        _ => {}
    }
    catch_up(context, peer, bound.as_ref()).await;
    context.trust.may_push(peer, key)?;
    match context.trust.level(peer, key) {
        TrustLevel::Verified => return Ok(()),
        TrustLevel::Unknown if context.trust.mode() == TrustMode::Open => return Ok(()),
        TrustLevel::Unknown | TrustLevel::Pending | TrustLevel::Revoked => {}
    }
    let Some(envelope) = context.registry.envelope(peer).await? else {
        return refuse(NO_LIVE_MANIFEST);
    };
    match verify(envelope, &context.limits) {
        Ok(manifest) if manifest.public_key() == key => Ok(()),
        _ => refuse("another key speaks for that id"),
    }
}
