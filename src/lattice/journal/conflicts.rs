//! Versions that lost, with their contents: kept until somebody has looked at them.

use super::{Coming, Journal, JournalError, META, coming, rows::node_id};
use crate::{
    lattice::{Conflict, version::Version},
    types::{ContentHash, NodeId, Timestamp},
};
use bytes::Bytes;
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

/// time µs, content hash or none.
type VersionValue<'a> = (i64, Option<&'a [u8; 32]>);
/// id, noticed at µs, who sent the version that won, version that lost, version that won, content of the one that lost.
type ConflictValue<'a> = (&'a str, i64, &'a str, VersionValue<'a>, VersionValue<'a>, &'a [u8]);

/// In `meta`: the greatest number of those that were forgotten. No number is given twice: somebody may have written it down.
const FORGOTTEN: &str = "conflict";

const CONFLICTS: TableDefinition<'_, u64, ConflictValue<'static>> = TableDefinition::new("conflicts");

/// Who sent the versions that won: how many of the others are kept.
const CONFLICTS_WITH: TableDefinition<'_, &str, u64> = TableDefinition::new("conflicts_with");

pub(super) fn prepare(transaction: &WriteTransaction) -> Result<(), JournalError> {
    transaction.open_table(CONFLICTS)?;
    transaction.open_table(CONFLICTS_WITH)?;
    Ok(())
}

impl Journal {
    /// Keeps versions that are about to be replaced, and what is about to replace others, durably. The conflicts' numbers are
    /// given here.
    ///
    /// # Errors
    /// [`JournalError`]; none of them is kept then.
    pub(in crate::lattice) fn keep(
        &self,
        conflicts: &[(Conflict, Bytes)],
        coming: &[(NodeId, Coming)],
    ) -> Result<Vec<u64>, JournalError> {
        self.write(|database| {
            let transaction = database.begin_write()?;
            let mut numbers = Vec::with_capacity(conflicts.len());
            {
                let mut table = transaction.open_table(CONFLICTS)?;
                let mut with = transaction.open_table(CONFLICTS_WITH)?;
                let last = table.last()?.map_or(0, |(number, _)| number.value());
                let mut number = last.max(forgotten(&transaction.open_table(META)?)?);
                for (conflict, content) in conflicts {
                    number = number.saturating_add(1);
                    let (lost, won) = (version_value(&conflict.lost), version_value(&conflict.won));
                    let at = conflict.noticed_at.micros();
                    table.insert(number, (conflict.id.as_str(), at, &*conflict.from, lost, won, content.as_ref()))?;
                    let before = with.get(&*conflict.from)?.map_or(0, |count| count.value());
                    with.insert(&*conflict.from, before.saturating_add(1))?;
                    numbers.push(number);
                }
            }
            coming::write(&transaction, coming)?;
            transaction.commit()?;
            Ok(numbers)
        })
    }

    /// Up to `limit` of them with greater numbers than `after`, without their contents.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn conflicts(&self, after: u64, limit: usize) -> Result<Vec<Conflict>, JournalError> {
        self.with(|database| {
            let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
            let table = database.begin_read()?.open_table(CONFLICTS)?;
            let rows = table.range(first..)?.take(limit);
            rows.map(|row| {
                row.map_err(JournalError::from).and_then(|(number, value)| read(number.value(), value.value()))
            })
            .collect()
        })
    }

    /// The greatest number that was given.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn last_conflict(&self) -> Result<u64, JournalError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let last = transaction.open_table(CONFLICTS)?.last()?.map_or(0, |(number, _)| number.value());
            Ok(last.max(forgotten(&transaction.open_table(META)?)?))
        })
    }

    /// One of them, with its content.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn conflict(&self, number: u64) -> Result<Option<(Conflict, Bytes)>, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(CONFLICTS)?;
            let Some(value) = table.get(number)? else { return Ok(None) };
            Ok(Some((read(number, value.value())?, Bytes::copy_from_slice(value.value().5))))
        })
    }

    /// Forgets one. Answers whether there was one.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn forget_conflict(&self, number: u64) -> Result<bool, JournalError> {
        self.write(|database| {
            let transaction = database.begin_write()?;
            let known = remove(&transaction, number)?;
            transaction.commit()?;
            Ok(known)
        })
    }

    /// How many are kept that lost against what `from` sent.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn conflicts_with(&self, from: &str) -> Result<u64, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(CONFLICTS_WITH)?;
            Ok(table.get(from)?.map_or(0, |count| count.value()))
        })
    }

    /// How many there are.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn conflict_count(&self) -> Result<u64, JournalError> {
        self.with(|database| Ok(database.begin_read()?.open_table(CONFLICTS)?.len()?))
    }
}

/// Takes one out. Answers whether there was one.
///
/// # Errors
/// [`JournalError`].
pub(super) fn remove(transaction: &WriteTransaction, number: u64) -> Result<bool, JournalError> {
    let from = transaction.open_table(CONFLICTS)?.remove(number)?.map(|value| value.value().2.to_owned());
    let Some(from) = from else { return Ok(false) };
    let mut with = transaction.open_table(CONFLICTS_WITH)?;
    let before = with.get(from.as_str())?.map_or(0, |count| count.value());
    match before.saturating_sub(1) {
        0 => drop(with.remove(from.as_str())?),
        left => drop(with.insert(from.as_str(), left)?),
    }
    let mut meta = transaction.open_table(META)?;
    if number > forgotten(&meta)? {
        meta.insert(FORGOTTEN, number.to_string().as_str())?;
    }
    Ok(true)
}

fn forgotten(meta: &impl ReadableTable<&'static str, &'static str>) -> Result<u64, JournalError> {
    Ok(meta.get(FORGOTTEN)?.and_then(|text| text.value().parse().ok()).unwrap_or(0))
}

fn version_value(version: &Version) -> VersionValue<'_> {
    (version.at.micros(), version.content.as_ref().map(ContentHash::as_bytes))
}

fn version((at, content): VersionValue<'_>) -> Version {
    Version { at: Timestamp::from_micros(at), content: content.map(|hash| ContentHash::from_digest(*hash)) }
}

fn read(number: u64, value: ConflictValue<'_>) -> Result<Conflict, JournalError> {
    let (id, noticed_at, from, lost, won, content) = value;
    Ok(Conflict {
        number,
        id: node_id(id)?,
        noticed_at: Timestamp::from_micros(noticed_at),
        from: from.into(),
        lost: version(lost),
        won: version(won),
        size_bytes: u64::try_from(content.len()).unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_counted_with_each_who_won() {
        let root = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&root.path().join("j.redb")).unwrap();
        let version = Version { at: Timestamp::EPOCH, content: None };
        let lost_to = |from: &str| {
            let (id, from) = (NodeId::parse("n").unwrap(), from.into());
            let noticed_at = Timestamp::EPOCH;
            (Conflict { number: 0, id, noticed_at, from, lost: version, won: version, size_bytes: 0 }, Bytes::new())
        };
        let counts = || ["a", "b", "c"].map(|from| journal.conflicts_with(from).unwrap());
        let numbers = journal.keep(&[lost_to("a"), lost_to("b"), lost_to("a")], &[]).unwrap();
        assert_eq!((numbers.as_slice(), counts()), (&[1, 2, 3][..], [2, 1, 0]));
        assert!(journal.forget_conflict(2).unwrap() && !journal.forget_conflict(2).unwrap());
        assert!(journal.forget_conflict(1).unwrap());
        assert_eq!(counts(), [1, 0, 0]);
    }
}
