//! Pairing by an invite: one instance makes a line, another joins with it, and both are verified to each other.

use super::{
    Context, RequestError, SignedRequest,
    known_key::key_of_id,
    requests,
    trust::{TrustOpError, beside, decide, not_revoked, own_key, read_body},
};
use crate::{
    federation::{
        client::{Client, ClientError},
        engine::{AddError, Engine},
        exchange::Signer,
        inbox::Inbox,
        introduce::{self, Joining, read_signature},
        invites::{Invite, Invites, InvitesError, Taken},
        own_addresses::Listens,
        peers::PeerState,
        remote::Remote,
    },
    guard::OutOfReach,
    json::Document,
    trust::{
        Decision, DecisionError, Distrust, TrustLevel,
        challenge::{Side, Transcript},
        invite::{
            InviteId, InviteKey, InviteLine, InviteSecret, LineError, MAX_ADDRESSES, SECRET_BYTES, is_address,
            read_proof,
        },
    },
    types::{PeerId, PublicKey, Timestamp},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

/// How long an invite may be used, at least and at most.
pub const EXPIRY_BOUNDS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(30 * 24 * 3600));
/// How long an instance may take to answer at one address.
const PATIENCE: Duration = Duration::from_secs(5);
/// As above, for the instance that joined: the other side waits meanwhile.
const BACK_PATIENCE: Duration = Duration::from_secs(3);
/// Who decides, in the audit log.
const BY: &str = "invite";

/// What pairing keeps: invites, instances that wait, and where this one listens.
#[derive(Debug)]
pub struct Pairing {
    /// The invites of this instance.
    pub invites: Arc<Invites>,
    /// Instances that ask to write.
    pub inbox: Inbox,
    /// Where this instance listens.
    pub listens: Listens,
}

/// Why two instances were not paired.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// The line is no invite.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The invite expired, by this machine's clock.
    #[error("the invite expired at {}; on the other machine make a new one: ark-lattice invite", .0.to_rfc3339())]
    Expired(Timestamp),
    /// A wish is out of bounds.
    #[error("{0}")]
    Wish(String),
    /// No address of the line answers.
    #[error("{0}")]
    Unreachable(String),
    /// The other instance refused the invite.
    #[error("the other instance refused: {0}")]
    RefusedThere(String),
    /// An instance that wants to join here is refused.
    #[error("{reason}")]
    Refused {
        /// Id and key that signed.
        speaker: Box<(PeerId, PublicKey)>,
        /// Why: without a right proof always the same text.
        reason: String,
    },
    /// The id of an instance that wants to join here is another key's.
    #[error(
        "another key has the id {id}: {known}. Join under another id (ARK_NODE_ID); or, if {id} has a new key, on this instance's \
         machine: {command}",
        id = speaker.0, command = requests::accept_command(&speaker.0, speaker.1)
    )]
    OtherKey {
        /// Id and key that signed.
        speaker: Box<(PeerId, PublicKey)>,
        /// The key that has the id.
        known: PublicKey,
    },
    /// Keys were not proved, or the decision cannot be made.
    #[error(transparent)]
    Trust(#[from] TrustOpError),
    /// The invites cannot be kept, or there is no such invite.
    #[error(transparent)]
    Invites(#[from] InvitesError),
    /// The peer cannot be added.
    #[error(transparent)]
    Add(#[from] AddError),
}

impl PairingError {
    /// Who signed the request that is refused, where that is sure.
    #[must_use]
    pub fn speaker(&self) -> Option<(PeerId, PublicKey)> {
        match self {
            Self::Refused { speaker, .. } | Self::OtherKey { speaker, .. } => Some((**speaker).clone()),
            Self::Trust(TrustOpError::Request(error)) => error.speaker(),
            _ => None,
        }
    }
}

impl From<ClientError> for PairingError {
    fn from(error: ClientError) -> Self {
        TrustOpError::from(error).into()
    }
}

impl From<DecisionError> for PairingError {
    fn from(error: DecisionError) -> Self {
        TrustOpError::from(error).into()
    }
}

fn engine(context: &Context) -> Result<&Arc<Engine>, TrustOpError> {
    // An instance with a key has an engine.
    context.engine.as_ref().ok_or(TrustOpError::NoKey)
}

/// Random bytes.
fn random<const N: usize>() -> Result<[u8; N], TrustOpError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| TrustOpError::Worker(error.to_string()))?;
    Ok(bytes)
}

/// What an invite shall be.
#[derive(Debug, Clone)]
pub struct InviteWish {
    /// Where this instance answers; none: the address of the settings, else those of its interfaces.
    pub addresses: Vec<String>,
    /// How long it can be used.
    pub expires_in: Duration,
}

/// A new invite, with its line.
#[derive(Debug, Clone)]
pub struct Invited {
    /// The line: it holds the secret, and nothing else has it.
    pub line: String,
    /// The invite.
    pub invite: Invite,
    /// The key of this instance.
    pub public_key: PublicKey,
    /// Its addresses are reached from this machine only.
    pub loopback_only: bool,
}

/// Makes an invite, durably.
///
/// # Errors
/// [`PairingError`].
pub async fn invite(context: &Context, wish: InviteWish) -> Result<Invited, PairingError> {
    let public_key = own_key(context)?.key.public_key();
    if wish.expires_in < EXPIRY_BOUNDS.0 || wish.expires_in > EXPIRY_BOUNDS.1 {
        return Err(PairingError::Wish("an invite expires after one minute at least and 30 days at most".to_owned()));
    }
    let (addresses, loopback_only) = addresses(context, wish.addresses).await?;
    let (id, secret) = (InviteId::from_bytes(random()?), InviteSecret::from_bytes(random::<SECRET_BYTES>()?));
    let now = context.clock.now();
    // Whole seconds, as the line has it.
    let expires = Timestamp::from_seconds(now.plus(wish.expires_in).seconds());
    let invite = Invite::new(id, secret.key(id), now, expires, addresses.clone());
    let peer = context.identity.node_id.clone();
    let line = InviteLine { id, peer, key: public_key, secret, expires, addresses }.text()?;
    let (invites, trust, kept) = (Arc::clone(&context.pairing.invites), Arc::clone(&context.trust), invite.clone());
    let detail = json!({ "expires_at": expires.to_rfc3339(), "addresses": invite.addresses });
    let keep = move || {
        invites.add(kept, now)?;
        trust.audit().append("invite", &id.to_string(), object(detail)).map_err(DecisionError::from)?;
        Ok::<(), PairingError>(())
    };
    beside(keep).await??;
    Ok(Invited { line, invite, public_key, loopback_only })
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(members) = value { members } else { Map::new() }
}

/// The addresses that are named, else the one of the settings, else those of the interfaces. The flag: only this machine reaches them.
async fn addresses(context: &Context, named: Vec<String>) -> Result<(Vec<String>, bool), PairingError> {
    let named = if named.is_empty() { context.identity.address.iter().cloned().collect() } else { named };
    if named.is_empty() {
        let listens = context.pairing.listens.clone();
        let own = beside(move || listens.own_addresses()).await?;
        return Ok((own.urls, own.loopback_only));
    }
    let fits = named.len() <= MAX_ADDRESSES && named.iter().all(|address| is_address(address));
    if !fits {
        let text = format!("an invite names at most {MAX_ADDRESSES} addresses such as https://host:9001");
        return Err(PairingError::Wish(text));
    }
    for address in &named {
        engine(context)?.client_with(None, address)?;
    }
    let loopback_only = named.iter().all(|address| is_loopback(address));
    Ok((named.iter().map(|address| address.trim_end_matches('/').to_owned()).collect(), loopback_only))
}

/// Is the host of this address this machine itself?
fn is_loopback(url: &str) -> bool {
    let authority =
        url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// The invites that are kept, the newest first.
#[must_use]
pub fn invites(context: &Context) -> Vec<Invite> {
    context.pairing.invites.list()
}

/// Revokes an invite, durably.
///
/// # Errors
/// [`PairingError::Invites`].
pub async fn revoke_invite(context: &Context, id: InviteId) -> Result<Invite, PairingError> {
    let (invites, trust, now) = (Arc::clone(&context.pairing.invites), Arc::clone(&context.trust), context.clock.now());
    let revoke = move || {
        let invite = invites.revoke(id, now)?;
        trust.audit().append("invite_revoked", &id.to_string(), Map::new()).map_err(DecisionError::from)?;
        Ok::<Invite, PairingError>(invite)
    };
    beside(revoke).await?
}

/// With whom this instance was paired.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The other instance.
    pub peer: PeerId,
    /// Its key.
    pub public_key: PublicKey,
    /// Where it answers.
    pub url: String,
    /// The address of this instance at which the other one reaches it; `None`: only this one connects.
    pub reached_at: Option<String>,
}

/// Joins another instance with the line of an invite. `address`: where this instance answers, if that is known better than by the
/// settings and the interfaces.
///
/// # Errors
/// [`PairingError`]; no key was verified then.
pub async fn join(context: &Context, line: &str, address: Option<String>) -> Result<Joined, PairingError> {
    let line = InviteLine::parse(line)?;
    let (held, engine) = (own_key(context)?, engine(context)?);
    if line.peer == context.identity.node_id {
        return Err(TrustOpError::Itself.into());
    }
    if context.clock.now() >= line.expires {
        return Err(PairingError::Expired(line.expires));
    }
    // What would fail afterwards fails before the invite is used.
    context.trust.can_verify(&line.peer, line.key)?;
    let (url, client) = first_address(context, engine, &line).await?;
    let (own, loopback_only) = addresses(context, address.into_iter().collect()).await?;
    let own = if loopback_only && !is_loopback(&url) { Vec::new() } else { own };
    let (node_id, now) = (&context.identity.node_id, context.clock.now());
    let signer = Signer { key: &held.key, node_id, audience: &line.peer, now };
    let challenged = introduce::challenge(&client, &signer).await?;
    if challenged.key != line.key {
        return Err(TrustOpError::Key { found: challenged.key, expected: line.key }.into());
    }
    let key = line.secret.key(line.id);
    let joining = Joining { id: line.id, key: &key, addresses: &own };
    let reached_at = introduce::join(&client, &signer, &challenged, joining).await.map_err(refused_there)?;
    verify(context, (&line.peer, line.key), line.id, challenged.proof).await?;
    let url = pair(engine, url, &line.peer, line.key).await?;
    Ok(Joined { peer: line.peer, public_key: line.key, url, reached_at })
}

fn refused_there(error: ClientError) -> PairingError {
    match error {
        ClientError::Refused { code, detail, .. } => PairingError::RefusedThere(format!("{code}: {detail}")),
        error => error.into(),
    }
}

/// The first address of the line at which the right instance answers with the right key, and a client for it.
async fn first_address(
    context: &Context,
    engine: &Engine,
    line: &InviteLine,
) -> Result<(String, Client), PairingError> {
    let expected = (&line.peer, line.key);
    let asked = line
        .addresses
        .iter()
        .map(|url| async move { probe(context, (url, engine.client_with(None, url)?), expected, PATIENCE).await });
    let (mut problems, mut other_key) = (Vec::new(), None);
    for (url, answer) in line.addresses.iter().zip(join_all(asked).await) {
        match answer {
            Ok(client) => return Ok((url.clone(), client)),
            Err(error @ TrustOpError::Key { .. }) => other_key = other_key.or(Some(error)),
            Err(error) => problems.push(error.to_string()),
        }
    }
    // An instance that shows the right id with another key is worth more attention than a silent address.
    if let Some(error) = other_key {
        return Err(error.into());
    }
    let text = format!("{} does not answer at any address of the invite: {}", line.peer, problems.join("; "));
    Err(PairingError::Unreachable(text))
}

/// The client, if the instance that it asks has this id and key.
async fn probe(
    context: &Context,
    (url, client): (&str, Client),
    (peer, expected): (&PeerId, PublicKey),
    patience: Duration,
) -> Result<Client, TrustOpError> {
    let client = client.with_patience(patience);
    let head = client.head(&context.limits).await?;
    let (found_peer, found) = (&head.get().node_id, head.public_key());
    if found_peer != peer {
        return Err(ClientError::Protocol(url.to_owned(), format!("it is {found_peer}, not {peer}")).into());
    }
    if found == expected { Ok(client) } else { Err(TrustOpError::Key { found, expected }) }
}

async fn verify(
    context: &Context,
    (peer, key): (&PeerId, PublicKey),
    id: InviteId,
    proof: String,
) -> Result<(), TrustOpError> {
    let (peer, reason, proof) = (peer.clone(), format!("paired by invite {id}"), Some(proof));
    let decision = Decision { peer: peer.clone(), key, level: TrustLevel::Verified, by: BY, reason, proof };
    decide(context, decision).await?;
    context.pairing.inbox.remove(&peer, key);
    tracing::info!(peer.id = peer.as_str(), %key, invite = %id, "paired; the key is verified");
    Ok(())
}

async fn pair(engine: &Arc<Engine>, url: String, peer: &PeerId, key: PublicKey) -> Result<String, PairingError> {
    let (engine, peer) = (Arc::clone(engine), peer.clone());
    // A peer that answers at another address already stays one peer.
    let url = engine.active_address(&peer, key).unwrap_or(url);
    Ok(beside(move || engine.pair_peer(&url, &peer, key)).await??)
}

/// The answer to an instance that joined.
#[derive(Debug, Clone)]
pub struct JoinProof {
    /// The proof that this instance knows the secret too, base64.
    pub proof: String,
    /// The address at which this instance reaches the other one.
    pub peer_url: Option<String>,
}

/// What an instance sends to join.
struct Asked {
    id: InviteId,
    signature: [u8; 64],
    proof: [u8; 32],
    addresses: Vec<String>,
}

fn read_asked(body: &Document) -> Option<Asked> {
    let object = body.root().as_object()?;
    let text = |name: &str| object.get(name)?.as_str().map(Cow::into_owned);
    let listed = object.get("addresses")?.as_array().filter(|list| list.len() <= MAX_ADDRESSES)?;
    let listed = listed.iter().map(|it| it.as_str().map(Cow::into_owned).filter(|it| is_address(it)));
    Some(Asked {
        id: InviteId::parse(&text("invite")?)?,
        signature: read_signature(&text("signature")?)?,
        proof: read_proof(&text("proof")?)?,
        addresses: listed.collect::<Option<Vec<String>>>()?,
    })
}

/// Another instance joins: it proves its key and the secret of an invite, over the nonces of the challenge before. A wrong proof does not
/// use up the invite.
///
/// # Errors
/// [`PairingError`].
pub async fn take_join(context: &Context, request: SignedRequest<'_>) -> Result<JoinProof, PairingError> {
    own_key(context)?;
    let engine = engine(context)?;
    let (speaker, _) = requests::sender(context, request).map_err(TrustOpError::from)?;
    let asking = (speaker.peer().clone(), speaker.public_key());
    not_revoked(context, &asking)?;
    // Only the admin ends a quarantine; an invite does not.
    if context.trust.is_quarantined(asking.1) {
        let error = Box::new(RequestError::from(Distrust::Quarantined(asking.0.clone())));
        return Err(TrustOpError::from(RequestError::Of { speaker: asking, error }).into());
    }
    let asked = read_asked(&read_body(context, &request)?);
    let asked = asked.ok_or(TrustOpError::Shape("invite, signature, proof or addresses is missing or none"))?;
    let (key, transcript) = proved(context, &asking, &asked)?;
    let (peer, public_key) = asking.clone();
    is_free(context, &asking).await?;
    let taken = take(context, asked.id, &asking).await?;
    let proof = STANDARD.encode(key.prove(asked.id, Side::Asked, &transcript));
    // A repetition by a key that is verified decides nothing anew, and asks nobody anything.
    if taken == Taken::Again && context.trust.level(&peer, public_key) == TrustLevel::Verified {
        let is_it = |it: &PeerState| it.node_id.as_deref() == Some(peer.as_str()) && asked.addresses.contains(&it.url);
        let peer_url = engine.peers().into_iter().find(is_it).map(|it| it.url);
        return Ok(JoinProof { proof, peer_url });
    }
    if let Err(error) = verify(context, (&peer, public_key), asked.id, STANDARD.encode(asked.signature)).await {
        if taken == Taken::New {
            let (invites, id) = (Arc::clone(&context.pairing.invites), asked.id);
            beside(move || invites.release(id, &peer, public_key)).await??;
        }
        return Err(error.into());
    }
    let peer_url = reach_back(context, engine, &asked.addresses, (&peer, public_key), is_from_here(&request)).await?;
    Ok(JoinProof { proof, peer_url })
}

/// Did it come from a program of this machine, and through no proxy?
fn is_from_here(request: &SignedRequest<'_>) -> bool {
    !request.is_forwarded && request.address.is_some_and(|from| from.to_canonical().is_loopback())
}

/// May an invited instance have this id? Not one that has another key: by the admin's decision, as a peer that he named, or bound to it.
async fn is_free(context: &Context, asking: &(PeerId, PublicKey)) -> Result<(), PairingError> {
    let (peer, key) = asking;
    let known = key_of_id(context, peer, *key).await.map_err(TrustOpError::from)?;
    match known {
        Some(known) if known != *key => Err(PairingError::OtherKey { speaker: Box::new(asking.clone()), known }),
        _ => Ok(()),
    }
}

/// The invite's key and the transcript, if the signature and the secret were proved over it. Everything else is one answer: a stranger
/// does not learn which invites there are.
fn proved(
    context: &Context,
    asking: &(PeerId, PublicKey),
    asked: &Asked,
) -> Result<(InviteKey, Transcript), PairingError> {
    let known = context.pairing.invites.key(asked.id);
    // Of an unknown invite the same is computed, with a key that no proof fits.
    let key = match &known {
        Some(key) => key.clone(),
        None => InviteKey::from_bytes(random()?),
    };
    let fits = |transcript: &Transcript| {
        let secret = key.is_proved(asked.id, Side::Asking, transcript, &asked.proof);
        asking.1.has_signed(&transcript.bytes(Side::Asking), &asked.signature) && secret
    };
    let transcript = context.trust.challenges().take(asking, context.clock.elapsed(), fits);
    match transcript {
        Some(transcript) if known.is_some() => Ok((key, transcript)),
        _ => {
            let reason = "the invite does not count here: it is unknown, or its secret was not proved".to_owned();
            Err(PairingError::Refused { speaker: Box::new(asking.clone()), reason })
        }
    }
}

/// Uses the invite. The secret was proved, so the reason may be told.
async fn take(context: &Context, id: InviteId, asking: &(PeerId, PublicKey)) -> Result<Taken, PairingError> {
    let (invites, (peer, key), now) = (Arc::clone(&context.pairing.invites), asking.clone(), context.clock.now());
    match beside(move || invites.take(id, &peer, key, now)).await? {
        Err(error @ (InvitesError::Ended(_) | InvitesError::Unknown(_))) => {
            Err(PairingError::Refused { speaker: Box::new(asking.clone()), reason: error.to_string() })
        }
        taken => Ok(taken?),
    }
}

/// The first address of an instance that joined at which it answers; it is a peer of this one from then on. `None`: this instance
/// cannot connect to it, as where it is behind a NAT.
async fn reach_back(
    context: &Context,
    engine: &Arc<Engine>,
    addresses: &[String],
    (peer, key): (&PeerId, PublicKey),
    from_here: bool,
) -> Result<Option<String>, PairingError> {
    // An address of this machine itself means something only for a program of this machine.
    let client = |url: &String| if from_here { engine.client_with(None, url) } else { engine.client_of_guest(url) };
    let asked = addresses
        .iter()
        .map(|url| async move { probe(context, (url, client(url)?), (peer, key), BACK_PATIENCE).await });
    let answers = join_all(asked).await;
    for (url, answer) in addresses.iter().zip(&answers) {
        if let Err(TrustOpError::Peer(error @ ClientError::OutOfReach(_, OutOfReach::PlainHttp(..)))) = answer {
            tracing::warn!(peer.id = peer.as_str(), url, %error, "an instance that joined is not made a peer at this address");
        }
    }
    let Some(url) = addresses.iter().zip(answers).find_map(|(url, answer)| answer.is_ok().then(|| url.clone())) else {
        return Ok(None);
    };
    pair(engine, url.clone(), peer, key).await?;
    Ok(Some(url))
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn addresses_of_this_machine_are_recognised() {
        for url in [
            "http://127.0.0.1:9001",
            "https://localhost/x",
            "http://[::1]:1",
            "http://[::ffff:127.0.0.1]",
            "http://127.9.9.9",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "http://192.168.1.7:9001",
            "https://localhost.example",
            "http://[2001:db8::1]:1",
            "http://127.0.0.1.example",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
