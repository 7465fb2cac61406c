//! Files that a power failure may take back to what they were.

use super::{OfflineError, atomic_file, failed};
use std::{io::Write as _, path::Path};

/// As [`write_file`](super::write_file), without a sync of the directory: a power failure may bring back what
/// was there before, never a part of either.
///
/// # Errors
/// [`OfflineError::Io`].
pub fn write_file_revertible(path: &Path, bytes: &[u8]) -> Result<(), OfflineError> {
    let directory = atomic_file::parent(path).map_err(|error| failed(path, error))?;
    let filled = atomic_file::filled(directory, 0o644, |file| file.write_all(bytes));
    filled.and_then(|temp| temp.rename(path)).map_err(|error| failed(path, error))
}
