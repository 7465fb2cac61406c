//! What changed, in both directions: where a lattice stands, what came after a position, and taking what others have.

mod verdicts;
mod walk;

pub use verdicts::{deletes, deletions, wanted, would_count};
pub use walk::{TooLargeNode, Walk, WrittenLines};

use super::{
    filter::{Labels, Matcher},
    reconcile::message::MessageError,
    remote::JournalStand,
    waiting::Waits,
    wire::{Line, Start, WireChange, WireContent, WireError, end_line, read_line, start_line},
};
use crate::{
    lattice::{Applied, Arrival, Change, Entry, Lattice, LatticeError, StoredNode},
    manifest::{Epoch, EpochStart, Head, HeadEpoch, Position},
    types::{Limits, NodeId, PeerId, Timestamp},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use std::{sync::Arc, time::Duration};

/// How long a head counts.
const HEAD_LIFE: Duration = Duration::from_secs(300);

/// Why changes are not given or taken.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The lattice does not do it.
    #[error(transparent)]
    Lattice(#[from] LatticeError),
    /// This instance has no key to sign with.
    #[error("this instance has no key; make one with: ark-lattice keygen")]
    NoKey,
    /// The key of this instance is revoked.
    #[error("the key of this instance is revoked; replace it: ark-lattice key recover")]
    Revoked,
    /// The position belongs to another journal.
    #[error("the positions of {asked} are not those of this journal, {ours}; begin again at 0")]
    OtherIndex {
        /// What was asked for.
        asked: String,
        /// What this journal is.
        ours: String,
    },
    /// The head that the request is about is not part of this journal's history.
    #[error(
        "the position {0} is not part of the history of this journal: it was restored, or continued elsewhere; ask for its head"
    )]
    OtherHistory(Position),
    /// Deletions after the position may be forgotten.
    #[error("what was deleted after position {since} is forgotten up to {floor}; begin again at 0")]
    BelowFloor {
        /// What was asked for.
        since: u64,
        /// Up to where deletions may be forgotten.
        floor: u64,
    },
    /// A line of what was sent is not a change.
    #[error("line {line}: {error}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// Why.
        error: WireError,
    },
    /// A message of a set reconciliation cannot be read.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A change brings no content where one is needed.
    #[error("line {0}: it has no node")]
    NoContent(usize),
}

/// An answer's lines, in batches.
pub type LineStream = BoxStream<'static, Result<Bytes, LatticeError>>;

/// Which changes are given, and how.
#[derive(Debug, Clone, Default)]
pub struct FeedOptions {
    /// Each node comes along.
    pub contents: bool,
    /// Only these nodes. Of deletions nothing but the id is known: who takes them looks at what they would delete.
    pub matcher: Matcher,
    /// Each line says its node's priority.
    pub priorities: bool,
    /// Nodes whose contents cannot be had have a line as well; otherwise a feed with contents leaves them out.
    pub unavailable: bool,
    /// Contents of more bytes do not come along: their nodes are as those whose contents cannot be had.
    pub max_bytes: Option<usize>,
}

/// What became of changes that were sent here.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Received {
    /// Those that count now.
    pub taken: usize,
    /// Those that were here already.
    pub same: usize,
    /// Those that lost against what is here.
    pub kept: usize,
    /// Those that are dated too far ahead.
    pub ahead: usize,
    /// Versions that were made here and lost; they are kept as conflicts.
    pub conflicts: usize,
    /// Deletions that wait for the admin.
    pub waiting: usize,
    /// All deletions of the same sender that wait at the receiver, where it is another instance and any do.
    pub there: Option<Waits>,
}

impl Received {
    /// Adds what became of others.
    pub fn add(&mut self, other: &Self) {
        self.taken += other.taken;
        self.same += other.same;
        self.kept += other.kept;
        self.ahead += other.ahead;
        self.conflicts += other.conflicts;
        self.waiting += other.waiting;
        self.there = other.there.or(self.there);
    }

    /// Counts what became of one.
    pub fn count(&mut self, applied: Applied) {
        match applied {
            Applied::Taken(conflict) => {
                self.taken += 1;
                self.conflicts += usize::from(conflict.is_some());
            }
            Applied::Same => self.same += 1,
            Applied::Kept => self.kept += 1,
            Applied::Ahead => self.ahead += 1,
            Applied::Waiting => self.waiting += 1,
            // Whoever applied it learns of it by its reason.
            Applied::LeftOut => {}
        }
    }
}

/// Where a lattice stands, not signed yet.
///
/// # Errors
/// [`LatticeError::Loading`], [`LatticeError::Io`].
pub fn stand(lattice: &dyn Lattice, node_id: &PeerId, now: Timestamp) -> Result<Head, LatticeError> {
    // What is in the set can be had nowhere while the directory is away.
    lattice.check_directory()?;
    // The position first: what is added meanwhile is then in the set, and told again, but never left out.
    let status = lattice.status();
    // The epoch after it: one that began since begins behind that position.
    let epochs = lattice.epochs();
    let snapshot = lattice.snapshot()?;
    Ok(Head {
        node_id: node_id.clone(),
        index_id: status.index_id,
        seq: status.seq,
        floor: lattice.floor()?,
        manifest_hash: snapshot.set_hash(),
        count: u64::try_from(snapshot.len()).unwrap_or(u64::MAX),
        issued_at: now,
        expires: now.plus(HEAD_LIFE),
        epoch: HeadEpoch::of(&epochs.lineage, epochs.next),
    })
}

/// Where the journal stands now: everything that was durable before this call lies before it.
#[must_use]
pub fn here(lattice: &dyn Lattice) -> JournalStand {
    // The position first: an epoch that begins meanwhile begins behind it.
    let seq = *lattice.positions().borrow();
    let epochs = lattice.epochs();
    let start = epochs.lineage.current().cloned();
    JournalStand { start: start.unwrap_or(EpochStart { epoch: Epoch::from_bytes([0; 8]), since: 0 }), seq }
}

/// Does this position count in our journal?
fn counts(lattice: &dyn Lattice, position: &Position) -> bool {
    let seq = *lattice.positions().borrow();
    lattice.epochs().lineage.check(position, seq).is_ok()
}

/// Fails where the journal does not continue from a position that the other side saw in our head.
///
/// # Errors
/// [`FeedError::OtherHistory`].
pub fn continues(lattice: &dyn Lattice, seen: Option<&Position>) -> Result<(), FeedError> {
    match seen.filter(|seen| !counts(lattice, seen)) {
        Some(seen) => Err(FeedError::OtherHistory(seen.clone())),
        None => Ok(()),
    }
}

/// How far the other side had been given our versions, as it states; 0 where that does not count in our journal.
#[must_use]
pub fn given(lattice: &dyn Lattice, holds: Option<&Position>) -> u64 {
    holds.filter(|holds| counts(lattice, holds)).map_or(0, |holds| holds.seq)
}

/// The changes after `since`, up to where the journal stands now. `seen`: the position of the head that the other side acts on.
///
/// # Errors
/// [`FeedError`]. The stream itself may fail with [`LatticeError`].
pub fn feed(
    lattice: &Arc<dyn Lattice>,
    index_id: Option<&str>,
    since: u64,
    options: FeedOptions,
    seen: Option<&Position>,
) -> Result<LineStream, FeedError> {
    lattice.check_directory()?;
    let status = lattice.status();
    let epochs = lattice.epochs();
    continues(&**lattice, seen)?;
    if let Some(asked) = index_id.filter(|asked| *asked != status.index_id) {
        return Err(FeedError::OtherIndex { asked: asked.chars().take(64).collect(), ours: status.index_id });
    }
    let floor = lattice.floor()?;
    if since > 0 && since < floor {
        return Err(FeedError::BelowFloor { since, floor });
    }
    let epoch = epochs.lineage.current().cloned();
    let start = Start { index_id: status.index_id, since, seq: status.seq, floor, epoch };
    let first = Bytes::from(start_line(&start));
    let walk = Walk::new(lattice, since, status.seq, options);
    Ok(stream::iter([Ok(first)]).chain(walk_lines(walk)).boxed())
}

fn walk_lines(walk: Walk) -> LineStream {
    let walk = walk.in_small_batches();
    stream::unfold(Some(walk), |walk| async {
        let mut walk = walk?;
        match walk.step().await {
            Ok(Some(lines)) => Some((Ok(lines), Some(walk))),
            Ok(None) => Some((Ok(Bytes::from(end_line(walk.end()))), None)),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

fn labels(text: &Bytes) -> Labels {
    // What is stored passed the gate: it is not deeper than that.
    Labels::read(text, usize::MAX)
}

/// The contents of these changes' nodes, as they are now, in the order of their ids: many are then read together.
async fn stored(lattice: &dyn Lattice, batch: &[Change]) -> Result<Vec<StoredNode>, LatticeError> {
    let mut ids = Vec::with_capacity(batch.len());
    for change in batch {
        if let Change::Put { id, .. } = change {
            ids.push(id);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    let entries = lattice.entries(&ids)?.into_iter().flatten().collect();
    lattice.read_many(entries).await
}

fn find<'a>(stored: &'a [StoredNode], id: &NodeId) -> Option<&'a StoredNode> {
    let at = stored.binary_search_by(|node| node.entry.id.cmp(id)).ok()?;
    stored.get(at)
}

/// Each of these changes with its node's priority; deletions with 0.
///
/// # Errors
/// [`LatticeError`].
pub async fn with_priorities(lattice: &dyn Lattice, changes: &[Change]) -> Result<Vec<(f64, Change)>, LatticeError> {
    let stored = stored(lattice, changes).await?;
    let priority = |change: &Change| match change {
        Change::Put { id, .. } => find(&stored, id).map_or(0.0, |node| labels(&node.bytes).priority),
        Change::Deleted(..) => 0.0,
    };
    Ok(changes.iter().map(|change| (priority(change), change.clone())).collect())
}

/// Those of the changes that a filter lets in. Of a deletion counts what it would delete here: narrowing a filter deletes nothing.
///
/// # Errors
/// [`LatticeError`].
pub async fn admitted(
    lattice: &dyn Lattice,
    matcher: &Matcher,
    changes: Vec<WireChange>,
) -> Result<Vec<WireChange>, LatticeError> {
    if matcher.is_all() {
        return Ok(changes);
    }
    let mut admitted = Vec::with_capacity(changes.len());
    for change in changes {
        let matches = match &change.content {
            WireContent::Put { node: Some(node), .. } => {
                matcher.matches(&change.id, node.node_type().as_deref(), &Labels::of(node.document()))
            }
            WireContent::Put { node: None, node_type, .. } | WireContent::Unavailable { node_type, .. } => {
                matcher.may_match(&change.id, node_type.as_deref())
            }
            WireContent::Deleted(_) => holds_match(lattice, matcher, &change.id).await?,
        };
        if matches {
            admitted.push(change);
        }
    }
    Ok(admitted)
}

/// Does the node that is held here pass the filter? None is held, or its file is broken: it does not.
///
/// # Errors
/// [`LatticeError`].
pub async fn holds_match(lattice: &dyn Lattice, matcher: &Matcher, id: &NodeId) -> Result<bool, LatticeError> {
    let Some(entry) = lattice.entry(id)?.filter(|_| matcher.id_may_match(id)) else { return Ok(false) };
    if !matcher.needs_content() {
        return Ok(matcher.may_match(id, entry.node_type.as_deref()));
    }
    let stored = match lattice.read(id).await {
        // A node whose file is broken is not deleted by a peer anyway.
        Err(LatticeError::Unavailable(_)) => None,
        stored => stored?,
    };
    Ok(stored.is_some_and(|node| matcher.matches(id, node.entry.node_type.as_deref(), &labels(&node.bytes))))
}

/// Where a change stands in its journal.
#[must_use]
pub fn position(change: &Change) -> u64 {
    match change {
        Change::Put { seq, .. } => *seq,
        Change::Deleted(tombstone, _) => tombstone.seq,
    }
}

/// The nodes with these ids, as lines of a feed; those that are not here any more are left out. Ends with the last line of a feed.
///
/// # Errors
/// [`LatticeError::Loading`]. The stream itself may fail with [`LatticeError`].
pub fn contents(
    lattice: &Arc<dyn Lattice>,
    ids: Vec<NodeId>,
    options: FeedOptions,
) -> Result<LineStream, LatticeError> {
    lattice.check_directory()?;
    let end = lattice.status().seq;
    let mut page = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(entry) = lattice.entry(&id)? else { continue };
        page.push(put_of(&**lattice, &entry)?);
    }
    Ok(lines_of(lattice, page, end, options))
}

/// The change that a node's version came with.
///
/// # Errors
/// [`LatticeError::Loading`].
pub fn put_of(lattice: &dyn Lattice, entry: &Entry) -> Result<Change, LatticeError> {
    Ok(Change::Put {
        seq: entry.seq,
        content_hash: entry.content_hash,
        updated_at: entry.updated_at,
        node_type: entry.node_type.clone(),
        size_bytes: entry.size_bytes,
        ancestry: lattice.ancestry(&entry.id)?,
        id: entry.id.clone(),
    })
}

/// The nodes whose files are broken here, at most `limit` of them, as lines of a feed without contents.
///
/// # Errors
/// [`LatticeError::Loading`]. The stream itself may fail with [`LatticeError`].
pub fn unavailable(lattice: &Arc<dyn Lattice>, limit: usize) -> Result<LineStream, LatticeError> {
    let mut ids = lattice.unavailable();
    ids.truncate(limit);
    contents(lattice, ids, FeedOptions { unavailable: true, ..FeedOptions::default() })
}

/// These changes, as lines of a feed. Ends with the last line of a feed, which names `end`.
#[must_use]
pub fn lines_of(lattice: &Arc<dyn Lattice>, changes: Vec<Change>, end: u64, options: FeedOptions) -> LineStream {
    let mut page = changes;
    page.reverse();
    // From the end of the journal on, nothing else comes.
    walk_lines(Walk::new(lattice, u64::MAX, end, options).with_page(page))
}

/// Reads the lines of a body; blank lines do not count.
///
/// # Errors
/// [`FeedError::Line`].
pub fn read_changes(body: &Bytes, limits: &Limits) -> Result<Vec<WireChange>, FeedError> {
    let mut changes = Vec::new();
    let mut start = 0;
    for (number, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let end = start + line.len();
        let slice = body.slice(start..end);
        start = end + 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let line = number + 1;
        match read_line(slice, limits).map_err(|error| FeedError::Line { line, error })? {
            Line::Change(change) => changes.push(*change),
            Line::Start(_) | Line::End(_) => {
                return Err(FeedError::Line { line, error: WireError::Member("seq") });
            }
        }
    }
    Ok(changes)
}

/// These changes as the lattice takes them.
///
/// # Errors
/// [`FeedError::NoContent`].
pub(super) fn arrivals((from, given): (&str, u64), changes: Vec<WireChange>) -> Result<Vec<Arrival>, FeedError> {
    let arrival = |(number, change): (usize, WireChange)| {
        change.into_arrival(from, given).ok_or_else(|| FeedError::NoContent(number.saturating_add(1)))
    };
    changes.into_iter().enumerate().map(arrival).collect()
}
