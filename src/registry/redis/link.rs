//! Connections: a bounded pool, a deadline on every call, and a breaker that answers at once while Redis is gone.

use super::{RedisConfigError, RedisOptions};
use crate::registry::RegistryError;
use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime, Timeouts};
use redis::{AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, ScriptInvocation, ServerErrorKind, Value};
use secrecy::ExposeSecret;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long a call waits for a free connection.
const POOL_WAIT: Duration = Duration::from_millis(300);
/// How long a new connection may take, with its handshake.
const CONNECT: Duration = Duration::from_millis(800);
/// How long an idle connection may take to show that it lives.
const RECYCLE: Duration = Duration::from_millis(400);
/// How long one answer may take. The crate's default of 500 ms is too little for a script with a large manifest.
const RESPONSE: Duration = Duration::from_millis(1000);
/// How long a call may take in all: the port promises about two seconds.
const CALL: Duration = Duration::from_millis(1500);
/// How often Redis is asked whether it is back; recovery takes this and one round trip.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// What to ask.
pub(super) enum Ask<'a> {
    Script(&'a ScriptInvocation<'a>),
    Pipeline(&'a Pipeline),
}

/// What calls and the probe share.
struct Breaker {
    open: AtomicBool,
    opened: Notify,
}

/// A way to Redis.
pub(super) struct Link {
    pool: Pool,
    breaker: Arc<Breaker>,
    stop: CancellationToken,
    probe: Mutex<Option<JoinHandle<()>>>,
}

impl Link {
    /// Checks the options and starts the probe; does not connect yet.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, RedisConfigError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| RedisConfigError::NoRuntime)?;
        // rediss:// needs a process-wide provider; an error only says that one is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // The crate's own text may repeat parts of the URL, which may hold a password.
        let client = Client::open(options.url.expose_secret()).map_err(|_| RedisConfigError::Url)?;
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(RESPONSE));
        let manager = Manager::new_with_config(client.get_connection_info().clone(), config)
            .map_err(|_| RedisConfigError::Url)?;
        let pool = Pool::builder(manager)
            .max_size(options.pool_size.max(1))
            .timeouts(Timeouts { wait: Some(POOL_WAIT), create: Some(CONNECT), recycle: Some(RECYCLE) })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| RedisConfigError::NoRuntime)?;
        let breaker = Arc::new(Breaker { open: AtomicBool::new(false), opened: Notify::new() });
        let stop = CancellationToken::new();
        let probe = runtime.spawn(probe(pool.clone(), Arc::clone(&breaker), stop.clone()));
        Ok(Self { pool, breaker, stop, probe: Mutex::new(Some(probe)) })
    }

    /// Asks, within the deadline.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Value, RegistryError> {
        if self.stop.is_cancelled() {
            return Err(unavailable("it is closed"));
        }
        if self.breaker.open.load(Ordering::Acquire) {
            return Err(unavailable("Redis was not reachable a moment ago"));
        }
        match timeout(CALL, self.try_ask(ask)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let error = unavailable("Redis does not answer in time");
                self.open_breaker(&error);
                Err(error)
            }
        }
    }

    async fn try_ask(&self, ask: Ask<'_>) -> Result<Value, RegistryError> {
        let mut connection = match self.pool.get().await {
            Ok(connection) => connection,
            Err(error) => {
                let gone = means_gone(&error);
                let error = pool_error(error);
                if gone {
                    self.open_breaker(&error);
                }
                return Err(error);
            }
        };
        let answer = match ask {
            Ask::Script(invocation) => invocation.invoke_async(&mut connection).await,
            Ask::Pipeline(pipeline) => pipeline.query_async(&mut connection).await,
        };
        answer.map_err(|error| {
            match fault(&error) {
                Fault::Gone => {
                    drop(Connection::take(connection));
                    self.open_breaker(&registry_error(&error));
                }
                // A demoted master stays connected: the next call must find the new one (deadpool-rs/deadpool#372).
                Fault::Elsewhere => drop(Connection::take(connection)),
                Fault::Refused | Fault::Unreadable => {}
            }
            registry_error(&error)
        })
    }

    fn open_breaker(&self, error: &RegistryError) {
        if !self.breaker.open.swap(true, Ordering::AcqRel) {
            // A wrong password also comes this way: whoever reads the line must not look for a network that is broken.
            tracing::warn!(registry.kind = "redis", %error, "Redis is not reachable; calls fail at once until it answers");
        }
        // Idle connections of before the outage are of no use after it.
        let _ = self.pool.retain(|_, _| false);
        self.breaker.opened.notify_one();
    }

    /// Stops the probe and closes every connection.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        let probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(probe) = probe {
            let _ = probe.await;
        }
        self.pool.close();
    }
}

impl Drop for Link {
    /// The probe ends by itself where [`Link::close`] was not called.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Asks Redis whether it is back while the breaker is open.
async fn probe(pool: Pool, breaker: Arc<Breaker>, stop: CancellationToken) {
    let work = async {
        loop {
            breaker.opened.notified().await;
            while !answers(&pool).await {
                tokio::time::sleep(PROBE_EVERY).await;
            }
            if breaker.open.swap(false, Ordering::AcqRel) {
                tracing::info!(registry.kind = "redis", "Redis answers again");
            }
        }
    };
    // Cancel safe: a connection in use goes back to the pool or is closed.
    let _ = stop.run_until_cancelled(work).await;
}

async fn answers(pool: &Pool) -> bool {
    let ping = async {
        let mut connection = pool.get().await.ok()?;
        let pong = redis::cmd("PING").query_async::<Value>(&mut connection).await;
        if pong.is_err() {
            drop(Connection::take(connection));
        }
        pong.ok()
    };
    matches!(timeout(CALL, ping).await, Ok(Some(_)))
}

/// What an error says about Redis.
enum Fault {
    /// It cannot be reached, or serves nobody yet.
    Gone,
    /// Another server has taken over.
    Elsewhere,
    /// It answers, but refuses for now (memory, permission).
    Refused,
    /// It answers something that this version cannot read.
    Unreadable,
}

fn fault(error: &RedisError) -> Fault {
    match error.kind() {
        ErrorKind::Io | ErrorKind::AuthenticationFailed | ErrorKind::ClusterConnectionNotFound => Fault::Gone,
        ErrorKind::Server(kind) => match kind {
            ServerErrorKind::BusyLoading => Fault::Gone,
            ServerErrorKind::ReadOnly
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::TryAgain => Fault::Elsewhere,
            ServerErrorKind::NoPerm => Fault::Refused,
            // Redis says some of its own states with the general code.
            _ => Fault::Unreadable,
        },
        ErrorKind::Extension => match error.code() {
            Some("OOM" | "MISCONF" | "BUSY" | "NOREPLICAS" | "NOAUTH" | "WRONGPASS") => Fault::Refused,
            _ => Fault::Unreadable,
        },
        _ => Fault::Unreadable,
    }
}

fn registry_error(error: &RedisError) -> RegistryError {
    match fault(error) {
        Fault::Gone | Fault::Elsewhere | Fault::Refused => RegistryError::Unavailable(error.to_string()),
        Fault::Unreadable => RegistryError::Corrupt(error.to_string()),
    }
}

fn means_gone(error: &PoolError) -> bool {
    // Waiting in vain for a free connection means load, not an outage: those who hold the connections find that out.
    match error {
        PoolError::Timeout(kind) => !matches!(kind, deadpool_redis::TimeoutType::Wait),
        PoolError::Backend(_) => true,
        _ => false,
    }
}

fn pool_error(error: PoolError) -> RegistryError {
    match error {
        PoolError::Timeout(deadpool_redis::TimeoutType::Wait) => unavailable("every connection to Redis is in use"),
        PoolError::Timeout(_) => unavailable("Redis does not accept a connection in time"),
        // Whatever goes wrong while connecting says nothing about what is stored.
        PoolError::Backend(error) => RegistryError::Unavailable(error.to_string()),
        PoolError::Closed => unavailable("it is closed"),
        other => RegistryError::Unavailable(other.to_string()),
    }
}

fn unavailable(reason: &str) -> RegistryError {
    RegistryError::Unavailable(reason.to_owned())
}
