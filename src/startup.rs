//! Puts an application together: the only file that names adapters.

pub use crate::shutdown::StopSignal;
use crate::{
    federation::{
        deletions::DeletionGuard,
        inbound::InboundPeers,
        left_out::NamedVersions,
        reconcile::{LEAST_NODES, Sets},
        shared_ids::SharedIds,
        twins::Twins,
    },
    guard::Limiter,
    identity::{KeyPair, KeyPlace},
    ops::{Context, Heartbeats, Identity, KnownIds, KnownLists, LocalAccess},
    registry::redis::Servers,
    settings::{Settings, SettingsError, Span},
    shutdown::StopSignals,
    telemetry::Metrics,
    tls::{self, ClientAuthority, TlsError, TlsFiles, TlsPort},
    trust::{TrustStore, file::FileError},
    types::{PublicKey, SharedClock, SystemClock, Timestamp},
};
use actix_web::dev::{Server, ServerHandle};
pub use registry::open_registry;
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod arrivals;
mod check;
mod discovery;
mod engine;
mod events;
mod guarded;
mod inventory;
mod keys;
mod lattice;
mod listeners;
mod local;
mod own_id;
mod pairing;
mod registry;
mod requests;
mod serving;
mod traces;
mod trust;

pub use crate::guard::{connections_within, descriptors_for};
pub use check::check;
pub use engine::kept_plain_http_peers;
pub use inventory::{MissingFile, StateFile, check_file, forget_file, missing_files, state_files};
pub use keys::REGISTRY_ONLY;
pub use lattice::{
    Adopted, EditAccess, JournalStanding, accept_nodes, adopt, are_copies, check_marker, edit_access, has_service,
    journal_standing, open_idle, open_unless_busy,
};
pub use listeners::{listen, listen_further};
pub use local::local_url;
pub use own_id::own_id;
pub use trust::AUDIT_FILE;

/// Why an application does not start. Each is one clear line.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// A setting is not usable.
    #[error("settings: {0}")]
    Settings(#[from] SettingsError),
    /// The state directory cannot be made or locked.
    #[error("state directory {}: {problem}", path.display())]
    State {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The key cannot be used.
    #[error("key: {0}")]
    Key(String),
    /// The registry cannot be opened.
    #[error("registry: {0}")]
    Registry(String),
    /// The lattice cannot be opened.
    #[error("lattice: {0}")]
    Lattice(String),
    /// What is known of peers cannot be read, or a peer's address is not one.
    #[error("federation: {0}")]
    Federation(String),
    /// What was decided of keys cannot be read. Nothing is trusted then, and nothing distrusted, so nothing is done.
    #[error("trust: {0}")]
    Trust(#[from] FileError),
    /// The authorities cannot be used.
    #[error("settings: trust.ca_file: {}: {problem}", path.display())]
    Authorities {
        /// Their file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The port is taken, or the address is not this machine's.
    #[error(
        "cannot listen on {address}: {}; choose another address with {}, or stop what uses this one",
        listeners::reason(error),
        if *is_further { "server.also_listen (ARK__SERVER__ALSO_LISTEN)" } else { "--host and --port" }
    )]
    Listen {
        /// It is one of `server.also_listen`.
        is_further: bool,
        /// Host and port.
        address: String,
        /// What the machine says.
        error: io::Error,
    },
    /// Traces cannot be exported.
    #[error("traces: {0}")]
    Traces(String),
    /// The certificate of our own port cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The server failed.
    #[error("server: {0}")]
    Server(#[from] io::Error),
}

/// A service that listens, but does not serve yet.
pub struct Application {
    /// The port that it listens on.
    pub port: u16,
    /// Its address.
    pub address: SocketAddr,
    server: Server,
    context: Arc<Context>,
    tls: Option<(TlsPort, Duration)>,
    key_lifetime: Option<Duration>,
    metrics: Arc<Metrics>,
    deliveries: events::Deliveries,
    traces: traces::Traces,
    hand_over: requests::HandOver,
    drain_delay: Duration,
    settings: Settings,
    // Before the lock: its files are removed while the directory is still ours.
    _local: Option<LocalAccess>,
    _state_lock: File,
}

impl std::fmt::Debug for Application {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Application").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Application {
    /// Takes the state directory, the port, the lattice and the registry. The index is built while the service already answers.
    ///
    /// # Errors
    /// [`StartupError`]: one line that says what is wrong.
    pub async fn build(settings: &Settings, clock: SharedClock) -> Result<Self, StartupError> {
        let state_lock = lock_state(&settings.state.path)?;
        inventory::check_files(settings)?;
        let node_id = own_id::of_service(settings)?;
        let key = keys::load(settings)?;
        check(settings, key.as_ref().map(|held| &held.key))?;
        let stated = public_key(settings, key.as_ref().map(|held| &held.key))?;
        let metrics = Arc::new(Metrics::default());
        let (tracer, traces) = traces::open(settings, &clock, &metrics)?;
        let tls = open_tls(settings, &clock, &metrics)?;
        let listener = listen(settings)?;
        let address = listener.local_addr()?;
        let further = listeners::listen_further(settings)?;
        for listener in &further {
            tracing::info!(address = %listener.local_addr()?, "also listening (server.also_listen)");
        }
        // First: nothing is let in before it is known who may.
        let trusted = trust::open(settings, &clock)?;
        if let Some(port) = &tls {
            trust::watch_certificates(port, &trusted);
        }
        let registry = open_registry(settings, &clock, Some(Arc::<TrustStore>::clone(&trusted))).await?;
        let lattice = lattice::open_for_service(settings, &clock).await?;
        // Made only once nothing stands in the way of starting.
        let key = keys::ring(settings, key)?.map(Arc::new);
        let identity = Identity {
            node_id,
            instance_type: settings.instance.instance_type.as_str(),
            public_key: key.as_ref().map(|key| key.public_key()).or(stated),
            mode: settings.federation.mode.as_str(),
            port: address.port(),
            address: settings.federation.address.clone(),
        };
        let (nonces, hand_over) = requests::open(settings, &clock)?;
        let rates = engine::rates(settings);
        let deletions = Arc::new(DeletionGuard::open(&settings.state.path.join("deletions.json"), &clock));
        let sets = Arc::new(Sets::new(SharedClock::clone(&clock), LEAST_NODES));
        let (events, deliveries) = events::open(settings, &clock, &metrics.events())?;
        let shared_ids = Arc::new(SharedIds::open(&settings.state.path.join("shared_ids.json")));
        let engine = engine::open(
            settings,
            key.as_ref(),
            (&lattice, &sets, &deletions),
            (&trusted, &registry, &shared_ids),
            &clock,
            &rates,
            (events, &metrics, &tracer),
        )?;
        let lan = discovery::open(settings, address, engine.as_ref(), (&identity, &registry, &clock))?;
        let pairing = pairing::open(settings, address)?;
        let guard_clock = SharedClock::clone(&clock);
        let context = Arc::new(Context {
            identity,
            registry,
            lattice,
            sets,
            deletions,
            twins: Twins::default(),
            shared_ids,
            left_out: NamedVersions::default(),
            trust: trusted,
            limits: settings.limits(),
            clock,
            signer: key,
            engine,
            lan,
            rates,
            read_only: settings.federation.read_only,
            closing: CancellationToken::new(),
            authorities: trust::authorities(settings)?,
            nonces: Mutex::new(nonces),
            limiter: Limiter::new(settings.quotas(), &guard_clock),
            network: settings.network_key(),
            ids_per_key: settings.limits.ids_per_key,
            known_ids: KnownIds::default(),
            heartbeats: Heartbeats::default(),
            known_lists: KnownLists::default(),
            inbound_peers: InboundPeers::open(&settings.state.path.join("inbound.json")),
            pairing,
        });
        let local = local::issue(settings, address, tls.is_some());
        let access = local::access(settings, local.as_ref());
        let server = serving::serve(
            settings,
            (listener, further),
            Arc::clone(&context),
            (Arc::clone(&metrics), tracer),
            (tls.as_ref(), access),
        )?;
        let tls = tls.map(|port| (port, settings.server.tls_reload_interval.get()));
        // All that a first start makes is there.
        inventory::note_files(settings);
        let key_lifetime = settings.instance.key_lifetime.map(Span::get);
        let port = address.port();
        Ok(Self {
            port,
            address,
            server,
            context,
            tls,
            deliveries,
            key_lifetime,
            metrics,
            traces,
            hand_over,
            drain_delay: settings.server.drain_delay.get(),
            settings: settings.clone(),
            _local: local,
            _state_lock: state_lock,
        })
    }

    /// What its operations work on.
    #[must_use]
    pub fn context(&self) -> Arc<Context> {
        Arc::clone(&self.context)
    }

    /// Stops it from elsewhere.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    /// Serves until `stop` answers; then drains for the settings' delay, accepts no more, lets requests finish within the settings'
    /// bound, and flushes. While it drains `/ready` answers `draining`, and every answer closes its connection.
    ///
    /// # Errors
    /// The server failed.
    pub async fn run_until_stopped(self, stop: impl Future<Output = ()>) -> Result<(), StartupError> {
        let handle = self.server.handle();
        let mut server = tokio::spawn(self.server);
        let traces = self.traces.start();
        let refusals = trust::RefusalWriter::start(&self.context.trust);
        if let Some(engine) = &self.context.engine {
            engine.start();
        }
        // Dropped and so ended with this function.
        let mut watches = JoinSet::new();
        if let Some((tls, interval)) = self.tls {
            watches.spawn(tls.watch(interval));
        }
        watches.spawn(trust::tell(Arc::clone(&self.context)));
        watches.spawn(inventory::watch(self.settings.clone()));
        if let Some(engine) = &self.context.engine {
            watches.spawn(engine::warn_of_plain_http_names(Arc::clone(engine)));
            watches.spawn(Arc::clone(engine).keep_statistics());
        }
        watches.spawn(keys::watch(Arc::clone(&self.context), self.key_lifetime, self.metrics));
        self.deliveries.spawn(&mut watches, &self.context.lattice, self.context.engine.as_ref());
        let discovery = self.context.lan.clone().map(|lan| tokio::spawn(lan.run(self.context.closing.clone())));
        let outcome = tokio::select! {
            outcome = &mut server => outcome,
            () = stop => {
                // Streams without an end would keep the server waiting.
                self.context.closing.cancel();
                // Load balancers find out by /ready, and take their requests elsewhere.
                tokio::time::sleep(self.drain_delay).await;
                handle.stop(true).await;
                server.await
            }
        };
        self.context.closing.cancel();
        if let Some(discovery) = discovery {
            // It says on the network that we are gone, and waits for nobody.
            drop(discovery.await);
        }
        if let Some(engine) = &self.context.engine {
            engine.stop();
        }
        self.context.inbound_peers.flush(self.context.clock.elapsed());
        self.context.registry.close().await;
        self.context.lattice.close().await;
        self.context.deletions.save_soon().await;
        refusals.finish().await;
        self.hand_over.leave(&self.context).await;
        inventory::note_files(&self.settings);
        traces.finish().await;
        outcome.map_err(|error| io::Error::other(error.to_string()))??;
        Ok(())
    }
}

/// Builds an application, says where it listens, and serves until SIGTERM or SIGINT. Blocks; call it from no runtime. Answers the second
/// signal, where one came before the end: then requests were cut off, and the process must end now.
///
/// # Errors
/// [`StartupError`]: one line that says what is wrong.
pub fn run(settings: &Settings, announce: impl FnOnce(SocketAddr)) -> Result<Option<StopSignal>, StartupError> {
    let system = actix_web::rt::System::new();
    let outcome = system.block_on(async {
        // Before anybody is told of us: a signal from here on ends us in order.
        let mut signals = StopSignals::take()?;
        let application = Application::build(settings, SystemClock::shared()).await?;
        announce(application.address);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let drain = settings.server.drain_delay.get();
        let second = async move {
            let signal = signals.next().await.name();
            tracing::info!(signal, drain_seconds = drain.as_secs_f64(), "stopping; a second signal ends at once");
            drop(stop);
            let signal = signals.next().await;
            tracing::warn!(signal = signal.name(), "ending at once: requests under way are cut off");
            signal
        };
        tokio::select! {
            // A sender that is gone says the same as one that was used.
            outcome = application.run_until_stopped(async move { drop(stopped.await) }) => outcome.map(|()| None),
            signal = second => Ok(Some(signal)),
        }
    });
    if matches!(outcome, Ok(Some(_))) {
        // It would wait for work on its threads. What was acknowledged is on the disk.
        std::mem::forget(system);
    }
    outcome
}

/// Serves several applications in this process while `work` goes on, which gets their addresses; then stops them in order. `None`: a
/// stop signal came first, and `work` was dropped where it stood. Blocks; call it from no runtime.
///
/// # Errors
/// [`StartupError`]: one of them does not start, or did not end well.
pub fn run_while<T>(
    settings: &[Settings],
    work: impl AsyncFnOnce(Vec<SocketAddr>) -> T,
) -> Result<Option<T>, StartupError> {
    actix_web::rt::System::new().block_on(async {
        let mut signals = StopSignals::take()?;
        let (mut addresses, mut running) = (Vec::new(), Vec::new());
        for settings in settings {
            let application = Application::build(settings, SystemClock::shared()).await?;
            let (stop, told) = tokio::sync::oneshot::channel::<()>();
            addresses.push(application.address);
            // A sender that is gone says the same as one that was used.
            let service = application.run_until_stopped(async move { drop(told.await) });
            running.push((stop, tokio::task::spawn_local(service)));
        }
        let outcome = tokio::select! {
            outcome = work(addresses) => Some(outcome),
            _ = signals.next() => None,
        };
        for (stop, service) in running {
            drop(stop);
            service.await.map_err(|error| io::Error::other(error.to_string()))??;
        }
        Ok(outcome)
    })
}

/// One process at a time: two would overwrite each other's journal.
fn lock_state(path: &Path) -> Result<File, StartupError> {
    let failed = |problem: String| StartupError::State { path: path.to_owned(), problem };
    let unusable =
        |error: io::Error| failed(format!("{error}; set ARK_STATE_PATH to a directory that this user can write"));
    if !path.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
    }
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join("lock"));
    let lock = lock.map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(failed(
            "another ark-lattice process uses it; stop that one, or set ARK_STATE_PATH to another directory".into(),
        )),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error.to_string())),
    }
}

/// The key from the settings, the key file, or none.
///
/// # Errors
/// [`StartupError::Key`]: there is one, but it cannot be used.
pub fn load_key(settings: &Settings) -> Result<Option<KeyPair>, StartupError> {
    Ok(keys::load(settings)?.map(|held| held.key))
}

/// Where the key is kept; `None` where it came with the settings.
#[must_use]
pub fn key_place(settings: &Settings) -> Option<KeyPlace> {
    keys::place(settings)
}

/// The public key: stated, or that of the private key.
///
/// # Errors
/// [`StartupError::Key`]: they do not fit each other.
pub fn public_key(settings: &Settings, key: Option<&KeyPair>) -> Result<Option<PublicKey>, StartupError> {
    let stated = settings.instance.public_key.as_deref().map(PublicKey::parse).transpose();
    let stated = stated.map_err(|error| StartupError::Key(error.to_string()))?;
    match (stated, key.map(KeyPair::public_key)) {
        (Some(stated), Some(derived)) if stated != derived => Err(StartupError::Key(format!(
            "ARK_FED_PUBKEY is {stated}, but the private key's public key is {derived}: unset one or correct it"
        ))),
        (stated, derived) => Ok(derived.or(stated)),
    }
}

/// Reads what the settings of the registry name, and connects to nothing.
///
/// # Errors
/// [`StartupError::Settings`]: a value, a file or a combination that cannot be used, with its key.
pub fn check_registry(settings: &Settings) -> Result<(), StartupError> {
    Servers::from_settings(&settings.registry)?;
    Ok(())
}

fn tls_files(settings: &Settings) -> Result<Option<TlsFiles>, StartupError> {
    let files = settings.tls_files()?;
    Ok(files.map(|(certificate, key)| TlsFiles { certificate: certificate.to_owned(), key: key.to_owned() }))
}

/// Until when our own certificate is valid, where the port speaks TLS.
///
/// # Errors
/// [`StartupError::Tls`]: it cannot be used with its key.
pub fn check_tls(settings: &Settings) -> Result<Option<Timestamp>, StartupError> {
    let files = tls_files(settings)?;
    // Without TLS nobody is asked for a certificate; the settings refuse to have the one without the other.
    if let Some(authority) = client_authority(settings).filter(|_| files.is_some()) {
        tls::check_clients(&authority)?;
    }
    outgoing_tls(settings)?;
    Ok(files.map(|files| files.check()).transpose()?)
}

fn client_authority(settings: &Settings) -> Option<ClientAuthority> {
    let required = settings.server.tls_client_required;
    settings.server.tls_client_ca.clone().map(|path| ClientAuthority { path, required })
}

/// What we show other instances, and whose word counts on who they are; `None`: the settings say nothing of it.
///
/// # Errors
/// [`StartupError::Tls`]: a file cannot be used.
pub fn outgoing_tls(settings: &Settings) -> Result<Option<rustls::ClientConfig>, StartupError> {
    let roots = settings.federation.tls_ca.as_deref();
    let pair = shown_certificate(settings)?;
    if roots.is_none() && pair.is_none() {
        return Ok(None);
    }
    Ok(Some(tls::client_config(roots, pair)?))
}

fn shown_certificate(settings: &Settings) -> Result<Option<TlsFiles>, StartupError> {
    let files = settings.client_tls_files()?;
    Ok(files.map(|(certificate, key)| TlsFiles { certificate: certificate.to_owned(), key: key.to_owned() }))
}

/// The certificate of our own port, where it speaks TLS.
fn open_tls(settings: &Settings, clock: &SharedClock, metrics: &Arc<Metrics>) -> Result<Option<TlsPort>, StartupError> {
    let Some(files) = tls_files(settings)? else { return Ok(None) };
    Ok(Some(TlsPort::open(files, client_authority(settings), Arc::clone(clock), Arc::clone(metrics))?))
}
