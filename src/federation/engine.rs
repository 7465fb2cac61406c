//! Keeps in step with all peers by itself: rounds regularly, when something changed here, and when a peer says that something
//! changed there. Each peer has a task of its own, so that one that is slow or gone delays no other.

mod tasks;
mod traced;

use self::{
    announcing::Announcing,
    clients::By,
    tasks::{keep_in_step, listen},
    traced::{outcome, tell_span},
};
use super::{
    client::{Client, ClientError},
    control::{Control, ControlError},
    deletions::{Account, DeletionGuard},
    events::{Events, Exchange},
    failure::FailureKind,
    gate::Gate,
    history::History,
    peer_address,
    peers::{Direction, PeerOptions, PeerState, Peers},
    rate::Rates,
    reconcile::Sets,
    round::UnexplainedRounds,
    run::{Known, Parties, RoundError, RoundReport, RunEnd, run},
    shared_ids::SharedIds,
    trusting::Trusting,
};
use crate::{
    guard::{InnerPeers, NetworkKey, PlainHttp},
    identity::Keyring,
    lattice::Lattice,
    manifest::Position,
    registry::Registry,
    telemetry::{FederationMetrics, Tracer},
    trust::TrustStore,
    types::{Limits, PeerId, SharedClock},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, Notify},
    task::JoinHandle,
    time::sleep,
};

mod add;
mod announcing;
mod clients;
mod conclude;
mod continuation;
mod doubt;
mod keys;
mod originals;
mod probe;
mod refused;
mod round_status;
mod statistics;
mod waits;

pub use self::add::AddError;
pub use self::announcing::NO_LIVE_MANIFEST;
pub use self::probe::Probed;

/// Changes that come one after the other go in one round.
const GATHER: Duration = Duration::from_millis(50);
/// How often a peer is told who we are.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(45);

/// What an engine is given.
#[derive(Debug)]
pub struct EngineOptions {
    /// Our id.
    pub node_id: PeerId,
    /// `local`, `cloud` or `pi`.
    pub instance_type: &'static str,
    /// Where others reach us, if they can.
    pub address: Option<String>,
    /// Our key.
    pub key: Arc<Keyring>,
    /// Which keys are bound to which ids.
    pub registry: Arc<dyn Registry>,
    /// Our nodes.
    pub lattice: Arc<dyn Lattice>,
    /// What other instances delete here.
    pub deletions: Arc<DeletionGuard>,
    /// Their versions, to be reconciled with those of others.
    pub sets: Arc<Sets>,
    /// What is thought of each key.
    pub trust: Arc<TrustStore>,
    /// The time.
    pub clock: SharedClock,
    /// Bounds on what is read.
    pub limits: Limits,
    /// Whom to exchange with.
    pub peers: Peers,
    /// What was.
    pub history: History,
    /// Ids that two machines use.
    pub shared_ids: Arc<SharedIds>,
    /// What happens.
    pub events: Arc<Events>,
    /// What the operator switched.
    pub control: Control,
    /// Rounds at the same time.
    pub concurrent_rounds: usize,
    /// How many bytes a second may go.
    pub rates: Rates,
    /// This instance takes and never gives: all peers are pulled from only.
    pub read_only: bool,
    /// How long a peer may be silent.
    pub peer_timeout: Duration,
    /// The network that we belong to, where it has a key.
    pub network: Option<NetworkKey>,
    /// What connections to others are made with.
    pub tls: Option<rustls::ClientConfig>,
    /// Which addresses within this machine's network may be asked.
    pub inner_peers: InnerPeers,
    /// Which of them are asked over `http://`.
    pub plain_http: PlainHttp,
    /// What is counted of other instances.
    pub metrics: FederationMetrics,
    /// Makes the spans of rounds.
    pub tracer: Tracer,
}

/// How a round that was asked for ended.
#[derive(Debug, Clone)]
pub struct Synced {
    /// With whom.
    pub url: String,
    /// What it did.
    pub report: RoundReport,
    /// Why it did not come to its end, one line.
    pub error: Option<String>,
    /// The kind of that failure.
    pub failure: Option<FailureKind>,
}

/// How many positions of a journal are still to go; a node that changed twice counts for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// To the peer. `None`: not known, or nothing goes that way.
    pub to_send: Option<u64>,
    /// From the peer. `None`: not known, or nothing goes that way.
    pub to_receive: Option<u64>,
    /// Deletions of the peer that wait here for the admin.
    pub waiting_here: u64,
}

/// The engine. Dropped, it stops.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    tasks: Mutex<HashMap<String, Task>>,
    watcher: Mutex<Option<JoinHandle<()>>>,
    /// Held while it is stopped or started: what is switched and what happens go together.
    switching: Mutex<()>,
}

#[derive(Debug)]
struct Shared {
    options: EngineOptions,
    gate: Gate,
    running: AtomicBool,
    client: OnceLock<Client>,
    outer_client: OnceLock<Client>,
    /// As those two, for peers that are asked without TLS.
    plain_client: OnceLock<Client>,
    plain_outer_client: OnceLock<Client>,
    /// Those for addresses that invited instances name.
    guest_client: OnceLock<Client>,
    plain_guest_client: OnceLock<Client>,
    /// What we last said of us, to whomever.
    announcement: Mutex<Option<keys::Announcement>>,
}

/// One peer's own.
#[derive(Debug)]
struct Task {
    peer: Arc<PeerTask>,
    rounds: JoinHandle<()>,
    listener: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.rounds.abort();
        self.listener.abort();
    }
}

#[derive(Debug)]
struct PeerTask {
    url: String,
    client: Client,
    wake: Notify,
    /// It can be reached again, or may be: the pause after failures is over.
    contact: Notify,
    /// It answered.
    answers: Notify,
    /// One round at a time; what was said of keys.
    turn: AsyncMutex<keys::Said>,
    /// Rounds that began from the beginning, weighed.
    resets: AtomicU32,
    /// Where its journal stands, as it last said; 0: it did not.
    heard: AtomicU64,
    unexplained: Mutex<UnexplainedRounds>,
    /// Rounds in a row that were cut off.
    cuts: AtomicU32,
}

impl Engine {
    /// An engine that stands still until [`Self::start`].
    #[must_use]
    pub fn new(options: EngineOptions) -> Arc<Self> {
        let gate = Gate::new(options.concurrent_rounds);
        let running = AtomicBool::new(false);
        let (client, outer_client) = (OnceLock::new(), OnceLock::new());
        let (plain_client, plain_outer_client) = (OnceLock::new(), OnceLock::new());
        let announcement = Mutex::default();
        let shared = Arc::new(Shared {
            options,
            gate,
            running,
            client,
            outer_client,
            plain_client,
            plain_outer_client,
            guest_client: OnceLock::new(),
            plain_guest_client: OnceLock::new(),
            announcement,
        });
        Arc::new(Self { shared, tasks: Mutex::default(), watcher: Mutex::default(), switching: Mutex::default() })
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, unless the operator stopped it; call it from within a runtime. Peers whose addresses cannot be used are told of and
    /// left out.
    pub fn start(self: &Arc<Self>) {
        if self.shared.options.control.is_stopped() || self.shared.running.swap(true, Ordering::AcqRel) {
            return;
        }
        for peer in self.shared.options.peers.list() {
            if let Err(error) = self.spawn(&peer.url) {
                tracing::warn!(peer = peer.url, %error, "a peer's address cannot be used");
            }
        }
        let engine = Arc::downgrade(self);
        let mut positions = self.shared.options.lattice.positions();
        let watcher = tokio::spawn(async move {
            while positions.changed().await.is_ok() {
                sleep(GATHER).await;
                positions.mark_unchanged();
                let Some(engine) = engine.upgrade() else { return };
                engine.tasks().values().for_each(|task| task.peer.wake.notify_one());
            }
        });
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher);
    }

    /// Stops all rounds. What they exchanged stays.
    pub fn stop(&self) {
        self.shared.running.store(false, Ordering::Release);
        self.tasks().clear();
        if let Some(watcher) = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take() {
            watcher.abort();
        }
        if let Err(error) = self.shared.options.peers.flush() {
            tracing::warn!(%error, "the newest counts of rounds cannot be kept");
        }
        self.shared.options.history.flush();
    }

    /// Does it run?
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.shared.running.load(Ordering::Acquire)
    }

    /// What the operator switched.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.shared.options.control
    }

    /// Stops all rounds, durably: until [`Self::resume`] nothing begins any, a restart included.
    ///
    /// # Errors
    /// It cannot be kept; nothing was stopped.
    pub fn halt(&self) -> Result<(), ControlError> {
        let _one_at_a_time = self.switching.lock().unwrap_or_else(PoisonError::into_inner);
        self.control().set_stopped(true)?;
        self.stop();
        Ok(())
    }

    /// Goes on after [`Self::halt`], durably. Answers whether it stood still.
    ///
    /// # Errors
    /// It cannot be kept; it stands still as before.
    pub fn resume(self: &Arc<Self>) -> Result<bool, ControlError> {
        let _one_at_a_time = self.switching.lock().unwrap_or_else(PoisonError::into_inner);
        let halted = self.control().is_stopped();
        self.control().set_stopped(false)?;
        self.start();
        Ok(halted)
    }

    /// Lets it exchange by itself, or only when it is asked to; durably. Switched off, that counts for paired peers as well.
    ///
    /// # Errors
    /// It cannot be kept; everything is as before.
    pub fn set_auto(&self, auto: bool, interval: Option<Duration>) -> Result<(), ControlError> {
        self.control().set_auto(auto, interval)?;
        if !auto {
            let paired = self.peers().into_iter().filter(|peer| peer.auto_sync);
            paired.for_each(|peer| self.shared.update(&peer.url, |state| state.auto_sync = false));
        }
        self.tasks().values().for_each(|task| task.peer.wake.notify_one());
        Ok(())
    }

    /// Our own key became another one, or something was said of it: the peers are told at once.
    pub fn key_changed(&self) {
        self.tasks().values().for_each(|task| task.peer.wake.notify_one());
    }

    /// What happens.
    #[must_use]
    pub fn events(&self) -> &Arc<Events> {
        &self.shared.options.events
    }

    /// Did the admin name an instance with this id, whatever its key?
    #[must_use]
    pub fn names_id(&self, id: &PeerId) -> bool {
        self.shared.options.peers.names(id.as_str(), |_| true)
    }

    /// How many peers there are.
    #[must_use]
    pub fn peer_count(&self) -> usize {
        self.shared.options.peers.count()
    }

    /// Up to where our journal went to this instance.
    #[must_use]
    pub fn pushed_to(&self, id: &PeerId) -> Option<Position> {
        self.shared.options.peers.pushed_to(id.as_str())
    }

    /// What was.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.shared.options.history
    }

    /// All peers.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerState> {
        self.shared.options.peers.list()
    }

    /// Is there a peer with this address?
    #[must_use]
    pub fn has_peer(&self, url: &str) -> bool {
        self.shared.options.peers.get(&peer_address(url)).is_some()
    }

    /// How far a peer is from this instance, as far as that is known.
    #[must_use]
    pub fn lag(&self, peer: &PeerState) -> Lag {
        let (status, positions) = (self.shared.options.lattice.status(), &peer.positions);
        let lineage = self.shared.options.lattice.epochs().lineage;
        let pushed = positions.pushed.as_ref().filter(|it| lineage.check(it, status.seq).is_ok());
        let heard = self.tasks().get(&peer.url).map_or(0, |task| task.peer.heard.load(Ordering::Relaxed));
        let pulled = positions.pulled.as_ref().map_or(0, |it| it.seq);
        let (gives, takes) = (peer.options.direction != Direction::Pull, peer.options.direction != Direction::Push);
        Lag {
            to_send: pushed.filter(|_| gives).map(|it| status.seq.saturating_sub(it.seq)),
            to_receive: (takes && heard > 0).then(|| heard.saturating_sub(pulled)),
            waiting_here: self.shared.waiting_here(peer),
        }
    }

    fn spawn(&self, url: &str) -> Result<(), ClientError> {
        if self.shared.options.peers.hub_instead_of(url).is_some() {
            return Ok(());
        }
        let peer = Arc::new(self.shared.peer_task(url)?);
        let rounds = tokio::spawn(keep_in_step(Arc::clone(&self.shared), Arc::clone(&peer)));
        let listener = tokio::spawn(listen(Arc::clone(&self.shared), Arc::clone(&peer)));
        self.tasks().insert(url.to_owned(), Task { peer, rounds, listener });
        Ok(())
    }

    /// Exchanges now, with one peer or with all. `confirmed`: also where many nodes would be deleted. Empty where there is no such
    /// peer.
    pub async fn sync(&self, url: Option<&str>, confirmed: bool) -> Vec<Synced> {
        let url = url.map(peer_address);
        let wanted: Vec<PeerState> =
            self.peers().into_iter().filter(|peer| url.as_ref().is_none_or(|url| *url == peer.url)).collect();
        let peers = &self.shared.options.peers;
        // Of all peers those that hub mode leaves out are no failures.
        let held = |peer: &PeerState| url.is_none() && peers.hub_instead_of(&peer.url).is_some();
        let rounds = wanted.into_iter().filter(|peer| !held(peer)).map(|peer| async move {
            if let Err(error) = peers.check_may_add(&peer.url) {
                return Synced::failed(peer.url, error.to_string(), FailureKind::HubOnly);
            }
            let task = self.tasks().get(&peer.url).map(|task| Arc::clone(&task.peer));
            let task = match task {
                Some(task) => task,
                // Also while the engine stands still.
                None => match self.shared.peer_task(&peer.url) {
                    Ok(task) => Arc::new(task),
                    Err(error) => {
                        let failure = error.kind();
                        return Synced::failed(peer.url, error.without_address(), failure);
                    }
                },
            };
            tokio::select! {
                end = self.shared.round(&task, confirmed) => {
                    let failure = end.error.as_ref().map(RoundError::kind);
                    if failure.is_none() && peer.failed_in_a_row > 0 {
                        task.contact.notify_one();
                    }
                    Synced { url: peer.url, report: end.report, error: end.error.map(|error| error.to_string()), failure }
                }
                () = self.control().stopped() => {
                    let error = "the federation was stopped meanwhile".to_owned();
                    Synced::failed(peer.url, error, FailureKind::StoppedHere)
                }
            }
        });
        futures_util::future::join_all(rounds).await
    }
}

impl Shared {
    fn peer_task(&self, url: &str) -> Result<PeerTask, ClientError> {
        let client = self.client(url, By::Anybody)?.with_membership(self.membership());
        let (wake, contact, answers) = (Notify::new(), Notify::new(), Notify::new());
        let (turn, resets, heard) = (AsyncMutex::default(), AtomicU32::new(0), AtomicU64::new(0));
        let (unexplained, cuts) = (Mutex::default(), AtomicU32::new(0));
        Ok(PeerTask { url: url.to_owned(), client, wake, contact, answers, turn, resets, heard, unexplained, cuts })
    }

    fn failed_in_a_row(&self, url: &str) -> u32 {
        self.options.peers.get(url).map_or(1, |peer| peer.failed_in_a_row)
    }

    /// One round, and everything that is noted of it.
    async fn round(&self, peer: &PeerTask, confirmed: bool) -> RunEnd {
        let mut said = peer.turn.lock().await;
        let options = &self.options;
        let (at, begun) = (options.clock.now(), options.clock.elapsed());
        let state = options
            .peers
            .get(&peer.url)
            .unwrap_or_else(|| PeerState::new(peer.url.clone(), PeerOptions::default(), at));
        if state.options.unsigned {
            return self.round_with_original(peer, &state, &mut said).await;
        }
        let mut exchanged = state.options.clone();
        if options.read_only {
            exchanged.direction = Direction::Pull;
        }
        let (span, held) = (options.tracer.root("round"), options.key.held());
        let (client, watch) = self.traced(peer, &state, &held, &span);
        if exchanged.direction != Direction::Pull {
            self.say_who_we_are(&client, &held, &mut said).await;
        }
        let exchange = Exchange::new(&options.events, &peer.url);
        let announcing = Announcing::new(self, &client, &held);
        let remote = self.gate.guard(&announcing, state.failed_in_a_row > 0, &exchange);
        let pinned = (state.node_id.clone(), state.public_key.clone());
        let remote = Trusting::new(&remote, &options.trust, &options.clock, pinned, self.named(&state));
        let account = |id: &PeerId, key| Account::of(&options.trust, id, key, state.named);
        let parties = Parties {
            lattice: &options.lattice,
            client: &remote,
            sets: &options.sets,
            deletions: &options.deletions,
            account: &account,
            key: &held.key,
            node_id: &options.node_id,
            clock: &options.clock,
            limits: options.limits,
            rates: options.rates.clone(),
        };
        let known = Known {
            node_id: state.node_id.clone(),
            public_key: state.public_key.clone(),
            positions: state.positions.clone(),
            options: exchanged.clone(),
            deletions_confirmed: confirmed,
            waiting_there: state.waiting_there,
            asks_what_waits: !said.waits,
            same_instance: options.peers.same_instance(&state),
            unstaged: peer.cuts.load(Ordering::Acquire) >= doubt::CUTS,
        };
        let waited = self.waiting_here(&state);
        let mut end = self.run_with_keys(peer, &parties, known, &held, &mut said).await;
        announcing.note_in(&mut said);
        // A peer that was not met is not asked another time.
        if end.peer.is_some() {
            self.ask_for_own_head(&client, held.key.public_key(), &mut said).await;
        }
        self.note_waiting(&state, waited, &end, &mut said);
        self.doubt(peer, &mut end);
        self.tell_continuation(peer, &state, remote.follows(), &mut end);
        self.note_shared_id(&state.url, &end);
        self.audit(&state, &end);
        let took = options.clock.elapsed().saturating_sub(begun);
        tell_span(span, &state, &end);
        options.metrics.round(outcome(&end), took);
        self.conclude(&state, &end, (at, took, watch.latency()), &exchange);
        self.send_round_status((&peer.url, &client, &held), &exchanged, &end, &mut said).await;
        end
    }

    fn update(&self, url: &str, change: impl FnOnce(&mut PeerState)) {
        if let Err(error) = self.options.peers.update(url, change) {
            tracing::warn!(peer = url, %error, "what is known of a peer cannot be kept");
        }
    }
}
