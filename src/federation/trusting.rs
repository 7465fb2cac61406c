//! The other side of a round as far as it is trusted: what it signs is compared with what it signed before, and written down, before
//! anything is done with it; and nothing more is taken as soon as its key is not trusted any more.

use super::{
    client::ClientError,
    exchange::Signer,
    filter::Filter,
    lines::Lines,
    promise::impossible,
    reconcile::{Answer, item::ItemId},
    remote::{ChangesQuery, Knowing, OfferAnswer, PushAnswer, Remote},
    waiting::Waits,
};
use crate::{
    manifest::{Head, Lineage, Verified},
    trust::{Distrust, Follows, MAX_SKEW, Named, Refusal, TrustStore, freshness::is_expired},
    types::{Limits, NodeId, PeerId, PublicKey, SharedClock},
};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Map;
use std::sync::{Arc, OnceLock};
use tokio::sync::Mutex;

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
    named: Named,
    who: OnceLock<(PeerId, PublicKey)>,
    /// How its head follows the newest one of before, where it does not continue that.
    follows: OnceLock<Follows>,
    /// The lineage that was asked for last.
    lineage: Mutex<Option<Lineage>>,
}

impl<'a> Trusting<'a> {
    pub(super) fn new(
        remote: &'a dyn Remote,
        trust: &'a Arc<TrustStore>,
        clock: &'a SharedClock,
        pinned: (Option<String>, Option<String>),
        named: Named,
    ) -> Self {
        let (who, follows) = (OnceLock::new(), OnceLock::new());
        Self { remote, trust, clock, pinned, named, who, follows, lineage: Mutex::default() }
    }

    /// How the head that came follows the newest one of before.
    pub(super) fn follows(&self) -> Follows {
        self.follows.get().copied().unwrap_or(Follows::Continues)
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
        self.trust.may_pull(peer, *key, self.named).map_err(|distrust| self.refuse(peer, *key, distrust))
    }

    fn guarded(&self, lines: Lines) -> Lines {
        let Some((peer, key)) = self.who.get().cloned() else { return lines };
        let (trust, named) = (Arc::clone(self.trust), self.named);
        lines.while_trusted(move || Ok(trust.may_pull(&peer, key, named)?))
    }
}

#[async_trait]
impl Remote for Trusting<'_> {
    async fn head(&self, limits: &Limits) -> Result<Verified<Head>, ClientError> {
        let verified = self.remote.head(limits).await?;
        let (head, key) = (verified.get(), verified.public_key());
        // Also of a head that has expired: who is not trusted is told so first.
        let taken = match self.counts(head, key) {
            true => {
                let before = self.trust.newest_head(&head.node_id, key);
                let lineage = match before.is_some_and(|before| before.needs_lineage(head)) {
                    true => self.lineage(&verified).await?,
                    false => head.newest_epoch(),
                };
                self.trust.take_head(&verified, &lineage, self.named)
            }
            false => self.trust.may_pull(&head.node_id, key, self.named).map(|()| Follows::Continues),
        };
        let follows = taken.map_err(|distrust| self.refuse(&head.node_id, key, distrust))?;
        if follows != Follows::Continues {
            let _the_first_counts = self.follows.set(follows);
        }
        let is_frozen = is_expired(head.expires, self.clock.now());
        self.trust.note_frozen(&head.node_id, key, is_frozen);
        if is_frozen {
            self.tell(&head.node_id, key, STALE);
        }
        let _the_first_counts = self.who.set((head.node_id.clone(), key));
        Ok(verified)
    }

    async fn lineage(&self, head: &Verified<Head>) -> Result<Lineage, ClientError> {
        let mut known = self.lineage.lock().await;
        let hash = head.get().epoch.as_ref().map(|it| it.lineage_hash);
        if let Some(known) = known.as_ref().filter(|known| Some(*known.hash()) == hash) {
            return Ok(known.clone());
        }
        let lineage = self.remote.lineage(head).await?;
        *known = Some(lineage.clone());
        Ok(lineage)
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

    async fn unavailable(&self) -> Result<Option<Lines>, ClientError> {
        self.still()?;
        Ok(self.remote.unavailable().await?.map(|lines| self.guarded(lines)))
    }

    async fn offer(&self, signer: &Signer<'_>, knowing: Knowing<'_>, lines: Bytes) -> Result<OfferAnswer, ClientError> {
        self.still()?;
        self.remote.offer(signer, knowing, lines).await
    }

    async fn push(
        &self,
        signer: &Signer<'_>,
        knowing: Knowing<'_>,
        filter: &Filter,
        lines: Bytes,
    ) -> Result<PushAnswer, ClientError> {
        self.still()?;
        self.remote.push(signer, knowing, filter, lines).await
    }
    async fn waiting(&self, signer: &Signer<'_>) -> Result<(Option<Waits>, u64), ClientError> {
        self.still()?;
        self.remote.waiting(signer).await
    }
}
