//! The epochs of the journal (DESIGN 4.6): which stretches of it are unbroken. A new one begins with the first write after each start
//! of the writer, in the transaction of that write, so that a copy that is put back never continues an epoch that went on elsewhere.

use super::{Journal, JournalError, META, random_bytes};
use crate::{
    lattice::Epochs,
    manifest::{
        Epoch, EpochStart, Lineage,
        lineage::{EPOCH_DIGITS, MAX_EPOCHS},
    },
};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// First position → epoch.
const EPOCHS: TableDefinition<'_, u64, &str> = TableDefinition::new("epochs");

/// What the process knows of the epochs.
#[derive(Debug)]
pub(super) struct EpochState {
    known: Mutex<Epochs>,
}

/// What a commit does with the lineage.
pub(super) struct Beginning {
    /// The epoch that begins, where one is due.
    epoch: Option<Epoch>,
    /// Everything before it is dropped.
    voids: bool,
}

fn random_epoch() -> Result<Epoch, JournalError> {
    Ok(Epoch::from_bytes(random_bytes::<{ EPOCH_DIGITS / 2 }>()?))
}

/// Makes the table. A journal of release 0.1.0 has one epoch so far, its `index_id`: positions that peers recorded stay valid.
pub(super) fn prepare(transaction: &WriteTransaction, index_id: &str) -> Result<(), JournalError> {
    let mut table = transaction.open_table(EPOCHS)?;
    if table.is_empty()? {
        table.insert(0, index_id)?;
    }
    Ok(())
}

fn read(database: &Database) -> Result<Lineage, JournalError> {
    let table = database.begin_read()?.open_table(EPOCHS)?;
    let mut starts = Vec::new();
    for row in table.iter()? {
        let (since, epoch) = row?;
        let epoch = Epoch::parse(epoch.value()).map_err(|error| JournalError::Damaged(error.to_string()))?;
        starts.push(EpochStart { epoch, since: since.value() });
    }
    Lineage::new(starts).ok_or_else(|| JournalError::Damaged("its epochs are none".to_owned()))
}

impl EpochState {
    /// As the journal has them; the next write begins a new one.
    pub(super) fn open(database: &Database) -> Result<Self, JournalError> {
        let known = Epochs { lineage: Arc::new(read(database)?), next: Some(random_epoch()?) };
        Ok(Self { known: Mutex::new(known) })
    }

    fn lock(&self) -> MutexGuard<'_, Epochs> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a commit is to do. `voids`: it makes all positions void.
    pub(super) fn beginning(&self, voids: bool) -> Result<Beginning, JournalError> {
        let epoch = match self.lock().next.clone() {
            None if voids => Some(random_epoch()?),
            due => due,
        };
        Ok(Beginning { epoch, voids })
    }

    /// The commit is durable.
    pub(super) fn begun(&self, beginning: &Beginning, database: &Database) -> Result<(), JournalError> {
        let Some(epoch) = &beginning.epoch else { return Ok(()) };
        let lineage = read(database)?;
        let mut known = self.lock();
        // A commit without a position began nothing; and another one may have become due meanwhile.
        if lineage.contains(epoch) && known.next.as_ref() == Some(epoch) {
            known.next = None;
        }
        known.lineage = Arc::new(lineage);
        Ok(())
    }
}

impl Beginning {
    /// Writes down that an epoch begins with the position after the newest one, if this transaction moves the journal to `seq`.
    pub(super) fn write(&self, transaction: &WriteTransaction, seq: u64) -> Result<(), JournalError> {
        let Some(epoch) = &self.epoch else { return Ok(()) };
        let before = transaction.open_table(META)?.get("seq")?.and_then(|text| text.value().parse::<u64>().ok());
        let before = before.unwrap_or(0);
        if seq <= before && !self.voids {
            return Ok(());
        }
        let mut table = transaction.open_table(EPOCHS)?;
        if self.voids {
            table.retain(|_, _| false)?;
        }
        table.insert(before.saturating_add(1), epoch.as_str())?;
        while table.len()? > u64::try_from(MAX_EPOCHS).unwrap_or(u64::MAX) {
            table.pop_first()?;
        }
        Ok(())
    }
}

impl Journal {
    /// The epochs, and the one that the next write begins.
    pub(in crate::lattice) fn epochs(&self) -> Epochs {
        self.epochs.lock().clone()
    }

    /// The next write begins a new epoch, another one than was due before.
    pub(in crate::lattice) fn begin_epoch(&self) {
        match random_epoch() {
            Ok(epoch) => self.epochs.lock().next = Some(epoch),
            Err(error) => tracing::warn!(%error, "no new epoch of the journal begins"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Op,
            tests::{deleted, put},
        },
        *,
    };
    use crate::manifest::{Position, Void};
    use std::path::Path;

    fn open(path: &Path) -> Journal {
        Journal::open(path).unwrap().0
    }

    fn here(journal: &Journal, seq: u64) -> Position {
        Position::new(journal.epochs().lineage.current().unwrap().epoch.clone(), seq)
    }

    fn check(journal: &Journal, position: &Position, seq: u64) -> Result<(), Void> {
        journal.epochs().lineage.check(position, seq)
    }

    #[test]
    fn an_epoch_begins_with_the_first_write_after_each_start() {
        let root = tempfile::tempdir().unwrap();
        let (path, copy) = (root.path().join("j.redb"), root.path().join("copy.redb"));
        let journal = open(&path);
        let first = journal.epochs();
        assert_eq!((first.lineage.starts().len(), first.next.is_some()), (1, true));
        // No position, no epoch.
        let Op::Put(record, _) = put("a", "1", 1) else { panic!() };
        journal.commit(&[Op::Seen(record)], 0).unwrap();
        assert_eq!(journal.epochs(), first);
        journal.commit(&[put("a", "1", 1), put("b", "1", 2)], 2).unwrap();
        let second = journal.epochs();
        let start = second.lineage.current().unwrap();
        assert_eq!((second.lineage.starts().len(), start.since, second.next.clone()), (2, 1, None));
        assert_eq!(Some(&start.epoch), first.next.as_ref(), "it is the one that was announced");
        journal.commit(&[put("c", "1", 3)], 3).unwrap();
        assert_eq!(journal.epochs(), second, "only the first write begins one");
        journal.close();
        std::fs::copy(&path, &copy).unwrap();

        let journal = open(&path);
        assert_eq!(journal.epochs().lineage, second.lineage);
        journal.commit(&[put("d", "1", 4), put("e", "1", 5)], 5).unwrap();
        let (kept, lost) = (here(&journal, 3), here(&journal, 5));
        let before = Position::new(second.lineage.current().unwrap().epoch.clone(), 3);
        assert_eq!([check(&journal, &lost, 5), check(&journal, &before, 5)], [Ok(()); 2]);

        // The copy from before continues in another epoch.
        let restored = open(&copy);
        assert_eq!(check(&restored, &before, 3), Ok(()));
        restored.commit(&[put("f", "1", 4), put("g", "1", 5), put("h", "1", 6)], 6).unwrap();
        assert_eq!(check(&restored, &lost, 6), Err(Void::UnknownEpoch));
        assert_eq!((check(&restored, &before, 6), check(&restored, &kept, 6)), (Ok(()), Err(Void::UnknownEpoch)));
    }

    #[test]
    fn an_epoch_can_begin_while_the_process_runs() {
        let root = tempfile::tempdir().unwrap();
        let journal = open(&root.path().join("j.redb"));
        journal.commit(&[put("a", "1", 1)], 1).unwrap();
        let before = here(&journal, 1);
        journal.begin_epoch();
        let due = journal.epochs().next.unwrap();
        journal.commit(&[put("b", "1", 2)], 2).unwrap();
        assert_eq!(here(&journal, 2).epoch, due);
        assert_eq!(check(&journal, &before, 2), Ok(()));
        assert_eq!(check(&journal, &Position { seq: 2, ..before }, 2), Err(Void::Beyond), "of a twin that went on");
    }

    #[test]
    fn all_positions_can_be_made_void_in_one_transaction_with_a_change() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("j.redb");
        let journal = open(&path);
        let index_id = here(&journal, 0);
        journal.commit(&[put("a", "1", 1), put("b", "1", 2)], 2).unwrap();
        let before = here(&journal, 2);
        journal.commit(&[put("a", "0", 3), Op::VoidPositions, deleted("b", 9, 4)], 4).unwrap();
        for void in [&index_id, &before, &Position { seq: 0, ..before.clone() }] {
            assert_eq!(check(&journal, void, 4), Err(Void::UnknownEpoch));
        }
        let start = journal.epochs().lineage.starts().to_vec();
        assert_eq!((start.len(), start[0].since), (1, 3));
        journal.close();
        assert_eq!(open(&path).epochs().lineage.starts(), start);
    }

    #[test]
    fn the_newest_epochs_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let journal = open(&root.path().join("j.redb"));
        let writes = u64::try_from(MAX_EPOCHS).unwrap() + 5;
        let transaction = |seq: u64| {
            journal.begin_epoch();
            journal.commit(&[put("a", "1", seq)], seq).unwrap();
        };
        (1..=writes).for_each(transaction);
        let lineage = journal.epochs().lineage;
        assert_eq!((lineage.starts().len(), lineage.starts()[0].since), (MAX_EPOCHS, 6));
    }

    #[test]
    fn a_journal_of_release_0_1_0_keeps_its_positions_valid() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("j.redb");
        let (journal, head) = Journal::open(&path).unwrap();
        journal.commit(&[put("a", "1", 1), put("b", "1", 2)], 2).unwrap();
        journal.close();
        // As that release left it.
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.delete_table(EPOCHS).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let journal = open(&path);
        let recorded = Position::new(Epoch::parse(&head.index_id).unwrap(), 2);
        assert_eq!(check(&journal, &recorded, 2), Ok(()));
        journal.commit(&[put("c", "1", 3)], 3).unwrap();
        assert_eq!(check(&journal, &recorded, 3), Ok(()));
        assert_eq!(check(&journal, &Position { seq: 3, ..recorded }, 3), Err(Void::Beyond));
    }
}
