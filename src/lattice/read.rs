//! Reading nodes such that entries and bytes belong together.

use super::{
    Entry, LatticeError, NodeDocument, StoredNode, file_name,
    index::Index,
    pack::{Pack, is_packed},
    reader::{self, ReadError, SmallFiles},
    recent::Recent,
    store::{Shared, lattice_error},
    version,
    watch::Pending,
};
use crate::types::{ContentHash, NodeId};
use bytes::Bytes;
use std::{io, sync::Arc};

/// How often a read follows an index that changes under it.
const ATTEMPTS: usize = 3;
/// A pack is read where at least one in so many of its nodes is wanted. Of fewer, each costs less in its file than what is read in vain
/// between them.
const SPARSEST: usize = 16;
/// Fewer nodes are not worth looking for their place.
const FEWEST: usize = 16;

/// The file of a node of the index.
fn name(index: &Index, id: &NodeId) -> String {
    index.name(id).map_or_else(|| file_name::plain(id), str::to_owned)
}

/// What the index has of a node, and its file.
fn locate(index: &Index, id: &NodeId) -> Option<(Arc<Entry>, String)> {
    Some((Arc::clone(index.get(id.as_str())?), name(index, id)))
}

/// Puts what the index has now into the place of older entries, and leaves out what is gone. Answers whether what is left are most
/// nodes of a run, in the order of their ids.
fn refresh(index: &Index, wanted: &mut Vec<Arc<Entry>>) -> bool {
    let mut ranks: Option<(usize, usize)> = None;
    if wanted.is_sorted_by(|one, next| one.id < next.id) {
        let mut ours = index.walk();
        wanted.retain_mut(|entry| {
            let Some((rank, current)) = ours.seek(entry.id.as_str().as_bytes()) else { return false };
            if !Arc::ptr_eq(entry, current) {
                *entry = Arc::clone(current);
            }
            ranks = Some((ranks.map_or(rank, |(first, _)| first), rank));
            true
        });
    } else {
        wanted.retain_mut(|entry| index.get(entry.id.as_str()).map(|current| *entry = Arc::clone(current)).is_some());
    }
    wanted.len() >= FEWEST && ranks.is_some_and(|(first, last)| (last - first) / SPARSEST < wanted.len())
}

/// Reads nodes, those of a run from the pack. Answers how many of them it might have had, but did not.
///
/// # Errors
/// [`LatticeError::Io`] and its like.
pub(super) fn read_nodes(
    shared: &Shared,
    pending: &Pending,
    mut wanted: Vec<Arc<Entry>>,
) -> Result<(Vec<StoredNode>, usize), LatticeError> {
    let is_run = refresh(&shared.index(), &mut wanted);
    let pack = if is_run && shared.is_followed() { shared.packs.newest() } else { None };
    let mut walk = pack.as_deref().map(Pack::walk);
    let copies: Vec<_> =
        wanted.iter().map(|entry| walk.as_mut()?.find(entry.id.as_str().as_bytes(), &entry.file_hash)).collect();
    let missing = wanted.iter().zip(&copies).filter(|(_, copy)| copy.is_none()).map(|(entry, _)| entry);
    let missed = if is_run { missing.clone().filter(|entry| is_packed(entry)).count() } else { 0 };
    let mut files = read_files(shared, missing).into_iter();
    let mut nodes = Vec::with_capacity(wanted.len());
    for (entry, copy) in wanted.into_iter().zip(copies) {
        nodes.extend(match copy.or_else(|| files.next().flatten()) {
            Some(bytes) => Some(StoredNode { entry, bytes }),
            // Large, gone, or changed meanwhile.
            None => match read_node(shared, pending, &entry.id) {
                Err(LatticeError::Unavailable(_)) => None,
                node => node?,
            },
        });
    }
    Ok((nodes, missed))
}

/// The contents of these nodes, each where it is small and its file has what the index says.
fn read_files<'a>(shared: &Shared, entries: impl Iterator<Item = &'a Arc<Entry>>) -> Vec<Option<Bytes>> {
    let (located, live): (Vec<_>, _) = {
        let index = shared.index();
        (entries.map(|entry| (entry, name(&index, &entry.id))).collect(), index.len())
    };
    if located.is_empty() {
        return Vec::new();
    }
    let size = |entry: &Entry| usize::try_from(entry.size_bytes).unwrap_or(usize::MAX);
    let sizes = located.iter().map(|(entry, _)| size(entry));
    let room = sizes.filter(|size| *size <= SmallFiles::LARGEST_BYTES).sum();
    let Ok(mut files) = SmallFiles::new(&shared.directory, room) else { return Vec::new() };
    let ranges: Vec<_> = located.iter().map(|(entry, name)| files.read(name, size(entry), &entry.file_hash)).collect();
    let bytes = files.into_bytes();
    let contents: Vec<_> = ranges.into_iter().map(|range| range.map(|range| bytes.slice(range))).collect();
    if Recent::is_worth(contents.len(), bytes.len(), live) {
        for ((entry, _), content) in located.iter().zip(&contents) {
            if let Some(content) = content {
                shared.recent.keep(&entry.file_hash, content);
            }
        }
    }
    contents
}

/// Has the process or the machine no more of something? No file can be read then.
fn is_of_process(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

/// Reads a node such that entry and bytes belong together.
///
/// # Errors
/// [`LatticeError::Io`] and its like.
pub(super) fn read_node(shared: &Shared, pending: &Pending, id: &NodeId) -> Result<Option<StoredNode>, LatticeError> {
    let locate = || locate(&shared.index(), id);
    for attempt in 1..=ATTEMPTS {
        let Some((entry, name)) = locate() else { return Ok(None) };
        let read = reader::read_bytes(&shared.directory.join(&name), &shared.limits);
        if let Ok((bytes, _)) = &read
            && *ContentHash::of(bytes).as_bytes() == entry.file_hash
        {
            return Ok(Some(StoredNode { entry, bytes: bytes.clone() }));
        }
        let moved = locate().is_none_or(|(newer, _)| !Arc::ptr_eq(&newer, &entry));
        if moved && attempt < ATTEMPTS {
            continue;
        }
        // A directory that was unmounted has no files either.
        shared.check_directory().map_err(|error| lattice_error(&error))?;
        // Another program changed the file, and the writer thread does not know yet.
        pending.doubt(&name);
        let is_broken = shared.unavailable().contains(id);
        let unavailable = || LatticeError::Unavailable(id.clone());
        let bytes = match read {
            Ok((bytes, _)) => bytes,
            Err(_) if is_broken => return Err(unavailable()),
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(ReadError::Io(error)) if is_of_process(&error) => return Err(lattice_error(&error)),
            // The directory is there: it is this file that cannot be read, and all others go on.
            Err(error) => {
                tracing::debug!(%error, lattice.file = name, "a file cannot be read");
                return Err(unavailable());
            }
        };
        let node = NodeDocument::parse(bytes.clone(), shared.limits.json_depth).ok().filter(|node| node.id() == id);
        // Half written, perhaps: broken is not deleted.
        let node = node.ok_or_else(unavailable)?;
        return Ok(Some(StoredNode {
            entry: Arc::new(Entry {
                id: id.clone(),
                content_hash: node.content_hash(),
                file_hash: *ContentHash::of(&bytes).as_bytes(),
                node_type: node.node_type(),
                // As it will be noticed.
                updated_at: version::edit_time(
                    shared.to_follow(Some(entry.updated_at)),
                    node.updated_at(),
                    shared.clock.now(),
                ),
                size_bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
                seq: entry.seq,
            }),
            bytes,
        }));
    }
    Ok(None)
}
