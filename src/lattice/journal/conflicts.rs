//! Versions that another instance's versions overruled, with their contents. Conflicts are kept until the admin settles them; versions
//! whose successors came from instances that had been given them are history, of which the oldest go.

use super::{
    Coming, Journal, JournalError, LINEAGE, META, coming,
    rows::{Lineage, node_id},
};
use crate::{
    lattice::{Conflict, Dismissed, Winner, version::Version},
    types::{ContentHash, NodeId, Timestamp},
};
use bytes::Bytes;
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};

/// time µs, content hash or none.
type VersionValue<'a> = (i64, Option<&'a [u8; 32]>);
/// id, noticed at µs, who sent the version that won, version that lost, version that won, content of the one that lost.
type ConflictValue<'a> = (&'a str, i64, &'a str, VersionValue<'a>, VersionValue<'a>, &'a [u8]);

/// In `meta`: the greatest number of those that were forgotten. No number is given twice: somebody may have written it down.
const FORGOTTEN: &str = "conflict";

/// In `meta`: bytes of contents that the history holds.
const HISTORY_BYTES: &str = "history_bytes";
/// Bounds on the history: what is older goes.
const MOST_HISTORY: u64 = 10_000;
const MOST_HISTORY_BYTES: u64 = 64 << 20;

const CONFLICTS: TableDefinition<'_, u64, ConflictValue<'static>> = TableDefinition::new("conflicts");

const HISTORY: TableDefinition<'_, u64, ConflictValue<'static>> = TableDefinition::new("history");

/// Those of the history that whoever sent the version that won had given as well: they go first, so that nobody who rewrites what is his own
/// pushes out what he took from others.
const HISTORY_OF_GIVER: TableDefinition<'_, u64, ()> = TableDefinition::new("history_of_giver");

/// Who sent the versions that won: how many of the others are kept.
const CONFLICTS_WITH: TableDefinition<'_, &str, u64> = TableDefinition::new("conflicts_with");

/// Conflicts that count for another account than the id that sent the version that won, with that account.
const CONFLICT_ACCOUNTS: TableDefinition<'_, u64, &str> = TableDefinition::new("conflict_accounts");

/// A row that outlives its place in the table.
struct OwnedRow {
    id: String,
    noticed_at: i64,
    from: String,
    versions: [(i64, Option<[u8; 32]>); 2],
    content: Vec<u8>,
}

impl OwnedRow {
    fn of((id, noticed_at, from, lost, won, content): ConflictValue<'_>) -> Self {
        let version = |(at, hash): VersionValue<'_>| (at, hash.copied());
        let versions = [version(lost), version(won)];
        Self { id: id.to_owned(), noticed_at, from: from.to_owned(), versions, content: content.to_owned() }
    }

    fn value(&self) -> ConflictValue<'_> {
        let [lost, won] = &self.versions;
        let (lost, won) = ((lost.0, lost.1.as_ref()), (won.0, won.1.as_ref()));
        (&self.id, self.noticed_at, &self.from, lost, won, &self.content)
    }
}

pub(super) fn prepare(transaction: &WriteTransaction) -> Result<(), JournalError> {
    transaction.open_table(CONFLICTS)?;
    transaction.open_table(CONFLICTS_WITH)?;
    transaction.open_table(CONFLICT_ACCOUNTS)?;
    transaction.open_table(HISTORY)?;
    transaction.open_table(HISTORY_OF_GIVER)?;
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
                let mut history = transaction.open_table(HISTORY)?;
                let mut of_giver = transaction.open_table(HISTORY_OF_GIVER)?;
                let lineages = transaction.open_table(LINEAGE)?;
                let mut with = transaction.open_table(CONFLICTS_WITH)?;
                let mut accounts = transaction.open_table(CONFLICT_ACCOUNTS)?;
                let mut meta = transaction.open_table(META)?;
                let mut number = last_number(&table, &history, &meta)?;
                for (conflict, content) in conflicts {
                    number = number.saturating_add(1);
                    let (lost, won) = (version_value(&conflict.lost), version_value(&conflict.won));
                    let at = conflict.noticed_at.micros();
                    let row = (conflict.id.as_str(), at, &*conflict.from, lost, won, content.as_ref());
                    if !conflict.is_conflict {
                        history.insert(number, row)?;
                        numbers.push(number);
                        let lineage = lineages.get(conflict.id.as_str())?.map(|row| Lineage::from_bytes(row.value()));
                        if lineage.is_some_and(|it| !it.made_here && it.from.as_deref() == Some(&*conflict.from)) {
                            of_giver.insert(number, ())?;
                        }
                        let by = conflict.winner.is_unverified;
                        bound_history(&mut history, &mut of_giver, &mut meta, (length(content), by))?;
                        continue;
                    }
                    table.insert(number, row)?;
                    let account = conflict.winner.account.as_deref().unwrap_or(&conflict.from);
                    if account != &*conflict.from {
                        accounts.insert(number, account)?;
                    }
                    let before = with.get(account)?.map_or(0, |count| count.value());
                    with.insert(account, before.saturating_add(1))?;
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
        self.page((CONFLICTS, true), after, limit)
    }

    /// As [`Self::conflicts`], of the history.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn overruled(&self, after: u64, limit: usize) -> Result<Vec<Conflict>, JournalError> {
        self.page((HISTORY, false), after, limit)
    }

    fn page(
        &self,
        (table, is_conflict): (TableDefinition<'_, u64, ConflictValue<'static>>, bool),
        after: u64,
        limit: usize,
    ) -> Result<Vec<Conflict>, JournalError> {
        self.with(|database| {
            let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
            let table = database.begin_read()?.open_table(table)?;
            let rows = table.range(first..)?.take(limit);
            rows.map(|row| {
                let (number, value) = row?;
                read(number.value(), value.value(), is_conflict)
            })
            .collect()
        })
    }

    /// How many versions the history holds.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn overruled_count(&self) -> Result<u64, JournalError> {
        self.with(|database| Ok(database.begin_read()?.open_table(HISTORY)?.len()?))
    }

    /// The greatest number that was given.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn last_conflict(&self) -> Result<u64, JournalError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let (conflicts, history) = (transaction.open_table(CONFLICTS)?, transaction.open_table(HISTORY)?);
            last_number(&conflicts, &history, &transaction.open_table(META)?)
        })
    }

    /// One of them, or of the history, with its content.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn conflict(&self, number: u64) -> Result<Option<(Conflict, Bytes)>, JournalError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            for (table, is_conflict) in [(CONFLICTS, true), (HISTORY, false)] {
                if let Some(value) = transaction.open_table(table)?.get(number)? {
                    let conflict = read(number, value.value(), is_conflict)?;
                    return Ok(Some((conflict, Bytes::copy_from_slice(value.value().5))));
                }
            }
            Ok(None)
        })
    }

    /// Settles a conflict: its version goes to the history under the same number, of which the oldest go. A version of the history is
    /// forgotten. Answers what it was; `None`: there is none.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn dismiss(&self, number: u64) -> Result<Option<Dismissed>, JournalError> {
        self.write(|database| {
            let transaction = database.begin_write()?;
            let row = transaction.open_table(CONFLICTS)?.get(number)?.map(|row| OwnedRow::of(row.value()));
            if !remove(&transaction, number)? {
                return Ok(None);
            }
            let Some(row) = row else {
                transaction.commit()?;
                return Ok(Some(Dismissed::Overruled));
            };
            {
                let mut history = transaction.open_table(HISTORY)?;
                let mut of_giver = transaction.open_table(HISTORY_OF_GIVER)?;
                let mut meta = transaction.open_table(META)?;
                history.insert(number, row.value())?;
                bound_history(&mut history, &mut of_giver, &mut meta, (length(&row.content), false))?;
            }
            transaction.commit()?;
            Ok(Some(Dismissed::Conflict))
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

    /// Can so many versions and bytes be added to the history without another one going?
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn has_room_in_history(&self, versions: u64, bytes: u64) -> Result<bool, JournalError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let held = transaction.open_table(HISTORY)?.len()?;
            let held_bytes = history_bytes(&transaction.open_table(META)?)?;
            Ok(held.saturating_add(versions) <= MOST_HISTORY && held_bytes.saturating_add(bytes) <= MOST_HISTORY_BYTES)
        })
    }

    /// How many conflicts count for this account.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn conflicts_with(&self, account: &str) -> Result<u64, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(CONFLICTS_WITH)?;
            Ok(table.get(account)?.map_or(0, |count| count.value()))
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
    let Some(from) = from else {
        let Some(bytes) = transaction.open_table(HISTORY)?.remove(number)?.map(|value| length(value.value().5)) else {
            return Ok(false);
        };
        transaction.open_table(HISTORY_OF_GIVER)?.remove(number)?;
        let mut meta = transaction.open_table(META)?;
        let left = history_bytes(&meta)?.saturating_sub(bytes);
        meta.insert(HISTORY_BYTES, left.to_string().as_str())?;
        return note_forgotten(&mut meta, number).map(|()| true);
    };
    let mut with = transaction.open_table(CONFLICTS_WITH)?;
    let account = transaction.open_table(CONFLICT_ACCOUNTS)?.remove(number)?.map(|account| account.value().to_owned());
    let from = account.unwrap_or(from);
    let before = with.get(from.as_str())?.map_or(0, |count| count.value());
    match before.saturating_sub(1) {
        0 => drop(with.remove(from.as_str())?),
        left => drop(with.insert(from.as_str(), left)?),
    }
    note_forgotten(&mut transaction.open_table(META)?, number)?;
    Ok(true)
}

fn note_forgotten(meta: &mut Table<'_, &'static str, &'static str>, number: u64) -> Result<(), JournalError> {
    if number > forgotten(meta)? {
        meta.insert(FORGOTTEN, number.to_string().as_str())?;
    }
    Ok(())
}

/// Makes room after `added` bytes came: the oldest go, first of those that their own giver overruled. The newest stays, and so every number
/// that goes is below it. For a sender that is not verified nothing of others goes: where that would be so, the newest is not kept.
fn bound_history(
    history: &mut Table<'_, u64, ConflictValue<'static>>,
    of_giver: &mut Table<'_, u64, ()>,
    meta: &mut Table<'_, &'static str, &'static str>,
    (added, by_unverified): (u64, bool),
) -> Result<(), JournalError> {
    let mut bytes = history_bytes(meta)?.saturating_add(added);
    while history.len()? > 1 && (history.len()? > MOST_HISTORY || bytes > MOST_HISTORY_BYTES) {
        let newest = history.last()?.map(|(number, _)| number.value());
        let oldest = history.first()?.map(|(number, _)| number.value());
        let of_its_giver = of_giver.first()?.map(|(number, _)| number.value()).filter(|number| Some(*number) != newest);
        let last = if by_unverified { newest } else { oldest };
        let Some(number) = of_its_giver.or(last) else { break };
        if Some(number) == newest {
            note_forgotten(meta, number)?;
        }
        of_giver.remove(number)?;
        bytes = bytes.saturating_sub(history.remove(number)?.map_or(0, |value| length(value.value().5)));
    }
    meta.insert(HISTORY_BYTES, bytes.to_string().as_str())?;
    Ok(())
}

fn history_bytes(meta: &impl ReadableTable<&'static str, &'static str>) -> Result<u64, JournalError> {
    Ok(meta.get(HISTORY_BYTES)?.and_then(|text| text.value().parse().ok()).unwrap_or(0))
}

fn length(content: &[u8]) -> u64 {
    u64::try_from(content.len()).unwrap_or(u64::MAX)
}

/// The greatest number that was given, to a conflict or to what is history.
fn last_number(
    conflicts: &impl ReadableTable<u64, ConflictValue<'static>>,
    history: &impl ReadableTable<u64, ConflictValue<'static>>,
    meta: &impl ReadableTable<&'static str, &'static str>,
) -> Result<u64, JournalError> {
    let last = conflicts.last()?.map_or(0, |(number, _)| number.value());
    let last_of_history = history.last()?.map_or(0, |(number, _)| number.value());
    Ok(last.max(last_of_history).max(forgotten(meta)?))
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

fn read(number: u64, value: ConflictValue<'_>, is_conflict: bool) -> Result<Conflict, JournalError> {
    let (id, noticed_at, from, lost, won, content) = value;
    Ok(Conflict {
        number,
        id: node_id(id)?,
        noticed_at: Timestamp::from_micros(noticed_at),
        from: from.into(),
        lost: version(lost),
        won: version(won),
        size_bytes: length(content),
        is_conflict,
        winner: Winner::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_counted_with_each_who_won() {
        let root = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&root.path().join("j.redb")).unwrap();
        let lost_to = |from: &str| (lost_to(from, true, Winner::default()), Bytes::new());
        let counts = || ["a", "b", "c"].map(|from| journal.conflicts_with(from).unwrap());
        let numbers = journal.keep(&[lost_to("a"), lost_to("b"), lost_to("a")], &[]).unwrap();
        assert_eq!((numbers.as_slice(), counts()), (&[1, 2, 3][..], [2, 1, 0]));
        assert!(journal.forget_conflict(2).unwrap() && !journal.forget_conflict(2).unwrap());
        assert!(journal.forget_conflict(1).unwrap());
        assert_eq!(counts(), [1, 0, 0]);
    }

    fn lost_to(from: &str, is_conflict: bool, winner: Winner) -> Conflict {
        let version = Version { at: Timestamp::EPOCH, content: None };
        Conflict {
            number: 0,
            id: NodeId::parse("n").unwrap(),
            noticed_at: Timestamp::EPOCH,
            from: from.into(),
            lost: version,
            won: version,
            size_bytes: 0,
            is_conflict,
            winner,
        }
    }

    #[test]
    fn conflicts_count_for_the_stated_account() {
        let root = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&root.path().join("j.redb")).unwrap();
        let winner = |account: &str| Winner { account: Some(account.into()), is_unverified: true };
        let lost = ["x", "y", "z"].map(|from| (lost_to(from, true, winner("\0address")), Bytes::new()));
        assert_eq!(journal.keep(&lost, &[]).unwrap(), [1, 2, 3]);
        journal.keep(&[(lost_to("x", true, winner("x")), Bytes::new())], &[]).unwrap();
        let counts = || ["\0address", "x", "y"].map(|account| journal.conflicts_with(account).unwrap());
        assert_eq!(counts(), [3, 1, 0]);
        assert!(journal.forget_conflict(1).unwrap() && journal.forget_conflict(4).unwrap());
        assert_eq!(counts(), [2, 0, 0]);
    }

    #[test]
    fn a_sender_that_is_not_verified_pushes_nothing_out_of_a_full_history() {
        let root = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&root.path().join("j.redb")).unwrap();
        let content = Bytes::from(vec![b' '; 4 << 20]);
        for _ in 0..16 {
            assert!(journal.has_room_in_history(1, 4 << 20).unwrap());
            journal.keep(&[(lost_to("a", false, Winner::default()), content.clone())], &[]).unwrap();
        }
        assert!(!journal.has_room_in_history(1, 1).unwrap() && !journal.has_room_in_history(10_000, 0).unwrap());
        let numbers = || journal.overruled(0, 99).unwrap().into_iter().map(|it| it.number).collect::<Vec<_>>();
        let of_stranger = lost_to("stranger", false, Winner { account: None, is_unverified: true });
        assert_eq!(journal.keep(&[(of_stranger, Bytes::from_static(b"{}"))], &[]).unwrap(), [17]);
        assert_eq!(numbers(), (1..=16).collect::<Vec<_>>());
        let of_verified = lost_to("a", false, Winner::default());
        assert_eq!(journal.keep(&[(of_verified, content)], &[]).unwrap(), [18], "no number is given twice");
        assert_eq!(numbers(), (2..=16).chain([18]).collect::<Vec<_>>());
    }

    #[test]
    fn of_the_history_the_oldest_go_and_conflicts_stay() {
        let root = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&root.path().join("j.redb")).unwrap();
        let content = Bytes::from(vec![b' '; 4 << 20]);
        let overruled = |is_conflict| (lost_to("a", is_conflict, Winner::default()), content.clone());
        assert_eq!(journal.keep(&[overruled(true), overruled(false)], &[]).unwrap(), [1, 2]);
        for _ in 0..16 {
            journal.keep(&[overruled(false)], &[]).unwrap();
        }
        let numbers = |kept: Vec<Conflict>| kept.into_iter().map(|it| it.number).collect::<Vec<_>>();
        assert_eq!(numbers(journal.overruled(0, 99).unwrap()), (3..=18).collect::<Vec<_>>(), "64 MiB of contents");
        assert_eq!(numbers(journal.conflicts(0, 99).unwrap()), [1]);
        assert!(!journal.conflict(3).unwrap().unwrap().0.is_conflict);
        assert!(journal.forget_conflict(18).unwrap() && !journal.forget_conflict(18).unwrap());
        assert_eq!(journal.keep(&[overruled(false)], &[]).unwrap(), [19], "no number is given twice");
        assert_eq!(numbers(journal.overruled(0, 99).unwrap()).len(), 16);
        assert_eq!((journal.conflict_count().unwrap(), journal.overruled_count().unwrap()), (1, 16));
    }
}
