//! The lattice in a directory of files: the adapter of the port.

pub use super::{
    adopt::{Adopted, JournalStanding, adopt, are_copies, check_marker, journal_standing},
    file_name::CaseSensitivity,
    manifest_file::ManifestHeader,
    marker::is_served,
    watch::GATHER_INTERVAL,
};

use super::{
    Ancestry, Applied, Arrival, Change, Conflict, DeletionBudget, Dismissed, Entry, Epochs, Lattice, LatticeError,
    LatticeStatus, NodeDocument, NodeFilter, NodePage, Precondition, Restored, StoredNode, Tombstone, WaitingDeletion,
    WaitingSender, Written, adopt, atomic_file,
    clock_agreement::ClockAgreement,
    dating::AtStart,
    index::{Index, Snapshot},
    journal::{Journal, JournalError},
    packs::{self, Packs},
    read::{read_node, read_nodes},
    recent::Recent,
    restore::Restore,
    store::{Report, Shared, Store},
    watch::Pending,
    write_batch::{Outcome, WriteOp, WriteRequest},
    writer::{Request, Work, Writer},
};
use crate::types::{Limits, NodeId, SharedClock, Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Editors move a file aside, or remove it, before they write it anew.
pub const VANISH_GRACE: Duration = Duration::from_secs(2);
/// How often a write of another instance's version is tried again while a file is away that may come back.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// Requests that wait for the writer thread; callers beyond that wait for room.
const QUEUE: usize = 1024;

/// What [`DirectoryLattice::open`] needs.
#[derive(Debug, Clone)]
pub struct DirectoryOptions {
    /// The data directory. It must exist.
    pub directory: PathBuf,
    /// The journal's file, such as `ark_state/lattice.redb`. Made when it is missing, with its directory (mode 0700).
    pub journal: PathBuf,
    /// Bounds on nodes: `node_bytes` and `json_depth` count here.
    pub limits: Limits,
    /// Where times come from: of deletions, of first sight, and of the intervals.
    pub clock: SharedClock,
    /// How long the kernel's events are gathered before what they name is looked at; usually [`GATHER_INTERVAL`].
    pub gather_interval: Duration,
    /// How long a file may be away before its node counts as deleted; usually [`VANISH_GRACE`].
    pub vanish_grace: Duration,
    /// How often every file is looked at, as the net under the events.
    pub rescan_interval: Duration,
    /// Whether two names that differ by case are two files.
    pub case: CaseSensitivity,
    /// What `manifest.json` says; `None`: it is not written.
    pub manifest: Option<ManifestHeader>,
}

/// Why the lattice cannot be opened. One line each, for people.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory does not exist.
    #[error(
        "the data directory {0} does not exist; create it with: ark-lattice init; or set LATTICE_PATH to the right one"
    )]
    Missing(PathBuf),
    /// It is something else.
    #[error("the data directory {0} is not a directory")]
    NotADirectory(PathBuf),
    /// It cannot be listed.
    #[error("the data directory {0} cannot be read: {1}")]
    NotReadable(PathBuf, io::Error),
    /// A file cannot be made in it.
    #[error("the data directory {0} cannot be written: {1}")]
    NotWritable(PathBuf, io::Error),
    /// Another process has the journal open.
    #[error(
        "the journal {0} is in use by another process: stop that service first; only one may serve a data directory"
    )]
    JournalInUse(PathBuf),
    /// Another process serves the directory, with another journal.
    #[error("the data directory {0} is served by another process: stop that service first; only one may serve it")]
    DirectoryInUse(PathBuf),
    /// The directory has no marker, and the journal knows nodes: perhaps its disk is not mounted. All nodes would count as deleted.
    #[error(
        "the data directory {directory} has no marker .ark-lattice, and the journal {journal} knows nodes: is the disk mounted? If this is \
         the right directory (copied or restored without its hidden files, or from another release), run: ark-lattice adopt"
    )]
    NoMarker {
        /// The data directory.
        directory: PathBuf,
        /// The journal.
        journal: PathBuf,
    },
    /// The directory holds another lattice than the journal.
    #[error(
        "the data directory {directory} holds another lattice than the journal {journal} was kept for: check LATTICE_PATH and ARK_STATE_PATH. \
         If the two belong together from now on, run: ark-lattice adopt"
    )]
    OtherLattice {
        /// The data directory.
        directory: PathBuf,
        /// The journal.
        journal: PathBuf,
    },
    /// The marker is not one.
    #[error("the marker {0} cannot be used: {1}; move it away and run: ark-lattice adopt")]
    BadMarker(PathBuf, &'static str),
    /// The journal cannot be trusted.
    #[error(
        "the journal {0} cannot be used: {1}; to build a new one, without the deletions, conflicts and history in it: mv {0} {0}.old"
    )]
    JournalDamaged(PathBuf, String),
    /// The journal cannot be opened.
    #[error(
        "the journal {0} cannot be opened: {1}; give this user the right to read and write it, or set ARK_STATE_PATH to the right directory"
    )]
    Journal(PathBuf, io::Error),
    /// The writer thread cannot be started.
    #[error("the writer thread cannot be started: {0}")]
    Thread(io::Error),
}

/// A directory of `{id}.json` files as a lattice. One process at a time: the journal's file is locked.
#[derive(Debug)]
pub struct DirectoryLattice {
    shared: Arc<Shared>,
    pending: Arc<Pending>,
    vanish_grace: Duration,
    // None: dropped or closed.
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    /// The writer thread has ended. A request that it left in its queue has nobody to answer it, nor to drop it.
    ended: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl DirectoryLattice {
    /// Checks the directory, opens the journal and starts the writer thread, which then builds the index:
    /// [`LatticeStatus::ready`] tells when that is done. What changed while nobody looked is found by that.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(options: DirectoryOptions) -> Result<Arc<Self>, OpenError> {
        let given = options.directory;
        let metadata = std::fs::metadata(&given).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OpenError::Missing(given.clone()),
            _ => OpenError::NotReadable(given.clone(), error),
        })?;
        if !metadata.is_dir() {
            return Err(OpenError::NotADirectory(given));
        }
        // The process may change its working directory later.
        let given = std::path::absolute(&given).map_err(|error| OpenError::NotReadable(given, error))?;
        let directory = given.canonicalize().map_err(|error| OpenError::NotReadable(given.clone(), error))?;
        let journal_error = |error| open_error(options.journal.clone(), error);
        let (journal, head) = Journal::open(&options.journal).map_err(journal_error)?;
        // With the journal's lock held: no living process of ours owns what lies around here.
        // What was left over in it goes while the journal is read; whether it can be listed is said at once.
        std::fs::read_dir(&directory).map_err(|error| OpenError::NotReadable(directory.clone(), error))?;
        let unfinished = journal.unfinished_start().map_err(|error| open_error(options.journal.clone(), error))?;
        let mut at_start = AtStart::begun(&metadata, unfinished.as_deref());
        // Before anything is touched. On a full disk it is tried again with the first change.
        if head.seq > 0
            && let Err(error) = at_start.note(&journal)
        {
            tracing::debug!(%error, "that a start begins cannot be noted yet");
        }
        let case = atomic_file::probe(&directory, options.case)
            .map_err(|error| OpenError::NotWritable(directory.clone(), error))?;
        let marker = adopt::bind(&directory, (&options.journal, &journal), &head.binding)?;
        if journal.is_adopting().map_err(|error| open_error(options.journal.clone(), error))? {
            at_start.adopt();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(OpenError::Thread)?;

        let shared = Arc::new(Shared {
            directory,
            given,
            marker,
            limits: options.limits,
            clock: options.clock,
            packs: Packs::beside(&options.journal, &head.index_id),
            recent: Recent::default(),
            journal,
            index_id: head.index_id,
            index: RwLock::new(Index::default()),
            unavailable: RwLock::default(),
            report: Mutex::new(Report::default()),
            ready: AtomicBool::new(false),
            seq: AtomicU64::new(head.seq),
            moved: watch::Sender::new(head.seq),
            clock_agreement: ClockAgreement::default(),
        });
        let pending = Arc::new(Pending::new(options.gather_interval));
        let (sender, requests) = mpsc::channel(QUEUE);
        let mut store = Store::new(Arc::clone(&shared), case, Some(at_start));
        store.vanish_grace = options.vanish_grace;
        let writer = Writer::new(Work {
            store,
            requests,
            pending: Arc::clone(&pending),
            rescan_interval: options.rescan_interval,
            manifest: options.manifest,
        });
        let watched = Arc::clone(&shared);
        let ended = CancellationToken::new();
        let end = ended.clone();
        let thread = thread::Builder::new()
            .name("lattice-writer".to_owned())
            .spawn(move || {
                // Readers go on: without this, nobody would see that nothing is written and no edit noticed any more.
                if catch_unwind(AssertUnwindSafe(|| writer.run(&runtime))).is_err() {
                    let line = "the writer thread failed: nothing is written any more; restart the service";
                    tracing::error!("{line}");
                    watched.report().write_fault = Some(line.to_owned());
                }
                end.cancel();
            })
            .map_err(OpenError::Thread)?;
        Ok(Arc::new(Self {
            shared,
            pending,
            vanish_grace: options.vanish_grace,
            requests: Mutex::new(Some(sender)),
            ended,
            thread: Mutex::new(Some(thread)),
        }))
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (Arc<Shared>, Arc<Pending>) {
        (Arc::clone(&self.shared), Arc::clone(&self.pending))
    }

    fn index<T>(&self, look: impl FnOnce(&Index) -> T) -> Result<T, LatticeError> {
        if !self.shared.ready.load(Ordering::Acquire) {
            return Err(LatticeError::Loading);
        }
        Ok(look(&self.shared.index()))
    }

    async fn send(&self, request: Request) -> Result<(), LatticeError> {
        let sender = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sender.ok_or_else(closed)?.send(request).await.map_err(|_| closed())
    }

    async fn write(&self, ops: Vec<WriteOp>) -> Result<Vec<Outcome>, LatticeError> {
        self.index(|_| ())?;
        let (reply, answer) = oneshot::channel();
        self.send(Request::Write(WriteRequest { ops, reply })).await?;
        self.answered(answer).await?
    }

    /// Waits for files that are away and may come back, no longer than the grace.
    async fn apply_all(
        &self,
        arrivals: Vec<Arrival>,
        budget: Option<&Arc<DeletionBudget>>,
    ) -> Result<Vec<Applied>, LatticeError> {
        let mut left = self.vanish_grace.saturating_add(TRY_AGAIN);
        loop {
            let ops = arrivals.iter().map(|arrival| WriteOp::Apply(arrival.clone(), budget.cloned())).collect();
            match self.apply_ops(ops).await {
                Err(LatticeError::Unavailable(_)) if !left.is_zero() => {
                    tokio::time::sleep(TRY_AGAIN).await;
                    left = left.saturating_sub(TRY_AGAIN);
                }
                applied => return applied,
            }
        }
    }

    pub(super) async fn apply_ops(&self, ops: Vec<WriteOp>) -> Result<Vec<Applied>, LatticeError> {
        let applied = |outcome| match outcome {
            Outcome::Applied(applied) => Some(applied),
            _ => None,
        };
        Ok(self.write(ops).await?.into_iter().filter_map(applied).collect())
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// What the writer thread answers, as long as there is one.
    async fn answered<T: Send>(&self, answer: oneshot::Receiver<T>) -> Result<T, LatticeError> {
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| closed()),
            () = self.ended.cancelled() => Err(closed()),
        }
    }

    /// Reads files where that keeps no client waiting.
    async fn read_files<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Arc<Shared>, &Arc<Pending>) -> Result<T, LatticeError> + Send + 'static,
    ) -> Result<T, LatticeError> {
        self.index(|_| ())?;
        let (shared, pending) = (Arc::clone(&self.shared), Arc::clone(&self.pending));
        let read = tokio::task::spawn_blocking(move || read(&shared, &pending));
        read.await.map_err(|error| LatticeError::Io(error.to_string()))?
    }
}

impl Drop for DirectoryLattice {
    fn drop(&mut self) {
        // Before the journal is free for others.
        self.shared.packs.close();
        // Without a sender the thread ends after what was asked before. Joined, so that the journal's file is free afterwards.
        self.requests.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

fn closed() -> LatticeError {
    LatticeError::Io("the lattice is closed".to_owned())
}

pub(super) fn open_error(path: PathBuf, error: JournalError) -> OpenError {
    match error {
        JournalError::InUse => OpenError::JournalInUse(path),
        JournalError::Io(error) => OpenError::Journal(path, error),
        other @ (JournalError::Damaged(_) | JournalError::Schema(_)) => {
            OpenError::JournalDamaged(path, other.to_string())
        }
    }
}

#[async_trait]
impl Lattice for DirectoryLattice {
    fn status(&self) -> LatticeStatus {
        self.shared.status()
    }

    fn positions(&self) -> watch::Receiver<u64> {
        self.shared.moved.subscribe()
    }

    fn epochs(&self) -> Epochs {
        self.shared.journal.epochs()
    }

    fn begin_epoch(&self) {
        self.shared.journal.begin_epoch();
    }

    fn note_clock_agrees(&self) {
        self.shared.clock_agreement.note(&self.shared.clock);
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, LatticeError> {
        self.index(Index::snapshot)
    }

    fn entry(&self, id: &NodeId) -> Result<Option<Arc<Entry>>, LatticeError> {
        self.index(|index| index.get(id.as_str()).cloned())
    }

    fn entries(&self, ids: &[&NodeId]) -> Result<Vec<Option<Arc<Entry>>>, LatticeError> {
        self.index(|index| index.get_each(ids.iter().map(|id| id.as_str())))
    }

    fn page(&self, after: Option<&NodeId>, filter: &NodeFilter, limit: usize) -> Result<NodePage, LatticeError> {
        self.index(|index| index.page(after, filter, limit))
    }

    fn unavailable(&self) -> Vec<NodeId> {
        self.shared.unavailable().iter().cloned().collect()
    }

    fn is_unavailable(&self, id: &NodeId) -> bool {
        self.shared.unavailable().contains(id)
    }

    async fn read(&self, id: &NodeId) -> Result<Option<StoredNode>, LatticeError> {
        let id = id.clone();
        self.read_files(move |shared, pending| read_node(shared, pending, &id)).await
    }

    async fn read_many(&self, entries: Vec<Arc<Entry>>) -> Result<Vec<StoredNode>, LatticeError> {
        if let Some(nodes) = self.shared.recent(&entries) {
            return Ok(nodes);
        }
        self.read_files(move |shared, pending| {
            let (nodes, missed) = read_nodes(shared, pending, entries)?;
            if missed > 0 {
                packs::missed(shared, pending, missed);
            }
            Ok(nodes)
        })
        .await
    }

    async fn put(&self, node: NodeDocument, precondition: Precondition) -> Result<Written, LatticeError> {
        let mut outcomes = self.write(vec![WriteOp::Put { node, precondition }]).await?;
        match outcomes.pop() {
            Some(Outcome::Written(written)) => Ok(written),
            _ => Err(LatticeError::Io("the write has no outcome".to_owned())),
        }
    }

    async fn put_many(&self, nodes: Vec<NodeDocument>) -> Result<Vec<Written>, LatticeError> {
        let put = |node| WriteOp::Put { node, precondition: Precondition::None };
        let outcomes = self.write(nodes.into_iter().map(put).collect()).await?;
        let written = |outcome| match outcome {
            Outcome::Written(written) => Some(written),
            _ => None,
        };
        Ok(outcomes.into_iter().filter_map(written).collect())
    }

    fn check_directory(&self) -> Result<(), LatticeError> {
        self.shared.check_directory().map_err(|error| LatticeError::Io(error.to_string()))
    }

    async fn accept(&self, ids: Vec<NodeId>) -> Result<Vec<NodeId>, LatticeError> {
        let outcomes = self.write(ids.iter().cloned().map(WriteOp::Accept).collect()).await?;
        let is_here = |(_, outcome): &(NodeId, Outcome)| !matches!(outcome, Outcome::NotHere);
        Ok(ids.into_iter().zip(outcomes).filter(is_here).map(|(id, _)| id).collect())
    }

    async fn delete(&self, id: &NodeId, precondition: Precondition) -> Result<Option<Tombstone>, LatticeError> {
        let mut outcomes = self.write(vec![WriteOp::Delete { id: id.clone(), precondition }]).await?;
        match outcomes.pop() {
            Some(Outcome::Deleted(tombstone)) => Ok(tombstone),
            _ => Err(LatticeError::Io("the delete has no outcome".to_owned())),
        }
    }

    fn tombstone(&self, id: &NodeId) -> Result<Option<Tombstone>, LatticeError> {
        Ok(self.shared.journal.tombstone(id)?)
    }

    fn stays_deleted(&self, id: &NodeId, at: Timestamp) -> Result<bool, LatticeError> {
        let is_forgotten = self.shared.journal.forgotten_deletion(id)?.is_some_and(|deleted_at| deleted_at > at);
        Ok(is_forgotten && self.current_version(id)?.is_none())
    }

    fn not_deleted<'a>(&self, ids: Vec<&'a NodeId>) -> Result<Vec<&'a NodeId>, LatticeError> {
        Ok(self.shared.journal.not_deleted(ids)?)
    }

    fn changes(&self, since: u64, limit: usize) -> Result<Vec<Change>, LatticeError> {
        self.index(|_| ())?;
        let known = |rows: &[(u64, String)]| self.shared.index().get_each(rows.iter().map(|(_, id)| &**id));
        Ok(self.shared.journal.changes(since, limit, known)?)
    }

    fn change_count(&self) -> Result<u64, LatticeError> {
        self.index(|_| ())?;
        Ok(self.shared.journal.change_count()?)
    }

    fn ancestry(&self, id: &NodeId) -> Result<Ancestry, LatticeError> {
        Ok(self.shared.journal.lineage(id)?.ancestry)
    }

    fn givers(&self, ids: &[&NodeId]) -> Result<Vec<Option<Box<str>>>, LatticeError> {
        Ok(self.shared.journal.givers(ids)?)
    }

    fn floor(&self) -> Result<u64, LatticeError> {
        Ok(self.shared.journal.floor()?)
    }

    async fn apply(&self, arrivals: Vec<Arrival>) -> Result<Vec<Applied>, LatticeError> {
        self.apply_all(arrivals, None).await
    }

    async fn apply_within(
        &self,
        arrivals: Vec<Arrival>,
        budget: &Arc<DeletionBudget>,
    ) -> Result<Vec<Applied>, LatticeError> {
        self.apply_all(arrivals, Some(budget)).await
    }

    fn waiting(
        &self,
        from: Option<&str>,
        after: Option<(&NodeId, &str)>,
        limit: usize,
    ) -> Result<Vec<WaitingDeletion>, LatticeError> {
        let after = after.map(|(id, from)| (id.as_str(), from));
        Ok(self.shared.journal.waiting(from, after, limit)?.into_iter().map(|it| it.deletion).collect())
    }

    fn waiting_senders(&self) -> Result<Vec<WaitingSender>, LatticeError> {
        Ok(self.shared.journal.waiting_senders()?)
    }

    fn waiting_of(&self, from: &str) -> Result<u64, LatticeError> {
        Ok(self.shared.journal.waiting_of(from)?)
    }

    async fn confirm_waiting(&self, from: &str) -> Result<u64, LatticeError> {
        self.settle_waiting(from, false).await
    }

    async fn refuse_waiting(&self, from: &str) -> Result<u64, LatticeError> {
        self.settle_waiting(from, true).await
    }

    async fn end_waiting(&self, from: &str, ids: &[NodeId]) -> Result<u64, LatticeError> {
        self.withdraw(from, ids).await
    }

    fn conflicts(&self, after: u64, limit: usize) -> Result<Vec<Conflict>, LatticeError> {
        Ok(self.shared.journal.conflicts(after, limit)?)
    }

    fn overruled(&self, after: u64, limit: usize) -> Result<Vec<Conflict>, LatticeError> {
        Ok(self.shared.journal.overruled(after, limit)?)
    }

    fn overruled_count(&self) -> Result<u64, LatticeError> {
        Ok(self.shared.journal.overruled_count()?)
    }

    fn last_conflict(&self) -> Result<u64, LatticeError> {
        Ok(self.shared.journal.last_conflict()?)
    }

    fn conflict(&self, number: u64) -> Result<Option<(Conflict, Bytes)>, LatticeError> {
        Ok(self.shared.journal.conflict(number)?)
    }

    async fn dismiss_conflict(&self, number: u64) -> Result<Option<Dismissed>, LatticeError> {
        let shared = Arc::clone(&self.shared);
        let dismiss = move || shared.journal.dismiss(number);
        let dismissed = tokio::task::spawn_blocking(dismiss).await;
        Ok(dismissed.map_err(|error| LatticeError::Io(error.to_string()))??)
    }

    async fn restore(&self, number: u64, by: &str) -> Result<Option<Restored>, LatticeError> {
        let Some((conflict, content)) = self.conflict(number)? else { return Ok(None) };
        let node = NodeDocument::parse(content, self.shared.limits.json_depth);
        let node = node.map_err(|error| LatticeError::Io(format!("conflict {}: {error}", conflict.number)))?;
        let mut outcomes = self.write(vec![WriteOp::Restore(Restore { number, node, by: by.into() })]).await?;
        match outcomes.pop() {
            Some(Outcome::Restored(restored)) => Ok(restored),
            _ => Err(LatticeError::Io("the write has no outcome".to_owned())),
        }
    }

    fn conflict_count(&self) -> Result<u64, LatticeError> {
        Ok(self.shared.journal.conflict_count()?)
    }

    async fn rescan(&self) -> Result<(), LatticeError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Rescan(reply)).await?;
        self.answered(answer).await?
    }

    async fn catch_up(&self) {
        let (reply, answer) = oneshot::channel();
        if self.send(Request::CatchUp(reply)).await.is_ok() {
            // Not answered by a thread that ends: every other call says so.
            let _ = answer.await;
        }
    }

    async fn close(&self) {
        let shared = Arc::clone(&self.shared);
        let _ = tokio::task::spawn_blocking(move || shared.packs.close()).await;
        let (reply, answer) = oneshot::channel();
        if self.send(Request::Close(reply)).await.is_ok() {
            // Also answered, by an error, when the thread ended for another reason.
            let _ = self.answered(answer).await;
        }
        drop(self.requests.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}
