//! Who is alive.

use super::{
    Context,
    known_key::{catch_up, known_line},
    own_id,
};
use crate::{
    registry::{PeerCursor, PeerRecord, RegistryError},
    trust::{MAX_STATEMENT_AGE, TrustLevel},
    types::{PeerId, Timestamp, encode_hex},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// A filter that lets few through must not make one answer read the whole registry: from here on the answer ends, with a cursor.
const LOOK_AT_MOST: usize = 10_000;
/// As above. Short, because a store that stops answering meanwhile has its own time limit on top.
const LOOK_NO_LONGER: Duration = Duration::from_millis(100);
/// The most bytes of manifests' fields in one page: it is made in memory.
const PAGE_BYTES: usize = 4 << 20;
/// How many peers a filter is tried on at a time, however few are wanted.
const TRIED_AT_ONCE: usize = 500;

/// Which peers are asked for.
#[derive(Debug, Clone, Default)]
pub struct DiscoverFilter {
    /// Only peers of this `instance_type`.
    pub instance_type: Option<String>,
    /// Only peers of this level.
    pub trust_level: Option<TrustLevel>,
}

impl DiscoverFilter {
    /// Is there no filter?
    #[must_use]
    pub fn lets_all_through(&self) -> bool {
        self.instance_type.is_none() && self.trust_level.is_none()
    }
}

/// A live peer, and what this instance thinks of it.
#[derive(Debug)]
pub struct Peer {
    /// As the registry keeps it.
    pub record: PeerRecord,
    /// What this instance thinks of its key.
    pub trust_level: TrustLevel,
    /// Whether its entry can be a repetition by somebody else.
    pub freshness: Freshness,
}

/// Whether a live entry shows that the peer itself was there lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// The peer signed its newest statement within the last 24 hours.
    Proven,
    /// Its newest statement does not say when it was signed, or was signed longer ago: anybody who has it can have repeated it.
    Unproven,
}

impl Freshness {
    /// The word of the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Unproven => "unproven",
        }
    }

    fn of(issued_at: Option<Timestamp>, now: Timestamp) -> Self {
        match issued_at {
            Some(at) if now.since(at) <= MAX_STATEMENT_AGE => Self::Proven,
            _ => Self::Unproven,
        }
    }
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
            hasher.update(peer.freshness.as_str());
        }
        hasher.update(self.total.to_be_bytes());
        let digest: [u8; 32] = hasher.finalize().into();
        encode_hex(digest.get(..16).unwrap_or_default())
    }
}

/// Equal while nothing that this process knows of has changed what [`discover`] answers; what other replicas change does not show in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoverState {
    registry: u64,
    trust: u64,
}

impl DiscoverState {
    /// As it is now. What is listed after this was asked for is at least as new.
    #[must_use]
    pub fn of(context: &Context) -> Self {
        Self { registry: context.registry.changes(), trust: context.trust.changes() }
    }

    #[cfg(test)]
    pub(crate) fn for_test(registry: u64, trust: u64) -> Self {
        Self { registry, trust }
    }
}

/// Up to `limit` live peers after `after` that pass `filter`. Fewer, also none, with a cursor, where the filter lets so few through
/// that looking further would take long.
///
/// # Errors
/// The registry does not answer.
pub async fn discover(
    context: &Context,
    filter: &DiscoverFilter,
    after: Option<PeerCursor>,
    limit: usize,
) -> Result<Discovered, RegistryError> {
    let started = context.clock.elapsed();
    let mut found = Discovered { peers: Vec::new(), total: 0, next: after };
    let mut looked_at = 0;
    loop {
        let missing = limit.saturating_sub(found.peers.len());
        let ask = if filter.lets_all_through() { missing } else { missing.max(TRIED_AT_ONCE) };
        let page = context.registry.list(found.next.as_ref(), ask).await?;
        looked_at += page.peers.len();
        (found.total, found.next) = (page.total, page.next);
        let mut fitting = Vec::new();
        for record in page.peers {
            fitting.extend(admit(context, filter, record).await?);
        }
        let more = fitting.len() > missing;
        found.peers.extend(fitting.into_iter().take(missing));
        if more {
            found.next = found.peers.last().map(|peer| peer.record.cursor());
        }
        let is_cut = cut_to(PAGE_BYTES, &mut found);
        let enough = is_cut || found.peers.len() >= limit || looked_at >= LOOK_AT_MOST;
        if enough || found.next.is_none() || context.clock.elapsed().saturating_sub(started) >= LOOK_NO_LONGER {
            found.peers.sort_by(|a, b| a.record.peer.cmp(&b.record.peer));
            // A heartbeat between two pages shows a peer in both.
            found.peers.dedup_by(|a, b| a.record.peer == b.record.peer);
            return Ok(found);
        }
    }
}

/// Leaves the first peers of so many bytes together, and one at least. Answers whether there were more.
fn cut_to(bytes: usize, found: &mut Discovered) -> bool {
    let mut sum = 0_usize;
    let fitting = found.peers.iter().take_while(|peer| {
        sum = sum.saturating_add(peer.record.summary.len());
        sum <= bytes
    });
    let count = fitting.count().max(1);
    if count >= found.peers.len() {
        return false;
    }
    found.peers.truncate(count);
    found.next = found.peers.last().map(|peer| peer.record.cursor());
    true
}

async fn admit(context: &Context, filter: &DiscoverFilter, record: PeerRecord) -> Result<Option<Peer>, RegistryError> {
    if own_id::is_anothers(context, &record.peer, record.public_key) {
        return Ok(None);
    }
    // Only of those few that the operator knows with another key: it may have come in the place of that one.
    if context.trust.knows_another(&record.peer, record.public_key) {
        catch_up(context, &record.peer, known_line(context, &record.peer).await?.as_ref()).await;
    }
    let freshness = Freshness::of(record.issued_at, context.clock.now());
    let trust_level = context.trust.level(&record.peer, record.public_key);
    let type_fits =
        filter.instance_type.as_deref().is_none_or(|wanted| record.instance_type.as_deref() == Some(wanted));
    let level_fits = filter.trust_level.is_none_or(|wanted| trust_level == wanted);
    Ok((type_fits && level_fits).then_some(Peer { record, trust_level, freshness }))
}

/// The newest envelope of a live peer, as received.
///
/// # Errors
/// The registry does not answer.
pub async fn envelope(context: &Context, peer: &PeerId) -> Result<Option<Bytes>, RegistryError> {
    let envelope = context.registry.envelope(peer).await?;
    Ok(envelope.and_then(|envelope| own_id::not_of_anothers(context, peer, envelope)))
}
