//! How long tombstones were kept here, counted in time that the service has lived through. The wall clock alone does not decide: one start
//! with a clock that is a month ahead would forget every deletion, and peers that were away would bring the nodes back.
//!
//! Positions only grow, so one row for each hour with deletions tells the age of all of them.

use super::{
    BY_SEQ, Journal, JournalError, LINEAGE, META, TOMBSTONE_AGE, TOMBSTONES, buried, forgotten, read_meta, remembered,
};
use crate::types::Timestamp;
use redb::{Database, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// hour → position.
const LIVED: TableDefinition<'_, u64, u64> = TableDefinition::new("lived");
/// In `meta`: how long the service has lived through, in seconds.
const SECONDS: &str = "lived";
const HOUR_SECONDS: u64 = 60 * 60;

/// How long services with this journal ran, all starts together. Time in which none ran, or the machine slept, does not count.
#[derive(Debug)]
pub(super) struct Lived {
    before_seconds: u64,
    seconds: AtomicU64,
}

/// What was pruned.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::lattice) struct Pruned {
    /// How many tombstones.
    pub(in crate::lattice) count: usize,
    /// The id of one of them.
    pub(in crate::lattice) first: Option<String>,
}

impl Lived {
    pub(super) fn read(database: &Database) -> Result<Self, JournalError> {
        let before_seconds = read_meta(database, SECONDS)?.and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Self { before_seconds, seconds: AtomicU64::new(before_seconds) })
    }

    fn seconds(&self) -> u64 {
        self.seconds.load(Ordering::Relaxed)
    }

    /// Tombstones up to this position are written down in this transaction.
    pub(super) fn note_tombstones(&self, transaction: &WriteTransaction, position: u64) -> Result<(), JournalError> {
        transaction.open_table(LIVED)?.insert(self.seconds() / HOUR_SECONDS, position)?;
        self.write(&mut transaction.open_table(META)?)
    }

    fn write(&self, meta: &mut Table<'_, &'static str, &'static str>) -> Result<(), JournalError> {
        meta.insert(SECONDS, self.seconds().to_string().as_str())?;
        Ok(())
    }
}

/// Tombstones that another version of this program wrote have no row: they age from now on.
pub(super) fn prepare(
    transaction: &WriteTransaction,
    meta: &impl ReadableTable<&'static str, &'static str>,
    position: Option<u64>,
) -> Result<(), JournalError> {
    let mut table = transaction.open_table(LIVED)?;
    let noted = table.last()?.map_or(0, |(_, noted)| noted.value());
    let Some(position) = position.filter(|position| *position > noted) else { return Ok(()) };
    if !transaction.open_table(TOMBSTONES)?.is_empty()? {
        let seconds = meta.get(SECONDS)?.and_then(|text| text.value().parse().ok()).unwrap_or(0_u64);
        table.insert(seconds / HOUR_SECONDS, position)?;
    }
    Ok(())
}

/// The newest position whose tombstone was kept for [`TOMBSTONE_AGE`]. Rows that tell nothing more go.
fn aged_position(transaction: &WriteTransaction, seconds: u64) -> Result<u64, JournalError> {
    let mut table = transaction.open_table(LIVED)?;
    // An hour counts once it is over.
    let until = seconds.saturating_sub(TOMBSTONE_AGE.as_secs()) / HOUR_SECONDS;
    let newest = table.range(..until)?.next_back().transpose()?.map(|(hour, at)| (hour.value(), at.value()));
    let Some((hour, position)) = newest else { return Ok(0) };
    table.retain_in(..hour, |_, _| false)?;
    Ok(position)
}

impl Journal {
    /// The service with this journal runs for so long.
    pub(in crate::lattice) fn live(&self, since_start: Duration) {
        let seconds = self.lived.before_seconds.saturating_add(since_start.as_secs());
        self.lived.seconds.fetch_max(seconds, Ordering::Relaxed);
    }

    /// Writes down how long it ran, where there is a tombstone that ages by it.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn note_lived(&self) -> Result<(), JournalError> {
        if self.tombstones()? == 0 {
            return Ok(());
        }
        self.write(|database| {
            let transaction = database.begin_write()?;
            self.lived.write(&mut transaction.open_table(META)?)?;
            Ok(transaction.commit()?)
        })
    }

    /// Forgets the tombstones that are older than [`TOMBSTONE_AGE`] by the wall clock, and were kept here for as long while the service ran.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn prune(&self, now: Timestamp) -> Result<Pruned, JournalError> {
        if self.tombstones()? == 0 {
            return Ok(Pruned::default());
        }
        self.write(|database| {
            let transaction = database.begin_write()?;
            let aged = aged_position(&transaction, self.lived.seconds())?;
            let mut over: Vec<(String, i64)> = Vec::new();
            {
                let mut by_seq = transaction.open_table(BY_SEQ)?;
                let mut tombstones = transaction.open_table(TOMBSTONES)?;
                let mut lineages = transaction.open_table(LINEAGE)?;
                let mut memory = remembered::Tables::open(&transaction)?;
                let mut buried = buried::open(&transaction)?;
                let mut meta = transaction.open_table(META)?;
                let mut floor = meta.get("floor")?.and_then(|text| text.value().parse().ok()).unwrap_or(0_u64);
                let mut failed = None;
                let old = tombstones.extract_if(|id, value| {
                    if value.2 > aged {
                        return false;
                    }
                    buried::is_over(&buried, (id, value), now).unwrap_or_else(|error| {
                        failed.get_or_insert(error);
                        false
                    })
                })?;
                for row in old {
                    let (id, value) = row?;
                    let (deleted_at, _, seq) = value.value();
                    by_seq.remove(seq)?;
                    lineages.remove(id.value())?;
                    memory.forget(id.value())?;
                    floor = floor.max(seq);
                    over.push((id.value().to_owned(), deleted_at));
                }
                if let Some(error) = failed {
                    return Err(error);
                }
                for (id, _) in &over {
                    buried.remove(id.as_str())?;
                }
                forgotten::note(&transaction, &over, None)?;
                meta.insert("floor", floor.to_string().as_str())?;
                self.lived.write(&mut meta)?;
            }
            transaction.commit()?;
            Ok(Pruned { count: over.len(), first: over.into_iter().next().map(|(id, _)| id) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::deleted, *};
    use redb::ReadableDatabase as _;

    fn open(folder: &tempfile::TempDir) -> Journal {
        Journal::open(&folder.path().join("journal")).unwrap().0
    }

    #[test]
    fn tombstones_age_by_time_that_services_ran_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let (hour, far) = (Duration::from_secs(HOUR_SECONDS), Timestamp::EPOCH.plus(TOMBSTONE_AGE * 40));
        let journal = open(&folder);
        journal.commit(&[deleted("a", 0, 1)], 1).unwrap();
        journal.live(TOMBSTONE_AGE - hour);
        journal.commit(&[deleted("b", 0, 2)], 2).unwrap();
        assert_eq!(journal.prune(far).unwrap(), Pruned::default(), "whatever the wall clock reads");
        journal.note_lived().unwrap();
        drop(journal);

        let journal = open(&folder);
        assert_eq!(journal.prune(far).unwrap().count, 0, "time in which no service ran does not count");
        journal.live(hour);
        assert_eq!(journal.prune(far).unwrap().count, 0, "it was deleted within the hour");
        journal.live(hour * 2);
        assert_eq!(journal.prune(far).unwrap(), Pruned { count: 1, first: Some("a".to_owned()) });
        assert_eq!(journal.tombstones().unwrap(), 1);
        journal.live(TOMBSTONE_AGE + hour);
        assert_eq!(journal.prune(far).unwrap().first.as_deref(), Some("b"));
    }

    #[test]
    fn tombstones_without_a_note_age_from_the_next_start_on() {
        let folder = tempfile::tempdir().unwrap();
        let far = Timestamp::EPOCH.plus(TOMBSTONE_AGE * 9);
        let journal = open(&folder);
        journal.commit(&[deleted("a", 0, 1)], 1).unwrap();
        journal
            .write(|database| {
                let transaction = database.begin_write()?;
                transaction.delete_table(LIVED)?;
                transaction.open_table(META)?.remove(SECONDS)?;
                Ok(transaction.commit()?)
            })
            .unwrap();
        drop(journal);
        let journal = open(&folder);
        assert_eq!(journal.prune(far).unwrap().count, 0);
        journal.live(TOMBSTONE_AGE + Duration::from_secs(HOUR_SECONDS));
        assert_eq!(journal.prune(far).unwrap().count, 1);
    }

    #[test]
    fn a_year_of_deletions_keeps_a_bounded_number_of_rows() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(&folder);
        for day in 1..=365_u32 {
            journal.live(Duration::from_secs(86_400) * day);
            let at = i64::from(day) * 86_400;
            journal.commit(&[deleted(&format!("n{day}"), at, u64::from(day))], u64::from(day)).unwrap();
            journal.prune(Timestamp::from_seconds(at)).unwrap();
        }
        let rows = journal.with(|database| Ok(database.begin_read()?.open_table(LIVED)?.len()?)).unwrap();
        assert!(rows <= 33 && journal.tombstones().unwrap() <= 32, "{rows} rows");
    }
}
