//! Who the master is: asked of the Sentinels for every new connection, and of the server itself.

use super::{servers::Servers, topology};
use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{Client, ErrorKind, RedisConnectionInfo, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use std::{io, time::Duration};
use tokio::time::timeout;

/// How long one Sentinel may take. They are asked at the same time.
const SENTINEL: Duration = Duration::from_millis(300);

/// The Sentinels of one master.
pub(super) struct Sentinels {
    servers: Servers,
    clients: Vec<Client>,
    master: String,
}

/// What one Sentinel says.
struct Answer {
    /// Grows with every failover: the greatest is the newest.
    epoch: u64,
    host: String,
    port: u16,
}

impl Sentinels {
    pub(super) fn new(
        servers: &Servers,
        sentinels: &[(String, u16)],
        master: &str,
        login: &RedisConnectionInfo,
    ) -> RedisResult<Self> {
        let clients =
            sentinels.iter().map(|(host, port)| servers.client(host, *port, login)).collect::<Result<_, _>>()?;
        Ok(Self { servers: servers.clone(), clients, master: master.to_owned() })
    }

    /// Connects to the master.
    pub(super) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let Answer { host, port, .. } = self.locate().await?;
        let client = self.servers.client(&host, port, &self.servers.login)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&topology::config()).await?;
        if self.still_master(&mut connection).await? {
            Ok(connection)
        } else {
            Err(gone(format!("{host}:{port}, which the Sentinels name, is not a master: a failover is under way")))
        }
    }

    /// Does this server take writes?
    pub(super) async fn still_master(&self, connection: &mut MultiplexedConnection) -> RedisResult<bool> {
        let role: Vec<Value> = redis::cmd("ROLE").query_async(connection).await?;
        Ok(role.first().is_some_and(|word| matches!(word, Value::BulkString(word) if word == b"master")))
    }

    /// Asks all Sentinels and believes the newest answer once more than half have answered: one that is cut off from the others
    /// may still name a master that was replaced.
    async fn locate(&self) -> RedisResult<Answer> {
        let mut asked: FuturesUnordered<_> = self.clients.iter().map(|client| self.ask(client)).collect();
        let (mut newest, mut answered, mut refusal): (Option<Answer>, usize, Option<RedisError>) = (None, 0, None);
        while let Some(outcome) = asked.next().await {
            match outcome {
                Ok(answer) => {
                    answered = answered.saturating_add(1);
                    if newest.as_ref().is_none_or(|known| answer.epoch > known.epoch) {
                        newest = Some(answer);
                    }
                }
                Err(error) => refusal = Some(error),
            }
            if answered.saturating_mul(2) > self.clients.len() {
                break;
            }
        }
        newest.ok_or_else(|| refusal.unwrap_or_else(|| gone("no Sentinel is named".to_owned())))
    }

    async fn ask(&self, client: &Client) -> RedisResult<Answer> {
        let exchange = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&topology::config()).await?;
            let mut questions = redis::pipe();
            questions.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
            questions.cmd("SENTINEL").arg("MASTER").arg(&self.master);
            questions.query_async::<(Option<(String, u16)>, Vec<String>)>(&mut connection).await
        };
        let outcome =
            timeout(SENTINEL, exchange).await.map_err(|_| gone("a Sentinel does not answer in time".to_owned()))?;
        let (address, fields) = outcome.map_err(|error| self.explain(error))?;
        let (host, port) = address.ok_or_else(|| self.unknown())?;
        let epoch = fields.chunks_exact(2).find_map(|pair| match pair {
            [name, value] if name == "config-epoch" => value.parse().ok(),
            _ => None,
        });
        Ok(Answer { epoch: epoch.unwrap_or(0), host, port })
    }

    fn explain(&self, error: RedisError) -> RedisError {
        let text = error.to_string();
        if text.contains("No such master") {
            self.unknown()
        } else if ["NOAUTH", "WRONGPASS", "NOPERM"].iter().any(|word| text.contains(word))
            || error.kind() == ErrorKind::AuthenticationFailed
        {
            gone(format!(
                "a Sentinel refuses us ({text}): check registry.redis_sentinel_username and redis_sentinel_password"
            ))
        } else {
            gone(format!("a Sentinel cannot be asked: {text}"))
        }
    }

    fn unknown(&self) -> RedisError {
        gone(format!("the Sentinels know no master {:?}: check registry.redis_sentinel_master", self.master))
    }
}

fn gone(text: String) -> RedisError {
    io::Error::new(io::ErrorKind::NotConnected, text).into()
}
