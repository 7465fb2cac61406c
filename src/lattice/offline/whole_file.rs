//! A file that is written piece by piece and is there whole or not at all.

use super::{OfflineError, failed};
use crate::lattice::atomic_file::{self, TempFile};
use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// What is written so far stands under a temporary name. Dropped without [`Self::commit`], it is gone.
#[derive(Debug)]
pub struct WholeFile {
    target: PathBuf,
    temp: TempFile,
    out: BufWriter<std::fs::File>,
}

impl WholeFile {
    /// Begins a file at `target`, beside it.
    ///
    /// # Errors
    /// [`OfflineError::Io`].
    pub fn create(target: &Path) -> Result<Self, OfflineError> {
        let begin = || -> io::Result<(TempFile, std::fs::File)> {
            if target.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            let temp = TempFile::create(atomic_file::parent(target)?, 0o644)?;
            let file = temp.file()?.try_clone()?;
            Ok((temp, file))
        };
        let (temp, file) = begin().map_err(|error| failed(target, error))?;
        Ok(Self { target: target.to_owned(), temp, out: BufWriter::new(file) })
    }

    /// Where it is until it is committed.
    #[must_use]
    pub fn temporary_path(&self) -> &Path {
        self.temp.path()
    }

    /// Puts it in its place, durably; what was there is replaced.
    ///
    /// # Errors
    /// [`OfflineError::Io`]; what was there is untouched then.
    pub fn commit(self) -> Result<(), OfflineError> {
        let Self { target, temp, out } = self;
        let end = || -> io::Result<()> {
            out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            temp.rename(&target)?;
            atomic_file::sync_directory(atomic_file::parent(&target)?)
        };
        end().map_err(|error| failed(&target, error))
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
