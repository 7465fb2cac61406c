//! Which data directory the journal is kept for: by the lattice id of the directory's marker (DESIGN 4.8).

use super::{FILES, Journal, JournalError, META, TOMBSTONES, read_meta};
use redb::{ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use std::path::Path;

/// In `meta`: the lattice id. Journals of 0.1.0 have none, and the directory's inode in its place.
const LATTICE: &str = "lattice";
const DIRECTORY: &str = "directory";
/// In `meta`, while the first scan of an adopted directory is due: its missing files are not deleted nodes.
const ADOPTING: &str = "adopting";

/// In `meta`, while the first scan of a start is under way and something of it is written down: what spoke for and against a copy.
const START: &str = "start";

/// Which directory a journal is kept for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::lattice) struct Binding {
    /// The lattice id; `None`: it was not bound yet.
    pub(in crate::lattice) lattice_id: Option<String>,
    /// What a journal of 0.1.0 knows instead: the directory's inode.
    pub(in crate::lattice) directory_inode: Option<u64>,
}

pub(super) fn read(meta: &impl ReadableTable<&'static str, &'static str>) -> Result<Binding, JournalError> {
    let lattice_id = meta.get(LATTICE)?.map(|id| id.value().to_owned());
    let directory_inode = meta.get(DIRECTORY)?.and_then(|inode| inode.value().parse().ok());
    Ok(Binding { lattice_id, directory_inode })
}

/// What shows of a journal without opening it for writing.
#[derive(Debug)]
pub(in crate::lattice) struct Peeked {
    /// What it is kept for.
    pub(in crate::lattice) binding: Binding,
    /// It knows neither a node nor a deletion.
    pub(in crate::lattice) is_empty: bool,
}

/// Looks into the journal's file without changing it; `None`: there is none.
///
/// # Errors
/// [`JournalError`]; [`JournalError::Damaged`] also where it was not closed in order.
pub(in crate::lattice) fn peek(path: &Path) -> Result<Option<Peeked>, JournalError> {
    if !path.try_exists()? {
        return Ok(None);
    }
    let transaction = ReadOnlyDatabase::open(path)?.begin_read()?;
    let binding = read(&transaction.open_table(META)?)?;
    Ok(Some(Peeked { binding, is_empty: is_empty(&transaction)? }))
}

fn is_empty(transaction: &ReadTransaction) -> Result<bool, JournalError> {
    Ok(transaction.open_table(FILES)?.is_empty()? && transaction.open_table(TOMBSTONES)?.is_empty()?)
}

impl Journal {
    /// Does it know neither a node nor a deletion?
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn is_empty(&self) -> Result<bool, JournalError> {
        self.with(|database| is_empty(&database.begin_read()?))
    }

    /// Binds it to the lattice with this id, durably. `adopting`: until [`Self::started`], missing files are not deleted nodes.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn bind(&self, lattice_id: &str, adopting: bool) -> Result<(), JournalError> {
        self.write(|database| {
            let transaction = database.begin_write()?;
            {
                let mut meta = transaction.open_table(META)?;
                meta.insert(LATTICE, lattice_id)?;
                meta.remove(DIRECTORY)?;
                if adopting {
                    meta.insert(ADOPTING, "1")?;
                }
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// Was the directory adopted, and not scanned since?
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn is_adopting(&self) -> Result<bool, JournalError> {
        self.with(|database| Ok(read_meta(database, ADOPTING)?.is_some()))
    }

    /// What an earlier start had found that did not come to the end of its first scan; `None`: the last one did.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn unfinished_start(&self) -> Result<Option<String>, JournalError> {
        self.with(|database| read_meta(database, START))
    }

    /// Notes what a start found so far, durably: before what it made of that.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn note_start(&self, found: &str) -> Result<(), JournalError> {
        self.write(|database| {
            let transaction = database.begin_write()?;
            transaction.open_table(META)?.insert(START, found)?;
            transaction.commit()?;
            Ok(())
        })
    }

    /// The directory was scanned: from now on, missing files are deleted nodes, also in one that was adopted.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn started(&self) -> Result<(), JournalError> {
        if !self.is_adopting()? && self.unfinished_start()?.is_none() {
            return Ok(());
        }
        self.write(|database| {
            let transaction = database.begin_write()?;
            {
                let mut meta = transaction.open_table(META)?;
                meta.remove(ADOPTING)?;
                meta.remove(START)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }
}
