//! What was registered since the file was last brought up to date. A registration costs one write at the end of this log, not pages of
//! a tree; the newest row of each id reaches the tree once for many of them.
//!
//! The log is frames one behind the other. A frame is one batch and is on the disk before anybody in it has his answer:
//!
//! | bytes | |
//! |---|---|
//! | 4 | `ARKR` |
//! | 4 | length of the rows |
//! | 8 | generation: grows each time that the log begins anew; the file says which one counts |
//! | 8 | number of the frame in its generation, from 0 |
//! | 8 | XXH3-64 of the above and the rows, seeded with the salt that the file keeps |
//! | … | rows: length of the id (2) and of the row (4), id, row |
//!
//! Numbers are big-endian. A log that begins anew overwrites the old frames from the start: their generation tells them from new ones.
//! What follows the last whole frame was never acknowledged, unless a later frame of the generation follows: then the disk lost what
//! lay before it, and the log is refused. The salt keeps what a peer sends from passing for such a frame.

use super::rows::{decode_pin_of, take};
use crate::{trust::Pin, types::PeerId};
use memchr::memmem;
use std::{
    borrow::Cow,
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};
use xxhash_rust::xxh3::Xxh3;

const MAGIC: &[u8; 4] = b"ARKR";
const HEAD_BYTES: usize = 32;
/// Where the sum stands in the head: behind all that it covers of it.
const SUMMED_HEAD_BYTES: usize = 24;
/// Longest rows of a frame. A batch with more goes to the tree at once.
pub(super) const MAX_FRAME_BYTES: usize = 16 << 20;
/// From here on the log is brought to the file when that costs little: the rows that are newest are an eighth of it or less.
const LONG_BYTES: u64 = 16 << 20;
/// It is brought there whatever that costs from here on, and with so many ids: nobody should wait for a much longer transaction.
const LONGEST_BYTES: u64 = 64 << 20;
const MOST_IDS: usize = 4096;
/// What the log keeps of the disk while little is registered.
const KEPT_BYTES: u64 = 1 << 20;
/// After how much of the log the room on the disk is looked at.
const LOOK_BYTES: u64 = 1 << 20;
/// What of the frame's buffer is kept.
const KEPT_BUFFER_BYTES: usize = 1 << 20;
/// How much is looked through at once.
const SEARCH_BYTES: usize = 1 << 20;

/// Which frames of the log count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) generation: u64,
    pub(super) salt: u64,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    /// It was written while the file was open, and is gone.
    #[error("its log is missing")]
    Missing,
    /// What was acknowledged cannot be read.
    #[error("its log is damaged at byte {0}")]
    Damaged(u64),
    /// The log and the file are copies of different times.
    #[error("its log is of a later time than the file")]
    Later,
    /// The operating system's answer.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where an id's newest row stands.
#[derive(Debug, Clone)]
struct Place {
    pin: Pin,
    at: u64,
    row_bytes: usize,
}

/// Where the next frame goes. The writer's alone.
#[derive(Debug)]
struct Tail {
    generation: u64,
    number: u64,
    at: u64,
    frame: Vec<u8>,
    /// Was there less room on the disk than the log takes, when it was last looked at?
    is_cramped: bool,
}

/// The newest row of each id.
#[derive(Debug, Default)]
struct Places {
    of: HashMap<PeerId, Place>,
    row_bytes: u64,
}

impl Places {
    fn put(&mut self, peer: PeerId, place: Place) {
        self.row_bytes = self.row_bytes.saturating_add(wide(place.row_bytes));
        if let Some(old) = self.of.insert(peer, place) {
            self.row_bytes = self.row_bytes.saturating_sub(wide(old.row_bytes));
        }
    }
}

/// A row that is registered.
#[derive(Debug, Clone)]
pub(super) struct NewRow<'a> {
    pub(super) peer: &'a PeerId,
    pub(super) pin: Pin,
    pub(super) row: Cow<'a, [u8]>,
}

/// The open log.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    salt: u64,
    tail: Mutex<Tail>,
    // Held while a row is read: nothing is written over it meanwhile.
    places: RwLock<Places>,
}

/// Where the log of a registry's file stands.
pub(super) fn log_path(registry: &Path) -> PathBuf {
    registry.with_extension("log")
}

/// Makes the name of a new file durable.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn sum(salt: u64, head: &[u8], rows: &[u8]) -> u64 {
    let mut hasher = Xxh3::with_seed(salt);
    hasher.update(head);
    hasher.update(rows);
    hasher.digest()
}

/// What a frame says of itself.
struct Head {
    rows_bytes: usize,
    generation: u64,
    number: u64,
}

impl Head {
    fn read(mut bytes: &[u8]) -> Option<Self> {
        if take::<4>(&mut bytes)? != *MAGIC {
            return None;
        }
        let rows_bytes = usize::try_from(u32::from_be_bytes(take(&mut bytes)?)).ok()?;
        let generation = u64::from_be_bytes(take(&mut bytes)?);
        let number = u64::from_be_bytes(take(&mut bytes)?);
        (rows_bytes <= MAX_FRAME_BYTES).then_some(Self { rows_bytes, generation, number })
    }
}

/// Reads up to the whole of `into` from `at` on; says how much there was.
fn read_up_to(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(wide(done))) {
            Ok(0) => break,
            Ok(count) => done = done.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A frame as it was found.
struct Found {
    head: Head,
    bytes: Vec<u8>,
}

/// The frame at a place, where its sum is right.
fn frame_at(file: &File, salt: u64, at: u64) -> io::Result<Option<Found>> {
    let mut head_bytes = [0; HEAD_BYTES];
    if read_up_to(file, &mut head_bytes, at)? < HEAD_BYTES {
        return Ok(None);
    }
    let Some(head) = Head::read(&head_bytes) else { return Ok(None) };
    let mut bytes = vec![0; head.rows_bytes];
    if read_up_to(file, &mut bytes, at.saturating_add(wide(HEAD_BYTES)))? < head.rows_bytes {
        return Ok(None);
    }
    let (summed, mut stated) = head_bytes.split_at(SUMMED_HEAD_BYTES);
    let is_whole = take(&mut stated).map(u64::from_be_bytes) == Some(sum(salt, summed, &bytes));
    Ok(is_whole.then_some(Found { head, bytes }))
}

/// Is there a later frame of this generation behind `at`? Then what stood at `at` was acknowledged.
fn has_later(file: &File, salt: u64, tail: &Tail) -> io::Result<bool> {
    let finder = memmem::Finder::new(MAGIC);
    let (mut buffer, mut from) = (vec![0; SEARCH_BYTES], tail.at);
    loop {
        let filled = read_up_to(file, &mut buffer, from)?;
        let searched = buffer.get(..filled).unwrap_or_default();
        for hit in finder.find_iter(searched) {
            let at = from.saturating_add(wide(hit));
            // Most hits are frames of earlier generations, or texts: what is at hand says so.
            let is_old = |head: Head| head.generation != tail.generation || head.number <= tail.number;
            let near = searched.get(hit..hit.saturating_add(HEAD_BYTES));
            if near.is_some_and(|bytes| Head::read(bytes).is_none_or(is_old)) {
                continue;
            }
            if frame_at(file, salt, at)?.is_some_and(|found| !is_old(found.head)) {
                return Ok(true);
            }
        }
        if filled < SEARCH_BYTES {
            return Ok(false);
        }
        // The magic may stand across the border.
        from = from.saturating_add(wide(filled.saturating_sub(MAGIC.len())));
    }
}

/// Hands each row of a frame to `each`, with its place behind the frame's head; `None` for what no writer makes.
fn each_row(rows: &[u8], mut each: impl FnMut(&str, &[u8], usize) -> Option<()>) -> Option<()> {
    let mut rest = rows;
    while !rest.is_empty() {
        let id_bytes = usize::from(u16::from_be_bytes(take(&mut rest)?));
        let row_bytes = usize::try_from(u32::from_be_bytes(take(&mut rest)?)).ok()?;
        let (id, after) = rest.split_at_checked(id_bytes)?;
        let at = rows.len().checked_sub(after.len())?;
        let (row, after) = after.split_at_checked(row_bytes)?;
        each(std::str::from_utf8(id).ok()?, row, at)?;
        rest = after;
    }
    Some(())
}

impl Log {
    /// Opens the log, or makes an empty one, and finds the newest row of each id in it.
    ///
    /// # Errors
    /// [`LogError`]; `must_exist`: rows may have been acknowledged that stand nowhere else.
    pub(super) fn open(path: &Path, mark: Mark, must_exist: bool) -> Result<Self, LogError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && must_exist => return Err(LogError::Missing),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut options = OpenOptions::new();
                let made = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
                sync_directory_of(path)?;
                made
            }
            Err(error) => return Err(error.into()),
        };
        let (mut tail, mut places) = (Tail::start(mark.generation), Places::default());
        while let Some(Found { head, bytes }) = frame_at(&file, mark.salt, tail.at)? {
            if head.generation > mark.generation {
                return Err(LogError::Later);
            }
            if head.generation < mark.generation || head.number != tail.number {
                break;
            }
            let rows_at = tail.at.saturating_add(wide(HEAD_BYTES));
            let taken = each_row(&bytes, |id, row, at| {
                let (peer, pin) = (PeerId::parse(id).ok()?, decode_pin_of(id, row)?);
                places.put(peer, Place { pin, at: rows_at.saturating_add(wide(at)), row_bytes: row.len() });
                Some(())
            });
            taken.ok_or(LogError::Damaged(tail.at))?;
            tail.pass(HEAD_BYTES.saturating_add(bytes.len()));
        }
        if has_later(&file, mark.salt, &tail)? {
            return Err(LogError::Damaged(tail.at));
        }
        Ok(Self { file, salt: mark.salt, tail: Mutex::new(tail), places: RwLock::new(places) })
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a batch and waits until it is on the disk. An error leaves the log as it was, unless the fsync itself failed: then
    /// nobody can know, and the log must begin anew before anything else is appended.
    pub(super) fn append(&self, rows: &[NewRow<'_>]) -> io::Result<()> {
        let mut tail = self.tail();
        let mut placed = Vec::with_capacity(rows.len());
        let Tail { generation, number, at, ref mut frame, .. } = *tail;
        frame.clear();
        frame.resize(HEAD_BYTES, 0);
        for NewRow { peer, pin, row } in rows {
            let id = peer.as_str();
            frame.extend_from_slice(&u16::try_from(id.len()).map_err(io::Error::other)?.to_be_bytes());
            frame.extend_from_slice(&u32::try_from(row.len()).map_err(io::Error::other)?.to_be_bytes());
            frame.extend_from_slice(id.as_bytes());
            let place = Place { pin: pin.clone(), at: at.saturating_add(wide(frame.len())), row_bytes: row.len() };
            placed.push(((*peer).clone(), place));
            frame.extend_from_slice(row);
        }
        self.put_head(frame, generation, number)?;
        self.file.write_all_at(frame, at)?;
        self.file.sync_data()?;
        let passed = frame.len();
        tail.pass(passed);
        if tail.at / LOOK_BYTES > at / LOOK_BYTES {
            tail.is_cramped = self.has_less_room_than(tail.at);
        }
        tail.frame.truncate(0);
        tail.frame.shrink_to(KEPT_BUFFER_BYTES);
        drop(tail);
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        for (peer, place) in placed {
            places.put(peer, place);
        }
        Ok(())
    }

    fn has_less_room_than(&self, bytes: u64) -> bool {
        rustix::fs::fstatvfs(&self.file).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < bytes)
    }

    /// Does the file soon lack the room to take the rows in?
    pub(super) fn is_cramped(&self) -> bool {
        self.tail().is_cramped
    }

    fn put_head(&self, frame: &mut [u8], generation: u64, number: u64) -> io::Result<()> {
        let Some((head, rows)) = frame.split_first_chunk_mut::<HEAD_BYTES>() else { return Ok(()) };
        let rows_bytes = u32::try_from(rows.len()).map_err(io::Error::other)?;
        let (magic, rest) = head.split_at_mut(MAGIC.len());
        magic.copy_from_slice(MAGIC);
        let (length, rest) = rest.split_at_mut(size_of::<u32>());
        length.copy_from_slice(&rows_bytes.to_be_bytes());
        let (of, rest) = rest.split_at_mut(size_of::<u64>());
        of.copy_from_slice(&generation.to_be_bytes());
        let (numbered, _) = rest.split_at_mut(size_of::<u64>());
        numbered.copy_from_slice(&number.to_be_bytes());
        let (summed, stated) = head.split_at_mut(SUMMED_HEAD_BYTES);
        stated.copy_from_slice(&sum(self.salt, summed, rows).to_be_bytes());
        Ok(())
    }

    /// What is pinned for an id that was registered since.
    pub(super) fn pin(&self, peer: &PeerId) -> Option<Pin> {
        self.places.read().unwrap_or_else(PoisonError::into_inner).of.get(peer).map(|place| place.pin.clone())
    }

    /// The row of an id that was registered since.
    pub(super) fn row(&self, peer: &PeerId) -> io::Result<Option<Vec<u8>>> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.of.get(peer).map(|place| self.read_row(place)).transpose()
    }

    fn read_row(&self, place: &Place) -> io::Result<Vec<u8>> {
        let mut row = vec![0; place.row_bytes];
        self.file.read_exact_at(&mut row, place.at)?;
        Ok(row)
    }

    /// Hands each id's newest row to `each`, in the order of the ids.
    pub(super) fn each_newest<E: From<io::Error>>(
        &self,
        mut each: impl FnMut(&PeerId, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        let mut newest: Vec<_> = places.of.iter().collect();
        newest.sort_unstable_by_key(|(peer, _)| *peer);
        newest.into_iter().try_for_each(|(peer, place)| each(peer, &self.read_row(place)?))
    }

    /// Was nothing registered since?
    pub(super) fn is_empty(&self) -> bool {
        self.places.read().unwrap_or_else(PoisonError::into_inner).of.is_empty()
    }

    /// Has it become so long that its rows should go to the file?
    pub(super) fn is_long(&self) -> bool {
        let (at, is_cramped) = {
            let tail = self.tail();
            (tail.at, tail.is_cramped)
        };
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        let pays = at >= LONG_BYTES && at / 8 >= places.row_bytes;
        pays || at >= LONGEST_BYTES || places.of.len() >= MOST_IDS || is_cramped
    }

    /// The generation of the frames that count.
    pub(super) fn generation(&self) -> u64 {
        self.tail().generation
    }

    /// The generation that counts once the rows are in the file.
    pub(super) fn next_generation(&self) -> u64 {
        self.tail().generation.saturating_add(1)
    }

    /// Begins anew: all of it is in the file, which says so durably.
    pub(super) fn restart(&self) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        *places = Places::default();
        let mut tail = self.tail();
        let next = tail.generation.saturating_add(1);
        *tail = Tail { frame: std::mem::take(&mut tail.frame), ..Tail::start(next) };
    }

    /// Gives room back that the log took in a crowd, where it is empty.
    pub(super) fn trim(&self) {
        let is_large = self.file.metadata().is_ok_and(|metadata| metadata.len() > KEPT_BYTES);
        if is_large
            && self.is_empty()
            && let Err(error) = self.file.set_len(KEPT_BYTES)
        {
            tracing::warn!(%error, "the registry's log cannot be made shorter");
        }
    }
}

impl Tail {
    fn start(generation: u64) -> Self {
        Self { generation, number: 0, at: 0, frame: Vec::new(), is_cramped: false }
    }

    fn pass(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(wide(bytes));
        self.number = self.number.saturating_add(1);
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
