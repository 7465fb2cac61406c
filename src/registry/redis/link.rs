//! Connections: some that all calls share, a bounded pool of others, a deadline on every call, and a breaker that answers at once while Redis is gone.

use super::{
    RedisConfigError, RedisOptions,
    call::Call,
    faults::{Fault, fault, means_gone, pool_error, registry_error, unavailable},
    lines::{Borrowed, Lines, NoLine},
    seldom::Seldom,
    tls,
    topology::{Connection, Topology},
};
use crate::registry::RegistryError;
use deadpool::{
    Runtime,
    managed::{Object, Pool, PoolError, Timeouts},
};
use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
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
const CALL: Duration = Duration::from_millis(1500);
/// How long replicas may take to have a write; within [`RESPONSE`].
const REPLICAS: Duration = Duration::from_millis(600);
/// How often Redis is asked whether it is back; recovery takes this and one round trip.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// What to ask.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    Read(&'a Call<'a>),
    /// Several at once, over one connection; the answers come as an array.
    ReadAll(&'a [Call<'a>]),
    /// Answered once as many replicas as the settings ask for have it.
    Write(&'a Call<'a>),
}

/// What calls and the probe share.
struct Shared {
    lines: Lines,
    /// For calls that need a connection of their own: those that wait for replicas, which keeps whoever is behind them waiting too.
    pool: Pool<Topology>,
    open: AtomicBool,
    opened: Notify,
    stop: CancellationToken,
    /// What shows that Redis works: answered by every server that we depend on.
    proof: Vec<Cmd>,
}

/// A connection for one call.
enum Held {
    Line(Borrowed),
    Own(Object<Topology>),
}

impl Held {
    fn connection(&mut self) -> &mut Connection {
        match self {
            Self::Line(line) => &mut line.connection,
            Self::Own(own) => own,
        }
    }
}

/// A way to Redis.
pub(super) struct Link {
    shared: Arc<Shared>,
    min_replicas: u32,
    refusals: Seldom,
    probe: Mutex<Option<JoinHandle<()>>>,
}

impl Link {
    /// Checks the options and starts the probe; does not connect yet.
    pub(super) fn new(options: &RedisOptions, proof: Vec<Cmd>) -> Result<Self, RedisConfigError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| RedisConfigError::NoRuntime)?;
        tls::install_provider();
        let topology = Topology::new(&options.servers).map_err(|_| RedisConfigError::Url)?;
        let pool = Pool::builder(topology)
            .max_size(options.pool_size.max(1))
            .timeouts(Timeouts { wait: Some(POOL_WAIT), create: Some(CONNECT), recycle: Some(RECYCLE) })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| RedisConfigError::NoRuntime)?;
        let (stop, opened) = (CancellationToken::new(), Notify::new());
        let lines = Lines::new(options.pool_size);
        let shared = Arc::new(Shared { lines, pool, open: AtomicBool::new(false), opened, stop, proof });
        let probe = Mutex::new(Some(runtime.spawn(probe(Arc::clone(&shared)))));
        Ok(Self { shared, min_replicas: options.min_replicas, refusals: Seldom::default(), probe })
    }

    /// Asks, within the deadline.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Value, RegistryError> {
        self.in_time(self.try_ask(ask)).await
    }

    /// Does every server that we depend on answer?
    pub(super) async fn ping(&self) -> Result<(), RegistryError> {
        self.in_time(self.shared.prove()).await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
        if self.shared.stop.is_cancelled() {
            return Err(unavailable("it is closed"));
        }
        if self.shared.open.load(Ordering::Acquire) {
            return Err(unavailable("Redis was not reachable a moment ago"));
        }
        match timeout(CALL, work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let error = unavailable("Redis does not answer in time");
                self.shared.open_breaker(&error);
                Err(error)
            }
        }
    }

    /// Asks, and once more where the first server says that another one has taken over.
    async fn try_ask(&self, ask: Ask<'_>) -> Result<Value, RegistryError> {
        let mut again = true;
        loop {
            let alone = self.min_replicas > 0 && matches!(ask, Ask::Write(_));
            let mut held = self.shared.connection(alone).await?;
            let error = match self.exchange(held.connection(), ask).await {
                Ok(answer) => return answer,
                Err(error) => error,
            };
            let failure = registry_error(&error);
            match fault(&error) {
                // Every call may be made again, and this one perhaps never left.
                Fault::Gone if has_died_unnoticed(&held, &error) && std::mem::take(&mut again) => {
                    self.shared.lose(held);
                    continue;
                }
                Fault::Gone => {
                    self.shared.lose(held);
                    self.shared.open_breaker(&failure);
                }
                Fault::Elsewhere => {
                    self.shared.lose(held);
                    self.shared.lose_all();
                    if std::mem::take(&mut again) {
                        continue;
                    }
                }
                Fault::Refused => {
                    if let Some(unsaid) = self.refusals.now() {
                        tracing::warn!(registry.kind = "redis", error = %failure, unsaid, "Redis refuses what the registry asks");
                    }
                }
                Fault::Unreadable => {}
            }
            return Err(failure);
        }
    }

    async fn exchange(&self, connection: &mut Connection, ask: Ask<'_>) -> RedisResult<Result<Value, RegistryError>> {
        match ask {
            Ask::Read(call) => connection.call(call).await.map(Ok),
            Ask::ReadAll(calls) => connection.call_all(calls).await.map(|answers| Ok(Value::Array(answers))),
            Ask::Write(call) if self.min_replicas == 0 => connection.call(call).await.map(Ok),
            Ask::Write(call) => {
                let (answer, have) = connection.call_and_wait(call, self.min_replicas, REPLICAS).await?;
                Ok(if has_written(&answer) { self.enough(have).map(|()| answer) } else { Ok(answer) })
            }
        }
    }

    fn enough(&self, have: u32) -> Result<(), RegistryError> {
        if have >= self.min_replicas {
            return Ok(());
        }
        let text = format!(
            "{have} of {} replicas have the write; check the replicas or registry.redis_min_replicas",
            self.min_replicas
        );
        if let Some(unsaid) = self.refusals.now() {
            tracing::warn!(registry.kind = "redis", error = text, unsaid, "a registration is not acknowledged");
        }
        Err(RegistryError::Unavailable(text))
    }

    /// Stops the probe and closes every connection.
    pub(super) async fn close(&self) {
        self.shared.stop.cancel();
        let probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(probe) = probe {
            let _ = probe.await;
        }
        self.shared.lose_all();
        self.shared.pool.close();
    }
}

impl Drop for Link {
    /// The probe ends by itself where [`Link::close`] was not called.
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
    async fn connection(&self, alone: bool) -> Result<Held, RegistryError> {
        if alone || !self.pool.manager().shares() {
            return self.pool.get().await.map(Held::Own).map_err(|error| self.no_connection(error));
        }
        self.lines.borrow(self.pool.manager()).await.map(Held::Line).map_err(|none| match none {
            NoLine::Refused(error) => self.no_connection(error),
            NoLine::AsBefore(error) => error,
        })
    }

    fn no_connection(&self, error: PoolError<RedisError>) -> RegistryError {
        let gone = means_gone(&error);
        let error = pool_error(error);
        if gone {
            self.open_breaker(&error);
        }
        error
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

    fn open_breaker(&self, error: &RegistryError) {
        if !self.open.swap(true, Ordering::AcqRel) {
            // A wrong password also comes this way: whoever reads the line must not look for a network that is broken.
            tracing::warn!(registry.kind = "redis", %error, "Redis cannot be used; calls fail at once until it answers");
        }
        // Connections of before the outage are of no use after it.
        self.lose_all();
        self.opened.notify_one();
    }

    async fn prove(&self) -> Result<(), RegistryError> {
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
            if let Err(error) = outcome {
                self.lose(held);
                // Whatever comes instead of the answer, Redis cannot be used.
                let failure = match registry_error(&error) {
                    RegistryError::Corrupt(text) => RegistryError::Unavailable(text),
                    other => other,
                };
                if matches!(fault(&error), Fault::Gone | Fault::Elsewhere) {
                    self.open_breaker(&failure);
                }
                return Err(failure);
            }
        }
        Ok(())
    }
}

/// The scripts that write say `ok` when they have; a refusal needs no replica.
fn has_written(answer: &Value) -> bool {
    matches!(answer, Value::Array(words) if matches!(words.first(), Some(Value::BulkString(word)) if word == b"ok"))
}

/// Asks Redis whether it is back while the breaker is open.
async fn probe(shared: Arc<Shared>) {
    let work = async {
        loop {
            shared.opened.notified().await;
            let (reasons, mut last) = (Seldom::default(), String::new());
            loop {
                let reason = match timeout(CALL, shared.prove()).await {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "it does not answer in time".to_owned(),
                };
                // The first line may have named what came before the real reason, such as a wrong password after a restart.
                if reason != last && reasons.now().is_some() {
                    tracing::warn!(registry.kind = "redis", error = reason, "Redis still cannot be used");
                    last = reason;
                }
                tokio::time::sleep(PROBE_EVERY).await;
            }
            if shared.open.swap(false, Ordering::AcqRel) {
                tracing::info!(registry.kind = "redis", "Redis answers again");
            }
        }
    };
    // Cancel safe: a connection in use goes back to the pool or is closed.
    let _ = shared.stop.clone().run_until_cancelled(work).await;
}
