//! A first look at the directory, taken while the journal is read.

use super::{
    atomic_file,
    listing::Listed,
    scan::{Look, TURN},
    store::fingerprint,
    turns::Turns,
};
use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread::{self, JoinHandle},
};

/// Threads list the directory and ask for the stamps of what is in it; what killed processes left there goes with it. Dropped, they are
/// waited for: whoever opens the directory next owns what lies around there.
#[derive(Debug)]
pub(super) struct Ahead {
    listed: Receiver<Arc<Stamping>>,
    stamping: Option<Arc<Stamping>>,
    unwanted: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Asking for stamps.
#[derive(Debug)]
struct Stamping {
    directory: File,
    listed: Listed,
    /// The fingerprint of each name's stamp; 0 where there is none to be had. As many as there are names, or none.
    stamps: Vec<AtomicU64>,
    turns: Turns,
    unwanted: Arc<AtomicBool>,
}

impl Stamping {
    fn stamp(&self, at: usize) {
        let Some((place, stamp)) = self.listed.names.some(at, 1).first().zip(self.stamps.get(at)) else { return };
        if !self.unwanted.load(Ordering::Relaxed)
            && let Look::File(found) = Look::at(&self.directory, self.listed.names.name(*place))
        {
            stamp.store(fingerprint(&found), Ordering::Relaxed);
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _nobody_wants_it = thread.join();
        }
    }
}

impl Ahead {
    /// Begins. The directory is to be watched already: no change may fall between the two. Without `stamps` it is only listed: where
    /// nothing is known, there is nothing to compare them with.
    pub(super) fn begin(directory: PathBuf, stamps: bool) -> Option<Self> {
        let (sender, listed) = sync_channel(1);
        let unwanted = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&unwanted);
        let look = move || {
            let mut listed = Listed::default();
            listed.list(&mut std::fs::read_dir(&directory)?, usize::MAX)?;
            // Nobody writes yet. What cannot be removed is left.
            for name in listed.temporary.drain(..).filter(|name| atomic_file::is_abandoned(&directory, name)) {
                let _ = std::fs::remove_file(directory.join(name));
            }
            let count = if stamps { listed.names.len() } else { 0 };
            let stamps = std::iter::repeat_with(AtomicU64::default).take(count).collect();
            let (directory, turns) = (File::open(&directory)?, Turns::over(count, TURN));
            let stamping = Arc::new(Stamping { directory, listed, stamps, turns, unwanted: stop });
            let _nobody_waits = sender.send(Arc::clone(&stamping));
            // One more thread reads the journal: it helps when it is done with that.
            drop(stamping.turns.share_out(Turns::threads().saturating_sub(1), |at| stamping.stamp(at)));
            Ok(())
        };
        // Without the thread the scan lists by itself, and what is left over stays until the next start.
        let thread = thread::Builder::new().name("lattice-listing".to_owned()).spawn(look).ok()?;
        Some(Self { listed, stamping: None, unwanted, thread: Some(thread) })
    }

    /// Waits for the list, and helps a little with the stamps. Answers whether there are any left to ask for.
    pub(super) fn help(&mut self) -> bool {
        if self.stamping.is_none() {
            self.stamping = self.listed.recv().ok();
        }
        let Some((stamping, turn)) = self.stamping.as_ref().and_then(|it| Some((it, it.turns.take()?))) else {
            return false;
        };
        turn.for_each(|at| stamping.stamp(at));
        true
    }

    /// What is in the directory, and the fingerprints of all stamps, 0 where one could not be had; none at all, where only the names
    /// were wanted.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub(super) fn join(mut self) -> io::Result<(Listed, Vec<AtomicU64>)> {
        while self.help() {}
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        let stamping = self.stamping.take().and_then(Arc::into_inner);
        Ok(stamping.map(|it| (it.listed, it.stamps)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_the_rest_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path();
        for name in [".ark-T4194304-0.tmp", ".hidden.tmp", "x.json", "a.json", "manifest.json", "text"] {
            File::create(directory.join(name)).unwrap();
        }
        std::fs::create_dir(directory.join("directory.json")).unwrap();
        let (listed, stamps) = Ahead::begin(directory.to_owned(), true).unwrap().join().unwrap();
        let name = |place: &_| listed.names.name(*place).to_owned();
        let all = listed.names.some(0, 9);
        for (place, stamp) in all.iter().zip(&stamps) {
            let metadata = directory.join(name(place)).symlink_metadata().unwrap();
            // A directory as well: it may stand in the place of a node's file.
            let expected = fingerprint(&super::super::reader::FileStamp::of(&metadata));
            assert_eq!(stamp.load(Ordering::Relaxed), expected, "{}", name(place));
        }
        let all = all.to_vec();
        assert_eq!((all.len(), stamps.len()), (3, 3));
        let sorted = listed.names.sorted(all);
        let names = |at, most| sorted.some(at, most).iter().map(|place| sorted.name(*place)).collect::<Vec<_>>();
        assert_eq!(names(0, 9), ["a.json", "directory.json", "x.json"]);
        assert_eq!((names(1, 1), names(3, 9)), (vec!["directory.json"], vec![]));
        let left: std::collections::BTreeSet<_> =
            std::fs::read_dir(directory).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left.len(), 6);
        assert!(!left.contains(std::ffi::OsStr::new(".ark-T4194304-0.tmp")));
    }

    #[test]
    fn many_stamps_are_those_of_their_names_and_only_where_they_are_wanted() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..TURN * 3 + 1 {
            let file = File::create(folder.path().join(format!("{number}.json"))).unwrap();
            file.set_len(u64::try_from(number % 7).unwrap()).unwrap();
        }
        let (listed, stamps) = Ahead::begin(folder.path().to_owned(), true).unwrap().join().unwrap();
        assert_eq!(stamps.len(), listed.names.len());
        for (place, stamp) in listed.names.some(0, usize::MAX).iter().zip(stamps) {
            let metadata = folder.path().join(listed.names.name(*place)).symlink_metadata().unwrap();
            assert_eq!(stamp.into_inner(), fingerprint(&super::super::reader::FileStamp::of(&metadata)));
        }
        let (listed, stamps) = Ahead::begin(folder.path().to_owned(), false).unwrap().join().unwrap();
        assert_eq!((listed.names.len(), stamps.len()), (TURN * 3 + 1, 0));
        assert!(Ahead::begin(folder.path().join("missing"), true).unwrap().join().is_err());

        let mut ahead = Ahead::begin(folder.path().to_owned(), true).unwrap();
        ahead.help();
        let thread = Arc::downgrade(&ahead.unwanted);
        drop(ahead);
        assert_eq!(thread.strong_count(), 0, "nothing goes on when nobody wants it");
    }
}
