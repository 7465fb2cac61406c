//! When nodes were deleted whose tombstones are forgotten. Peers are told nothing of it any more: rounds find out by themselves what the
//! other side deleted. But a version that comes by another way, from a backup say, must not bring back what was deleted after it was made.

use super::{Journal, JournalError};
use crate::types::{NodeId, Timestamp};
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

/// id → µs.
const FORGOTTEN: TableDefinition<'_, &str, i64> = TableDefinition::new("forgotten");
/// The most that are kept.
const MOST: u64 = 100_000;

pub(super) fn prepare(transaction: &WriteTransaction) -> Result<(), JournalError> {
    transaction.open_table(FORGOTTEN)?;
    Ok(())
}

/// Notes when these nodes were deleted. Of too many, the oldest half goes.
pub(super) fn note(
    transaction: &WriteTransaction,
    over: &[(String, i64)],
    most: Option<u64>,
) -> Result<(), JournalError> {
    let mut table = transaction.open_table(FORGOTTEN)?;
    for (id, deleted_at) in over {
        table.insert(id.as_str(), deleted_at)?;
    }
    if table.len()? <= most.unwrap_or(MOST) {
        return Ok(());
    }
    let mut all = Vec::new();
    for row in table.iter()? {
        all.push(row?.1.value());
    }
    let middle = all.len() / 2;
    let (_, middle, _) = all.select_nth_unstable(middle);
    let middle = *middle;
    table.retain(|_, deleted_at| deleted_at > middle)?;
    Ok(())
}

impl Journal {
    /// Are there any?
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn has_forgotten(&self) -> Result<bool, JournalError> {
        self.with(|database| Ok(!database.begin_read()?.open_table(FORGOTTEN)?.is_empty()?))
    }

    /// When this node was deleted the last time, where its tombstone is forgotten.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn forgotten_deletion(&self, id: &NodeId) -> Result<Option<Timestamp>, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(FORGOTTEN)?;
            Ok(table.get(id.as_str())?.map(|at| Timestamp::from_micros(at.value())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&folder.path().join("journal")).unwrap();
        let over: Vec<(String, i64)> = (0..9).map(|n| (format!("node-{n}"), n)).collect();
        journal
            .write(|database| {
                let transaction = database.begin_write()?;
                note(&transaction, &over, Some(8))?;
                Ok(transaction.commit()?)
            })
            .unwrap();
        let known = |n: i64| journal.forgotten_deletion(&NodeId::parse(&format!("node-{n}")).unwrap()).unwrap();
        assert_eq!(known(8), Some(Timestamp::from_micros(8)));
        assert_eq!((known(5), known(4), known(0)), (Some(Timestamp::from_micros(5)), None, None));
    }
}
