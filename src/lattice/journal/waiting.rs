//! Deletions of other instances that wait for the admin. A row goes with any later version of its node.

use super::{
    Journal, JournalError,
    rows::{Lineage, node_id},
};
use crate::{
    lattice::{
        Ancestry, Version,
        waiting::{WaitingDeletion, WaitingSender},
    },
    types::{ContentHash, NodeId, Timestamp},
};
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};

/// at µs, content hash, lineage, since µs, bounded.
type WaitingValue<'a> = (i64, &'a [u8; 32], &'a [u8], i64, bool);
/// deletions, since µs, bounded.
type SenderValue = (u64, i64, bool);

/// By node, then sender.
const WAITING: TableDefinition<'_, (&str, &str), WaitingValue<'static>> = TableDefinition::new("waiting");
/// By sender; under the empty name, which no instance has, the sum of all bounded senders.
const WAITING_FROM: TableDefinition<'_, &str, SenderValue> = TableDefinition::new("waiting_from");
const BOUNDED: &str = "";

/// A deletion with what it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lattice) struct Waiting {
    pub(in crate::lattice) deletion: WaitingDeletion,
    pub(in crate::lattice) ancestry: Ancestry,
    /// Its sender shares the bound of those that are not verified.
    pub(in crate::lattice) bounded: bool,
}

pub(super) fn prepare(transaction: &WriteTransaction) -> Result<(), JournalError> {
    transaction.open_table(WAITING)?;
    transaction.open_table(WAITING_FROM)?;
    Ok(())
}

/// The tables while changes are written.
pub(super) struct Tables<'txn> {
    rows: Table<'txn, (&'static str, &'static str), WaitingValue<'static>>,
    senders: Table<'txn, &'static str, SenderValue>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(transaction: &'txn WriteTransaction) -> Result<Self, JournalError> {
        Ok(Self { rows: transaction.open_table(WAITING)?, senders: transaction.open_table(WAITING_FROM)? })
    }

    /// Keeps one; a later one takes the place of an earlier one of the same sender.
    pub(super) fn put(&mut self, waiting: &Waiting) -> Result<(), JournalError> {
        let Waiting { deletion, ancestry, bounded } = waiting;
        let (id, from) = (deletion.id.as_str(), &*deletion.from);
        self.remove(id, from)?;
        let lineage = Lineage {
            made_here: false,
            came_back: false,
            from: Some(deletion.from.clone()),
            ancestry: ancestry.clone(),
        };
        let (lineage, since) = (lineage.to_bytes(), deletion.since.micros());
        let value = (deletion.at.micros(), deletion.content_hash.as_bytes(), lineage.as_slice(), since, *bounded);
        self.rows.insert((id, from), value)?;
        self.add(from, since, *bounded)?;
        if *bounded { self.add(BOUNDED, since, true) } else { Ok(()) }
    }

    /// The node has this version now: what is older waits no longer.
    pub(super) fn superseded(&mut self, id: &str, by: Version) -> Result<(), JournalError> {
        if self.rows.is_empty()? {
            return Ok(());
        }
        let mut over = Vec::new();
        for row in self.rows.range((id, "")..)? {
            let (key, value) = row?;
            let (of, from) = key.value();
            if of != id {
                break;
            }
            if by.content.is_none() || by > (Version { at: Timestamp::from_micros(value.value().0), content: None }) {
                over.push(from.to_owned());
            }
        }
        over.iter().try_for_each(|from| self.remove(id, from))
    }

    pub(super) fn remove(&mut self, id: &str, from: &str) -> Result<(), JournalError> {
        let Some(bounded) = self.rows.remove((id, from))?.map(|value| value.value().4) else { return Ok(()) };
        self.subtract(from)?;
        if bounded { self.subtract(BOUNDED) } else { Ok(()) }
    }

    fn add(&mut self, from: &str, since: i64, bounded: bool) -> Result<(), JournalError> {
        let (count, since) = self.senders.get(from)?.map_or((0, since), |value| (value.value().0, value.value().1));
        self.senders.insert(from, (count.saturating_add(1), since, bounded))?;
        Ok(())
    }

    fn subtract(&mut self, from: &str) -> Result<(), JournalError> {
        let Some((count, since, bounded)) = self.senders.get(from)?.map(|it| it.value()) else { return Ok(()) };
        match count.saturating_sub(1) {
            0 => drop(self.senders.remove(from)?),
            left => drop(self.senders.insert(from, (left, since, bounded))?),
        }
        Ok(())
    }
}

impl Journal {
    /// What waits of this node and sender.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn waiting_at(&self, id: &NodeId, from: &str) -> Result<Option<Waiting>, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(WAITING)?;
            let row = table.get((id.as_str(), from))?;
            row.map(|value| read((id.as_str(), from), value.value())).transpose()
        })
    }

    /// Up to `limit` of them behind `after`, by node and sender; of one sender, where one is named.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn waiting(
        &self,
        from: Option<&str>,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Waiting>, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(WAITING)?;
            let mut found = Vec::new();
            for row in table.range(after.unwrap_or_default()..)? {
                if found.len() >= limit {
                    break;
                }
                let (key, value) = row?;
                let wanted = from.is_none_or(|from| from == key.value().1) && after != Some(key.value());
                if wanted {
                    found.push(read(key.value(), value.value())?);
                }
            }
            Ok(found)
        })
    }

    /// How much waits of each sender, by name.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn waiting_senders(&self) -> Result<Vec<WaitingSender>, JournalError> {
        self.with(|database| {
            let mut senders = Vec::new();
            for row in database.begin_read()?.open_table(WAITING_FROM)?.iter()? {
                let (from, value) = row?;
                if from.value() != BOUNDED {
                    let (deletions, since, _) = value.value();
                    let since = Timestamp::from_micros(since);
                    senders.push(WaitingSender { from: from.value().into(), deletions, since });
                }
            }
            Ok(senders)
        })
    }

    /// How much waits of this sender.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn waiting_of(&self, from: &str) -> Result<u64, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(WAITING_FROM)?;
            Ok(table.get(from)?.map_or(0, |value| value.value().0))
        })
    }

    /// Makes room among the senders that share one bound: the one of which most waits loses all of it, unless as much waits of `of`.
    /// Answers which one that was, and how much.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn drop_most_waiting(&self, of: &str) -> Result<Option<(String, u64)>, JournalError> {
        self.write(|database| {
            let transaction = database.begin_write()?;
            let most = {
                let mut tables = Tables::open(&transaction)?;
                let own = tables.senders.get(of)?.map_or(0, |value| value.value().0);
                let mut most: Option<(String, u64)> = None;
                for row in tables.senders.iter()? {
                    let (from, value) = row?;
                    let (from, (count, _, bounded)) = (from.value(), value.value());
                    let is_most = count > most.as_ref().map_or(own, |(_, most)| *most);
                    if bounded && from != BOUNDED && from != of && is_most {
                        most = Some((from.to_owned(), count));
                    }
                }
                if let Some((from, _)) = &most {
                    let mut ids = Vec::new();
                    for row in tables.rows.iter()? {
                        let (key, _) = row?;
                        let (id, sender) = key.value();
                        ids.extend((sender == from).then(|| id.to_owned()));
                    }
                    ids.iter().try_for_each(|id| tables.remove(id, from))?;
                }
                most
            };
            transaction.commit()?;
            Ok(most)
        })
    }

    /// How much waits of all senders that share one bound.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(in crate::lattice) fn waiting_bounded(&self) -> Result<u64, JournalError> {
        self.waiting_of(BOUNDED)
    }
}

fn read((id, from): (&str, &str), value: WaitingValue<'_>) -> Result<Waiting, JournalError> {
    let (at, content_hash, lineage, since, bounded) = value;
    let deletion = WaitingDeletion {
        id: node_id(id)?,
        from: from.into(),
        at: Timestamp::from_micros(at),
        content_hash: ContentHash::from_digest(*content_hash),
        since: Timestamp::from_micros(since),
    };
    Ok(Waiting { deletion, ancestry: Lineage::from_bytes(lineage).ancestry, bounded })
}
