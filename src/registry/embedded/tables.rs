//! The tables of the redb file.

use super::{
    failure::{StoreError, failed, unreadable},
    rows::{EntryRow, cut_entry, decode_line, decode_pin_of, decode_row, encode_line, encode_row},
};
use crate::{
    trust::{KeyLine, Pin},
    types::{PeerId, Timestamp},
};
use redb::{ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};

/// Of each id its key binding and newest accepted version, and its live entry, where it has one: who registers changes one row, which is
/// one page. What is not known here and was not used for long is removed.
pub(super) const PEERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("peers");
/// When an entry was renewed (µs) and when it expires then (ms), by the wall clock. Apart from the entries, so that a heartbeat
/// rewrites sixteen bytes and not a summary. Of an entry that expired it says until when the binding was used.
pub(super) const RENEWED: TableDefinition<'_, &str, (i64, i64)> = TableDefinition::new("renewed");
/// Envelopes that are too long to stand beside others in a page.
pub(super) const ENVELOPES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("envelopes");
/// Longer ones have a table of their own, which is not read at start.
const LONGEST_NEAR_BYTES: usize = 4 << 10;
/// What the statements of ids' keys led to; a row goes with its binding.
pub(super) const LINES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("lines");
/// What holds for the whole file.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
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
    pub(super) fn open(transaction: &'txn WriteTransaction) -> Result<Self, StoreError> {
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

    /// Ids, live entries, renewed ones and long envelopes.
    #[cfg(test)]
    pub(super) fn row_counts(&self) -> [u64; 4] {
        let mut live = 0;
        for row in self.peers.iter().unwrap() {
            let (id, row) = row.unwrap();
            live += u64::from(decode_row(id.value(), row.value()).unwrap().1.is_some());
        }
        [self.peers.len().unwrap(), live, self.renewed.len().unwrap(), self.envelopes.len().unwrap()]
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

    /// Pins what a whole row says, and its entry. An envelope that is too long to stand beside others goes to the table of its own.
    pub(super) fn put_encoded(&mut self, peer: &PeerId, row: &[u8]) -> Result<(), StoreError> {
        let (pin, entry) = decode_row(peer.as_str(), row).ok_or_else(|| unreadable(peer))?;
        let Some(entry) = entry else { return self.put_pin(peer, &pin) };
        let Some(envelope) = entry.envelope.filter(|envelope| envelope.len() > LONGEST_NEAR_BYTES) else {
            self.peers.insert(peer.as_str(), row).map_err(failed)?;
            return self.drop_long_envelope(peer);
        };
        self.row.clear();
        encode_row(&mut self.row, peer.as_str(), &pin, Some(&EntryRow { envelope: None, ..entry }));
        self.put_row(peer)?;
        self.has_long = true;
        self.envelopes.insert(peer.as_str(), envelope).map_err(failed)?;
        Ok(())
    }

    /// Is there any id whose key has statements?
    pub(super) fn has_lines(&self) -> bool {
        self.has_lines
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

    /// Removes an entry; its pin stays, also one that cannot be read, with when it was last used.
    pub(super) fn remove(&mut self, peer: &PeerId) -> Result<(), StoreError> {
        self.row.clear();
        let mut used = None;
        if let Some(row) = self.peers.get(peer.as_str()).map_err(failed)? {
            let entry = decode_row(peer.as_str(), row.value()).and_then(|(_, entry)| entry);
            used = entry.map(|entry| (entry.last_seen.micros(), entry.expires_at_ms));
            cut_entry(&mut self.row, row.value());
        }
        if !self.row.is_empty() {
            self.put_row(peer)?;
        }
        let renewed = self.renewed.get(peer.as_str()).map_err(failed)?.map(|times| times.value());
        if let Some((seen, until)) = used {
            let (seen_again, until_then) = renewed.unwrap_or((seen, until));
            let times = (seen.max(seen_again), until.max(until_then));
            self.renewed.insert(peer.as_str(), times).map_err(failed)?;
        }
        self.drop_long_envelope(peer)
    }

    /// Removes all that is known of an id.
    pub(super) fn erase(&mut self, peer: &PeerId) -> Result<(), StoreError> {
        self.peers.remove(peer.as_str()).map_err(failed)?;
        self.drop_line(peer)?;
        self.forget(peer)
    }
}

pub(super) fn read_pin(peer: &PeerId, row: &[u8]) -> Result<Pin, StoreError> {
    decode_pin_of(peer.as_str(), row).ok_or_else(|| unreadable(peer))
}

pub(super) fn read_line(id: &str, row: &[u8]) -> Result<KeyLine, StoreError> {
    decode_line(id, row).ok_or_else(|| StoreError::Corrupt(format!("the key statements of {id:?}")))
}
