//! Which directory a journal is kept for: compared at every start, bound anew when the admin says so.

use super::{
    directory::OpenError,
    journal::{self, Binding, Journal, JournalError, Loaded, Peeked},
    marker::{self, Marker, MarkerError},
};
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What adopting a directory did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The lattice id that directory and journal share now.
    pub lattice_id: String,
    /// Nodes that the journal knows.
    pub known_nodes: u64,
    /// Those of them that have no file in the directory. At the next start they count as lost, not as deleted.
    pub missing_nodes: u64,
}

/// Binds the journal to this directory, whatever it was kept for. The next start takes no missing file for a deleted node.
///
/// # Errors
/// [`OpenError`]: the directory or the journal cannot be used, or another process uses one of them.
pub fn adopt(directory: &Path, journal: &Path) -> Result<Adopted, OpenError> {
    let directory = directory.canonicalize().map_err(|error| OpenError::NotReadable(directory.to_owned(), error))?;
    let failed = |error| super::directory::open_error(journal.to_owned(), error);
    let (opened, head) = Journal::open(journal).map_err(failed)?;
    let found = marker::read(&directory).map_err(|error| marker_error(&directory, error))?;
    let lattice_id = match found.or(head.binding.lattice_id) {
        Some(lattice_id) => lattice_id,
        None => journal::random_id().map_err(failed)?,
    };
    mark(&directory, &lattice_id)?;
    let lock = Marker::hold(&directory, lattice_id.clone()).map_err(|error| marker_error(&directory, error))?;
    opened.bind(&lattice_id, true).map_err(failed)?;
    let (mut known_nodes, mut missing_nodes) = (0_u64, 0_u64);
    let count = |row: Loaded<'_>| {
        known_nodes = known_nodes.saturating_add(1);
        missing_nodes = missing_nodes.saturating_add(u64::from(directory.join(row.name).symlink_metadata().is_err()));
    };
    opened.load(count).map_err(failed)?;
    drop(lock);
    Ok(Adopted { lattice_id, known_nodes, missing_nodes })
}

/// Compares the marker of the directory with the journal, as a start of the service would, but changes and locks neither. What cannot be
/// seen so is no error: a journal that a running service holds open, or one that was not closed in order.
///
/// # Errors
/// [`OpenError::NoMarker`], [`OpenError::OtherLattice`], [`OpenError::BadMarker`].
pub fn check_marker(directory: &Path, journal: &Path) -> Result<(), OpenError> {
    let found = match marker::read(directory) {
        Err(error @ MarkerError::Unreadable(_)) => return Err(marker_error(directory, error)),
        // That it cannot be read has other reasons, which are reported elsewhere.
        Err(MarkerError::InUse | MarkerError::Io(_)) => return Ok(()),
        Ok(found) => found,
    };
    let paths = || (directory.canonicalize().unwrap_or_else(|_| directory.to_owned()), journal.to_owned());
    match journal::peek(journal) {
        Ok(Some(Peeked { binding, is_empty: false })) => match (found, binding.lattice_id) {
            (Some(found), Some(known)) if found != known => Err(other_lattice(paths())),
            (None, Some(_)) => Err(no_marker(paths())),
            (found, None) => check_inode(directory, &binding.directory_inode, found.is_some(), paths()),
            (Some(_), Some(_)) => Ok(()),
        },
        // A service runs: it made the marker when it started.
        Err(JournalError::InUse) if found.is_none() => Err(no_marker(paths())),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// How a data directory stands to a journal, for commands that write versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalStanding {
    /// There is no journal for this directory: only its files show what it holds.
    None,
    /// The journal is kept for it, and no service has it open.
    Idle,
    /// A service has the journal open.
    Served,
}

/// How `directory` stands to `journal`. `is_own`: both are those of the settings, so that the journal is meant for it whatever its marker
/// says. Changes nothing.
///
/// # Errors
/// [`OpenError::DirectoryInUse`]: a service with another journal serves it. [`OpenError::NoMarker`], where that shows without opening the
/// journal.
pub fn journal_standing(directory: &Path, journal: &Path, is_own: bool) -> Result<JournalStanding, OpenError> {
    let peeked = journal::peek(journal);
    if is_own {
        return match peeked {
            Ok(None) => not_served(directory),
            Err(JournalError::InUse) => check_marker(directory, journal).map(|()| JournalStanding::Served),
            // Of one that this user may not read, only the marker shows whether a service has it open.
            Err(JournalError::Io(_)) => not_served(directory).map(|_| JournalStanding::Idle),
            Ok(Some(_)) | Err(_) => Ok(JournalStanding::Idle),
        };
    }
    let found = marker::read(directory).map_err(|error| marker_error(directory, error))?;
    match (peeked, found) {
        (Ok(Some(Peeked { binding, .. })), Some(found)) if binding.lattice_id.as_ref() == Some(&found) => {
            Ok(JournalStanding::Idle)
        }
        _ => not_served(directory),
    }
}

/// Do the markers of both directories name the same lattice? Then one is a copy of the other.
#[must_use]
pub fn are_copies(one: &Path, other: &Path) -> bool {
    matches!((marker::read(one), marker::read(other)), (Ok(Some(one)), Ok(Some(other))) if one == other)
}

fn not_served(directory: &Path) -> Result<JournalStanding, OpenError> {
    match marker::read(directory).map_err(|error| marker_error(directory, error))? {
        Some(lattice_id) => Marker::hold(directory, lattice_id)
            .map(|_lock| JournalStanding::None)
            .map_err(|error| marker_error(directory, error)),
        None => Ok(JournalStanding::None),
    }
}

/// The marker of the directory, if the journal is kept for it; both are bound to each other where one of them is new.
///
/// # Errors
/// [`OpenError::NoMarker`], [`OpenError::OtherLattice`], [`OpenError::DirectoryInUse`], and those of files.
pub(super) fn bind(directory: &Path, journal: (&Path, &Journal), binding: &Binding) -> Result<Marker, OpenError> {
    let (path, journal) = journal;
    let failed = |error: JournalError| super::directory::open_error(path.to_owned(), error);
    let paths = || (directory.to_owned(), path.to_owned());
    let found = marker::read(directory).map_err(|error| marker_error(directory, error))?;
    let is_new = journal.is_empty().map_err(failed)?;
    let lattice_id = match (found, &binding.lattice_id) {
        (Some(found), Some(known)) if found == *known => found,
        // A marker without a journal: the state directory is new.
        (Some(found), _) if is_new => found,
        (Some(_), Some(_)) => return Err(other_lattice(paths())),
        (None, known) if is_new => match known {
            Some(known) => known.clone(),
            None => journal::random_id().map_err(failed)?,
        },
        (None, Some(_)) => return Err(no_marker(paths())),
        // A journal of 0.1.0 knows its directory by the inode.
        (found, None) => {
            check_inode(directory, &binding.directory_inode, found.is_some(), paths())?;
            match found {
                Some(found) => found,
                None => journal::random_id().map_err(failed)?,
            }
        }
    };
    mark(directory, &lattice_id)?;
    let marker = Marker::hold(directory, lattice_id.clone()).map_err(|error| marker_error(directory, error))?;
    if binding.lattice_id.as_ref() != Some(&lattice_id) {
        journal.bind(&lattice_id, false).map_err(failed)?;
    }
    Ok(marker)
}

/// Fails unless the directory has the inode that a journal of 0.1.0 knows.
fn check_inode(
    directory: &Path,
    known: &Option<u64>,
    is_marked: bool,
    paths: (PathBuf, PathBuf),
) -> Result<(), OpenError> {
    let metadata = std::fs::metadata(directory).map_err(|error| OpenError::NotReadable(directory.to_owned(), error))?;
    if *known == Some(metadata.ino()) {
        return Ok(());
    }
    Err(if is_marked { other_lattice(paths) } else { no_marker(paths) })
}

/// Sees to it that the directory's marker names this lattice.
fn mark(directory: &Path, lattice_id: &str) -> Result<(), OpenError> {
    let found = marker::read(directory).map_err(|error| marker_error(directory, error))?;
    if found.as_deref() == Some(lattice_id) {
        return Ok(());
    }
    marker::write(directory, lattice_id).map_err(|error| OpenError::NotWritable(directory.to_owned(), error))
}

fn no_marker((directory, journal): (PathBuf, PathBuf)) -> OpenError {
    OpenError::NoMarker { directory, journal }
}

fn other_lattice((directory, journal): (PathBuf, PathBuf)) -> OpenError {
    OpenError::OtherLattice { directory, journal }
}

fn marker_error(directory: &Path, error: MarkerError) -> OpenError {
    match error {
        MarkerError::InUse => OpenError::DirectoryInUse(directory.to_owned()),
        MarkerError::Unreadable(reason) => OpenError::BadMarker(directory.join(marker::NAME), reason),
        MarkerError::Io(error) => OpenError::NotReadable(directory.to_owned(), error),
    }
}
