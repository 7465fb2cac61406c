//! The engine that exchanges with peers, from the settings.

use super::StartupError;
use crate::{
    federation::{
        control::Control,
        deletions::DeletionGuard,
        engine::{Engine, EngineOptions},
        events::Events,
        history::History,
        peer_address,
        peers::{PeerOptions, Peers},
        rate::{Rate, Rates},
        reconcile::Sets,
        settings_peers::SettingsPeers,
        shared_ids::SharedIds,
    },
    guard::{InnerPeers, PlainHttp},
    identity::Keyring,
    lattice::Lattice,
    registry::Registry,
    settings::{NamedPeer, PrivatePeers, Settings},
    telemetry::{Metrics, Tracer},
    trust::TrustStore,
    types::SharedClock,
};
use futures_util::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How many bytes a second may go.
pub(super) fn rates(settings: &Settings) -> Rates {
    let section = &settings.federation;
    Rates { upload: Rate::new(section.upload_bytes_per_second), download: Rate::new(section.download_bytes_per_second) }
}

/// The engine, with the peers of before and those of the settings. `None` without a key.
pub(super) fn open(
    settings: &Settings,
    key: Option<&Arc<Keyring>>,
    (lattice, sets, deletions): (&Arc<dyn Lattice>, &Arc<Sets>, &Arc<DeletionGuard>),
    (trust, registry, shared_ids): (&Arc<TrustStore>, &Arc<dyn Registry>, &Arc<SharedIds>),
    clock: &SharedClock,
    rates: &Rates,
    (events, metrics, tracer): (Arc<Events>, &Metrics, &Tracer),
) -> Result<Option<Arc<Engine>>, StartupError> {
    let Some(key) = key else { return Ok(None) };
    let section = &settings.federation;
    let failed = |error: &dyn std::fmt::Display| StartupError::Federation(error.to_string());
    let peers = Peers::open(&settings.state.path.join("peers.json")).map_err(|error| failed(&error))?;
    warn_of_plain_http(&plain_http_peers(&peers, settings), settings.federation.plain_http.into());
    let control =
        Control::open(&settings.state.path.join("control.json"), section.auto_sync, section.sync_interval.get());
    let engine = Engine::new(EngineOptions {
        node_id: settings.node_id()?,
        instance_type: settings.instance.instance_type.as_str(),
        address: section.address.clone(),
        key: Arc::clone(key),
        registry: Arc::clone(registry),
        lattice: Arc::clone(lattice),
        sets: Arc::clone(sets),
        deletions: Arc::clone(deletions),
        trust: Arc::clone(trust),
        clock: Arc::clone(clock),
        limits: settings.limits(),
        peers,
        history: History::open(&settings.state.path.join("rounds.json")),
        shared_ids: Arc::clone(shared_ids),
        events,
        control: control.map_err(|error| failed(&error))?,
        concurrent_rounds: section.concurrent_rounds,
        rates: rates.clone(),
        read_only: section.read_only,
        peer_timeout: section.peer_timeout.get(),
        network: settings.network_key(),
        tls: super::outgoing_tls(settings)?,
        inner_peers: inner_peers(settings)?,
        plain_http: settings.federation.plain_http.into(),
        metrics: metrics.federation(),
        tracer: tracer.clone(),
    });
    apply_settings(settings, &engine)?;
    Ok(Some(engine))
}

/// Adds the peers of the settings, and removes those that were in them before.
fn apply_settings(settings: &Settings, engine: &Engine) -> Result<(), StartupError> {
    let failed = |error: &dyn std::fmt::Display| StartupError::Federation(error.to_string());
    let (mut named, mut hub, mut new) = (BTreeMap::new(), None, BTreeSet::new());
    let names_hub = settings.federation.hub_url.is_some();
    for (at, NamedPeer { url, pinned }) in settings.configured_peers()?.into_iter().enumerate() {
        let url = peer_address(&url);
        let is_known = engine.has_peer(&url);
        let kept = match pinned {
            Some((peer, key)) => engine.name_peer(&url, &peer, key).map_err(|error| failed(&error))?,
            // What the operator said of it since stays.
            None if is_known => url,
            None => engine.add_peer(&url, PeerOptions::default()).map_err(|error| failed(&error))?.0,
        };
        if !is_known {
            new.insert(kept.clone());
        }
        let is_hub = at == 0 && names_hub;
        if is_hub && settings.is_spoke() {
            hub = Some(kept.clone());
        }
        let setting = if is_hub { "FEDERATION_HUB_URL" } else { "FEDERATION_TRUSTED_PEERS" };
        let both = |known: &mut &'static str| {
            if *known != setting {
                *known = "FEDERATION_HUB_URL and FEDERATION_TRUSTED_PEERS";
            }
        };
        named.entry(kept).and_modify(both).or_insert(setting);
    }
    for peer in
        engine.apply_settings(SettingsPeers { named, hub: hub.clone() }, &new).map_err(|error| failed(&error))?
    {
        tracing::info!(peer, "the settings do not name this peer any more; it was removed");
    }
    let held: Vec<String> =
        engine.peers().into_iter().map(|peer| peer.url).filter(|url| hub.as_ref() != Some(url)).collect();
    if let Some(hub) = hub.filter(|_| !held.is_empty()) {
        tracing::warn!(
            hub,
            peers = held.join(", "),
            "federation.mode is hub: no rounds with these peers; remove them (ark-lattice federation remove-peer), or set \
             FEDERATION_MODE=hybrid"
        );
    }
    Ok(())
}

fn inner_peers(settings: &Settings) -> Result<InnerPeers, StartupError> {
    let listed = settings.configured_peers()?.into_iter().map(|peer| peer_address(&peer.url)).collect();
    Ok(match settings.federation.private_peers {
        PrivatePeers::Auto => InnerPeers::Named(listed),
        PrivatePeers::All => InnerPeers::Any,
        PrivatePeers::Listed => InnerPeers::Listed(listed),
    })
}

/// Peers that were added before, at addresses to which plain HTTP is refused or exposes what is exchanged.
fn plain_http_peers(peers: &Peers, settings: &Settings) -> Vec<String> {
    peers.list().into_iter().map(|peer| peer.url).filter(|url| settings.is_exposed_by_plain_http(url)).collect()
}

/// The same, from the state directory; none where what is kept there cannot be read, which the start reports.
#[must_use]
pub fn kept_plain_http_peers(settings: &Settings) -> Vec<String> {
    Peers::open(&settings.state.path.join("peers.json"))
        .map_or_else(|_| Vec::new(), |peers| plain_http_peers(&peers, settings))
}

/// Looks up the host names of the peers and reports those that lead to such addresses. Addresses were reported by [`open`].
pub(super) async fn warn_of_plain_http_names(engine: Arc<Engine>) {
    let is_name = |url: &String| reqwest::Url::parse(url).is_ok_and(|url| url.domain().is_some());
    let peers: Vec<String> = engine.peers().into_iter().map(|peer| peer.url).filter(is_name).collect();
    let checked = join_all(peers.iter().map(|url| engine.check_plain_http(url))).await;
    let exposed: Vec<String> =
        peers.iter().zip(checked).filter(|(_, checked)| checked.is_err()).map(|(url, _)| url.clone()).collect();
    warn_of_plain_http(&exposed, engine.plain_http());
}

fn warn_of_plain_http(peers: &[String], policy: PlainHttp) {
    if peers.is_empty() {
        return;
    }
    let (peers, is_allowed) = (peers.join(", "), policy == PlainHttp::Always);
    let policy = policy.as_str();
    if is_allowed {
        tracing::warn!(
            peers,
            policy,
            "federation.plain_http: what is exchanged with these peers can be read on the way"
        );
    } else {
        tracing::warn!(
            peers,
            policy,
            "federation.plain_http: no rounds with these peers over plain HTTP; add them with https://, or set it to always"
        );
    }
}
