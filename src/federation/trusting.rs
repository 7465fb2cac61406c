//! The other side of a round as far as it is trusted: what it signs is compared with what it signed before, and written down, before
//! anything is done with it; and nothing more is taken as soon as its key is not trusted any more.

use super::{
    client::ClientError,
    exchange::Signer,
    feed::Received,
    filter::Filter,
    lines::Lines,
    promise::impossible,
    reconcile::{Answer, item::ItemId},
    remote::{ChangesQuery, Remote},
    waiting::Waits,
};
use crate::{
    manifest::{Head, Verified},
    trust::{Distrust, MAX_SKEW, Refusal, TrustStore, freshness::is_expired},
    types::{Limits, NodeId, PeerId, PublicKey, SharedClock},
};
use async_trait::async_trait;
use serde_json::Map;
use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

/// What refusals of a round say as their door.
pub(super) const ROUND: &str = "round";
/// Of a head that has expired; the round itself says so.
const STALE: &str = "stale";

impl From<Distrust> for ClientError {
    fn from(distrust: Distrust) -> Self {
        Self::Distrusted { code: distrust.code(), detail: distrust.to_string() }
    }
}

/// See the module.
pub(super) struct Trusting<'a> {
    remote: &'a dyn Remote,
    trust: &'a Arc<TrustStore>,
    clock: &'a SharedClock,
    /// Id and key of the first contact.
    pinned: (Option<String>, Option<String>),
    who: OnceLock<(PeerId, PublicKey)>,
}

impl<'a> Trusting<'a> {
    pub(super) fn new(
        remote: &'a dyn Remote,
        trust: &'a Arc<TrustStore>,
        clock: &'a SharedClock,
        pinned: (Option<String>, Option<String>),
    ) -> Self {
        Self { remote, trust, clock, pinned, who: OnceLock::new() }
    }

    /// A head that the round would refuse anyway must not count as the newest one.
    fn counts(&self, head: &Head, key: PublicKey) -> bool {
        let (id, pinned) = &self.pinned;
        let is_other = id.as_ref().is_some_and(|id| id != head.node_id.as_str())
            || pinned.as_ref().is_some_and(|pinned| *pinned != key.to_base64() && !self.succeeds(key, pinned));
        let now = self.clock.now();
        let is_timely = !is_expired(head.expires, now) && head.issued_at.since(now) <= MAX_SKEW;
        !is_other && is_timely && impossible(head).is_none()
    }

    /// Did the key take the place of the one that was met first?
    fn succeeds(&self, key: PublicKey, pinned: &str) -> bool {
        PublicKey::parse(pinned).is_ok_and(|pinned| self.trust.succeeds(key, pinned))
    }

    fn refuse(&self, peer: &PeerId, key: PublicKey, distrust: Distrust) -> ClientError {
        self.tell(peer, key, distrust.code());
        distrust.into()
    }

    fn tell(&self, peer: &PeerId, key: PublicKey, code: &'static str) {
        let detail = Map::from_iter([("public_key".to_owned(), key.to_base64().into())]);
        let subject = Some(peer.to_string());
        self.trust.refused(Refusal { code, door: ROUND, subject, account: None, detail });
    }

    fn still(&self) -> Result<(), ClientError> {
        let Some((peer, key)) = self.who.get() else { return Ok(()) };
        self.trust.may_pull(peer, *key).map_err(|distrust| self.refuse(peer, *key, distrust))
    }

    fn guarded(&self, lines: Lines) -> Lines {
        let Some((peer, key)) = self.who.get().cloned() else { return lines };
        let trust = Arc::clone(self.trust);
        lines.while_trusted(move || Ok(trust.may_pull(&peer, key)?))
    }
}

#[async_trait]
impl Remote for Trusting<'_> {
    async fn head(&self, limits: &Limits) -> Result<Verified<Head>, ClientError> {
        let verified = self.remote.head(limits).await?;
        let (head, key) = (verified.get(), verified.public_key());
        // Also of a head that has expired: who is not trusted is told so first.
        let taken = match self.counts(head, key) {
            true => self.trust.take_head(head, key),
            false => self.trust.may_pull(&head.node_id, key),
        };
        taken.map_err(|distrust| self.refuse(&head.node_id, key, distrust))?;
        let is_frozen = is_expired(head.expires, self.clock.now());
        self.trust.note_frozen(&head.node_id, key, is_frozen);
        if is_frozen {
            self.tell(&head.node_id, key, STALE);
        }
        let _the_first_counts = self.who.set((head.node_id.clone(), key));
        Ok(verified)
    }

    async fn changes(&self, query: &ChangesQuery<'_>) -> Result<Lines, ClientError> {
        self.still()?;
        Ok(self.guarded(self.remote.changes(query).await?))
    }

    async fn nodes(&self, ids: &[NodeId]) -> Result<Lines, ClientError> {
        self.still()?;
        Ok(self.guarded(self.remote.nodes(ids).await?))
    }

    async fn reconcile(&self, message: &[u8]) -> Result<Option<Answer>, ClientError> {
        self.still()?;
        self.remote.reconcile(message).await
    }

    async fn versions(&self, items: &[ItemId], contents: bool) -> Result<Lines, ClientError> {
        self.still()?;
        Ok(self.guarded(self.remote.versions(items, contents).await?))
    }

    async fn offer(&self, signer: &Signer<'_>, lines: Vec<u8>) -> Result<Vec<NodeId>, ClientError> {
        self.still()?;
        self.remote.offer(signer, lines).await
    }

    async fn push(
        &self,
        signer: &Signer<'_>,
        filter: &Filter,
        lines: Vec<u8>,
    ) -> Result<(Received, Range<u64>), ClientError> {
        self.still()?;
        self.remote.push(signer, filter, lines).await
    }
    async fn waiting(&self, signer: &Signer<'_>) -> Result<(Option<Waits>, u64), ClientError> {
        self.still()?;
        self.remote.waiting(signer).await
    }
}
