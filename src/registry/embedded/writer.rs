//! The one thread that writes. It takes what is queued, checks all of it, appends it to the log with one fsync, and only then answers
//! (group commit). What a log cannot say goes to the redb file in one transaction; that is also brought up to date from time to time.

use super::{
    batch::{Done, Outcome, Seats, append_rows, write_pending, write_rows},
    failure::StoreError,
    mirror::{Live, Mirror, OwnClock, millis},
    rows::{EntryRow, encode_entry, shown_in},
    store::Store,
    sweep::Sweep,
};
use crate::{
    registry::{Bound, KnownPeers, PlaceLimits, Registered, RegistryError, StoreFault, StoreState, places::Place},
    trust::{self, Admitted, KeyLine, Pin, Step},
    types::{PeerId, PublicKey, Timestamp},
};
use bytes::Bytes;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Most registrations that share an fsync: few enough to answer soon.
const BATCH: usize = 256;
/// From so many at once on, there are more to come while one waits for them: they share an fsync, which costs more than they do.
const CROWD: usize = 4;
/// How many are worth one fsync, what it is waited for at a time, and how many have to come meanwhile so that it is waited on. Nobody
/// waits who comes alone.
const ENOUGH: usize = 32;
const PAUSE: Duration = Duration::from_micros(1500);
const MORE: usize = 8;
/// How late the redb file knows of what happened. A crash loses at most so much of the time to live that a heartbeat gave, and the log
/// has the rest.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// What the options say of entries and bindings.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) ttl: Duration,
    pub(super) limits: PlaceLimits,
    pub(super) unused_ttl: Duration,
    pub(super) known: Arc<dyn KnownPeers>,
}

/// What calls and writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) clock: OwnClock,
    pub(super) bounds: Bounds,
    mirror: Mutex<Mirror>,
    /// How many ids each key has.
    ids_of: Mutex<HashMap<PublicKey, u64>>,
    fault: Mutex<Option<StoreState>>,
}

impl Shared {
    pub(super) fn new(
        store: Store,
        clock: OwnClock,
        bounds: Bounds,
        (mirror, ids_of): (Mirror, HashMap<PublicKey, u64>),
    ) -> Self {
        let (mirror, ids_of) = (Mutex::new(mirror), Mutex::new(ids_of));
        Self { store, clock, bounds, mirror, ids_of, fault: Mutex::default() }
    }

    /// How many ids were bound to a key first.
    pub(super) fn ids_of(&self, key: PublicKey) -> u64 {
        self.ids_of.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied().unwrap_or_default()
    }

    /// How many ids are bound.
    pub(super) fn ids(&self) -> u64 {
        self.ids_of.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    fn note_id_of(&self, key: PublicKey) {
        let mut ids_of = self.ids_of.lock().unwrap_or_else(PoisonError::into_inner);
        let count = ids_of.entry(key).or_default();
        *count = count.saturating_add(1);
    }

    /// One id less is bound to this key.
    pub(super) fn forget_id_of(&self, key: PublicKey) {
        let mut ids_of = self.ids_of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = ids_of.get_mut(&key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                ids_of.remove(&key);
            }
        }
    }

    /// Why the last write failed, for people.
    pub(super) fn fault(&self) -> Option<StoreState> {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_fault(&self, fault: Option<StoreState>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Held for in-memory work only. Each change to the mirror leaves it whole, so a panic elsewhere does not spoil it.
    pub(super) fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be registered. The row is made where the manifest is at hand, and that is given back there: the writer has only this.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) peer: PeerId,
    pub(super) pin: Pin,
    pub(super) binding: trust::Binding,
    /// With its entry and its envelope, however long that is.
    pub(super) row: Vec<u8>,
    /// What it takes, and on whose account.
    pub(super) place: Place,
    pub(super) known_peers: u64,
}

impl Registration {
    pub(super) fn of(admitted: &Admitted, now: Timestamp, ttl: Duration) -> Self {
        let verified = admitted.manifest();
        let (manifest, pin) = (verified.get(), Pin::of(verified));
        let entry = EntryRow {
            instance_type: manifest.instance_type(),
            summary: manifest.summary().as_bytes(),
            last_seen: now,
            expires_at_ms: now.plus(ttl).millis(),
            envelope: Some(verified.received()),
        };
        let row = encode_entry(manifest.peer().as_str(), &pin, &entry);
        let (place, known_peers) = (Place::of(admitted, row.len()), admitted.standing().known_peers);
        Self { peer: manifest.peer().clone(), pin, binding: admitted.binding(), row, place, known_peers }
    }
}

/// A key that an id is bound to: by its statements that were followed, or because it is bound to none.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) peer: PeerId,
    /// What they were judged against.
    pub(super) before: Option<Bound>,
    pub(super) public_key: PublicKey,
    pub(super) line: Option<KeyLine>,
}

type Answer<T> = oneshot::Sender<Result<T, RegistryError>>;

/// What is to be written, and who waits for its answer.
#[derive(Debug)]
pub(super) enum Job {
    Register(Box<Registration>, Answer<Registered>),
    Bind(Box<Binding>, Answer<bool>),
}

impl Job {
    pub(super) fn peer(&self) -> &PeerId {
        match self {
            Self::Register(registration, _) => &registration.peer,
            Self::Bind(binding, _) => &binding.peer,
        }
    }

    /// What its entry would take.
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::Register(registration, _) => Some(&registration.place),
            Self::Bind(..) => None,
        }
    }
}

/// Writes until `stop`, then what is still queued, then closes the files.
pub(super) async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Job>, stop: CancellationToken) {
    let mut writer = Writer { shared: &shared, state: State::Well, flushed: Instant::now(), sweep: Sweep::default() };
    let mut jobs = Vec::with_capacity(BATCH);
    loop {
        let stopping = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            received = queue.recv_many(&mut jobs, BATCH) => received == 0,
            () = tokio::time::sleep(FLUSH_EVERY) => false,
        };
        if stopping {
            break;
        }
        let is_crowd = jobs.len() >= CROWD;
        writer.write(std::mem::take(&mut jobs));
        if is_crowd {
            wait_for_others(&queue);
        }
    }
    queue.close();
    while let Ok(job) = queue.try_recv() {
        jobs.push(job);
    }
    writer.write(jobs);
    writer.settle();
    shared.store.close();
}

/// The writer has a thread and a runtime of its own: nobody else waits here, and none of those who come meanwhile wakes it. The runtime's
/// timer would make two milliseconds of one.
#[expect(clippy::disallowed_methods, reason = "a pause, on a thread that is there for blocking")]
fn wait_for_others(queue: &mpsc::Receiver<Job>) {
    let mut waiting = 0;
    loop {
        std::thread::sleep(PAUSE);
        let now = queue.len();
        if now >= ENOUGH || now.saturating_sub(waiting) < MORE {
            break;
        }
        waiting = now;
    }
}

/// What the next write has to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing.
    Well,
    /// A write failed: the log may hold what nobody was told of. All goes to the file until that worked once.
    Doubtful,
    /// And the files could not be opened since.
    Shut,
}

struct Writer<'a> {
    shared: &'a Shared,
    state: State,
    /// When the file was brought up to date.
    flushed: Instant,
    sweep: Sweep,
}

impl Writer<'_> {
    /// Writes one batch and answers it. After a failure the files are opened anew first.
    fn write(&mut self, jobs: Vec<Job>) {
        if self.state == State::Shut {
            if let Err(error) = self.shared.store.reopen() {
                let fault = || StoreFault::new(StoreState::Unwritable, error.to_string()).into();
                return answer_all(jobs, fault);
            }
            self.state = State::Doubtful;
        }
        if !jobs.is_empty() {
            match self.append(&jobs) {
                Some(outcomes) => acknowledge(self.shared, jobs, outcomes),
                None => return self.write_through(jobs),
            }
        }
        let (is_behind, is_cramped) = (self.shared.store.is_behind(), self.shared.store.is_cramped());
        let is_quiet = !is_behind && self.flushed.elapsed() >= FLUSH_EVERY;
        if is_behind || is_quiet && !self.is_up_to_date() {
            self.write_through(Vec::new());
        } else if self.state == State::Well && self.sweep.is_due(self.shared) {
            self.sweep();
        } else if self.shared.fault().is_some() && self.shared.store.probe().is_ok() {
            self.shared.note_fault(None);
        }
        // In a crowd the log soon takes again what it would give back of the disk, which costs more than writing over it.
        if is_quiet || is_cramped {
            self.shared.store.trim();
        }
    }

    /// Removes bindings of strangers that were not used for long. What fails is tried again with the next part.
    fn sweep(&mut self) {
        let shared = self.shared;
        let part = match self.sweep.next(shared) {
            Ok(part) => part,
            Err(error) => {
                return tracing::warn!(registry.kind = "embedded", ?error, "unused bindings cannot be looked for");
            }
        };
        if part.is_empty() {
            return;
        }
        match shared.store.write(|tables| part.write(tables)) {
            Ok(()) => part.forget(shared),
            Err(error) => self.failed(error, Vec::new()),
        }
    }

    /// Is there nothing that the file does not know?
    fn is_up_to_date(&self) -> bool {
        self.shared.store.is_up_to_date() && !self.shared.mirror().has_pending(self.shared.clock.now_ms())
    }

    /// By the log alone; `None` where the file must be written as well.
    fn append(&mut self, jobs: &[Job]) -> Option<Vec<Outcome>> {
        if self.state != State::Well {
            return None;
        }
        let seats =
            Seats::before(&mut self.shared.mirror(), jobs, self.shared.clock.now_ms(), self.shared.bounds.limits);
        match append_rows(self.shared, jobs, seats) {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // The redb file may still have room where the log has none, but takes nothing more once a write to it failed.
                tracing::debug!(registry.kind = "embedded", ?error, "the registry's log cannot be written");
                self.state = if self.shared.store.reopen().is_ok() { State::Doubtful } else { State::Shut };
                None
            }
        }
    }

    /// By the file: brings it up to date with the log, with what expired and was renewed, and with these jobs.
    fn write_through(&mut self, jobs: Vec<Job>) {
        let (shared, now_ms) = (self.shared, self.shared.clock.now_ms());
        let (pending, seats) = {
            let mut mirror = shared.mirror();
            let pending = mirror.take_pending(now_ms);
            (pending, Seats::before(&mut mirror, &jobs, now_ms, shared.bounds.limits))
        };
        self.flushed = Instant::now();
        match shared.store.write(|tables| write_rows(tables, shared, &pending, &jobs, seats)) {
            Ok(outcomes) => {
                self.state = State::Well;
                shared.note_fault(None);
                acknowledge(shared, jobs, outcomes);
            }
            Err(error) => {
                shared.mirror().put_back(pending);
                self.failed(error, jobs);
            }
        }
    }

    fn failed(&mut self, error: StoreError, jobs: Vec<Job>) {
        if self.shared.fault().is_none() {
            tracing::error!(registry.kind = "embedded", error = ?error, "the registry file cannot be written");
        }
        // Whether a failed fsync took effect is not known: `Unavailable` says so, and a repetition finds out. Of a full disk it
        // is known that it did not.
        let (full, untouched) = (matches!(error, StoreError::Full), matches!(error, StoreError::ReadOnly(_)));
        let reason = error.reason();
        self.shared.note_fault(Some(if full { StoreState::DiskFull } else { StoreState::Unwritable }));
        // At once: until then nobody can read either.
        let usable = untouched || self.shared.store.reopen().is_ok();
        self.state = if usable { State::Doubtful } else { State::Shut };
        let error = || {
            if full { RegistryError::NoSpace } else { StoreFault::new(StoreState::Unwritable, reason.clone()).into() }
        };
        answer_all(jobs, error);
    }

    /// Leaves a file that knows all and is whole without its log, where that can be.
    fn settle(&self) {
        if self.state == State::Shut || (self.is_up_to_date() && self.shared.store.is_settled()) {
            return;
        }
        let pending = self.shared.mirror().take_pending(self.shared.clock.now_ms());
        if let Err(error) = self.shared.store.settle(|tables| write_pending(tables, self.shared, &pending)) {
            tracing::warn!(registry.kind = "embedded", ?error, "the registry's log is left for the next start");
        }
    }
}

/// Who has his answer still to get.
enum Waiting {
    Register(Answer<Registered>, Result<Registered, RegistryError>),
    Bind(Answer<bool>, Result<bool, RegistryError>),
}

/// Shows what is durable now, then answers: who has an answer also sees its effect.
fn acknowledge(shared: &Shared, jobs: Vec<Job>, outcomes: Vec<Outcome>) {
    let expires_at_ms = shared.clock.now_ms().saturating_add(millis(shared.bounds.ttl));
    let last_seen = shared.clock.wall();
    let mut answers = Vec::with_capacity(jobs.len());
    {
        let mut mirror = shared.mirror();
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            answers.push(match (job, outcome) {
                (Job::Register(registration, answer), Ok(Done::Registered(step))) => {
                    let Registration { peer, pin, row, place, .. } = *registration;
                    if step == Step::First {
                        shared.note_id_of(pin.public_key);
                    }
                    let (instance_type, summary) = shown_in(&row).unwrap_or_default();
                    mirror.put(
                        &peer,
                        Live {
                            public_key: pin.public_key,
                            digest: pin.digest,
                            issued_at: pin.issued_at,
                            instance_type: instance_type.map(Box::from),
                            summary: Bytes::copy_from_slice(summary),
                            last_seen,
                            expires_at_ms,
                            bytes: place.bytes,
                            stranger: place.stranger,
                        },
                    );
                    Waiting::Register(answer, Ok(Registered { step, expires_in: shared.bounds.ttl }))
                }
                (Job::Bind(binding, answer), Ok(Done::Bound { taken, gone })) => {
                    if gone {
                        mirror.remove(&binding.peer);
                    }
                    Waiting::Bind(answer, Ok(taken))
                }
                (Job::Register(_, answer), Err(error)) => Waiting::Register(answer, Err(error)),
                (Job::Bind(_, answer), Err(error)) => Waiting::Bind(answer, Err(error)),
                // Each job has the outcome of its own kind.
                (Job::Register(..) | Job::Bind(..), Ok(_)) => continue,
            });
        }
    }
    for waiting in answers {
        // A caller that went away needs no answer.
        match waiting {
            Waiting::Register(answer, outcome) => drop(answer.send(outcome)),
            Waiting::Bind(answer, outcome) => drop(answer.send(outcome)),
        }
    }
}

fn answer_all(jobs: Vec<Job>, error: impl Fn() -> RegistryError) {
    for job in jobs {
        match job {
            Job::Register(_, answer) => drop(answer.send(Err(error()))),
            Job::Bind(_, answer) => drop(answer.send(Err(error()))),
        }
    }
}
