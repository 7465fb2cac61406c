//! What differs between this lattice and a caller's (DESIGN 4.5).

use super::{
    Context,
    sync_request::{SyncError, SyncRequest},
};
use crate::{
    federation::{offload::offload, wire::write_line},
    lattice::{
        Ancestry, Change, Entry, Lattice, LatticeError, StoredNode, delta::Delta as Comparison, index::Snapshot,
    },
    types::{NodeId, SetHash},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use std::sync::Arc;

/// A batch is read and sent at a time: what a delta costs in memory, whatever its size, and so small because a thousand callers may
/// take theirs at once. Where copies are read (`lattice::pack`), half of it costs a tenth more.
const BATCH_NODES: usize = 512;
const BATCH_BYTES: u64 = 128 << 10;

/// What is known of a delta before its nodes are read.
#[derive(Debug)]
pub struct Delta {
    /// Our set hash.
    pub set_hash: SetHash,
    /// Ids that the caller has and we neither have nor deleted, sorted; only on the first page.
    pub wanted: Vec<String>,
    /// How many nodes this page holds, if none vanishes meanwhile.
    pub expected: usize,
    /// The last node of this page, where the limit cut it short.
    pub next: Option<NodeId>,
    /// The caller wants to know when each version was made.
    pub versions: bool,
}

impl Delta {
    /// Nothing differs.
    fn none(set_hash: SetHash) -> Self {
        Self { set_hash, wanted: Vec::new(), expected: 0, next: None, versions: false }
    }
}

/// The nodes of a page, in batches.
pub type NodeStream = BoxStream<'static, Result<Vec<StoredNode>, LatticeError>>;

/// Compares what the caller holds (`body`, as `POST /sync` takes it) with this lattice as it is now. The first batch is read
/// before this answers: a directory that cannot be read is then an error, and not an answer that breaks off.
///
/// # Errors
/// [`SyncError`]. The stream itself may fail with [`LatticeError::Io`].
pub async fn sync(
    context: &Context,
    body: Bytes,
    decode_cursor: impl Fn(&str) -> Option<NodeId> + Send + 'static,
) -> Result<(Delta, NodeStream), SyncError> {
    if let Some(stated) = context.known_lists.stated(&body)
        && context.lattice.snapshot()?.set_hash() == stated
    {
        return Ok((Delta::none(stated), stream::empty().boxed()));
    }
    let (bytes, lattice, limits) = (body.len(), Arc::clone(&context.lattice), context.limits);
    let asked_with = body.clone();
    let compare = move || {
        let snapshot = lattice.snapshot();
        let ours = snapshot.as_ref().ok().map(|snapshot| snapshot.set_hash());
        let request = SyncRequest::parse(body, &limits, ours, decode_cursor)?;
        compare(lattice, snapshot?, request)
    };
    let (delta, position) = offload(bytes, compare).await?;
    let Some(position) = position else {
        context.known_lists.note(asked_with, delta.set_hash);
        return Ok((delta, stream::empty().boxed()));
    };
    drop(asked_with);
    let mut nodes = stream_nodes(position);
    let first = nodes.next().await.transpose()?;
    // A stream that has ended must not be asked again.
    let nodes = match first {
        Some(first) => stream::iter([Ok(first)]).chain(nodes).boxed(),
        None => stream::empty().boxed(),
    };
    Ok((delta, nodes))
}

/// Appends a node as the line of its version: with its time, and no ancestors, which cost a look into the journal each.
pub fn write_version(node: &StoredNode, out: &mut Vec<u8>) {
    let Entry { seq, id, content_hash, updated_at, node_type, size_bytes, .. } = Entry::clone(&node.entry);
    let ancestry = Ancestry::default();
    let change = Change::Put { seq, id, content_hash, updated_at, node_type, size_bytes, ancestry };
    write_line(&change, Some(&node.bytes), None, out);
}

/// What the answer says before its nodes, and where they begin, if there are any.
fn compare(
    lattice: Arc<dyn Lattice>,
    snapshot: Arc<Snapshot>,
    request: SyncRequest,
) -> Result<(Delta, Option<Position>), SyncError> {
    let set_hash = snapshot.set_hash();
    if request.is_equal {
        return Ok((Delta::none(set_hash), None));
    }
    let SyncRequest { held, after, limit, versions, .. } = request;
    let comparison = Comparison::new(snapshot, &held);
    // With the caller's text: from here on only what was found is kept.
    drop(held);
    // It might as well have stated our set hash.
    if comparison.is_our_set() {
        return Ok((Delta::none(set_hash), None));
    }
    let wanted = match after {
        None => wanted(&*lattice, &comparison)?,
        Some(_) => Vec::new(),
    };
    let (expected, next) = measure(&comparison, after.as_ref(), limit);
    let delta = Delta { set_hash, wanted, expected, next, versions };
    Ok((delta, Some(Position { lattice, comparison, after, left: expected })))
}

fn wanted(lattice: &dyn Lattice, comparison: &Comparison) -> Result<Vec<String>, LatticeError> {
    // What was deleted here must not come back through an instance that has not heard of it yet.
    let wanted = lattice.not_deleted(comparison.wanted().iter().collect())?;
    Ok(wanted.into_iter().map(ToString::to_string).collect())
}

/// How many nodes the page holds, and the last of them where more would follow.
fn measure(comparison: &Comparison, after: Option<&NodeId>, limit: usize) -> (usize, Option<NodeId>) {
    let mut differing = comparison.entries(after);
    let mut last = None;
    let mut expected = 0;
    for entry in differing.by_ref().take(limit) {
        expected += 1;
        last = Some(entry);
    }
    let last = last.map(|entry| entry.id.clone());
    (expected, last.filter(|_| differing.next().is_some()))
}

struct Position {
    lattice: Arc<dyn Lattice>,
    comparison: Comparison,
    after: Option<NodeId>,
    left: usize,
}

impl Position {
    fn next_batch(&mut self) -> Vec<Arc<Entry>> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        for entry in self.comparison.entries(self.after.as_ref()).take(self.left.min(BATCH_NODES)) {
            bytes += entry.size_bytes;
            batch.push(Arc::clone(entry));
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        self.left -= batch.len();
        self.after = batch.last().map(|entry| entry.id.clone());
        batch
    }
}

fn stream_nodes(position: Position) -> NodeStream {
    stream::unfold(Some(position), |position| async move {
        let mut position = position?;
        let batch = position.next_batch();
        if batch.is_empty() {
            return None;
        }
        match position.lattice.read_many(batch).await {
            Ok(nodes) => Some((Ok(nodes), Some(position))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}
