//! Versions of other instances that are about to replace what is here. Written down before a file is touched: a process that is
//! killed between its files and its journal finds such a file at the next start, and must not take it for an edit made here, of the
//! version that it replaced. Whoever made that one would think that somebody had known it, and would not keep it.

use super::{
    Journal, JournalError,
    rows::{Lineage, node_id},
};
use crate::{
    lattice::version::{Ancestry, Version},
    types::{ContentHash, NodeId, Timestamp},
};
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};

/// at µs, deleted, content hash, lineage.
type ComingValue<'a> = (i64, bool, &'a [u8; 32], &'a [u8]);

const COMING: TableDefinition<'_, &str, ComingValue<'static>> = TableDefinition::new("coming");

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lattice) struct Coming {
    pub(in crate::lattice) at: Timestamp,
    /// It is a deletion, of this content.
    pub(in crate::lattice) deletion: bool,
    pub(in crate::lattice) content_hash: ContentHash,
    pub(in crate::lattice) ancestry: Ancestry,
    /// Who gives it.
    pub(in crate::lattice) from: Box<str>,
}

impl Coming {
    pub(in crate::lattice) fn version(&self) -> Version {
        Version { at: self.at, content: (!self.deletion).then_some(self.content_hash) }
    }
}

pub(super) fn prepare(transaction: &WriteTransaction) -> Result<(), JournalError> {
    transaction.open_table(COMING)?;
    Ok(())
}

pub(super) fn open(
    transaction: &WriteTransaction,
) -> Result<Table<'_, &'static str, ComingValue<'static>>, JournalError> {
    Ok(transaction.open_table(COMING)?)
}

pub(super) fn write(transaction: &WriteTransaction, coming: &[(NodeId, Coming)]) -> Result<(), JournalError> {
    let mut table = open(transaction)?;
    for (id, coming) in coming {
        let Coming { at, deletion, content_hash, ancestry, from } = coming;
        let lineage =
            Lineage { made_here: false, came_back: false, from: Some(from.clone()), ancestry: ancestry.clone() }
                .to_bytes();
        table.insert(id.as_str(), (at.micros(), *deletion, content_hash.as_bytes(), lineage.as_slice()))?;
    }
    Ok(())
}

impl Journal {
    /// All of them.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn coming(&self) -> Result<Vec<(NodeId, Coming)>, JournalError> {
        self.with(|database| {
            let mut coming = Vec::new();
            for row in database.begin_read()?.open_table(COMING)?.iter()? {
                let (id, value) = row?;
                let (at, deletion, content_hash, lineage) = value.value();
                let content_hash = ContentHash::from_digest(*content_hash);
                let Lineage { from, ancestry, .. } = Lineage::from_bytes(lineage);
                let from = from.unwrap_or_default();
                let version = Coming { at: Timestamp::from_micros(at), deletion, content_hash, ancestry, from };
                coming.push((node_id(id.value())?, version));
            }
            Ok(coming)
        })
    }

    /// Forgets all of them: every file was looked at since.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn forget_coming(&self) -> Result<(), JournalError> {
        self.write(|database| {
            let transaction = database.begin_write()?;
            {
                let mut table = open(&transaction)?;
                if !table.is_empty()? {
                    table.retain(|_, _| false)?;
                }
            }
            transaction.commit()?;
            Ok(())
        })
    }
}
