//! Group commit: many writes, one fsync of the directory, one commit of the journal.
//!
//! Order, so that a process killed at any moment loses nothing that it acknowledged: temp file, fsync, rename, fsync of the
//! directory, commit of the journal, index, answer. Killed in between, the next start finds the file and writes it down.

use super::{
    Applied, Arrival, Conflict, Entry, LatticeError, NodeDocument, OVERSIZE_BYTES, Precondition, Restored, Tombstone,
    Written,
    apply::{self, Accepted, Decision},
    atomic_file,
    examine::Glance,
    half_written,
    hold::{self, Settle, Settling},
    journal::{Coming, Op, Source, Waiting},
    place::{NO_FILE, entry_of, write_temp},
    reader::{self, FileStamp},
    restore::{self, Restore},
    store::{Changes, SeenFile, Store, copy_of, fingerprint, lattice_error},
    version,
    waiting::{DeletionBudget, StoredVersion},
};
use crate::types::{NodeId, Timestamp};
use bytes::Bytes;
use std::{collections::HashSet, io, path::Path, sync::Arc};
use tokio::sync::oneshot;

mod bounds;
mod files;
mod staged;

pub(super) use bounds::Growth;
use staged::{Staged, StagedKind, StagedPut};

/// The most writes that share one commit.
const BATCH: usize = 4096;
/// What must fit on the disk for writes to count as possible again.
const PROBE_BYTES: usize = 64 << 10;

/// One write.
#[derive(Debug)]
pub(super) enum WriteOp {
    Put {
        node: NodeDocument,
        precondition: Precondition,
    },
    Delete {
        id: NodeId,
        precondition: Precondition,
    },
    /// Date the version that is held now.
    Accept(NodeId),
    /// With how many nodes it and those beside it may delete; `None`: any.
    Apply(Arrival, Option<Arc<DeletionBudget>>),
    Restore(Restore),
    Settle(Settle),
    /// An edit that was half written when it was replaced, and whole then.
    Finish {
        node: NodeDocument,
        modified: Timestamp,
    },
}

/// What it did.
#[derive(Debug)]
pub(super) enum Outcome {
    Written(Written),
    Deleted(Option<Tombstone>),
    Applied(Applied),
    Restored(Option<Restored>),
    /// There is no such node.
    NotHere,
}

/// Writes that are answered together. The first failure ends them.
#[derive(Debug)]
pub(super) struct WriteRequest {
    pub(super) ops: Vec<WriteOp>,
    pub(super) reply: oneshot::Sender<Result<Vec<Outcome>, LatticeError>>,
}

enum Stage {
    Done(Outcome),
    /// In this file, if that is still what the precondition says.
    Later(String, StagedKind, Precondition),
}

/// How the requests of one run stand.
struct Answers(Vec<Answer>);

struct Answer {
    outcomes: Vec<Option<Outcome>>,
    error: Option<LatticeError>,
    /// The first write that was left out because the lattice holds as much as it may.
    left_out: Option<LatticeError>,
}

impl Answers {
    fn failed(&self, request: usize) -> bool {
        self.0.get(request).is_none_or(|answer| answer.error.is_some())
    }

    fn fail(&mut self, request: usize, error: LatticeError) {
        if let Some(answer) = self.0.get_mut(request) {
            answer.error.get_or_insert(error);
        }
    }

    fn leave_out(&mut self, request: usize, error: LatticeError) {
        if let Some(answer) = self.0.get_mut(request) {
            answer.left_out.get_or_insert(error);
        }
    }

    fn set(&mut self, request: usize, slot: usize, outcome: Outcome) {
        if let Some(slot) = self.0.get_mut(request).and_then(|answer| answer.outcomes.get_mut(slot)) {
            *slot = Some(outcome);
        }
    }
}

/// Carries the requests out and answers each. Answers the names whose files may differ from what is known: after a failure.
pub(super) fn run(store: &mut Store, requests: Vec<WriteRequest>) -> Vec<String> {
    // Before any file is touched: what is refused must not have happened.
    let ready = store.shared.journal.ready().map_err(LatticeError::from);
    if let Err(error) = ready.and_then(|()| store.shared.check_directory().map_err(|error| lattice_error(&error))) {
        note_fault(store, &error);
        for request in requests {
            let _ = request.reply.send(Err(copy_of(&error)));
        }
        return Vec::new();
    }
    let mut suspects = Vec::new();
    let mut answers = Answers(Vec::with_capacity(requests.len()));
    let mut replies = Vec::with_capacity(requests.len());
    let mut batch: Vec<Staged> = Vec::new();
    let mut touched = HashSet::new();
    for (number, request) in requests.into_iter().enumerate() {
        replies.push(request.reply);
        let outcomes = request.ops.iter().map(|_| None).collect();
        answers.0.push(Answer { outcomes, error: None, left_out: None });
        for (slot, op) in request.ops.into_iter().enumerate() {
            let key = store.batch_key(op.id());
            // A node's second write must see the first: it waits for the next batch.
            if batch.len() >= BATCH || touched.contains(&key) {
                commit(store, std::mem::take(&mut batch), &mut answers, &mut suspects);
                touched.clear();
            }
            if answers.failed(number) {
                break;
            }
            let budget = if let WriteOp::Apply(_, budget) = &op { budget.clone() } else { None };
            match stage(store, op) {
                Ok(Stage::Done(outcome)) => answers.set(number, slot, outcome),
                Ok(Stage::Later(name, kind, precondition)) => {
                    touched.insert(key);
                    if let Some((loser, _)) = kind.loser() {
                        store.count_staged(loser);
                    }
                    batch.push(Staged { request: number, slot, name, precondition, kind });
                }
                Err(error) if error.leaves_out_one() => match budget {
                    Some(budget) => {
                        budget.leave_out(error);
                        answers.set(number, slot, Outcome::Applied(Applied::LeftOut));
                    }
                    None => answers.leave_out(number, error),
                },
                Err(error) => fail(store, &mut answers, number, error),
            }
        }
    }
    commit(store, batch, &mut answers, &mut suspects);
    if store.shared.report().write_fault.is_some() {
        store.replaced.release();
    }
    for (reply, answer) in replies.into_iter().zip(answers.0) {
        // Nobody waits any more where the caller's future was dropped: the write stands all the same.
        let _ = reply.send(match answer.error.or(answer.left_out) {
            Some(error) => Err(error),
            None => Ok(answer.outcomes.into_iter().flatten().collect()),
        });
    }
    suspects
}

impl WriteOp {
    fn id(&self) -> &NodeId {
        match self {
            Self::Put { node, .. } | Self::Finish { node, .. } => node.id(),
            Self::Delete { id, .. } | Self::Accept(id) => id,
            Self::Apply(arrival, _) => arrival.id(),
            Self::Restore(restore) => restore.node.id(),
            Self::Settle(settle) => &settle.deletion.id,
        }
    }
}

fn fail(store: &Store, answers: &mut Answers, request: usize, error: LatticeError) {
    if !matches!(
        error,
        LatticeError::PreconditionFailed { .. }
            | LatticeError::Contested { .. }
            | LatticeError::HistoryFull { .. }
            | LatticeError::Loading
            | LatticeError::Unavailable(_)
            | LatticeError::WaitingFull { .. }
            | LatticeError::BoundReached { .. }
    ) {
        note_fault(store, &error);
    }
    answers.fail(request, error);
}

/// Once for each fault that lasts, not for every write that it refuses.
fn note_fault(store: &Store, error: &LatticeError) {
    let text = error.to_string();
    let before = store.shared.report().write_fault.replace(text.clone());
    if before.as_ref() != Some(&text) {
        tracing::error!(%error, "a write to the data directory failed");
    }
}

/// Whether writes would succeed again: a file of some pages, and the journal.
///
/// # Errors
/// [`LatticeError`], as the next write would fail.
pub(super) fn probe(store: &Store) -> Result<(), LatticeError> {
    let trial = || -> io::Result<()> {
        store.shared.check_directory()?;
        write_temp(&store.shared.directory, &[b' '; PROBE_BYTES], None).map(drop)
    };
    trial().map_err(|error| lattice_error(&error))?;
    Ok(store.shared.journal.ready()?)
}

fn check(precondition: &Precondition, current: Option<&Arc<Entry>>) -> Result<(), LatticeError> {
    let current = current.map(|entry| entry.content_hash);
    let holds = match precondition {
        Precondition::None => true,
        Precondition::Exists => current.is_some(),
        Precondition::Absent => current.is_none(),
        Precondition::OneOf(hashes) => current.is_some_and(|current| hashes.contains(&current)),
    };
    if holds { Ok(()) } else { Err(LatticeError::PreconditionFailed { current }) }
}

/// Decides what the write does and prepares its file.
fn stage(store: &mut Store, op: WriteOp) -> Result<Stage, LatticeError> {
    let name = store.name_for(op.id());
    let path = store.shared.directory.join(&name);
    // An edit by another program that no event has told of yet: the write is judged against that one.
    if differs(store, &name, &path)? {
        if let WriteOp::Apply(arrival, _) = &op {
            may_not_come_back(store, arrival.id(), &name, &path)?;
        }
        store.examine(std::slice::from_ref(&name))?;
    }
    match op {
        WriteOp::Delete { id, precondition } => {
            let current = store.live(&id);
            check(&precondition, current)?;
            Ok(match current {
                Some(entry) => {
                    let (id, content_hash) = (entry.id.clone(), entry.content_hash);
                    let kind = StagedKind::Delete { id, content_hash, accepted: None, has_file: true };
                    Stage::Later(name, kind, precondition)
                }
                None => Stage::Done(Outcome::Deleted(None)),
            })
        }
        WriteOp::Put { node, precondition } => {
            let current = store.live(node.id()).cloned();
            check(&precondition, current.as_ref())?;
            let (size, limit) = (node.document().source().len(), store.shared.limits.node_bytes);
            if size > limit {
                return Err(LatticeError::Io(format!("the node {} is larger than {limit} bytes", node.id())));
            }
            if let Some(same) = current.as_ref().filter(|entry| entry.content_hash == node.content_hash()) {
                return stage_same(store, &node, same, name, precondition);
            }
            let stated = stated_by_edit(store, current.as_deref(), &node, &path);
            store.count_growth(&node)?;
            let at = store.edit_time(node.id(), stated)?;
            store.note_time(&name, node.has_unreadable_time());
            let put = stage_put(store, &node, current.as_deref(), at, None)?;
            Ok(Stage::Later(name, StagedKind::Put(Box::new(put)), precondition))
        }
        WriteOp::Apply(arrival, budget) => {
            let current = store.live(arrival.id()).cloned();
            let precondition = unchanged(current.as_ref());
            let kind = match apply::decide(store, arrival, &path, budget.as_ref())? {
                Decision::Done(applied) => return Ok(Stage::Done(Outcome::Applied(applied))),
                Decision::Write(node, accepted) => {
                    store.count_growth(&node)?;
                    StagedKind::Put(Box::new(stage_put(store, &node, current.as_deref(), accepted.at, Some(accepted))?))
                }
                Decision::Remove(id, content_hash, accepted) => {
                    StagedKind::Delete { id, content_hash, accepted: Some(accepted), has_file: true }
                }
                Decision::Bury(id, content_hash, accepted) => {
                    StagedKind::Delete { id, content_hash, accepted: Some(accepted), has_file: false }
                }
                Decision::Revive(id, content_hash, at) => StagedKind::Revive { id, content_hash, at },
                Decision::Retime(entry, accepted) => StagedKind::Retime(entry, accepted),
                Decision::Wait(waiting) => StagedKind::Wait(waiting),
            };
            Ok(Stage::Later(name, kind, precondition))
        }
        WriteOp::Finish { node, modified } => {
            let current = store.live(node.id()).cloned();
            let precondition = unchanged(current.as_ref());
            let half_written::Decision::Write(node, accepted) = half_written::decide(store, node, modified, &path)?
            else {
                return Ok(Stage::Done(Outcome::Applied(Applied::Kept)));
            };
            let put = stage_put(store, &node, current.as_deref(), accepted.at, Some(accepted))?;
            Ok(Stage::Later(name, StagedKind::Put(Box::new(put)), precondition))
        }
        WriteOp::Settle(settle) => {
            let precondition = unchanged(store.live(&settle.deletion.id));
            let kind = match hold::settle(store, &settle)? {
                Settling::Over => return Ok(Stage::Done(Outcome::Applied(Applied::Kept))),
                Settling::Forget => StagedKind::WaitNoLonger(Box::new(settle.deletion)),
                Settling::Retime(entry, accepted) => StagedKind::Retime(entry, accepted),
            };
            Ok(Stage::Later(name, kind, precondition))
        }
        WriteOp::Accept(id) => {
            let now = store.shared.clock.now();
            let Some(current) = store.live(&id).cloned() else {
                let deleted = store.shared.journal.tombstone(&id)?;
                return Ok(match deleted.filter(|it| it.deleted_at > now.plus(version::MAX_AHEAD)) {
                    Some(Tombstone { content_hash, .. }) => {
                        let kind = StagedKind::Revive { id, content_hash, at: now };
                        Stage::Later(name, kind, Precondition::Absent)
                    }
                    None => Stage::Done(Outcome::NotHere),
                });
            };
            // What is dated too far ahead is refused by peers: to date it just after itself would help nobody.
            let is_ahead = current.updated_at > now.plus(version::MAX_AHEAD);
            let at = if is_ahead { now } else { store.edit_time(&id, None)? };
            let accepted = Accepted::made_here(at, Source::Edit);
            let precondition = unchanged(Some(&current));
            Ok(Stage::Later(name, StagedKind::Retime(current, accepted), precondition))
        }
        WriteOp::Restore(restore) => {
            let current = store.live(restore.node.id()).cloned();
            let precondition = unchanged(current.as_ref());
            let (node, at, restoration) = match restore::decide(store, restore, &path)? {
                restore::Decision::Done(restored) => return Ok(Stage::Done(Outcome::Restored(restored))),
                restore::Decision::Write(node, at, restoration) => (node, at, restoration),
            };
            store.count_growth(&node)?;
            let put = stage_put(store, &node, current.as_deref(), at, None)?;
            let put = StagedPut { restoration: Some(restoration), ..put };
            Ok(Stage::Later(name, StagedKind::Put(Box::new(put)), precondition))
        }
    }
}

/// What is judged now must still be so when it is replaced.
fn unchanged(current: Option<&Arc<Entry>>) -> Precondition {
    current.map_or(Precondition::Absent, |entry| Precondition::OneOf(vec![entry.content_hash]))
}

/// A write of the content that the node has: nothing, or its other text (`0.1`, `0.10`), which is stored and is no new version.
fn stage_same(
    store: &Store,
    node: &NodeDocument,
    same: &Arc<Entry>,
    name: String,
    precondition: Precondition,
) -> Result<Stage, LatticeError> {
    let put = stage_put(store, node, Some(same), same.updated_at, None)?;
    if put.entry.file_hash == same.file_hash {
        return Ok(Stage::Done(Outcome::Written(Written::Unchanged(Arc::clone(same)))));
    }
    let put = StagedPut { is_same: true, entry: Entry { seq: same.seq, ..put.entry }, ..put };
    Ok(Stage::Later(name, StagedKind::Put(Box::new(put)), precondition))
}

fn stage_put(
    store: &Store,
    node: &NodeDocument,
    current: Option<&Entry>,
    at: Timestamp,
    accepted: Option<Accepted>,
) -> Result<StagedPut, LatticeError> {
    let limit = store.shared.limits.node_bytes;
    if node.document().source().len() > limit.saturating_add(OVERSIZE_BYTES) {
        return Err(LatticeError::Io(format!("the node {} is larger than {limit} bytes", node.id())));
    }
    Ok(StagedPut {
        bytes: node.document().source().clone(),
        temp: None,
        entry: entry_of(node, current, at),
        existed: current.is_some(),
        accepted,
        restoration: None,
        is_same: false,
        stated: node.updated_at(),
        stamp: NO_FILE,
    })
}

/// Fails while the node's file is away for so short a time that an editor may be about to put it back: a version of another instance
/// must not be judged against a deletion that is none.
fn may_not_come_back(store: &mut Store, id: &NodeId, name: &str, path: &Path) -> Result<(), LatticeError> {
    let is_gone = matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
    if is_gone && !store.vanish_grace.is_zero() && store.may_come_back(name, None) {
        return Err(LatticeError::Unavailable(id.clone()));
    }
    Ok(())
}

fn differs(store: &mut Store, name: &str, path: &Path) -> Result<bool, LatticeError> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(store.glance(name, &FileStamp::of(&metadata)) == Glance::Differs),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(store.owner(name).is_some()),
        Err(error) => Err(lattice_error(&error)),
    }
}

/// The time that a write over HTTP or of this process states for its edit. The version that it replaces is only read where that matters:
/// where `updated_at` lies after it.
fn stated_by_edit(store: &Store, current: Option<&Entry>, node: &NodeDocument, path: &Path) -> Option<Timestamp> {
    let stated = node.updated_at();
    let Some(replaced) = current.filter(|entry| stated > Some(entry.updated_at)) else { return stated };
    let limits = &store.shared.limits;
    let bytes = reader::read_bytes(path, limits).ok().map(|(bytes, _)| bytes);
    let before = bytes.and_then(|bytes| NodeDocument::parse(bytes, limits.json_depth).ok());
    // Where another program wrote meanwhile, that one's time is not the one of the version that is replaced.
    let before = before.filter(|before| before.content_hash() == replaced.content_hash);
    version::time_of_edit(before.and_then(|before| before.updated_at()), stated)
}

/// Puts the batch's files in place, writes it down and sets the answers.
fn commit(store: &mut Store, mut batch: Vec<Staged>, answers: &mut Answers, suspects: &mut Vec<String>) {
    store.staged_conflicts.clear();
    store.staged_history = (0, 0);
    store.staged_growth = Growth::default();
    if batch.is_empty() {
        return;
    }
    if let Err(error) = store
        .shared
        .check_directory()
        .map_err(|error| lattice_error(&error))
        .and_then(|()| keep_losers(store, &mut batch, answers))
    {
        for staged in &batch {
            fail(store, answers, staged.request, copy_of(&error));
        }
        return;
    }
    let seen_at_ns = reader::machine_nanos();
    let placed = files::place_all(store, batch, answers, suspects);
    if placed.is_empty() {
        return;
    }
    let result = atomic_file::sync_directory(&store.shared.directory)
        .map_err(|error| lattice_error(&error))
        .and_then(|()| write_down(store, &placed, seen_at_ns));
    match result {
        Ok(outcomes) => {
            for (staged, outcome) in placed.into_iter().zip(outcomes) {
                // A conflict was noted there already, with its number.
                if staged.kind.accepted().is_none_or(|accepted| accepted.loser.is_none()) {
                    answers.set(staged.request, staged.slot, outcome);
                }
            }
            store.shared.report().write_fault = None;
        }
        Err(error) => {
            for staged in placed {
                fail(store, answers, staged.request, copy_of(&error));
                suspects.push(staged.name);
            }
        }
    }
}

/// Keeps the versions that this batch replaces and that somebody may miss, and what it puts in the place of others: before a file is
/// touched, so that a process that is killed in between has lost nothing and takes nothing for what it is not.
fn keep_losers(store: &mut Store, batch: &mut [Staged], answers: &mut Answers) -> Result<(), LatticeError> {
    let coming = batch.iter().filter(|staged| !answers.failed(staged.request));
    let coming: Vec<(NodeId, Coming)> = coming.filter_map(|staged| staged.kind.coming()).collect();
    let replacing = batch.iter_mut().filter(|staged| !answers.failed(staged.request) && staged.kind.loser().is_some());
    let replacing: Vec<&mut Staged> = replacing.collect();
    if replacing.is_empty() && coming.is_empty() {
        return Ok(());
    }
    let kept: Vec<(Conflict, Bytes)> = replacing.iter().filter_map(|staged| staged.kind.loser().cloned()).collect();
    let numbers = store.shared.journal.keep(&kept, &coming)?;
    store.coming.extend(coming);
    for ((staged, number), (lost, _)) in replacing.into_iter().zip(numbers).zip(&kept) {
        staged.kind.set_kept(number);
        if staged.kind.accepted().is_some() {
            let taken = Applied::Taken(lost.is_conflict.then_some(number));
            answers.set(staged.request, staged.slot, Outcome::Applied(taken));
        }
    }
    Ok(())
}

/// `seen_at_ns`: before the first stamp was taken, by the machine's clock.
fn write_down(store: &mut Store, placed: &[Staged], seen_at_ns: i64) -> Result<Vec<Outcome>, LatticeError> {
    let mut changes = Changes::default();
    let mut outcomes = Vec::with_capacity(placed.len());
    let mut stored = Vec::new();
    for staged in placed {
        let source = staged.kind.accepted().map_or(Source::Edit, |accepted| accepted.source.clone());
        outcomes.push(match &staged.kind {
            StagedKind::Delete { id, content_hash, accepted, has_file } => {
                let at = match accepted {
                    Some(accepted) => accepted.at,
                    None => store.edit_time(id, None)?,
                };
                if *has_file {
                    changes.repaired.push(staged.name.clone());
                }
                let tombstone = store.stage_deleted(&mut changes, (id, *content_hash), at, source);
                match accepted {
                    Some(_) => Outcome::Applied(Applied::Taken(None)),
                    None => Outcome::Deleted(Some(tombstone)),
                }
            }
            StagedKind::Revive { id, content_hash, at } => {
                store.stage_deleted(&mut changes, (id, *content_hash), *at, source);
                Outcome::Applied(Applied::Kept)
            }
            StagedKind::Put(put) => {
                changes.repaired.push(staged.name.clone());
                let (name, stamp) = (staged.name.as_str(), put.stamp);
                let file = SeenFile { name, stamp, read_at_ns: seen_at_ns, stated: Some(put.stated) };
                let entry = match put.is_same {
                    true => store.stage_seen(&mut changes, put.entry.clone(), file),
                    false => store.stage_put(&mut changes, put.entry.clone(), file, source),
                };
                if let Some(budget) = put.accepted.as_ref().and_then(|accepted| accepted.budget.as_ref()) {
                    let replaced = store.live(&entry.id).map(|entry| entry.seq);
                    stored.push((budget, StoredVersion { id: entry.id.clone(), seq: entry.seq, replaced }));
                }
                if put.accepted.is_none() {
                    store.written.keep(&entry.file_hash, &put.bytes);
                }
                let written = match (put.is_same, put.existed) {
                    (true, _) => Written::Unchanged(entry),
                    (false, true) => Written::Replaced(entry),
                    (false, false) => Written::Created(entry),
                };
                match (&put.accepted, &put.restoration) {
                    (Some(_), _) => Outcome::Applied(Applied::Taken(None)),
                    (None, None) => Outcome::Written(written),
                    (None, Some(restoration)) => {
                        changes.ops.push(Op::Settled(restoration.number));
                        Outcome::Restored(Some(Restored { written, kept: restoration.kept }))
                    }
                }
            }
            StagedKind::Retime(entry, accepted) => {
                let known = store.known.get(entry.id.as_str()).map(|known| known.fingerprint);
                let path = store.shared.directory.join(&staged.name);
                let stamp = path.symlink_metadata().ok().map(|metadata| FileStamp::of(&metadata));
                // A file that changed meanwhile is an edit of its own, which the next look finds.
                if let Some(stamp) = stamp.filter(|stamp| Some(fingerprint(stamp)) == known) {
                    let dated = Entry { updated_at: accepted.at, ..Entry::clone(entry) };
                    // As if it had been read just when it was written: the next full look reads it again.
                    let (name, read_at_ns) = (staged.name.as_str(), stamp.mtime_ns);
                    let file = SeenFile { name, stamp, read_at_ns, stated: None };
                    let retimed = store.stage_put(&mut changes, dated, file, source);
                    if let Some(budget) = &accepted.budget {
                        let replaced = Some(entry.seq);
                        stored.push((budget, StoredVersion { id: entry.id.clone(), seq: retimed.seq, replaced }));
                    }
                }
                Outcome::Applied(Applied::Same)
            }
            StagedKind::Wait(waiting) => {
                changes.ops.push(Op::Waits(Waiting::clone(waiting)));
                Outcome::Applied(Applied::Waiting)
            }
            StagedKind::WaitNoLonger(deletion) => {
                changes.ops.push(Op::WaitsNoLonger(deletion.id.clone(), deletion.from.clone()));
                Outcome::Applied(Applied::Kept)
            }
        });
    }
    store.commit(&changes)?;
    for (budget, version) in stored {
        budget.count_stored(version);
    }
    let deletions = placed.iter().filter(|staged| matches!(staged.kind, StagedKind::Delete { .. }));
    let budgets = deletions.filter_map(|staged| staged.kind.accepted()?.budget.as_ref());
    budgets.for_each(|budget| budget.count());
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::{super::store::tests::store, *};
    use crate::lattice::{Ancestry, Arrived, directory::CaseSensitivity, offline::write_file};
    use bytes::Bytes;
    use std::fs;

    fn node(text: &'static str) -> NodeDocument {
        NodeDocument::parse(Bytes::from_static(text.as_bytes()), 64).unwrap()
    }

    /// Stages the write, lets another program write its own text, and carries the write out.
    fn after_an_edit(store: &mut Store, op: WriteOp) -> Answer {
        let Ok(Stage::Later(name, kind, precondition)) = stage(store, op) else { panic!("it is a write") };
        write_file(&store.shared.directory.join(&name), br#"{"id":"a","n":"by hand"}"#).unwrap();
        let mut answers = Answers(vec![Answer { outcomes: vec![None], error: None, left_out: None }]);
        let batch = vec![Staged { request: 0, slot: 0, name, precondition, kind }];
        commit(store, batch, &mut answers, &mut Vec::new());
        answers.0.remove(0)
    }

    #[test]
    fn what_a_killed_process_put_in_place_for_another_instance_is_no_edit_made_here() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path());
        let path = store.shared.directory.join("a.json");
        write_file(&path, br#"{"id":"a","n":0}"#).unwrap();
        write_file(&store.shared.directory.join("b.json"), br#"{"id":"b","n":0}"#).unwrap();
        let names = ["a.json".to_owned(), "b.json".to_owned()];
        store.examine(&names).unwrap();
        let (a, b) = (node(r#"{"id":"a","n":1}"#), node(r#"{"id":"b","n":7}"#));
        let at = store.shared.clock.now().plus(std::time::Duration::from_secs(9));
        let ancestry = Ancestry::default().after(&a.content_hash());
        let gone = Arrived::Deleted { id: b.id().clone(), at, content_hash: b.content_hash() };
        let mut batch = Vec::new();
        for (slot, change) in [Arrived::Put { node: a.clone(), at }, gone].into_iter().enumerate() {
            let arrival = Arrival { change, ancestry: ancestry.clone(), from: "peer".into(), given: 0 };
            let Ok(Stage::Later(name, kind, precondition)) = stage(&mut store, WriteOp::Apply(arrival, None)) else {
                panic!("it is a write")
            };
            batch.push(Staged { request: 0, slot, name, precondition, kind });
        }
        let mut answers = Answers(vec![Answer { outcomes: vec![None, None], error: None, left_out: None }]);
        keep_losers(&mut store, &mut batch, &mut answers).unwrap();
        assert_eq!(files::place_all(&mut store, batch, &mut answers, &mut Vec::new()).len(), 2);

        // The process that comes after it.
        let mut store = Store::new(Arc::clone(&store.shared), CaseSensitivity::Sensitive, None);
        store.load().unwrap();
        store.examine(&names).unwrap();
        let given = |id| (store.shared.journal.lineage(id).unwrap(), store.held(id).unwrap().unwrap().at);
        for id in [a.id(), b.id()] {
            let (lineage, dated) = given(id);
            let from = lineage.from.as_deref();
            assert_eq!((from, &lineage.ancestry, dated), (Some("peer"), &ancestry, at), "{id}");
            assert!(!lineage.made_here);
        }
        assert_eq!(store.shared.journal.tombstone(b.id()).unwrap().unwrap().content_hash, b.content_hash());
        assert_eq!(store.shared.journal.coming().unwrap(), []);

        // One that was announced and never came is forgotten, once every file was looked at.
        let coming = Coming { at, deletion: false, content_hash: b.content_hash(), ancestry, from: "p".into() };
        store.shared.journal.keep(&[], &[(b.id().clone(), coming)]).unwrap();
        store.load().unwrap();
        store.all_arrived();
        assert_eq!(store.shared.journal.coming().unwrap(), []);
    }

    #[test]
    fn conflicts_of_one_batch_count_before_they_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path());
        Arc::get_mut(&mut store.shared).unwrap().limits.peer_conflicts = 2;
        let at = store.shared.clock.now().plus(std::time::Duration::from_secs(9));
        let mut ops = Vec::new();
        for id in ["a", "b", "c"] {
            let name = format!("{id}.json");
            write_file(&store.shared.directory.join(&name), format!(r#"{{"id":"{id}"}}"#).as_bytes()).unwrap();
            store.examine(&[name]).unwrap();
            let node = NodeDocument::parse(format!(r#"{{"id":"{id}","of":"peer"}}"#).into(), 64).unwrap();
            let change = Arrived::Put { node, at };
            let arrival = Arrival { change, ancestry: Ancestry::default(), from: "peer".into(), given: 0 };
            ops.push(WriteOp::Apply(arrival, None));
        }
        let (reply, answer) = oneshot::channel();
        run(&mut store, vec![WriteRequest { ops, reply }]);
        assert!(matches!(answer.blocking_recv().unwrap(), Err(LatticeError::Contested { kept: 2, .. })));
        assert!(store.shared.journal.conflict_count().unwrap() <= 2);
    }

    #[test]
    fn a_full_history_refuses_senders_that_are_not_verified_what_would_push_others_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path());
        let start = store.shared.clock.now();
        let mut push = |from: &str, id: &str, second: u64, unverified: bool| {
            let at = start.plus(std::time::Duration::from_secs(second));
            let text = format!(r#"{{"id":"{id}","of":"{from}","n":{second},"pad":"{}"}}"#, "x".repeat(3 << 20));
            let change = Arrived::Put { node: NodeDocument::parse(text.into(), 64).unwrap(), at };
            let arrival = Arrival { change, ancestry: Ancestry::default(), from: from.into(), given: 0 };
            let budget = Arc::new(DeletionBudget::new(0, unverified));
            let (reply, answer) = oneshot::channel();
            let ops = vec![WriteOp::Apply(arrival, Some(Arc::clone(&budget)))];
            run(&mut store, vec![WriteRequest { ops, reply }]);
            let answer = answer.blocking_recv().unwrap();
            budget.take_left_out().map_or(answer, Err)
        };
        push("honest", "a", 1, false).unwrap();
        push("stranger", "own", 1, true).unwrap();
        for second in 2..=26 {
            push(["honest", "other"][usize::try_from(second).unwrap() % 2], "a", second, false).unwrap();
        }
        for id in ["a", "a"] {
            let refused = push("stranger", id, 27, true);
            assert!(matches!(refused, Err(LatticeError::HistoryFull { .. })), "{refused:?}");
        }
        push("stranger", "own", 27, true).unwrap();
        push("stranger", "new", 27, true).unwrap();
        push("verified", "a", 28, false).unwrap();
        let kept = store.shared.journal.overruled(0, 99).unwrap();
        assert!(kept.iter().all(|it| it.id.as_str() == "a"), "{kept:?}");
    }

    #[test]
    fn a_version_that_was_not_replaced_is_not_kept_as_one_that_lost() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path());
        let path = store.shared.directory.join("a.json");
        write_file(&path, br#"{"id":"a","n":0}"#).unwrap();
        store.examine(&["a.json".to_owned()]).unwrap();
        let at = store.shared.clock.now().plus(std::time::Duration::from_secs(9));
        let change = Arrived::Put { node: node(r#"{"id":"a","n":1}"#), at };
        let arrival = Arrival { change, ancestry: Ancestry::default(), from: "peer".into(), given: 0 };
        let Ok(Stage::Later(name, kind, precondition)) = stage(&mut store, WriteOp::Apply(arrival, None)) else {
            panic!("it is a write")
        };
        let mut answers = Answers(vec![Answer { outcomes: vec![None], error: None, left_out: None }]);
        let mut batch = vec![Staged { request: 0, slot: 0, name, precondition, kind }];
        keep_losers(&mut store, &mut batch, &mut answers).unwrap();
        assert_eq!(store.shared.journal.conflict_count().unwrap(), 1, "before the file is touched");
        // Another program was faster.
        write_file(&path, br#"{"id":"a","n":"by hand"}"#).unwrap();
        files::place_all(&mut store, batch, &mut answers, &mut Vec::new());
        assert_eq!(store.shared.journal.conflict_count().unwrap(), 0);
    }

    #[test]
    fn an_edit_between_the_precondition_and_the_rename_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path());
        let path = store.shared.directory.join("a.json");
        let put = |precondition| WriteOp::Put { node: node(r#"{"id":"a","n":1}"#), precondition };
        let refused =
            |answer: Answer| matches!(answer.error, Some(LatticeError::PreconditionFailed { current: Some(_) }));
        assert!(refused(after_an_edit(&mut store, put(Precondition::Absent))));
        assert_eq!(fs::read(&path).unwrap(), br#"{"id":"a","n":"by hand"}"#);

        write_file(&path, br#"{"id":"a","n":0}"#).unwrap();
        let current = node(r#"{"id":"a","n":0}"#);
        let matching = || Precondition::OneOf(vec![current.content_hash()]);
        assert!(refused(after_an_edit(&mut store, put(matching()))));
        write_file(&path, br#"{"id":"a","n":0}"#).unwrap();
        let delete = WriteOp::Delete { id: current.id().clone(), precondition: matching() };
        assert!(refused(after_an_edit(&mut store, delete)));
        assert_eq!(fs::read(&path).unwrap(), br#"{"id":"a","n":"by hand"}"#);
        assert!(after_an_edit(&mut store, put(Precondition::None)).error.is_none());
    }

    #[test]
    fn a_write_that_asks_for_nothing_replaces_what_took_its_place_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path());
        let new = node(r#"{"id":"a","n":1}"#);
        let put = WriteOp::Put { node: new.clone(), precondition: Precondition::None };
        assert!(after_an_edit(&mut store, put).error.is_none());
        assert_eq!(fs::read(store.shared.directory.join("a.json")).unwrap(), new.document().source().as_ref());
        let names = fs::read_dir(&store.shared.directory).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = names.filter(|name| name != super::super::marker::NAME).collect();
        assert_eq!(left, ["a.json"]);
        assert_eq!(store.live(new.id()).unwrap().content_hash, new.content_hash());
        store.examine(&["a.json".to_owned()]).unwrap();
        assert_eq!(
            store.shared.journal.changes(0, 9, |rows| vec![None; rows.len()]).unwrap().len(),
            1,
            "what was written is not taken for an edit"
        );
    }

    #[test]
    fn an_edit_between_the_look_and_the_rename_is_not_overwritten_by_a_restoration() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path());
        let path = store.shared.directory.join("a.json");
        write_file(&path, br#"{"id":"a","n":0}"#).unwrap();
        store.examine(&["a.json".to_owned()]).unwrap();
        let lost = node(r#"{"id":"a","n":1}"#);
        let version =
            |node: &NodeDocument| version::Version { at: Timestamp::EPOCH, content: Some(node.content_hash()) };
        let conflict = Conflict {
            winner: crate::lattice::Winner::default(),
            number: 0,
            id: lost.id().clone(),
            noticed_at: Timestamp::EPOCH,
            from: "peer".into(),
            lost: version(&lost),
            won: version(&node(r#"{"id":"a","n":0}"#)),
            size_bytes: 0,
            is_conflict: true,
        };
        let number = store.shared.journal.keep(&[(conflict, lost.document().source().clone())], &[]).unwrap()[0];
        let restore = |node| WriteOp::Restore(Restore { number, node, by: "me".into() });
        let refused = after_an_edit(&mut store, restore(lost.clone()));
        assert!(matches!(refused.error, Some(LatticeError::PreconditionFailed { current: Some(_) })));
        assert_eq!(fs::read(&path).unwrap(), br#"{"id":"a","n":"by hand"}"#);
        assert!(store.shared.journal.conflict(number).unwrap().is_some(), "it can be tried again");
        let Ok(Stage::Later(..)) = stage(&mut store, restore(lost)) else { panic!("it is a write") };
    }
}
