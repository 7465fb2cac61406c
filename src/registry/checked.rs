//! A registry in a store that other programs can write to, read like input: an envelope is verified again before it is handed out, and
//! what a list shows of a peer is made from its verified envelope, not from what the store says of it.
//!
//! A key line counts for an id whose key the admin knows only as far as signed statements lead from that key.
//!
//! Not done here: bindings of other ids and allowances, which the adapter reads as typed values; expiry, which is the store's to say.

use super::{
    Bindings, Bound, PeerCursor, PeerPage, PeerRecord, Registered, Registry, RegistryError, Spent, StoreFault,
};
use crate::{
    guard::{Class, Payer},
    manifest::{Manifest, Verified, verify},
    trust::{Admitted, KeyLine, kept_statements::KeptStatements},
    types::{Limits, PeerId, PublicKey, Timestamp},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Envelopes that are fetched and verified at the same time.
const CONCURRENT: usize = 16;
/// A page whose peers take longer than this to verify ends early, with a cursor.
const PAGE_TIME: Duration = Duration::from_millis(400);
/// Verifying more bytes than this takes longer than a millisecond, in which a worker would serve none of its clients.
const LARGE_BYTES: usize = 128 << 10;
/// Most peers of which it is remembered that their listed fields are those of a verified envelope: 32 bytes and the id each.
const MOST_KNOWN: usize = 200_000;
/// Most ids of which it is remembered what statements led to: a line has up to 32 KiB, most have less than 1 KiB.
const MOST_LINES: usize = 2000;
/// The shortest time between two warnings.
const BETWEEN: Duration = Duration::from_secs(10);

/// The stored line and the key that is known, and what the statements led to from there.
type Checked = (KeyLine, PublicKey, Option<KeyLine>);

/// See the module's text.
#[derive(Debug)]
pub struct CheckedRegistry {
    inner: Arc<dyn Registry>,
    limits: Limits,
    /// SHA-256 of the listed fields that were last found to be those of a verified envelope.
    known: Mutex<HashMap<PeerId, [u8; 32]>>,
    lines: Mutex<HashMap<PeerId, Checked>>,
    warned: Mutex<Option<Instant>>,
}

impl CheckedRegistry {
    /// Checks what is read from `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Registry>, limits: Limits) -> Self {
        Self { inner, limits, known: Mutex::default(), lines: Mutex::default(), warned: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<PeerId, [u8; 32]>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, peer: &PeerId, digest: [u8; 32]) {
        let mut known = self.known();
        if known.len() >= MOST_KNOWN && !known.contains_key(peer) {
            // Those that are listed again are verified again.
            known.clear();
        }
        known.insert(peer.clone(), digest);
    }

    fn warn(&self, peer: &PeerId, problem: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|last| last.elapsed() >= BETWEEN) {
            *warned = Some(Instant::now());
            tracing::warn!(
                registry.kind = self.inner.kind(),
                key = %format_args!("peer:{peer}"),
                problem,
                "an entry of the registry does not count; the peer's next manifest writes it anew"
            );
        }
    }

    /// The peer's envelope, verified; `None`, with a warning, where it is not one of this peer.
    async fn verified(&self, peer: &PeerId) -> Result<Option<Verified<Manifest>>, RegistryError> {
        let Some(envelope) = self.inner.envelope(peer).await? else { return Ok(None) };
        if envelope.len() > self.limits.manifest_bytes {
            self.warn(peer, "its envelope is larger than limits.manifest_bytes");
            return Ok(None);
        }
        let limits = self.limits;
        let outcome = if envelope.len() <= LARGE_BYTES {
            verify(envelope, &limits)
        } else {
            let work = tokio::task::spawn_blocking(move || verify(envelope, &limits));
            work.await.map_err(|error| RegistryError::no_answer(error.to_string()))?
        };
        match outcome {
            Ok(verified) if verified.get().peer() == peer => Ok(Some(verified)),
            Ok(_) => {
                self.warn(peer, "its envelope is another peer's");
                Ok(None)
            }
            Err(error) => {
                self.warn(peer, &error.to_string());
                Ok(None)
            }
        }
    }

    /// The key line to which the kept statements lead from `known`; `None`: to none.
    async fn proven_line(
        &self,
        peer: &PeerId,
        known: PublicKey,
        now: Timestamp,
    ) -> Result<Option<KeyLine>, RegistryError> {
        let text = self.inner.statements(peer).await?.unwrap_or_default();
        let subject = peer.clone();
        let work = tokio::task::spawn_blocking(move || KeptStatements::parse(&text).line_from(known, &subject, now));
        work.await.map_err(|error| RegistryError::no_answer(error.to_string()))
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<PeerId, Checked>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record as the peer's own verified envelope has it.
    async fn proven(&self, record: PeerRecord) -> Result<Option<PeerRecord>, RegistryError> {
        let listed = digest(record.public_key, record.instance_type.as_deref(), &record.summary);
        if self.known().get(&record.peer) == Some(&listed) {
            return Ok(Some(record));
        }
        let Some(verified) = self.verified(&record.peer).await? else { return Ok(None) };
        let manifest = verified.get();
        self.remember(&record.peer, digest_of(&verified));
        Ok(Some(PeerRecord {
            public_key: verified.public_key(),
            instance_type: manifest.instance_type().map(Box::from),
            summary: Bytes::copy_from_slice(manifest.summary().as_bytes()),
            ..record
        }))
    }
}

fn digest(key: PublicKey, instance_type: Option<&str>, summary: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(key.as_bytes());
    // Lengths apart, so that no two lists of fields have the same bytes.
    hasher.update(instance_type.map_or(u64::MAX, |kind| u64::try_from(kind.len()).unwrap_or(u64::MAX)).to_be_bytes());
    hasher.update(instance_type.unwrap_or_default());
    hasher.update(summary);
    hasher.finalize().into()
}

fn digest_of(verified: &Verified<Manifest>) -> [u8; 32] {
    let manifest = verified.get();
    digest(verified.public_key(), manifest.instance_type(), manifest.summary().as_bytes())
}

#[async_trait]
impl Registry for CheckedRegistry {
    async fn renew(&self, admitted: &Admitted) -> Result<Option<Registered>, RegistryError> {
        self.inner.renew(admitted).await
    }

    async fn register(&self, admitted: &Admitted) -> Result<Registered, RegistryError> {
        let registered = self.inner.register(admitted).await?;
        let verified = admitted.manifest();
        self.remember(verified.get().peer(), digest_of(verified));
        Ok(registered)
    }

    async fn envelope(&self, peer: &PeerId) -> Result<Option<Bytes>, RegistryError> {
        Ok(self.verified(peer).await?.map(|verified| verified.received().clone()))
    }

    async fn bound(&self, peer: &PeerId) -> Result<Option<Bound>, RegistryError> {
        self.inner.bound(peer).await
    }

    async fn line_from(
        &self,
        peer: &PeerId,
        bound: &Bound,
        known: PublicKey,
        now: Timestamp,
    ) -> Result<Option<KeyLine>, RegistryError> {
        let Some(stored) = &bound.line else { return Ok(None) };
        if let Some((from, key, line)) = self.lines().get(peer)
            && from == stored
            && *key == known
        {
            return Ok(line.clone());
        }
        let line = self.proven_line(peer, known, now).await?;
        // Version 0.1.0 kept no statements; such a line contradicts nothing as long as the key speaks.
        let is_silent = line.is_none() && stored.speaks(known) && !stored.is_retired(known);
        if line.is_none() && !is_silent {
            self.warn(peer, "its key line does not follow by signed statements from the key that is known here");
        }
        // What does not lead to the stored line may be about to change.
        if is_silent || line.as_ref().is_some_and(|line| line.tip == stored.tip) {
            let mut lines = self.lines();
            if lines.len() >= MOST_LINES && !lines.contains_key(peer) {
                lines.clear();
            }
            lines.insert(peer.clone(), (stored.clone(), known, line.clone()));
        }
        Ok(line)
    }

    async fn statements(&self, peer: &PeerId) -> Result<Option<String>, RegistryError> {
        self.inner.statements(peer).await
    }

    async fn bind(
        &self,
        peer: &PeerId,
        before: Option<&Bound>,
        line: &KeyLine,
        statements: &str,
    ) -> Result<bool, RegistryError> {
        self.inner.bind(peer, before, line, statements).await
    }

    async fn restore(
        &self,
        peer: &PeerId,
        before: &Bound,
        key: PublicKey,
        line: Option<&KeyLine>,
    ) -> Result<bool, RegistryError> {
        let restored = self.inner.restore(peer, before, key, line).await?;
        if restored {
            self.warn(peer, "its binding contradicted the key that the admin knows, and was written anew");
        }
        Ok(restored)
    }

    async fn claim(&self, peer: &PeerId, key: PublicKey) -> Result<PublicKey, RegistryError> {
        self.inner.claim(peer, key).await
    }

    async fn list(&self, after: Option<&PeerCursor>, limit: usize) -> Result<PeerPage, RegistryError> {
        let PeerPage { peers, total, mut next } = self.inner.list(after, limit).await?;
        let (started, mut proven) = (Instant::now(), Vec::with_capacity(peers.len()));
        let mut listed = peers.into_iter();
        loop {
            let batch: Vec<PeerRecord> = listed.by_ref().take(CONCURRENT).collect();
            let Some(last) = batch.last().map(PeerRecord::cursor) else { break };
            let mut outcomes = stream::iter(batch.into_iter().map(|record| self.proven(record))).buffered(CONCURRENT);
            while let Some(outcome) = outcomes.next().await {
                proven.extend(outcome?);
            }
            if started.elapsed() > PAGE_TIME && listed.len() > 0 {
                next = Some(last);
                break;
            }
        }
        Ok(PeerPage { peers: proven, total, next })
    }

    async fn bindings(&self, peer: &PeerId, key: PublicKey) -> Result<Bindings, RegistryError> {
        self.inner.bindings(peer, key).await
    }

    async fn spend(&self, class: Class, payer: Payer, most: u32, window: Duration) -> Option<Spent> {
        self.inner.spend(class, payer, most, window).await
    }

    fn changes(&self) -> u64 {
        self.inner.changes()
    }

    async fn live(&self) -> Result<u64, RegistryError> {
        self.inner.live().await
    }

    async fn ping(&self) -> Result<(), RegistryError> {
        self.inner.ping().await
    }

    fn faults(&self) -> Vec<StoreFault> {
        self.inner.faults()
    }

    async fn examine(&self) -> Result<Vec<StoreFault>, RegistryError> {
        self.inner.examine().await
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
