//! One look at every file of the directory, in steps, so that writes get their turn in between.

use super::{
    LatticeError,
    examine::{Glance, read_all},
    file_name,
    reader::{FileStamp, Found},
    store::{Changes, Known, Store, lattice_error},
};
use std::{fs::ReadDir, io};

/// Names that one step looks at.
const STEP: usize = 4096;

/// A scan under way.
#[derive(Debug)]
pub(super) struct Scan {
    // None: all names were seen, the vanished ones are next.
    listing: Option<ReadDir>,
    /// How many files had to be read.
    pub(super) hashed: u64,
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
        Ok(Self { listing: Some(listing), hashed: 0 })
    }

    /// Looks at some more names. Answers whether that was all.
    ///
    /// # Errors
    /// [`LatticeError`]; the scan is over then, and nothing counts as deleted.
    pub(super) fn step(&mut self, store: &mut Store) -> Result<bool, LatticeError> {
        let Some(listing) = &mut self.listing else {
            vanished(store)?;
            return Ok(true);
        };
        let mut to_read = Vec::new();
        let mut changes = Changes::default();
        let mut looked = 0;
        for entry in listing.by_ref().take(STEP) {
            looked += 1;
            let entry = entry.map_err(|error| lattice_error(&error))?;
            let name = match entry.file_name().into_string() {
                Ok(name) => name,
                Err(name) => {
                    let name = name.to_string_lossy();
                    if file_name::is_candidate(&name) {
                        store.mark_broken(&name, "the file's name is not UTF-8", None);
                    }
                    continue;
                }
            };
            if !file_name::is_candidate(&name) {
                continue;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(metadata) => match store.glance(&name, &FileStamp::of(&metadata)) {
                    Glance::Same => {}
                    Glance::Racy | Glance::Differs => to_read.push(name),
                },
                // Gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => store.settle(&mut changes, &name, Found::Broken(error.to_string(), None))?,
            }
        }
        self.hashed = self.hashed.saturating_add(u64::try_from(to_read.len()).unwrap_or(u64::MAX));
        let found = read_all(&store.shared.directory, &to_read, &store.shared.limits);
        for (name, found) in to_read.iter().zip(found) {
            store.settle(&mut changes, name, found)?;
        }
        store.commit_found(&changes)?;
        if looked < STEP {
            self.listing = None;
        }
        Ok(false)
    }
}

/// What the listing did not show is looked at by name: a listing may miss a file that is renamed meanwhile.
fn vanished(store: &mut Store) -> Result<(), LatticeError> {
    let generation = store.generation;
    let known = store.known.values().filter(|known| known.generation != generation).map(Known::name);
    let mut names: Vec<String> = known.collect();
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
