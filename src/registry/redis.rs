//! The registry in Redis, shared by any number of instances (DESIGN 4.3).
//!
//! `peer:{id}` is a hash with the manifest's top-level fields and ours, with a time to live; `peers:by_expiry` a sorted set of
//! ids by expiry; `pin:{id}` a hash without time to live. One script makes a registration, atomically. Expiry is judged by the
//! stored instant against one clock, Redis' own, so that replicas with different clocks agree; the keys' time to live only
//! collects garbage.
//!
//! **Durability** is what Redis is configured for: bindings survive a crash of Redis with `appendonly yes`, and survive memory
//! pressure with `maxmemory-policy` `noeviction` or one of `volatile-*`.
//!
//! **Outages.** No call takes longer than 1.5 s. Once Redis was found unreachable, calls answer [`RegistryError::Unavailable`]
//! at once; a task of its own asks every half second whether it is back.

mod keys;
mod link;
#[cfg(test)]
mod tests;

use super::{PeerCursor, PeerPage, PeerRecord, Registered, Registry, RegistryError};
use crate::{
    trust::{Admitted, Binding, Pin, Step, VersionError},
    types::{PeerId, PublicKey, SharedClock, Timestamp},
};
use async_trait::async_trait;
use bytes::Bytes;
use keys::Keys;
use link::{Ask, Link};
use redis::{FromRedisValue, Script, Value};
use secrecy::SecretString;
use std::{
    collections::HashSet,
    fmt,
    time::{Duration, Instant},
};

/// Most peers in one run of the list script: Redis serves nobody else meanwhile.
const CHUNK: usize = 500;
/// A page that takes longer than this ends early, with a cursor.
const PAGE_TIME: Duration = Duration::from_millis(400);

/// Whose clock judges expiry.
#[derive(Debug, Clone, Default)]
pub enum TimeSource {
    /// Redis' own: every instance sees the same.
    #[default]
    Server,
    /// One that is handed in, for tests.
    Injected(SharedClock),
}

/// What a registry in Redis needs to know.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// `redis://`, `rediss://` or `unix://`; may hold a password.
    pub url: SecretString,
    /// What every key starts with; usually empty.
    pub prefix: String,
    /// How long an entry lives after its last registration.
    pub ttl: Duration,
    /// Most live entries.
    pub max_peers: u64,
    /// Most connections; at least one is used.
    pub pool_size: usize,
    /// Whose clock judges expiry.
    pub time: TimeSource,
}

/// Why a registry in Redis cannot be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedisConfigError {
    /// The URL cannot be read. Its text is left out, for it may hold a password.
    #[error(
        "the Redis URL is not of the form redis://[user:password@]host[:port][/number], rediss://… or unix:///path"
    )]
    Url,
    /// There is no tokio runtime to run the adapter's task on.
    #[error("the Redis registry must be set up within a tokio runtime")]
    NoRuntime,
}

/// The registry in Redis. See the module's text.
pub struct RedisRegistry {
    link: Link,
    keys: Keys,
    ttl: Duration,
    max_peers: u64,
    time: TimeSource,
    register: Script,
    list: Script,
}

impl fmt::Debug for RedisRegistry {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRegistry")
            .field("keys", &self.keys)
            .field("ttl", &self.ttl)
            .field("max_peers", &self.max_peers)
            .finish_non_exhaustive()
    }
}

impl RedisRegistry {
    /// Sets the registry up. Succeeds also while Redis is down: the first call connects.
    ///
    /// # Errors
    /// [`RedisConfigError`]: the URL cannot be read, or there is no tokio runtime.
    pub fn connect(options: RedisOptions) -> Result<Self, RedisConfigError> {
        let link = Link::new(&options)?;
        let RedisOptions { prefix, ttl, max_peers, time, .. } = options;
        Ok(Self {
            link,
            keys: Keys::new(&prefix),
            ttl,
            max_peers,
            time,
            register: Script::new(include_str!("redis/register.lua")),
            list: Script::new(include_str!("redis/list.lua")),
        })
    }

    /// The time for a script: empty where Redis shall look at its own clock.
    fn now_arg(&self) -> String {
        match &self.time {
            TimeSource::Server => String::new(),
            TimeSource::Injected(clock) => clock.now().millis().to_string(),
        }
    }

    async fn list_chunk(&self, after: Option<&PeerCursor>, limit: usize) -> Result<Chunk, RegistryError> {
        let mut call = self.list.prepare_invoke();
        call.key(self.keys.by_expiry()).arg(self.now_arg()).arg(limit).arg(self.keys.peer_prefix());
        match after {
            Some(cursor) => call.arg(cursor.expires_at_ms).arg(cursor.peer.as_str()),
            None => call.arg("").arg(""),
        };
        read_chunk(self.link.ask(Ask::Script(&call)).await?)
    }
}

/// What the list script answers.
struct Chunk {
    total: u64,
    peers: Vec<PeerRecord>,
    next: Option<PeerCursor>,
}

/// id, expiry, public key, summary, instance type, last seen.
type Row = (String, String, String, Option<Vec<u8>>, Option<String>, Option<String>);

fn parsed<T: FromRedisValue>(value: Value) -> Result<T, RegistryError> {
    T::from_redis_value(value).map_err(|error| RegistryError::Corrupt(error.to_string()))
}

fn read_chunk(value: Value) -> Result<Chunk, RegistryError> {
    let (total, now, more, last_expiry, last_id, rows): (u64, i64, u8, String, String, Vec<Row>) = parsed(value)?;
    let peers = rows.into_iter().map(|row| read_row(row, now)).collect::<Result<_, _>>()?;
    let next = if more == 1 {
        let unreadable = || RegistryError::Corrupt(format!("the index entry {last_id:?}"));
        Some(PeerCursor {
            expires_at_ms: last_expiry.parse().map_err(|_| unreadable())?,
            peer: PeerId::parse(&last_id).map_err(|_| unreadable())?,
        })
    } else {
        None
    };
    Ok(Chunk { total, peers, next })
}

fn read_row(
    (id, expiry, pubkey, summary, instance_type, last_seen): Row,
    now: i64,
) -> Result<PeerRecord, RegistryError> {
    let unreadable = |what: &str| RegistryError::Corrupt(format!("{what} of the entry {id:?}"));
    let expires_at_ms: i64 = expiry.parse().map_err(|_| unreadable("expires_at"))?;
    let last_seen = last_seen.and_then(|text| text.parse().ok()).ok_or_else(|| unreadable("last_seen"))?;
    Ok(PeerRecord {
        peer: PeerId::parse(&id).map_err(|_| unreadable("the id"))?,
        public_key: PublicKey::parse(&pubkey).map_err(|_| unreadable("pubkey"))?,
        instance_type: instance_type.map(String::into_boxed_str),
        summary: summary.ok_or_else(|| unreadable("summary"))?.into(),
        last_seen: Timestamp::from_seconds(last_seen),
        expires_in: Duration::from_millis(u64::try_from(expires_at_ms.saturating_sub(now)).unwrap_or(0)),
        expires_at_ms,
    })
}

#[async_trait]
impl Registry for RedisRegistry {
    async fn register(&self, admitted: &Admitted) -> Result<Registered, RegistryError> {
        let verified = admitted.manifest();
        let (manifest, pin) = (verified.get(), Pin::of(verified));
        let peer = manifest.peer();
        let pubkey = pin.public_key.to_base64();
        let mut call = self.register.prepare_invoke();
        call.key(self.keys.peer(peer)).key(self.keys.pin(peer)).key(self.keys.by_expiry());
        call.arg(self.now_arg()).arg(u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX)).arg(self.max_peers);
        call.arg(match admitted.binding() {
            Binding::FirstKey => "first_key",
            Binding::AnyKey => "any_key",
        });
        call.arg(peer.as_str()).arg(&pubkey);
        call.arg(pin.last_updated.map_or_else(String::new, |at| at.micros().to_string()));
        call.arg(pin.seq.map_or_else(String::new, |seq| seq.to_string()));
        call.arg(crate::types::SetHash::from_digest(pin.digest).to_hex());
        for (name, value) in manifest.fields().iter().filter(|(name, _)| !keys::OWN_FIELDS.contains(&&**name)) {
            call.arg(&**name).arg(&value[..]);
        }
        call.arg(keys::PUBKEY).arg(&pubkey);
        call.arg(keys::ENVELOPE).arg(&verified.received()[..]);
        call.arg(keys::SUMMARY).arg(manifest.summary());
        if let Some(kind) = manifest.instance_type() {
            call.arg(keys::INSTANCE_TYPE).arg(kind);
        }
        let answer: Vec<String> = parsed(self.link.ask(Ask::Script(&call)).await?)?;
        let words: Vec<&str> = answer.iter().map(String::as_str).collect();
        let step = match words.as_slice() {
            ["ok", "first"] => Step::First,
            ["ok", "newer"] => Step::Newer,
            ["ok", "heartbeat"] => Step::Heartbeat,
            ["key_mismatch"] => return Err(VersionError::KeyMismatch.into()),
            ["rollback", "seq"] => return Err(VersionError::Rollback { field: "seq" }.into()),
            ["rollback", _] => return Err(VersionError::Rollback { field: "last_updated" }.into()),
            ["equivocation"] => return Err(VersionError::Equivocation.into()),
            ["full"] => return Err(RegistryError::Full { limit: self.max_peers }),
            ["corrupt", what] => return Err(RegistryError::Corrupt(format!("{what} of {peer:?}"))),
            _ => return Err(RegistryError::Corrupt("the script's answer".to_owned())),
        };
        Ok(Registered { step, expires_in: self.ttl })
    }

    async fn envelope(&self, peer: &PeerId) -> Result<Option<Bytes>, RegistryError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("TIME");
        pipeline.cmd("HMGET").arg(self.keys.peer(peer)).arg("expires_at").arg(keys::ENVELOPE);
        let ((seconds, micros), (expires_at, envelope)): ((i64, i64), (Option<i64>, Option<Vec<u8>>)) =
            parsed(self.link.ask(Ask::Pipeline(&pipeline)).await?)?;
        let now_ms = match &self.time {
            TimeSource::Server => seconds.saturating_mul(1000).saturating_add(micros / 1000),
            TimeSource::Injected(clock) => clock.now().millis(),
        };
        match (expires_at, envelope) {
            (Some(expires_at), Some(envelope)) if expires_at > now_ms => Ok(Some(envelope.into())),
            // Without our fields the hash is another program's, or none: not a peer that registered here.
            _ => Ok(None),
        }
    }

    /// A page may be shorter than `limit` with a cursor to go on, where it would take long.
    async fn list(&self, after: Option<&PeerCursor>, limit: usize) -> Result<PeerPage, RegistryError> {
        let started = Instant::now();
        let first = self.list_chunk(after, limit.min(CHUNK)).await?;
        let mut page = PeerPage { peers: first.peers, total: first.total, next: first.next };
        let mut shown: HashSet<PeerId> = HashSet::new();
        while let Some(cursor) = &page.next {
            let room = limit.saturating_sub(page.peers.len());
            if room == 0 || started.elapsed() > PAGE_TIME {
                break;
            }
            if shown.is_empty() {
                shown.extend(page.peers.iter().map(|record| record.peer.clone()));
            }
            let chunk = self.list_chunk(Some(cursor), room.min(CHUNK)).await?;
            // A heartbeat between two chunks moves a peer to the end: once a page is enough.
            page.peers.extend(chunk.peers.into_iter().filter(|record| shown.insert(record.peer.clone())));
            (page.total, page.next) = (chunk.total, chunk.next);
        }
        Ok(page)
    }

    async fn live(&self) -> Result<u64, RegistryError> {
        Ok(self.list_chunk(None, 0).await?.total)
    }

    async fn ping(&self) -> Result<(), RegistryError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("PING");
        self.link.ask(Ask::Pipeline(&pipeline)).await.map(drop)
    }

    fn kind(&self) -> &'static str {
        "redis"
    }

    async fn close(&self) {
        self.link.close().await;
    }
}
