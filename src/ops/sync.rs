//! What differs between this lattice and a caller's (DESIGN 4.5).

use super::{Context, offload::offload};
use crate::{
    json::{Array, Document, JsonError, Value},
    lattice::{
        Entry, Lattice, LatticeError, StoredNode,
        delta::{CallerHash, Delta as Comparison},
        index::Snapshot,
    },
    types::{IdError, Limits, NodeId, SetHash},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// A batch is read and sent at a time: what a delta costs in memory, whatever its size, and so small because a thousand callers may
/// take theirs at once. Larger ones are no faster.
const BATCH_NODES: usize = 128;
const BATCH_BYTES: u64 = 64 << 10;

/// Why a sync request is not answered.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The strict gate refused the body.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The body is not a sync request.
    #[error("{problem}")]
    Shape {
        /// What is wrong with it.
        problem: String,
    },
    /// The lattice does not answer.
    #[error(transparent)]
    Lattice(#[from] LatticeError),
}

fn shape(problem: impl Into<String>) -> SyncError {
    SyncError::Shape { problem: problem.into() }
}

/// What a caller holds and wants.
#[derive(Debug)]
pub struct SyncRequest {
    /// The caller's set hash is `ours`. What it holds was looked at then, and not kept.
    is_equal: bool,
    held: HashMap<NodeId, CallerHash>,
    after: Option<NodeId>,
    limit: usize,
}

impl SyncRequest {
    /// Reads the body of `POST /sync`. `ours`: our set hash, where it is known; whoever states the same one needs no comparison. `decode_cursor` gives
    /// the id behind a cursor.
    ///
    /// # Errors
    /// [`SyncError::Json`], [`SyncError::Shape`].
    pub fn parse(
        body: Bytes,
        limits: &Limits,
        ours: Option<SetHash>,
        decode_cursor: impl Fn(&str) -> Option<NodeId>,
    ) -> Result<Self, SyncError> {
        let document = Document::parse(body, limits.json_depth)?;
        let object = document.root().as_object().ok_or_else(|| shape("the body is not a JSON object"))?;
        let stated = object.get("manifest_hash").and_then(Value::as_str);
        // A hash of another make equals nothing.
        let is_equal = stated.is_some_and(|text| ours.is_some() && SetHash::parse(&text).ok() == ours);
        let mut request = Self { is_equal, held: HashMap::new(), after: None, limit: limits.page_items };
        let mut has_nodes = false;
        for (key, value) in object.iter() {
            match key.as_ref() {
                "manifest_hash" if !value.is_null() && value.as_str().is_none() => {
                    return Err(shape("manifest_hash is not a string"));
                }
                "nodes" if is_equal => {
                    check_held(value)?;
                    has_nodes = true;
                }
                "nodes" => {
                    request.held = parse_held(value)?;
                    has_nodes = true;
                }
                "cursor" if !value.is_null() => {
                    let text = value.as_str().ok_or_else(|| shape("cursor is not a string"))?;
                    let id = decode_cursor(&text).ok_or_else(|| shape("cursor is not one that this service gave"))?;
                    request.after = Some(id);
                }
                "limit" if !value.is_null() => request.limit = parse_limit(value, limits)?,
                _ => {}
            }
        }
        if has_nodes {
            Ok(request)
        } else {
            Err(shape("nodes is missing: it lists what the caller holds, [] for nothing"))
        }
    }
}

fn parse_limit(value: Value<'_>, limits: &Limits) -> Result<usize, SyncError> {
    let limit = value.as_unsigned().and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.filter(|limit| (1..=limits.page_items).contains(limit));
    limit.ok_or_else(|| shape(format!("limit is not an integer from 1 to {}", limits.page_items)))
}

/// Place, id and hash of one node that the caller holds.
type HeldNode<'a> = (usize, Cow<'a, str>, Cow<'a, str>);

/// The id is still to be looked at.
fn parse_node(index: usize, node: Value<'_>) -> Result<HeldNode<'_>, SyncError> {
    let object = node.as_object().ok_or_else(|| shape(format!("nodes[{index}] is not an object with id and hash")))?;
    let (mut id, mut hash) = (None, None);
    for (key, value) in object.iter() {
        match key.as_ref() {
            "id" => id = Some(value.as_str().ok_or_else(|| shape(format!("nodes[{index}].id is not a string")))?),
            "hash" => {
                hash = Some(value.as_str().ok_or_else(|| shape(format!("nodes[{index}].hash is not a string")))?);
            }
            _ => {}
        }
    }
    let id = id.ok_or_else(|| shape(format!("nodes[{index}].id is missing")))?;
    let hash = hash.ok_or_else(|| shape(format!("nodes[{index}].hash is missing")))?;
    Ok((index, id, hash))
}

fn bad_id(index: usize) -> impl FnOnce(IdError) -> SyncError {
    move |error| shape(format!("nodes[{index}].id: {error}"))
}

fn parse_nodes(value: Value<'_>) -> Result<impl Iterator<Item = Result<HeldNode<'_>, SyncError>>, SyncError> {
    let array = value.as_array().ok_or_else(|| shape("nodes is not a list"))?;
    Ok(array.iter().enumerate().map(|(index, node)| parse_node(index, node)))
}

fn twice(id: &str) -> SyncError {
    shape(format!("nodes lists {id:?} twice"))
}

fn parse_held(value: Value<'_>) -> Result<HashMap<NodeId, CallerHash>, SyncError> {
    let mut held = HashMap::with_capacity(value.as_array().map_or(0, Array::len));
    for node in parse_nodes(value)? {
        let (index, id, hash) = node?;
        let id = NodeId::parse(&id).map_err(bad_id(index))?;
        if held.insert(id.clone(), CallerHash::parse(&hash)).is_some() {
            return Err(twice(id.as_str()));
        }
    }
    Ok(held)
}

/// The same rules, with nothing kept. Callers list their nodes in order, as a rule: then no id needs to be remembered.
fn check_held(value: Value<'_>) -> Result<(), SyncError> {
    let mut last = Cow::Borrowed("");
    for node in parse_nodes(value)? {
        let (index, id, _) = node?;
        NodeId::check(&id).map_err(bad_id(index))?;
        if id <= last {
            return check_out_of_order(value);
        }
        last = id;
    }
    Ok(())
}

fn check_out_of_order(value: Value<'_>) -> Result<(), SyncError> {
    let mut seen = HashSet::with_capacity(value.as_array().map_or(0, Array::len));
    for node in parse_nodes(value)? {
        let (index, id, _) = node?;
        NodeId::check(&id).map_err(bad_id(index))?;
        if let Some(id) = seen.replace(id) {
            return Err(twice(&id));
        }
    }
    Ok(())
}

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
}

impl Delta {
    /// Nothing differs.
    fn none(set_hash: SetHash) -> Self {
        Self { set_hash, wanted: Vec::new(), expected: 0, next: None }
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
    let after = request.after;
    let comparison = Comparison::new(snapshot, request.held);
    let wanted = match after {
        None => wanted(&*lattice, &comparison)?,
        Some(_) => Vec::new(),
    };
    let (expected, next) = measure(&comparison, after.as_ref(), request.limit);
    Ok((Delta { set_hash, wanted, expected, next }, Some(Position { lattice, comparison, after, left: expected })))
}

fn wanted(lattice: &dyn Lattice, comparison: &Comparison) -> Result<Vec<String>, LatticeError> {
    // What was deleted here must not come back through an instance that has not heard of it yet.
    let wanted = lattice.not_deleted(comparison.wanted())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str, ours: Option<SetHash>) -> Result<SyncRequest, SyncError> {
        SyncRequest::parse(Bytes::copy_from_slice(body.as_bytes()), &Limits::default(), ours, |_| None)
    }

    /// What a caller with our set hash lists is held to the same rules, although none of it is needed.
    #[test]
    fn a_list_is_judged_alike_whether_it_is_kept_or_not() {
        let ours = SetHash::of(b"ours");
        let node = |id: &str| format!("{{\"id\":\"{id}\",\"hash\":\"h\"}}");
        let long = node(&"x".repeat(257));
        let lists = [
            String::new(),
            node("a"),
            [node("a"), node("b"), node("c")].join(","),
            [node("c"), node("a"), node("b")].join(","),
            [node("a"), node("a")].join(","),
            [node("a"), node("b"), node("a")].join(","),
            [node("b"), node("a"), node("\\u0061")].join(","),
            [node("b"), node("a"), long.clone()].join(","),
            long,
            node(""),
            node("\\u0000"),
            "{\"id\":\"a\"}".to_owned(),
            "{\"hash\":\"a\"}".to_owned(),
            "{\"id\":1,\"hash\":\"h\"}".to_owned(),
            "{\"id\":\"a\",\"hash\":1}".to_owned(),
            "1".to_owned(),
        ];
        let mut taken = 0;
        for list in lists {
            let body = format!("{{\"manifest_hash\":\"{ours}\",\"nodes\":[{list}]}}");
            match (parse(&body, Some(ours)), parse(&body, None)) {
                (Ok(equal), Ok(other)) => {
                    assert!(equal.is_equal && equal.held.is_empty() && !other.is_equal);
                    taken += 1;
                }
                (Err(equal), Err(other)) => assert_eq!(equal.to_string(), other.to_string(), "{body}"),
                (equal, other) => panic!("{body}: {equal:?} and {other:?}"),
            }
        }
        assert_eq!(taken, 4);
        for body in [
            format!("{{\"manifest_hash\":\"{ours}\"}}"),
            format!("{{\"manifest_hash\":\"{ours}\",\"nodes\":{{}}}}"),
            "{\"manifest_hash\":1,\"nodes\":[]}".to_owned(),
        ] {
            assert!(parse(&body, Some(ours)).is_err(), "{body}");
        }
        let other = format!("{{\"manifest_hash\":\"{}\",\"nodes\":[{}]}}", SetHash::of(b"other"), node("a"));
        assert!(parse(&other, Some(ours)).is_ok_and(|request| !request.is_equal && request.held.len() == 1));
    }
}
