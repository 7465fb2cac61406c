//! The registry in Redis, shared by any number of instances (DESIGN 4.3).
//!
//! `peer:{id}` is a hash with the manifest's top-level fields and ours, with a time to live; `peers:by_expiry` a sorted set of
//! ids by expiry; `pin:{id}` a hash, of a peer that is not known with a long time to live; `ids:strangers:…` count what those have. One script makes a registration, atomically. Expiry is judged by the
//! stored instant against one clock, Redis' own, so that replicas with different clocks agree; the keys' time to live only
//! collects garbage.
//!
//! **Shapes.** One server, the master that Sentinels name, or a Cluster. On a Cluster a script stays in one slot: `peer:{…}` and
//! `pin:{…}` share a hash tag, the index is a fixed number of sorted sets that are written right after, and a registration is
//! answered once it is in both. An index entry lost in between heals with the next heartbeat. The bound on live peers is counted
//! before a new one is written, not with it, and each master judges by its own clock.
//!
//! **Durability** is what Redis is configured for: bindings survive a crash of Redis with `appendonly yes`, and survive memory
//! pressure with `maxmemory-policy` `noeviction` alone (`eviction.rs`). A failover loses what no replica had: with
//! [`RedisOptions::min_replicas`] a registration is only acknowledged once that many have it.
//!
//! **Outages.** No call takes longer than 1.5 s. Once Redis was found unreachable, calls answer [`RegistryError::Unavailable`]
//! at once; a task of its own asks every half second whether it is back. States in which Redis answers and refuses are logged when they
//! begin and when they end, and are in [`Registry::faults`] meanwhile.

mod call;
mod conditions;
mod eviction;
mod faults;
mod keys;
mod lines;
mod link;
mod page;
mod places;
mod renewals;
mod seldom;
mod sentinel;
mod servers;
#[cfg(test)]
mod tests;
mod tls;
mod topology;
mod watch;

use super::{
    Bindings, Bound, NoPlace, PeerCursor, PeerPage, PlaceLimits, Registered, Registry, RegistryError, Share, Spent,
    StoreFault,
};
use crate::{
    guard::{Class, Payer},
    trust::{Admitted, Binding, KeyLine, Pin, Step, VersionError, kept_statements},
    types::{PeerId, PublicKey, SharedClock},
};
use async_trait::async_trait;
use bytes::Bytes;
use call::{Call, Script};
use keys::Keys;
use link::{Ask, Link};
use redis::{FromRedisValue, Value};
use renewals::Renewals;
use seldom::{Mute, Seldom};
pub use servers::Servers;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Most peers in one run of the list script: Redis serves nobody else meanwhile.
const CHUNK: usize = 500;
/// A page that takes longer than this ends early, with a cursor.
const PAGE_TIME: Duration = Duration::from_millis(400);
/// After this a page ends also where no cursor can name its end.
const MOST_PAGE_TIME: Duration = Duration::from_millis(1200);

/// How long a request waits for what replicas count together.
const SPEND: Duration = Duration::from_millis(100);

/// Whose clock judges expiry.
#[derive(Debug, Clone, Default)]
pub enum TimeSource {
    /// Redis' own: every instance sees the same.
    #[default]
    Server,
    /// One that is handed in, for tests.
    Injected(SharedClock),
}

impl TimeSource {
    /// The time for a script: empty where Redis shall look at its own clock.
    fn arg(&self) -> String {
        match self {
            Self::Server => String::new(),
            Self::Injected(clock) => clock.now().millis().to_string(),
        }
    }
}

/// What a registry in Redis needs to know.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Where it is, and who we are there.
    pub servers: Servers,
    /// What every key starts with; usually empty.
    pub prefix: String,
    /// How long an entry lives after its last registration.
    pub ttl: Duration,
    /// Most live entries, and what strangers may have of them. Their bytes are not counted on a Cluster.
    pub limits: PlaceLimits,
    /// A binding of a peer that is not known goes when it was not used for so long.
    pub unused_ttl: Duration,
    /// Most connections; at least one is used.
    pub pool_size: usize,
    /// Replicas that must have a registration before it is acknowledged.
    pub min_replicas: u32,
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
    /// The URL asks to take any certificate.
    #[error(
        "the Redis URL ends in #insecure, which takes anybody's certificate: leave it out and set registry.redis_ca_file"
    )]
    Insecure,
    /// There is no tokio runtime to run the adapter's task on.
    #[error("the Redis registry must be set up within a tokio runtime")]
    NoRuntime,
}

/// The registry in Redis. See the module's text.
pub struct RedisRegistry {
    link: Arc<Link>,
    keys: Keys,
    cluster: bool,
    ttl: Duration,
    limits: PlaceLimits,
    unused_ttl: Duration,
    time: TimeSource,
    scripts: Scripts,
    renewals: Arc<Renewals>,
    skipped: Seldom,
    slow: Mute,
    changes: AtomicU64,
}

/// Counts a change when it ends, also where whoever waited for it went away: it may have been made.
struct Changing<'a>(&'a AtomicU64);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

struct Scripts {
    register: Script,
    index: Script,
    list: Script,
    read: Script,
    count: Script,
    spend: Script,
    bound: Script,
    bind: Script,
    claim: Script,
}

impl fmt::Debug for RedisRegistry {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRegistry")
            .field("keys", &self.keys)
            .field("ttl", &self.ttl)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl RedisRegistry {
    /// Sets the registry up. Succeeds also while Redis is down: the first call connects.
    ///
    /// # Errors
    /// [`RedisConfigError`]: the addresses cannot be used, or there is no tokio runtime.
    pub fn connect(options: RedisOptions) -> Result<Self, RedisConfigError> {
        let cluster = options.servers.is_cluster();
        let keys = Keys::new(&options.prefix, cluster);
        let mut proof = vec![redis::cmd("PING")];
        if cluster {
            // A master of a Cluster that is down still answers a PING; its keys are what we need.
            proof.extend(keys.shares().iter().map(|share| redis::cmd("TYPE").arg(share).to_owned()));
        }
        let link = Arc::new(Link::new(&options, keys.clone(), proof)?);
        let scripts = Scripts {
            register: Script::new(include_str!("redis/register.lua")),
            index: Script::new(include_str!("redis/index.lua")),
            list: Script::new(include_str!("redis/list.lua")),
            read: Script::new(include_str!("redis/read.lua")),
            count: Script::new(include_str!("redis/count.lua")),
            spend: Script::new(include_str!("redis/spend.lua")),
            bound: Script::new(include_str!("redis/bound.lua")),
            bind: Script::new(include_str!("redis/bind.lua")),
            claim: Script::new(include_str!("redis/claim.lua")),
        };
        let RedisOptions { ttl, limits, unused_ttl, time, .. } = options;
        let renewals = Arc::new(Renewals::new(Arc::clone(&link), keys.clone(), (ttl, unused_ttl), time.clone()));
        Ok(Self {
            link,
            keys,
            cluster,
            ttl,
            limits,
            unused_ttl,
            time,
            scripts,
            renewals,
            skipped: Seldom::default(),
            slow: Mute::default(),
            changes: AtomicU64::new(0),
        })
    }

    /// The error for a binding that this version cannot read.
    fn unreadable_pin(&self, peer: &PeerId) -> RegistryError {
        self.link.unreadable(self.keys.pin(peer), "it holds no key binding")
    }

    /// The keys that all registrations share.
    fn shared_keys(&self) -> Vec<String> {
        if self.cluster {
            return self.keys.shares().into_iter().chain(self.keys.shares_of_strangers()).collect();
        }
        vec![self.keys.by_expiry().to_owned(), self.keys.strangers(), self.keys.stranger_bytes()]
    }

    fn now_arg(&self) -> String {
        self.time.arg()
    }

    /// The script that judges and writes; `limit` is what it makes of the bound on live peers.
    fn register_call(&self, admitted: &Admitted, limit: &str) -> Call<'_> {
        let verified = admitted.manifest();
        let (manifest, pin) = (verified.get(), Pin::of(verified));
        let peer = manifest.peer();
        let pubkey = pin.public_key.to_base64();
        let keys = self.register_keys(admitted);
        let mut call = self.scripts.register.call(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        call.arg(self.now_arg()).arg(milliseconds(self.ttl)).arg(limit);
        call.arg(match admitted.binding() {
            Binding::FirstKey => "first_key",
            Binding::AnyKey => "any_key",
        });
        call.arg(peer.as_str()).arg(&pubkey);
        call.arg(pin.last_updated.map_or_else(String::new, |at| at.micros().to_string()));
        call.arg(pin.seq.map_or_else(String::new, |seq| seq.to_string()));
        call.arg(crate::types::SetHash::from_digest(pin.digest).to_hex());
        let issued_at = pin.issued_at.map(|at| at.micros().to_string());
        call.arg(issued_at.clone().unwrap_or_default());
        self.put_limits(&mut call, admitted);
        for (name, value) in manifest.fields().iter().filter(|(name, _)| !keys::OWN_FIELDS.contains(&&**name)) {
            call.arg(&**name).arg(&value[..]);
        }
        call.arg(keys::PUBKEY).arg(&pubkey);
        call.arg(keys::ENVELOPE).arg(&verified.received()[..]);
        call.arg(keys::SUMMARY).arg(manifest.summary());
        if let Some(kind) = manifest.instance_type() {
            call.arg(keys::INSTANCE_TYPE).arg(kind);
        }
        if let Some(at) = issued_at {
            call.arg(keys::ISSUED_AT).arg(at);
        }
        call
    }

    async fn judge(&self, admitted: &Admitted, limit: &str) -> Result<Vec<String>, RegistryError> {
        let peer = admitted.manifest().get().peer();
        let answer = self.link.ask(Ask::Write(&self.register_call(admitted, limit))).await;
        let about = |text| format!("the pin of {peer:?}, its entry, or {}: {text}", self.keys.by_expiry());
        parsed(answer.map_err(|error| match error {
            RegistryError::Corrupt(text) => RegistryError::Corrupt(about(text)),
            error => error,
        })?)
    }

    /// On a Cluster: judge and write in the id's slot, then enter it into the index, which is in another.
    async fn register_on_cluster(&self, admitted: &Admitted) -> Result<Vec<String>, RegistryError> {
        let mut answer = self.judge(admitted, "ask").await?;
        if answer.first().is_some_and(|word| word == "room?") {
            if let Some(answer) = self.no_room_on_cluster(admitted).await? {
                return Ok(answer);
            }
            answer = self.judge(admitted, "room").await?;
        }
        if let [ok, _, expires_at] = answer.as_slice()
            && ok == "ok"
        {
            let peer = admitted.manifest().get().peer();
            for index in self.indexes_on_cluster(admitted) {
                let mut call = self.scripts.index.call(&[&index]);
                call.arg(self.now_arg()).arg(expires_at).arg(peer.as_str());
                self.link.ask(Ask::Write(&call)).await?;
            }
        }
        Ok(answer)
    }
}

impl RedisRegistry {
    /// Binds an id to a key, and to a line with its statements or to none, where it is still bound to the key before, and to the line whose
    /// text is given; `*`: to any.
    async fn rebind(
        &self,
        peer: &PeerId,
        (before, line_before): (Option<&Bound>, &str),
        key: PublicKey,
        line: Option<(&KeyLine, &str)>,
    ) -> Result<bool, RegistryError> {
        let _counted_at_the_end = Changing(&self.changes);
        let (entry, binding) = (self.keys.peer(peer), self.keys.pin(peer));
        // On a Cluster the index is in another slot.
        let mut call = if self.cluster {
            self.scripts.bind.call(&[&binding, &entry])
        } else {
            self.scripts.bind.call(&[&binding, &entry, self.keys.by_expiry()])
        };
        call.arg(before.map_or_else(String::new, |bound| bound.public_key.to_base64())).arg(line_before);
        let (line, statements) = line.unzip();
        call.arg(key.to_base64()).arg(line.map_or_else(String::new, KeyLine::to_row));
        let retired: Vec<String> = line.into_iter().flat_map(|it| &it.retired).map(|key| key.to_base64()).collect();
        let revoked = line.is_some_and(|line| line.revoked);
        call.arg(retired.join(" ")).arg(if revoked { "1" } else { "" }).arg(peer.as_str());
        call.arg(statements.unwrap_or_default());
        let answer: String = parsed(self.link.ask(Ask::Write(&call)).await?)?;
        match answer.as_str() {
            "ok" if self.cluster && (revoked || before.is_none_or(|bound| bound.public_key != key)) => {
                let mut call = self.scripts.index.call(&[&self.keys.share_of(peer)]);
                call.arg(self.now_arg()).arg("gone").arg(peer.as_str());
                self.link.ask(Ask::Write(&call)).await?;
                Ok(true)
            }
            "ok" => Ok(true),
            "changed" => Ok(false),
            _ => Err(self.unreadable_pin(peer)),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn parsed<T: FromRedisValue>(value: Value) -> Result<T, RegistryError> {
    T::from_redis_value(value).map_err(|error| RegistryError::Corrupt(error.to_string()))
}

#[async_trait]
impl Registry for RedisRegistry {
    async fn renew(&self, admitted: &Admitted) -> Result<Option<Registered>, RegistryError> {
        // On a Cluster entries are in other slots than the index.
        if self.cluster {
            return Ok(None);
        }
        let _counted_at_the_end = Changing(&self.changes);
        let verified = admitted.manifest();
        let is_renewed = self.renewals.renew(verified.get().peer(), Pin::of(verified)).await?;
        Ok(is_renewed.then_some(Registered { step: Step::Heartbeat, expires_in: self.ttl }))
    }

    async fn register(&self, admitted: &Admitted) -> Result<Registered, RegistryError> {
        let _counted_at_the_end = Changing(&self.changes);
        let answer = if self.cluster {
            self.register_on_cluster(admitted).await?
        } else {
            self.judge(admitted, &self.limits.max_peers.to_string()).await?
        };
        let words: Vec<&str> = answer.iter().map(String::as_str).collect();
        let step = match words.as_slice() {
            ["ok", "first", _] => Step::First,
            ["ok", "newer", _] => Step::Newer,
            ["ok", "heartbeat", _] => Step::Heartbeat,
            ["ok", "reissued", _] => Step::Reissued,
            ["revoked"] => return Err(VersionError::Revoked.into()),
            ["key_mismatch"] => return Err(VersionError::KeyMismatch.into()),
            ["rollback", "seq"] => return Err(VersionError::Rollback { field: "seq" }.into()),
            ["rollback", "issued_at"] => return Err(VersionError::Rollback { field: "issued_at" }.into()),
            ["superseded"] => return Err(VersionError::Superseded.into()),
            ["rollback", _] => return Err(VersionError::Rollback { field: "last_updated" }.into()),
            ["equivocation"] => return Err(VersionError::Equivocation.into()),
            ["fast_forward"] => return Err(VersionError::FastForward.into()),
            ["full"] => return Err(RegistryError::Full { limit: self.limits.max_peers }),
            ["no_place", share] => return Err(self.no_place(share, admitted).into()),
            ["no_bytes", _] => {
                let (share, limit) = (Share::Strangers, self.limits.stranger_bytes);
                return Err(NoPlace::Bytes { share, limit }.into());
            }
            ["corrupt", _] => return Err(self.unreadable_pin(admitted.manifest().get().peer())),
            _ => return Err(RegistryError::Corrupt("the script's answer".to_owned())),
        };
        if step == Step::First {
            // Lost where Redis goes away right now: the bound on a key's ids then lets one more through.
            let mut count = self.scripts.count.call(&[&self.keys.ids_of(admitted.manifest().public_key())]);
            count.arg(1).arg(milliseconds(self.unused_ttl));
            let _counted = self.link.ask(Ask::Write(&count)).await;
        }
        Ok(Registered { step, expires_in: self.ttl })
    }

    async fn bindings(&self, peer: &PeerId, key: PublicKey) -> Result<Bindings, RegistryError> {
        let mut pin = self.scripts.read.call(&[&self.keys.pin(peer)]);
        pin.arg(self.now_arg()).arg(keys::MOST_FIELD_BYTES).arg(keys::PUBKEY);
        let mut count = self.scripts.count.call(&[&self.keys.ids_of(key)]);
        count.arg(0);
        let (pin, of_key): (Vec<Option<Vec<u8>>>, u64) = parsed(self.link.ask(Ask::ReadAll(&[pin, count])).await?)?;
        Ok(Bindings { known: pin.into_iter().nth(1).flatten().is_some(), of_key })
    }

    async fn spend(&self, class: Class, payer: Payer, most: u32, window: Duration) -> Option<Spent> {
        if most == 0 || self.slow.is_muted() {
            return None;
        }
        let mut call = self.scripts.spend.call(&[&self.keys.spent(class, payer)]);
        call.arg(most).arg(u64::try_from(window.as_micros()).unwrap_or(u64::MAX));
        let answer = tokio::time::timeout(SPEND, self.link.ask(Ask::Write(&call))).await;
        let Ok(Ok(answer)) = answer else {
            self.slow.mute();
            return None;
        };
        match parsed(answer).ok()? {
            (1, left) => Some(Spent::Left(u32::try_from(left).unwrap_or(u32::MAX))),
            (0_u8, wait) => Some(Spent::Wait(Duration::from_micros(wait))),
            _ => None,
        }
    }

    async fn envelope(&self, peer: &PeerId) -> Result<Option<Bytes>, RegistryError> {
        let mut call = self.scripts.read.call(&[&self.keys.peer(peer)]);
        call.arg(self.now_arg()).arg(keys::MOST_ENVELOPE_BYTES).arg(&[keys::EXPIRES_AT, keys::ENVELOPE][..]);
        let fields: Vec<Option<Vec<u8>>> = parsed(self.link.ask(Ask::Read(&call)).await?)?;
        let mut fields = fields.into_iter();
        let mut number = || {
            let text = fields.next().flatten()?;
            std::str::from_utf8(&text).ok()?.parse::<i64>().ok()
        };
        match (number(), number(), fields.next().flatten()) {
            (Some(now), Some(expires_at), Some(envelope)) if expires_at > now => Ok(Some(envelope.into())),
            // Without our fields the hash is another program's, or none: not a peer that registered here.
            _ => Ok(None),
        }
    }

    async fn bound(&self, peer: &PeerId) -> Result<Option<Bound>, RegistryError> {
        let corrupt = || self.unreadable_pin(peer);
        let call = self.scripts.bound.call(&[&self.keys.pin(peer)]);
        let fields: Vec<String> = parsed(self.link.ask(Ask::Read(&call)).await?)?;
        match fields.as_slice() {
            [] => Ok(None),
            [key, line] if key.len().max(line.len()) <= keys::MOST_FIELD_BYTES => {
                let line = match line.as_str() {
                    "" => None,
                    text => Some(KeyLine::from_row(text).ok_or_else(corrupt)?),
                };
                Ok(Some(Bound { public_key: PublicKey::parse(key).map_err(|_| corrupt())?, line }))
            }
            _ => Err(corrupt()),
        }
    }

    async fn statements(&self, peer: &PeerId) -> Result<Option<String>, RegistryError> {
        let mut call = self.scripts.read.call(&[&self.keys.pin(peer)]);
        call.arg(self.now_arg()).arg(kept_statements::MAX_KEPT_BYTES).arg(keys::STATEMENTS);
        let fields: Vec<Option<Vec<u8>>> = parsed(self.link.ask(Ask::Read(&call)).await?)?;
        // What cannot be read are no statements: whatever depends on them counts only once its owner sends them again.
        Ok(Some(fields.into_iter().nth(1).flatten().and_then(|text| String::from_utf8(text).ok()).unwrap_or_default()))
    }

    async fn bind(
        &self,
        peer: &PeerId,
        before: Option<&Bound>,
        line: &KeyLine,
        statements: &str,
    ) -> Result<bool, RegistryError> {
        let row = before.and_then(|bound| bound.line.as_ref()).map_or_else(String::new, KeyLine::to_row);
        self.rebind(peer, (before, &row), line.public_key, Some((line, statements))).await
    }

    async fn restore(
        &self,
        peer: &PeerId,
        before: &Bound,
        key: PublicKey,
        line: Option<&KeyLine>,
    ) -> Result<bool, RegistryError> {
        let statements = self.statements(peer).await?.unwrap_or_default();
        // What others wrote may be written otherwise than we would write it.
        self.rebind(peer, (Some(before), "*"), key, line.map(|line| (line, &*statements))).await
    }

    async fn claim(&self, peer: &PeerId, key: PublicKey) -> Result<PublicKey, RegistryError> {
        let mut call = self.scripts.claim.call(&[&self.keys.pin(peer)]);
        call.arg(key.to_base64());
        let (_, bound): (String, String) = parsed(self.link.ask(Ask::Write(&call)).await?)?;
        PublicKey::parse(&bound).map_err(|_| self.unreadable_pin(peer))
    }

    async fn list(&self, after: Option<&PeerCursor>, limit: usize) -> Result<PeerPage, RegistryError> {
        self.page(after, limit).await
    }

    fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    async fn live(&self) -> Result<u64, RegistryError> {
        self.count().await
    }

    async fn ping(&self) -> Result<(), RegistryError> {
        self.link.ping().await
    }

    fn faults(&self) -> Vec<StoreFault> {
        self.link.faults()
    }

    async fn examine(&self) -> Result<Vec<StoreFault>, RegistryError> {
        self.link.shared.examine(&self.shared_keys()).await
    }

    fn kind(&self) -> &'static str {
        "redis"
    }

    async fn close(&self) {
        self.link.close().await;
    }
}
