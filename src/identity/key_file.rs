//! The key file: one line of base64, readable by its owner only (X41's finding on python-tuf: world-readable keys).

use super::{KeyError, KeyPair};
use secrecy::{ExposeSecret, SecretString};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// More than any key file holds.
const MAX_BYTES: u64 = 4096;

/// Why a key file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is a file already; keys are never overwritten.
    #[error("{} exists already and is not overwritten; choose another file with --out, or move it away", .0.display())]
    Exists(PathBuf),
    /// Others may read the file.
    #[error("{} may be read by others than its owner; type: chmod 600 {}", .0.display(), .0.display())]
    Permissions(PathBuf),
    /// The file does not hold a key.
    #[error("{}: {error}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: KeyError,
    },
    /// The file cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the machine says.
        error: io::Error,
    },
}

/// Writes a new key file, mode 0600, durably.
///
/// # Errors
/// [`KeyFileError::Exists`] where there is a file already, [`KeyFileError::Io`].
pub fn write_new(path: &Path, key: &KeyPair) -> Result<(), KeyFileError> {
    let io_error = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
        _ => KeyFileError::Io { path: path.to_owned(), error },
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(io_error)?;
    file.write_all(key.to_base64().expose_secret().as_bytes()).map_err(io_error)?;
    file.write_all(b"\n").map_err(io_error)?;
    file.sync_all().map_err(io_error)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error)
}

/// Reads a key file.
///
/// # Errors
/// [`KeyFileError::Permissions`] where group or others may read it, [`KeyFileError::Key`], [`KeyFileError::Io`].
pub fn read(path: &Path) -> Result<KeyPair, KeyFileError> {
    let io_error = |error: io::Error| KeyFileError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(io_error)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let metadata = file.metadata().map_err(io_error)?;
        if too_open(metadata.uid(), metadata.mode()) {
            return Err(KeyFileError::Permissions(path.to_owned()));
        }
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(io_error)?;
    KeyPair::from_base64(&SecretString::from(text.as_str()))
        .map_err(|error| KeyFileError::Key { path: path.to_owned(), error })
}

/// May others read the file whom its owner did not mean? Kubernetes and systemd hand a secret over as a file of root's that the
/// service's group may read (PostgreSQL has the same rule); of any other owner, nobody else may do anything with it.
#[cfg(unix)]
const fn too_open(owner: u32, mode: u32) -> bool {
    let others = if owner == 0 { 0o037 } else { 0o077 };
    mode & others != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_file_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        let key = KeyPair::generate().unwrap();
        write_new(&path, &key).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().public_key(), key.public_key());
        assert!(matches!(write_new(&path, &key), Err(KeyFileError::Exists(_))));

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read(&path), Err(KeyFileError::Permissions(_))));
    }

    #[test]
    fn only_roots_files_may_be_read_by_their_group() {
        for (owner, mode, open) in [
            (1000, 0o100_600, false),
            (1000, 0o100_400, false),
            (1000, 0o100_440, true),
            (1000, 0o100_604, true),
            (0, 0o100_600, false),
            (0, 0o100_440, false),
            (0, 0o100_640, false),
            (0, 0o100_660, true),
            (0, 0o100_644, true),
        ] {
            assert_eq!(too_open(owner, mode), open, "{owner} {mode:o}");
        }
    }
}
