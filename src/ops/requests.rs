//! Signed requests of other instances: verified, fresh, seen for the first time, and of somebody who may.

use super::Context;
use crate::{
    identity::message::{self, Message, MessageError, WINDOW},
    manifest::verify,
    registry::RegistryError,
    trust::{ReplayError, TrustLevel, TrustMode},
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
    /// The registry, which knows the keys, does not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
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
    let now = context.clock.now();
    let sender = message::verify(&message, request.signature_input, request.signature, now)?;
    if audience != context.identity.node_id.as_str() {
        return Err(RequestError::Audience(audience.chars().take(256).collect()));
    }
    let peer = PeerId::parse(&node_id).map_err(|_| RequestError::Header("Ark-Node-Id"))?;
    trusted(context, &peer, sender.public_key()).await?;
    // Dated ahead by a window, it is valid for two of them.
    let (elapsed, keep) = (context.clock.elapsed(), WINDOW.saturating_mul(2));
    let key = sender.public_key();
    context.nonces.lock().unwrap_or_else(PoisonError::into_inner).take(key, sender.nonce(), elapsed, keep)?;
    Ok(Speaker { peer, key })
}

/// Does this instance take nodes from anybody, signed or not?
#[must_use]
pub fn takes_from_anybody(context: &Context) -> bool {
    context.trust.mode() == TrustMode::Open
}

/// May this key change nodes here in this instance's name? Listed keys may; in `open` mode everybody; otherwise the key that the
/// id's live manifest is signed with.
pub(super) async fn trusted(context: &Context, peer: &PeerId, key: PublicKey) -> Result<(), RequestError> {
    let refuse = |reason| Err(RequestError::NotTrusted { peer: peer.clone(), reason });
    match context.trust.level(peer, key) {
        TrustLevel::Verified => return Ok(()),
        TrustLevel::Revoked => return refuse("the operator's list does not have it"),
        TrustLevel::Unknown if context.trust.mode() == TrustMode::Open => return Ok(()),
        TrustLevel::Unknown | TrustLevel::Pending => {}
    }
    let Some(envelope) = context.registry.envelope(peer).await? else {
        return refuse("it has no live manifest here; register one first");
    };
    match verify(envelope, &context.limits) {
        Ok(manifest) if manifest.public_key() == key => Ok(()),
        _ => refuse("another key speaks for that id"),
    }
}
