//! Writing changes down.

use super::{
    BY_SEQ, FILES, FileValue, JournalError, LINEAGE, Op, Record, Source, TOMBSTONES, buried, coming, conflicts,
    remembered,
    rows::{Lineage, Loaded, file_value, loaded},
    waiting,
};
use crate::{
    lattice::Version,
    types::{ContentHash, Timestamp},
};
use redb::{ReadableTable, Table, WriteTransaction};

/// Writes each change into the tables of one transaction.
///
/// # Errors
/// [`JournalError`]; nothing counts then.
pub(super) fn write_ops(transaction: &WriteTransaction, ops: &[Op]) -> Result<(), JournalError> {
    let mut files = transaction.open_table(FILES)?;
    let mut by_seq = transaction.open_table(BY_SEQ)?;
    let mut tombstones = transaction.open_table(TOMBSTONES)?;
    let mut lineages = transaction.open_table(LINEAGE)?;
    let mut late = buried::open(transaction)?;
    let mut coming = coming::open(transaction)?;
    let mut memory = remembered::Tables::open(transaction)?;
    let mut waiting = waiting::Tables::open(transaction)?;
    for op in ops {
        let id = match op {
            Op::Put(record, _) | Op::Seen(record) => &record.entry.id,
            Op::Broke(id) | Op::Lost(id) => id,
            // The commit does it, with its first position.
            Op::VoidPositions => continue,
            Op::Deleted(tombstone, _) => &tombstone.id,
            Op::Buried(id, at) => {
                late.insert(id.as_str(), at.micros())?;
                continue;
            }
            Op::Settled(number) => {
                conflicts::remove(transaction, *number)?;
                continue;
            }
            Op::Waits(deletion) => {
                waiting.put(deletion)?;
                continue;
            }
            Op::WaitsNoLonger(id, from) => {
                waiting.remove(id.as_str(), from)?;
                continue;
            }
        };
        let id = id.as_str();
        // Where the node stands so far is asked of the tables themselves, so that each node has one position whatever happened.
        let last = files.get(id)?.map(|value| value.value().6);
        match op {
            Op::Put(record, source) => {
                let held = files.get(id)?.map(|value| {
                    let value = value.value();
                    (ContentHash::from_digest(*value.2), earlier(&value))
                });
                if let Some((content, file)) = held.filter(|(content, _)| *content != record.entry.content_hash) {
                    memory.remember(id, &content, file)?;
                }
                match (record.stated, held) {
                    (Some(stated), _) => memory.state(id, record.entry.updated_at, stated)?,
                    (None, Some((_, before))) => memory.state_as_before(id, before.at)?,
                    (None, None) => {}
                }
                let held_at = held.map(|(_, file)| file.at);
                let held = held.map(|(content, _)| content);
                let buried = tombstones.get(id)?.map(|value| ContentHash::from_digest(*value.value().1));
                // A content that comes back with a later time came from where it came from.
                let same = held == Some(record.entry.content_hash);
                if same && *source == Source::Edit {
                    // The admin dated it anew: from here on it is an edit made here.
                    accept(&mut lineages, id, held_at.is_some_and(|at| at != record.entry.updated_at))?;
                } else {
                    follow(&mut lineages, id, held.or(buried), same, source)?;
                }
                if let Some(last) = last {
                    by_seq.remove(last)?;
                }
                if let Some(old) = tombstones.remove(id)? {
                    by_seq.remove(old.value().2)?;
                    late.remove(id)?;
                }
                coming.remove(id)?;
                let version = Version { at: record.entry.updated_at, content: Some(record.entry.content_hash) };
                waiting.superseded(id, version)?;
                by_seq.insert(record.entry.seq, id)?;
                files.insert(id, file_value(record))?;
            }
            Op::Seen(record) => {
                if let Some(stated) = record.stated {
                    memory.state(id, record.entry.updated_at, stated)?;
                }
                drop(files.insert(id, file_value(record))?);
            }
            Op::Broke(_) => {
                let broken =
                    files.get(id)?.map(|value| loaded(id, value.value()).map(Loaded::into_record)).transpose()?;
                if let Some(broken) = broken {
                    files.insert(id, file_value(&Record { live: false, ..broken }))?;
                }
            }
            Op::Deleted(tombstone, source) => {
                follow(&mut lineages, id, Some(tombstone.content_hash), false, source)?;
                if let Some(last) = last {
                    by_seq.remove(last)?;
                }
                if let Some(row) = files.remove(id)? {
                    let row = row.value();
                    memory.remember(id, &ContentHash::from_digest(*row.2), earlier(&row))?;
                }
                let value = (tombstone.deleted_at.micros(), tombstone.content_hash.as_bytes(), tombstone.seq);
                let old = tombstones.insert(id, value)?.map(|old| old.value().2);
                if let Some(old) = old {
                    by_seq.remove(old)?;
                    late.remove(id)?;
                }
                coming.remove(id)?;
                waiting.superseded(id, Version { at: tombstone.deleted_at, content: None })?;
                by_seq.insert(tombstone.seq, id)?;
            }
            Op::Lost(_) => {
                if let Some(last) = last {
                    by_seq.remove(last)?;
                }
                files.remove(id)?;
                lineages.remove(id)?;
                coming.remove(id)?;
                memory.forget(id)?;
            }
            Op::VoidPositions | Op::Buried(..) | Op::Settled(_) | Op::Waits(_) | Op::WaitsNoLonger(..) => {}
        }
    }
    Ok(())
}

/// A version that came back from a backup counts as made here once it got a later time here.
fn accept(
    lineages: &mut Table<'_, &'static str, &'static [u8]>,
    id: &str,
    is_dated_anew: bool,
) -> Result<(), JournalError> {
    let old = lineages.get(id)?.map(|bytes| Lineage::from_bytes(bytes.value()));
    if let Some(old) = old.filter(|old| is_dated_anew && old.came_back) {
        let lineage = Lineage { ancestry: old.ancestry, ..Lineage::default() };
        lineages.insert(id, lineage.to_bytes().as_slice())?;
    }
    Ok(())
}

fn earlier(row: &FileValue<'_>) -> remembered::Earlier {
    remembered::Earlier { at: Timestamp::from_micros(row.5), mtime_ns: row.1.0 }
}

/// What a node's lineage becomes where it held `before`. `same`: it holds that still, and only its time is another. A node that was
/// made here from nothing has no row.
fn follow(
    lineages: &mut Table<'_, &'static str, &'static [u8]>,
    id: &str,
    before: Option<ContentHash>,
    same: bool,
    source: &Source,
) -> Result<(), JournalError> {
    let old = lineages.get(id)?.map(|bytes| Lineage::from_bytes(bytes.value())).unwrap_or_default();
    let lineage = match source {
        Source::Given { ancestry, from } => {
            // What was made here stays so when it comes back with a later time: perhaps nobody else made it, and it is for the one who
            // did to keep it where it loses.
            let made_here = same && old.made_here;
            let from = if same { old.from } else { Some(from.clone()) };
            let came_back = same && old.came_back;
            Lineage { made_here, came_back, from: from.filter(|_| !made_here), ancestry: ancestry.clone() }
        }
        Source::Edit => {
            let ancestry = before.map_or_else(|| old.ancestry.clone(), |before| old.ancestry.after(&before));
            Lineage { ancestry, ..Lineage::default() }
        }
        Source::Remembered => Lineage { made_here: false, came_back: true, from: None, ancestry: old.ancestry.clone() },
    };
    if lineage == Lineage::default() {
        lineages.remove(id)?;
    } else {
        lineages.insert(id, lineage.to_bytes().as_slice())?;
    }
    Ok(())
}
