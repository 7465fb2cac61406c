//! Finds other instances on the same network: by multicast DNS (`mdns`), by asking every address of small private networks (`scan`),
//! and in the registry. Nothing of it happens unless the settings say so. What is found is a suggestion, proved by a signature where
//! it has a key; it becomes a peer when the operator says so.
//!
//! The network is hostile: who is asked, how often and for how long is bounded, and no answer leads anywhere but to a neighbour.

mod dns;
mod heard;
mod mdns;
mod probe;
mod scan;
mod service;
mod sightings;

use self::{
    mdns::Mdns,
    probe::Prober,
    service::{Announcement, Description},
    sightings::Sightings,
};
use super::{
    client::ClientError,
    engine::Engine,
    peers::{PeerOptions, PeerState},
};
use crate::{
    guard::NetworkKey,
    registry::Registry,
    trust::{MAX_SKEW, Named},
    types::{BasePath, Limits, PeerId, ScanSubnetError, ScanSubnets, SharedClock, Timestamp},
};
use serde::Serialize;
use std::{
    future::pending,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// The most that one search shows.
pub const MAX_FOUND: usize = 256;
/// The longest that a search may take.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a search takes at most where nothing else is asked for.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long is waited for answers to a multicast question; asked again after half of it.
const LISTEN: Duration = Duration::from_secs(2);
/// How often it is looked whether our key is another one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What discovery is given.
#[derive(Debug)]
pub struct LanOptions {
    /// Our id.
    pub node_id: PeerId,
    /// `local`, `cloud` or `pi`.
    pub instance_type: &'static str,
    /// The prefix under which we serve.
    pub base_path: BasePath,
    /// Whether our port speaks TLS; instances that are scanned for are asked in the same way.
    pub tls: bool,
    /// Where we listen.
    pub listen: SocketAddr,
    /// Multicast DNS.
    pub mdns: bool,
    /// On these interfaces; none: all with a private address, except loopback.
    pub interfaces: Vec<String>,
    /// Which addresses may be asked.
    pub subnets: ScanSubnets,
    /// At which port.
    pub scan_port: u16,
    /// Whether everybody who is found becomes a peer.
    pub accept: bool,
    /// How often is searched.
    pub interval: Duration,
    /// Bounds on what is read.
    pub limits: Limits,
    /// The network that we belong to, where it has a key.
    pub network: Option<NetworkKey>,
    /// The time.
    pub clock: SharedClock,
    /// Where peers are.
    pub engine: Arc<Engine>,
    /// Who registered here.
    pub registry: Arc<dyn Registry>,
}

/// What a search is asked for.
#[derive(Debug, Clone)]
pub struct Search {
    /// Make peers of those who prove who they are; as named by the admin where he asks for it himself. `None`: show them only.
    pub accept: Option<Named>,
    /// Only these addresses; `None`: all that the settings allow.
    pub subnets: Option<ScanSubnets>,
    /// How long it may take, up to [`MAX_TIMEOUT`]; what was found until then is shown.
    pub timeout: Duration,
}

impl Default for Search {
    fn default() -> Self {
        Self { accept: None, subnets: None, timeout: DEFAULT_TIMEOUT }
    }
}

/// How somebody was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// It said so itself.
    Mdns,
    /// Its address was asked.
    Scan,
    /// It registered here, with an address.
    Registry,
}

/// Another instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// Where it answers.
    pub url: String,
    /// Its id; only where a signature proves it.
    pub node_id: Option<String>,
    /// Its key, base64; only where a signature proves it.
    pub public_key: Option<String>,
    /// `local`, `cloud` or `pi`, as it says.
    pub instance_type: Option<&'static str>,
    /// How it was found.
    pub via: Via,
    /// Whether it is a peer already, at this address or another.
    pub known: bool,
    /// Whether this search made it one.
    pub accepted: bool,
}

/// Why a search is not made.
#[derive(Debug, thiserror::Error)]
pub enum LanError {
    /// It would go where the settings do not allow it.
    #[error(transparent)]
    Subnet(#[from] ScanSubnetError),
    /// Another search took all the time.
    #[error("another search is under way; try again when it is done")]
    Busy,
    /// No HTTP client can be made here.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Discovery on the network. It does nothing until it is asked to, or run.
#[derive(Debug)]
pub struct Lan {
    options: LanOptions,
    mdns: Option<Arc<Mdns>>,
    /// One search at a time.
    turn: AsyncMutex<()>,
    suggestions: Mutex<Vec<Found>>,
}

impl Lan {
    /// Discovery as the options say. Opens no socket.
    #[must_use]
    pub fn new(options: LanOptions) -> Arc<Self> {
        let mdns = options.mdns.then(|| {
            let announcement = announcement(&options);
            let clock = SharedClock::clone(&options.clock);
            let network = options.network.clone();
            Arc::new(Mdns::new(options.interfaces.clone(), announcement, options.listen.ip(), (clock, network)))
        });
        Arc::new(Self { options, mdns, turn: AsyncMutex::default(), suggestions: Mutex::default() })
    }

    /// Whether the settings let it look at the network by itself.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.mdns.is_some() || !self.options.subnets.is_empty()
    }

    /// Says that we are here and searches regularly, until `closing`; then says that we are gone.
    pub async fn run(self: Arc<Self>, closing: CancellationToken) {
        let speaking = async {
            match &self.mdns {
                Some(mdns) => Arc::clone(mdns).run(closing.clone()).await,
                None => closing.cancelled().await,
            }
        };
        let following = async {
            let Some(mdns) = &self.mdns else { return pending().await };
            let mut key = self.options.engine.public_key();
            let mut looks = interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                if key != self.options.engine.public_key() {
                    key = self.options.engine.public_key();
                    mdns.announce(announcement(&self.options));
                }
            }
        };
        let searching = async {
            if !self.is_on() {
                return pending().await;
            }
            let mut times = interval(self.options.interval);
            times.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                times.tick().await;
                let before = self.suggestions();
                match self
                    .discover(Search { accept: self.options.accept.then_some(Named::No), ..Search::default() })
                    .await
                {
                    Ok(found) => found.iter().filter(|it| !before.iter().any(|old| old.url == it.url)).for_each(tell),
                    Err(error) => tracing::warn!(%error, "the network was not searched"),
                }
            }
        };
        tokio::select! {
            () = speaking => {}
            () = searching => {}
            () = following => {}
        }
    }

    /// What the last search found.
    #[must_use]
    pub fn suggestions(&self) -> Vec<Found> {
        self.suggestions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Searches now, in every way that the settings allow.
    ///
    /// # Errors
    /// [`LanError`].
    pub async fn discover(&self, search: Search) -> Result<Vec<Found>, LanError> {
        let subnets = match search.subnets {
            Some(wanted) => self.options.subnets.narrowed(wanted)?,
            None => self.options.subnets.clone(),
        };
        let deadline = Instant::now() + search.timeout.min(MAX_TIMEOUT);
        let _turn = timeout_at(deadline, self.turn.lock()).await.map_err(|_| LanError::Busy)?;
        let LanOptions { limits, network, clock, .. } = &self.options;
        let prober = Prober::new(*limits, network.clone().map(|key| (key, SharedClock::clone(clock))))?;
        let sightings = Sightings::default();
        let looking = async {
            // Boxed: a search is rare, and its state is large.
            tokio::join!(
                Box::pin(self.listen(&prober, &sightings, search.timeout)),
                Box::pin(self.scan(&prober, &sightings, &subnets)),
            );
        };
        // What was seen until then counts.
        let _late = timeout_at(deadline, looking).await;
        let peers = self.options.engine.peers();
        let mut found = sightings.join(&self.options, &peers);
        self.add_registered(&mut found, &peers).await;
        found.truncate(MAX_FOUND);
        if let Some(named) = search.accept {
            self.accept(&mut found, named);
        }
        self.suggestions.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&found);
        Ok(found)
    }

    async fn listen(&self, prober: &Prober, sightings: &Sightings, within: Duration) {
        let Some(mdns) = &self.mdns else { return };
        let pause = LISTEN.min(within / 2) / 2;
        for _ in 0..2 {
            mdns.ask();
            sleep(pause).await;
        }
        let candidates = mdns.candidates();
        candidates.iter().for_each(|candidate| sightings.claim(candidate));
        let urls = candidates.into_iter().flat_map(|it| {
            let id = it.description.node_id;
            it.urls.into_iter().map(move |url| (url, id.clone()))
        });
        scan::ask_all(prober, urls.take(MAX_FOUND), |url, present| self.see(sightings, Via::Mdns, url, present)).await;
    }

    async fn scan(&self, prober: &Prober, sightings: &Sightings, subnets: &ScanSubnets) {
        let LanOptions { tls, scan_port, base_path, .. } = &self.options;
        let urls = subnets.addresses().map(|address| (url(*tls, address, *scan_port, base_path), None));
        scan::ask_all(prober, urls, |url, present| self.see(sightings, Via::Scan, url, present)).await;
    }

    fn see(&self, sightings: &Sightings, via: Via, url: String, present: probe::Present) {
        if is_fresh(present.head.get(), self.options.clock.now()) {
            sightings.see(via, url, present);
        }
    }

    /// Those who told the registry where they are. They are not asked: anybody may register, with any address.
    async fn add_registered(&self, found: &mut Vec<Found>, peers: &[PeerState]) {
        let page = match self.options.registry.list(None, MAX_FOUND).await {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(%error, "the registry is not searched");
                return;
            }
        };
        for record in page.peers {
            let Some(url) = sightings::address(&record.summary) else { continue };
            let (id, key) = (record.peer.as_str(), record.public_key.to_base64());
            let same = |it: &Found| it.node_id.as_deref() == Some(id) && it.public_key.as_ref() == Some(&key);
            if record.peer == self.options.node_id || found.iter().any(same) {
                continue;
            }
            let instance_type = record.instance_type.as_deref().and_then(service::known_type);
            let known = sightings::is_known(peers, &url, Some((id, &key)));
            let (node_id, public_key) = (Some(id.to_owned()), Some(key));
            found.push(Found { url, node_id, public_key, instance_type, via: Via::Registry, known, accepted: false });
        }
    }

    /// Makes peers of those who proved who they are, at the address where they did. `named`: the admin asked for these just now; a
    /// setting names nobody whom it has not seen.
    fn accept(&self, found: &mut [Found], named: Named) {
        let proved = |it: &&mut Found| !it.known && it.via != Via::Registry && it.public_key.is_some();
        for suggestion in found.iter_mut().filter(proved) {
            let engine = &self.options.engine;
            let added = match named {
                Named::Yes => engine.add_peer(&suggestion.url, PeerOptions::default()),
                Named::No => engine.add_found(&suggestion.url),
            };
            match added {
                Ok(_) => suggestion.accepted = true,
                Err(error) => tracing::warn!(peer = suggestion.url, %error, "a found instance was not made a peer"),
            }
        }
    }
}

/// What is said of us on the link, with the key of now.
fn announcement(options: &LanOptions) -> Option<Announcement> {
    let public_key = options.engine.public_key();
    let description = Description {
        node_id: Some(options.node_id.clone()),
        public_key: Some(public_key),
        instance_type: Some(options.instance_type),
        base_path: options.base_path.clone(),
        tls: options.tls,
        network: None,
    };
    Announcement::of(&description, &public_key, options.listen.port())
}

fn tell(found: &Found) {
    let Found { url, node_id, via, known, accepted, .. } = found;
    let node_id = node_id.as_deref().unwrap_or_default();
    match (known, accepted) {
        (true, _) => tracing::debug!(url, node_id, ?via, "a peer was found again"),
        (false, true) => tracing::info!(url, node_id, ?via, "an instance was found and made a peer"),
        (false, false) => tracing::info!(url, node_id, ?via, "an instance was found; it is no peer until it is added"),
    }
}

/// Whether a head was signed just now, and not kept from before.
fn is_fresh(head: &crate::manifest::Head, now: Timestamp) -> bool {
    head.expires.plus(MAX_SKEW) >= now && head.issued_at.since(now) <= MAX_SKEW
}

fn url(tls: bool, address: IpAddr, port: u16, base_path: &BasePath) -> String {
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}{}", SocketAddr::new(address, port), base_path.as_str())
}
