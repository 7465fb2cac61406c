//! Signed requests of other instances: verified, fresh, seen for the first time, and of somebody who may.

use super::{
    Context,
    known_key::{catch_up, key_of_id, known_line, named_key},
    limits, own_id, pending,
};
use crate::{
    federation::engine::NO_LIVE_MANIFEST,
    guard::{Caller, Limited, Payer},
    identity::message::{self, Message, MessageError, Sender, WINDOW},
    manifest::verify,
    registry::RegistryError,
    trust::{Distrust, Named, ReplayError, Stamp, TrustLevel, TrustMode},
    types::{PeerId, PublicKey, ShellWord, Timestamp},
};
use std::{net::IpAddr, sync::PoisonError, time::Duration};

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
    /// It was seen before, or signed before this process started.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// This instance does not take changes from that key.
    #[error("this instance takes no changes from {peer} with this key: {reason}{next}", next = next(peer, *key, reason))]
    NotTrusted {
        /// Who speaks.
        peer: PeerId,
        /// With which key.
        key: PublicKey,
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

/// Another key than the one that signed is bound to the id.
pub(super) const OTHER_KEY: &str = "another key speaks for that id";

/// The command that lets the instance write, where it does.
fn next(peer: &PeerId, key: PublicKey, reason: &str) -> String {
    if reason != OTHER_KEY {
        return String::new();
    }
    format!("; on this instance's machine: {}", accept_command(peer, key))
}

/// The command that accepts an instance with this key, and with no other that asks under its id.
pub(super) fn accept_command(peer: &PeerId, key: PublicKey) -> String {
    format!("ark-lattice federation accept {} --key {key}", ShellWord(peer.as_str()))
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

    /// Why the registry could not be asked, where that is the reason.
    #[must_use]
    pub fn registry(&self) -> Option<&RegistryError> {
        match self {
            Self::Registry(error) => Some(error),
            Self::Of { error, .. } => error.registry(),
            _ => None,
        }
    }

    /// Of a request that was signed before the start: from which date on one is taken.
    #[must_use]
    pub fn sign_from(&self) -> Option<Timestamp> {
        match self {
            Self::Of { error, .. } => error.sign_from(),
            Self::Replay(ReplayError::BeforeStart { earliest }) => Some(*earliest),
            _ => None,
        }
    }
}

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// Who sent it.
    pub caller: Caller,
    /// The address that it came from, where that is known.
    pub address: Option<IpAddr>,
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
    /// Somebody says that he forwards it.
    pub is_forwarded: bool,
    /// It shows that its sender knows the key of our network.
    pub of_network: bool,
}

/// Who sent a request and may change this lattice: only [`speaker`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    peer: PeerId,
    key: PublicKey,
    named: Named,
    address: Option<IpAddr>,
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

    /// The address that the request came from, where that is known.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Its request is refused for this, although the signature is right.
    fn refused(&self, error: RequestError) -> RequestError {
        RequestError::Of { speaker: (self.peer.clone(), self.key), error: Box::new(error) }
    }
}

/// Checks a request in this order: signature, time, audience, repetition, trust, first sight. Only of those who may speak is it noted
/// that a request was seen: anybody can make a key, and fill what is noted. The key's allowance comes last: what somebody else repeats
/// of its requests costs it nothing.
///
/// # Errors
/// [`RequestError`], the first rule that it breaks.
pub async fn speaker(context: &Context, request: SignedRequest<'_>) -> Result<Speaker, RequestError> {
    let (speaker, stamp) = unseen(context, request)?;
    let trusted = trusted(context, &speaker.peer, speaker.key, speaker.named).await;
    pending::note(context, &speaker, request.address, &trusted).await;
    trusted.map_err(|error| speaker.refused(error))?;
    take(context, request.caller, &speaker, stamp).await?;
    // It was dated within the window, by an instance that may write here.
    context.lattice.note_clock_agrees();
    Ok(speaker)
}

/// Checks a request as [`speaker`] does, of whoever speaks for the id: it need not be one that may write.
///
/// # Errors
/// [`RequestError`], the first rule that it breaks.
pub(super) async fn reader(context: &Context, request: SignedRequest<'_>) -> Result<Speaker, RequestError> {
    let (speaker, stamp) = unseen(context, request)?;
    let Speaker { peer, key, .. } = &speaker;
    let is_anothers = key_of_id(context, peer, *key).await?.is_some_and(|its| its != *key);
    if is_anothers || known_line(context, peer).await?.is_some_and(|line| !line.speaks(*key)) {
        return Err(speaker.refused(RequestError::NotTrusted { peer: peer.clone(), key: *key, reason: OTHER_KEY }));
    }
    if context.trust.is_revoked(*key) {
        return Err(speaker.refused(Distrust::Revoked(peer.clone()).into()));
    }
    take(context, request.caller, &speaker, stamp).await?;
    Ok(speaker)
}

/// Who signed a request that was not seen before, and as what it is to be remembered.
fn unseen(context: &Context, request: SignedRequest<'_>) -> Result<(Speaker, Stamp<Payer>), RequestError> {
    let (speaker, sender) = sender(context, request)?;
    let stamp = stamp_of(context, request.caller, &speaker, &sender);
    not_seen(context, stamp).map_err(|error| speaker.refused(error.into()))?;
    Ok((speaker, stamp))
}

/// Notes that the request was seen, and charges its key.
async fn take(context: &Context, caller: Caller, speaker: &Speaker, stamp: Stamp<Payer>) -> Result<(), RequestError> {
    first_sight(context, stamp).map_err(|error| speaker.refused(error.into()))?;
    Ok(limits::spend_of_key(context, caller, speaker.key).await?)
}

/// Checks signature, time and audience: who speaks, whatever he may.
///
/// # Errors
/// [`RequestError`].
pub(super) fn sender(context: &Context, request: SignedRequest<'_>) -> Result<(Speaker, Sender), RequestError> {
    if request.signature_input.is_none() || request.signature.is_none() {
        return Err(MessageError::Unsigned.into());
    }
    let stated = Stated::of(&request)?;
    let now = context.clock.now();
    let sender = message::verify(&stated.message(&request), request.signature_input, request.signature, now)?;
    Ok((identified(context, &request, &stated, &sender)?, sender))
}

/// What a request states beside its body, as it is signed.
struct Stated {
    node_id: String,
    audience: String,
    query: String,
}

impl Stated {
    fn of(request: &SignedRequest<'_>) -> Result<Self, RequestError> {
        let id = |text: Option<&str>, name| text.and_then(message::read_id).ok_or(RequestError::Header(name));
        let (node_id, audience) = (id(request.node_id, "Ark-Node-Id")?, id(request.audience, "Ark-Audience")?);
        Ok(Self { node_id, audience, query: format!("?{}", request.query) })
    }

    fn message<'a>(&'a self, request: &SignedRequest<'a>) -> Message<'a> {
        let SignedRequest { method, route, body, .. } = *request;
        Message { method, route, query: &self.query, body, node_id: &self.node_id, audience: &self.audience }
    }
}

/// The sender of a request whose signature was checked, if the request is meant for this instance and the id may be the sender's.
fn identified(
    context: &Context,
    request: &SignedRequest<'_>,
    stated: &Stated,
    sender: &Sender,
) -> Result<Speaker, RequestError> {
    let peer = PeerId::parse(&stated.node_id).map_err(|_| RequestError::Header("Ark-Node-Id"))?;
    let key = sender.public_key();
    if stated.audience != context.identity.node_id.as_str() {
        let error = RequestError::Audience(stated.audience.chars().take(256).collect());
        return Err(RequestError::Of { speaker: (peer, key), error: Box::new(error) });
    }
    if peer.is_reserved() {
        return Err(RequestError::Header("Ark-Node-Id"));
    }
    if own_id::is_anothers(context, &peer, key) {
        own_id::note_anothers(context, key, request.address.map(|address| address.to_string()));
        let error = Box::new(RequestError::NotTrusted { peer: peer.clone(), key, reason: own_id::OTHER_KEY });
        return Err(RequestError::Of { speaker: (peer, key), error });
    }
    let named = named(context, &peer, key, request.of_network);
    Ok(Speaker { peer, key, named, address: request.address })
}

/// How long a request can be repeated after it came: dated ahead by a window, it is valid for two of them.
pub const REPEATABLE_FOR: Duration = WINDOW.saturating_mul(2);

/// A request as it is remembered, on the account of its key and of its address.
pub(super) fn stamp_of(context: &Context, caller: Caller, speaker: &Speaker, sender: &Sender) -> Stamp<Payer> {
    Stamp {
        key: speaker.key,
        nonce: sender.nonce(),
        created: sender.created(),
        address: caller.payer(),
        known: is_known(context, speaker),
    }
}

fn not_seen(context: &Context, stamp: Stamp<Payer>) -> Result<(), ReplayError> {
    let nonces = context.nonces.lock().unwrap_or_else(PoisonError::into_inner);
    nonces.check(stamp, context.clock.elapsed())
}

/// Did a known peer (`limits::is_known_peer`) sign the headers of this request, for this instance and within the time window? `digest` is
/// the header's digest of the body, which has not arrived yet. Does not check for repetitions and for the right to write.
#[must_use]
pub fn is_known_head(context: &Context, request: SignedRequest<'_>, digest: &str) -> bool {
    let Ok(stated) = Stated::of(&request) else { return false };
    let SignedRequest { signature_input, signature, .. } = request;
    let now = context.clock.now();
    message::verify_head(&stated.message(&request), digest, signature_input, signature, now)
        .is_ok_and(|sender| identified(context, &request, &stated, &sender).is_ok_and(|it| is_known(context, &it)))
}

/// May this sender use what is reserved?
pub(super) fn is_known(context: &Context, speaker: &Speaker) -> bool {
    limits::is_known_peer(context, &speaker.peer, speaker.key, speaker.named)
}

/// Notes that a request of a peer that may speak was seen.
pub(super) fn first_sight(context: &Context, stamp: Stamp<Payer>) -> Result<(), ReplayError> {
    let mut nonces = context.nonces.lock().unwrap_or_else(PoisonError::into_inner);
    nonces.take(stamp, context.clock.elapsed(), REPEATABLE_FOR)
}

/// Does this instance take nodes from anybody, signed or not?
#[must_use]
pub fn takes_from_anybody(context: &Context) -> bool {
    context.trust.mode() == TrustMode::Open && !context.trust.requires_verified()
}

/// Did the admin name this instance? `of_network`: its request proves that it knows the network's key.
pub(super) fn named(context: &Context, peer: &PeerId, key: PublicKey, of_network: bool) -> Named {
    if of_network && context.network.is_some() && context.trust.network_key_names() {
        return Named::Yes;
    }
    context.engine.as_ref().map_or(Named::No, |engine| engine.names(peer, key))
}

/// May this key change nodes here in this instance's name? Listed keys may; in `open` mode everybody; otherwise the key that the
/// id's live manifest is signed with.
pub(super) async fn trusted(
    context: &Context,
    peer: &PeerId,
    key: PublicKey,
    named: Named,
) -> Result<(), RequestError> {
    let refuse = |reason| Err(RequestError::NotTrusted { peer: peer.clone(), key, reason });
    // Whoever stole a key that was replaced or revoked meanwhile speaks for nobody with it, in no mode.
    let line = known_line(context, peer).await?;
    match &line {
        Some(line) if line.revoked && line.public_key == key => return Err(Distrust::Revoked(peer.clone()).into()),
        Some(line) if line.is_retired(key) => return refuse("another key took its place"),
        _ => {}
    }
    catch_up(context, peer, line.as_ref()).await;
    let named_key = named_key(context, peer, key).await?;
    let named = if named_key == Some(key) { Named::Yes } else { named };
    context.trust.may_push(peer, key, named)?;
    match context.trust.level(peer, key) {
        TrustLevel::Verified => return Ok(()),
        // The admin named a peer under this id: its pinned key says who it is, whatever is registered.
        _ if named_key == Some(key) => return Ok(()),
        _ if named_key.is_some() => return refuse(OTHER_KEY),
        TrustLevel::Unknown if context.trust.mode() == TrustMode::Open => return Ok(()),
        TrustLevel::Unknown | TrustLevel::Pending | TrustLevel::Revoked => {}
    }
    let Some(envelope) = context.registry.envelope(peer).await? else {
        return refuse(NO_LIVE_MANIFEST);
    };
    match verify(envelope, &context.limits) {
        Ok(manifest) if manifest.public_key() == key => Ok(()),
        _ => refuse(OTHER_KEY),
    }
}
