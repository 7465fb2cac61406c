//! One look at every file of the directory, in steps, so that writes get their turn in between.

use super::{
    LatticeError,
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
    List(ReadDir, Names),
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

/// What there is of a name.
enum Look {
    /// Nothing, or a directory.
    Nothing,
    File(FileStamp),
    Failed(io::Error),
}

impl Scan {
    /// Begins to look.
    ///
    /// # Errors
    /// [`LatticeError`] where the directory is gone or cannot be listed.
    pub(super) fn begin(store: &mut Store) -> Result<Self, LatticeError> {
        let gone = |error: io::Error| LatticeError::Io(format!("it cannot be listed: {error}"));
        store.shared.check_directory().map_err(gone)?;
        let listing = std::fs::read_dir(&store.shared.directory).map_err(gone)?;
        store.generation = store.generation.wrapping_add(1);
        Ok(Self { phase: Phase::List(listing, Names::default()), hashed: 0 })
    }

    /// Goes on a little. Answers whether that was all.
    ///
    /// # Errors
    /// [`LatticeError`]; the scan is over then, and nothing counts as deleted.
    pub(super) fn step(&mut self, store: &mut Store) -> Result<bool, LatticeError> {
        match &mut self.phase {
            Phase::List(listing, names) => {
                if list(store, listing, names)? {
                    let directory = File::open(&store.shared.directory).map_err(|error| lattice_error(&error))?;
                    let mut names = std::mem::take(names);
                    names.sort();
                    self.phase = Phase::Look { directory, names, at: 0 };
                }
                Ok(false)
            }
            Phase::Look { directory, names, at } => {
                let some = names.from(*at, STEP);
                if some.is_empty() {
                    self.phase = Phase::Vanished;
                    return Ok(false);
                }
                *at = at.saturating_add(some.len());
                let hashed = look_at(store, directory, &some)?;
                self.hashed = self.hashed.saturating_add(u64::try_from(hashed).unwrap_or(u64::MAX));
                Ok(false)
            }
            Phase::Vanished => {
                vanished(store)?;
                Ok(true)
            }
        }
    }
}

/// Lists some more names that may be nodes' files. Answers whether these were the last.
fn list(store: &Store, listing: &mut ReadDir, names: &mut Names) -> Result<bool, LatticeError> {
    for _ in 0..LIST_STEP {
        let Some(entry) = listing.next() else { return Ok(true) };
        match entry.map_err(|error| lattice_error(&error))?.file_name().into_string() {
            Ok(name) if file_name::is_candidate(&name) => {
                if !names.push(&name) {
                    return Err(LatticeError::Io("its file names take more than 4 GiB".to_owned()));
                }
            }
            Ok(_) => {}
            Err(name) => {
                let name = name.to_string_lossy();
                if file_name::is_candidate(&name) {
                    store.mark_broken(&name, "the file's name is not UTF-8", None);
                }
            }
        }
    }
    Ok(false)
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
