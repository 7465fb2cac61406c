//! Storing nodes that come by the wire of the first ARK instances: documents alone, without versions. One function for those that are sent
//! to this instance and those that it fetches.

use crate::{
    federation::{
        deletions::{Account, DeletionGuard, Sender},
        feed::Received,
        offload::offload,
        waiting::keep_additions,
    },
    json::{Document, Elements, JsonError},
    lattice::{
        Ancestry, Applied, Arrival, Arrived, Lattice, LatticeError, NodeDocument,
        version::{self, MAX_AHEAD},
    },
    types::{ContentHash, Limits, NodeId, PeerId, SharedClock, Timestamp, UNSIGNED_PREFIX},
};
use bytes::Bytes;
use std::{collections::HashMap, net::IpAddr, sync::Arc};

/// Nodes that are judged and written together.
const WRITE_NODES: usize = 1024;
const WRITE_BYTES: usize = 8 << 20;
/// Skipped nodes that are listed; the rest are counted.
pub const MAX_LISTED: usize = 1000;
/// The member in which the first instances' nodes state their time.
const TIMESTAMP: &str = "timestamp";

/// The content hash of each node that came.
pub type Seen = HashMap<NodeId, ContentHash>;

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

/// A push, taken apart, and what becomes of it.
struct Push {
    elements: Box<dyn Iterator<Item = Bytes> + Send>,
    sender: Option<PeerId>,
    limits: Limits,
    done: Pushed,
}

/// Where the nodes of a push are stored.
#[derive(Debug, Clone, Copy)]
pub struct Receiver<'a> {
    /// Our nodes.
    pub lattice: &'a Arc<dyn Lattice>,
    /// It counts what each sender adds.
    pub deletions: &'a Arc<DeletionGuard>,
    /// The time.
    pub clock: &'a SharedClock,
    /// Bounds on what is read.
    pub limits: Limits,
}

/// From where a push comes.
#[derive(Debug, Clone)]
pub enum Origin<'a> {
    /// The instance with this id signed it and pushed it from this network address.
    Signed(&'a str, Account, Option<IpAddr>),
    /// Not signed, from this address.
    Address(&'a str),
    /// Not signed, pushed from this network address; it states an id, which may be any.
    Stated(Option<IpAddr>),
}

/// Judges and stores the nodes of `{"nodes": […], "instanceId"?}`, durably. A node that is none, or is too large, or is dated ahead, is
/// skipped; the others count. `seen` receives the content hash of each node that can be read.
///
/// # Errors
/// [`PushError`].
pub async fn take(
    receiver: &Receiver<'_>,
    body: Bytes,
    origin: Origin<'_>,
    mut seen: Option<&mut Seen>,
) -> Result<Pushed, PushError> {
    let Receiver { lattice, deletions, clock, limits } = *receiver;
    let size = body.len();
    let mut push = offload(size, move || Push::open(body, limits)).await?;
    let mut bound = None;
    let unsigned = |name: &str| format!("{UNSIGNED_PREFIX}{name}").into();
    let is_pulled = matches!(origin, Origin::Address(_));
    let stated = push.sender.as_ref().map_or("unknown", PeerId::as_str);
    let (from, account, address): (Box<str>, Account, Option<IpAddr>) = match origin {
        Origin::Signed(id, account, address) => (id.into(), account, address),
        Origin::Address(url) => (unsigned(url), Account::Unverified, None),
        Origin::Stated(address) => (unsigned(stated), Account::Unverified, address),
    };
    let sender = Sender { given: 0, id: &from, account, address, is_pulled };
    loop {
        let nodes;
        (push, nodes) = offload(size, move || push.next_nodes()).await;
        let Some(nodes) = nodes else {
            keep_additions(&**lattice, deletions).await;
            return bound.map_or(Ok(push.done), |bound: LatticeError| Err(bound.into()));
        };
        let mut arrivals = Vec::with_capacity(nodes.len());
        for node in nodes {
            if let Some(seen) = seen.as_deref_mut() {
                seen.insert(node.id().clone(), node.content_hash());
            }
            let at = version_time(receiver, &node)?;
            let ancestry = Ancestry::default();
            arrivals.push(Arrival { change: Arrived::Put { node, at }, ancestry, from: from.clone(), given: 0 });
        }
        let ids: Vec<NodeId> = arrivals.iter().map(|arrival| arrival.id().clone()).collect();
        // It counts what is new; nothing is deleted by this wire.
        let budget = Arc::new(sender.budget(0));
        let applied = lattice.apply_within(arrivals, &budget).await;
        deletions.note_stored(&sender, &budget.take_stored(), clock.elapsed());
        bound = bound.or_else(|| budget.take_left_out());
        for (id, applied) in ids.into_iter().zip(applied?) {
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

/// When a node of an original was made, where it states that: in `updated_at`, or in the first instances' own `timestamp`.
#[must_use]
pub fn stated_time(node: &NodeDocument) -> Option<Timestamp> {
    node.updated_at().or_else(|| node.instant(TIMESTAMP))
}

/// The nodes of `{"nodes": […]}`, in order; of an element that is none, why.
///
/// # Errors
/// [`PushError::Json`], [`PushError::Shape`].
pub async fn nodes(body: Bytes, limits: Limits) -> Result<Vec<Result<NodeDocument, String>>, PushError> {
    offload(body.len(), move || {
        let mut push = Push::open(body, limits)?;
        let elements: Vec<Bytes> = push.elements.by_ref().collect();
        Ok(elements.iter().map(|element| push.read(element)).collect())
    })
    .await
}

/// When the version that a push brings was made: as its node says, by `updated_at` or by the first instances' own `timestamp`.
fn version_time(receiver: &Receiver<'_>, node: &NodeDocument) -> Result<Timestamp, LatticeError> {
    if let Some(stated) = stated_time(node) {
        return Ok(stated);
    }
    let (lattice, id) = (receiver.lattice, node.id());
    let is_known = lattice.current_version(id)?.is_some() || lattice.stays_deleted(id, Timestamp::EPOCH)?;
    // An original sends the same node with every round, and may have had it for years: what a third instance has of it is newer.
    Ok(version::time_of_undated(is_known, Timestamp::EPOCH))
}

/// Reads the nodes of `{"nodes": […]}` and stores none: their content hashes go to `seen`.
///
/// # Errors
/// [`PushError::Json`], [`PushError::Shape`].
pub(super) async fn read(body: Bytes, limits: Limits, seen: &mut Seen) -> Result<(), PushError> {
    let size = body.len();
    let mut push = offload(size, move || Push::open(body, limits)).await?;
    loop {
        let nodes;
        (push, nodes) = offload(size, move || push.next_nodes()).await;
        let Some(nodes) = nodes else { return Ok(()) };
        seen.extend(nodes.into_iter().map(|node| (node.id().clone(), node.content_hash())));
    }
}
