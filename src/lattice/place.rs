//! Files on their way into their places.

use super::{Entry, NodeDocument, atomic_file::TempFile, dating::to_system, reader::FileStamp};
use crate::types::{ContentHash, Sha256Digest, Timestamp};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    thread,
};

/// Threads that write and sync at the same time. They mostly wait: the more of them do, the more files the file system's own journal
/// commits together.
const THREADS: usize = 16;

/// What no file looks like.
pub(super) const NO_FILE: FileStamp = FileStamp { mtime_ns: 0, ctime_ns: 0, size: 0, inode: 0 };

/// Runs `one` over the batch, on several threads. One answer each, in their order.
pub(super) fn on_threads<T: Send>(
    batch: &mut [T],
    one: impl Fn(&mut T) -> io::Result<()> + Sync,
) -> Vec<io::Result<()>> {
    let one = &one;
    if batch.len() <= 1 {
        return batch.iter_mut().map(one).collect();
    }
    let share = batch.len().div_ceil(THREADS);
    thread::scope(|scope| {
        let threads: Vec<_> = batch
            .chunks_mut(share)
            .map(|share| {
                let writes = share.len();
                // `Scope::spawn` panics where the machine gives no more threads; these writes fail then.
                let do_share = move || share.iter_mut().map(one).collect::<Vec<_>>();
                (writes, thread::Builder::new().spawn_scoped(scope, do_share))
            })
            .collect();
        let join =
            |(writes, thread): (usize, io::Result<thread::ScopedJoinHandle<'_, Vec<io::Result<()>>>>)| match thread
                .map(thread::ScopedJoinHandle::join)
            {
                Ok(Ok(results)) => results,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(error) => (0..writes).map(|_| Err(io::Error::new(error.kind(), error.to_string()))).collect(),
            };
        threads.into_iter().flat_map(join).collect()
    })
}

/// Keeps a broken file's bytes under a hidden name: they may be the user's half-finished edit.
pub(super) fn keep_aside(directory: &Path, name: &str) -> io::Result<()> {
    let kept = format!(".{name}.broken");
    let kept = if kept.len() <= 255 { kept } else { format!(".{}.broken", ContentHash::of(name.as_bytes()).to_hex()) };
    let kept_path = directory.join(&kept);
    match fs::remove_file(&kept_path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let path = directory.join(name);
    match fs::hard_link(&path, &kept_path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // FAT and some network file systems have no links. What is no regular file has no bytes to keep.
        Err(_) if path.symlink_metadata()?.is_file() => drop(fs::copy(&path, &kept_path)?),
        Err(_) => return Ok(()),
        Ok(()) => {}
    }
    tracing::warn!(lattice.file = name, lattice.kept = kept, "a broken file was replaced; its bytes are kept");
    Ok(())
}

/// The stamp of our file under its own name: the rename moved its ctime. Where another file took the place meanwhile, a stamp
/// that no file has, so that the next look reads it.
pub(super) fn stamp_in_place(path: &Path, written: &FileStamp) -> FileStamp {
    let Ok(metadata) = path.symlink_metadata() else { return NO_FILE };
    let stamp = FileStamp::of(&metadata);
    let ours = (stamp.mtime_ns, stamp.size, stamp.inode) == (written.mtime_ns, written.size, written.inode);
    if ours { stamp } else { NO_FILE }
}

/// What the index will know of this document.
pub(super) fn entry_of(node: &NodeDocument, current: Option<&Entry>, updated_at: Timestamp) -> Entry {
    let source = node.document().source();
    let file_hash: Sha256Digest = *ContentHash::of(source).as_bytes();
    Entry {
        id: current.map_or_else(|| node.id().clone(), |entry| entry.id.clone()),
        content_hash: node.content_hash(),
        file_hash,
        node_type: node.node_type(),
        updated_at,
        size_bytes: u64::try_from(source.len()).unwrap_or(u64::MAX),
        seq: 0,
    }
}

/// A durable file beside its place, closed.
pub(super) fn write_temp(
    directory: &Path,
    bytes: &[u8],
    dated: Option<Timestamp>,
) -> io::Result<(TempFile, FileStamp)> {
    let (mut temp, stamp) = write_unsynced(directory, bytes, dated)?;
    temp.sync()?;
    temp.close();
    Ok((temp, stamp))
}

/// An open file beside its place that is not durable yet. `dated`: its mtime, which is a version's time then: a later start dates the
/// content by it, also where the journal is gone.
pub(super) fn write_unsynced(
    directory: &Path,
    bytes: &[u8],
    dated: Option<Timestamp>,
) -> io::Result<(TempFile, FileStamp)> {
    let temp = TempFile::create(directory, 0o644)?;
    let stamp = fill(&temp, bytes, dated)?;
    Ok((temp, stamp))
}

/// An open file on its way to a place that seems free, not durable yet: without a name, where the file system has such files.
pub(super) fn write_first(
    root: &File,
    directory: &Path,
    bytes: &[u8],
    dated: Option<Timestamp>,
) -> io::Result<(TempFile, FileStamp)> {
    let Ok(temp) = TempFile::unnamed(root, 0o644) else { return write_unsynced(directory, bytes, dated) };
    let stamp = fill(&temp, bytes, dated)?;
    Ok((temp, stamp))
}

fn fill(temp: &TempFile, bytes: &[u8], dated: Option<Timestamp>) -> io::Result<FileStamp> {
    let mut file = temp.file()?;
    file.write_all(bytes)?;
    if let Some(modified) = dated.and_then(to_system)
        && let Err(error) = file.set_modified(modified)
    {
        // The journal knows the version's time all the same.
        tracing::debug!(%error, "a file cannot be dated");
    }
    Ok(FileStamp::of(&file.metadata()?))
}
