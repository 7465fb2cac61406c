//! The writer thread: the one that changes files, journal and index, one thing after the other.

use super::{
    LatticeError,
    aging::Aging,
    ahead::Ahead,
    catch_up::{CatchUp, LOOK_EVERY, Stand},
    clock_jump::ClockJump,
    dating::AtStart,
    manifest_file::{FOREIGN, ManifestFile, ManifestHeader, ManifestWritten},
    redate::Redating,
    scan::Scan,
    store::Store,
    turns::Turns,
    watch::{self, Pending},
    write_batch::{self, WriteRequest},
};
use crate::manifest::BUCKETS;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};

/// Writes that are taken from the queue for one run; what they hold in memory, callers hold already.
const RUN: usize = 4096;
/// How often the timers are looked at when nothing else happens.
const TICK: Duration = Duration::from_secs(1);
/// The least time between two writes of the manifest.
const MANIFEST_EVERY: Duration = Duration::from_secs(5);
/// The manifest may take one part in this many of the thread's time.
const MANIFEST_SHARE: u32 = 20;
/// What the manifest may write on average, bytes a second: it is written as a whole, and must not wear the disk out.
const MANIFEST_RATE: u64 = 16 << 10;
/// The most that this lets it be behind.
const MANIFEST_AT_LEAST_EVERY: Duration = Duration::from_secs(60 * 60);
/// Buckets that a thread hashes at a time.
const HASH_TURN: usize = 64;

type Waiter = oneshot::Sender<Result<(), LatticeError>>;

/// What callers ask of the thread.
#[derive(Debug)]
pub(super) enum Request {
    /// Write files.
    Write(WriteRequest),
    /// Look at every file, beginning now.
    Rescan(Waiter),
    /// Answer once what other programs did so far is in the index.
    CatchUp(oneshot::Sender<()>),
    /// Finish what was asked before, then stop.
    Close(oneshot::Sender<()>),
}

/// What the thread is given.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) store: Store,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) pending: Arc<Pending>,
    pub(super) rescan_interval: Duration,
    pub(super) manifest: Option<ManifestHeader>,
}

/// The thread's own. Moments are of the injected clock's `elapsed`.
#[derive(Debug)]
pub(super) struct Writer {
    work: Work,
    inbox: Vec<WriteRequest>,
    /// Callers for whom a scan must begin.
    waiting: Vec<Waiter>,
    catch_up: CatchUp,
    scan: Option<(Scan, Vec<Waiter>)>,
    /// For the first scan.
    ahead: Option<Ahead>,
    watcher: Option<watch::Watcher>,
    clock_jump: ClockJump,
    redating: Redating,
    started: Duration,
    rescan_at: Duration,
    rescan_again: bool,
    aging: Aging,
    manifest_at: Duration,
    manifest_file: ManifestFile,
    /// The set that the manifest shows.
    manifest_version: Option<u64>,
    /// After a failed scan, by the machine's clock: no file system waits for an injected one.
    retry_at: Option<Instant>,
    /// By the machine's clock as well.
    recheck_at: Instant,
    /// When the directory itself is looked at again.
    directory_at: Instant,
    closing: Option<oneshot::Sender<()>>,
    stop: bool,
}

impl Writer {
    pub(super) fn new(work: Work) -> Self {
        let started = work.store.shared.clock.elapsed();
        let clock_jump = ClockJump::new(&work.store.shared.clock);
        Self {
            clock_jump,
            redating: Redating::at_start(),
            work,
            inbox: Vec::new(),
            waiting: Vec::new(),
            catch_up: CatchUp::default(),
            scan: None,
            ahead: None,
            watcher: None,
            started,
            rescan_at: started,
            rescan_again: false,
            aging: Aging::from(started),
            manifest_at: started,
            manifest_file: ManifestFile::default(),
            manifest_version: None,
            retry_at: None,
            recheck_at: Instant::now(),
            directory_at: Instant::now(),
            closing: None,
            stop: false,
        }
    }

    /// Runs until it is told to close or every sender is gone.
    pub(super) fn run(mut self, runtime: &Runtime) {
        // Before the first look at the directory, so that no change falls between the two.
        self.watch();
        let shared = &self.work.store.shared;
        let knows_files = shared.journal.file_count().is_ok_and(|files| files > 0);
        self.ahead = Ahead::begin(shared.directory.clone(), knows_files);
        let loaded = self.work.store.load();
        if let Err(error) = &loaded {
            tracing::error!(%error, "the journal cannot be read");
            // No scan without a journal, and no spinning for one.
            self.rescan_at = Duration::MAX;
            let advice = "stop the service, move the journal's file away and start again to build a new one";
            self.work.store.shared.report().scan_fault = Some(format!("{error}; {advice}"));
        }
        while !self.stop {
            self.receive(runtime);
            self.notice_time();
            if loaded.is_ok() {
                self.look_at_directory();
            }
            self.write();
            // Without its journal the index stays closed: every call answers Loading.
            if loaded.is_err() {
                answer(std::mem::take(&mut self.waiting), Some(&LatticeError::Loading));
                self.catch_up.answer_all();
                // Nobody will look at what events tell of.
                self.watcher = None;
                drop(self.work.pending.take_due());
            }
            if self.stop || loaded.is_err() {
                continue;
            }
            self.examine();
            self.take_finished();
            self.step_scan();
            self.redate();
            let again = std::mem::take(&mut self.work.store.look_again);
            again.iter().for_each(|name| self.work.pending.add(name));
            self.answer_caught_up();
            self.recheck();
            self.prune();
            self.write_manifest(false);
        }
        if loaded.is_ok() {
            if self.is_ready() && self.retry_at.is_none() {
                self.work.store.settle_missing(self.work.pending.take_all());
                self.work.store.replaced.look_now();
                self.take_finished();
                self.work.store.keep_unfinished();
            }
            Aging::note_lived(&self.work.store.shared);
            self.write_manifest(true);
        }
        self.watcher = None;
        // A listing may still be under way: the directory is ours as long as the journal is.
        (self.ahead, self.scan) = (None, None);
        self.work.store.shared.journal.close();
        self.work.store.shared.marker.release();
        if let Some(closing) = self.closing {
            let _ = closing.send(());
        }
    }

    /// Sees once in a while whether the directory is there, also where no event tells.
    fn look_at_directory(&mut self) {
        let shared = &self.work.store.shared;
        if self.directory_at <= Instant::now() {
            self.directory_at = Instant::now() + TICK;
            shared.marker.follow(&shared.given);
            if let Err(error) = shared.check_directory()
                && !shared.marker.is_replaced()
            {
                self.fault(&LatticeError::Io(error.to_string()));
            }
        }
        if self.work.store.shared.marker.is_replaced() {
            self.read_anew();
        }
    }

    /// A directory that was away or replaced may be an older copy: it is read as at a start, and nobody is given anything until that is
    /// done.
    fn read_anew(&mut self) {
        let shared = Arc::clone(&self.work.store.shared);
        let metadata = match std::fs::metadata(&shared.directory) {
            Ok(metadata) => metadata,
            // It is away again.
            Err(error) => return self.fault(&LatticeError::Io(error.to_string())),
        };
        tracing::warn!(
            "the data directory was away or replaced; what is in it now is read as at a start of the service"
        );
        shared.ready.store(false, Ordering::Release);
        shared.marker.accept();
        self.work.store.at_start = Some(AtStart::new(&metadata));
        self.work.store.missing.clear();
        if let Some((_, waiters)) = self.scan.take() {
            self.waiting.extend(waiters);
        }
        (self.ahead, self.watcher, self.retry_at) = (None, None, None);
        drop(self.work.pending.take_all());
        self.rescan_at = self.elapsed();
    }

    /// Before anything is written: after a jump the next write begins a new epoch.
    fn notice_time(&mut self) {
        let shared = &self.work.store.shared;
        shared.journal.live(shared.clock.elapsed().saturating_sub(self.started));
        if let Some(by) = self.clock_jump.look(&shared.clock) {
            shared.journal.begin_epoch();
            self.redating.look_again();
            let by_seconds = by.as_secs();
            tracing::info!(by_seconds, "the wall clock jumped: the next write begins a new epoch of the journal");
        }
    }

    fn elapsed(&self) -> Duration {
        self.work.store.shared.clock.elapsed()
    }

    fn is_ready(&self) -> bool {
        self.work.store.shared.ready.load(Ordering::Acquire)
    }

    fn watch(&mut self) {
        if self.watcher.is_some() {
            return;
        }
        let shared = &self.work.store.shared;
        match watch::watch(&shared.directory, Arc::clone(&self.work.pending)) {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                shared.report().watch_fault = None;
            }
            Err(error) => {
                let line = format!("edits are seen by the full scan only: {error}");
                let before = shared.report().watch_fault.replace(line);
                if before.is_none() {
                    tracing::warn!(%error, "the data directory cannot be watched; edits are seen by the full scan only");
                }
            }
        }
    }

    /// Takes what is queued, bounded. Sleeps while there is nothing to do.
    fn receive(&mut self, runtime: &Runtime) {
        if self.scan.is_none() && !self.scan_is_due() {
            let timeout = match self.retry_at {
                Some(retry_at) => retry_at.saturating_duration_since(Instant::now()),
                None => self.work.pending.due_in().unwrap_or(TICK),
            };
            let timeout = timeout.min(if self.catch_up.is_empty() { TICK } else { LOOK_EVERY });
            let (requests, pending) = (&mut self.work.requests, &self.work.pending);
            let request = runtime.block_on(async {
                tokio::select! {
                    biased;
                    request = requests.recv() => Some(request),
                    () = pending.woken() => None,
                    () = tokio::time::sleep(timeout) => None,
                }
            });
            match request {
                Some(Some(request)) => self.note(request),
                Some(None) => self.stop = true,
                None => {}
            }
        }
        while !self.stop && self.inbox.iter().map(|write| write.ops.len()).sum::<usize>() < RUN {
            match self.work.requests.try_recv() {
                Ok(request) => self.note(request),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => self.stop = true,
            }
        }
    }

    fn note(&mut self, request: Request) {
        match request {
            Request::Write(write) => self.inbox.push(write),
            Request::Rescan(waiter) => self.waiting.push(waiter),
            Request::CatchUp(reply) => {
                // Places in which nothing could be put may be free by now, without a trace on the file.
                let report = self.work.store.shared.report();
                let blocked = report.broken.iter().filter(|(_, broken)| broken.fingerprint.is_none());
                blocked.for_each(|(name, _)| self.work.pending.add(name));
                drop(report);
                if self.watcher.is_none() {
                    // No event tells of what others did: all files are looked at, from now on.
                    self.rescan_at = self.elapsed();
                    self.rescan_again = self.scan.is_some();
                }
                // The directory may be there again; where it is not, the failed scan answers.
                if let Some(retry_at) = &mut self.retry_at {
                    *retry_at = Instant::now();
                }
                self.catch_up.add(reply);
            }
            Request::Close(reply) => {
                self.closing = Some(reply);
                self.stop = true;
            }
        }
    }

    fn write(&mut self) {
        let writes = std::mem::take(&mut self.inbox);
        if !self.is_ready() {
            for write in writes {
                let _ = write.reply.send(Err(LatticeError::Loading));
            }
        } else if !writes.is_empty() {
            self.carry_out(writes);
        }
    }

    /// Edits that were half written when they were replaced, or were written into a file that was replaced, and are whole now.
    fn take_finished(&mut self) {
        if !self.is_ready() {
            return;
        }
        // Each by itself: one that fails keeps no other.
        for finished in self.work.store.finished_edits() {
            let (reply, mut answer) = oneshot::channel();
            self.carry_out(vec![WriteRequest { ops: vec![finished.op], reply }]);
            let is_taken = matches!(answer.try_recv(), Ok(Ok(_)));
            self.work.store.half_written.end(&finished.kept_as, is_taken);
        }
        for (number, op) in self.work.store.edits_of_replaced() {
            let (reply, mut answer) = oneshot::channel();
            self.carry_out(vec![WriteRequest { ops: vec![op], reply }]);
            if !matches!(answer.try_recv(), Ok(Ok(_))) {
                self.work.store.replaced.try_again(number);
            }
        }
    }

    fn redate(&mut self) {
        if self.is_ready() {
            let suspects = self.redating.step(&mut self.work.store);
            suspects.iter().for_each(|name| self.work.pending.add(name));
        }
    }

    fn carry_out(&mut self, writes: Vec<WriteRequest>) {
        let suspects = write_batch::run(&mut self.work.store, writes);
        suspects.iter().for_each(|name| self.work.pending.add(name));
    }

    /// After a write that failed: sees by itself when the next one would not, so that nobody need try.
    fn recheck(&mut self) {
        if self.recheck_at > Instant::now() || self.work.store.shared.report().write_fault.is_none() {
            return;
        }
        self.recheck_at = Instant::now() + TICK;
        if write_batch::probe(&self.work.store).is_ok() {
            self.work.store.shared.report().write_fault = None;
            tracing::info!("the data directory can be written again");
        }
    }

    /// Looks at the names that events told of.
    fn examine(&mut self) {
        // Before the first scan is through, that one looks at everything anyway; what changes behind it waits here.
        if !self.is_ready() || self.retry_at.is_some() {
            return;
        }
        let Some(work) = self.work.pending.take_due() else { return };
        if work.everything {
            self.rescan_at = self.elapsed();
            // A scan under way has passed some files already.
            self.rescan_again = self.scan.is_some();
        }
        if let Err(error) = self.work.store.examine_events(&work, &self.work.pending) {
            self.fault(&error);
        }
        self.work.store.report_times();
    }

    fn answer_caught_up(&mut self) {
        if self.catch_up.is_empty() {
            return;
        }
        let stand = Stand {
            watcher: self.watcher.as_ref(),
            is_busy: self.work.pending.due_in().is_some() || self.scan.is_some() || self.scan_is_due(),
        };
        self.catch_up.answer(&stand, self.work.store.missing.values());
    }

    fn fault(&mut self, error: &LatticeError) {
        let before = self.work.store.shared.report().scan_fault.replace(error.to_string());
        if before.as_ref() != Some(&error.to_string()) {
            tracing::error!(%error, "the data directory cannot be scanned; the index stays as it is");
        }
        // The watch may be on a directory that is gone.
        self.watcher = None;
        self.retry_at = Some(Instant::now() + TICK);
        // Nothing will be seen until the fault is gone, which those who wait are told by the state of the lattice.
        self.catch_up.answer_all();
    }

    fn step_scan(&mut self) {
        if self.scan.is_none() && !self.begin_scan() {
            return;
        }
        let Some((scan, _)) = &mut self.scan else { return };
        let result = scan.step(&mut self.work.store);
        if matches!(result, Ok(false)) {
            return;
        }
        let Some((scan, waiters)) = self.scan.take() else { return };
        match result {
            Ok(_) => self.scanned(&scan),
            Err(ref error) => {
                self.fault(error);
                self.serve_as_it_was(error);
            }
        }
        answer(waiters, result.err().as_ref());
    }

    /// A start on a full disk: what changed since cannot be written down, but what is known can be read. Reads look at the files
    /// themselves, so that no old content is served for new.
    fn serve_as_it_was(&self, error: &LatticeError) {
        let shared = &self.work.store.shared;
        if matches!(error, LatticeError::NoSpace | LatticeError::ReadOnly(_))
            && !self.is_ready()
            && shared.index().len() > 0
        {
            tracing::warn!("the index is that of the last start; it follows the files once the journal can be written");
            shared.ready.store(true, Ordering::Release);
        }
    }

    fn scan_is_due(&self) -> bool {
        let due = match self.retry_at {
            Some(retry_at) => retry_at <= Instant::now(),
            None => self.rescan_at <= self.elapsed(),
        };
        due || !self.waiting.is_empty()
    }

    fn begin_scan(&mut self) -> bool {
        if !self.scan_is_due() {
            return false;
        }
        let is_there = self.work.store.shared.check_directory().is_ok();
        let is_replaced = self.work.store.shared.marker.is_replaced();
        if is_replaced {
            self.read_anew();
        }
        if is_there || is_replaced {
            self.watch();
        }
        let waiters = std::mem::take(&mut self.waiting);
        match Scan::begin(&mut self.work.store, self.ahead.take(), !waiters.is_empty()) {
            Ok(scan) => {
                self.scan = Some((scan, waiters));
                true
            }
            Err(error) => {
                self.fault(&error);
                answer(waiters, Some(&error));
                false
            }
        }
    }

    fn scanned(&mut self, scan: &Scan) {
        let now = self.elapsed();
        self.retry_at = None;
        let again = std::mem::take(&mut self.rescan_again);
        self.rescan_at = if again { now } else { now.saturating_add(self.work.rescan_interval) };
        let shared = &self.work.store.shared;
        if shared.report().index_build.is_none() {
            // The first set hash costs every bucket: here it keeps no caller waiting.
            let snapshot = shared.index().snapshot();
            Turns::over(BUCKETS, HASH_TURN).all(|bucket| snapshot.prepare_hash(bucket));
            let manifest_hash = snapshot.set_hash();
            let took = now.saturating_sub(self.started);
            let mut report = shared.report();
            report.index_build = Some(took);
            report.hashed_files = scan.hashed;
            tracing::info!(
                lattice.nodes = snapshot.len(),
                lattice.hashed_files = scan.hashed,
                lattice.broken_files = report.broken.len(),
                lattice.manifest_hash = %manifest_hash,
                duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "the index is built"
            );
        }
        shared.report().scan_fault = None;
        if let Err(error) = self.work.store.started() {
            tracing::warn!(%error, "that the directory was adopted cannot be noted yet");
        }
        self.work.store.shared.ready.store(true, Ordering::Release);
        self.work.store.scanned(scan.begun_at);
        self.work.store.all_arrived();
        self.work.store.report_times();
    }

    fn prune(&mut self) {
        let now = self.elapsed();
        if self.is_ready() {
            self.aging.step(&self.work.store.shared, now);
        }
    }

    fn write_manifest(&mut self, last: bool) {
        let Some(header) = &self.work.manifest else { return };
        let store = &self.work.store;
        let begun = self.elapsed();
        if !self.is_ready() || self.manifest_version == Some(store.version) || (!last && self.manifest_at > begun) {
            return;
        }
        let snapshot = store.shared.index().snapshot();
        let (file, now) = (&mut self.manifest_file, store.shared.clock.now());
        let written =
            store.shared.check_directory().and_then(|()| file.write(&store.shared.directory, header, &snapshot, now));
        match written {
            Ok(written) => {
                let is_foreign = written == ManifestWritten::Foreign;
                let was_foreign = std::mem::replace(&mut store.shared.report().foreign_manifest, is_foreign);
                if is_foreign && !was_foreign {
                    tracing::warn!("{FOREIGN}");
                } else if was_foreign && !is_foreign {
                    tracing::info!("manifest.json is written again");
                }
                if !is_foreign {
                    self.manifest_version = Some(store.version);
                }
            }
            Err(error) => tracing::warn!(%error, "manifest.json cannot be written"),
        }
        let by_size = manifest_pause(file.bytes);
        let ended = self.elapsed();
        let pause = ended.saturating_sub(begun).saturating_mul(MANIFEST_SHARE).max(by_size);
        self.manifest_at = ended.saturating_add(pause);
    }
}

/// How long to leave a manifest of this size alone after it was written.
fn manifest_pause(bytes: u64) -> Duration {
    Duration::from_secs(bytes / MANIFEST_RATE).clamp(MANIFEST_EVERY, MANIFEST_AT_LEAST_EVERY)
}

fn answer(waiters: Vec<Waiter>, error: Option<&LatticeError>) {
    for waiter in waiters {
        let _ = waiter.send(error.map_or(Ok(()), |error| Err(LatticeError::Io(error.to_string()))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_manifest_is_written_seldom_and_small_one_soon() {
        assert_eq!(manifest_pause(20 << 10), MANIFEST_EVERY);
        assert_eq!(manifest_pause(900 << 10), Duration::from_secs(56));
        // 200,000 nodes: 1.4 GB a day in place of 480.
        assert_eq!(manifest_pause(30 << 20), Duration::from_secs(1920));
        assert_eq!(manifest_pause(u64::MAX), MANIFEST_AT_LEAST_EVERY);
    }
}
