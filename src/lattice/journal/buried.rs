//! When deletions that were made long before came to be known here. Their tombstones are kept as long as those of others, counted from
//! then: every peer must have had the time to take them.

use super::{JournalError, TOMBSTONE_AGE, TombstoneValue};
use crate::types::Timestamp;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use std::time::Duration;

/// id → µs.
const BURIED: TableDefinition<'_, &str, i64> = TableDefinition::new("buried");
/// So much later than the deletion's own date it is noted.
const LATE: Duration = Duration::from_secs(60 * 60);

/// Is a deletion of `deleted_at` that is written down `now` to be noted here?
pub(in crate::lattice) fn is_late(deleted_at: Timestamp, now: Timestamp) -> bool {
    now.since(deleted_at) > LATE
}

pub(super) fn prepare(transaction: &WriteTransaction) -> Result<(), JournalError> {
    transaction.open_table(BURIED)?;
    Ok(())
}

pub(super) fn open(transaction: &WriteTransaction) -> Result<Table<'_, &'static str, i64>, JournalError> {
    Ok(transaction.open_table(BURIED)?)
}

/// Has the tombstone been kept long enough?
pub(super) fn is_over(
    buried: &Table<'_, &'static str, i64>,
    (id, (deleted_at, ..)): (&str, TombstoneValue<'_>),
    now: Timestamp,
) -> Result<bool, JournalError> {
    let is_old = |at: i64| now.since(Timestamp::from_micros(at)) > TOMBSTONE_AGE;
    if !is_old(deleted_at) {
        return Ok(false);
    }
    Ok(buried.get(id)?.is_none_or(|at| is_old(at.value())))
}
