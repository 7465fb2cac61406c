//! The names of a directory.

use super::{atomic_file, file_name, place};
use std::{fs::ReadDir, io};

/// Where a name begins and ends among many.
pub(super) type Place = (u32, u32);

/// Many names in little memory.
#[derive(Debug, Default)]
pub(super) struct Names {
    text: String,
    places: Vec<Place>,
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

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn name(&self, (start, end): Place) -> &str {
        let place = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        self.text.get(place(start)..place(end)).unwrap_or_default()
    }

    /// These of them alone, in order.
    pub(super) fn sorted(mut self, places: Vec<Place>) -> Self {
        self.places = Vec::new();
        let mut places = places;
        places.sort_unstable_by(|one, other| self.name(*one).cmp(self.name(*other)));
        Self { places, ..self }
    }

    /// Up to `most` of them.
    pub(super) fn some(&self, at: usize, most: usize) -> &[Place] {
        let rest = self.places.get(at..).unwrap_or_default();
        rest.get(..most).unwrap_or(rest)
    }
}

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Names that may be nodes' files.
    pub(super) names: Names,
    /// Those that would be, were they UTF-8.
    pub(super) not_text: Vec<String>,
    /// Broken files that were replaced, under the names by which they are kept.
    pub(super) kept_aside: Vec<String>,
    /// Files of writes that did not come to their end, or not yet.
    pub(super) temporary: Vec<String>,
}

impl Listed {
    /// Goes on listing, up to so many names. Answers whether these were the last.
    pub(super) fn list(&mut self, listing: &mut ReadDir, most: usize) -> io::Result<bool> {
        for _ in 0..most {
            let Some(entry) = listing.next() else { return Ok(true) };
            match entry?.file_name().into_string() {
                Ok(name) if file_name::is_candidate(&name) => {
                    if !self.names.push(&name) {
                        return Err(io::Error::other("its file names take more than 4 GiB"));
                    }
                }
                Ok(name) if atomic_file::is_temporary(&name) => self.temporary.push(name),
                Ok(name) if place::kept_aside(&name).is_some() => self.kept_aside.push(name),
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
