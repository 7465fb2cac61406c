//! What is known of the directory: shared with readers, changed by the writer thread alone.

use super::{
    BrokenFile, Entry, LatticeError, LatticeStatus,
    clock_agreement::ClockAgreement,
    dating::AtStart,
    file_name::{self, CaseSensitivity},
    half_written::HalfWritten,
    index::Index,
    journal::{Coming, Journal, JournalError, Op, Record, is_full},
    known::{Known, KnownFiles},
    marker::Marker,
    packs::Packs,
    reader::FileStamp,
    recent::Recent,
    replaced::Replaced,
    unreadable_times::UnreadableTimes,
    version::{self, Version},
    whole_sync::WholeSync,
    write_batch::Growth,
};
use crate::types::{ContentHash, Limits, NodeId, SharedClock, Timestamp};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

mod broken;
mod changes;
mod type_names;

pub(super) use broken::Broken;
use broken::Claim;
pub(super) use changes::{Changes, SeenFile};
use type_names::TypeNames;

/// The most broken files that a status lists.
const BROKEN_SHOWN: usize = 100;

/// Since when a file is not there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Away {
    /// When that was noticed, by the process's own clock.
    pub(super) since: Instant,
    /// When it went, at the latest.
    pub(super) at: Timestamp,
}

/// What a status tells beside the index.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) broken: BTreeMap<String, Broken>,
    /// Nodes that stand under names that are not theirs.
    claimed: HashMap<NodeId, Claim>,
    pub(super) index_build: Option<Duration>,
    pub(super) hashed_files: u64,
    pub(super) tombstones: u64,
    /// There are deletions whose tombstones are forgotten.
    pub(super) has_forgotten: bool,
    pub(super) unreadable_times: UnreadableTimes,
    pub(super) foreign_manifest: bool,
    pub(super) write_fault: Option<String>,
    pub(super) scan_fault: Option<String>,
    pub(super) watch_fault: Option<String>,
}

/// What readers and the writer thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) directory: PathBuf,
    /// Its path as it was given, which may lead elsewhere later.
    pub(super) given: PathBuf,
    /// Which lattice the directory holds: another one in its place is not ours.
    pub(super) marker: Marker,
    pub(super) limits: Limits,
    pub(super) clock: SharedClock,
    pub(super) journal: Journal,
    pub(super) packs: Packs,
    pub(super) recent: Recent,
    pub(super) index_id: String,
    pub(super) index: RwLock<Index>,
    /// Nodes of the index whose files are broken: their last good versions are advertised, their contents cannot be had.
    pub(super) unavailable: RwLock<HashSet<NodeId>>,
    pub(super) report: Mutex<Report>,
    pub(super) ready: AtomicBool,
    pub(super) seq: AtomicU64,
    /// Tells of `seq`.
    pub(super) moved: watch::Sender<u64>,
    pub(super) clock_agreement: ClockAgreement,
}

impl Shared {
    /// The time that an edit of a version of `previous` must come after.
    pub(super) fn to_follow(&self, previous: Option<Timestamp>) -> Option<Timestamp> {
        version::to_follow(previous, self.clock_agreement.holds(&self.clock), self.clock.now())
    }

    /// The index, for a moment.
    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The report, for a moment.
    pub(super) fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes in the report which deletions the journal keeps.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn count_deletions(&self) -> Result<(), JournalError> {
        let (tombstones, has_forgotten) = (self.journal.tombstones()?, self.journal.has_forgotten()?);
        let mut report = self.report();
        (report.tombstones, report.has_forgotten) = (tombstones, has_forgotten);
        Ok(())
    }

    /// See [`Lattice::status`](super::Lattice::status).
    pub(super) fn status(&self) -> LatticeStatus {
        let nodes = self.index().len();
        let report = self.report();
        let broken = report.broken.iter().take(BROKEN_SHOWN);
        let faults = [&report.write_fault, &report.scan_fault, &report.watch_fault];
        let unwatched = report.write_fault.is_none() && report.scan_fault.is_none() && report.watch_fault.is_some();
        let fault = faults.into_iter().flatten().next().cloned();
        LatticeStatus {
            ready: self.ready.load(Ordering::Acquire),
            nodes,
            tombstones: report.tombstones,
            broken_total: report.broken.len(),
            broken: broken.map(|(file, it)| BrokenFile { file: file.clone(), reason: it.reason.to_string() }).collect(),
            index_build: report.index_build,
            hashed_files: report.hashed_files,
            foreign_manifest: report.foreign_manifest,
            index_id: self.index_id.clone(),
            seq: self.seq.load(Ordering::Acquire),
            full: fault.as_ref() == Some(&LatticeError::NoSpace.to_string()),
            unwatched,
            fault,
        }
    }

    /// Does the index follow the files, as far as is known? Otherwise only the files themselves say what they hold.
    pub(super) fn is_followed(&self) -> bool {
        self.is_well() && self.check_directory().is_ok()
    }

    /// As [`Self::is_followed`], as far as is known without asking the disk.
    pub(super) fn is_well(&self) -> bool {
        let report = self.report();
        let faults = [&report.write_fault, &report.scan_fault, &report.watch_fault];
        report.index_build.is_some() && faults.into_iter().all(Option::is_none)
    }

    /// Fails unless the directory is the one whose marker the journal knows: unmounted or replaced, its files did not vanish.
    ///
    /// # Errors
    /// [`io::Error`] with one line for people.
    pub(super) fn check_directory(&self) -> io::Result<()> {
        self.marker.check()
    }

    /// The nodes whose contents cannot be had, for a moment.
    pub(super) fn unavailable(&self) -> RwLockReadGuard<'_, HashSet<NodeId>> {
        self.unavailable.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The failure of a file operation, as the port says it.
pub(super) fn lattice_error(error: &io::Error) -> LatticeError {
    match error.kind() {
        _ if is_full(error) => LatticeError::NoSpace,
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            LatticeError::ReadOnly(error.to_string())
        }
        _ => LatticeError::Io(error.to_string()),
    }
}

/// The same once more, for each of those whom it concerns.
pub(super) fn copy_of(error: &LatticeError) -> LatticeError {
    match error {
        LatticeError::Loading => LatticeError::Loading,
        LatticeError::Unavailable(id) => LatticeError::Unavailable(id.clone()),
        LatticeError::PreconditionFailed { current } => LatticeError::PreconditionFailed { current: *current },
        LatticeError::Contested { from, kept } => LatticeError::Contested { from: from.clone(), kept: *kept },
        LatticeError::HistoryFull { from, id } => LatticeError::HistoryFull { from: from.clone(), id: id.clone() },
        LatticeError::WaitingFull { from } => LatticeError::WaitingFull { from: from.clone() },
        LatticeError::BoundReached { id, setting, most, nodes, bytes } => {
            LatticeError::BoundReached { id: id.clone(), setting, most: *most, nodes: *nodes, bytes: *bytes }
        }
        LatticeError::NoSpace => LatticeError::NoSpace,
        LatticeError::ReadOnly(text) => LatticeError::ReadOnly(text.clone()),
        LatticeError::Io(text) => LatticeError::Io(text.clone()),
    }
}

impl From<JournalError> for LatticeError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Io(error) => match lattice_error(&error) {
                Self::Io(text) => Self::Io(format!("the journal: {text}")),
                other => other,
            },
            other => Self::Io(format!("the journal: {other}")),
        }
    }
}

/// The writer thread's own.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) shared: Arc<Shared>,
    pub(super) known: KnownFiles,
    /// Versions of other instances that may stand in their files, and not in the journal yet.
    pub(super) coming: HashMap<NodeId, Coming>,
    /// Names from which the id cannot be told, and those that are not the plain one.
    odd: HashMap<Box<str>, NodeId>,
    /// On a file system that ignores case: lower-case name to id.
    folded: Option<HashMap<String, NodeId>>,
    pub(super) generation: u32,
    types: TypeNames,
    seq: u64,
    /// How changes are judged that are found; `None`: the first scan is through.
    pub(super) at_start: Option<AtStart>,
    /// When the last complete scan began: what it saw unchanged held its version then.
    pub(super) known_at: Timestamp,
    /// Live nodes whose files are not there. Editors move a file aside before they write it anew.
    pub(super) missing: HashMap<NodeId, Away>,
    /// How long a file may be away before its node counts as deleted.
    pub(super) vanish_grace: Duration,
    /// Names that must be looked at again: what they stand for depends on another file, which changed.
    pub(super) look_again: Vec<String>,
    /// Broken files that were replaced while somebody may have been writing them.
    pub(super) half_written: HalfWritten,
    /// Contents that were written here of late: where another program breaks such a file, they are the copies that are left.
    pub(super) written: Recent,
    /// Files that were replaced while a program may have had them open.
    pub(super) replaced: Replaced,
    /// Conflicts that the batch which is being staged makes with each sender: the journal does not count them yet.
    pub(super) staged_conflicts: HashMap<Box<str>, u64>,
    /// What that batch adds to the history: versions, bytes.
    pub(super) staged_history: (u64, u64),
    /// What that batch adds.
    pub(super) staged_growth: Growth,
    /// Counts the commits that changed the set.
    pub(super) version: u64,
    pub(super) whole_sync: WholeSync,
}

/// One number for a stamp: what a million of them cost in memory matters, and a chance of 2^-64 does not.
pub(super) fn fingerprint(stamp: &FileStamp) -> u64 {
    let mut hasher = DefaultHasher::new();
    (stamp.mtime_ns, stamp.ctime_ns, stamp.size, stamp.inode).hash(&mut hasher);
    hasher.finish()
}

impl Store {
    pub(super) fn new(shared: Arc<Shared>, case: CaseSensitivity, at_start: Option<AtStart>) -> Self {
        let known_at = shared.clock.now();
        let seq = shared.seq.load(Ordering::Acquire);
        let folded = (case == CaseSensitivity::Insensitive).then(HashMap::new);
        Self {
            shared,
            known: KnownFiles::default(),
            coming: HashMap::new(),
            odd: HashMap::new(),
            folded,
            generation: 0,
            types: TypeNames::default(),
            seq,
            at_start,
            known_at,
            missing: HashMap::new(),
            vanish_grace: Duration::ZERO,
            look_again: Vec::new(),
            half_written: HalfWritten::default(),
            written: Recent::default(),
            replaced: Replaced::default(),
            staged_conflicts: HashMap::new(),
            staged_history: (0, 0),
            staged_growth: Growth::default(),
            version: 0,
            whole_sync: WholeSync::default(),
        }
    }

    /// Takes over what the journal kept.
    ///
    /// # Errors
    /// [`LatticeError`] where it cannot be read.
    pub(super) fn load(&mut self) -> Result<(), LatticeError> {
        let shared = Arc::clone(&self.shared);
        let mut index = Index::default();
        self.known.reserve(usize::try_from(shared.journal.file_count()?).unwrap_or(0));
        shared.journal.load(|row| {
            let entry = Arc::new(Entry { node_type: row.node_type.and_then(|it| self.types.shared(it)), ..row.entry });
            self.learn(entry, (row.name, &row.stamp, row.read_at_ns), (row.live, row.is_listed), &mut index);
        })?;
        *shared.index.write().unwrap_or_else(PoisonError::into_inner) = index;
        shared.count_deletions()?;
        self.coming = shared.journal.coming()?.into_iter().collect();
        Ok(())
    }

    /// The version of another instance that stands in the node's file now, with this content or none: a write of ours, which the
    /// journal does not know.
    pub(super) fn arrived(&self, id: &NodeId, content: Option<ContentHash>) -> Result<Option<Coming>, LatticeError> {
        let coming = self.coming.get(id).filter(|coming| coming.version().content == content);
        let Some(coming) = coming else { return Ok(None) };
        let newer = self.held(id)?.is_none_or(|held| coming.version() > held);
        Ok(newer.then(|| coming.clone()))
    }

    /// A scan that began then is through.
    pub(super) fn scanned(&mut self, begun_at: Timestamp) {
        self.known_at = begun_at;
        let (known, generation) = (&self.known, self.generation);
        self.missing.retain(|id, _| known.get(id.as_str()).is_some_and(|known| known.generation != generation));
    }

    /// Every file was looked at: what came is known.
    pub(super) fn all_arrived(&mut self) {
        if self.coming.is_empty() {
            return;
        }
        match self.shared.journal.forget_coming() {
            Ok(()) => self.coming.clear(),
            Err(error) => tracing::warn!(%error, "what was coming cannot be forgotten yet"),
        }
    }

    /// Whose file is this, as far as is known?
    pub(super) fn owner(&self, name: &str) -> Option<&Known> {
        let known = match self.odd.get(name) {
            Some(id) => self.known.get(id.as_str()),
            None => self.known.get(&file_name::plain_stem(name)?),
        }?;
        self.known.odd_name(known).is_none_or(|odd| odd == name).then_some(known)
    }

    /// The same, to be changed.
    pub(super) fn owner_mut(&mut self, name: &str) -> Option<&mut Known> {
        if self.odd.contains_key(name) {
            let id = self.owner(name)?.entry.id.clone();
            return self.known.get_mut(id.as_str());
        }
        // One with another name is the owner of that one.
        self.known.get_mut(&file_name::plain_stem(name)?).filter(|known| !known.is_odd)
    }

    /// What answers, for a name and the fingerprint of its file's stamp, whose file it is: where that surely has the content that it had.
    pub(super) fn unchanged(&self) -> impl Fn(&str, u64) -> Option<u32> + Sync + '_ {
        let (known, odd) = (&self.known, &self.odd);
        move |name, fingerprint| match odd.get(name) {
            Some(id) => known.unchanged(id.as_str(), name, fingerprint),
            None => known.unchanged(&file_name::plain_stem(name)?, name, fingerprint),
        }
    }

    /// The node's entry, where it is live.
    pub(super) fn live(&self, id: &NodeId) -> Option<&Arc<Entry>> {
        self.known.get(id.as_str()).filter(|known| known.live).map(|known| &known.entry)
    }

    /// The file that the node is in, or would be put in.
    pub(super) fn name_for(&self, id: &NodeId) -> String {
        if let Some(known) = self.known.get(id.as_str()) {
            return self.known.name(known);
        }
        let plain = file_name::plain(id);
        let holder = self.folded.as_ref().and_then(|folded| folded.get(&plain.to_ascii_lowercase()));
        if holder.is_some_and(|holder| holder != id) { file_name::second(id) } else { plain }
    }

    /// What two writes must not both touch in one batch.
    pub(super) fn batch_key(&self, id: &NodeId) -> String {
        if self.folded.is_some() { id.as_str().to_ascii_lowercase() } else { id.as_str().to_owned() }
    }

    /// When an edit of the node counts as made that is seen now and states this time.
    pub(super) fn edit_time(&self, id: &NodeId, stated: Option<Timestamp>) -> Result<Timestamp, LatticeError> {
        Ok(version::edit_time(self.to_follow(self.held(id)?), stated, self.shared.clock.now()))
    }

    /// The time that an edit of what is held must come after.
    pub(super) fn to_follow(&self, held: Option<Version>) -> Option<Timestamp> {
        self.shared.to_follow(held.map(|held| held.at))
    }

    /// The version of the node that counts here, be it a content or a deletion, also one whose tombstone is forgotten.
    pub(super) fn held(&self, id: &NodeId) -> Result<Option<Version>, LatticeError> {
        if let Some(known) = self.known.get(id.as_str()) {
            return Ok(Some(known.entry.version()));
        }
        // Most new nodes are met while there is no tombstone at all.
        let report = self.shared.report();
        let (has_tombstones, has_forgotten) = (report.tombstones > 0, report.has_forgotten);
        drop(report);
        if has_tombstones && let Some(tombstone) = self.shared.journal.tombstone(id)? {
            return Ok(Some(tombstone.version()));
        }
        if !has_forgotten {
            return Ok(None);
        }
        Ok(self.shared.journal.forgotten_deletion(id)?.map(|at| Version { at, content: None }))
    }

    /// Writes the changes down, then shows them to readers. All or none of them.
    ///
    /// # Errors
    /// [`LatticeError`]; nothing is shown then.
    pub(super) fn commit(&mut self, changes: &Changes) -> Result<(), LatticeError> {
        if changes.ops.is_empty() {
            self.unmark_broken(&changes.repaired);
            return Ok(());
        }
        let seq = self.seq.saturating_add(changes.positions);
        if let Err(error) = self.write_down(&changes.ops, seq) {
            // The failed commit may have reached the disk all the same: its positions are not given out again.
            match self.shared.journal.recover() {
                Ok(kept) => self.seq = self.seq.max(kept),
                Err(error) => tracing::error!(%error, "the journal cannot be opened again"),
            }
            return Err(error.into());
        }
        self.seq = seq;
        self.show_all(changes);
        let shared = Arc::clone(&self.shared);
        shared.seq.store(seq, Ordering::Release);
        shared.moved.send_replace(seq);
        match shared.journal.tombstones() {
            Ok(tombstones) => shared.report().tombstones = tombstones,
            Err(error) => tracing::warn!(%error, "the tombstones cannot be counted"),
        }
        self.unmark_broken(&changes.repaired);
        self.version += 1;
        Ok(())
    }

    /// Shows changes to readers that are written down, or need not be.
    pub(super) fn show_all(&mut self, changes: &Changes) {
        let shared = Arc::clone(&self.shared);
        let mut index = shared.index.write().unwrap_or_else(PoisonError::into_inner);
        for op in &changes.ops {
            self.show(op, &mut index);
        }
    }

    fn show(&mut self, op: &Op, index: &mut Index) {
        match op {
            Op::Put(record, _) => {
                self.coming.remove(&record.entry.id);
                self.remember(record, index);
            }
            Op::Seen(record) => self.remember(record, index),
            Op::Broke(id) => {
                if let Some(known) = self.known.get_mut(id.as_str()) {
                    known.live = false;
                    known.generation = self.generation;
                    self.unavailable().insert(id.clone());
                }
            }
            Op::Deleted(tombstone, _) => {
                self.coming.remove(&tombstone.id);
                self.forget(&tombstone.id);
                index.remove(tombstone.id.as_str());
            }
            Op::Lost(id) => {
                self.coming.remove(id);
                self.forget(id);
                index.remove(id.as_str());
            }
            Op::VoidPositions | Op::Buried(..) | Op::Settled(_) | Op::Waits(_) | Op::WaitsNoLonger(..) => {}
        }
    }

    fn remember(&mut self, record: &Record, index: &mut Index) {
        self.forget(&record.entry.id);
        let file = (&*record.name, &record.stamp, record.read_at_ns);
        self.learn(Arc::clone(&record.entry), file, (record.live, record.live), index);
    }

    /// Of a node of which nothing is known.
    fn learn(
        &mut self,
        entry: Arc<Entry>,
        (name, stamp, read_at_ns): (&str, &FileStamp, i64),
        (live, is_listed): (bool, bool),
        index: &mut Index,
    ) {
        let is_odd = !file_name::is_plain(name, &entry.id);
        if is_odd || name.contains('~') {
            self.odd.insert(name.into(), entry.id.clone());
        }
        if let Some(folded) = &mut self.folded {
            folded.insert(name.to_ascii_lowercase(), entry.id.clone());
        }
        if is_listed {
            index.insert(Arc::clone(&entry), is_odd.then_some(name));
        }
        if is_listed && !live {
            self.unavailable().insert(entry.id.clone());
        }
        let known = Known {
            entry,
            fingerprint: fingerprint(stamp),
            generation: self.generation,
            racy: stamp.is_racy(read_at_ns),
            live,
            is_odd,
        };
        self.known.insert(known, name);
    }

    fn unavailable(&self) -> RwLockWriteGuard<'_, HashSet<NodeId>> {
        self.shared.unavailable.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&mut self, id: &NodeId) {
        self.missing.remove(id);
        let was_broken = self.known.get(id.as_str()).is_some_and(|known| !known.live);
        if was_broken {
            self.unavailable().remove(id);
        }
        let Some(name) = self.known.remove(id) else { return };
        self.odd.remove(name.as_str());
        if let Some(folded) = &mut self.folded {
            folded.remove(&name.to_ascii_lowercase());
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::types::SystemClock;
    use std::path::Path;

    /// What the writer thread has, without the thread: over `data` in the folder, with a journal beside it.
    pub(crate) fn store(folder: &Path) -> Store {
        std::fs::create_dir(folder.join("data")).unwrap();
        Store { at_start: None, ..opened(folder, "journal") }
    }

    /// The same, where there is something already.
    pub(crate) fn opened(folder: &Path, journal: &str) -> Store {
        const LATTICE: &str = "0123456789abcdef0123456789abcdef";
        let directory = folder.join("data");
        let metadata = std::fs::metadata(&directory).unwrap();
        let (journal, head) = Journal::open(&folder.join(journal)).unwrap();
        if super::super::marker::read(&directory).unwrap().is_none() {
            super::super::marker::write(&directory, LATTICE).unwrap();
        }
        let shared = Shared {
            marker: Marker::hold(&directory, LATTICE.to_owned()).unwrap(),
            unavailable: RwLock::default(),
            given: directory.clone(),
            directory,
            limits: Limits::default(),
            clock: SystemClock::shared(),
            packs: Packs::beside(&folder.join("journal"), &head.index_id),
            recent: Recent::default(),
            journal,
            index_id: head.index_id,
            index: RwLock::new(Index::default()),
            report: Mutex::default(),
            ready: AtomicBool::new(true),
            seq: AtomicU64::new(head.seq),
            moved: watch::Sender::new(head.seq),
            clock_agreement: ClockAgreement::default(),
        };
        let at_start = AtStart::begun(&metadata, shared.journal.unfinished_start().unwrap().as_deref());
        Store::new(Arc::new(shared), CaseSensitivity::Sensitive, Some(at_start))
    }

    #[test]
    fn what_the_system_says_maps_to_what_the_port_says() {
        let said = |code| lattice_error(&io::Error::from_raw_os_error(code));
        assert!(matches!(said(libc::ENOSPC), LatticeError::NoSpace));
        assert!(matches!(said(libc::EDQUOT), LatticeError::NoSpace));
        let is_read_only = |code| matches!(said(code), LatticeError::ReadOnly(_));
        assert!([libc::EROFS, libc::EACCES, libc::EPERM].into_iter().all(is_read_only));
        assert!(matches!(said(libc::EIO), LatticeError::Io(_)));
        assert!(matches!(JournalError::Io(io::Error::from_raw_os_error(libc::ENOSPC)).into(), LatticeError::NoSpace));
    }
}
