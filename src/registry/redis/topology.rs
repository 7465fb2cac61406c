//! Connections to a Redis of any shape: how one is made, and when one in the pool is still good.

use super::{
    call::Call,
    link::{CONNECT, RESPONSE},
    sentinel::Sentinels,
    servers::{Servers, Shape},
};
use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// How often a Cluster's client tries a command again by itself: enough for a slot that has moved, not for an outage.
const CLUSTER_RETRIES: u32 = 3;
/// How long one node of a Cluster may take to accept a connection; shorter than [`CONNECT`], so that a node that hangs does not
/// keep us from the others.
const NODE: Duration = Duration::from_millis(400);

/// How long a server may take to refuse a connection on which nothing is sent.
const GREETING: Duration = Duration::from_millis(200);
const MOST_GREETING: usize = 2048;

/// Makes and checks connections.
pub(super) enum Topology {
    Single(deadpool_redis::Manager, ConnectionAddr),
    Sentinel(Sentinels),
    Cluster(ClusterClient),
}

/// A connection of the pool.
pub(super) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// How every single connection is made. The crate's default of 500 ms for an answer is too little for a large manifest.
pub(super) fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(RESPONSE))
}

impl Topology {
    pub(super) fn new(servers: &Servers) -> RedisResult<Self> {
        Ok(match &servers.shape {
            Shape::Single(address) => {
                let info = servers.single(address)?.get_connection_info().clone();
                Self::Single(deadpool_redis::Manager::new_with_config(info, config())?, address.clone())
            }
            Shape::Sentinel { sentinels, master, login } => {
                Self::Sentinel(Sentinels::new(servers, sentinels, master, login)?)
            }
            Shape::Cluster { nodes } => {
                let nodes =
                    nodes.iter().map(|(host, port)| servers.info(host, *port)).collect::<RedisResult<Vec<_>>>()?;
                let mut builder = ClusterClient::builder(nodes)
                    .retries(CLUSTER_RETRIES)
                    .min_retry_wait(20)
                    .max_retry_wait(200)
                    .connection_timeout(NODE)
                    .response_timeout(RESPONSE);
                if let Some(certificates) = &servers.tls {
                    builder = builder.certs(certificates.clone());
                }
                Self::Cluster(builder.build()?)
            }
        })
    }
}

impl Manager for Topology {
    type Type = Connection;
    type Error = RedisError;

    /// Boxed inside: rare, and so large that every call that waits for the pool would carry it.
    async fn create(&self) -> Result<Connection, RedisError> {
        match self {
            Self::Single(manager, _) => Box::pin(manager.create()).await.map(Connection::Node),
            Self::Sentinel(sentinels) => Box::pin(sentinels.connect()).await.map(Connection::Node),
            Self::Cluster(client) => Box::pin(client.get_async_connection()).await.map(Connection::Cluster),
        }
    }

    async fn recycle(&self, connection: &mut Connection, metrics: &Metrics) -> RecycleResult<RedisError> {
        match (self, connection) {
            // A demoted master stays connected and answers reads, with what it had then (deadpool-rs/deadpool#372).
            (Self::Sentinel(sentinels), Connection::Node(connection)) => {
                match sentinels.still_master(connection).await? {
                    true => Ok(()),
                    false => Err(RecycleError::message("this server is no longer the master")),
                }
            }
            (Self::Single(manager, _), Connection::Node(connection)) => manager.recycle(connection, metrics).await,
            // A Cluster's client mends its own connections to the nodes.
            _ => Ok(()),
        }
    }
}

impl Topology {
    /// May many calls share a connection? Where Sentinels may name another master at any time, each call asks its server first
    /// whether it still is one.
    pub(super) fn shares(&self) -> bool {
        !matches!(self, Self::Sentinel(_))
    }

    /// What the server answers to a connection that it does not accept, before anything is sent on it. Only a server without TLS
    /// answers so; `None` where it answers nothing.
    pub(super) async fn refusal_at_connect(&self) -> Option<RedisError> {
        let Self::Single(_, address) = self else { return None };
        let greeting = async {
            match address {
                ConnectionAddr::Tcp(host, port) => {
                    first_line(TcpStream::connect((host.as_str(), *port)).await.ok()?).await
                }
                ConnectionAddr::Unix(path) => first_line(UnixStream::connect(path).await.ok()?).await,
                _ => None,
            }
        };
        let line = timeout(GREETING, greeting).await.ok().flatten()?;
        redis::parse_redis_value(&line).and_then(Value::extract_error).err()
    }
}

impl Connection {
    /// The same connection, for one more call at the same time.
    pub(super) fn share(&self) -> Self {
        match self {
            Self::Node(connection) => Self::Node(connection.clone()),
            Self::Cluster(connection) => Self::Cluster(connection.clone()),
        }
    }

    /// Sends a command, in a Cluster to the node that its key belongs to.
    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Node(connection) => connection.req_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        }?
        .extract_error()
    }

    /// Sends a command that has no key; in a Cluster to every master.
    pub(super) async fn send_to_masters(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Node(connection) => connection.req_packed_command(command).await,
            Self::Cluster(connection) => {
                let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                connection.route_command(command.clone(), masters).await
            }
        }?
        .extract_error()
    }

    /// Calls a script.
    pub(super) async fn call(&mut self, call: &Call<'_>) -> RedisResult<Value> {
        match self.send(call.by_name()).await {
            Err(error) if is_unknown_script(&error) => self.send(&call.with_text()).await,
            outcome => outcome,
        }
    }

    /// Calls scripts at once where each may be another node's, else one after another. One that fails fails all.
    pub(super) async fn call_all(&mut self, calls: &[Call<'_>]) -> RedisResult<Vec<Value>> {
        match self {
            Self::Cluster(connection) => {
                let each = calls.iter().map(|call| {
                    let mut connection = Self::Cluster(connection.clone());
                    async move { connection.call(call).await }
                });
                futures_util::future::try_join_all(each).await
            }
            Self::Node(_) => {
                let mut answers = Vec::with_capacity(calls.len());
                for call in calls {
                    answers.push(self.call(call).await?);
                }
                Ok(answers)
            }
        }
    }

    /// Calls a script and, in the same message, WAIT, which looks at its own connection only. Answers what the script answered
    /// and how many replicas have what it wrote.
    pub(super) async fn call_and_wait(
        &mut self,
        call: &Call<'_>,
        replicas: u32,
        wait: Duration,
    ) -> RedisResult<(Value, u32)> {
        match self.send_and_wait(call.by_name(), call.key(), replicas, wait).await {
            Err(error) if is_unknown_script(&error) => {
                self.send_and_wait(&call.with_text(), call.key(), replicas, wait).await
            }
            outcome => outcome,
        }
    }

    async fn send_and_wait(
        &mut self,
        command: &Cmd,
        key: &str,
        replicas: u32,
        wait: Duration,
    ) -> RedisResult<(Value, u32)> {
        let mut pipeline = Pipeline::new();
        pipeline.add_command(command.clone());
        pipeline.cmd("WAIT").arg(replicas).arg(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let answers = match self {
            Self::Node(connection) => connection.req_packed_commands(&pipeline, 0, 2).await,
            Self::Cluster(connection) => {
                let route = SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master));
                connection.route_pipeline(pipeline, 0, 2, route).await
            }
        }?;
        let mut answers = answers.into_iter();
        let mut next = || answers.next().unwrap_or(Value::Nil).extract_error();
        let answer = next()?;
        Ok((answer, redis::from_redis_value(next()?)?))
    }
}

/// The first bytes that come, up to the end of a line.
async fn first_line(mut stream: impl AsyncRead + Unpin) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") && line.len() < MOST_GREETING {
        let mut byte = [0];
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        line.extend_from_slice(&byte);
    }
    line.starts_with(b"-").then_some(line)
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
