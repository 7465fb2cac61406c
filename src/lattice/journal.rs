//! The journal in redb: what each file was when it was last read, and in which order nodes changed.
//!
//! | table | key | value |
//! |---|---|---|
//! | `files` | id | name, stamps, hashes, type, time, position, live |
//! | `by_seq` | position | id; each id once, at its last change |
//! | `tombstones` | id | when (µs), content hash, position |
//! | `buried` | id | when (µs) a deletion that was made long before came to be known here |
//! | `forgotten` | id | when (µs) a node was deleted whose tombstone is forgotten |
//! | `lineage` | id | whether the version was made here or who gave it, and what it came from; none: made here, from nothing |
//! | `conflicts` | number | a version that lost, with its content |
//! | `conflicts_with` | who sent the versions that won | how many lost against them |
//! | `coming` | id | a version of another instance that is about to stand in the node's file |
//! | `history` | number | a version that was overruled by one of an instance that had been given it, with its content |
//! | `stated` | id | the document's own `updated_at` (µs), where it is not the version's time |
//! | `remembered` | id | earlier contents of the node's file, each with its version's time |
//! | `epochs` | first position | epoch: an unbroken stretch of the journal |
//! | `lived` | hour that the service lived through | the newest position of a tombstone of that hour |
//! | `meta` | name | text: schema, index_id, seq, floor, lived, lattice, adopting, conflict, stated_from, history_bytes; directory (written by 0.1.0) |
//! | `waiting` | id, sender | a deletion that waits for the admin |
//! | `waiting_from` | sender | how many of them wait, and since when |

mod aging;
mod binding;
mod buried;
mod coming;
mod conflicts;
mod epochs;
mod forgotten;
mod made_ahead;
mod remembered;
mod rows;
mod waiting;
mod write;

use super::{Change, Entry, Tombstone, reader::FileStamp, reserve::Reserve, version::Ancestry};
use crate::types::{NodeId, Timestamp, encode_hex};
use aging::Lived;
pub(super) use binding::{Binding, Peeked, peek};
pub(super) use buried::is_late;
pub(super) use coming::Coming;
use epochs::EpochState;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageError, TableDefinition,
};
pub(super) use remembered::Stated;
pub(super) use rows::Loaded;
use rows::{Lineage, change, entry_change, loaded, node_id, tombstone};
use std::{
    fs::{DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
pub(super) use waiting::Waiting;

const SCHEMA: &str = "1";
/// How long a deletion is remembered (DESIGN 4.7).
pub(super) const TOMBSTONE_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The cache of pages; redb's own default is 1 GiB.
const CACHE_BYTES: usize = 16 << 20;

/// mtime ns, ctime ns, size, inode, read at ns.
type Stamps = (i64, i64, u64, u64, i64);
/// name, stamps, content hash, file hash, type, updated_at µs, position, live.
type FileValue<'a> = (&'a str, Stamps, &'a [u8; 32], &'a [u8; 32], Option<&'a str>, i64, u64, bool);
/// deleted at µs, content hash, position.
type TombstoneValue<'a> = (i64, &'a [u8; 32], u64);

const FILES: TableDefinition<'_, &str, FileValue<'static>> = TableDefinition::new("files");
const BY_SEQ: TableDefinition<'_, u64, &str> = TableDefinition::new("by_seq");
const TOMBSTONES: TableDefinition<'_, &str, TombstoneValue<'static>> = TableDefinition::new("tombstones");
const LINEAGE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("lineage");
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// Another process has it open.
    #[error("another process has it open")]
    InUse,
    /// It was written by another version of this program.
    #[error("its schema is {0}, this program knows {SCHEMA}")]
    Schema(String),
    /// It cannot be read.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The file system failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<redb::Error> for JournalError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => Self::Io(error),
            redb::Error::PreviousIo => Self::Io(io::Error::other("an earlier write failed")),
            other => Self::Damaged(other.to_string()),
        }
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for JournalError {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}
from_redb!(DatabaseError, StorageError, redb::TableError, redb::TransactionError, redb::CommitError);

/// One file as it was when it was last read.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) entry: Arc<Entry>,
    /// The file's name.
    pub(super) name: Box<str>,
    pub(super) stamp: FileStamp,
    /// When it was read, by the machine's clock, ns since the epoch.
    pub(super) read_at_ns: i64,
    /// The document's own `updated_at`; `None`: this is the content as before, and what it states was noted before.
    pub(super) stated: Option<Option<Timestamp>>,
    /// `false` for a node whose file broke: this is its last good version, whose content cannot be had.
    pub(super) live: bool,
}

/// Where a version came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// It was made here, from what the node was before.
    Edit,
    /// It was here before and was replaced; it came back from a backup.
    Remembered,
    /// Another instance gave it.
    Given {
        /// What it came from.
        ancestry: Ancestry,
        /// Who gave it.
        from: Box<str>,
    },
}

/// One thing to write down.
#[derive(Debug)]
pub(super) enum Op {
    /// The node has this content, at this position.
    Put(Record, Source),
    /// As it was, but seen with other stamps; the position stays.
    Seen(Record),
    /// The node's file broke: its last good version stays, at its position.
    Broke(NodeId),
    /// The node was lost with an older copy of the directory, not deleted: as if it had never been here.
    Lost(NodeId),
    /// All positions that were given out or recorded are void: the lineage is dropped, and a new epoch begins with the first position
    /// of this commit. For an instance that steps back to older versions than it gave out.
    VoidPositions,
    /// The node was deleted.
    Deleted(Tombstone, Source),
    /// The node's deletion, made long before, came to be known only at this time. After its [`Op::Deleted`].
    Buried(NodeId, Timestamp),
    /// The conflict with this number is settled.
    Settled(u64),
    /// A deletion is kept and not carried out.
    Waits(Waiting),
    /// What waits of this node and sender is over.
    WaitsNoLonger(NodeId, Box<str>),
}

/// What a fresh process needs to know.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) index_id: String,
    pub(super) seq: u64,
    pub(super) binding: Binding,
}

/// The journal. Readers and the one writer may use it at the same time.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    // None: a write failed, and the file could not be opened again since.
    database: RwLock<Option<Database>>,
    reserve: Reserve,
    epochs: EpochState,
    lived: Lived,
    closed: AtomicBool,
}

impl Journal {
    /// Opens the journal, or makes one. Which directory it is kept for is for the caller to compare.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn open(path: &Path) -> Result<(Self, Head), JournalError> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let database = Self::database(path)?;
        let head = prepare(&database)?;
        let epochs = EpochState::open(&database)?;
        let lived = Lived::read(&database)?;
        let reserve = Reserve::beside(path);
        // On a full disk reading goes on; the first write says why it cannot.
        if let Err(error) = reserve.hold() {
            tracing::warn!(%error, "the state directory has no room in reserve: writes are refused until it has");
        }
        Ok((
            Self {
                path: path.to_owned(),
                database: RwLock::new(Some(database)),
                reserve,
                epochs,
                lived,
                closed: AtomicBool::new(false),
            },
            head,
        ))
    }

    fn database(path: &Path) -> Result<Database, JournalError> {
        // The database would make the file readable by others; it takes an empty one as new.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        Ok(Database::builder().set_cache_size(CACHE_BYTES).create(path)?)
    }

    fn with<T>(&self, run: impl FnOnce(&Database) -> Result<T, JournalError>) -> Result<T, JournalError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        run(database.as_ref().ok_or_else(|| io::Error::other("the journal is closed"))?)
    }

    /// Will a write fit? To be asked before files are touched: a change that stands in the directory must be written down.
    ///
    /// # Errors
    /// [`JournalError`]: no room, read-only, or not to be opened.
    pub(super) fn ready(&self) -> Result<(), JournalError> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.recover()?;
        }
        Ok(self.reserve.hold()?)
    }

    /// Runs a write; once more in the place of the reserve where the disk is full. After any other failure the file is opened again:
    /// redb serves not even readers after a write that failed.
    fn write<T>(&self, run: impl Fn(&Database) -> Result<T, JournalError>) -> Result<T, JournalError> {
        self.ready()?;
        let mut result = self.with(&run);
        if matches!(&result, Err(JournalError::Io(error)) if is_full(error)) && self.reserve.release() {
            tracing::warn!("the state directory is full: the journal takes its reserve");
            self.recover()?;
            // Should the first attempt have reached the disk: the same once more changes nothing.
            result = self.with(&run);
        }
        if matches!(result, Err(JournalError::Io(_)))
            && let Err(error) = self.recover()
        {
            tracing::error!(%error, "the journal cannot be opened again");
        }
        result
    }

    /// Writes the operations down, durably and all or none, with `seq` as the newest position. What does not fit on the disk any
    /// more takes the place of the reserve.
    ///
    /// # Errors
    /// [`JournalError`]; whether they were written then shows in what this answers to [`Journal::recover`].
    pub(super) fn commit(&self, ops: &[Op], seq: u64) -> Result<(), JournalError> {
        let beginning = self.epochs.beginning(ops.iter().any(|op| matches!(op, Op::VoidPositions)))?;
        let written = self.write(|database| {
            let transaction = database.begin_write()?;
            write::write_ops(&transaction, ops)?;
            beginning.write(&transaction, seq)?;
            if ops.iter().any(|op| matches!(op, Op::Deleted(..))) {
                self.lived.note_tombstones(&transaction, seq)?;
            }
            transaction.open_table(META)?.insert("seq", seq.to_string().as_str())?;
            transaction.commit()?;
            self.epochs.begun(&beginning, database)
        });
        if written.is_err() {
            // It may have reached the disk all the same, and an epoch begins once.
            self.begin_epoch();
        }
        written
    }

    /// Opens the file again after a failed write: redb takes no other write before that. Answers the newest position.
    ///
    /// # Errors
    /// [`JournalError`] where it still cannot be opened.
    pub(super) fn recover(&self) -> Result<u64, JournalError> {
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The old one holds the file's lock.
        drop(slot.take());
        if self.closed.load(Ordering::Acquire) {
            return Err(io::Error::other("the journal is closed").into());
        }
        let database = Self::database(&self.path)?;
        let seq = read_meta(&database, "seq")?;
        *slot = Some(database);
        Ok(seq.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Frees the file. Later calls fail.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// How many files there are records of.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn file_count(&self) -> Result<u64, JournalError> {
        self.with(|database| Ok(database.begin_read()?.open_table(FILES)?.len()?))
    }

    /// Hands every file's record to `each`, in the order of the ids.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn load(&self, mut each: impl FnMut(Loaded<'_>)) -> Result<(), JournalError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let by_seq = transaction.open_table(BY_SEQ)?;
            for row in transaction.open_table(FILES)?.iter()? {
                let (key, value) = row?;
                let mut row = loaded(key.value(), value.value())?;
                // 0.1.0 took the position of a node away whose file broke.
                row.is_listed = row.live || by_seq.get(row.entry.seq)?.is_some_and(|id| id.value() == key.value());
                each(row);
            }
            Ok(())
        })
    }

    /// The tombstone of this node.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn tombstone(&self, id: &NodeId) -> Result<Option<Tombstone>, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(TOMBSTONES)?;
            Ok(table.get(id.as_str())?.map(|value| tombstone(id.clone(), value.value())))
        })
    }

    /// Those of `ids` that have no tombstone: one transaction for all of them.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn not_deleted<'a>(&self, mut ids: Vec<&'a NodeId>) -> Result<Vec<&'a NodeId>, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(TOMBSTONES)?;
            if table.is_empty()? {
                return Ok(ids);
            }
            let mut failed = None;
            ids.retain(|id| match table.get(id.as_str()) {
                Ok(found) => found.is_none(),
                Err(error) => {
                    failed.get_or_insert(error);
                    false
                }
            });
            failed.map_or(Ok(ids), |error| Err(error.into()))
        })
    }

    /// How many tombstones there are.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn tombstones(&self) -> Result<u64, JournalError> {
        self.with(|database| Ok(database.begin_read()?.open_table(TOMBSTONES)?.len()?))
    }

    /// See [`Lattice::changes`](super::Lattice::changes). `known` is asked once for what the index has of these nodes: what stands there
    /// with the position that it has here need not be looked up.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn changes(
        &self,
        since: u64,
        limit: usize,
        known: impl FnOnce(&[(u64, String)]) -> Vec<Option<Arc<Entry>>>,
    ) -> Result<Vec<Change>, JournalError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let (files, tombstones) = (transaction.open_table(FILES)?, transaction.open_table(TOMBSTONES)?);
            let lineages = transaction.open_table(LINEAGE)?;
            let Some(first) = since.checked_add(1) else { return Ok(Vec::new()) };
            let mut rows = Vec::new();
            for row in transaction.open_table(BY_SEQ)?.range(first..)?.take(limit) {
                let (position, id) = row?;
                rows.push((position.value(), id.value().to_owned()));
            }
            let mut changes = Vec::with_capacity(rows.len());
            for (entry, (seq, id)) in known(&rows).into_iter().zip(&rows) {
                let lineage = lineages.get(id.as_str())?.map(|bytes| Lineage::from_bytes(bytes.value()));
                let ancestry = lineage.unwrap_or_default().ancestry;
                if let Some(entry) = entry.filter(|entry| entry.seq == *seq) {
                    changes.push(entry_change(&entry, ancestry));
                    continue;
                }
                let id = node_id(id)?;
                if let Some(value) = tombstones.get(id.as_str())? {
                    changes.push(Change::Deleted(tombstone(id, value.value()), ancestry));
                } else if let Some(value) = files.get(id.as_str())? {
                    changes.push(change(id, value.value(), ancestry));
                } else {
                    return Err(JournalError::Damaged(format!("position {seq} names a node that it does not know")));
                }
            }
            Ok(changes)
        })
    }

    /// Who gave the versions of these nodes, in their order.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn givers(&self, ids: &[&NodeId]) -> Result<Vec<Option<Box<str>>>, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(LINEAGE)?;
            let giver = |id: &&NodeId| {
                let row = table.get(id.as_str())?;
                Ok(row.and_then(|row| Lineage::from_bytes(row.value()).from))
            };
            ids.iter().map(giver).collect()
        })
    }

    /// How many positions name a node.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn change_count(&self) -> Result<u64, JournalError> {
        self.with(|database| Ok(database.begin_read()?.open_table(BY_SEQ)?.len()?))
    }

    /// Where the node's version, or its deletion, came from.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn lineage(&self, id: &NodeId) -> Result<Lineage, JournalError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(LINEAGE)?;
            Ok(table.get(id.as_str())?.map(|bytes| Lineage::from_bytes(bytes.value())).unwrap_or_default())
        })
    }

    /// The position below which changes are missing: their tombstones are forgotten.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn floor(&self) -> Result<u64, JournalError> {
        self.with(|database| {
            let floor = read_meta(database, "floor")?;
            Ok(floor.and_then(|text| text.parse().ok()).unwrap_or(0))
        })
    }
}

/// ENOSPC, EDQUOT.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn prepare(database: &Database) -> Result<Head, JournalError> {
    let transaction = database.begin_write()?;
    let (index_id, seq, binding);
    {
        let mut meta = transaction.open_table(META)?;
        let schema = meta.get("schema")?.map(|text| text.value().to_owned());
        match schema.as_deref() {
            Some(SCHEMA) => {}
            Some(other) => return Err(JournalError::Schema(other.to_owned())),
            None => {
                meta.insert("schema", SCHEMA)?;
                meta.insert("index_id", random_id()?.as_str())?;
                meta.insert("seq", "0")?;
            }
        }
        index_id = meta.get("index_id")?.map(|text| text.value().to_owned());
        seq = meta.get("seq")?.and_then(|text| text.value().parse().ok());
        binding = binding::read(&meta)?;
        // Makes the tables, or finds out that they are not what this program writes.
        transaction.open_table(FILES)?;
        transaction.open_table(BY_SEQ)?;
        transaction.open_table(TOMBSTONES)?;
        transaction.open_table(LINEAGE)?;
        conflicts::prepare(&transaction)?;
        buried::prepare(&transaction)?;
        forgotten::prepare(&transaction)?;
        coming::prepare(&transaction)?;
        remembered::prepare(&transaction, &mut meta)?;
        if let Some(index_id) = &index_id {
            epochs::prepare(&transaction, index_id)?;
        }
        waiting::prepare(&transaction)?;
        aging::prepare(&transaction, &meta, seq)?;
    }
    transaction.commit()?;
    match (index_id, seq) {
        (Some(index_id), Some(seq)) => Ok(Head { index_id, seq, binding }),
        _ => Err(JournalError::Damaged("it has no position".to_owned())),
    }
}

fn random_bytes<const N: usize>() -> Result<[u8; N], JournalError> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

pub(super) fn random_id() -> Result<String, JournalError> {
    Ok(encode_hex(&random_bytes::<16>()?))
}

fn read_meta(database: &Database, key: &str) -> Result<Option<String>, JournalError> {
    let table = database.begin_read()?.open_table(META)?;
    Ok(table.get(key)?.map(|text| text.value().to_owned()))
}

#[cfg(test)]
pub(super) mod tests;
