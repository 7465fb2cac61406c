//! What an instance needs before it can start.

use crate::lattice::offline::{OfflineError, write_new_file};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt, path::Path};
use zeroize::Zeroizing;

/// Random bytes of an operator's token.
const TOKEN_BYTES: usize = 32;

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
    let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| failed(path, io::Error::other(error.to_string())))?;
    let text = Zeroizing::new(format!("{}\n", URL_SAFE_NO_PAD.encode(bytes.as_slice())));
    write_new_file(path, text.as_bytes(), 0o600)?;
    Ok(true)
}
