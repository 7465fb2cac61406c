//! The wire of the first ARK instances (Node.js): nodes as they are, without versions. A second door to the same lattice.

use super::{
    Context, Speaker,
    deletions::account,
    discover::{DiscoverFilter, Peer, discover},
};
use crate::{
    federation::originals::{Origin, PushError, Pushed, Receiver, take},
    json::Document,
    lattice::{Entry, Lattice, LatticeError, NodeFilter, StoredNode},
    registry::{PeerCursor, RegistryError},
    types::{Limits, NodeId, PublicKey, Timestamp},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use std::{net::IpAddr, sync::Arc};

/// Nodes that are read and sent together: what an answer costs in memory, whatever its length.
const READ_NODES: usize = 128;
const READ_BYTES: u64 = 64 << 10;

/// A part of an answer.
#[derive(Debug)]
pub enum Part {
    /// Some nodes.
    Nodes(Vec<StoredNode>),
    /// That was all, or the limit is reached: where to go on.
    End(Option<NodeId>),
}

/// An answer's parts. The last one is an end, or an error.
pub type PartStream = BoxStream<'static, Result<Part, LatticeError>>;

/// The nodes after `after` that were changed at `since` or later, at most `limit`, in order of id. The first part is there before
/// this answers: a lattice that cannot be read is then an error, and not an answer that breaks off.
///
/// # Errors
/// [`LatticeError::Loading`], [`LatticeError::Io`].
pub async fn nodes_since(
    context: &Context,
    since: Option<Timestamp>,
    after: Option<NodeId>,
    limit: usize,
) -> Result<PartStream, LatticeError> {
    let filter = NodeFilter { node_type: None, updated_since: since };
    let walk = Walk { lattice: Arc::clone(&context.lattice), filter, after, more: true, left: limit };
    let mut parts = stream::unfold(Some(walk), |walk| async {
        let mut walk = walk?;
        match walk.step().await {
            Ok(Part::End(next)) => Some((Ok(Part::End(next)), None)),
            Ok(part) => Some((Ok(part), Some(walk))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed();
    let first = parts.next().await.unwrap_or(Ok(Part::End(None)))?;
    let more = !matches!(first, Part::End(_));
    let rest = if more { parts } else { stream::empty().boxed() };
    Ok(stream::iter([Ok(first)]).chain(rest).boxed())
}

struct Walk {
    lattice: Arc<dyn Lattice>,
    filter: NodeFilter,
    after: Option<NodeId>,
    more: bool,
    left: usize,
}

impl Walk {
    async fn step(&mut self) -> Result<Part, LatticeError> {
        while self.more && self.left > 0 {
            let mut page = self.lattice.page(self.after.as_ref(), &self.filter, self.left.min(READ_NODES))?;
            let fitting = fitting(&page.entries);
            if fitting < page.entries.len() {
                page.entries.truncate(fitting);
                self.after = page.entries.last().map(|entry| entry.id.clone());
            } else {
                self.more = page.next.is_some();
                self.after = page.next.or(self.after.take());
            }
            self.left -= page.entries.len();
            if !page.entries.is_empty() {
                return Ok(Part::Nodes(self.lattice.read_many(page.entries).await?));
            }
            // Nothing of all that was looked at passed: others come first.
            tokio::task::yield_now().await;
        }
        Ok(Part::End(self.after.take().filter(|_| self.more)))
    }
}

/// How many of these are read together: one at least.
fn fitting(entries: &[Arc<Entry>]) -> usize {
    let mut bytes = 0_u64;
    let within = entries.iter().take_while(|entry| {
        let before = bytes;
        bytes = bytes.saturating_add(entry.size_bytes);
        before < READ_BYTES
    });
    within.count()
}

/// A live peer, as the seed would tell of it.
#[derive(Debug)]
pub struct LivePeer {
    /// Its id.
    pub instance_id: String,
    /// Its type, as it says.
    pub instance_type: Option<String>,
    /// Where it says that it is.
    pub address: Option<String>,
    /// Its key.
    pub public_key: PublicKey,
    /// When it last registered.
    pub last_seen: Timestamp,
}

/// Some live peers, and where to go on.
///
/// # Errors
/// The registry does not answer.
pub async fn live_peers(
    context: &Context,
    after: Option<PeerCursor>,
    limit: usize,
) -> Result<(Vec<LivePeer>, Option<PeerCursor>), RegistryError> {
    let found = discover(context, &DiscoverFilter::default(), after, limit).await?;
    let peer = |peer: Peer| LivePeer {
        instance_id: peer.record.peer.to_string(),
        instance_type: peer.record.instance_type.map(String::from),
        address: address(&peer.record.summary, &context.limits),
        public_key: peer.record.public_key,
        last_seen: peer.record.last_seen,
    };
    Ok((found.peers.into_iter().map(peer).collect(), found.next))
}

fn address(summary: &Bytes, limits: &Limits) -> Option<String> {
    let summary = Document::parse(summary.clone(), limits.json_depth).ok()?;
    summary.root().as_object()?.get("address")?.as_str().map(|address| address.into_owned())
}

/// Judges and stores the nodes of `{"nodes": […], "instanceId"?}`, durably. A node that is none, or is too large, or is dated ahead,
/// is skipped; the others count. `speaker` has signed it; without one, the name that the push states is noted as that of an unsigned
/// sender: anybody can state any. `address`: of the sender; conflicts of unsigned pushes count for it.
///
/// # Errors
/// [`PushError`].
pub async fn push(
    context: &Context,
    body: Bytes,
    speaker: Option<&Speaker>,
    address: Option<IpAddr>,
) -> Result<Pushed, PushError> {
    let Context { lattice, deletions, clock, limits, .. } = context;
    let receiver = Receiver { lattice, deletions, clock, limits: *limits };
    let origin = match speaker {
        Some(speaker) => Origin::Signed(speaker.peer().as_str(), account(context, speaker), address),
        None => Origin::Stated(address),
    };
    take(&receiver, body, origin, None).await
}
