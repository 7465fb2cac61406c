//! Which [`Pack`] is read, and when a new one is made: when so many nodes were read one by one that making it would have cost no more.
//! So whoever never reads most of a large lattice never pays for one.

use super::{
    index::Snapshot,
    pack::{self, Pack, is_packed},
    read,
    store::Shared,
    watch::Pending,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

/// A smaller lattice has no pack: reading its files takes a few milliseconds.
pub(super) const LEAST_NODES: usize = 1000;
/// Nodes that are read for a pack at a time; between two it may be given up.
const BATCH: usize = 256;
/// How many times as much as it takes must be free on the disk: it is there for others.
const ROOM: u64 = 4;
/// After failures more must be missed before the next attempt, each time twice as much, up to two to the power of this.
const MOST_DOUBLINGS: u32 = 10;

#[derive(Debug, Default)]
struct State {
    /// What there was when it was first asked for, or was made since.
    pack: Option<Arc<Pack>>,
    is_opened: bool,
    failures: u32,
    maker: Option<JoinHandle<()>>,
    is_closed: bool,
}

/// The pack of a directory.
#[derive(Debug)]
pub(super) struct Packs {
    path: PathBuf,
    index_id: String,
    state: Mutex<State>,
    /// Nodes that were looked for since one was made, and read one by one.
    missed: AtomicU64,
    stop: AtomicBool,
}

impl Packs {
    /// The pack beside the journal at `journal`, whose lock is held: nobody else makes one.
    pub(super) fn beside(journal: &Path, index_id: &str) -> Self {
        let path = journal.with_extension("pack");
        pack::Writer::clear(&path);
        Self {
            path,
            index_id: index_id.to_owned(),
            state: Mutex::new(State::default()),
            missed: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest one.
    pub(super) fn newest(&self) -> Option<Arc<Pack>> {
        let mut state = self.state();
        if !state.is_opened {
            state.is_opened = true;
            state.pack = Pack::open(&self.path, &self.index_id).map(Arc::new);
        }
        state.pack.clone()
    }

    /// Gives up what is being made, and makes none any more.
    pub(super) fn close(&self) {
        self.stop.store(true, Ordering::Release);
        let maker = {
            let mut state = self.state();
            state.is_closed = true;
            state.maker.take()
        };
        // One that panicked has said so.
        let _ = maker.map(JoinHandle::join);
    }
}

/// So many nodes were looked for in the pack, and read one by one: makes a new one once that is worth it.
pub(super) fn missed(shared: &Arc<Shared>, pending: &Arc<Pending>, nodes: usize) {
    let packs = &shared.packs;
    let nodes = u64::try_from(nodes).unwrap_or(u64::MAX);
    let missed = packs.missed.fetch_add(nodes, Ordering::Relaxed).saturating_add(nodes);
    let live = shared.index().len();
    if live < LEAST_NODES {
        return;
    }
    let mut state = packs.state();
    let worth = u64::try_from(live / 2).unwrap_or(u64::MAX) << state.failures.min(MOST_DOUBLINGS);
    if missed < worth || state.is_closed || state.maker.as_ref().is_some_and(|maker| !maker.is_finished()) {
        return;
    }
    packs.missed.store(0, Ordering::Relaxed);
    let (shared, pending) = (Arc::clone(shared), Arc::clone(pending));
    let maker = thread::Builder::new().name("lattice-pack".to_owned()).spawn(move || {
        let made = make(&shared, &pending);
        let mut state = shared.packs.state();
        // Again: those that were read meanwhile would have been found in this one.
        shared.packs.missed.store(0, Ordering::Relaxed);
        match made {
            Ok(Some(pack)) => {
                state.pack = Some(Arc::new(pack));
                (state.is_opened, state.failures) = (true, 0);
            }
            Ok(None) => {}
            Err(error) => {
                if state.failures == 0 {
                    tracing::warn!(%error, "small nodes cannot be copied into one file; they are read one by one");
                }
                state.failures = state.failures.saturating_add(1);
            }
        }
    });
    // Without a thread everything stays as it is.
    state.maker = maker.ok();
}

/// Makes a pack of what the lattice is now. `None`: it was given up.
fn make(shared: &Arc<Shared>, pending: &Pending) -> io::Result<Option<Pack>> {
    let packs = &shared.packs;
    let snapshot = shared.index().snapshot();
    check_room(&packs.path, &snapshot)?;
    let mut writer = pack::Writer::create(&packs.path, &packs.index_id)?;
    let mut after = None;
    loop {
        if packs.stop.load(Ordering::Acquire) {
            return Ok(None);
        }
        let batch: Vec<_> = snapshot.iter_after(after.as_ref()).take(BATCH).cloned().collect();
        let Some(last) = batch.last() else { break };
        after = Some(last.id.clone());
        let batch = batch.into_iter().filter(|entry| is_packed(entry)).collect();
        let (nodes, _) = read::read_nodes(shared, pending, batch).map_err(io::Error::other)?;
        for node in nodes {
            writer.add(node.entry.id.as_str(), &node.entry.file_hash, &node.bytes)?;
        }
    }
    writer.finish(&packs.path).map(Some)
}

fn check_room(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let needed =
        snapshot.iter_after(None).filter(|entry| is_packed(entry)).map(|entry| pack::room_bytes(entry)).sum::<u64>();
    let free = rustix::fs::statvfs(path.parent().unwrap_or(path))?;
    if free.f_bavail.saturating_mul(free.f_frsize) < needed.saturating_mul(ROOM) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Lattice,
            directory::{CaseSensitivity, DirectoryLattice, DirectoryOptions, GATHER_INTERVAL, VANISH_GRACE},
            offline::write_file,
        },
        *,
    };
    use crate::{
        lattice::Entry,
        types::{Limits, SystemClock},
    };
    use std::time::Duration;

    const NODES: usize = 1200;

    fn text(number: usize) -> String {
        format!("{{\"id\":\"{number:04}\",\"n\":{number}}}")
    }

    async fn lattice(folder: &Path) -> Arc<DirectoryLattice> {
        let directory = folder.join("data");
        std::fs::create_dir(&directory).unwrap();
        for number in 0..NODES {
            write_file(&directory.join(format!("{number:04}.json")), text(number).as_bytes()).unwrap();
        }
        let lattice = DirectoryLattice::open(DirectoryOptions {
            directory,
            journal: folder.join("state/a.redb"),
            limits: Limits::default(),
            clock: SystemClock::shared(),
            gather_interval: GATHER_INTERVAL,
            vanish_grace: VANISH_GRACE,
            rescan_interval: Duration::from_secs(3600),
            case: CaseSensitivity::Probe,
            manifest: None,
        });
        let lattice = lattice.unwrap();
        lattice.rescan().await.unwrap();
        lattice
    }

    fn all(shared: &Shared) -> Vec<Arc<Entry>> {
        shared.index().snapshot().iter_after(None).cloned().collect()
    }

    /// Waits for the one that is being made, where there is one.
    fn finish(shared: &Shared) -> bool {
        let maker = shared.packs.state().maker.take();
        maker.map(JoinHandle::join).inspect(|made| assert!(made.is_ok())).is_some()
    }

    #[tokio::test]
    async fn a_full_read_opens_no_file_where_there_is_a_pack() {
        let folder = tempfile::tempdir().unwrap();
        let lattice = lattice(folder.path()).await;
        let (shared, pending) = lattice.parts();
        let read = |wanted| read::read_nodes(&shared, &pending, wanted).unwrap();
        let right = |nodes: &[crate::lattice::StoredNode]| {
            nodes.len() == NODES && nodes.iter().enumerate().all(|(number, node)| node.bytes == text(number))
        };
        let (nodes, not_copied) = read(all(&shared));
        assert!(right(&nodes) && not_copied == NODES);
        missed(&shared, &pending, NODES / 2 - 1);
        assert!(!finish(&shared), "not worth it yet");
        missed(&shared, &pending, 1);
        assert!(finish(&shared));
        let (nodes, not_copied) = read(all(&shared));
        assert!(right(&nodes) && not_copied == 0);

        // Whoever wants few of them, or in another order, reads their files.
        for wanted in [all(&shared).into_iter().step_by(100).collect(), all(&shared).into_iter().rev().collect()] {
            let wanted: Vec<_> = wanted;
            let ids: Vec<_> = wanted.iter().map(|entry| entry.id.clone()).collect();
            let (nodes, not_copied) = read(wanted);
            assert!(nodes.iter().map(|node| &node.entry.id).eq(&ids) && not_copied == 0);
        }

        write_file(&folder.path().join("data/0007.json"), b"{\"id\":\"0007\",\"n\":\"edited\"}").unwrap();
        let before = all(&shared);
        lattice.rescan().await.unwrap();
        let (nodes, not_copied) = read(before);
        assert_eq!((nodes.len(), &*nodes[7].bytes, not_copied), (NODES, &b"{\"id\":\"0007\",\"n\":\"edited\"}"[..], 1));

        shared.report().watch_fault = Some("on purpose".to_owned());
        let (nodes, not_copied) = read(all(&shared));
        assert_eq!((nodes.len(), not_copied), (NODES, NODES), "nobody would say that a file changed");
    }

    #[tokio::test]
    async fn after_a_failure_more_must_be_worth_the_next_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let lattice = lattice(folder.path()).await;
        let (shared, pending) = lattice.parts();
        std::fs::rename(folder.path().join("state"), folder.path().join("away")).unwrap();
        missed(&shared, &pending, NODES);
        assert!(finish(&shared) && shared.packs.newest().is_none());
        std::fs::rename(folder.path().join("away"), folder.path().join("state")).unwrap();
        missed(&shared, &pending, NODES - 1);
        assert!(!finish(&shared));
        missed(&shared, &pending, 1);
        assert!(finish(&shared) && shared.packs.newest().is_some());
        shared.packs.close();
        missed(&shared, &pending, NODES);
        assert!(!finish(&shared), "it is closed");
    }
}
