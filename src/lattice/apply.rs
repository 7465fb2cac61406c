//! Versions of other instances: judged on the writer's thread, against what is held in that moment.

use super::{
    Ancestry, Applied, Arrival, Arrived, Conflict, Entry, LatticeError, NodeDocument, Version, Winner, hold,
    journal::{Coming, Source, TOMBSTONE_AGE, Waiting},
    reader,
    store::Store,
    version::{Verdict, judge},
    waiting::DeletionBudget,
};
use crate::types::{ContentHash, NodeId, Timestamp};
use bytes::Bytes;
use std::{path::Path, sync::Arc};

/// With so many tombstones, and four for each node, deletions of nodes that were never here are not remembered any more.
const STRANGE_TOMBSTONES: u64 = 100_000;

/// What there is to do with an arrival.
#[derive(Debug)]
pub(super) enum Decision {
    /// Nothing.
    Done(Applied),
    /// Write this content.
    Write(Box<NodeDocument>, Accepted),
    /// Take this node's file away. With the content that was deleted where it was deleted, which need not be the one that is here:
    /// whoever takes the deletion from us must not think that ours was meant.
    Remove(NodeId, ContentHash, Accepted),
    /// Remember that it is deleted; there is no file.
    Bury(NodeId, ContentHash, Accepted),
    /// Remember again that it is deleted: the tombstone is forgotten, and somebody still holds a version from before.
    Revive(NodeId, ContentHash, Timestamp),
    /// Note the later time of what is held.
    Retime(Arc<Entry>, Accepted),
    /// Keep the deletion until the admin has confirmed it.
    Wait(Box<Waiting>),
}

/// A version that counts.
#[derive(Debug)]
pub(super) struct Accepted {
    /// Its time.
    pub(super) at: Timestamp,
    /// Where it came from.
    pub(super) source: Source,
    /// What it is about to replace and must be kept.
    pub(super) loser: Option<Box<(Conflict, Bytes)>>,
    /// The number under which that is kept.
    pub(super) kept: Option<u64>,
    /// Its file alone does not say all of it: what it came from, what it replaced, or when it was made.
    announced: bool,
    /// Counts the deletion or the version once it is durable.
    pub(super) budget: Option<Arc<DeletionBudget>>,
}

impl Accepted {
    /// A version that came from nowhere else.
    pub(super) fn made_here(at: Timestamp, source: Source) -> Self {
        Self { at, source, loser: None, kept: None, announced: false, budget: None }
    }

    /// The same, where it replaces what must be kept.
    pub(super) fn replacing(self, loser: Option<Box<(Conflict, Bytes)>>) -> Self {
        Self { loser, ..self }
    }

    /// What is written down before a file is touched; nothing where nobody could mistake it for an edit of what was here.
    pub(super) fn coming(&self, content_hash: ContentHash, deletion: bool) -> Option<Coming> {
        let Source::Given { ancestry, from } = &self.source else { return None };
        let (ancestry, from) = (ancestry.clone(), from.clone());
        self.announced.then_some(Coming { at: self.at, deletion, content_hash, ancestry, from })
    }
}

impl Arrival {
    /// Does this version say that it comes from that content?
    fn comes_from(&self, content: &ContentHash) -> bool {
        let deleted = match &self.change {
            Arrived::Put { .. } => None,
            Arrived::Deleted { content_hash, .. } => Some(content_hash),
        };
        deleted == Some(content) || self.ancestry.names(content)
    }

    /// The node that it is about.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        match &self.change {
            Arrived::Put { node, .. } => node.id(),
            Arrived::Deleted { id, .. } => id,
        }
    }

    fn version(&self) -> Version {
        match &self.change {
            Arrived::Put { node, at } => Version { at: *at, content: Some(node.content_hash()) },
            Arrived::Deleted { at, .. } => Version { at: *at, content: None },
        }
    }
}

/// Decides what an arrival does. `path` is where the node's file is or would be. `budget`: how many nodes may be deleted; `None`: any.
///
/// # Errors
/// [`LatticeError`]: what is held cannot be told, or not be kept.
pub(super) fn decide(
    store: &Store,
    arrival: Arrival,
    path: &Path,
    budget: Option<&Arc<DeletionBudget>>,
) -> Result<Decision, LatticeError> {
    let now = store.shared.clock.now();
    let (held, offered) = (store.held(arrival.id())?, arrival.version());
    let current = store.live(arrival.id()).cloned();
    let verdict = judge(held.as_ref(), &offered, now);
    // A broken file may be somebody's half-finished edit. Its bytes are kept aside, and count as an edit once they are whole.
    let is_broken = held.is_some_and(|held| held.content.is_some()) && current.is_none();
    match verdict {
        Verdict::Ahead => return Ok(Decision::Done(Applied::Ahead)),
        Verdict::Same => return Ok(Decision::Done(Applied::Same)),
        Verdict::Keep => return keep(store, arrival, held),
        Verdict::Take | Verdict::Later => {}
    }
    if held.is_none() && matches!(arrival.change, Arrived::Deleted { .. }) && !worth_remembering(store, offered.at, now)
    {
        return Ok(Decision::Done(Applied::Kept));
    }
    let deletes = (current.is_some() || is_broken) && matches!(arrival.change, Arrived::Deleted { .. });
    if let Some(budget) = budget.filter(|_| deletes)
        && !budget.spend()
    {
        return hold::wait(store, arrival, budget);
    }
    let lost = match (&current, is_broken) {
        _ if verdict != Verdict::Take => None,
        (Some(entry), _) => Some((Arc::clone(entry), read(store, path)?)),
        (None, true) => last_good(store, arrival.id()),
        (None, false) => None,
    };
    let loser = match (lost, held) {
        (Some((entry, content)), Some(held)) => {
            let winner = budget.map(|budget| budget.winner()).unwrap_or_default();
            Some(Box::new(loser(store, &entry, &arrival, (held, offered), (content, winner))?))
        }
        _ => None,
    };
    let plain = match &arrival.change {
        // First contact with many costs no more for it.
        Arrived::Put { node, at } => {
            held.is_none() && arrival.ancestry == Ancestry::default() && node.updated_at() == Some(*at)
        }
        Arrived::Deleted { .. } => false,
    };
    let source = Source::Given { ancestry: arrival.ancestry, from: arrival.from };
    let stores = !is_broken && matches!(arrival.change, Arrived::Put { .. });
    let budget = budget.filter(|_| deletes || stores).cloned();
    let accepted = Accepted { at: offered.at, source, loser, kept: None, announced: !plain, budget };
    Ok(match (arrival.change, current) {
        (Arrived::Put { .. }, Some(entry)) if verdict == Verdict::Later => Decision::Retime(entry, accepted),
        (Arrived::Put { node, .. }, _) => Decision::Write(Box::new(node), accepted),
        (Arrived::Deleted { id, content_hash, .. }, None) if !is_broken => Decision::Bury(id, content_hash, accepted),
        (Arrived::Deleted { id, content_hash, .. }, _) => Decision::Remove(id, content_hash, accepted),
    })
}

/// What is held counts. Whoever sent the other version learns of it; of a deletion only if there is a tombstone.
fn keep(store: &Store, arrival: Arrival, held: Option<Version>) -> Result<Decision, LatticeError> {
    let (Arrived::Put { node, .. }, Some(Version { at, content: None })) = (arrival.change, held) else {
        return Ok(Decision::Done(Applied::Kept));
    };
    let is_forgotten = store.shared.journal.tombstone(node.id())?.is_none();
    Ok(match is_forgotten {
        true => Decision::Revive(node.id().clone(), node.content_hash(), at),
        false => Decision::Done(Applied::Kept),
    })
}

/// Is the deletion of a node that was never here worth a tombstone? Others may hold the node; but one that is about to be forgotten
/// moves the position below which everybody must begin anew, and a flood of them fills the journal.
fn worth_remembering(store: &Store, at: Timestamp, now: Timestamp) -> bool {
    let nodes = u64::try_from(store.known.len()).unwrap_or(u64::MAX);
    let most = nodes.saturating_mul(4).saturating_add(STRANGE_TOMBSTONES);
    now.since(at) <= TOMBSTONE_AGE && store.shared.report().tombstones < most
}

/// The version that is about to be replaced, to be kept: as a conflict if it was made here and the sender of the new one had not been
/// given it, otherwise as history.
fn loser(
    store: &Store,
    entry: &Entry,
    arrival: &Arrival,
    versions: (Version, Version),
    (content, winner): (Bytes, Winner),
) -> Result<(Conflict, Bytes), LatticeError> {
    let journal = &store.shared.journal;
    // What a line says of its ancestry, anybody can write: it counts only where this instance's own record shows that the sender had been
    // given the version. A sender that had been given it, and edited another one all the same, says so by an ancestry without it.
    let succeeds = entry.seq <= arrival.given && arrival.comes_from(&entry.content_hash);
    let lineage = journal.lineage(&entry.id)?;
    let is_conflict = !succeeds && lineage.made_here;
    let is_of_giver = !lineage.made_here && lineage.from.as_deref() == Some(&*arrival.from);
    if is_conflict {
        // Each version is kept, so a sender whose versions make each edit lose would fill the disk.
        let account = winner.account.as_ref().unwrap_or(&arrival.from);
        let staged = store.staged_conflicts.get(account).copied().unwrap_or_default();
        let kept = journal.conflicts_with(account)?.saturating_add(staged);
        if kept >= store.shared.limits.peer_conflicts {
            return Err(LatticeError::Contested { from: arrival.from.clone(), kept });
        }
    } else if winner.is_unverified && !is_of_giver {
        // DESIGN 4.7: keys cost nothing to make, and would push out of the history what others replaced.
        let (versions, bytes) = store.staged_history;
        let bytes = bytes.saturating_add(u64::try_from(content.len()).unwrap_or(u64::MAX));
        if !journal.has_room_in_history(versions.saturating_add(1), bytes)? {
            return Err(LatticeError::HistoryFull { from: arrival.from.clone(), id: entry.id.clone() });
        }
    }
    let (mut lost, content) = overruled(store, &entry.id, arrival.from.clone(), versions, content, is_conflict);
    lost.winner = winner;
    Ok((lost, content))
}

impl Store {
    /// Counts what the batch that is being staged keeps of a version that lost.
    pub(super) fn count_staged(&mut self, lost: &Conflict) {
        if lost.is_conflict {
            let account = lost.winner.account.as_ref().unwrap_or(&lost.from).clone();
            let staged = self.staged_conflicts.entry(account).or_default();
            *staged = staged.saturating_add(1);
        } else {
            let (versions, bytes) = self.staged_history;
            self.staged_history = (versions.saturating_add(1), bytes.saturating_add(lost.size_bytes));
        }
    }
}

/// The last good version of a broken file, where a copy of its content is left: its own bytes are kept aside, and are another one.
pub(super) fn last_good(store: &Store, id: &NodeId) -> Option<(Arc<Entry>, Bytes)> {
    let entry = Arc::clone(&store.known.get(id.as_str())?.entry);
    let written = || Some(store.written.all_of(std::slice::from_ref(&entry))?.pop()?.bytes);
    let packed = || store.shared.packs.newest()?.walk().find(id.as_str().as_bytes(), &entry.file_hash);
    let content = written().or_else(packed);
    if content.is_none() {
        tracing::warn!(
            node.id = id.as_str(),
            "a newer version replaces a node whose file is broken: of its last good version no copy is left to be kept"
        );
    }
    content.map(|content| (entry, content))
}

/// The content of the file that is about to be replaced.
///
/// # Errors
/// [`LatticeError::Io`].
pub(super) fn read(store: &Store, path: &Path) -> Result<Bytes, LatticeError> {
    let read = reader::read_bytes(path, &store.shared.limits);
    Ok(read.map_err(|error| LatticeError::Io(error.to_string()))?.0)
}

/// What is kept of a version that is overruled now: `from` sent the one that counts, `content` is that of the one that lost.
pub(super) fn overruled(
    store: &Store,
    id: &NodeId,
    from: Box<str>,
    (lost, won): (Version, Version),
    content: Bytes,
    is_conflict: bool,
) -> (Conflict, Bytes) {
    let (id, noticed_at) = (id.clone(), store.shared.clock.now());
    let size_bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
    (
        Conflict { number: 0, id, noticed_at, from, lost, won, size_bytes, is_conflict, winner: Winner::default() },
        content,
    )
}

#[cfg(test)]
mod tests {
    use super::{super::store::tests::store, *};
    use std::time::Duration;

    #[test]
    fn deletions_of_what_was_never_here_are_remembered_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let now = store.shared.clock.now();
        let buried = |at: Timestamp| {
            let change = Arrived::Deleted { id: NodeId::parse("a").unwrap(), at, content_hash: ContentHash::of(b"") };
            let arrival = Arrival { change, ancestry: Ancestry::default(), from: "peer".into(), given: 0 };
            match decide(&store, arrival, &folder.path().join("a.json"), None).unwrap() {
                Decision::Bury(..) => true,
                Decision::Done(Applied::Kept) => false,
                other => panic!("{other:?}"),
            }
        };
        assert!(buried(now) && buried(now.minus(TOMBSTONE_AGE - Duration::from_secs(3600))));
        assert!(!buried(now.minus(TOMBSTONE_AGE + Duration::from_secs(1))), "it would be forgotten at once");
        store.shared.report().tombstones = STRANGE_TOMBSTONES - 1;
        assert!(buried(now));
        store.shared.report().tombstones = STRANGE_TOMBSTONES;
        assert!(!buried(now));
    }
}
