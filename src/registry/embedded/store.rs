//! The registry's rows: those that were registered of late in the log, the others in the redb file.

use super::{
    failure::{OpenError, StoreError, failed, io_error, unreadable},
    log::NewRow,
    opened::{Opened, create, guarded, shut},
    rows::{EntryRow, decode_row},
    tables::{ENVELOPES, LINES, PEERS, RENEWED, Tables, read_line, read_pin},
};
use crate::{
    registry::Bound as KeyBound,
    trust::{KeyLine, Pin},
    types::{PeerId, PublicKey, Timestamp},
};
use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable};
use std::{
    collections::HashMap,
    fs::OpenOptions,
    io::{self, Write},
    ops::Bound,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

/// What must fit on the disk for writes to count as possible again.
const PROBE_BYTES: usize = 64 << 10;

/// One entry as the files have it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) peer: PeerId,
    pub(super) pin: Pin,
    pub(super) instance_type: Option<Box<str>>,
    pub(super) summary: Bytes,
    pub(super) last_seen: Timestamp,
    pub(super) expires_at_ms: i64,
    /// Of its row: without an envelope that stands in the table of its own.
    pub(super) bytes: u64,
}

/// A binding without a live entry.
#[derive(Debug)]
pub(super) struct IdleRow {
    pub(super) peer: PeerId,
    pub(super) key: PublicKey,
    /// Until when its last entry lived, by the wall clock; `None`: that was not written down.
    pub(super) used_until_ms: Option<i64>,
}

/// The open files. `None` inside once closed.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    opened: RwLock<Option<Opened>>,
}

impl Store {
    /// Opens the files, or makes them where there is no redb file.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        if !path.try_exists().map_err(|error| io_error(path, &error))? {
            create(path)?;
        }
        let opened = guarded(path, || Opened::open(path))??;
        Ok(Self { path: path.to_owned(), opened: RwLock::new(Some(opened)) })
    }

    /// Every entry. Reads every pin as well: one that cannot be understood must be known at start, not when its owner comes.
    pub(super) fn load(&self) -> Result<(Vec<Loaded>, HashMap<PublicKey, u64>), OpenError> {
        let load = || self.read(|opened| Loading::default().load(opened));
        guarded(&self.path, load)?.map_err(|error| OpenError::corrupt(&self.path, &error.reason()))
    }

    /// Is an id bound to a key?
    pub(super) fn is_bound(&self, peer: &PeerId) -> Result<bool, StoreError> {
        self.view(|view| Ok(view.pin(peer)?.is_some()))
    }

    /// An envelope's bytes.
    pub(super) fn envelope(&self, peer: &PeerId) -> Result<Option<Bytes>, StoreError> {
        self.read(|opened| {
            if let Some(row) = opened.log.row(peer)? {
                let entry = decode_row(peer.as_str(), &row).ok_or_else(|| unreadable(peer))?.1;
                return Ok(entry.and_then(|entry| entry.envelope).map(Bytes::copy_from_slice));
            }
            let transaction = opened.database.begin_read().map_err(failed)?;
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

    /// Up to `most` rows of the redb file behind the id `after`, and where to go on: those that hold a binding and no entry, and of which
    /// the log has none.
    pub(super) fn idle(&self, after: &str, most: usize) -> Result<(Vec<IdleRow>, Option<String>), StoreError> {
        self.read(|opened| {
            let transaction = opened.database.begin_read().map_err(failed)?;
            let peers = transaction.open_table(PEERS).map_err(failed)?;
            let renewed = transaction.open_table(RENEWED).map_err(failed)?;
            let (mut rows, mut last) = (Vec::new(), None);
            let behind = (Bound::Excluded(after), Bound::Unbounded);
            for (number, row) in peers.range::<&str>(behind).map_err(failed)?.enumerate() {
                if number >= most {
                    return Ok((rows, last));
                }
                let (id, row) = row.map_err(failed)?;
                last = Some(id.value().to_owned());
                // What cannot be read is looked at when its owner comes.
                let Ok(peer) = PeerId::parse(id.value()) else { continue };
                let Some((pin, None)) = decode_row(id.value(), row.value()) else { continue };
                if opened.log.pin(&peer).is_some() {
                    continue;
                }
                let used = renewed.get(id.value()).map_err(failed)?;
                let used_until_ms = used.map(|times| times.value().1);
                rows.push(IdleRow { peer, key: pin.public_key, used_until_ms });
            }
            Ok((rows, None))
        })
    }

    /// Which key an id is bound to.
    pub(super) fn bound(&self, peer: &PeerId) -> Result<Option<KeyBound>, StoreError> {
        self.view(|view| {
            let Some(pin) = view.pin(peer)? else { return Ok(None) };
            Ok(Some(KeyBound { public_key: pin.public_key, line: view.line(peer)? }))
        })
    }

    /// Looks at what is pinned now.
    pub(super) fn view<T>(&self, work: impl FnOnce(&mut View<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.read(|opened| work(&mut View { opened, peers: None, transaction: None }))
    }

    /// Appends rows to the log and waits until they are durable (fsync). After an error the next must go through [`Self::write`].
    pub(super) fn append(&self, rows: &[NewRow<'_>]) -> Result<(), StoreError> {
        self.read(|opened| {
            opened.run()?;
            Ok(opened.log.append(rows)?)
        })
    }

    /// Does `work` in one transaction of the redb file, after bringing it up to date, and waits until it is durable (fsync). An error
    /// leaves the rows as they were, unless the fsync itself failed: then nobody can know, and nothing must be acknowledged.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.change(true, work)
    }

    fn change<T>(
        &self,
        stays_open: bool,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // redb serves not even readers after a write that failed: on a file system that became read-only it need not come to that.
        if let Err(error) = OpenOptions::new().write(true).open(&self.path)
            && matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
        {
            return Err(StoreError::ReadOnly(error.to_string()));
        }
        self.read(|opened| opened.write(stays_open, work))
    }

    /// Should the redb file be brought up to date soon?
    pub(super) fn is_behind(&self) -> bool {
        self.read(|opened| Ok(opened.log.is_long())).unwrap_or_default()
    }

    /// Does the log leave the redb file little room?
    pub(super) fn is_cramped(&self) -> bool {
        self.read(|opened| Ok(opened.log.is_cramped())).unwrap_or_default()
    }

    /// Is the redb file up to date?
    pub(super) fn is_up_to_date(&self) -> bool {
        self.read(|opened| Ok(opened.log.is_empty())).unwrap_or(true)
    }

    /// Gives back room on the disk that the log needs no more.
    pub(super) fn trim(&self) {
        let trimmed = self.read(|opened| {
            opened.log.trim();
            Ok(())
        });
        // A closed file has no log to trim.
        drop(trimmed);
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

    /// Opens the files anew after a failed write: redb refuses all further work on a file that failed once.
    pub(super) fn reopen(&self) -> Result<(), OpenError> {
        let mut slot = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        // The lock on the file must be given up before it can be taken again.
        shut(&self.path, slot.take());
        *slot = Some(guarded(&self.path, || Opened::open(&self.path))??);
        Ok(())
    }

    /// As [`Self::write`]; afterwards the redb file can do without its log.
    pub(super) fn settle(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.change(false, work)
    }

    /// Can the redb file do without its log?
    pub(super) fn is_settled(&self) -> bool {
        self.read(|opened| Ok(opened.is_settled())).unwrap_or_default()
    }

    /// Closes the files; later calls fail.
    pub(super) fn close(&self) {
        shut(&self.path, self.opened.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn read<T>(&self, work: impl FnOnce(&Opened) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let slot: RwLockReadGuard<'_, _> = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        work(slot.as_ref().ok_or_else(|| StoreError::Failed("the registry file is closed".to_owned()))?)
    }

    /// Ids, live entries, renewed ones and long envelopes, all in the redb file.
    #[cfg(test)]
    pub(super) fn row_counts(&self) -> [u64; 4] {
        self.write(|tables| Ok(tables.row_counts())).unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// What is pinned. The redb file is asked only for what the log does not have.
pub(super) struct View<'a> {
    opened: &'a Opened,
    transaction: Option<ReadTransaction>,
    peers: Option<ReadOnlyTable<&'static str, &'static [u8]>>,
}

impl View<'_> {
    fn transaction(&mut self) -> Result<&ReadTransaction, StoreError> {
        let transaction = match self.transaction.take() {
            Some(transaction) => transaction,
            None => self.opened.database.begin_read().map_err(failed)?,
        };
        Ok(self.transaction.insert(transaction))
    }

    /// What is pinned for an id.
    pub(super) fn pin(&mut self, peer: &PeerId) -> Result<Option<Pin>, StoreError> {
        if let Some(pin) = self.opened.log.pin(peer) {
            return Ok(Some(pin));
        }
        let peers = match self.peers.take() {
            Some(peers) => peers,
            None => self.transaction()?.open_table(PEERS).map_err(failed)?,
        };
        let peers = self.peers.insert(peers);
        let Some(row) = peers.get(peer.as_str()).map_err(failed)? else { return Ok(None) };
        read_pin(peer, row.value()).map(Some)
    }

    /// What the statements of an id's key led to.
    pub(super) fn line(&mut self, peer: &PeerId) -> Result<Option<KeyLine>, StoreError> {
        if !self.opened.has_lines() {
            return Ok(None);
        }
        let lines = self.transaction()?.open_table(LINES).map_err(failed)?;
        let Some(row) = lines.get(peer.as_str()).map_err(failed)? else { return Ok(None) };
        read_line(peer.as_str(), row.value()).map(Some)
    }
}

/// What is read at start.
#[derive(Default)]
struct Loading {
    entries: Vec<Loaded>,
    ids_of: HashMap<PublicKey, u64>,
}

impl Loading {
    fn load(mut self, opened: &Opened) -> Result<(Vec<Loaded>, HashMap<PublicKey, u64>), StoreError> {
        let transaction = opened.database.begin_read().map_err(failed)?;
        let peers = transaction.open_table(PEERS).map_err(failed)?;
        let renewed = transaction.open_table(RENEWED).map_err(failed)?;
        let times_of = |id: &str| Ok::<_, StoreError>(renewed.get(id).map_err(failed)?.map(|times| times.value()));
        for row in peers.iter().map_err(failed)? {
            let (id, row) = row.map_err(failed)?;
            let peer = PeerId::parse(id.value()).map_err(|_| unreadable(&id.value()))?;
            if opened.log.pin(&peer).is_none() {
                self.take(&peer, row.value(), times_of(id.value())?)?;
            }
        }
        opened.log.each_newest(|peer, row| self.take(peer, row, times_of(peer.as_str())?))?;
        let lines = transaction.open_table(LINES).map_err(failed)?;
        for row in lines.iter().map_err(failed)? {
            let (id, line) = row.map_err(failed)?;
            read_line(id.value(), line.value())?;
        }
        Ok((self.entries, self.ids_of))
    }

    fn take(&mut self, peer: &PeerId, row: &[u8], renewed: Option<(i64, i64)>) -> Result<(), StoreError> {
        let (pin, entry) = decode_row(peer.as_str(), row).ok_or_else(|| unreadable(peer))?;
        let count = self.ids_of.entry(pin.public_key).or_default();
        *count = count.saturating_add(1);
        let Some(EntryRow { instance_type, summary, mut last_seen, mut expires_at_ms, .. }) = entry else {
            return Ok(());
        };
        // One of before the newest registration says less than that does.
        if let Some((seen_us, until_ms)) = renewed {
            last_seen = last_seen.max(Timestamp::from_micros(seen_us));
            expires_at_ms = expires_at_ms.max(until_ms);
        }
        self.entries.push(Loaded {
            peer: peer.clone(),
            pin,
            instance_type: instance_type.map(Box::from),
            summary: Bytes::copy_from_slice(summary),
            last_seen,
            expires_at_ms,
            bytes: u64::try_from(row.len()).unwrap_or(u64::MAX),
        });
        Ok(())
    }
}
