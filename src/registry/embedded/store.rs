//! The redb file: a row for each id, with its pin and what it said last.

use super::rows::{EntryRow, cut_entry, decode_line, decode_pin_of, decode_row, encode_line, encode_row};
use crate::{
    registry::{Bound, RegistryError},
    trust::{KeyLine, Pin},
    types::{PeerId, PublicKey, Timestamp},
};
use bytes::Bytes;
use redb::{
    Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction,
};
use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

/// Of each id its key binding and newest accepted version, never removed, and its live entry, where it has one: who registers changes one
/// row, which is one page.
const PEERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("peers");
/// When an entry was renewed (µs) and when it expires then (ms), by the wall clock. Apart from the entries, so that a heartbeat
/// rewrites sixteen bytes and not a summary.
const RENEWED: TableDefinition<'_, &str, (i64, i64)> = TableDefinition::new("renewed");
/// Envelopes that are too long to stand beside others in a page.
const ENVELOPES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("envelopes");
/// Longer ones have a table of their own, which is not read at start.
const LONGEST_NEAR_BYTES: usize = 4 << 10;
/// What the statements of ids' keys led to; rows are never removed.
const LINES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("lines");
/// `format` says which version of this layout the file has.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
const FORMAT: u64 = 2;
/// redb's own default is 1 GiB, which is a small machine's whole memory.
const CACHE_BYTES: usize = 32 << 20;
/// What must fit on the disk for writes to count as possible again.
const PROBE_BYTES: usize = 64 << 10;

/// Why the file of an embedded registry cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not a registry, is damaged, or is of another version. It holds the key bindings, so it is never replaced
    /// silently: restore a copy, or move it away to start with no binding at all.
    #[error(
        "the registry file {} cannot be read: {reason}; restore a copy, or move it away to start without any key binding",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has the file open.
    #[error("the registry file {} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file or its directory cannot be opened, made or written.
    #[error("the registry file {} cannot be opened: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
}

/// Why a step on the open file failed.
#[derive(Debug, Clone)]
pub(super) enum StoreError {
    /// The disk is full.
    Full,
    /// The file system takes no writes. Nothing was tried.
    ReadOnly(String),
    /// The file cannot be read or written.
    Failed(String),
    /// A row cannot be understood.
    Corrupt(String),
}

impl StoreError {
    /// What is wrong, for people.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Full => RegistryError::NoSpace.to_string(),
            Self::ReadOnly(reason) | Self::Failed(reason) | Self::Corrupt(reason) => reason,
        }
    }
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::NoSpace,
            StoreError::ReadOnly(reason) | StoreError::Failed(reason) => Self::Unavailable(reason),
            StoreError::Corrupt(reason) => Self::Corrupt(reason),
        }
    }
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(reason) => StoreError::Corrupt(reason),
        redb::Error::Io(error) if is_full(&error) => StoreError::Full,
        other => StoreError::Failed(other.to_string()),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn open_error(path: &Path, error: impl Into<redb::Error>) -> OpenError {
    let path = path.to_owned();
    match error.into() {
        redb::Error::DatabaseAlreadyOpen => OpenError::InUse { path },
        redb::Error::Io(error)
            if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            OpenError::Io { path, reason: error.to_string() }
        }
        other => OpenError::Corrupt { path, reason: other.to_string() },
    }
}

fn io_error(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), reason: error.to_string() }
}

/// One entry as the file has it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) peer: PeerId,
    pub(super) pin: Pin,
    pub(super) instance_type: Option<Box<str>>,
    pub(super) summary: Bytes,
    pub(super) last_seen: Timestamp,
    pub(super) expires_at_ms: i64,
}

/// The open file. `None` inside once closed.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    database: RwLock<Option<Database>>,
}

impl Store {
    /// Opens the file, or makes it where there is none.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        if !path.try_exists().map_err(|error| io_error(path, &error))? {
            create(path)?;
        }
        let database = guarded(path, || open_database(path))??;
        Ok(Self { path: path.to_owned(), database: RwLock::new(Some(database)) })
    }

    /// Every entry. Reads every pin as well: one that cannot be understood must be known at start, not when its owner comes.
    pub(super) fn load(&self) -> Result<(Vec<Loaded>, HashMap<PublicKey, u64>), OpenError> {
        let corrupt = |reason: String| OpenError::Corrupt { path: self.path.clone(), reason };
        let load = || {
            self.read(|database| {
                let transaction = database.begin_read().map_err(failed)?;
                let peers = transaction.open_table(PEERS).map_err(failed)?;
                let renewed = transaction.open_table(RENEWED).map_err(failed)?;
                let (mut loaded, mut ids_of) = (Vec::new(), HashMap::new());
                for row in peers.iter().map_err(failed)? {
                    let (id, row) = row.map_err(failed)?;
                    let unreadable = || StoreError::Corrupt(format!("the row of {:?}", id.value()));
                    let (pin, entry) = decode_row(id.value(), row.value()).ok_or_else(unreadable)?;
                    let count: &mut u64 = ids_of.entry(pin.public_key).or_default();
                    *count = count.saturating_add(1);
                    let Some(entry) = entry else { continue };
                    let (mut last_seen, mut expires_at_ms) = (entry.last_seen, entry.expires_at_ms);
                    // One of before the newest registration says less than that does.
                    if let Some(times) = renewed.get(id.value()).map_err(failed)? {
                        let (seen_us, until_ms) = times.value();
                        last_seen = last_seen.max(Timestamp::from_micros(seen_us));
                        expires_at_ms = expires_at_ms.max(until_ms);
                    }
                    loaded.push(Loaded {
                        peer: PeerId::parse(id.value()).map_err(|_| unreadable())?,
                        pin,
                        instance_type: entry.instance_type.map(Box::from),
                        summary: Bytes::copy_from_slice(entry.summary),
                        last_seen,
                        expires_at_ms,
                    });
                }
                let lines = transaction.open_table(LINES).map_err(failed)?;
                for row in lines.iter().map_err(failed)? {
                    let (id, line) = row.map_err(failed)?;
                    read_line(id.value(), line.value())?;
                }
                Ok((loaded, ids_of))
            })
        };
        guarded(&self.path, load)?.map_err(|error| corrupt(error.reason()))
    }

    /// Is an id bound to a key?
    pub(super) fn is_bound(&self, peer: &PeerId) -> Result<bool, StoreError> {
        self.read(|database| {
            let peers = database.begin_read().map_err(failed)?.open_table(PEERS).map_err(failed)?;
            Ok(peers.get(peer.as_str()).map_err(failed)?.is_some())
        })
    }

    /// An envelope's bytes.
    pub(super) fn envelope(&self, peer: &PeerId) -> Result<Option<Bytes>, StoreError> {
        self.read(|database| {
            let transaction = database.begin_read().map_err(failed)?;
            let peers = transaction.open_table(PEERS).map_err(failed)?;
            let Some(row) = peers.get(peer.as_str()).map_err(failed)? else { return Ok(None) };
            let (_, entry) = decode_row(peer.as_str(), row.value()).ok_or_else(|| unreadable(peer))?;
            let Some(entry) = entry else { return Ok(None) };
            if let Some(near) = entry.envelope {
                return Ok(Some(Bytes::copy_from_slice(near)));
            }
            let envelopes = transaction.open_table(ENVELOPES).map_err(failed)?;
            let row = envelopes.get(peer.as_str()).map_err(failed)?;
            Ok(row.map(|bytes| Bytes::copy_from_slice(bytes.value())))
        })
    }

    /// Which key an id is bound to.
    pub(super) fn bound(&self, peer: &PeerId) -> Result<Option<Bound>, StoreError> {
        self.read(|database| {
            let transaction = database.begin_read().map_err(failed)?;
            let peers = transaction.open_table(PEERS).map_err(failed)?;
            let Some(row) = peers.get(peer.as_str()).map_err(failed)? else { return Ok(None) };
            let public_key = read_pin(peer, row.value())?.public_key;
            let lines = transaction.open_table(LINES).map_err(failed)?;
            let line = lines.get(peer.as_str()).map_err(failed)?;
            let line = line.map(|row| read_line(peer.as_str(), row.value())).transpose()?;
            Ok(Some(Bound { public_key, line }))
        })
    }

    /// Does `work` in one transaction and waits until it is durable (fsync). An error leaves the file as it was, unless the
    /// fsync itself failed: then nobody can know, and nothing must be acknowledged.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // redb serves not even readers after a write that failed: on a file system that became read-only it need not come to that.
        if let Err(error) = OpenOptions::new().write(true).open(&self.path)
            && matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
        {
            return Err(StoreError::ReadOnly(error.to_string()));
        }
        self.read(|database| {
            let transaction = database.begin_write().map_err(failed)?;
            let mut tables = Tables::open(&transaction)?;
            let done = work(&mut tables)?;
            drop(tables);
            transaction.commit().map_err(failed)?;
            Ok(done)
        })
    }

    /// Is there room for writes again? A file of some pages beside ours tells.
    pub(super) fn probe(&self) -> io::Result<()> {
        let path = self.path.with_extension("probe");
        let written = OpenOptions::new().write(true).create(true).truncate(true).open(&path).and_then(|mut file| {
            file.write_all(&[b' '; PROBE_BYTES])?;
            file.sync_all()
        });
        let removed = std::fs::remove_file(&path);
        written.and(removed)
    }

    /// Opens the file anew after a failed write: redb refuses all further work on a file that failed once.
    pub(super) fn reopen(&self) -> Result<(), OpenError> {
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The lock on the file must be given up before it can be taken again.
        shut(&self.path, slot.take());
        *slot = Some(guarded(&self.path, || open_database(&self.path))??);
        Ok(())
    }

    /// Closes the file; later calls fail.
    pub(super) fn close(&self) {
        shut(&self.path, self.database.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn read<T>(&self, work: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let slot: RwLockReadGuard<'_, _> = self.database.read().unwrap_or_else(PoisonError::into_inner);
        work(slot.as_ref().ok_or_else(|| StoreError::Failed("the registry file is closed".to_owned()))?)
    }

    /// Ids, live entries, renewed ones and long envelopes.
    #[cfg(test)]
    pub(super) fn row_counts(&self) -> [u64; 4] {
        self.write(|tables| {
            let mut live = 0;
            for row in tables.peers.iter().unwrap() {
                let (id, row) = row.unwrap();
                live += u64::from(decode_row(id.value(), row.value()).unwrap().1.is_some());
            }
            Ok([tables.peers.len().unwrap(), live, tables.renewed.len().unwrap(), tables.envelopes.len().unwrap()])
        })
        .unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// The tables within one write transaction.
pub(super) struct Tables<'txn> {
    peers: Table<'txn, &'static str, &'static [u8]>,
    renewed: Table<'txn, &'static str, (i64, i64)>,
    envelopes: Table<'txn, &'static str, &'static [u8]>,
    lines: Table<'txn, &'static str, &'static [u8]>,
    /// Most files have none of either.
    has_lines: bool,
    has_long: bool,
    /// The row that is made.
    row: Vec<u8>,
}

impl<'txn> Tables<'txn> {
    fn open(transaction: &'txn WriteTransaction) -> Result<Self, StoreError> {
        let lines = transaction.open_table(LINES).map_err(failed)?;
        let envelopes = transaction.open_table(ENVELOPES).map_err(failed)?;
        Ok(Self {
            peers: transaction.open_table(PEERS).map_err(failed)?,
            renewed: transaction.open_table(RENEWED).map_err(failed)?,
            has_lines: !lines.is_empty().map_err(failed)?,
            has_long: !envelopes.is_empty().map_err(failed)?,
            envelopes,
            lines,
            row: Vec::new(),
        })
    }

    /// What is pinned for an id.
    pub(super) fn pin(&self, peer: &PeerId) -> Result<Option<Pin>, StoreError> {
        let Some(row) = self.peers.get(peer.as_str()).map_err(failed)? else { return Ok(None) };
        read_pin(peer, row.value()).map(Some)
    }

    /// What the statements of an id's key led to.
    pub(super) fn line(&self, peer: &PeerId) -> Result<Option<KeyLine>, StoreError> {
        if !self.has_lines {
            return Ok(None);
        }
        let Some(row) = self.lines.get(peer.as_str()).map_err(failed)? else { return Ok(None) };
        read_line(peer.as_str(), row.value()).map(Some)
    }

    pub(super) fn put_line(&mut self, peer: &PeerId, line: &KeyLine) -> Result<(), StoreError> {
        self.has_lines = true;
        self.lines.insert(peer.as_str(), encode_line(peer.as_str(), line).as_slice()).map_err(failed)?;
        Ok(())
    }

    /// Another key, without statements, took the id over.
    pub(super) fn drop_line(&mut self, peer: &PeerId) -> Result<(), StoreError> {
        self.lines.remove(peer.as_str()).map_err(failed)?;
        Ok(())
    }

    /// Pins an id, in the place of all that was known of it.
    pub(super) fn put_pin(&mut self, peer: &PeerId, pin: &Pin) -> Result<(), StoreError> {
        self.row.clear();
        encode_row(&mut self.row, peer.as_str(), pin, None);
        self.put_row(peer)?;
        self.forget(peer)
    }

    /// Pins what an entry says, and the entry, with its envelope.
    pub(super) fn put(&mut self, peer: &PeerId, pin: &Pin, entry: EntryRow<'_>) -> Result<(), StoreError> {
        let far = entry.envelope.filter(|envelope| envelope.len() > LONGEST_NEAR_BYTES);
        let entry = EntryRow { envelope: if far.is_some() { None } else { entry.envelope }, ..entry };
        self.row.clear();
        encode_row(&mut self.row, peer.as_str(), pin, Some(&entry));
        self.put_row(peer)?;
        let Some(envelope) = far else { return self.drop_long_envelope(peer) };
        self.has_long = true;
        self.envelopes.insert(peer.as_str(), envelope).map_err(failed)?;
        Ok(())
    }

    fn put_row(&mut self, peer: &PeerId) -> Result<(), StoreError> {
        self.peers.insert(peer.as_str(), self.row.as_slice()).map_err(failed)?;
        Ok(())
    }

    fn drop_long_envelope(&mut self, peer: &PeerId) -> Result<(), StoreError> {
        if self.has_long {
            self.envelopes.remove(peer.as_str()).map_err(failed)?;
        }
        Ok(())
    }

    /// What is in other tables of an entry that is no more.
    fn forget(&mut self, peer: &PeerId) -> Result<(), StoreError> {
        self.renewed.remove(peer.as_str()).map_err(failed)?;
        self.drop_long_envelope(peer)
    }

    pub(super) fn put_renewed(
        &mut self,
        peer: &PeerId,
        last_seen: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.renewed.insert(peer.as_str(), (last_seen.micros(), expires_at.millis())).map_err(failed)?;
        Ok(())
    }

    /// Removes an entry; its pin stays, also one that cannot be read.
    pub(super) fn remove(&mut self, peer: &PeerId) -> Result<(), StoreError> {
        self.row.clear();
        if let Some(row) = self.peers.get(peer.as_str()).map_err(failed)? {
            cut_entry(&mut self.row, row.value());
        }
        if !self.row.is_empty() {
            self.put_row(peer)?;
        }
        self.forget(peer)
    }
}

fn unreadable(peer: &PeerId) -> StoreError {
    StoreError::Corrupt(format!("the row of {peer:?}"))
}

fn read_pin(peer: &PeerId, row: &[u8]) -> Result<Pin, StoreError> {
    decode_pin_of(peer.as_str(), row).ok_or_else(|| unreadable(peer))
}

fn read_line(id: &str, row: &[u8]) -> Result<KeyLine, StoreError> {
    decode_line(id, row).ok_or_else(|| StoreError::Corrupt(format!("the key statements of {id:?}")))
}

/// Makes an empty registry under another name and renames it, so that an existing file is always a whole one: a process killed
/// while making it leaves nothing that could pass for a registry without bindings.
fn create(path: &Path) -> Result<(), OpenError> {
    let draft = path.with_extension("new");
    let file = {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&draft).map_err(|error| io_error(&draft, &error))?
    };
    let database =
        Builder::new().set_cache_size(CACHE_BYTES).create_file(file).map_err(|error| open_error(&draft, error))?;
    let initialised = (|| {
        let transaction = database.begin_write().map_err(failed)?;
        Tables::open(&transaction)?;
        transaction.open_table(META).map_err(failed)?.insert(FORMAT_KEY, FORMAT).map_err(failed)?;
        transaction.commit().map_err(failed)
    })();
    drop(database);
    let reason = match initialised {
        Ok(()) => match rename_durably(&draft, path) {
            Ok(()) => return Ok(()),
            Err(error) => error.to_string(),
        },
        Err(error) => error.reason(),
    };
    Err(OpenError::Io { path: path.to_owned(), reason })
}

fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    std::fs::rename(from, to)?;
    match to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

/// Runs `work` on a file that may be damaged: redb panics on some damage, and so does a process that then cannot say why.
fn guarded<T>(path: &Path, work: impl FnOnce() -> T) -> Result<T, OpenError> {
    // Nothing that `work` may leave half-done is used after a panic.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .map_err(|_| OpenError::Corrupt { path: path.to_owned(), reason: "its pages do not fit together".to_owned() })
}

/// Closes the file. What was acknowledged is on the disk already; redb only notes that it was closed in order.
fn shut(path: &Path, database: Option<Database>) {
    if guarded(path, || drop(database)).is_err() {
        tracing::error!(registry.kind = "embedded", "the registry file was damaged when it was closed");
    }
}

fn open_database(path: &Path) -> Result<Database, OpenError> {
    let corrupt = |reason: &str| OpenError::Corrupt { path: path.to_owned(), reason: reason.to_owned() };
    // An empty file would pass for a new database, but `create` never leaves one.
    if std::fs::metadata(path).map_err(|error| io_error(path, &error))?.len() == 0 {
        return Err(corrupt("it is empty"));
    }
    let database = Builder::new().set_cache_size(CACHE_BYTES).open(path).map_err(|error| open_error(path, error))?;
    let transaction = database.begin_read().map_err(|error| open_error(path, error))?;
    let meta = transaction.open_table(META).map_err(|error| open_error(path, error))?;
    let format = meta.get(FORMAT_KEY).map_err(|error| open_error(path, error))?.map(|row| row.value());
    match format {
        Some(FORMAT) => Ok(database),
        Some(other) => Err(corrupt(&format!("its format is {other}, this version reads {FORMAT}"))),
        None => Err(corrupt("it does not say its format")),
    }
}
