//! The registry without any other service: live entries in memory, all of it in a redb file, and of late in a log beside it.
//!
//! **Durability.** A first or newer statement is answered once it is on the disk (fsync), at the end of the log. After five seconds, when
//! the log is long, or on [`Registry::close`], the newest row of each id goes to the redb file and the log begins anew. A heartbeat
//! changes only the entry's time to live: it counts at once and reaches the file in the same way; a crash may lose five seconds of it.
//!
//! **Time.** Within the process deadlines follow the monotonic clock; what is written follows the wall clock. At start an entry
//! has left what the file says, but never less than nothing nor more than the whole time to live.
//!
//! **Load.** One writer thread; 1,024 registrations may wait. One more waits half a second for a place and is then answered
//! [`RegistryError::Unavailable`]. When the file fails, registrations answer `Unavailable` (`NoSpace` on a full disk), reads
//! go on, and the writer opens the file anew at once and tries again by itself until a write succeeds.

mod batch;
mod failure;
mod log;
mod mirror;
mod opened;
mod rows;
mod store;
mod sweep;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

pub use failure::OpenError;

use super::{
    Bindings, Bound, KnownPeers, PeerCursor, PeerPage, PlaceLimits, Registered, Registry, RegistryError, StoreFault,
    StoreState,
    places::{Place, Stranger},
};
use crate::{
    trust::{Admitted, KeyLine, Pin, Step},
    types::{PeerId, PublicKey, SharedClock},
};
use async_trait::async_trait;
use bytes::Bytes;
use failure::StoreError;
use mirror::{Live, Mirror, OwnClock, millis};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};
use store::Store;
use tokio::sync::{
    mpsc::{
        self,
        error::{SendTimeoutError, TrySendError},
    },
    oneshot,
};
use tokio_util::sync::CancellationToken;
use writer::{Binding, Bounds, Job, Registration, Shared};

/// Registrations that may wait for the writer.
const QUEUE: usize = 1024;
/// How long a registration waits for a place among them.
const QUEUE_WAIT: Duration = Duration::from_millis(500);
/// How long it then waits for the disk: a memory card that somebody else writes to takes some seconds, and is no registry that fails.
const ANSWER_WAIT: Duration = Duration::from_secs(8);

/// What an embedded registry needs to know.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The redb file. Its directory must exist; the file is made (mode 0600) where there is none, and its log (`.log`) beside it.
    pub path: PathBuf,
    /// How long an entry lives after its last registration.
    pub ttl: Duration,
    /// Most live entries, and what strangers may have of them.
    pub limits: PlaceLimits,
    /// A binding of a peer that is not known goes when it was not used for so long.
    pub unused_ttl: Duration,
    /// Whose bindings are kept.
    pub known: Arc<dyn KnownPeers>,
    /// Where the time comes from.
    pub clock: SharedClock,
}

/// The registry in one file. See the module's text.
#[derive(Debug)]
pub struct EmbeddedRegistry {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Job>,
    stop: CancellationToken,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedRegistry {
    /// Opens or makes the file, reads the live entries and starts the writer thread. Blocks on the disk.
    ///
    /// # Errors
    /// [`OpenError`]; a file that cannot be read is never replaced.
    pub fn open(options: EmbeddedOptions) -> Result<Self, OpenError> {
        let EmbeddedOptions { path, ttl, limits, unused_ttl, known, clock } = options;
        let store = Store::open(&path)?;
        let clock = OwnClock::start(clock);
        let loaded = mirror_of(&store, &clock, ttl, &*known)?;
        let bounds = Bounds { ttl, limits, unused_ttl, known };
        let shared = Arc::new(Shared::new(store, clock, bounds, loaded));
        let (queue, jobs) = mpsc::channel(QUEUE);
        let stop = CancellationToken::new();
        let no_thread = |error: std::io::Error| OpenError::Io { path: path.clone(), reason: error.to_string() };
        // A runtime of its own: the thread blocks on the disk, which no shared thread may.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(no_thread)?;
        let writer = std::thread::Builder::new()
            .name("registry-writer".to_owned())
            .spawn({
                let (shared, stop) = (Arc::clone(&shared), stop.clone());
                move || runtime.block_on(writer::run(shared, jobs, stop))
            })
            .map_err(no_thread)?;
        Ok(Self { shared, queue, stop, writer: Mutex::new(Some(writer)) })
    }

    fn refuse_when_closed(&self) -> Result<(), RegistryError> {
        if self.stop.is_cancelled() { Err(closed()) } else { Ok(()) }
    }

    /// A live entry's digest is that of its pin, so this is `Pin::step`'s heartbeat, without the disk.
    fn renew_in_memory(&self, admitted: &Admitted) -> Option<Registered> {
        let verified = admitted.manifest();
        let now_ms = self.shared.clock.now_ms();
        let expires_at_ms = now_ms.saturating_add(millis(self.shared.bounds.ttl));
        let (peer, pin) = (verified.get().peer(), Pin::of(verified));
        let (seen, place) = (self.shared.clock.wall(), Place::of(admitted, 0));
        let is_renewed = self.shared.mirror().renew(peer, &pin, now_ms, expires_at_ms, seen, place.stranger);
        is_renewed.then_some(Registered { step: Step::Heartbeat, expires_in: self.shared.bounds.ttl })
    }

    /// Hands a job to the writer and waits for its answer.
    async fn write<T>(
        &self,
        answered: oneshot::Receiver<Result<T, RegistryError>>,
        job: Job,
    ) -> Result<T, RegistryError> {
        // From here on the writer owns the job: dropping this future changes nothing.
        match self.queue.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(closed()),
            Err(TrySendError::Full(job)) => self.queue.send_timeout(job, QUEUE_WAIT).await.map_err(not_taken),
        }?;
        match tokio::time::timeout(ANSWER_WAIT, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(slow("the disk does not answer in time")),
        }
    }

    /// Reads from the file, on a thread that may wait for it.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || work(&shared.store));
        match tokio::time::timeout(ANSWER_WAIT, read).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) => Err(StoreFault::new(StoreState::Unwritable, "the reading thread failed").into()),
            Err(_) => Err(slow("the disk does not answer in time")),
        }
    }

    fn take_writer(&self) -> Option<JoinHandle<()>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn not_taken(error: SendTimeoutError<Job>) -> RegistryError {
    match error {
        SendTimeoutError::Closed(_) => closed(),
        SendTimeoutError::Timeout(_) => slow("too many registrations wait for the disk"),
    }
}

fn closed() -> RegistryError {
    StoreFault::new(StoreState::Closed, "it is closed").into()
}

fn slow(answer: &str) -> RegistryError {
    StoreFault::new(StoreState::SlowDisk, answer).into()
}

/// The entries of the file that still live. The rows of the others go with the writer's first batch.
fn mirror_of(
    store: &Store,
    clock: &OwnClock,
    ttl: Duration,
    known: &dyn KnownPeers,
) -> Result<(Mirror, HashMap<PublicKey, u64>), OpenError> {
    let (wall_ms, now_ms) = (clock.wall().millis(), clock.now_ms());
    let mut mirror = Mirror::default();
    let (entries, ids_of) = store.load()?;
    for entry in entries {
        let left_ms = entry.expires_at_ms.saturating_sub(wall_ms).clamp(0, millis(ttl));
        if left_ms == 0 {
            mirror.note_gone(entry.peer);
            continue;
        }
        mirror.put(
            &entry.peer,
            Live {
                public_key: entry.pin.public_key,
                digest: entry.pin.digest,
                issued_at: entry.pin.issued_at,
                instance_type: entry.instance_type,
                summary: entry.summary,
                last_seen: entry.last_seen,
                expires_at_ms: now_ms.saturating_add(left_ms),
                bytes: entry.bytes,
                stranger: (!known.is_known(&entry.peer, entry.pin.public_key)).then_some(Stranger { address: None }),
            },
        );
    }
    Ok((mirror, ids_of))
}

#[async_trait]
impl Registry for EmbeddedRegistry {
    async fn renew(&self, admitted: &Admitted) -> Result<Option<Registered>, RegistryError> {
        self.refuse_when_closed()?;
        Ok(self.renew_in_memory(admitted))
    }

    async fn register(&self, admitted: &Admitted) -> Result<Registered, RegistryError> {
        self.refuse_when_closed()?;
        if let Some(renewed) = self.renew_in_memory(admitted) {
            return Ok(renewed);
        }
        let (answer, answered) = oneshot::channel();
        let registration = Registration::of(admitted, self.shared.clock.wall(), self.shared.bounds.ttl);
        self.write(answered, Job::Register(Box::new(registration), answer)).await
    }

    async fn envelope(&self, peer: &PeerId) -> Result<Option<Bytes>, RegistryError> {
        self.refuse_when_closed()?;
        if !self.shared.mirror().is_live(peer, self.shared.clock.now_ms()) {
            return Ok(None);
        }
        let peer = peer.clone();
        self.read(move |store| store.envelope(&peer)).await
    }

    async fn bound(&self, peer: &PeerId) -> Result<Option<Bound>, RegistryError> {
        self.refuse_when_closed()?;
        let peer = peer.clone();
        self.read(move |store| store.bound(&peer)).await
    }

    async fn bind(
        &self,
        peer: &PeerId,
        before: Option<&Bound>,
        line: &KeyLine,
        _statements: &str,
    ) -> Result<bool, RegistryError> {
        self.refuse_when_closed()?;
        let (answer, answered) = oneshot::channel();
        let (peer, before, public_key) = (peer.clone(), before.cloned(), line.public_key);
        let binding = Binding { peer, before, public_key, line: Some(line.clone()) };
        self.write(answered, Job::Bind(Box::new(binding), answer)).await
    }

    async fn claim(&self, peer: &PeerId, key: PublicKey) -> Result<PublicKey, RegistryError> {
        loop {
            if let Some(bound) = self.bound(peer).await? {
                return Ok(bound.public_key);
            }
            let (answer, answered) = oneshot::channel();
            let binding = Binding { peer: peer.clone(), before: None, public_key: key, line: None };
            if self.write(answered, Job::Bind(Box::new(binding), answer)).await? {
                return Ok(key);
            }
        }
    }

    async fn bindings(&self, peer: &PeerId, key: PublicKey) -> Result<Bindings, RegistryError> {
        self.refuse_when_closed()?;
        let of_key = self.shared.ids_of(key);
        if self.shared.mirror().is_live(peer, self.shared.clock.now_ms()) {
            return Ok(Bindings { known: true, of_key });
        }
        let peer = peer.clone();
        Ok(Bindings { known: self.read(move |store| store.is_bound(&peer)).await?, of_key })
    }

    async fn list(&self, after: Option<&PeerCursor>, limit: usize) -> Result<PeerPage, RegistryError> {
        self.refuse_when_closed()?;
        Ok(self.shared.mirror().page(after, limit, self.shared.clock.now_ms()))
    }

    fn changes(&self) -> u64 {
        self.shared.mirror().changes(self.shared.clock.now_ms())
    }

    async fn live(&self) -> Result<u64, RegistryError> {
        self.refuse_when_closed()?;
        Ok(self.shared.mirror().count(self.shared.clock.now_ms()))
    }

    async fn ping(&self) -> Result<(), RegistryError> {
        // A writer that died (it never should) drops its end of the queue.
        if self.queue.is_closed() { Err(closed()) } else { self.refuse_when_closed() }
    }

    fn faults(&self) -> Vec<StoreFault> {
        self.shared.fault().map(|state| StoreFault::new(state, state.summary())).into_iter().collect()
    }

    fn kind(&self) -> &'static str {
        "embedded"
    }

    async fn close(&self) {
        self.stop.cancel();
        if let Some(writer) = self.take_writer() {
            let joined = tokio::task::spawn_blocking(move || writer.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!(registry.kind = "embedded", "the registry's writer thread failed");
            }
        }
    }
}

impl Drop for EmbeddedRegistry {
    /// Waits for the writer's last batch where [`Registry::close`] was not called: no thread outlives its owner.
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(writer) = self.take_writer() {
            let _ = writer.join();
        }
    }
}
