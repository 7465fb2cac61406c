//! The registry port: who is alive. Entries expire; key bindings do not.

pub mod checked;
#[cfg(test)]
mod conformance;
pub mod embedded;
mod places;
pub mod redis;
/// The same helper that the integration tests use: one way to run a real Redis.
#[cfg(test)]
#[path = "../../tests/support/redis_server.rs"]
mod redis_server;
#[cfg(test)]
#[path = "../../tests/support/redis_shapes.rs"]
mod redis_shapes;
mod store_fault;

pub use places::{NoPlace, PlaceLimits, Share};
pub use store_fault::{StoreFault, StoreState};

use crate::{
    guard::{Class, Payer},
    identity::{KeyLog, SignedStatement, Statement, StatementKind},
    trust::{
        Admitted, Distrust, KeyChange, KeyEvents, KeyLine, KeyLineError, Known, LineChange, StatementSource,
        TooManyChanges, TrustLevel, TrustStore, VersionError, kept_statements::KeptStatements,
    },
    types::{PeerId, PublicKey, Timestamp},
};
use async_trait::async_trait;
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// What a registration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// First statement, newer statement or heartbeat.
    pub step: crate::trust::Step,
    /// How long the entry lives from now.
    pub expires_in: Duration,
}

/// One live peer, without its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRecord {
    /// The instance's id.
    pub peer: PeerId,
    /// The key that signed its newest manifest.
    pub public_key: PublicKey,
    /// `issued_at` of its newest manifest.
    pub issued_at: Option<Timestamp>,
    /// `instance_type` of its manifest, where that is a string.
    pub instance_type: Option<Box<str>>,
    /// `Manifest::summary` of its newest manifest: a JSON object's text.
    pub summary: Bytes,
    /// When it last registered.
    pub last_seen: Timestamp,
    /// How long its entry still lives.
    pub expires_in: Duration,
    /// When it expires, by the adapter's own clock: what a cursor that ends with this peer says.
    pub expires_at_ms: i64,
}

impl PeerRecord {
    /// The cursor of a page that ends with this peer.
    #[must_use]
    pub fn cursor(&self) -> PeerCursor {
        PeerCursor { expires_at_ms: self.expires_at_ms, peer: self.peer.clone() }
    }
}

/// Where a page of peers ended; opaque to clients. Peers come in order of expiry, then id, so that a heartbeat between two
/// pages can show a peer twice but never hide one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCursor {
    /// The last peer's expiry, milliseconds since the epoch of the adapter's own clock.
    pub expires_at_ms: i64,
    /// The last peer.
    pub peer: PeerId,
}

/// Some live peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPage {
    /// The peers, in order of expiry, then id.
    pub peers: Vec<PeerRecord>,
    /// How many are live in all.
    pub total: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<PeerCursor>,
}

/// What is known of an id and of a key before they meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bindings {
    /// The id is bound to some key.
    pub known: bool,
    /// So many ids were bound to the key first.
    pub of_key: u64,
}

/// What a payer has of an allowance that all replicas of this service count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// It was taken; so many are left.
    Left(u32),
    /// There was none; when there is one again.
    Wait(Duration),
}

/// Which key an id is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The key of the newest accepted statement.
    pub public_key: PublicKey,
    /// What the key's own statements led to, where there are any.
    pub line: Option<KeyLine>,
}

impl Bound {
    /// May this key speak for the id, as far as the key's statements say?
    #[must_use]
    pub fn line_speaks(&self, key: PublicKey) -> bool {
        self.line.as_ref().is_none_or(|line| line.speaks(key))
    }
}

/// Why statements about a key were not followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Nobody with that id ever registered here.
    #[error("no instance with this id has registered here; register a manifest first")]
    Unknown,
    /// They do not count.
    #[error(transparent)]
    Line(#[from] KeyLineError),
    /// Nothing that the key says counts here.
    #[error(transparent)]
    Distrust(#[from] Distrust),
    /// The keys of this id, or of strangers, change too often.
    #[error(transparent)]
    TooMany(#[from] TooManyChanges),
    /// The registry does not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Whose bindings are kept however long they are not used.
pub trait KnownPeers: Send + Sync + std::fmt::Debug {
    /// Was it decided that this key speaks for the id? Does not block on the disk.
    fn is_known(&self, peer: &PeerId, key: PublicKey) -> bool;
}

/// Where nobody asks what was decided: every binding is kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct EverybodyKnown;

impl KnownPeers for EverybodyKnown {
    fn is_known(&self, _peer: &PeerId, _key: PublicKey) -> bool {
        true
    }
}

impl KnownPeers for TrustStore {
    fn is_known(&self, peer: &PeerId, key: PublicKey) -> bool {
        self.level(peer, key) == TrustLevel::Verified
    }
}

/// How often statements are judged anew because others came meanwhile.
const MAX_TRIES: u32 = 32;

/// Where statements about an id may begin.
#[derive(Debug, Clone, Copy, Default)]
pub struct Start {
    /// For an id that is bound to no key.
    pub first: Option<PublicKey>,
    /// The pinned key of a peer; what the admin decided of the id's keys counts more.
    pub pinned: Option<PublicKey>,
}

/// What is judged against: the binding as it is, and what counts of it.
struct Judged {
    bound: Option<Bound>,
    line: Option<KeyLine>,
    key: PublicKey,
}

impl Judged {
    /// What the registry says of an id; of one whose key is `known`, as far as signatures lead from that key.
    async fn read(
        registry: &dyn Registry,
        peer: &PeerId,
        known: Option<PublicKey>,
        first: Option<PublicKey>,
        now: Timestamp,
    ) -> Result<Self, FollowError> {
        let bound = registry.bound(peer).await?;
        let line = match (&bound, known) {
            (Some(bound), Some(known)) => registry.line_from(peer, bound, known, now).await?,
            (Some(bound), None) => bound.line.clone(),
            (None, _) => None,
        };
        let key = match &bound {
            Some(bound) => known.unwrap_or(bound.public_key),
            None => first.ok_or(FollowError::Unknown)?,
        };
        Ok(Self { bound, line, key })
    }
}

/// Follows the statements of a peer's key, durably; what holds then.
///
/// # Errors
/// [`FollowError`]; nothing was changed.
pub async fn follow_key(
    registry: &dyn Registry,
    events: Arc<dyn KeyEvents>,
    peer: &PeerId,
    start: Start,
    log: KeyLog,
    source: StatementSource<'_>,
    now: Timestamp,
) -> Result<KeyLine, FollowError> {
    let log = Arc::new(log);
    let mut is_allowed = source == StatementSource::Own;
    for _ in 0..MAX_TRIES {
        let known = if source == StatementSource::Own { None } else { events.known_key(peer).or(start.pinned) };
        let Judged { bound, line: before, key } = Judged::read(registry, peer, known, start.first, now).await?;
        let (judged, judged_log, id) = (before.clone(), Arc::clone(&log), peer.clone());
        // A hundred signatures take their time.
        let judging = tokio::task::spawn_blocking(move || {
            let known = judged.as_ref().map_or(Known::Key(key), Known::Line);
            KeyLine::follow(known, &judged_log, &id, now)
        });
        let line = judging.await.map_err(|_| RegistryError::no_answer("the judging thread failed"))??;
        if before.as_ref() == Some(&line) {
            return Ok(line);
        }
        let old = before.as_ref().map_or(key, |line| line.public_key);
        let old = Some(old).filter(|old| *old != line.public_key);
        let by_recovery = line.epoch > before.as_ref().map_or_else(|| epoch_of(&log, old), |line| line.epoch);
        // Whom the operator revoked does not come back under another key of his own choice.
        if old.is_some_and(|old| !by_recovery && !events.may_speak(old)) {
            return Err(Distrust::Revoked(peer.clone()).into());
        }
        if let StatementSource::Other(address) = source
            && !is_allowed
        {
            events.may_change(&LineChange { peer, old, line: &line, by_recovery, address })?;
            is_allowed = true;
        }
        // What counts of a line may remember fewer keys than the line.
        let line = match bound.as_ref().and_then(|bound| bound.line.as_ref()) {
            Some(stored) => line.with_retired_of(stored),
            None => line,
        };
        let kept = registry.statements(peer).await?;
        let kept = kept.map(|text| KeptStatements::parse(&text).with(&log).to_text()).unwrap_or_default();
        // Another statement that came meanwhile is looked at again.
        if !registry.bind(peer, bound.as_ref(), &line, &kept).await? {
            continue;
        }
        let (subject, next) = (peer.clone(), line.clone());
        let told = tokio::task::spawn_blocking(move || {
            if next.revoked {
                events.revoked(&subject, next.public_key);
            } else if let Some(old) = old {
                events.rotated(&subject, KeyChange { old, new: next.public_key, by_recovery });
            }
        });
        told.await.map_err(|_| RegistryError::no_answer("the thread that is told was lost"))?;
        return Ok(line);
    }
    Err(RegistryError::no_answer("the key of this id changes too often").into())
}

/// How often the recovery key had spoken when `key` spoke, as these statements tell.
fn epoch_of(log: &KeyLog, key: Option<PublicKey>) -> u64 {
    let statements = log.statements().iter().map(SignedStatement::statement);
    let mut making =
        statements.clone().rev().filter(|it| Some(it.public_key) == key && it.kind != StatementKind::Revoke);
    let first = statements.clone().next();
    // The one that made it is too old to be sent: the first one that is ends it.
    let before = |it: &Statement| it.epoch.saturating_sub(u64::from(it.kind == StatementKind::Recover));
    making.next().map_or_else(|| first.map_or(0, before), |it| it.epoch)
}

/// Why the registry did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// The statement may not follow what is pinned. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] VersionError),
    /// The registry holds as many peers as it may. Nothing was changed.
    #[error("the registry is full: it holds {limit} peers")]
    Full {
        /// The bound that is reached.
        limit: u64,
    },
    /// A peer that nobody decided on, its key or its address has as much as it may. Nothing was changed.
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    /// The store does not answer in time, or refuses in its present state. The call may or may not have taken effect; it is safe to repeat.
    #[error("the registry cannot be used: {0}")]
    Unavailable(Box<StoreFault>),
    /// The store's disk is full. Nothing was changed.
    #[error("the registry's disk has no space left")]
    NoSpace,
    /// What the store holds cannot be read. Trusted state fails closed.
    #[error("the registry holds what this version cannot read: {0}")]
    Corrupt(String),
}

impl RegistryError {
    /// The store does not answer.
    #[must_use]
    pub fn no_answer(text: impl Into<String>) -> Self {
        StoreFault::new(StoreState::NoAnswer, text).into()
    }

    /// Does the store answer, and hold what cannot be read?
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        let is_unreadable = |fault: &StoreFault| matches!(fault.state, StoreState::Unreadable | StoreState::WrongType);
        matches!(self, Self::Corrupt(_)) || self.fault().is_some_and(is_unreadable)
    }

    /// The state of the store that it is about.
    #[must_use]
    pub fn fault(&self) -> Option<&StoreFault> {
        match self {
            Self::Unavailable(fault) => Some(fault),
            Self::Refused(_) | Self::Full { .. } | Self::NoPlace(_) | Self::NoSpace | Self::Corrupt(_) => None,
        }
    }
}

impl From<StoreFault> for RegistryError {
    fn from(fault: StoreFault) -> Self {
        Self::Unavailable(Box::new(fault))
    }
}

/// Who is alive. Every call answers within about two seconds, and nine where the store is a disk of this machine, also when the store does
/// not answer (then with [`RegistryError::Unavailable`]). Dropping a returned future never leaves a half-done write behind.
#[async_trait]
pub trait Registry: Send + Sync + std::fmt::Debug {
    /// Renews an entry cheaply, where it lives and its newest statement is exactly this one. `None`, and nothing was changed: that is not
    /// so, or this store has no cheap way; [`Self::register`] decides then.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`], [`RegistryError::NoSpace`], [`RegistryError::Corrupt`].
    async fn renew(&self, _admitted: &Admitted) -> Result<Option<Registered>, RegistryError> {
        Ok(None)
    }

    /// Registers a statement or renews it. The version rules of [`crate::trust::Pin::step`] and the write are one atomic step;
    /// `Ok` means that key binding and version are durable.
    ///
    /// # Errors
    /// Every variant of [`RegistryError`].
    async fn register(&self, admitted: &Admitted) -> Result<Registered, RegistryError>;

    /// The newest envelope of a live peer, byte for byte as received. `None` where the peer is not known or its entry expired.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`], [`RegistryError::Corrupt`].
    async fn envelope(&self, peer: &PeerId) -> Result<Option<Bytes>, RegistryError>;

    /// Which key an id is bound to; `None` for an id that nobody ever spoke for.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`], [`RegistryError::Corrupt`].
    async fn bound(&self, peer: &PeerId) -> Result<Option<Bound>, RegistryError>;

    /// What counts of the key line in `bound` for an id whose key is known by the admin's word: where others write to the store, only what
    /// signed statements say that lead from that key. `None`: nothing.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`], [`RegistryError::Corrupt`].
    async fn line_from(
        &self,
        _peer: &PeerId,
        bound: &Bound,
        _known: PublicKey,
        _now: Timestamp,
    ) -> Result<Option<KeyLine>, RegistryError> {
        Ok(bound.line.clone())
    }

    /// The statements that are kept next to an id's key line, see [`KeptStatements`]; `None`: this store is nobody else's and keeps none.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`], [`RegistryError::Corrupt`].
    async fn statements(&self, _peer: &PeerId) -> Result<Option<String>, RegistryError> {
        Ok(None)
    }

    /// Binds an id to what its key's statements led to, durably, where it is still bound as in `before`; `false` where it is not. With
    /// another key, or none, what the key before had registered is no longer live. `statements`: what [`Self::statements`] answers then.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`], [`RegistryError::NoSpace`], [`RegistryError::Corrupt`].
    async fn bind(
        &self,
        peer: &PeerId,
        before: Option<&Bound>,
        line: &KeyLine,
        statements: &str,
    ) -> Result<bool, RegistryError>;

    /// Binds an id to the key that it has by the admin's word, and to the line that counts for it, where it is still bound to the key of
    /// `before`: what others wrote into a shared store goes. `false`: it is bound otherwise, or this store is nobody else's.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`], [`RegistryError::NoSpace`], [`RegistryError::Corrupt`].
    async fn restore(
        &self,
        _peer: &PeerId,
        _before: &Bound,
        _key: PublicKey,
        _line: Option<&KeyLine>,
    ) -> Result<bool, RegistryError> {
        Ok(false)
    }

    /// Binds an id to a key, durably and without statements, where it is bound to none. The key that it is bound to then.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`], [`RegistryError::NoSpace`], [`RegistryError::Corrupt`].
    async fn claim(&self, peer: &PeerId, key: PublicKey) -> Result<PublicKey, RegistryError>;

    /// Up to `limit` live peers after `after`. Costs what the page costs, whatever the number of keys in the store.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`], [`RegistryError::Corrupt`].
    async fn list(&self, after: Option<&PeerCursor>, limit: usize) -> Result<PeerPage, RegistryError>;

    /// What is bound to what. Asked for before an id is taken that this process has not seen yet.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`], [`RegistryError::Corrupt`].
    async fn bindings(&self, peer: &PeerId, key: PublicKey) -> Result<Bindings, RegistryError>;

    /// Takes one of an allowance of `most` in `window` that all replicas share. `None`: this store is nobody else's, or it does not
    /// answer at once; then each replica counts by itself.
    async fn spend(&self, _class: Class, _payer: Payer, _most: u32, _window: Duration) -> Option<Spent> {
        None
    }

    /// Another number after each change that this process made, or may have made, before that change is answered: what was listed
    /// before it may be wrong since. What others change in a store that they share shows in [`Self::list`] alone.
    fn changes(&self) -> u64;

    /// How many peers are live.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`].
    async fn live(&self) -> Result<u64, RegistryError>;

    /// Does the store answer?
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`].
    async fn ping(&self) -> Result<(), RegistryError>;

    /// The states of the store that were found and have not ended, those in which it refuses calls first. Asks nothing.
    fn faults(&self) -> Vec<StoreFault> {
        Vec::new()
    }

    /// Asks the store for every state that can be found without a registration, and leaves nothing behind: for `doctor`.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`].
    async fn examine(&self) -> Result<Vec<StoreFault>, RegistryError> {
        self.ping().await.map(|()| self.faults())
    }

    /// `embedded` or `redis`: for logs and `/health`.
    fn kind(&self) -> &'static str;

    /// Flushes and stops the adapter's own tasks. Later calls answer [`RegistryError::Unavailable`].
    async fn close(&self);
}
