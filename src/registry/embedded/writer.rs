//! The one thread that writes. It takes what is queued, checks and writes all of it in one transaction with one fsync, and only
//! then answers (group commit).

use super::{
    mirror::{Live, Mirror, OwnClock, Pending, millis},
    rows::EntryRow,
    store::{Store, StoreError, Tables},
};
use crate::{
    manifest::{Manifest, Verified},
    registry::{Bound, Registered, RegistryError},
    trust::{self, Admitted, KeyLine, Pin, Step},
    types::{PeerId, PublicKey},
};
use bytes::Bytes;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Most registrations in one transaction: enough to share an fsync, few enough to answer soon.
const BATCH: usize = 256;
/// From so many at once on, there are more to come while one waits for them: they share a transaction, whose pages and fsync cost more
/// than they do.
const CROWD: usize = 4;
/// How long is waited then: twice as long as the last transaction took, within these bounds. Nobody waits who comes alone.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(4);
/// How late a heartbeat's renewal reaches the file where no registration takes it along. A crash loses at most this much of an
/// entry's time to live, never its binding.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// What calls and writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) clock: OwnClock,
    pub(super) ttl: Duration,
    pub(super) max_peers: u64,
    mirror: Mutex<Mirror>,
    /// How many ids each key has.
    ids_of: Mutex<HashMap<PublicKey, u64>>,
    fault: Mutex<Option<&'static str>>,
}

impl Shared {
    pub(super) fn new(
        store: Store,
        clock: OwnClock,
        ttl: Duration,
        max_peers: u64,
        (mirror, ids_of): (Mirror, HashMap<PublicKey, u64>),
    ) -> Self {
        let (mirror, ids_of) = (Mutex::new(mirror), Mutex::new(ids_of));
        Self { store, clock, ttl, max_peers, mirror, ids_of, fault: Mutex::default() }
    }

    /// How many ids were bound to a key first.
    pub(super) fn ids_of(&self, key: PublicKey) -> u64 {
        self.ids_of.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied().unwrap_or_default()
    }

    fn note_id_of(&self, key: PublicKey) {
        let mut ids_of = self.ids_of.lock().unwrap_or_else(PoisonError::into_inner);
        let count = ids_of.entry(key).or_default();
        *count = count.saturating_add(1);
    }

    /// Why the last write failed, for people.
    pub(super) fn fault(&self) -> Option<&'static str> {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_fault(&self, fault: Option<&'static str>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Held for in-memory work only. Each change to the mirror leaves it whole, so a panic elsewhere does not spoil it.
    pub(super) fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be registered. What must be made of it is made by the writer: the server's threads have more to do.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) manifest: Verified<Manifest>,
    pub(super) binding: trust::Binding,
}

impl Registration {
    pub(super) fn of(admitted: &Admitted) -> Self {
        Self { manifest: admitted.manifest().clone(), binding: admitted.binding() }
    }

    fn peer(&self) -> &PeerId {
        self.manifest.get().peer()
    }
}

/// A key's statements that were followed.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) peer: PeerId,
    /// What they were judged against.
    pub(super) before: Option<Bound>,
    pub(super) line: KeyLine,
}

type Answer<T> = oneshot::Sender<Result<T, RegistryError>>;

/// What is to be written, and who waits for its answer.
#[derive(Debug)]
pub(super) enum Job {
    Register(Registration, Answer<Registered>),
    Bind(Box<Binding>, Answer<bool>),
}

impl Job {
    fn peer(&self) -> &PeerId {
        match self {
            Self::Register(registration, _) => registration.peer(),
            Self::Bind(binding, _) => &binding.peer,
        }
    }
}

/// Writes until `stop`, then what is still queued, then closes the file.
pub(super) async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Job>, stop: CancellationToken) {
    let mut healthy = true;
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
        let (is_crowd, began) = (jobs.len() >= CROWD, Instant::now());
        healthy = write_batch(&shared, std::mem::take(&mut jobs), healthy);
        if is_crowd {
            rest(began.elapsed().saturating_mul(2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
        }
    }
    queue.close();
    while let Ok(job) = queue.try_recv() {
        jobs.push(job);
    }
    write_batch(&shared, jobs, healthy);
    shared.store.close();
}

/// The writer has a thread and a runtime of its own: nobody else waits here, and none of those who come meanwhile wakes it. The runtime's
/// timer would make two milliseconds of one.
#[expect(clippy::disallowed_methods, reason = "a pause, on a thread that is there for blocking")]
fn rest(pause: Duration) {
    std::thread::sleep(pause);
}

/// Writes one batch and answers it; says whether the file is well. After a failure the file is opened anew first.
fn write_batch(shared: &Shared, jobs: Vec<Job>, healthy: bool) -> bool {
    if !healthy && let Err(error) = shared.store.reopen() {
        answer_all(jobs, || RegistryError::Unavailable(error.to_string()));
        return false;
    }
    let now_ms = shared.clock.now_ms();
    let (pending, seats) = {
        let mut mirror = shared.mirror();
        let pending = mirror.take_pending(now_ms);
        (pending, Seats::before(&mut mirror, &jobs, now_ms, shared.max_peers))
    };
    if jobs.is_empty() && pending.is_empty() {
        if shared.fault().is_some() && shared.store.probe().is_ok() {
            shared.note_fault(None);
        }
        return true;
    }
    match shared.store.write(|tables| write_rows(tables, shared, &pending, &jobs, seats)) {
        Ok(outcomes) => {
            shared.note_fault(None);
            acknowledge(shared, jobs, outcomes);
            true
        }
        Err(error) => {
            if shared.fault().is_none() {
                tracing::error!(registry.kind = "embedded", error = ?error, "the registry file cannot be written");
            }
            shared.mirror().put_back(pending);
            // Whether a failed fsync took effect is not known: `Unavailable` says so, and a repetition finds out. Of a full disk it
            // is known that it did not.
            let (full, untouched) = (matches!(error, StoreError::Full), matches!(error, StoreError::ReadOnly(_)));
            let reason = error.reason();
            shared.note_fault(Some(if full { "its disk is full" } else { "its file cannot be written" }));
            // At once: until then nobody can read either.
            let usable = untouched || shared.store.reopen().is_ok();
            let error = || if full { RegistryError::NoSpace } else { RegistryError::Unavailable(reason.clone()) };
            answer_all(jobs, error);
            usable
        }
    }
}

/// Which ids of a batch need a new place among the live entries, and whether there is one.
struct Seats {
    live: u64,
    limit: u64,
    seated: HashSet<PeerId>,
}

impl Seats {
    fn before(mirror: &mut Mirror, jobs: &[Job], now_ms: i64, limit: u64) -> Self {
        let seated = jobs.iter().map(Job::peer).filter(|peer| mirror.is_live(peer, now_ms)).cloned().collect();
        Self { live: mirror.count(now_ms), limit, seated }
    }

    /// Takes a place for `peer`; `false` where all are taken.
    fn take(&mut self, peer: &PeerId) -> bool {
        if self.seated.contains(peer) {
            return true;
        }
        if self.live >= self.limit {
            return false;
        }
        self.live += 1;
        self.seated.insert(peer.clone())
    }
}

/// What became of a job.
enum Done {
    Registered(Step),
    /// Whether the id was still bound as it was judged; and whether its entry went.
    Bound {
        taken: bool,
        gone: bool,
    },
}

type Outcome = Result<Done, RegistryError>;

fn write_rows(
    tables: &mut Tables<'_>,
    shared: &Shared,
    pending: &Pending,
    jobs: &[Job],
    mut seats: Seats,
) -> Result<Vec<Outcome>, StoreError> {
    // Before the registrations: one of them may bring an expired id back.
    for peer in &pending.gone {
        tables.remove(peer)?;
    }
    for (peer, last_seen) in &pending.renewed {
        tables.put_renewed(peer, *last_seen, last_seen.plus(shared.ttl))?;
    }
    let now = shared.clock.wall();
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs {
        let outcome = match job {
            Job::Register(registration, _) => {
                register(tables, registration, &mut seats, now, shared.ttl).map(|done| done.map(Done::Registered))
            }
            Job::Bind(binding, _) => bind(tables, binding).map(Ok),
        };
        match outcome {
            Ok(outcome) => outcomes.push(outcome),
            // One broken binding is its owner's trouble, not that of the others in the batch.
            Err(StoreError::Corrupt(reason)) => outcomes.push(Err(RegistryError::Corrupt(reason))),
            Err(error) => return Err(error),
        }
    }
    Ok(outcomes)
}

/// The outer error ends the batch, the inner one answers the job.
fn register(
    tables: &mut Tables<'_>,
    registration: &Registration,
    seats: &mut Seats,
    now: crate::types::Timestamp,
    ttl: Duration,
) -> Result<Result<Step, RegistryError>, StoreError> {
    let (peer, manifest) = (registration.peer(), registration.manifest.get());
    let pin = Pin::of(&registration.manifest);
    let (newest, line) = (tables.pin(peer)?, tables.line(peer)?);
    let step = match Pin::step_in_line(newest.as_ref(), line.as_ref(), &pin, registration.binding) {
        Ok(step) => step,
        Err(refusal) => return Ok(Err(refusal.into())),
    };
    if !seats.take(peer) {
        return Ok(Err(RegistryError::Full { limit: seats.limit }));
    }
    if line.is_some_and(|line| line.public_key != pin.public_key) {
        tables.drop_line(peer)?;
    }
    let entry = EntryRow {
        instance_type: manifest.instance_type(),
        summary: manifest.summary().as_bytes(),
        last_seen: now,
        expires_at_ms: now.plus(ttl).millis(),
        envelope: Some(registration.manifest.received()),
    };
    tables.put(peer, &pin, entry)?;
    Ok(Ok(step))
}

fn bind(tables: &mut Tables<'_>, binding: &Binding) -> Result<Done, StoreError> {
    let Binding { peer, before, line } = binding;
    let pin = tables.pin(peer)?;
    let bound = match &pin {
        Some(pin) => Some(Bound { public_key: pin.public_key, line: tables.line(peer)? }),
        None => None,
    };
    if bound != *before {
        return Ok(Done::Bound { taken: false, gone: false });
    }
    tables.put_line(peer, line)?;
    let same_key = bound.is_some_and(|bound| bound.public_key == line.public_key);
    let gone = !same_key || line.revoked;
    if !same_key {
        tables.put_pin(peer, &Pin::fresh(line.public_key))?;
    } else if gone {
        tables.remove(peer)?;
    }
    Ok(Done::Bound { taken: true, gone })
}

/// Who has his answer still to get.
enum Waiting {
    Register(Answer<Registered>, Result<Registered, RegistryError>),
    Bind(Answer<bool>, Result<bool, RegistryError>),
}

/// Shows what is durable now, then answers: who has an answer also sees its effect.
fn acknowledge(shared: &Shared, jobs: Vec<Job>, outcomes: Vec<Outcome>) {
    let expires_at_ms = shared.clock.now_ms().saturating_add(millis(shared.ttl));
    let last_seen = shared.clock.wall();
    let mut answers = Vec::with_capacity(jobs.len());
    {
        let mut mirror = shared.mirror();
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            answers.push(match (job, outcome) {
                (Job::Register(registration, answer), Ok(Done::Registered(step))) => {
                    let (manifest, public_key) = (registration.manifest.get(), registration.manifest.public_key());
                    if step == Step::First {
                        shared.note_id_of(public_key);
                    }
                    mirror.put(
                        manifest.peer(),
                        Live {
                            public_key,
                            digest: *registration.manifest.digest(),
                            instance_type: manifest.instance_type().map(Box::from),
                            summary: Bytes::copy_from_slice(manifest.summary().as_bytes()),
                            last_seen,
                            expires_at_ms,
                        },
                    );
                    Waiting::Register(answer, Ok(Registered { step, expires_in: shared.ttl }))
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
