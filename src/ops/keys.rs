//! This instance's key, outside a running service.

use crate::identity::{self, KeyFileError, KeyPair};
use secrecy::SecretString;
use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// Makes a new key and its file (mode 0600), under a passphrase where there is one. The file's directory is made, mode 0700, where it does not exist.
///
/// # Errors
/// [`KeyFileError`]; a key is never overwritten.
pub fn generate_key(path: &Path, passphrase: Option<&SecretString>) -> Result<KeyPair, KeyFileError> {
    let key = KeyPair::generate().map_err(|error| KeyFileError::Key { path: path.to_owned(), error })?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| failed(folder.to_owned(), error))?;
    }
    identity::write_new_under(path, &key, passphrase)?;
    Ok(key)
}

/// Reads a key file, under its passphrase where it is encrypted.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_key(path: &Path, passphrase: Option<&SecretString>) -> Result<KeyPair, KeyFileError> {
    identity::read_under(path, passphrase)
}

fn failed(path: PathBuf, error: io::Error) -> KeyFileError {
    KeyFileError::Io { path, error }
}
