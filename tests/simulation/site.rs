//! One instance: a real data directory with its journal, a key, and a clock of its own.

use crate::oracle::Content;
use ark_lattice::{
    federation::{deletions::DeletionGuard, reconcile::Sets},
    identity::KeyPair,
    lattice::{
        Lattice, NodeDocument,
        directory::{CaseSensitivity, DirectoryLattice, DirectoryOptions, OpenError},
    },
    types::{Clock, ContentHash, Limits, NodeId, PeerId, SharedClock, TestClock, Timestamp},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// Before any machine's clock: no file looks young, and what only the machine dates (ctime, directories) is later than every clock here.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_600_000_000);
/// As long as the journal's own: a hard link to one file of it keeps every open from writing 4 MiB of its own.
const RESERVE_BYTES: usize = 4 << 20;

/// What is in a data directory: texts and mtimes.
pub(crate) type Files = BTreeMap<String, (Vec<u8>, SystemTime)>;

pub(crate) struct Site {
    pub(crate) node_id: PeerId,
    pub(crate) key: KeyPair,
    pub(crate) clock: Arc<TestClock>,
    /// It cannot reconcile.
    pub(crate) is_old: bool,
    folder: PathBuf,
    reserve: PathBuf,
    open: Mutex<Open>,
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// So few nodes are enough to reconcile: there are no more.
const LEAST_NODES: u64 = 2;

struct Open {
    lattice: Option<Arc<DirectoryLattice>>,
    /// Of one process: gone with it.
    sets: Arc<Sets>,
    deletions: Arc<DeletionGuard>,
    /// Of the journal's file: a copy gets a name of its own.
    number: u32,
    copies: u32,
}

fn sets(clock: &Arc<TestClock>) -> Arc<Sets> {
    let clock: SharedClock = clock.clone();
    Arc::new(Sets::new(clock, LEAST_NODES))
}

pub(crate) fn reserve(folder: &Path) -> PathBuf {
    let path = folder.join("reserve");
    File::create(&path).unwrap().write_all(&vec![7; RESERVE_BYTES]).unwrap();
    path
}

impl Site {
    pub(crate) async fn start(number: usize, folder: &Path, reserve: &Path) -> Self {
        let folder = folder.join(format!("s{number}"));
        fs::create_dir_all(folder.join("data")).unwrap();
        fs::create_dir_all(folder.join("state")).unwrap();
        let seed = [u8::try_from(number + 1).unwrap(); 32];
        let clock = TestClock::at(START);
        let site = Self {
            node_id: PeerId::parse(&format!("s{number}")).unwrap(),
            key: KeyPair::from_base64(&SecretString::from(STANDARD.encode(seed))).unwrap(),
            is_old: number % 5 == 4,
            folder,
            reserve: reserve.to_owned(),
            open: Mutex::new(Open {
                lattice: None,
                sets: sets(&clock),
                deletions: Arc::default(),
                number: 0,
                copies: 0,
            }),
            clock,
        };
        site.reopen().await;
        site
    }

    fn state(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lattice(&self) -> Arc<dyn Lattice> {
        self.state().lattice.clone().unwrap()
    }

    pub(crate) fn sets(&self) -> Arc<Sets> {
        Arc::clone(&self.state().sets)
    }

    pub(crate) fn deletions(&self) -> Arc<DeletionGuard> {
        Arc::clone(&self.state().deletions)
    }

    /// The admin confirms every deletion that waits. Answers how many nodes were deleted.
    pub(crate) async fn confirm_deletions(&self) -> u64 {
        let (lattice, guard) = (self.lattice(), self.deletions());
        let mut deleted = 0;
        for sender in lattice.waiting_senders().unwrap() {
            let carried_out = lattice.confirm_waiting(&sender.from).await.unwrap();
            guard.confirm(&sender.from, true, usize::try_from(carried_out).unwrap(), self.clock.elapsed());
            deleted += carried_out;
        }
        deleted
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn journal(&self) -> PathBuf {
        self.folder.join(format!("state/j{}.redb", self.state().number))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Without a word of farewell: nothing is flushed that was not durable.
    pub(crate) fn down(&self) {
        let lattice = {
            let mut state = self.state();
            (state.sets, state.deletions) = (sets(&self.clock), Arc::default());
            state.lattice.take()
        };
        drop(lattice);
    }

    pub(crate) async fn close(&self) {
        let lattice = self.lattice();
        lattice.close().await;
        drop(lattice);
        self.down();
    }

    /// Opens what is there, and comes back when the index is built and what is due at the start is done.
    pub(crate) async fn reopen(&self) {
        let lattice = self.open().unwrap();
        self.state().lattice = Some(lattice);
        self.settle().await;
    }

    fn open(&self) -> Result<Arc<DirectoryLattice>, OpenError> {
        let (journal, clock): (_, SharedClock) = (self.journal(), self.clock.clone());
        let _there_already = fs::hard_link(&self.reserve, journal.with_extension("reserve"));
        let options = DirectoryOptions {
            directory: self.data(),
            journal,
            limits: Limits::default(),
            clock,
            // What is done by hand is seen where the plan says so, and not where a run takes longer.
            gather_interval: YEAR,
            vanish_grace: Duration::ZERO,
            rescan_interval: YEAR,
            case: CaseSensitivity::Sensitive,
            manifest: None,
        };
        DirectoryLattice::open(options)
    }

    /// Does it refuse to start?
    pub(crate) fn refuses(&self) -> bool {
        self.open().is_err()
    }

    /// Everything that is in the directory is known afterwards, and the thread has done what else was due.
    pub(crate) async fn settle(&self) {
        let lattice = self.lattice();
        lattice.rescan().await.unwrap();
        lattice.rescan().await.unwrap();
    }

    /// A copy of the journal as it stands on the disk.
    pub(crate) fn copy_journal(&self) -> PathBuf {
        let from = self.journal();
        let mut state = self.state();
        state.copies += 1;
        let copy = self.folder.join(format!("state/copy{}", state.copies));
        drop(state);
        fs::copy(from, &copy).unwrap();
        copy
    }

    /// A copy of the journal as it stood on the disk before its last commit: that of a process that was killed when its files were
    /// in place. The database keeps the commit before the last one, for the case that the last one is not whole on the disk; here it
    /// is not. `None` where it cannot go back.
    pub(crate) fn copy_journal_before_last_commit(&self) -> Option<PathBuf> {
        // redb's file format: a byte of flags, and two slots of 128 bytes that end with their checksums.
        const FLAGS: usize = 9;
        const SECOND: u8 = 1;
        const TWO_PHASES: u8 = 4;
        let copy = self.copy_journal();
        let mut bytes = fs::read(&copy).unwrap();
        if bytes[FLAGS] & TWO_PHASES != 0 {
            return None;
        }
        let slot = if bytes[FLAGS] & SECOND == 0 { 64 } else { 64 + 128 };
        bytes[slot + 127] ^= 0xFF;
        File::create(&copy).unwrap().write_all(&bytes).unwrap();
        // After some commits the file is made shorter, and what the one before them needs is gone.
        redb::Database::open(&copy).is_ok().then_some(copy)
    }

    /// The next open finds this journal; `None`: no journal.
    pub(crate) fn use_journal(&self, copy: Option<&Path>) {
        let old = self.journal();
        self.state().number += 1;
        if let Some(copy) = copy {
            fs::copy(copy, self.journal()).unwrap();
        }
        fs::remove_file(&old).unwrap();
        fs::remove_file(old.with_extension("reserve")).unwrap();
    }

    pub(crate) fn files(&self) -> Files {
        let entries = fs::read_dir(self.data()).unwrap().map(|entry| entry.unwrap());
        let visible = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
        let visible = visible.filter(|(name, _)| !name.starts_with('.'));
        let read = |path: PathBuf| (fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap());
        visible.map(|(name, path)| (name, read(path))).collect()
    }

    /// The directory's files are these now; with their mtimes, those that are so already are not touched. A copy that keeps the mtimes
    /// of files keeps that of the directory as well.
    pub(crate) fn restore(&self, files: &Files, with_times: bool) {
        let there = self.files();
        for name in there.keys().filter(|name| !files.contains_key(*name)) {
            fs::remove_file(self.data().join(name)).unwrap();
        }
        for (name, file) in files.iter().filter(|(name, file)| !with_times || there.get(*name) != Some(file)) {
            let at = if with_times { file.1 } else { self.now().to_system_time().unwrap() };
            self.write_file(name, &file.0, at);
        }
        if with_times {
            let long_ago = SystemTime::now() - Duration::from_secs(60 * 60);
            File::open(self.data()).unwrap().set_modified(long_ago).unwrap();
        }
    }

    /// All files are removed, and these are put there with their mtimes, one by one: the directory itself is not older.
    pub(crate) fn restore_files(&self, files: &Files) {
        for name in self.files().keys() {
            fs::remove_file(self.data().join(name)).unwrap();
        }
        for (name, (bytes, at)) in files {
            self.write_file(name, bytes, *at);
        }
    }

    /// As an editor that renames: an edit that is seen whatever its length.
    fn write_file(&self, name: &str, bytes: &[u8], at: SystemTime) {
        let temp = self.data().join(format!(".{name}.swp"));
        let mut file = File::create(&temp).unwrap();
        file.write_all(bytes).unwrap();
        file.set_modified(at).unwrap();
        fs::rename(temp, self.data().join(name)).unwrap();
    }

    fn path(&self, id: &NodeId) -> PathBuf {
        self.data().join(format!("{id}.json"))
    }

    /// Somebody writes the node's file now, by the clock of this instance.
    pub(crate) fn write(&self, id: &NodeId, text: &[u8]) {
        self.write_at(id, text, self.now());
    }

    pub(crate) fn write_at(&self, id: &NodeId, text: &[u8], at: Timestamp) {
        self.write_file(&format!("{id}.json"), text, at.to_system_time().unwrap());
    }

    /// The machine dated the file that the service just wrote: this instance has a clock of its own.
    pub(crate) fn date(&self, id: &NodeId) {
        File::open(self.path(id)).unwrap().set_modified(self.now().to_system_time().unwrap()).unwrap();
    }

    pub(crate) fn remove(&self, id: &NodeId) {
        fs::remove_file(self.path(id)).unwrap();
    }

    fn misnamed(&self, id: &NodeId) -> PathBuf {
        self.data().join(format!("x-{id}.json"))
    }

    /// The file gets a name that does not fit its id.
    pub(crate) fn misname(&self, id: &NodeId) {
        fs::rename(self.path(id), self.misnamed(id)).unwrap();
    }

    /// The misnamed file gets its name back, unless the node has a file again.
    pub(crate) fn name_again(&self, id: &NodeId) {
        if self.has_file(id) {
            fs::remove_file(self.misnamed(id)).unwrap();
        } else {
            fs::rename(self.misnamed(id), self.path(id)).unwrap();
        }
    }

    pub(crate) fn is_misnamed(&self, id: &NodeId) -> bool {
        self.misnamed(id).exists()
    }

    /// Another directory, an empty one, stands in the place of the data directory.
    pub(crate) fn unmount(&self) {
        fs::rename(self.data(), self.folder.join("away")).unwrap();
        fs::create_dir(self.data()).unwrap();
    }

    /// What was written into the other directory; the right one is back.
    pub(crate) fn mount(&self) -> Vec<String> {
        let entries = fs::read_dir(self.data()).unwrap();
        let found = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        fs::remove_dir_all(self.data()).unwrap();
        fs::rename(self.folder.join("away"), self.data()).unwrap();
        found
    }

    /// What the file says, found without the index. `None`: there is no such file, or it is no node.
    pub(crate) fn held(&self, id: &NodeId) -> Content {
        content_of(fs::read(self.path(id)).ok()?)
    }

    /// The same, and of a file that is broken its last good version.
    pub(crate) fn current(&self, id: &NodeId) -> Content {
        let lattice = self.lattice();
        self.held(id).or_else(|| {
            lattice.entry(id).unwrap().filter(|_| lattice.is_unavailable(id)).map(|entry| entry.content_hash)
        })
    }

    pub(crate) fn has_file(&self, id: &NodeId) -> bool {
        self.path(id).exists()
    }
}

pub(crate) fn content_of(text: Vec<u8>) -> Option<ContentHash> {
    NodeDocument::parse(Bytes::from(text), 64).ok().map(|node| node.content_hash())
}
