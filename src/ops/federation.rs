//! The federation as its operator sees and switches it.

use super::Context;
use crate::{
    federation::{
        client::ClientError,
        control::ControlError,
        engine::{AddError, Engine, Lag, Probed, Synced},
        events::TooManyListeners,
        failure::{FailedAt, FailureContext, FailureKind},
        history::{KEPT, Past},
        invites::InvitesError,
        lan::{Found, LanError, Search},
        peer_address,
        peers::{Added, PeerOptions, PeerState, PeersError},
        run::RoundError,
    },
    guard::PlainHttp,
    lattice::LatticeError,
    types::{PeerId, SetHash, ShellWord},
};
use std::{sync::Arc, time::Duration};

/// How often an instance may exchange at most, and at least.
pub const INTERVAL_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600));
/// Characters of an instance's id that its name shows.
const NAME_CHARS: usize = 8;

/// Why the federation did not do it.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// There is nothing to sign with.
    #[error(
        "this instance has no private key, so it is a registry and exchanges with no peer: set ARK_FED_PRIVKEY too, or unset \
         ARK_FED_PUBKEY and restart the service, which makes a key then"
    )]
    NoKey,
    /// The operator stopped it.
    #[error("the federation is stopped; on this instance's machine: ark-lattice federation start")]
    Stopped,
    /// There is no such peer.
    #[error("there is no peer {0:?}; GET /api/federation/peers lists them")]
    NoPeer(String),
    /// No deletion of that instance waits here.
    #[error(transparent)]
    NothingWaits(#[from] NothingWaits),
    /// The interval is too short or too long.
    #[error("intervalMs is a number from {} to {}", INTERVAL_BOUNDS.0.as_millis(), INTERVAL_BOUNDS.1.as_millis())]
    Interval,
    /// The peer cannot be added.
    #[error(transparent)]
    Add(#[from] AddError),
    /// What answers at the address is no peer.
    #[error("{url} {reason}; {next}", reason = predicate(.error), next = not_added(url, .error))]
    NoPeerThere {
        /// The address.
        url: String,
        /// What answers there.
        error: RoundError,
    },
    /// It signs nothing, and was not added as such.
    #[error(
        "{0} is an original ARK service, which signs nothing; it was not added; whoever answers there would be believed: ark-lattice \
         federation add-peer {word} --unsigned",
        word = ShellWord(.0)
    )]
    IsOriginal(String),
    /// It signs, and was to be added as one that does not.
    #[error("{0} is an ark-lattice service, which signs; it was not added; ark-lattice federation add-peer {word}", word = ShellWord(.0))]
    Signs(String),
    /// It has another key than the instance that was met at this address.
    #[error(
        "{url}: {peer} answers with another key than before, which is refused; nothing was changed; if that is right: ark-lattice \
         federation add-peer {word} --replace",
        word = ShellWord(.url)
    )]
    OtherKeyThere {
        /// The address.
        url: String,
        /// Who answers.
        peer: PeerId,
    },
    /// The peers cannot be kept.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// The invites cannot be kept.
    #[error(transparent)]
    Invites(#[from] InvitesError),
    /// The switch cannot be kept.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The network is not searched.
    #[error(transparent)]
    Lan(#[from] LanError),
    /// The lattice does not answer.
    #[error(transparent)]
    Lattice(#[from] LatticeError),
    /// As many listen as may.
    #[error(transparent)]
    Listeners(#[from] TooManyListeners),
}

/// That no deletion of an instance waits here, and where any do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NothingWaits {
    /// `confirm` or `refuse`.
    pub verb: &'static str,
    /// The instance that was named.
    pub from: PeerId,
    /// This instance.
    pub own_id: PeerId,
    /// Instances whose deletions wait here.
    pub here: Vec<Box<str>>,
    /// Addresses of peers at which deletions of this instance wait.
    pub there: Vec<String>,
}

impl std::fmt::Display for NothingWaits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { verb, from, own_id, here, there } = self;
        write!(f, "no deletions of {from} wait here, and nothing was changed")?;
        if let Some(first) = here.first() {
            let command = format!("ark-lattice federation {verb}-deletions {first}");
            write!(f, "; deletions of these instances wait here: {} ({command})", here.join(", "))?;
        }
        if !there.is_empty() {
            let command = format!("ark-lattice federation {verb}-deletions {own_id}");
            write!(f, "; deletions of this instance wait at {}: on that machine: {command}", there.join(", "))?;
        }
        if here.is_empty() && there.is_empty() {
            write!(
                f,
                "; what waits is listed by: ark-lattice federation deletions, and on the peer by the same command"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for NothingWaits {}

/// Who this instance is to others.
#[derive(Debug, Clone)]
pub struct FederationInfo {
    /// Its id.
    pub instance_id: String,
    /// `ARK-`, its type and the beginning of its id.
    pub instance_name: String,
    /// `local`, `cloud` or `pi`.
    pub instance_type: &'static str,
    /// `p2p`, `hub` or `hybrid`.
    pub mode: &'static str,
    /// Where it listens.
    pub port: u16,
    /// Where others reach it, if they can.
    pub address: Option<String>,
    /// Does it exchange by itself?
    pub auto_sync: bool,
    /// How often, where nothing else is a reason.
    pub sync_interval: Duration,
    /// Its key, base64.
    pub public_key: Option<String>,
}

/// Where the lattice stands.
#[derive(Debug, Clone)]
pub struct Stand {
    /// The index is built.
    pub is_ready: bool,
    /// What is wrong with the data directory or the journal, and what to check; `None`: nothing, or only that edits are seen late.
    pub fault: Option<String>,
    /// Files that are broken: what they hold now is sent to nobody.
    pub broken_files: usize,
    /// Live nodes.
    pub nodes: usize,
    /// The journal's newest position.
    pub seq: u64,
    /// The hash of the whole set; `None` while the index is being built.
    pub set_hash: Option<SetHash>,
    /// Conflicts that are kept.
    pub conflicts: u64,
    /// There is a `manifest.json` that is not ours: none is written.
    pub foreign_manifest: bool,
}

/// `ARK-{type}-{the id's first characters}`.
#[must_use]
pub fn instance_name(instance_type: &str, instance_id: &str) -> String {
    let head: String = instance_id.chars().take(NAME_CHARS).collect();
    format!("ARK-{instance_type}-{head}")
}

fn engine(context: &Context) -> Result<&Arc<Engine>, FederationError> {
    context.engine.as_ref().ok_or(FederationError::NoKey)
}

/// Is the federation open to other instances, or did the operator stop it?
#[must_use]
pub fn is_stopped(context: &Context) -> bool {
    context.engine.as_ref().is_some_and(|engine| engine.control().is_stopped())
}

/// Waits until the operator stops the federation; for ever where there is none.
pub async fn stopped(context: Arc<Context>) {
    match &context.engine {
        Some(engine) => engine.control().stopped().await,
        None => std::future::pending().await,
    }
}

/// Does it run?
#[must_use]
pub fn is_running(context: &Context) -> bool {
    context.engine.as_ref().is_some_and(|engine| engine.is_running())
}

/// Who this instance is. Without a key it exchanges with nobody, but this much it can say.
#[must_use]
pub fn federation_info(context: &Context) -> FederationInfo {
    let identity = &context.identity;
    let control = context.engine.as_ref().map(|engine| engine.control());
    FederationInfo {
        instance_id: identity.node_id.to_string(),
        instance_name: instance_name(identity.instance_type, identity.node_id.as_str()),
        instance_type: identity.instance_type,
        mode: identity.mode,
        port: identity.port,
        address: identity.address.clone(),
        auto_sync: control.is_some_and(|control| control.is_auto()),
        sync_interval: control.map_or(Duration::ZERO, |control| control.interval()),
        public_key: context.public_key().map(|key| key.to_base64()),
    }
}

/// Where the lattice stands.
///
/// # Errors
/// [`LatticeError::Io`].
pub fn stand(context: &Context) -> Result<Stand, LatticeError> {
    let status = context.lattice.status();
    let set_hash = match context.lattice.snapshot() {
        Ok(snapshot) => Some(snapshot.set_hash()),
        Err(LatticeError::Loading) => None,
        Err(error) => return Err(error),
    };
    let conflicts = context.lattice.conflict_count()?;
    let away = context.lattice.check_directory().err().map(|error| error.to_string());
    Ok(Stand {
        is_ready: status.ready,
        fault: away.or_else(|| status.fault.filter(|_| !status.unwatched)),
        broken_files: status.broken_total,
        nodes: status.nodes,
        seq: status.seq,
        set_hash,
        conflicts,
        foreign_manifest: status.foreign_manifest,
    })
}

/// All peers, by address, and how far each is.
///
/// # Errors
/// [`FederationError::NoKey`].
pub fn peers(context: &Context) -> Result<Vec<(PeerState, Lag)>, FederationError> {
    let engine = engine(context)?;
    Ok(engine.peers().into_iter().map(|peer| (peer.clone(), engine.lag(&peer))).collect())
}

/// Starts the federation, durably. Answers whether it was stopped.
///
/// # Errors
/// [`FederationError::NoKey`], [`FederationError::Control`].
pub fn start_federation(context: &Context) -> Result<bool, FederationError> {
    Ok(engine(context)?.resume()?)
}

/// Stops the federation, durably: no rounds, and closed doors for peers.
///
/// # Errors
/// [`FederationError::NoKey`], [`FederationError::Control`].
pub fn stop_federation(context: &Context) -> Result<(), FederationError> {
    Ok(engine(context)?.halt()?)
}

/// Is the address asked before it is added?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeFirst {
    /// Yes: what is certainly no peer is refused.
    Yes,
    /// No: it is added whatever answers there.
    No,
}

/// How a peer is added.
#[derive(Debug, Clone, Copy)]
pub struct AddWays {
    /// Whether the address is asked before.
    pub first: ProbeFirst,
    /// Whoever answers at the address of a peer from now on is taken for it.
    pub replace: bool,
}

/// A peer that was added.
#[derive(Debug)]
pub struct AddedPeer {
    /// Its address, as it is kept.
    pub url: String,
    /// What was done.
    pub added: Added,
    /// What answers there; `None`: it was not asked.
    pub probed: Option<Probed>,
    /// It is exchanged with automatically.
    pub is_automatic: bool,
}

/// Adds a peer, durably, or gives one that is known other options. A host name is looked up first: a peer that no round would ask because
/// of `federation.plain_http` is refused here. The address is asked before: this instance itself and what is certainly no instance are
/// refused; one that does not answer yet is added.
///
/// # Errors
/// [`FederationError`].
pub async fn add_peer(
    context: &Context,
    url: &str,
    options: PeerOptions,
    ways: AddWays,
) -> Result<AddedPeer, FederationError> {
    let (engine, url) = (engine(context)?, peer_address(url));
    if engine.plain_http() != PlainHttp::Always
        && let Err(error) = engine.check_plain_http(&url).await
    {
        return Err(AddError::Address(ClientError::OutOfReach(url, error)).into());
    }
    options.filter.check().map_err(AddError::from)?;
    let probed = match ways.first {
        ProbeFirst::Yes => Some(probe(engine, &url, options.unsigned).await?),
        ProbeFirst::No => None,
    };
    if let Some(Probed::Instance { peer, key, .. }) = &probed
        && !ways.replace
        && engine.refuses_key(&url, *key)
    {
        return Err(FederationError::OtherKeyThere { url, peer: peer.clone() });
    }
    let (kept, added) = match &probed {
        _ if ways.replace => engine.replace_peer(&url, options)?,
        Some(Probed::Instance { known_at: Some(known_at), .. }) => engine.add_known(&url, known_at, options)?,
        _ => engine.add_peer(&url, options)?,
    };
    if let Some(Probed::Instance { peer, key, .. }) = &probed {
        engine.note_met(&kept, peer, *key)?;
    }
    Ok(AddedPeer { is_automatic: engine.is_automatic(&kept), url: kept, added, probed })
}

/// What answers at the address, if it can be a peer that is exchanged with so.
async fn probe(engine: &Engine, url: &str, unsigned: bool) -> Result<Probed, FederationError> {
    match engine.probe(url).await.map_err(AddError::from)? {
        Probed::Failed(error) if is_no_peer(error.kind()) => {
            Err(FederationError::NoPeerThere { url: url.to_owned(), error })
        }
        Probed::Original if !unsigned => Err(FederationError::IsOriginal(url.to_owned())),
        Probed::Instance { .. } if unsigned => Err(FederationError::Signs(url.to_owned())),
        probed => Ok(probed),
    }
}

/// The setting that names the peer at this address.
#[must_use]
pub fn setting_of_peer(context: &Context, url: &str) -> Option<&'static str> {
    context.engine.as_ref().and_then(|engine| engine.setting_of(url))
}

/// The hub, where the settings have this instance exchange with that one only and the peer is another one.
#[must_use]
pub fn hub_instead_of<'a>(context: &'a Context, url: &str) -> Option<&'a str> {
    context.engine.as_ref().and_then(|engine| engine.hub_instead_of(url))
}

/// Is what failed so certainly no peer? What may pass is none of it: an instance that is down, or whose certificate is to be trusted yet.
fn is_no_peer(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::OwnAddress
            | FailureKind::PlainHttpThere
            | FailureKind::TlsThere
            | FailureKind::NotHttp
            | FailureKind::NotAnInstance
            | FailureKind::RefusedNotFound
            | FailureKind::Redirected
    )
}

/// A failure as what its address does.
fn predicate(error: &RoundError) -> String {
    match error {
        RoundError::Self_ => "leads back to this instance".to_owned(),
        RoundError::Client(ClientError::Refused { status, .. }) => {
            format!("is no ark-lattice service: it answers {status} where one answers with its head")
        }
        error => error.to_string(),
    }
}

/// The next step where an address was not added.
fn not_added(url: &str, error: &RoundError) -> String {
    let text = error.to_string();
    let context = FailureContext { at: FailedAt::Command(url), own_id: None, text: &text };
    format!("it was not added; {}", error.kind().next(&context))
}

/// Removes a peer, durably. Answers how many are left.
///
/// # Errors
/// [`FederationError::NoPeer`] and others.
pub fn remove_peer(context: &Context, url: &str) -> Result<usize, FederationError> {
    let engine = engine(context)?;
    // First: a peer that is removed does not come back by the invite that it used.
    let id = engine.peers().into_iter().find(|peer| peer.url == peer_address(url)).and_then(|it| it.node_id);
    if let Some(id) = id {
        context.pairing.invites.end_uses_of(&id)?;
    }
    if engine.remove_peer(url)? { Ok(engine.peers().len()) } else { Err(FederationError::NoPeer(url.to_owned())) }
}

/// Exchanges now, with one peer or with all.
///
/// # Errors
/// [`FederationError::Stopped`], [`FederationError::NoPeer`], [`FederationError::NoKey`]. A round that fails is no error here.
pub async fn sync_peers(
    context: &Context,
    url: Option<&str>,
    deletions_confirmed: bool,
) -> Result<Vec<Synced>, FederationError> {
    let engine = engine(context)?;
    if engine.control().is_stopped() {
        return Err(FederationError::Stopped);
    }
    // Who asks may have edited a file just now, and believes what is answered.
    context.lattice.catch_up().await;
    let synced = engine.sync(url, deletions_confirmed).await;
    match url {
        Some(url) if synced.is_empty() => Err(FederationError::NoPeer(url.to_owned())),
        _ => Ok(synced),
    }
}

/// Lets the instance exchange by itself or not, durably; and how often, where that is said. Answers how often it does.
///
/// # Errors
/// [`FederationError::Interval`] and others.
pub fn set_auto_sync(context: &Context, auto: bool, interval: Option<Duration>) -> Result<Duration, FederationError> {
    if interval.is_some_and(|it| it < INTERVAL_BOUNDS.0 || it > INTERVAL_BOUNDS.1) {
        return Err(FederationError::Interval);
    }
    let engine = engine(context)?;
    engine.set_auto(auto, interval)?;
    Ok(engine.control().interval())
}

/// Searches for other instances: on the network, as far as the settings allow it, and in the registry.
///
/// # Errors
/// [`FederationError::Lan`], [`FederationError::NoKey`].
pub async fn find_instances(context: &Context, search: Search) -> Result<Vec<Found>, FederationError> {
    Ok(context.lan.as_ref().ok_or(FederationError::NoKey)?.discover(search).await?)
}

/// The newest rounds first, at most `limit`; of one peer, where one is named.
///
/// # Errors
/// [`FederationError::NoKey`].
pub fn history(context: &Context, peer: Option<&str>, limit: usize) -> Result<Vec<Past>, FederationError> {
    let peer = peer.map(peer_address);
    let rounds = engine(context)?.history().newest(KEPT);
    Ok(rounds.into_iter().filter(|past| peer.as_ref().is_none_or(|peer| *peer == past.peer)).take(limit).collect())
}

#[cfg(test)]
mod tests {
    use super::instance_name;

    #[test]
    fn a_name_is_made_as_the_seed_makes_it() {
        assert_eq!(instance_name("local", "abc123"), "ARK-local-abc123");
        assert_eq!(instance_name("pi", "ärger-mit-umlauten"), "ARK-pi-ärger-mi");
    }
}
