//! A peer of which a round is refused because no live manifest of this instance is registered there: its registry was lost or restored, or
//! the entry expired. This instance is announced to it at once, and the request is repeated.

use super::{Shared, keys::Said};
use crate::{
    federation::{
        client::{Client, ClientError},
        exchange::Signer,
        filter::Filter,
        lines::Lines,
        reconcile::{Answer, item::ItemId},
        remote::{ChangesQuery, Knowing, OfferAnswer, PushAnswer, Remote},
        waiting::Waits,
    },
    identity::Held,
    manifest::{Head, Lineage, Verified},
    types::{Limits, NodeId},
};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::OnceLock;

/// In the detail of `403 not_trusted`: the instance that signed the request is not registered. The code has other causes too, and releases
/// up to this one state the cause in these words only.
pub const NO_LIVE_MANIFEST: &str = "it has no live manifest here; register one first";

/// The other side of a round. See the module.
pub(super) struct Announcing<'a> {
    shared: &'a Shared,
    client: &'a Client,
    held: &'a Held,
    /// What was announced in this round; at most once a round.
    said: OnceLock<Said>,
}

impl<'a> Announcing<'a> {
    pub(super) const fn new(shared: &'a Shared, client: &'a Client, held: &'a Held) -> Self {
        Self { shared, client, held, said: OnceLock::new() }
    }

    /// Notes what was announced in the round.
    pub(super) fn note_in(&self, said: &mut Said) {
        if let Some(now) = self.said.get() {
            (said.announced, said.told) = (now.announced, now.told);
        }
    }

    /// Can the request be repeated? It can where it was refused for a missing manifest, which is there now.
    async fn has_announced(&self, error: &ClientError) -> bool {
        if !is_unregistered(error) || self.said.get().is_some() {
            return false;
        }
        // A registry that lacks the manifest may lack the statements about the key as well.
        let mut said = Said::default();
        self.shared.say_who_we_are(self.client, self.held, &mut said).await;
        let is_announced = said.announced.is_some();
        self.said.set(said).is_ok() && is_announced
    }
}

fn is_unregistered(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status: 403, code, detail, .. }
        if code == "not_trusted" && detail.contains(NO_LIVE_MANIFEST))
}

#[async_trait]
impl Remote for Announcing<'_> {
    async fn head(&self, limits: &Limits) -> Result<Verified<Head>, ClientError> {
        self.client.head(limits).await
    }

    async fn lineage(&self, head: &Verified<Head>) -> Result<Lineage, ClientError> {
        self.client.lineage(head).await
    }

    async fn changes(&self, query: &ChangesQuery<'_>) -> Result<Lines, ClientError> {
        self.client.changes(query).await
    }

    async fn nodes(&self, ids: &[NodeId]) -> Result<Lines, ClientError> {
        self.client.nodes(ids).await
    }

    async fn reconcile(&self, message: &[u8]) -> Result<Option<Answer>, ClientError> {
        self.client.reconcile(message).await
    }

    async fn versions(&self, items: &[ItemId], contents: bool) -> Result<Lines, ClientError> {
        self.client.versions(items, contents).await
    }

    async fn unavailable(&self) -> Result<Option<Lines>, ClientError> {
        self.client.unavailable().await
    }

    async fn offer(&self, signer: &Signer<'_>, knowing: Knowing<'_>, lines: Bytes) -> Result<OfferAnswer, ClientError> {
        match self.client.offer(signer, knowing, lines.clone()).await {
            Err(error) if self.has_announced(&error).await => self.client.offer(signer, knowing, lines).await,
            answer => answer,
        }
    }

    async fn push(
        &self,
        signer: &Signer<'_>,
        knowing: Knowing<'_>,
        filter: &Filter,
        lines: Bytes,
    ) -> Result<PushAnswer, ClientError> {
        match self.client.push(signer, knowing, filter, lines.clone()).await {
            Err(error) if self.has_announced(&error).await => self.client.push(signer, knowing, filter, lines).await,
            answer => answer,
        }
    }

    async fn waiting(&self, signer: &Signer<'_>) -> Result<(Option<Waits>, u64), ClientError> {
        match self.client.waiting(signer).await {
            Err(error) if self.has_announced(&error).await => self.client.waiting(signer).await,
            answer => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_manifest_is_announced() {
        let refused = |status, code: &str, detail: &str| {
            let (code, detail) = (code.to_owned(), detail.to_owned());
            is_unregistered(&ClientError::Refused { status, code, detail, retry_after: None })
        };
        let missing = format!("this instance takes no changes from laptop with this key: {NO_LIVE_MANIFEST}");
        assert!(refused(403, "not_trusted", &missing));
        assert!(!refused(403, "not_trusted", "another key speaks for that id"));
        assert!(!refused(403, "peer_blocked", &missing));
        assert!(!refused(401, "not_trusted", &missing));
    }
}
