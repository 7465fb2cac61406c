//! What an instance needs before it can start.

use super::local_access::random_token;
use crate::lattice::offline::{OfflineError, write_new_file};
use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt, path::Path};
use zeroize::Zeroizing;

fn failed(path: &Path, error: io::Error) -> OfflineError {
    OfflineError::Io { path: path.to_owned(), error }
}

/// Makes a directory and those above it. Answers whether it was not there.
///
/// # Errors
/// [`OfflineError::NotADirectory`], [`OfflineError::Io`].
pub fn make_directory(path: &Path, mode: u32) -> Result<bool, OfflineError> {
    if path.is_dir() {
        return Ok(false);
    }
    if path.symlink_metadata().is_ok() {
        return Err(failed(path, io::ErrorKind::NotADirectory.into()));
    }
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|error| failed(path, error))?;
    Ok(true)
}

/// Makes an operator's token and its file, mode 0600. Answers whether it was not there: a token is never overwritten.
///
/// # Errors
/// [`OfflineError::Io`].
pub fn write_token(path: &Path) -> Result<bool, OfflineError> {
    if path.symlink_metadata().is_ok() {
        return Ok(false);
    }
    let token = random_token().map_err(|error| failed(path, error))?;
    let text = Zeroizing::new(format!("{}\n", token.as_str()));
    write_new_file(path, text.as_bytes(), 0o600)?;
    Ok(true)
}
