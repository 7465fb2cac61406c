//! The wire of the first ARK instances (Node.js): nodes as they are, without versions. A second door to the same lattice.

use super::{
    Context, Speaker,
    deletions::account,
    discover::{DiscoverFilter, Peer, discover},
    offload::offload,
};
use crate::{
    federation::{
        deletions::{Account, Sender},
        feed::Received,
        waiting::keep_additions,
    },
    json::{Document, Elements, JsonError},
    lattice::{
        Ancestry, Applied, Arrival, Arrived, Entry, Lattice, LatticeError, NodeDocument, NodeFilter, StoredNode,
        version::{self, MAX_AHEAD},
    },
    registry::{PeerCursor, RegistryError},
    types::{Limits, NodeId, PeerId, PublicKey, Timestamp, UNSIGNED_PREFIX},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use std::{net::IpAddr, sync::Arc};

/// Nodes that are read and sent together: what an answer costs in memory, whatever its length.
const READ_NODES: usize = 128;
const READ_BYTES: u64 = 64 << 10;
/// Nodes that are judged and written together.
const WRITE_NODES: usize = 1024;
const WRITE_BYTES: usize = 8 << 20;
/// Skipped nodes that are listed; the rest are counted.
pub const MAX_LISTED: usize = 1000;
/// The member in which the first instances' nodes state their time.
const TIMESTAMP: &str = "timestamp";

/// Why a push is not taken at all.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// What is around the nodes does not pass the gate.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It is not a push.
    #[error("{0}")]
    Shape(&'static str),
    /// The lattice does not take it; nodes before may have been written.
    #[error(transparent)]
    Lattice(#[from] LatticeError),
}

/// A node that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its id, where it has one.
    pub id: Option<String>,
    /// Why.
    pub reason: String,
}

/// What became of a push.
#[derive(Debug, Default)]
pub struct Pushed {
    /// Nodes that came.
    pub came: usize,
    /// What became of those that are nodes.
    pub received: Received,
    /// How many were skipped.
    pub skipped_total: usize,
    /// The first of them.
    pub skipped: Vec<Skipped>,
}

impl Pushed {
    fn skip(&mut self, id: Option<String>, reason: String) {
        self.skipped_total += 1;
        if self.skipped.len() < MAX_LISTED {
            self.skipped.push(Skipped { id, reason });
        }
    }
}

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

/// A push, taken apart, and what becomes of it.
struct Push {
    elements: Box<dyn Iterator<Item = Bytes> + Send>,
    sender: Option<PeerId>,
    limits: Limits,
    done: Pushed,
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
    let (size, limits) = (body.len(), context.limits);
    let mut push = offload(size, move || Push::open(body, limits)).await?;
    let mut bound = None;
    let from: Box<str> = match speaker {
        Some(speaker) => speaker.peer().as_str().into(),
        None => format!("{UNSIGNED_PREFIX}{}", push.sender.as_ref().map_or("unknown", PeerId::as_str)).into(),
    };
    let account = speaker.map_or(Account::Unverified, |speaker| account(context, speaker));
    let sender = Sender { given: 0, id: &from, account, address, is_pulled: false };
    loop {
        let nodes;
        (push, nodes) = offload(size, move || push.next_nodes()).await;
        let Some(nodes) = nodes else {
            keep_additions(&*context.lattice, &context.deletions).await;
            return bound.map_or(Ok(push.done), |bound: LatticeError| Err(bound.into()));
        };
        let mut arrivals = Vec::with_capacity(nodes.len());
        for node in nodes {
            let at = version_time(context, &node)?;
            let ancestry = Ancestry::default();
            arrivals.push(Arrival { change: Arrived::Put { node, at }, ancestry, from: from.clone(), given: 0 });
        }
        let ids: Vec<NodeId> = arrivals.iter().map(|arrival| arrival.id().clone()).collect();
        // It counts what is new; nothing is deleted by this wire.
        let budget = Arc::new(sender.budget(0));
        let applied = context.lattice.apply_within(arrivals, &budget).await;
        context.deletions.note_stored(&sender, &budget.take_stored(), context.clock.elapsed());
        let applied = match applied {
            // Edits behind it still count.
            Err(error) if error.leaves_out_one() => {
                bound.get_or_insert(error);
                continue;
            }
            applied => applied?,
        };
        for (id, applied) in ids.into_iter().zip(applied) {
            push.done.received.count(applied);
            if applied == Applied::Ahead {
                let reason = format!("it is dated more than {} s ahead of this instance's clock", MAX_AHEAD.as_secs());
                push.done.skip(Some(id.to_string()), reason);
            }
        }
    }
}

impl Push {
    fn open(body: Bytes, limits: Limits) -> Result<Self, PushError> {
        let Some(elements) = Elements::of(&body, "nodes") else {
            Document::parse(body, limits.json_depth.saturating_add(2))?;
            return Err(PushError::Shape("nodes is missing: the list of nodes that you send"));
        };
        let around = Document::parse(elements.around.clone(), limits.json_depth)?;
        let sender = around.root().as_object().and_then(|object| object.get("instanceId"));
        let sender = match sender.filter(|sender| !sender.is_null()) {
            None => None,
            Some(sender) => {
                let id = sender.as_str().and_then(|id| PeerId::parse(&id).ok());
                Some(id.ok_or(PushError::Shape("instanceId is not the id of an instance"))?)
            }
        };
        Ok(Self { elements: Box::new(elements.each()), sender, limits, done: Pushed::default() })
    }

    /// The next nodes, as many as are judged together; `None` at the end. What is no node is skipped on the way.
    fn next_nodes(mut self) -> (Self, Option<Vec<NodeDocument>>) {
        let (mut nodes, mut bytes, begun) = (Vec::new(), 0, self.done.came);
        while nodes.len() < WRITE_NODES && bytes < WRITE_BYTES {
            let Some(element) = self.elements.next() else { break };
            let place = self.done.came;
            self.done.came += 1;
            bytes += element.len();
            match self.read(&element) {
                Ok(node) => nodes.push(node),
                Err(reason) => self.done.skip(None, format!("nodes[{place}]: {reason}")),
            }
        }
        let ended = self.done.came == begun;
        (self, (!ended).then_some(nodes))
    }

    fn read(&self, element: &Bytes) -> Result<NodeDocument, String> {
        let element = element.slice_ref(element.trim_ascii());
        if element.len() > self.limits.node_bytes {
            return Err(format!("it has {} bytes; the limit is {}", element.len(), self.limits.node_bytes));
        }
        NodeDocument::parse(element, self.limits.json_depth).map_err(|error| error.to_string())
    }
}

/// When the version that a push brings was made: as its node says, by `updated_at` or by the first instances' own `timestamp`.
fn version_time(context: &Context, node: &NodeDocument) -> Result<Timestamp, LatticeError> {
    if let Some(stated) = node.updated_at().or_else(|| node.instant(TIMESTAMP)) {
        return Ok(stated);
    }
    let (lattice, id) = (&context.lattice, node.id());
    let is_known = lattice.current_version(id)?.is_some() || lattice.stays_deleted(id, Timestamp::EPOCH)?;
    Ok(version::time_of_undated(is_known, context.clock.now()))
}
