//! Being stopped by a signal without leaving half-written files.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Says when the process may be ended. Who writes holds it; who ends the process closes it first.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<RwLock<Vec<PathBuf>>>);

/// Until it is dropped nothing is stopped.
#[derive(Debug)]
#[must_use]
pub struct Held<'a>(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'a, Vec<PathBuf>>);

/// Until it is dropped nothing is written.
#[derive(Debug)]
#[must_use]
pub struct Closed<'a>(#[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'a, Vec<PathBuf>>);

impl Interrupt {
    /// Lets a piece of work come to its end: one batch, not a conversation.
    pub fn hold(&self) -> Held<'_> {
        Held(self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for the pieces of work that are under way and removes unfinished files. No piece of work begins after that.
    pub fn close(&self) -> Closed<'_> {
        let mut unfinished = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for path in unfinished.drain(..) {
            // The process ends: there is nobody left who could do more about it.
            let _ = fs::remove_file(path);
        }
        Closed(unfinished)
    }

    /// Makes a file that is removed if the process is stopped before [`Self::finish`].
    ///
    /// # Errors
    /// That of `make`.
    pub fn begin<T, E>(&self, make: impl FnOnce() -> Result<(T, PathBuf), E>) -> Result<T, E> {
        let mut unfinished = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (made, path) = make()?;
        unfinished.push(path);
        Ok(made)
    }

    /// Does what ends the file's being unfinished.
    pub fn finish<T>(&self, path: &Path, end: impl FnOnce() -> T) -> T {
        let mut unfinished = self.0.write().unwrap_or_else(PoisonError::into_inner);
        unfinished.retain(|other| other != path);
        end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unfinished_goes_and_what_is_finished_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (done, half) = (folder.path().join("done"), folder.path().join("half"));
        let interrupt = Interrupt::default();
        for path in [&done, &half] {
            interrupt.begin(|| std::io::Result::Ok((fs::File::create(path)?, path.clone()))).unwrap();
        }
        interrupt.finish(&done, || ());
        drop(interrupt.hold());
        drop(interrupt.close());
        assert!(done.exists() && !half.exists());
    }
}
