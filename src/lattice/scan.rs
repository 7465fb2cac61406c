//! One look at every file of the directory, in steps, so that writes get their turn in between.

use super::{
    LatticeError, atomic_file,
    examine::{Glance, read_all, share_out},
    file_name,
    reader::{FileStamp, Found},
    store::{Changes, Store, lattice_error},
};
use rustix::{
    fs::{AtFlags, statat},
    io::Errno,
};
use std::{
    fs::{File, ReadDir},
    io,
    path::PathBuf,
    thread::{self, JoinHandle},
};

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
}

/// What comes next.
#[derive(Debug)]
enum Phase {
    Await(Ahead),
    List(ReadDir, Listed),
    /// In the order of their names: it is nearly that of the ids, so that the index and the journal grow at their ends when the files are
    /// many and new, and not everywhere at once.
    Look {
        directory: File,
        names: Names,
        /// How many were looked at.
        at: usize,
    },
    /// All names were seen, the vanished ones are next.
    Vanished,
}

/// Many names in little memory.
#[derive(Debug, Default)]
struct Names {
    text: String,
    /// Where each begins and ends.
    places: Vec<(u32, u32)>,
}

impl Names {
    /// `false`: there is no room for it.
    fn push(&mut self, name: &str) -> bool {
        let end = self.text.len().checked_add(name.len()).and_then(|end| u32::try_from(end).ok());
        let Some((start, end)) = u32::try_from(self.text.len()).ok().zip(end) else { return false };
        self.text.push_str(name);
        self.places.push((start, end));
        true
    }

    fn name(&self, (start, end): (u32, u32)) -> &str {
        let place = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        self.text.get(place(start)..place(end)).unwrap_or_default()
    }

    fn sort(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        places.sort_unstable_by(|one, other| self.name(*one).cmp(self.name(*other)));
        self.places = places;
    }

    /// Some of them.
    fn from(&self, at: usize, count: usize) -> Vec<&str> {
        self.places.iter().skip(at).take(count).map(|place| self.name(*place)).collect()
    }
}

/// What a directory holds.
#[derive(Debug, Default)]
struct Listed {
    /// Names that may be nodes' files.
    names: Names,
    /// Those that would be, were they UTF-8.
    not_text: Vec<String>,
    /// Files of writes that did not come to their end, or not yet.
    temporary: Vec<String>,
}

impl Listed {
    /// Goes on listing, up to so many names. Answers whether these were the last.
    fn list(&mut self, listing: &mut ReadDir, most: usize) -> io::Result<bool> {
        for _ in 0..most {
            let Some(entry) = listing.next() else { return Ok(true) };
            match entry?.file_name().into_string() {
                Ok(name) if file_name::is_candidate(&name) => {
                    if !self.names.push(&name) {
                        return Err(io::Error::other("its file names take more than 4 GiB"));
                    }
                }
                Ok(name) if atomic_file::is_temporary(&name) => self.temporary.push(name),
                Ok(_) => {}
                Err(name) => {
                    let name = name.to_string_lossy();
                    if file_name::is_candidate(&name) {
                        self.not_text.push(name.into_owned());
                    }
                }
            }
        }
        Ok(false)
    }
}

/// A listing that a thread makes while the journal is read; what killed processes left in the directory goes with it. Dropped, it is
/// waited for: whoever opens the directory next owns what lies around there.
#[derive(Debug)]
pub(super) struct Ahead(Option<JoinHandle<io::Result<Listed>>>);

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _nobody_wants_it = thread.join();
        }
    }
}

impl Ahead {
    /// Begins. The directory is to be watched already: no change may fall between the two.
    pub(super) fn begin(directory: PathBuf) -> Option<Self> {
        let list = move || {
            let mut listed = Listed::default();
            listed.list(&mut std::fs::read_dir(&directory)?, usize::MAX)?;
            // Nobody writes yet. What cannot be removed is left.
            for name in &listed.temporary {
                let _ = std::fs::remove_file(directory.join(name));
            }
            listed.names.sort();
            Ok(listed)
        };
        // Without the thread the scan lists by itself, and what is left over stays until the next start.
        thread::Builder::new().name("lattice-listing".to_owned()).spawn(list).ok().map(|it| Self(Some(it)))
    }

    fn listed(mut self) -> io::Result<Listed> {
        let Some(thread) = self.0.take() else { return Ok(Listed::default()) };
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// What there is of a name.
enum Look {
    /// Nothing, or a directory.
    Nothing,
    File(FileStamp),
    Failed(io::Error),
}

impl Scan {
    /// Begins to look; at what was listed ahead, where that was done.
    ///
    /// # Errors
    /// [`LatticeError`] where the directory is gone or cannot be listed.
    pub(super) fn begin(store: &mut Store, ahead: Option<Ahead>) -> Result<Self, LatticeError> {
        store.shared.check_directory().map_err(not_listed)?;
        let phase = match ahead {
            Some(ahead) => Phase::Await(ahead),
            None => {
                let listing = std::fs::read_dir(&store.shared.directory).map_err(not_listed)?;
                Phase::List(listing, Listed::default())
            }
        };
        store.generation = store.generation.wrapping_add(1);
        Ok(Self { phase, hashed: 0 })
    }

    /// Goes on a little. Answers whether that was all.
    ///
    /// # Errors
    /// [`LatticeError`]; the scan is over then, and nothing counts as deleted.
    pub(super) fn step(&mut self, store: &mut Store) -> Result<bool, LatticeError> {
        match std::mem::replace(&mut self.phase, Phase::Vanished) {
            Phase::Await(ahead) => {
                self.phase = look_through(store, ahead.listed().map_err(not_listed)?)?;
                Ok(false)
            }
            Phase::List(mut listing, mut listed) => {
                self.phase = if listed.list(&mut listing, LIST_STEP).map_err(not_listed)? {
                    listed.names.sort();
                    look_through(store, listed)?
                } else {
                    Phase::List(listing, listed)
                };
                Ok(false)
            }
            Phase::Look { directory, names, at } => {
                let some = names.from(at, STEP);
                if some.is_empty() {
                    return Ok(false);
                }
                let hashed = look_at(store, &directory, &some)?;
                self.hashed = self.hashed.saturating_add(u64::try_from(hashed).unwrap_or(u64::MAX));
                let at = at.saturating_add(some.len());
                self.phase = Phase::Look { directory, names, at };
                Ok(false)
            }
            Phase::Vanished => {
                vanished(store)?;
                Ok(true)
            }
        }
    }
}

fn not_listed(error: io::Error) -> LatticeError {
    LatticeError::Io(format!("it cannot be listed: {error}"))
}

/// All names are known: what comes next.
fn look_through(store: &Store, listed: Listed) -> Result<Phase, LatticeError> {
    for name in &listed.not_text {
        store.mark_broken(name, "the file's name is not UTF-8", None);
    }
    let directory = File::open(&store.shared.directory).map_err(|error| lattice_error(&error))?;
    Ok(Phase::Look { directory, names: listed.names, at: 0 })
}

/// Looks at these names, reads what may have changed and writes it down. Answers how many files had to be read.
fn look_at(store: &mut Store, directory: &File, names: &[&str]) -> Result<usize, LatticeError> {
    let looks = share_out(names.len(), |at| names.get(at).map_or(Look::Nothing, |name| look(directory, name)));
    let mut to_read = Vec::new();
    let mut changes = Changes::default();
    for (name, look) in names.iter().zip(looks) {
        match look {
            Look::Nothing => {}
            Look::File(stamp) => match store.glance(name, &stamp) {
                Glance::Same => {}
                Glance::Racy | Glance::Differs => to_read.push((*name).to_owned()),
            },
            Look::Failed(error) => store.settle(&mut changes, name, Found::Broken(error.to_string(), None))?,
        }
    }
    let found = read_all(&store.shared.directory, &to_read, &store.shared.limits);
    for (name, found) in to_read.iter().zip(found) {
        store.settle(&mut changes, name, found)?;
    }
    store.commit_found(&changes)?;
    Ok(to_read.len())
}

fn look(directory: &File, name: &str) -> Look {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() => Look::Nothing,
        Ok(stat) => Look::File(FileStamp::of_stat(&stat)),
        // Gone since it was listed.
        Err(Errno::NOENT) => Look::Nothing,
        Err(error) => Look::Failed(error.into()),
    }
}

/// What the listing did not show is looked at by name: a listing may miss a file that is renamed meanwhile.
fn vanished(store: &mut Store) -> Result<(), LatticeError> {
    let generation = store.generation;
    let unseen = store.known.iter().filter(|known| known.generation != generation);
    let mut names: Vec<String> = unseen.map(|known| store.known.name(known)).collect();
    let report = store.shared.report();
    names.extend(report.broken.iter().filter(|(_, it)| it.generation != generation).map(|(name, _)| name.clone()));
    drop(report);
    names.sort_unstable();
    names.dedup();
    for names in names.chunks(STEP) {
        store.examine(names)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_the_rest_is_listed_in_order() {
        let directory = tempfile::tempdir().unwrap();
        for name in [".ark-1-0.tmp", ".hidden.tmp", "x.json", "a.json", "manifest.json", "text"] {
            File::create(directory.path().join(name)).unwrap();
        }
        let listed = Ahead::begin(directory.path().to_owned()).unwrap().listed().unwrap();
        assert_eq!(listed.names.from(0, 9), ["a.json", "x.json"]);
        assert_eq!((listed.names.from(1, 1), listed.names.from(2, 9)), (vec!["x.json"], vec![]));
        let left: std::collections::BTreeSet<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left.len(), 5);
        assert!(!left.contains(std::ffi::OsStr::new(".ark-1-0.tmp")));
    }
}
