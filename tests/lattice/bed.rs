//! A data directory with its state beside it, and what must always hold of the two.

use ark_lattice::{
    lattice::{
        Ancestry, Arrival, Arrived, Change, Lattice, NodeDocument, Precondition, Written,
        directory::{CaseSensitivity, DirectoryLattice, DirectoryOptions, GATHER_INTERVAL, OpenError},
        index::Snapshot,
    },
    types::{Limits, NodeId, SetHash, SharedClock, SystemClock, TestClock, Timestamp},
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tempfile::TempDir;

/// Long enough for the slowest machine; a test that needs it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// What DESIGN 4.8 promises for edits by other programs.
pub(crate) const SEEN_WITHIN: Duration = Duration::from_secs(1);

pub(crate) struct Bed {
    root: TempDir,
    pub(crate) clock: SharedClock,
    pub(crate) case: CaseSensitivity,
    pub(crate) limits: Limits,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("data")).unwrap();
        Self { root, clock: SystemClock::shared(), case: CaseSensitivity::Probe, limits: Limits::default() }
    }

    /// With a clock that stands at `at`.
    pub(crate) fn at(at: Timestamp) -> (Self, Arc<TestClock>) {
        let clock = TestClock::at(at);
        let shared: SharedClock = Arc::<TestClock>::clone(&clock);
        (Self { clock: shared, ..Self::new() }, clock)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.path("data").join(name)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path("state/lattice.redb")
    }

    pub(crate) fn options(&self) -> DirectoryOptions {
        DirectoryOptions {
            directory: self.path("data"),
            journal: self.journal(),
            limits: self.limits,
            clock: Arc::clone(&self.clock),
            gather_interval: GATHER_INTERVAL,
            vanish_grace: Duration::from_millis(300),
            // Events alone must do; a scan is asked for where a test means one.
            rescan_interval: Duration::from_secs(3600),
            case: self.case,
            manifest: None,
        }
    }

    pub(crate) fn try_open(&self) -> Result<Arc<DirectoryLattice>, OpenError> {
        DirectoryLattice::open(self.options())
    }

    /// Opens and waits until the index is built.
    pub(crate) async fn open(&self) -> Arc<DirectoryLattice> {
        let lattice = self.try_open().unwrap();
        until("the index is built", DEADLINE, || lattice.status().ready).await;
        lattice
    }

    /// Writes a file as any program would.
    pub(crate) fn write(&self, name: &str, text: &str) {
        File::create(self.data(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("data")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".ark-lattice");
        names.sort();
        names
    }

    /// Dates every file back, so that no time stamp is too young to trust.
    pub(crate) fn age_files(&self) {
        let past = SystemTime::now() - Duration::from_secs(60);
        for name in self.names() {
            let file = File::options().write(true).open(self.data(&name)).unwrap();
            file.set_times(fs::FileTimes::new().set_modified(past)).unwrap();
        }
    }

    /// The set hash of the node files, found without any of the code under test but the gate.
    pub(crate) fn set_hash_of_files(&self) -> SetHash {
        let nodes = self.names().into_iter().filter(|name| name.ends_with(".json") && name != "manifest.json");
        let mut entries = Vec::new();
        for name in nodes {
            let Ok(node) = NodeDocument::parse(Bytes::from(fs::read(self.data(&name)).unwrap()), 64) else { continue };
            entries.push(Arc::new(ark_lattice::lattice::Entry {
                id: node.id().clone(),
                content_hash: node.content_hash(),
                file_hash: [0; 32],
                node_type: None,
                updated_at: node.updated_at().unwrap_or(ark_lattice::types::Timestamp::EPOCH),
                size_bytes: 0,
                seq: 0,
            }));
        }
        Snapshot::of(entries).set_hash()
    }

    /// Directory, index and journal say the same.
    pub(crate) fn check(&self, lattice: &DirectoryLattice) {
        let snapshot = lattice.snapshot().unwrap();
        // Of a broken file the last good version stays in the set.
        let sound = snapshot.iter_after(None).filter(|entry| !lattice.is_unavailable(&entry.id)).cloned();
        assert_eq!(Snapshot::of(sound.collect::<Vec<_>>()).set_hash(), self.set_hash_of_files(), "index and directory");
        let (mut replayed, mut last) = (BTreeMap::new(), 0);
        for change in lattice.changes(0, usize::MAX).unwrap() {
            let seq = match change {
                Change::Put { seq, id, content_hash, .. } => {
                    assert!(replayed.insert(id, content_hash).is_none(), "a node occurs once");
                    seq
                }
                Change::Deleted(tombstone, _) => {
                    assert_eq!(lattice.entry(&tombstone.id).unwrap(), None, "a tombstone is of no live node");
                    tombstone.seq
                }
            };
            assert!(seq > last, "positions ascend");
            last = seq;
        }
        assert!(last <= lattice.status().seq);
        let live: BTreeMap<_, _> =
            snapshot.iter_after(None).map(|entry| (entry.id.clone(), entry.content_hash)).collect();
        assert_eq!(replayed, live, "journal and index");
    }
}

pub(crate) async fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn id(text: &str) -> NodeId {
    NodeId::parse(text).unwrap()
}

pub(crate) fn node(text: &str) -> NodeDocument {
    NodeDocument::parse(Bytes::copy_from_slice(text.as_bytes()), 64).unwrap()
}

/// A version of another instance, made then.
pub(crate) fn arrival(text: &str, at: Timestamp) -> Arrival {
    let change = Arrived::Put { node: node(text), at };
    Arrival { change, ancestry: Ancestry::default(), from: "peer".into(), given: 0 }
}

pub(crate) fn numbered(text: &str, number: usize) -> NodeDocument {
    node(&serde_json::json!({ "id": text, "n": number }).to_string())
}

pub(crate) async fn put(lattice: &DirectoryLattice, node: NodeDocument) -> Written {
    lattice.put(node, Precondition::None).await.unwrap()
}

pub(crate) fn has(lattice: &DirectoryLattice, text: &str) -> bool {
    lattice.entry(&id(text)).unwrap().is_some()
}

/// Small, seeded, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }
}
