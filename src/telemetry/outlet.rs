//! Log lines on their way to standard error. Whoever logs never waits: where nobody reads, lines are dropped and counted. A service whose
//! lines went out of blocking writes stood still with all its threads when its reader did, the stop signal included.

use prometheus_client::metrics::counter::Counter;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd},
    fs::{FileType, fstat},
    io::Errno,
    pipe::PIPE_BUF,
    stdio,
};
use std::{
    collections::VecDeque,
    io,
    sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Lines that wait hold at most so many bytes: a thousand lines and more.
const MAX_BYTES: usize = 256 << 10;

static STANDARD_ERROR: LazyLock<Outlet<StandardError>> = LazyLock::new(|| Outlet::new(StandardError));
/// Of the whole process, as the lines are.
static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Where the lines go.
trait Sink: Send + Sync + 'static {
    /// Surely takes so many bytes without waiting.
    fn takes(&self, bytes: usize) -> bool;
    /// Writes all of it, and waits as long as that takes.
    fn put(&self, bytes: &[u8]);
}

struct StandardError;

impl Sink for StandardError {
    fn takes(&self, bytes: usize) -> bool {
        let out = stdio::stderr();
        match fstat(out).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::RegularFile) => true,
            Ok(FileType::Fifo | FileType::CharacterDevice) => bytes <= PIPE_BUF && is_ready(out),
            // A socket says that it takes something, and not how much.
            _ => false,
        }
    }

    /// Not through `std::io::stderr`, whose lock would be held meanwhile: whoever says something else there would wait.
    fn put(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match rustix::io::write(stdio::stderr(), bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                // Somebody else made it so: standard error is shared.
                Err(Errno::AGAIN) => wait_until_ready(stdio::stderr()),
                // Its reader is gone, or its disk is full: there is nobody to tell.
                Err(_) => return,
            }
        }
    }
}

fn is_ready(out: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::from_borrowed_fd(out, PollFlags::OUT)], Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

fn wait_until_ready(out: BorrowedFd<'_>) {
    // Tried again anyway.
    let _ = poll(&mut [PollFd::from_borrowed_fd(out, PollFlags::OUT)], None);
}

/// Does `stream` take a short text without waiting for its reader?
pub fn takes_text(stream: &impl AsFd) -> bool {
    let out = stream.as_fd();
    fstat(out).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) || is_ready(out)
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    /// Of the lines, and of what is being written.
    bytes: usize,
    /// Somebody writes.
    is_busy: bool,
    /// Since it was last told.
    dropped: u64,
    /// There is a thread that writes what waits.
    has_thread: bool,
}

struct Outlet<S> {
    sink: S,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl<S: Sink> Outlet<S> {
    fn new(sink: S) -> Self {
        Self { sink, waiting: Mutex::default(), changed: Condvar::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the line at once where that keeps nobody waiting, else leaves it to the thread, else drops it.
    fn line(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        let is_first = !waiting.is_busy && waiting.lines.is_empty();
        if is_first && (!waiting.has_thread || self.sink.takes(line.len())) {
            waiting.is_busy = true;
            drop(waiting);
            self.sink.put(line);
            self.written(0);
        } else if waiting.bytes.saturating_add(line.len()) > MAX_BYTES {
            waiting.dropped = waiting.dropped.saturating_add(1);
            DROPPED.inc();
        } else {
            waiting.bytes = waiting.bytes.saturating_add(line.len());
            waiting.lines.push_back(line.to_vec());
            drop(waiting);
            self.changed.notify_all();
        }
    }

    fn written(&self, bytes: usize) {
        let mut waiting = self.waiting();
        waiting.is_busy = false;
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        drop(waiting);
        self.changed.notify_all();
    }

    /// Writes what waits, one after the other, for ever. Tells of dropped lines once lines are taken again.
    fn write_waiting(&self) {
        loop {
            let waiting = self.waiting();
            let idle = |waiting: &mut Waiting| waiting.is_busy || waiting.lines.is_empty();
            let mut waiting = self.changed.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
            let Some(line) = waiting.lines.pop_front() else { continue };
            waiting.is_busy = true;
            drop(waiting);
            self.sink.put(&line);
            self.written(line.len());
            let lines = self.taken_count();
            if lines > 0 {
                tracing::warn!(lines, "log lines were dropped: nobody read standard error fast enough");
            }
        }
    }

    /// How many were dropped since this was last asked, where half of the room is free again.
    fn taken_count(&self) -> u64 {
        let mut waiting = self.waiting();
        if waiting.bytes > MAX_BYTES / 2 { 0 } else { std::mem::take(&mut waiting.dropped) }
    }

    /// Waits until all lines are out, for so long at most.
    fn flush(&self, longest: Duration) {
        let until = Instant::now() + longest;
        let mut waiting = self.waiting();
        while waiting.is_busy || !waiting.lines.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (waiting, _) = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Takes whole lines for standard error.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lines;

impl Lines {
    /// Starts the thread that writes what standard error does not take at once. Where the machine gives none, whoever logs waits.
    pub(super) fn start() -> Self {
        let mut waiting = STANDARD_ERROR.waiting();
        if !waiting.has_thread {
            let thread = thread::Builder::new().name("log".to_owned()).spawn(|| STANDARD_ERROR.write_waiting());
            waiting.has_thread = thread.is_ok();
        }
        Self
    }
}

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STANDARD_ERROR.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that were dropped in this process.
pub(super) fn dropped() -> Counter {
    DROPPED.clone()
}

/// Waits until all log lines are out, at most for `longest`: before the process ends, and before something else is said there.
pub fn flush_logging(longest: Duration) {
    STANDARD_ERROR.flush(longest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Default)]
    struct Taken {
        is_open: bool,
        bytes: Vec<u8>,
    }

    /// Takes lines while it is open.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<Taken>, Condvar)>);

    impl Gate {
        fn open(&self, is_open: bool) {
            self.0.0.lock().unwrap().is_open = is_open;
            self.0.1.notify_all();
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().bytes.clone()).unwrap()
        }
    }

    impl Sink for Gate {
        fn takes(&self, _: usize) -> bool {
            self.0.0.lock().unwrap().is_open
        }

        fn put(&self, bytes: &[u8]) {
            let state = self.0.0.lock().unwrap();
            let mut state = self.0.1.wait_while(state, |state| !state.is_open).unwrap();
            state.bytes.extend_from_slice(bytes);
        }
    }

    fn outlet(gate: &Gate) -> Arc<Outlet<Gate>> {
        let outlet = Arc::new(Outlet::new(gate.clone()));
        outlet.waiting().has_thread = true;
        let writer = Arc::clone(&outlet);
        drop(thread::spawn(move || writer.write_waiting()));
        outlet
    }

    #[test]
    fn lines_that_nobody_takes_keep_nobody_waiting_and_are_dropped_beyond_a_bound() {
        let gate = Gate::default();
        let outlet = outlet(&gate);
        let line = [b'x'; 1 << 10];
        for _ in 0..2 * MAX_BYTES / line.len() {
            outlet.line(&line);
        }
        assert!(outlet.waiting().bytes <= MAX_BYTES);
        assert_eq!(outlet.waiting().dropped, u64::try_from(MAX_BYTES / line.len()).unwrap());
        outlet.flush(Duration::from_millis(1));
        gate.open(true);
        outlet.flush(Duration::from_secs(60));
        assert_eq!(gate.text().len(), MAX_BYTES);
        assert_eq!(outlet.waiting().bytes, 0);
    }

    #[test]
    fn lines_stay_in_their_order_and_go_out_at_once_where_they_are_taken() {
        let gate = Gate::default();
        let outlet = outlet(&gate);
        gate.open(true);
        outlet.line(b"1");
        assert_eq!(gate.text(), "1");
        gate.open(false);
        outlet.line(b"2");
        outlet.line(b"3");
        gate.open(true);
        outlet.line(b"4");
        outlet.flush(Duration::from_secs(60));
        assert_eq!(gate.text(), "1234");
    }
}
