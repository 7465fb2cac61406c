//! Establishing trust, and taking it away.

use super::{Context, RequestError, SignedRequest, known_key::named_key, own_id, requests};
use crate::{
    federation::{
        client::{Client, ClientError},
        exchange::Signer,
        introduce::{self, Introduced, read_nonce, read_signature},
        remote::Remote,
    },
    identity::{Held, message::MessageError},
    json::{Document, JsonError},
    manifest::verify,
    registry::RegistryError,
    trust::{
        Decision, DecisionError, Distrust, Named, Record, ReplayError, Right, TrustLevel, certificate,
        challenge::{NONCE_BYTES, Side, Transcript},
        words::{same_words, words},
    },
    types::{PeerId, PublicKey},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use std::{borrow::Cow, collections::BTreeSet, sync::Arc, time::Duration};
use tokio::task::spawn_blocking;

/// How long a peer may take to prove itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why trust was not established or taken away.
#[derive(Debug, thiserror::Error)]
pub enum TrustOpError {
    /// There is nothing to sign with.
    #[error("this instance has no key to prove; make one with: ark-lattice keygen")]
    NoKey,
    /// What there is to sign with counts nowhere.
    #[error("the key of this instance is revoked; replace it: ark-lattice key recover")]
    OwnKeyRevoked,
    /// No authority is set.
    #[error("no authority is set for certificates: name a PEM file in trust.ca_file")]
    NoAuthority,
    /// The peer did not do its part.
    #[error("the peer did not prove who it is: {0}")]
    Peer(#[from] ClientError),
    /// The certificate is another one's.
    #[error("the certificate there does not name {0}")]
    Certificate(PeerId),
    /// It holds another key than the operator said.
    #[error("the key there is {found}, not {expected}")]
    Key {
        /// What it holds.
        found: PublicKey,
        /// What it should hold.
        expected: PublicKey,
    },
    /// It is this very instance.
    #[error("that is this instance itself")]
    Itself,
    /// Nothing is known of the peer.
    #[error("no key of {0} is known here")]
    Unknown(PeerId),
    /// Several keys of the peer are known, and none is named.
    #[error("several keys of {peer} are known here; compare them with the other machine (ark-lattice key show), then: {commands}", commands = commands.join("; or: "))]
    Several {
        /// The instance.
        peer: PeerId,
        /// The command that accepts it, for each key.
        commands: Vec<String>,
    },
    /// The words are those of other keys.
    #[error("the words differ: somebody stands between, or they were misread")]
    Words,
    /// The decision is not made.
    #[error(transparent)]
    Decision(#[from] DecisionError),
    /// The registry does not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A signed request does not count.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// What a peer sends has the wrong shape.
    #[error("{0}")]
    Shape(&'static str),
    /// It is no JSON that is taken.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A thread was lost.
    #[error("the work was not done: {0}")]
    Worker(String),
    /// As another one of these, and the signature is right: the sender.
    #[error("{error}")]
    Of {
        /// The sender.
        speaker: (PeerId, PublicKey),
        /// The reason of the refusal.
        error: Box<Self>,
    },
}

impl TrustOpError {
    /// The sender, if its signature was right.
    #[must_use]
    pub fn speaker(&self) -> Option<(PeerId, PublicKey)> {
        match self {
            Self::Request(error) => error.speaker(),
            Self::Of { speaker, .. } => Some(speaker.clone()),
            _ => None,
        }
    }
}

/// How a peer proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By its key.
    Signature,
    /// By a certificate that names it, and by its key.
    Certificate,
}

impl Method {
    /// The word of the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Certificate => "certificate",
        }
    }
}

/// Whom to trust.
#[derive(Debug, Clone)]
pub struct Establish {
    /// The instance; `None`: whichever answers.
    pub peer: Option<PeerId>,
    /// Where it answers.
    pub address: String,
    /// How it proves who it is.
    pub method: Method,
    /// Its key, where the operator knows it.
    pub public_key: Option<PublicKey>,
}

/// A key, and what is thought of it.
#[derive(Debug, Clone)]
pub struct Relationship {
    /// What was decided.
    pub record: Record,
    /// What it comes to, vouchers counted.
    pub level: TrustLevel,
    /// Its holder contradicted himself.
    pub quarantined: bool,
    /// What operators read to each other, where it was asked for.
    pub words: Option<String>,
}

/// Runs what waits for the disk, or computes, beside everything else.
pub(super) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, TrustOpError> {
    spawn_blocking(work).await.map_err(|error| TrustOpError::Worker(error.to_string()))
}

pub(super) fn own_key(context: &Context) -> Result<Arc<Held>, TrustOpError> {
    let held = context.signer.as_ref().ok_or(TrustOpError::NoKey)?.held();
    if held.is_revoked() { Err(TrustOpError::OwnKeyRevoked) } else { Ok(held) }
}

pub(super) async fn decide(context: &Context, decision: Decision) -> Result<Record, TrustOpError> {
    let trust = Arc::clone(&context.trust);
    Ok(beside(move || trust.set(decision)).await??)
}

pub(super) async fn relationship(context: &Context, record: Record) -> Result<Relationship, TrustOpError> {
    let key = record.public_key;
    let words = match context.public_key() {
        Some(ours) => Some(beside(move || words(ours, key)).await?),
        None => None,
    };
    Ok(Relationship { words, ..plain(context, record) })
}

fn plain(context: &Context, record: Record) -> Relationship {
    let level = context.trust.level(&record.node_id, record.public_key);
    let quarantined = context.trust.is_quarantined(record.public_key);
    Relationship { record, level, quarantined, words: None }
}

/// Has the instance at an address prove who it is. It is verified then if it is the key that the operator named, or if its word came
/// over a way that nobody else could have written on (HTTPS) and the operator or a certificate says which id is meant; otherwise
/// pending, until the words were compared.
///
/// # Errors
/// [`TrustOpError`].
pub async fn establish(context: &Context, wish: Establish) -> Result<Relationship, TrustOpError> {
    let held = own_key(context)?;
    // Who has a key has an engine.
    let engine = context.engine.as_ref().ok_or(TrustOpError::NoKey)?;
    let client = match (&context.authorities, wish.method) {
        (None, Method::Certificate) => return Err(TrustOpError::NoAuthority),
        (Some(authorities), _) => engine.client_with(Some(authorities.clone()), &wish.address)?,
        (None, Method::Signature) => engine.client_with(None, &wish.address)?,
    };
    let client = client.with_patience(PATIENCE);
    // Who may answer at an address may not therefore have any id that it likes: the operator says which one he means.
    let is_named = wish.peer.is_some() || wish.method == Method::Certificate;
    let peer = match wish.peer {
        Some(peer) => peer,
        None => client.head(&context.limits).await?.get().node_id.clone(),
    };
    if peer == context.identity.node_id {
        return Err(TrustOpError::Itself);
    }
    let signer =
        Signer { key: &held.key, node_id: &context.identity.node_id, audience: &peer, now: context.clock.now() };
    let Introduced { key: found, proof, certificate } = introduce::introduce(&client, &signer).await?;
    if let Some(expected) = wish.public_key.filter(|expected| *expected != found) {
        return Err(TrustOpError::Key { found, expected });
    }
    let is_https = wish.address.to_ascii_lowercase().starts_with("https://");
    if wish.method == Method::Certificate {
        let named = certificate.is_some_and(|certificate| certificate::names(&certificate, &peer));
        if !named {
            return Err(TrustOpError::Certificate(peer));
        }
    }
    let is_sure = (is_https && is_named) || wish.public_key.is_some();
    let level = if is_sure { TrustLevel::Verified } else { TrustLevel::Pending };
    let reason = format!("proved by {} at {}", wish.method.as_str(), wish.address);
    let decision = Decision { peer, key: found, level, by: wish.method.as_str(), reason, proof: Some(proof) };
    let record = decide(context, decision).await?;
    relationship(context, record).await
}

/// Everything that was decided, the newest first.
#[must_use]
pub fn relationships(context: &Context) -> Vec<Relationship> {
    context.trust.records().into_iter().map(|record| plain(context, record)).collect()
}

/// What was decided of an instance's keys, with the words to compare.
///
/// # Errors
/// [`TrustOpError::Unknown`].
pub async fn trust_in(context: &Context, peer: &PeerId) -> Result<Vec<Relationship>, TrustOpError> {
    let mut found = Vec::new();
    for record in context.trust.records().into_iter().filter(|record| record.node_id == *peer) {
        found.push(relationship(context, record).await?);
    }
    if found.is_empty() { Err(TrustOpError::Unknown(peer.clone())) } else { Ok(found) }
}

/// What the operator compared.
#[derive(Debug, Clone)]
pub enum Compared {
    /// The whole key.
    Key(PublicKey),
    /// The words.
    Words(String),
}

/// The operator compared keys, and verifies one. What was accepted of the instance before is forgotten: it may begin anew.
///
/// # Errors
/// [`TrustOpError`].
pub async fn verify_peer(
    context: &Context,
    peer: PeerId,
    compared: Compared,
    reason: String,
) -> Result<Relationship, TrustOpError> {
    let key = match compared {
        Compared::Key(key) => key,
        Compared::Words(said) => {
            let ours = context.public_key().ok_or(TrustOpError::NoKey)?;
            let known = known_keys(context, &peer).await?;
            if known.is_empty() {
                return Err(TrustOpError::Unknown(peer));
            }
            let fits = move || known.into_iter().find(|key| same_words(&words(ours, *key), &said));
            beside(fits).await?.ok_or(TrustOpError::Words)?
        }
    };
    let decision = Decision { peer, key, level: TrustLevel::Verified, by: "operator", reason, proof: None };
    let record = decide(context, decision).await?;
    relationship(context, record).await
}

/// The operator takes trust away: from a key, or from every key that is known of an instance.
///
/// # Errors
/// [`TrustOpError`].
pub async fn revoke_peer(
    context: &Context,
    peer: PeerId,
    key: Option<PublicKey>,
    reason: String,
) -> Result<Vec<Relationship>, TrustOpError> {
    let keys = match key {
        Some(key) => BTreeSet::from([key]),
        None => known_keys(context, &peer).await?,
    };
    let mut revoked = Vec::new();
    for key in keys {
        let (peer, level, by, reason) = (peer.clone(), TrustLevel::Revoked, "operator", reason.clone());
        let record = decide(context, Decision { peer, key, level, by, reason, proof: None }).await?;
        revoked.push(plain(context, record));
    }
    if revoked.is_empty() { Err(TrustOpError::Unknown(peer)) } else { Ok(revoked) }
}

/// The keys that spoke for an id and were not withdrawn: decided on, pinned in rounds, live in the registry.
pub(super) async fn known_keys(context: &Context, peer: &PeerId) -> Result<BTreeSet<PublicKey>, TrustOpError> {
    let decided = context.trust.records().into_iter();
    let mut keys: BTreeSet<PublicKey> =
        decided.filter(|it| it.node_id == *peer && !it.is_final).map(|it| it.public_key).collect();
    let peers = context.engine.as_ref().map(|engine| engine.peers()).unwrap_or_default();
    let pinned = peers.iter().filter(|state| state.node_id.as_deref() == Some(peer.as_str()));
    keys.extend(pinned.filter_map(|state| PublicKey::parse(state.public_key.as_deref()?).ok()));
    if let Some(envelope) = context.registry.envelope(peer).await?
        && let Ok(manifest) = verify(envelope, &context.limits)
    {
        keys.insert(manifest.public_key());
    }
    Ok(keys)
}

/// Tells every peer that a key is right. Answers to how many.
///
/// # Errors
/// [`TrustOpError`]. A peer that cannot be told is no error here.
pub async fn vouch_for(context: &Context, peer: &PeerId) -> Result<usize, TrustOpError> {
    let held = own_key(context)?;
    let signing = &held.key;
    let verified =
        context.trust.records().into_iter().find(|it| it.node_id == *peer && it.level == TrustLevel::Verified);
    let key = verified.ok_or_else(|| TrustOpError::Unknown(peer.clone()))?.public_key;
    let peers = context.engine.as_ref().map(|engine| engine.peers()).unwrap_or_default();
    let told = peers.into_iter().filter_map(|state| Some((PeerId::parse(state.node_id.as_deref()?).ok()?, state.url)));
    let told = told.filter(|(id, _)| id != peer).map(|(audience, url)| async move {
        let client = Client::new(&url, &context.limits)?.with_patience(PATIENCE);
        let (node_id, now) = (&context.identity.node_id, context.clock.now());
        introduce::vouch(&client, &Signer { key: signing, node_id, audience: &audience, now }, peer, key).await
    });
    let answers = futures_util::future::join_all(told).await;
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        tracing::info!(%error, "a peer did not take a voucher");
    }
    Ok(answers.iter().filter(|answer| answer.is_ok()).count())
}

/// A text of what another instance asks of us.
pub(super) fn member(body: &Document, name: &str) -> Option<String> {
    body.root().as_object()?.get(name)?.as_str().map(Cow::into_owned)
}

pub(super) fn read_body(context: &Context, request: &SignedRequest<'_>) -> Result<Document, TrustOpError> {
    Ok(Document::parse(Bytes::copy_from_slice(request.body), context.limits.json_depth)?)
}

/// Our half of a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Our id.
    pub node_id: String,
    /// Our key, base64.
    pub public_key: String,
    /// Our nonce, base64.
    pub nonce: String,
    /// Our signature over both nonces, ids and keys, base64.
    pub signature: String,
}

/// Another instance asks us to prove who we are. Anybody may ask but whose key was revoked.
///
/// # Errors
/// [`TrustOpError`].
pub fn answer_challenge(context: &Context, request: SignedRequest<'_>) -> Result<Proof, TrustOpError> {
    let held = own_key(context)?;
    let signer = &held.key;
    let (speaker, sender) = requests::sender(context, request)?;
    let asking = (speaker.peer().clone(), speaker.public_key());
    not_revoked(context, &asking)?;
    let nonce = member(&read_body(context, &request)?, "nonce").as_deref().and_then(read_nonce);
    let nonce = nonce.ok_or(TrustOpError::Shape("nonce is not base64 of 32 bytes"))?;
    let mut answer_nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut answer_nonce).map_err(|error| TrustOpError::Worker(error.to_string()))?;
    let asked = (context.identity.node_id.clone(), signer.public_key());
    let transcript = Transcript { asking: asking.clone(), asked, nonce, answer_nonce };
    let (signed, elapsed) = (sender.created(), context.clock.elapsed());
    let opened = context.trust.challenges().open(transcript, signed, address(&request), elapsed);
    let Some(transcript) = opened else {
        let error = Box::new(RequestError::Replay(ReplayError::Replayed));
        return Err(RequestError::Of { speaker: asking, error }.into());
    };
    let signature = STANDARD.encode(signer.sign(&transcript.bytes(Side::Asked)));
    Ok(Proof {
        node_id: context.identity.node_id.to_string(),
        public_key: signer.public_key().to_base64(),
        nonce: STANDARD.encode(transcript.answer_nonce),
        signature,
    })
}

/// On whose account an open conversation goes.
fn address(request: &SignedRequest<'_>) -> Option<Box<str>> {
    request.caller.payer().map(|payer| payer.to_string().into())
}

pub(super) fn not_revoked(context: &Context, asking: &(PeerId, PublicKey)) -> Result<(), TrustOpError> {
    if context.trust.is_revoked(asking.1) {
        let error = Box::new(RequestError::from(Distrust::Revoked(asking.0.clone())));
        return Err(RequestError::Of { speaker: asking.clone(), error }.into());
    }
    Ok(())
}

/// Another instance proves who it is: it waits for the operator as pending from then on, unless he has decided.
///
/// # Errors
/// [`TrustOpError`].
pub async fn take_proof(context: &Context, request: SignedRequest<'_>) -> Result<TrustLevel, TrustOpError> {
    let (speaker, _) = requests::sender(context, request)?;
    let asking = (speaker.peer().clone(), speaker.public_key());
    not_revoked(context, &asking)?;
    let proof = member(&read_body(context, &request)?, "signature").unwrap_or_default();
    let signature = read_signature(&proof).ok_or(TrustOpError::Shape("signature is not base64 of 64 bytes"))?;
    let (peer, key) = asking.clone();
    let fits = |it: &Transcript| key.has_signed(&it.bytes(Side::Asking), &signature);
    let (is_open, taken) = {
        let (mut challenges, elapsed) = (context.trust.challenges(), context.clock.elapsed());
        (challenges.has(&asking, elapsed), challenges.take(&asking, elapsed, fits))
    };
    if !is_open {
        return Err(TrustOpError::Shape("there is no challenge to prove; ask for one first"));
    }
    if taken.is_none() {
        let error = Box::new(RequestError::Message(MessageError::Wrong));
        return Err(RequestError::Of { speaker: asking, error }.into());
    }
    let trust = Arc::clone(&context.trust);
    let noted = beside(move || trust.note_unasked(&peer, key, proof)).await?;
    noted.map_err(|error| TrustOpError::Decision(error.into()))?;
    Ok(context.trust.level(&asking.0, asking.1))
}

/// A verified instance vouches for another.
///
/// # Errors
/// [`TrustOpError`].
pub async fn take_voucher(context: &Context, request: SignedRequest<'_>) -> Result<TrustLevel, TrustOpError> {
    let (speaker, sender) = requests::sender(context, request)?;
    let voucher = (speaker.peer().clone(), speaker.public_key());
    not_revoked(context, &voucher)?;
    let of = |error| RequestError::Of { speaker: voucher.clone(), error: Box::new(error) };
    if !context.trust.may(&voucher.0, voucher.1, Named::No, Right::Vouch) {
        let reason = "only a verified key vouches for another";
        return Err(of(RequestError::NotTrusted { peer: voucher.0.clone(), key: voucher.1, reason }).into());
    }
    if !context.trust.goes_by_vouchers() {
        let reason = "this instance goes by no vouchers";
        return Err(of(RequestError::NotTrusted { peer: voucher.0.clone(), key: voucher.1, reason }).into());
    }
    let stamp = requests::stamp_of(context, request.caller, &speaker, &sender);
    requests::first_sight(context, stamp).map_err(|error| of(error.into()))?;
    let body = read_body(context, &request)?;
    let peer = member(&body, "peer_id").and_then(|text| PeerId::parse(&text).ok());
    let key = member(&body, "public_key").and_then(|text| PublicKey::parse(&text).ok());
    let (peer, key) = peer.zip(key).ok_or(TrustOpError::Shape("peer_id or public_key is missing or none"))?;
    if own_id::is_anothers(context, &peer, key) {
        return Err(TrustOpError::Itself);
    }
    let bound = match named_key(context, &peer, key).await? {
        Some(named) => Some(named),
        None => context.registry.bound(&peer).await?.map(|bound| bound.public_key),
    };
    let (trust, subject, by) = (Arc::clone(&context.trust), peer.clone(), voucher.clone());
    let noted = beside(move || trust.vouch((&by.0, by.1), (&subject, key), bound)).await?;
    noted.map_err(|error| TrustOpError::Of { speaker: voucher, error: Box::new(error.into()) })?;
    Ok(context.trust.level(&peer, key))
}
