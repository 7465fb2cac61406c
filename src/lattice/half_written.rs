//! Files that were half written when a version took their place: the program that was writing goes on in the bytes that are kept, and what
//! it has written there is an edit like any other once it is whole.

use super::{
    Conflict, LatticeError, NodeDocument, Version,
    apply::{self, Accepted, overruled},
    journal::Source,
    place,
    reader::{self, FileStamp, Whole},
    store::{Store, fingerprint},
    version::{MAX_AHEAD, Verdict, judge},
    write_batch::WriteOp,
};
use crate::types::Timestamp;
use std::{
    collections::VecDeque,
    fs::{self, Metadata},
    path::Path,
    time::{Duration, Instant},
};

/// The most kept files that are looked at again.
const MOST: usize = 256;
/// How long a kept file is looked at after it changed last.
const LOOKED_AT_FOR: Duration = Duration::from_secs(10 * 60);
/// How often.
const EVERY: Duration = Duration::from_millis(250);
/// Who overruled, in the record of a version that this instance's own edit replaced.
const HERE: &str = "this instance";

/// One kept file.
#[derive(Debug)]
struct KeptFile {
    /// Its name.
    kept_as: String,
    /// The name of the file that it was.
    name: String,
    fingerprint: u64,
    changed: Instant,
    /// What it holds was taken as an edit: it need not be kept for ever.
    is_taken: bool,
}

/// An edit that was half written when it was replaced, and is whole now.
#[derive(Debug)]
pub(super) struct FinishedEdit {
    /// The name of the kept file.
    pub(super) kept_as: String,
    pub(super) op: WriteOp,
}

/// Those that may still be written to.
#[derive(Debug, Default)]
pub(super) struct HalfWritten {
    files: VecDeque<KeptFile>,
    look_at: Option<Instant>,
}

impl HalfWritten {
    /// The file of this name was broken and is kept.
    pub(super) fn add(&mut self, name: &str, kept_as: String) {
        self.files.retain(|kept| kept.kept_as != kept_as);
        if self.files.len() >= MOST {
            self.files.pop_front();
        }
        // Of no file: it is read at the first look, for it may be whole by now.
        let changed = Instant::now();
        self.files.push_back(KeptFile { kept_as, name: name.to_owned(), fingerprint: 0, changed, is_taken: false });
    }

    /// What it holds is known.
    fn seen(&mut self, kept_as: &str, fingerprint: u64) {
        for kept in self.files.iter_mut().filter(|kept| kept.kept_as == kept_as) {
            (kept.fingerprint, kept.is_taken) = (fingerprint, true);
        }
    }

    /// The edit is taken, or (`!is_taken`) could not be, and is to be tried again.
    pub(super) fn end(&mut self, finished: &str, is_taken: bool) {
        for kept in self.files.iter_mut().filter(|kept| kept.kept_as == finished) {
            kept.is_taken = is_taken;
            if !is_taken {
                kept.fingerprint = 0;
            }
        }
    }
}

impl Store {
    /// Looks for files that an earlier process kept, and that may still be written. One that was whole when that process read it last was
    /// taken by it.
    ///
    /// # Errors
    /// [`LatticeError`]: the journal cannot be read.
    pub(super) fn find_half_written(&mut self, kept: &[String]) -> Result<(), LatticeError> {
        for kept_as in kept {
            let Some(name) = place::kept_aside(kept_as) else { continue };
            let metadata = self.shared.directory.join(kept_as).symlink_metadata();
            let stamp = metadata.ok().filter(Metadata::is_file).map(|metadata| FileStamp::of(&metadata));
            let Some(stamp) = stamp.filter(|stamp| u128::from(stamp.age_nanos()) < LOOKED_AT_FOR.as_nanos()) else {
                continue;
            };
            self.half_written.add(name, kept_as.clone());
            let is_known = match reader::examine_as(&self.shared.directory, kept_as, name, &self.shared.limits) {
                Whole::Node(_, node) => self.is_known_edit(&node, Timestamp::from_nanos(stamp.mtime_ns))?,
                Whole::Nothing | Whole::Broken(..) | Whole::Misnamed(..) => false,
            };
            if is_known {
                self.half_written.seen(kept_as, fingerprint(&stamp));
            }
        }
        Ok(())
    }

    /// Is this content the node's version, one that it had from then on, or one that is kept?
    fn is_known_edit(&self, node: &NodeDocument, modified: Timestamp) -> Result<bool, LatticeError> {
        let (id, content, journal) = (node.id(), node.content_hash(), &self.shared.journal);
        let is_its = |kept: Conflict| kept.id == *id && kept.lost.content == Some(content);
        Ok(self.live(id).is_some_and(|entry| entry.content_hash == content)
            || journal.remembered(id, &content)?.is_some_and(|earlier| earlier.at == modified)
            || journal.conflicts(0, usize::MAX)?.into_iter().any(is_its)
            || journal.overruled(0, usize::MAX)?.into_iter().any(is_its))
    }

    /// Edits that were half written when they were replaced, and are whole now.
    pub(super) fn finished_edits(&mut self) -> Vec<FinishedEdit> {
        let now = Instant::now();
        if self.half_written.files.is_empty() || self.half_written.look_at.is_some_and(|at| at > now) {
            return Vec::new();
        }
        self.half_written.look_at = Some(now + EVERY);
        let mut files = std::mem::take(&mut self.half_written.files);
        let mut finished = Vec::new();
        files.retain_mut(|kept| match self.look_at_kept(kept, now) {
            KeptFileState::Unchanged if now.saturating_duration_since(kept.changed) < LOOKED_AT_FOR => true,
            KeptFileState::Unchanged => {
                if kept.is_taken
                    && let Err(error) = fs::remove_file(self.shared.directory.join(&kept.kept_as))
                {
                    tracing::debug!(%error, lattice.kept = kept.kept_as, "a file that need not be kept is still there");
                }
                false
            }
            KeptFileState::Broken => true,
            KeptFileState::Gone => false,
            KeptFileState::Whole(op) => {
                finished.push(FinishedEdit { kept_as: kept.kept_as.clone(), op: *op });
                true
            }
        });
        self.half_written.files = files;
        finished
    }

    fn look_at_kept(&self, kept: &mut KeptFile, now: Instant) -> KeptFileState {
        let path = self.shared.directory.join(&kept.kept_as);
        let Ok(metadata) = path.symlink_metadata() else { return KeptFileState::Gone };
        let seen = fingerprint(&FileStamp::of(&metadata));
        if std::mem::replace(&mut kept.fingerprint, seen) == seen {
            return KeptFileState::Unchanged;
        }
        (kept.changed, kept.is_taken) = (now, false);
        match reader::examine_as(&self.shared.directory, &kept.kept_as, &kept.name, &self.shared.limits) {
            Whole::Node(file, node) => {
                let (modified, clock) = (Timestamp::from_nanos(file.stamp.mtime_ns), self.shared.clock.now());
                tracing::info!(
                    lattice.file = kept.name,
                    lattice.kept = kept.kept_as,
                    "a file that was replaced while it was half written is whole now: it counts as an edit"
                );
                KeptFileState::Whole(Box::new(WriteOp::Finish { node, modified: modified.min(clock) }))
            }
            Whole::Nothing | Whole::Broken(..) | Whole::Misnamed(..) => KeptFileState::Broken,
        }
    }
}

/// What became of a kept file.
enum KeptFileState {
    Unchanged,
    Broken,
    Gone,
    Whole(Box<WriteOp>),
}

/// What there is to do with a finished edit.
#[derive(Debug)]
pub(super) enum Decision {
    /// Nothing more: the version that is held counts, or is the same.
    Done,
    /// Write this content.
    Write(Box<NodeDocument>, Accepted),
}

/// Decides whether a finished edit counts. Whoever made the version that took its place did not know of it, so that the one that loses is
/// kept as a conflict. `path` is where the node's file is or would be.
///
/// # Errors
/// [`LatticeError`]: what is held cannot be told, or not be kept.
pub(super) fn decide(
    store: &Store,
    node: NodeDocument,
    modified: Timestamp,
    path: &Path,
) -> Result<Decision, LatticeError> {
    let now = store.shared.clock.now();
    let held = store.held(node.id())?;
    let is_newer = |stated: &Timestamp| held.is_none_or(|held| *stated > held.at) && *stated <= now.plus(MAX_AHEAD);
    let at = node.updated_at().filter(is_newer).unwrap_or(modified);
    let edit = Version { at, content: Some(node.content_hash()) };
    let verdict = judge(held.as_ref(), &edit, now);
    match (verdict, held) {
        (Verdict::Take, Some(held)) => {
            let loser = match store.live(node.id()) {
                Some(_) => {
                    let content = apply::read(store, path)?;
                    Some(Box::new(overruled(store, node.id(), HERE.into(), (held, edit), content, true)))
                }
                None => None,
            };
            Ok(Decision::Write(Box::new(node), Accepted::made_here(at, Source::Edit).replacing(loser)))
        }
        (Verdict::Take, None) => Ok(Decision::Write(Box::new(node), Accepted::made_here(at, Source::Edit))),
        (Verdict::Keep, Some(held)) => {
            let from = store.shared.journal.lineage(node.id())?.from.unwrap_or_else(|| HERE.into());
            let content = node.document().source().clone();
            store.shared.journal.keep(&[overruled(store, node.id(), from, (edit, held), content, true)], &[])?;
            Ok(Decision::Done)
        }
        (Verdict::Same | Verdict::Later | Verdict::Ahead | Verdict::Keep, _) => Ok(Decision::Done),
    }
}
