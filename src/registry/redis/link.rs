//! Connections: some that all calls share, a bounded pool of others, a deadline on every call, and a breaker that answers at once while Redis is gone.

use super::{
    RedisConfigError, RedisOptions,
    call::{Call, Script},
    conditions::Conditions,
    faults::{Fault, fault, means_gone, pool_error, registry_error, state, unavailable},
    keys::Keys,
    lines::{Borrowed, Lines, NoLine},
    tls,
    topology::{Connection, Topology},
    watch::watch,
};
use crate::registry::{RegistryError, StoreFault, StoreState};
use deadpool::{
    Runtime,
    managed::{Object, Pool, Timeouts},
};
use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long a call waits for a free connection: a crowd is served one after the other, as long as Redis answers.
const POOL_WAIT: Duration = Duration::from_millis(600);
/// How long a new connection may take, with its handshake and, where there are Sentinels, with asking them.
pub(super) const CONNECT: Duration = Duration::from_millis(800);
/// How long an idle connection may take to show that it lives.
const RECYCLE: Duration = Duration::from_millis(400);
/// How long one answer may take, chosen for a script with a large manifest.
pub(super) const RESPONSE: Duration = Duration::from_millis(1000);
/// How long a call may take in all: the port promises about two seconds.
pub(super) const CALL: Duration = Duration::from_millis(1500);
/// How long replicas may take to have a write; within [`RESPONSE`].
const REPLICAS: Duration = Duration::from_millis(600);
/// What to ask.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    Read(&'a Call<'a>),
    /// Several at once, over one connection; the answers come as an array.
    ReadAll(&'a [Call<'a>]),
    /// Answered once as many replicas as the settings ask for have it.
    Write(&'a Call<'a>),
}

impl<'a> Ask<'a> {
    /// The calls that it is made of.
    fn calls(self) -> &'a [Call<'a>] {
        match self {
            Self::Read(call) | Self::Write(call) => std::slice::from_ref(call),
            Self::ReadAll(calls) => calls,
        }
    }
}

/// What calls and the watch share.
pub(super) struct Shared {
    lines: Lines,
    /// For calls that need a connection of their own: those that wait for replicas, which keeps whoever is behind them waiting too.
    pool: Pool<Topology>,
    /// No call is made: Redis cannot be used.
    open: AtomicBool,
    /// Why, while that is so.
    outage: Mutex<Option<Outage>>,
    greeting: tokio::sync::Mutex<()>,
    /// What it refuses while it answers.
    pub(super) conditions: Conditions,
    /// The breaker opened, or a state began.
    pub(super) woken: Notify,
    pub(super) stop: CancellationToken,
    /// What shows that Redis works: answered by every server that we depend on.
    proof: Vec<Cmd>,
    min_replicas: u32,
    pub(super) keys: Keys,
    pub(super) probe: Script,
    pub(super) fits: Script,
}

/// While the breaker is open.
struct Outage {
    fault: StoreFault,
    /// The states that were logged: a server that restarts goes through several, and some of them alternate.
    logged: Vec<StoreState>,
}

/// A connection for one call.
pub(super) enum Held {
    Line(Borrowed),
    Own(Object<Topology>),
}

impl Held {
    pub(super) fn connection(&mut self) -> &mut Connection {
        match self {
            Self::Line(line) => &mut line.connection,
            Self::Own(own) => own,
        }
    }
}

/// A way to Redis.
pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    watch: Mutex<Option<JoinHandle<()>>>,
}

impl Link {
    /// Checks the options and starts the watch, which connects.
    pub(super) fn new(options: &RedisOptions, keys: Keys, proof: Vec<Cmd>) -> Result<Self, RedisConfigError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| RedisConfigError::NoRuntime)?;
        tls::install_provider();
        let topology = Topology::new(&options.servers).map_err(|_| RedisConfigError::Url)?;
        let pool = Pool::builder(topology)
            .max_size(options.pool_size.max(1))
            .timeouts(Timeouts { wait: Some(POOL_WAIT), create: Some(CONNECT), recycle: Some(RECYCLE) })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| RedisConfigError::NoRuntime)?;
        let shared = Arc::new(Shared {
            lines: Lines::new(options.pool_size),
            pool,
            open: AtomicBool::new(false),
            outage: Mutex::default(),
            greeting: tokio::sync::Mutex::default(),
            conditions: Conditions::default(),
            woken: Notify::new(),
            stop: CancellationToken::new(),
            proof,
            min_replicas: options.min_replicas,
            keys,
            probe: Script::new(include_str!("probe.lua")),
            fits: Script::new(include_str!("fits.lua")),
        });
        let watch = Mutex::new(Some(runtime.spawn(watch(Arc::clone(&shared)))));
        Ok(Self { shared, watch })
    }

    /// Asks, within the deadline.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Value, RegistryError> {
        self.shared.in_time(self.shared.try_ask(ask)).await
    }

    /// Does every server that we depend on answer?
    pub(super) async fn ping(&self) -> Result<(), RegistryError> {
        self.shared.in_time(self.shared.prove()).await
    }

    /// The states that were found and have not ended.
    pub(super) fn faults(&self) -> Vec<StoreFault> {
        let outage = self.shared.outage().as_ref().map(|outage| outage.fault.clone());
        outage.into_iter().chain(self.shared.conditions.now().into_iter().map(|condition| condition.fault)).collect()
    }

    /// The error for a key that holds what no registration could have written.
    pub(super) fn unreadable(&self, key: String, answer: &str) -> RegistryError {
        let fault = StoreFault::of_key(StoreState::Unreadable, answer, key.clone());
        self.shared.meet(&fault, &key);
        fault.into()
    }

    /// Stops the watch and closes every connection.
    pub(super) async fn close(&self) {
        self.shared.stop.cancel();
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watch) = watch {
            let _ = watch.await;
        }
        self.shared.lose_all();
        self.shared.pool.close();
    }
}

impl Drop for Link {
    /// The watch ends by itself where [`Link::close`] was not called.
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Did the server close a connection between two calls? Nothing tells of that before the next one.
fn has_died_unnoticed(held: &Held, error: &RedisError) -> bool {
    let is_used = matches!(held, Held::Line(line) if line.is_used);
    is_used && error.kind() == ErrorKind::Io && !error.is_timeout()
}

impl Shared {
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        if self.stop.is_cancelled() {
            return Err(unavailable("it is closed"));
        }
        if self.is_open() {
            // The reason of now, so that each answer names it.
            let fault = self.outage().as_ref().map(|outage| outage.fault.clone());
            return Err(fault.map_or_else(|| unavailable("Redis was not reachable a moment ago"), RegistryError::from));
        }
        match timeout(CALL, work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let error = unavailable("Redis does not answer in time");
                self.open_breaker(&error);
                Err(error)
            }
        }
    }

    /// Asks, and once more where the first server says that another one has taken over.
    pub(super) async fn try_ask(&self, ask: Ask<'_>) -> Result<Value, RegistryError> {
        let mut again = true;
        loop {
            let alone = self.min_replicas > 0 && matches!(ask, Ask::Write(_));
            let mut held = self.connection(alone).await?;
            let error = match self.exchange(held.connection(), ask).await {
                Ok(answer) => return answer,
                Err(error) => error,
            };
            let slot = ask.calls().first().map_or("", Call::key);
            match fault(&error) {
                // Every call may be made again, and this one perhaps never left.
                Fault::Gone if has_died_unnoticed(&held, &error) && std::mem::take(&mut again) => {
                    self.lose(held);
                    continue;
                }
                Fault::Gone => {
                    self.lose(held);
                    let failure = self.greeted(registry_error(&error)).await;
                    self.open_breaker(&failure);
                    return Err(failure);
                }
                Fault::Elsewhere => {
                    self.lose(held);
                    self.lose_all();
                    if std::mem::take(&mut again) {
                        continue;
                    }
                }
                Fault::Refused => {
                    let misfit = self.misfit(held.connection(), &error, ask.calls()).await;
                    if let Some(fault) = misfit {
                        self.meet(&fault, slot);
                        return Err(fault.into());
                    }
                }
                Fault::Unreadable => {}
            }
            let failure = registry_error(&error);
            if let Some(fault) = failure.fault() {
                self.meet(fault, slot);
            }
            return Err(failure);
        }
    }

    /// Which key of these calls is of another type, where the error says that one is.
    async fn misfit(&self, connection: &mut Connection, error: &RedisError, calls: &[Call<'_>]) -> Option<StoreFault> {
        if state(error) != Some(StoreState::WrongType) {
            return None;
        }
        for key in calls.iter().flat_map(|call| call.keys()) {
            if let Some(StoreState::WrongType) = self.judge_key(connection, key).await.ok().flatten() {
                return Some(StoreFault::of_key(StoreState::WrongType, error.to_string(), key.clone()));
            }
        }
        None
    }

    /// Does this key hold something that the registry did not write?
    pub(super) async fn judge_key(&self, connection: &mut Connection, key: &str) -> RedisResult<Option<StoreState>> {
        let mut call = self.fits.call(&[key]);
        call.arg(self.keys.type_of(key)).arg(if self.keys.is_pin(key) { "pin" } else { "" });
        Ok(match connection.call(&call).await? {
            Value::Int(0) => Some(StoreState::WrongType),
            Value::Int(2) => Some(StoreState::Unreadable),
            _ => None,
        })
    }

    /// A call met this state.
    pub(super) fn meet(&self, fault: &StoreFault, slot: &str) {
        if self.conditions.begin(fault, slot) {
            self.woken.notify_one();
        }
    }

    async fn exchange(&self, connection: &mut Connection, ask: Ask<'_>) -> RedisResult<Result<Value, RegistryError>> {
        match ask {
            Ask::Read(call) => connection.call(call).await.map(Ok),
            Ask::ReadAll(calls) => connection.call_all(calls).await.map(|answers| Ok(Value::Array(answers))),
            Ask::Write(call) if self.min_replicas == 0 => connection.call(call).await.map(Ok),
            Ask::Write(call) => {
                let (answer, have) = connection.call_and_wait(call, self.min_replicas, REPLICAS).await?;
                let enough = if has_written(&answer) { self.enough(have, call.key()) } else { Ok(()) };
                Ok(enough.map(|()| answer))
            }
        }
    }

    fn enough(&self, have: u32, slot: &str) -> Result<(), RegistryError> {
        if have >= self.min_replicas {
            return Ok(());
        }
        let text = format!("{have} of {} replicas have the write", self.min_replicas);
        let fault = StoreFault::new(StoreState::TooFewReplicas, text);
        self.meet(&fault, slot);
        Err(fault.into())
    }

    /// A server that takes no more clients closes the connection, and its reason may be lost on the way or be taken for the answer to
    /// the login: it is read again, from a connection on which nothing is sent.
    async fn greeted(&self, failure: RegistryError) -> RegistryError {
        let is_vague = failure
            .fault()
            .is_some_and(|fault| matches!(fault.state, StoreState::NoAnswer | StoreState::Authentication));
        if !is_vague {
            return failure;
        }
        // One of a crowd finds out for all.
        let Ok(_turn) = self.greeting.try_lock() else {
            let known = self.outage().as_ref().map(|outage| outage.fault.clone());
            return known.map_or(failure, RegistryError::from);
        };
        match self.pool.manager().refusal_at_connect().await {
            Some(error) => registry_error(&error),
            None => failure,
        }
    }

    fn outage(&self) -> MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    pub(super) async fn connection(&self, alone: bool) -> Result<Held, RegistryError> {
        let refused = if alone || !self.pool.manager().shares() {
            match self.pool.get().await {
                Ok(own) => return Ok(Held::Own(own)),
                Err(error) => error,
            }
        } else {
            match self.lines.borrow(self.pool.manager()).await {
                Ok(line) => return Ok(Held::Line(line)),
                Err(NoLine::Refused(error)) => error,
                Err(NoLine::AsBefore(error)) => {
                    // The first of the crowd knows the reason by now.
                    let outage = self.outage().as_ref().map(|outage| outage.fault.clone());
                    return Err(outage.map_or(error, RegistryError::from));
                }
            }
        };
        let gone = means_gone(&refused);
        let error = pool_error(refused);
        if !gone {
            return Err(error);
        }
        let error = self.greeted(error).await;
        self.open_breaker(&error);
        Err(error)
    }

    /// Uses this connection no more.
    fn lose(&self, held: Held) {
        match held {
            Held::Line(line) => self.lines.lose(&line),
            Held::Own(own) => drop(Object::take(own)),
        }
    }

    fn lose_all(&self) {
        self.lines.lose_all();
        let _ = self.pool.retain(|_, _| false);
    }

    /// From now on calls fail at once, until the watch finds that Redis can be used.
    fn open_breaker(&self, error: &RegistryError) {
        if let Some(fault) = error.fault() {
            self.log_outage(fault);
        }
        self.open.store(true, Ordering::Release);
        // Connections of before the outage are of no use after it.
        self.lose_all();
        self.woken.notify_one();
    }

    /// Logs why Redis cannot be used, once for each state of an outage.
    pub(super) fn log_outage(&self, fault: &StoreFault) {
        let mut outage = self.outage();
        let outage = outage.get_or_insert_with(|| Outage { fault: fault.clone(), logged: Vec::new() });
        outage.fault = fault.clone();
        if !outage.logged.contains(&fault.state) {
            outage.logged.push(fault.state);
            tracing::warn!(
                registry.kind = "redis",
                registry.state = fault.state.code(),
                error = fault.answer,
                next = fault.advice,
                "Redis cannot be used; calls fail at once until it can: {}",
                fault.state.summary()
            );
        }
    }

    pub(super) fn close_breaker(&self) {
        *self.outage() = None;
        if self.open.swap(false, Ordering::AcqRel) {
            tracing::info!(registry.kind = "redis", "Redis answers again");
        }
    }

    /// Asks every server that we depend on. A state in which it only refuses writes is met, and no reason to use it no more.
    pub(super) async fn prove(&self) -> Result<(), RegistryError> {
        let mut held = self.connection(false).await?;
        let mut again = true;
        for command in &self.proof {
            let mut outcome = held.connection().send(command).await;
            if let Err(error) = &outcome
                && has_died_unnoticed(&held, error)
                && std::mem::take(&mut again)
            {
                self.lose(held);
                held = self.connection(false).await?;
                outcome = held.connection().send(command).await;
            }
            let Err(error) = outcome else { continue };
            // Whatever comes instead of the answer, Redis cannot be used.
            let failure = match registry_error(&error) {
                RegistryError::Corrupt(text) => RegistryError::no_answer(text),
                other => other,
            };
            match failure.fault() {
                // Redis refuses even a PING then; reading goes on.
                Some(fault) if fault.state == StoreState::NotPersisting => {
                    self.meet(fault, "");
                    continue;
                }
                Some(fault) if fault.state == StoreState::Busy => self.meet(fault, ""),
                _ => {}
            }
            self.lose(held);
            let gone = matches!(fault(&error), Fault::Gone | Fault::Elsewhere);
            let failure = if gone { self.greeted(failure).await } else { failure };
            if gone {
                self.open_breaker(&failure);
            }
            return Err(failure);
        }
        Ok(())
    }
}

/// The scripts that write say `ok` when they have; a refusal needs no replica.
fn has_written(answer: &Value) -> bool {
    matches!(answer, Value::Array(words) if matches!(words.first(), Some(Value::BulkString(word)) if word == b"ok"))
}
