//! One look at every file of the directory, in steps, so that writes get their turn in between.

use super::{
    LatticeError,
    ahead::Ahead,
    examine::Glance,
    listing::{Listed, Names, Place},
    reader::{FileStamp, Found},
    store::{Changes, Store, lattice_error},
    turns::Turns,
};
use crate::types::Timestamp;
use rustix::{
    fs::{AtFlags, statat},
    io::Errno,
};
use std::{
    fs::{File, ReadDir},
    io,
    sync::atomic::{AtomicU64, Ordering},
};

/// Stamps that a thread asks for at a time, and compares.
pub(super) const TURN: usize = 512;
/// Files that one step looks at.
const STEP: usize = 4096;
/// Names that one step lists.
const LIST_STEP: usize = 65_536;

/// A scan under way.
#[derive(Debug)]
pub(super) struct Scan {
    phase: Phase,
    /// How many files had to be read.
    pub(super) hashed: u64,
    /// When it began: what it finds unchanged held its version then.
    pub(super) begun_at: Timestamp,
    /// The answer must agree with the directory as it is now: no file gets time to come back.
    is_exact: bool,
}

/// What comes next.
#[derive(Debug)]
enum Phase {
    Await(Ahead),
    List(ReadDir, Listed),
    /// In whatever order they were listed: most are as they were, and need none.
    Look {
        directory: File,
        names: Names,
        /// How many were looked at.
        at: usize,
        /// Those that are to be read.
        differing: Vec<Place>,
    },
    /// In the order of their names: it is nearly that of the ids, so that the index and the journal grow at their ends when the files are
    /// many and new, and not everywhere at once.
    Read {
        names: Names,
        /// How many were read.
        at: usize,
    },
    /// All names were seen, the vanished ones are next.
    Vanished,
}

/// What there is of a name.
pub(super) enum Look {
    Nothing,
    /// A file, or what stands in the place of one.
    File(FileStamp),
    Failed(io::Error),
}

impl Look {
    pub(super) fn at(directory: &File, name: &str) -> Self {
        match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Self::File(FileStamp::of_stat(&stat)),
            // Gone since it was listed.
            Err(Errno::NOENT) => Self::Nothing,
            Err(error) => Self::Failed(error.into()),
        }
    }
}

impl Scan {
    /// Begins to look; at what was looked at ahead, where that was done.
    ///
    /// # Errors
    /// [`LatticeError`] where the directory is gone or cannot be listed.
    pub(super) fn begin(store: &mut Store, ahead: Option<Ahead>, is_exact: bool) -> Result<Self, LatticeError> {
        store.shared.check_directory().map_err(not_listed)?;
        let phase = match ahead {
            Some(ahead) => Phase::Await(ahead),
            None => {
                let listing = std::fs::read_dir(&store.shared.directory).map_err(not_listed)?;
                Phase::List(listing, Listed::default())
            }
        };
        store.generation = store.generation.wrapping_add(1);
        let is_exact = is_exact || store.at_start.is_some();
        Ok(Self { phase, hashed: 0, begun_at: store.shared.clock.now(), is_exact })
    }

    /// Goes on a little. Answers whether that was all.
    ///
    /// # Errors
    /// [`LatticeError`]; the scan is over then, and nothing counts as deleted.
    pub(super) fn step(&mut self, store: &mut Store) -> Result<bool, LatticeError> {
        store.shared.check_directory().map_err(not_listed)?;
        match std::mem::replace(&mut self.phase, Phase::Vanished) {
            Phase::Await(mut ahead) => {
                if ahead.help() {
                    self.phase = Phase::Await(ahead);
                    return Ok(false);
                }
                let (listed, stamps) = ahead.join().map_err(not_listed)?;
                note_others(store, &listed)?;
                let differing = compare_all(store, &listed.names, &stamps);
                self.phase = Phase::Read { names: listed.names.sorted(differing), at: 0 };
                Ok(false)
            }
            Phase::List(mut listing, mut listed) => {
                self.phase = if listed.list(&mut listing, LIST_STEP).map_err(not_listed)? {
                    note_others(store, &listed)?;
                    let directory = File::open(&store.shared.directory).map_err(|error| lattice_error(&error))?;
                    Phase::Look { directory, names: listed.names, at: 0, differing: Vec::new() }
                } else {
                    Phase::List(listing, listed)
                };
                Ok(false)
            }
            Phase::Look { directory, names, at, mut differing } => {
                let some = names.some(at, STEP);
                let looked = at.saturating_add(some.len());
                self.phase = if some.is_empty() {
                    Phase::Read { names: names.sorted(differing), at: 0 }
                } else {
                    look_at(store, &directory, &names, some, &mut differing)?;
                    Phase::Look { directory, names, at: looked, differing }
                };
                Ok(false)
            }
            Phase::Read { names, at } => {
                let some = names.some(at, STEP);
                if some.is_empty() {
                    for undecided in store.decide_reading().chunks(STEP) {
                        store.examine(undecided)?;
                    }
                    return Ok(false);
                }
                let some: Vec<String> = some.iter().map(|place| names.name(*place).to_owned()).collect();
                self.hashed = self.hashed.saturating_add(u64::try_from(some.len()).unwrap_or(u64::MAX));
                self.phase = Phase::Read { names, at: at.saturating_add(some.len()) };
                store.examine(&some)?;
                Ok(false)
            }
            Phase::Vanished => {
                vanished(store, self.is_exact)?;
                Ok(true)
            }
        }
    }
}

fn not_listed(error: io::Error) -> LatticeError {
    LatticeError::Io(format!("it cannot be listed: {error}"))
}

fn note_others(store: &mut Store, listed: &Listed) -> Result<(), LatticeError> {
    if store.at_start.is_some() {
        store.find_half_written(&listed.kept_aside)?;
    }
    for name in &listed.not_text {
        store.mark_broken(name, "the file's name is not UTF-8", None, None);
    }
    Ok(())
}

fn found_kept(store: &mut Store) {
    if let Some(start) = &mut store.at_start {
        start.found_kept();
    }
}

/// Compares the stamps, where there are any, with what is known. Answers which files are to be read.
fn compare_all(store: &mut Store, names: &Names, stamps: &[AtomicU64]) -> Vec<Place> {
    let all = names.some(0, usize::MAX);
    if stamps.is_empty() {
        return all.to_vec();
    }
    {
        let unchanged = store.unchanged();
        // Where the file is known stands in the stamp's place then, counted from 1.
        let compare = |at: usize| {
            if let Some((place, stamp)) = all.get(at).zip(stamps.get(at)) {
                let known = unchanged(names.name(*place), stamp.load(Ordering::Relaxed));
                stamp.store(known.map_or(0, |known| u64::from(known).saturating_add(1)), Ordering::Relaxed);
            }
        };
        drop(Turns::over(stamps.len(), TURN).all(compare));
    }
    let mut differing = Vec::new();
    for (place, known) in all.iter().zip(stamps) {
        match known.load(Ordering::Relaxed).checked_sub(1).and_then(|known| u32::try_from(known).ok()) {
            Some(known) => {
                store.known.seen(known, store.generation);
                found_kept(store);
            }
            None => differing.push(*place),
        }
    }
    differing
}

/// Looks at these names, and adds those whose files may have changed.
fn look_at(
    store: &mut Store,
    directory: &File,
    names: &Names,
    some: &[Place],
    differing: &mut Vec<Place>,
) -> Result<(), LatticeError> {
    let look = |at: usize| some.get(at).map_or(Look::Nothing, |place| Look::at(directory, names.name(*place)));
    let looks = Turns::over(some.len(), TURN).all(look);
    let mut changes = Changes::default();
    for (place, look) in some.iter().zip(looks) {
        match look {
            Look::Nothing => {}
            Look::File(stamp) if store.glance(names.name(*place), &stamp) == Glance::Same => found_kept(store),
            Look::File(_) => differing.push(*place),
            Look::Failed(error) => {
                store.settle(&mut changes, names.name(*place), Found::Broken(error.to_string(), None))?;
            }
        }
    }
    store.commit_found(&changes)
}

/// What the listing did not show is looked at by name: a listing may miss a file that is renamed meanwhile.
fn vanished(store: &mut Store, is_exact: bool) -> Result<(), LatticeError> {
    let generation = store.generation;
    let unseen = store.known.iter().filter(|known| known.generation != generation);
    let mut names: Vec<String> = unseen.map(|known| store.known.name(known)).collect();
    let report = store.shared.report();
    names.extend(report.broken.iter().filter(|(_, it)| it.generation != generation).map(|(name, _)| name.clone()));
    drop(report);
    names.sort_unstable();
    names.dedup();
    if !is_exact {
        let mut later = |name: &String| {
            let is_gone = store.shared.directory.join(name).symlink_metadata().is_err();
            is_gone && store.may_come_back(name, None)
        };
        let later: Vec<String> = names.extract_if(.., |name| later(name)).collect();
        store.look_again.extend(later);
    }
    for names in names.chunks(STEP) {
        store.examine(names)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::store::tests::opened, *};
    use crate::types::ContentHash;
    use proptest::prelude::*;
    use std::{
        collections::BTreeMap,
        fs,
        path::Path,
        time::{Duration, SystemTime},
    };

    /// What is known after a start with this journal, and how many files were read for it.
    fn start(folder: &Path, journal: &str, is_ahead: bool) -> (BTreeMap<String, ContentHash>, u64) {
        let mut store = opened(folder, journal);
        let ahead = is_ahead.then(|| Ahead::begin(store.shared.directory.clone(), true).unwrap());
        store.load().unwrap();
        let mut scan = Scan::begin(&mut store, ahead, true).unwrap();
        while !scan.step(&mut store).unwrap() {}
        store.started().unwrap();
        let snapshot = store.shared.index().snapshot();
        // Of a broken file the last good version stays, where there was one.
        let can_be_had = snapshot.iter_after(None).filter(|entry| !store.shared.unavailable().contains(&entry.id));
        let nodes = can_be_had.map(|entry| (entry.id.to_string(), entry.content_hash));
        (nodes.collect(), scan.hashed)
    }

    /// Files of all kinds of names; the last two are of one node.
    const FILES: [(&str, &str); 8] = [
        ("a.json", "a"),
        ("b.json", "b"),
        ("c%2Fd.json", "c/d"),
        ("%6Danifest.json", "manifest"),
        ("e:f.json", "e:f"),
        ("wrong.json", "other"),
        ("g.json", "g"),
        ("g~cd0aa9856147b6c5.json", "g"),
    ];

    #[derive(Debug, Clone, Copy)]
    enum Change {
        None,
        Edit,
        Touch,
        Break,
        Directory,
        Delete,
    }

    impl Change {
        /// Done long ago: a young file is read again in any case.
        fn carry_out(self, directory: &Path, (name, id): (&str, &str), round: u64) {
            let path = directory.join(name);
            let write = |text: String| {
                if path.is_dir() {
                    fs::remove_dir(&path).unwrap();
                }
                super::super::offline::write_file(&path, text.as_bytes()).unwrap();
            };
            match self {
                Self::None => return,
                Self::Edit => write(format!("{{\"id\":\"{id}\",\"n\":{round}}}")),
                Self::Break => write(format!("{{{round}")),
                Self::Touch if path.is_file() => {}
                Self::Touch => return,
                Self::Directory | Self::Delete => {
                    let _there_may_be_none = fs::remove_file(&path);
                    if matches!(self, Self::Directory) && !path.exists() {
                        fs::create_dir(&path).unwrap();
                    }
                    return;
                }
            }
            let long_ago = SystemTime::now() - Duration::from_secs(3600 - round);
            fs::File::open(&path).unwrap().set_modified(long_ago).unwrap();
        }
    }

    fn changes() -> impl Strategy<Value = [Change; FILES.len()]> {
        use Change::{Break, Delete, Directory, Edit, None, Touch};
        proptest::array::uniform(prop_oneof![
            4 => Just(None), 4 => Just(Edit), 1 => Just(Touch), 1 => Just(Break), 1 => Just(Directory), 1 => Just(Delete)
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_start_finds_whatever_was_changed_before_it(rounds in proptest::collection::vec(changes(), 2..4)) {
            let folder = tempfile::tempdir().unwrap();
            let directory = folder.path().join("data");
            fs::create_dir(&directory).unwrap();
            for (round, changes) in (1..).zip(&rounds) {
                for (file, change) in FILES.into_iter().zip(changes) {
                    change.carry_out(&directory, file, round);
                }
                let (mut found, _) = start(folder.path(), "journal", true);
                prop_assert_eq!(&found, &start(folder.path(), "listed", false).0);
                let (mut fresh, _) = start(folder.path(), &format!("fresh-{round}"), true);
                // Which of its two files counts depends on what was before.
                for nodes in [&mut found, &mut fresh] {
                    nodes.remove("g");
                }
                prop_assert_eq!(found, fresh);
            }
        }
    }

    /// Two files of a backup are put back with their mtimes, one of them is as it was before; the other nodes are not in it.
    fn restore_a_part(directory: &Path) {
        for (name, _) in FILES.into_iter().take(5) {
            fs::remove_file(directory.join(name)).unwrap();
        }
        for (file, change) in FILES.into_iter().zip([Change::Edit, Change::Edit]) {
            change.carry_out(directory, file, 1);
        }
    }

    #[test]
    fn a_start_that_is_ended_in_its_scan_leaves_to_the_next_one_that_the_directory_is_a_copy() {
        for steps in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let directory = folder.path().join("data");
            fs::create_dir(&directory).unwrap();
            for round in [1, 2] {
                for file in FILES.into_iter().take(5) {
                    Change::Edit.carry_out(&directory, file, round);
                }
                start(folder.path(), "journal", true);
            }
            restore_a_part(&directory);
            let mut store = opened(folder.path(), "journal");
            store.load().unwrap();
            let mut scan = Scan::begin(&mut store, None, true).unwrap();
            // Each change by itself, as in a directory of many files.
            let is_over = (0..steps).any(|_| scan.step(&mut store).unwrap());
            drop((scan, store));
            let (nodes, _) = start(folder.path(), "journal", true);
            let store = opened(folder.path(), "journal");
            let deleted = store.shared.journal.tombstones().unwrap();
            assert_eq!((nodes.len(), deleted), (2, 0), "after {steps} steps");
            if is_over {
                return;
            }
        }
        panic!("the scan does not end");
    }

    #[test]
    fn what_did_not_change_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("data");
        fs::create_dir(&directory).unwrap();
        for file in FILES.into_iter().take(5) {
            Change::Edit.carry_out(&directory, file, 1);
        }
        let (nodes, read) = start(folder.path(), "journal", true);
        assert_eq!((nodes.len(), read), (5, 5));
        assert_eq!(start(folder.path(), "journal", true), (nodes.clone(), 0));
        assert_eq!(start(folder.path(), "journal", false), (nodes, 0));
        Change::Edit.carry_out(&directory, FILES[2], 2);
        assert_eq!(start(folder.path(), "journal", true).1, 1);
    }
}
