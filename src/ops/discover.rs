//! Who is alive.

use super::Context;
use crate::{
    registry::{PeerCursor, PeerRecord, RegistryError},
    trust::TrustLevel,
    types::PeerId,
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Which peers are asked for.
#[derive(Debug, Clone, Default)]
pub struct DiscoverFilter {
    /// Only peers of this `instance_type`.
    pub instance_type: Option<String>,
    /// Only peers of this level.
    pub trust_level: Option<TrustLevel>,
}

/// A live peer, and what this instance thinks of it.
#[derive(Debug)]
pub struct Peer {
    /// As the registry keeps it.
    pub record: PeerRecord,
    /// What this instance thinks of its key.
    pub trust_level: TrustLevel,
}

/// Some live peers.
#[derive(Debug)]
pub struct Discovered {
    /// The peers that pass the filter, in order of id.
    pub peers: Vec<Peer>,
    /// Live peers in all, whatever the filter.
    pub total: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<PeerCursor>,
}

impl Discovered {
    /// Changes when a peer of the page comes, goes or says something new; not with every heartbeat.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        for peer in &self.peers {
            for part in [peer.record.public_key.as_bytes().as_slice(), &peer.record.summary, &[0]] {
                hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
                hasher.update(part);
            }
            hasher.update(peer.trust_level.as_str());
        }
        hasher.update(self.total.to_be_bytes());
        let digest: [u8; 32] = hasher.finalize().into();
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Most pages of the registry that one call looks at: what it costs, also where the filter lets nobody through.
const MAX_PAGES: usize = 64;

/// Up to `limit` live peers after `after` that pass `filter`. Looks at further pages of the registry only as long as the filter
/// lets too few through, and at a bounded number of them: fewer peers than `limit`, or none, may come with a cursor to go on.
///
/// # Errors
/// The registry does not answer.
pub async fn discover(
    context: &Context,
    filter: &DiscoverFilter,
    after: Option<PeerCursor>,
    limit: usize,
) -> Result<Discovered, RegistryError> {
    let mut peers = Vec::new();
    let mut after = after;
    let mut pages = 0;
    loop {
        pages += 1;
        let page = context.registry.list(after.as_ref(), limit - peers.len()).await?;
        peers.extend(page.peers.into_iter().filter_map(|record| admit(context, filter, record)));
        if page.next.is_none() || peers.len() >= limit || pages >= MAX_PAGES {
            peers.sort_by(|a, b| a.record.peer.cmp(&b.record.peer));
            return Ok(Discovered { peers, total: page.total, next: page.next });
        }
        after = page.next;
    }
}

fn admit(context: &Context, filter: &DiscoverFilter, record: PeerRecord) -> Option<Peer> {
    let trust_level = context.trust.level(&record.peer, record.public_key);
    let type_fits =
        filter.instance_type.as_deref().is_none_or(|wanted| record.instance_type.as_deref() == Some(wanted));
    let level_fits = filter.trust_level.is_none_or(|wanted| trust_level == wanted);
    (type_fits && level_fits).then_some(Peer { record, trust_level })
}

/// The newest envelope of a live peer, as received.
///
/// # Errors
/// The registry does not answer.
pub async fn envelope(context: &Context, peer: &PeerId) -> Result<Option<Bytes>, RegistryError> {
    context.registry.envelope(peer).await
}
