//! The files of a batch: written beside their places, made durable, put in place. One part is written while the one before it is placed.

use super::{Answers, Outcome, Staged, StagedKind, check, differs, fail, may_not_come_back};
use crate::lattice::{
    Applied, LatticeError, Precondition,
    atomic_file::TempFile,
    examine::is_directory,
    place::{self, keep_aside, on_threads, stamp_in_place, write_first, write_unsynced},
    reader::{FileStamp, Found},
    replaced::Replaced,
    store::{Changes, Store, lattice_error},
    whole_sync::WholeSync,
};
use std::{fs, fs::File, io, path::Path, thread};

/// The files of one part. Two parts are open at a time: far below what a process may have.
const FILES: usize = 256;

/// Answers those that are in place.
pub(super) fn place_all(
    store: &mut Store,
    batch: Vec<Staged>,
    answers: &mut Answers,
    suspects: &mut Vec<String>,
) -> Vec<Staged> {
    let root = match File::open(&store.shared.directory) {
        Ok(root) => root,
        Err(error) => {
            batch.iter().for_each(|staged| fail(store, answers, staged.request, lattice_error(&error)));
            return Vec::new();
        }
    };
    let directory = store.shared.directory.clone();
    let mut whole_sync = std::mem::take(&mut store.whole_sync);
    let mut write = |part: &mut Vec<Staged>| write_part(&root, &directory, &mut whole_sync, part);
    let mut placed = Vec::with_capacity(batch.len());
    let mut batch = batch.into_iter();
    let mut part: Vec<Staged> = batch.by_ref().take(FILES).collect();
    let mut written = write(&mut part);
    while !part.is_empty() {
        let mut next: Vec<Staged> = batch.by_ref().take(FILES).collect();
        let ahead = thread::scope(|scope| {
            let ahead = (!next.is_empty()).then(|| thread::Builder::new().spawn_scoped(scope, || write(&mut next)));
            for (mut staged, written) in part.drain(..).zip(written) {
                // A request ends with its first failure: its later writes must not happen.
                if answers.failed(staged.request) {
                    forget_kept(store, &staged);
                    continue;
                }
                let not_placed = match place(store, &root, &mut staged, written) {
                    Ok(()) => {
                        placed.push(staged);
                        continue;
                    }
                    Err(not_placed) => not_placed,
                };
                forget_kept(store, &staged);
                match not_placed {
                    NotPlaced::Changed(error) => fail(store, answers, staged.request, error),
                    NotPlaced::Blocked(error) => blocked(store, answers, &staged, &error),
                    NotPlaced::Failed(error) => {
                        fail(store, answers, staged.request, lattice_error(&error));
                        suspects.push(staged.name);
                    }
                }
            }
            ahead.and_then(Result::ok).map(thread::ScopedJoinHandle::join)
        });
        written = match ahead {
            Some(Ok(written)) => written,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            // There is none, or the machine gives no more threads.
            None => write(&mut next),
        };
        part = next;
    }
    store.whole_sync = whole_sync;
    placed
}

/// Writes the files beside their places and makes them durable: many with one sync of the whole file system, where that can be relied
/// on, few each by itself, because the whole would wait for what others write.
fn write_part(root: &File, directory: &Path, whole_sync: &mut WholeSync, part: &mut [Staged]) -> Vec<io::Result<()>> {
    let together = whole_sync.may(root, part.len());
    let write = |staged: &mut Staged| {
        let StagedKind::Put(put) = &mut staged.kind else { return Ok(()) };
        let (mut temp, stamp) = match put.existed {
            true => write_unsynced(directory, &put.bytes, put.dated())?,
            false => write_first(root, directory, &put.bytes, put.dated())?,
        };
        if !together {
            temp.sync()?;
        }
        if !temp.is_unnamed() {
            temp.close();
        }
        (put.temp, put.stamp) = (Some(temp), stamp);
        Ok(())
    };
    if !together {
        return on_threads(part, write);
    }
    let written: Vec<io::Result<()>> = part.iter_mut().map(write).collect();
    if whole_sync.run(root).is_ok() {
        return written;
    }
    let synced = on_threads(part, |staged| match &staged.kind {
        StagedKind::Put(put) => put.temp.as_ref().map_or(Ok(()), TempFile::sync),
        _ => Ok(()),
    });
    written.into_iter().zip(synced).map(|(written, synced)| written.and(synced)).collect()
}

/// Why a file is not in its place.
enum NotPlaced {
    /// What stands there is not what the write was to replace.
    Changed(LatticeError),
    /// Nothing can be put there: a mount point, or a file that the admin made immutable.
    Blocked(io::Error),
    /// The file system does not do it; what stands there now is not known.
    Failed(io::Error),
}

impl From<io::Error> for NotPlaced {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{DirectoryNotEmpty, IsADirectory, NotADirectory, ResourceBusy};
        let is_of_one_file = matches!(error.kind(), IsADirectory | NotADirectory | DirectoryNotEmpty | ResourceBusy)
            || error.raw_os_error() == Some(libc::EPERM);
        if is_of_one_file { Self::Blocked(error) } else { Self::Failed(error) }
    }
}

impl From<LatticeError> for NotPlaced {
    fn from(error: LatticeError) -> Self {
        Self::Changed(error)
    }
}

/// What was to be replaced stands still: it is no version that lost. A file that cannot be replaced is tried again and again.
fn forget_kept(store: &Store, staged: &Staged) {
    let Some(number) = staged.kind.kept() else { return };
    if let Err(error) = store.shared.journal.forget_conflict(number) {
        tracing::warn!(%error, number, "a version that was not replaced stays in the history");
    }
}

/// Nothing can be put in this one place. A version of another instance waits for that, like one of a node whose file is broken: the
/// others that came with it must not.
fn blocked(store: &mut Store, answers: &mut Answers, staged: &Staged, error: &io::Error) {
    let reason = format!("it cannot be replaced: {error}");
    let failure = LatticeError::Io(format!("{}: {error}", staged.name));
    if staged.kind.accepted().is_none() {
        return answers.fail(staged.request, failure);
    }
    let mut changes = Changes::default();
    // No stamp: the place may become free without a trace on the file, and is tried again after the next look.
    let found = Found::Broken(reason, None);
    let settled = store.settle(&mut changes, &staged.name, found).and_then(|()| store.commit_found(&changes));
    match settled {
        Ok(()) => answers.set(staged.request, staged.slot, Outcome::Applied(Applied::Kept)),
        Err(error) => fail(store, answers, staged.request, error),
    }
}

fn place(store: &mut Store, root: &File, staged: &mut Staged, written: io::Result<()>) -> Result<(), NotPlaced> {
    // Nothing is there: the file system itself sees to it that nothing is replaced.
    if staged.precondition == Precondition::Absent
        && written.is_ok()
        && let StagedKind::Put(put) = &mut staged.kind
        && let Some(temp) = put.temp.take_if(|temp| temp.is_unnamed())
        && let Ok(metadata) = temp.link(root, &staged.name)
    {
        put.stamp = FileStamp::of(&metadata);
        return Ok(());
    }
    still_holds(store, staged)?;
    written.map_err(NotPlaced::Failed)?;
    let directory = store.shared.directory.clone();
    let path = directory.join(&staged.name);
    match &mut staged.kind {
        StagedKind::Retime(..)
        | StagedKind::Revive { .. }
        | StagedKind::Delete { has_file: false, .. }
        | StagedKind::Wait(_)
        | StagedKind::WaitNoLonger(_) => {}
        StagedKind::Delete { accepted, .. } => {
            let was_broken = keep_broken(store, &staged.name, false)?;
            // Who deletes it here wants its room.
            let open = if was_broken || accepted.is_none() { None } else { Replaced::open(&path) };
            match fs::remove_file(&path) {
                // Another program was faster, or it was moved aside: deleted is deleted.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
            open.into_iter().for_each(|file| store.replaced.add(&staged.name, file));
        }
        StagedKind::Put(put) => {
            let was_broken = keep_broken(store, &staged.name, !put.existed && is_directory(&path))?;
            let may_be_open = put.existed && put.accepted.is_some() && !was_broken;
            let open = if may_be_open { Replaced::open(&path) } else { None };
            let named = put.temp.take().filter(|temp| !temp.is_unnamed());
            let (temp, stamp) = match named {
                Some(temp) => (temp, put.stamp),
                // Its place was taken meanwhile, or there is no `/proc`.
                None => place::write_temp(&directory, &put.bytes, put.dated())?,
            };
            temp.rename(&path)?;
            open.into_iter().for_each(|file| store.replaced.add(&staged.name, file));
            put.stamp = stamp_in_place(&path, &stamp);
        }
    }
    Ok(())
}

/// Keeps the bytes of a file that is about to go, where they are no node's or the place must be freed: what is written to them goes on.
/// Answers whether it is such a file.
fn keep_broken(store: &mut Store, name: &str, is_in_the_way: bool) -> io::Result<bool> {
    let is_to_be_kept = is_in_the_way || store.shared.report().broken.contains_key(name);
    if is_to_be_kept {
        let kept_as = keep_aside(&store.shared.directory, name)?;
        kept_as.into_iter().for_each(|kept_as| store.half_written.add(name, kept_as));
    }
    Ok(is_to_be_kept)
}

/// To make a batch durable may take seconds: what another program did meanwhile is not overwritten by a write that was to happen
/// only if nobody did.
fn still_holds(store: &mut Store, staged: &Staged) -> Result<(), LatticeError> {
    let path = store.shared.directory.join(&staged.name);
    if staged.precondition == Precondition::None || !differs(store, &staged.name, &path)? {
        return Ok(());
    }
    if staged.kind.accepted().is_some() {
        may_not_come_back(store, staged.kind.id(), &staged.name, &path)?;
    }
    store.examine(std::slice::from_ref(&staged.name))?;
    check(&staged.precondition, store.live(staged.kind.id()))
}
