//! What is remembered of a node's file beside its current version: the document's own date, and the contents that it held before. A
//! start of the service tells with it an edit from a file that came back from a backup (DESIGN 4.7).

use super::{Journal, JournalError, read_meta};
use crate::{
    lattice::Entry,
    types::{ContentHash, NodeId, Timestamp},
};
use redb::{ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

/// id → µs.
const STATED: TableDefinition<'_, &str, i64> = TableDefinition::new("stated");
/// id → the newest earlier contents, newest first; of each 8 bytes of the hash, the version's time (µs) and the file's mtime (ns), both of 8
/// bytes, big endian.
const REMEMBERED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("remembered_files");
/// The most contents of one node that are remembered.
const MOST: usize = 8;
/// Bytes of a content hash that are kept: two contents of one node that share them are not found by chance.
const PREFIX_BYTES: usize = 8;
const ROW_BYTES: usize = PREFIX_BYTES + 16;

const NS_PER_SECOND: i64 = 1_000_000_000;

/// In `meta`: up to this position, nobody noted what documents state: it was written by 0.1.0.
const STATED_FROM: &str = "stated_from";

/// What a document's own date is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lattice) enum Stated {
    /// This one, or none where this is the version's time.
    At(Timestamp),
    /// A journal of 0.1.0 did not note it.
    Unknown,
}

impl Stated {
    /// Did an edit of the version of `previous` change the document's own date to `stated`?
    pub(in crate::lattice) fn changed_to(self, stated: Timestamp, previous: Timestamp) -> bool {
        match self {
            Self::At(before) => stated != before,
            Self::Unknown => stated > previous,
        }
    }
}

/// A content that the node's file held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lattice) struct Earlier {
    /// The time of its version.
    pub(in crate::lattice) at: Timestamp,
    /// The mtime of its file.
    pub(in crate::lattice) mtime_ns: i64,
}

impl Earlier {
    /// Is a file with this mtime that very file, as a copy that keeps mtimes has it? Some keep whole seconds only.
    pub(in crate::lattice) fn is_file_of(&self, mtime_ns: i64) -> bool {
        let second = |ns: i64| ns.div_euclid(NS_PER_SECOND);
        let is_whole = mtime_ns.rem_euclid(NS_PER_SECOND) == 0;
        mtime_ns == self.mtime_ns || (is_whole && second(mtime_ns) == second(self.mtime_ns))
    }
}

pub(super) fn prepare(
    transaction: &WriteTransaction,
    meta: &mut Table<'_, &'static str, &'static str>,
) -> Result<(), JournalError> {
    transaction.open_table(STATED)?;
    transaction.open_table(REMEMBERED)?;
    if meta.get(STATED_FROM)?.is_none() {
        let seq = meta.get("seq")?.map_or_else(|| "0".to_owned(), |seq| seq.value().to_owned());
        meta.insert(STATED_FROM, seq.as_str())?;
    }
    Ok(())
}

/// Both tables, for one transaction.
pub(super) struct Tables<'a> {
    stated: Table<'a, &'static str, i64>,
    remembered: Table<'a, &'static str, &'static [u8]>,
}

impl<'a> Tables<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, JournalError> {
        Ok(Self { stated: transaction.open_table(STATED)?, remembered: transaction.open_table(REMEMBERED)? })
    }

    /// The node's version of `at` states this date of its own.
    pub(super) fn state(&mut self, id: &str, at: Timestamp, stated: Option<Timestamp>) -> Result<(), JournalError> {
        match stated.filter(|stated| *stated != at) {
            Some(stated) => drop(self.stated.insert(id, stated.micros())?),
            None => drop(self.stated.remove(id)?),
        }
        Ok(())
    }

    /// The node keeps its content, which was the version of `before` until now: what it states is as before.
    pub(super) fn state_as_before(&mut self, id: &str, before: Timestamp) -> Result<(), JournalError> {
        if self.stated.get(id)?.is_none() {
            self.stated.insert(id, before.micros())?;
        }
        Ok(())
    }

    /// The node's file held this content until now.
    pub(super) fn remember(&mut self, id: &str, content: &ContentHash, file: Earlier) -> Result<(), JournalError> {
        let prefix = content.as_bytes().get(..PREFIX_BYTES).unwrap_or_default();
        let mut rows = [prefix, &file.at.micros().to_be_bytes(), &file.mtime_ns.to_be_bytes()].concat();
        if let Some(older) = self.remembered.get(id)? {
            let older = older.value().chunks_exact(ROW_BYTES).filter(|row| !row.starts_with(prefix));
            older.take(MOST.saturating_sub(1)).for_each(|row| rows.extend_from_slice(row));
        }
        self.remembered.insert(id, rows.as_slice())?;
        Ok(())
    }

    /// Nothing is remembered of the node.
    pub(super) fn forget(&mut self, id: &str) -> Result<(), JournalError> {
        self.stated.remove(id)?;
        self.remembered.remove(id)?;
        Ok(())
    }
}

/// What tells whether a file is still the one that was read.
#[derive(Debug, Clone, Copy)]
pub(in crate::lattice) struct LastSeen {
    pub(in crate::lattice) mtime_ns: i64,
    pub(in crate::lattice) ctime_ns: i64,
    pub(in crate::lattice) inode: u64,
    /// When it was read or written, by the machine's clock, ns since the epoch.
    pub(in crate::lattice) read_at_ns: i64,
}

impl Journal {
    /// What the document of this version states of its date.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn stated(&self, entry: &Entry) -> Result<Stated, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(STATED)?;
            if let Some(micros) = table.get(entry.id.as_str())? {
                return Ok(Stated::At(Timestamp::from_micros(micros.value())));
            }
            let from = read_meta(database, STATED_FROM)?.and_then(|text| text.parse().ok()).unwrap_or(0_u64);
            Ok(if entry.seq > from { Stated::At(entry.updated_at) } else { Stated::Unknown })
        })
    }

    /// The node's file as it was last read or written.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn last_seen(&self, id: &NodeId) -> Result<Option<LastSeen>, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(super::FILES)?;
            let Some(row) = table.get(id.as_str())? else { return Ok(None) };
            let (_, (mtime_ns, ctime_ns, _, inode, read_at_ns), ..) = row.value();
            Ok(Some(LastSeen { mtime_ns, ctime_ns, inode, read_at_ns }))
        })
    }

    /// The version and the file in which the node held this content before; `None`: it did not, as far as is remembered.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn remembered(
        &self,
        id: &NodeId,
        content: &ContentHash,
    ) -> Result<Option<Earlier>, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(REMEMBERED)?;
            let Some(rows) = table.get(id.as_str())? else { return Ok(None) };
            let prefix = content.as_bytes().get(..PREFIX_BYTES).unwrap_or_default();
            let row = rows.value().chunks_exact(ROW_BYTES).find(|row| row.starts_with(prefix));
            Ok(row.and_then(|row| {
                let (micros, mtime) = row.get(PREFIX_BYTES..)?.split_at_checked(8)?;
                let at = Timestamp::from_micros(i64::from_be_bytes(micros.try_into().ok()?));
                Some(Earlier { at, mtime_ns: i64::from_be_bytes(mtime.try_into().ok()?) })
            }))
        })
    }
}
