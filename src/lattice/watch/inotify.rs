//! Linux: inotify, asked for changes alone. The crate for all systems asks for openings too, so that each file that we read would cost
//! an event, and many of them at once would overflow the kernel's queue.

use super::Pending;
use rustix::{
    fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch},
    io::Errno,
};
use std::{
    ffi::OsStr,
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// Some hundred events.
const BUFFER_BYTES: usize = 16 << 10;

/// What may change a file or the directory.
const CHANGES: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// A thread that waits for events, until this is dropped.
#[derive(Debug)]
pub(in crate::lattice) struct Watcher {
    kernel: Arc<OwnedFd>,
    stopped: Arc<AtomicBool>,
    /// The thread has noted all that it took from the kernel.
    is_idle: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Watches the directory's own files. Ends when the answer is dropped.
///
/// # Errors
/// When the kernel has no watch left, or the directory is gone.
pub(in crate::lattice) fn watch(directory: &Path, pending: Arc<Pending>) -> io::Result<Watcher> {
    let kernel = Arc::new(init(CreateFlags::CLOEXEC)?);
    add_watch(&*kernel, directory, CHANGES).map_err(|error| match error {
        Errno::NOSPC => io::Error::other("the kernel has no watch left (fs.inotify.max_user_watches)"),
        other => other.into(),
    })?;
    let (stopped, is_idle) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (events, stop, idle) = (Arc::clone(&kernel), Arc::clone(&stopped), Arc::clone(&is_idle));
    let listen = move || listen(&events, &stop, &idle, &pending);
    let thread = thread::Builder::new().name("lattice-watch".to_owned()).spawn(listen)?;
    Ok(Watcher { kernel, stopped, is_idle, thread: Some(thread) })
}

impl Watcher {
    /// Are all events noted that the kernel had so far? `false` also where it does not say.
    pub(in crate::lattice) fn is_drained(&self) -> bool {
        rustix::io::ioctl_fionread(&*self.kernel) == Ok(0) && self.is_idle.load(Ordering::Acquire)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // The thread wakes up: the end of a watch is an event, also where the directory and its watch are gone.
        if let Ok(last) = add_watch(&*self.kernel, "/", WatchFlags::DELETE_SELF)
            && remove_watch(&*self.kernel, last).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn listen(kernel: &OwnedFd, stopped: &AtomicBool, is_idle: &AtomicBool, pending: &Pending) {
    let mut buffer = [const { MaybeUninit::uninit() }; BUFFER_BYTES];
    let mut events = Reader::new(kernel, &mut buffer);
    loop {
        is_idle.store(events.is_buffer_empty(), Ordering::Release);
        let event = events.next();
        is_idle.store(false, Ordering::Release);
        if stopped.load(Ordering::Acquire) {
            return;
        }
        match event {
            Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                tracing::warn!("events of the data directory were lost; looking at every file");
                pending.add_everything();
            }
            Ok(event) => pending.note(event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()))),
            Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "the data directory is no longer watched; edits are seen by the full scan only");
                pending.add_everything();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Work, *};
    use crate::lattice::offline::write_file;
    use std::{
        fs,
        time::{Duration, Instant},
    };

    /// What was noted when `enough` is among it.
    fn noted(pending: &Pending, enough: impl Fn(&Work) -> bool) -> Work {
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            let state = pending.state();
            if enough(&state.0) {
                drop(state);
                return std::mem::take(&mut pending.state().0);
            }
            drop(state);
            assert!(Instant::now() < patience, "no event came");
            thread::yield_now();
        }
    }

    #[test]
    fn changes_are_events_and_reading_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("data");
        fs::create_dir(&directory).unwrap();
        write_file(&directory.join("read.json"), b"{}").unwrap();
        write_file(&directory.join("gone.json"), b"{}").unwrap();
        let pending = Arc::new(Pending::default());
        let watcher = watch(&directory, Arc::clone(&pending)).unwrap();
        for _ in 0..100 {
            assert_eq!(fs::read(directory.join("read.json")).unwrap(), b"{}");
        }
        fs::remove_file(directory.join("gone.json")).unwrap();
        write_file(&directory.join("new.json"), b"{}").unwrap();
        fs::rename(directory.join("new.json"), directory.join("last.json")).unwrap();
        // Events come in their order.
        let work = noted(&pending, |work| work.names.contains_key("last.json"));
        assert_eq!(work.names.into_keys().collect::<Vec<_>>(), ["gone.json", "last.json", "new.json"]);
        assert!(!work.everything);
        fs::rename(&directory, folder.path().join("moved")).unwrap();
        noted(&pending, |work| work.everything);
        fs::remove_dir_all(folder.path().join("moved")).unwrap();
        drop(watcher);
        assert_eq!(Arc::strong_count(&pending), 1, "the thread has ended");
    }

    #[test]
    fn what_is_no_directory_is_not_watched() {
        let folder = tempfile::tempdir().unwrap();
        write_file(&folder.path().join("file"), b"").unwrap();
        for name in ["file", "missing"] {
            assert!(watch(&folder.path().join(name), Arc::default()).is_err(), "{name}");
        }
    }
}
