//! The key file: one line of base64, or a key under a passphrase; readable by its owner only (X41's finding on python-tuf:
//! world-readable keys).

use super::{
    KeyError, KeyPair,
    sealed::{SealError, SealedKey},
};
use crate::types::PublicKey;
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
    /// The file is encrypted, and no passphrase was given.
    #[error(
        "{} is encrypted: give its passphrase in ARK_KEY_PASSPHRASE_FILE or ARK_KEY_PASSPHRASE, or start on a terminal, which asks for it",
        .0.display()
    )]
    Locked(PathBuf),
    /// The encrypted file cannot be opened or made.
    #[error("{}: {error}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: SealError,
    },
    /// What stands beside the key does not fit it.
    #[error("{}: {problem}", path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
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

/// What a key file holds.
#[derive(Debug)]
pub(super) enum Stored {
    Plain(KeyPair),
    Sealed(SealedKey),
}

impl Stored {
    pub(super) fn public_key(&self) -> Option<PublicKey> {
        match self {
            Self::Plain(key) => Some(key.public_key()),
            Self::Sealed(sealed) => sealed.public_key(),
        }
    }

    /// The key; `path` is named in errors.
    pub(super) fn open(self, path: &Path, passphrase: Option<&SecretString>) -> Result<KeyPair, KeyFileError> {
        match (self, passphrase) {
            (Self::Plain(key), _) => Ok(key),
            (Self::Sealed(_), None) => Err(KeyFileError::Locked(path.to_owned())),
            (Self::Sealed(sealed), Some(passphrase)) => {
                sealed.open(passphrase).map_err(|error| KeyFileError::Sealed { path: path.to_owned(), error })
            }
        }
    }
}

fn io_error(path: &Path, error: io::Error) -> KeyFileError {
    KeyFileError::Io { path: path.to_owned(), error }
}

/// What the file of this key holds: plain without a passphrase.
fn text_of(path: &Path, key: &KeyPair, passphrase: Option<&SecretString>) -> Result<Zeroizing<String>, KeyFileError> {
    let failed = |error| KeyFileError::Sealed { path: path.to_owned(), error };
    Ok(Zeroizing::new(match passphrase {
        None => format!("{}\n", key.to_base64().expose_secret()),
        Some(passphrase) => SealedKey::seal(key, passphrase).and_then(|sealed| sealed.to_text()).map_err(failed)?,
    }))
}

pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all())
}

/// Writes a new key file, mode 0600, durably.
///
/// # Errors
/// [`KeyFileError::Exists`] where there is a file already, [`KeyFileError::Io`].
pub fn write_new(path: &Path, key: &KeyPair) -> Result<(), KeyFileError> {
    write_new_under(path, key, None)
}

/// As [`write_new`], encrypted where there is a passphrase.
///
/// # Errors
/// As [`write_new`], and [`KeyFileError::Sealed`].
pub fn write_new_under(path: &Path, key: &KeyPair, passphrase: Option<&SecretString>) -> Result<(), KeyFileError> {
    // Looked at first: to encrypt takes its time.
    if path.symlink_metadata().is_ok() {
        return Err(KeyFileError::Exists(path.to_owned()));
    }
    let text = text_of(path, key, passphrase)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    write(path, &options, text.as_bytes()).and_then(|()| sync_folder(path)).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
        _ => io_error(path, error),
    })
}

fn write(path: &Path, options: &OpenOptions, bytes: &[u8]) -> io::Result<()> {
    let mut options = options.clone();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Puts a file of this text, mode 0600, in the place of whatever is there: whole or not at all, whenever the process ends.
pub(super) fn replace(path: &Path, text: &[u8]) -> Result<(), KeyFileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let draft = path.with_file_name(name);
    // Of a process that was killed: perhaps with another mode.
    if let Err(error) = std::fs::remove_file(&draft)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(io_error(&draft, error));
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    write(&draft, &options, text).map_err(|error| io_error(&draft, error))?;
    std::fs::rename(&draft, path).and_then(|()| sync_folder(path)).map_err(|error| io_error(path, error))
}

/// Puts this key in the place of whatever is there.
pub(super) fn replace_key(path: &Path, key: &KeyPair, passphrase: Option<&SecretString>) -> Result<(), KeyFileError> {
    replace(path, text_of(path, key, passphrase)?.as_bytes())
}

/// Reads a plain key file.
///
/// # Errors
/// As [`read_under`].
pub fn read(path: &Path) -> Result<KeyPair, KeyFileError> {
    read_under(path, None)
}

/// Reads a key file, under its passphrase where it is encrypted.
///
/// # Errors
/// [`KeyFileError::Permissions`] where group or others may read it, [`KeyFileError::Locked`], [`KeyFileError::Sealed`],
/// [`KeyFileError::Key`], [`KeyFileError::Io`].
pub fn read_under(path: &Path, passphrase: Option<&SecretString>) -> Result<KeyPair, KeyFileError> {
    read_stored(path)?.open(path, passphrase)
}

/// What the file holds, whatever it takes to open it.
pub(super) fn read_stored(path: &Path) -> Result<Stored, KeyFileError> {
    let failed = |error: io::Error| io_error(path, error);
    let file = File::open(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let metadata = file.metadata().map_err(failed)?;
        if too_open(metadata.uid(), metadata.mode()) {
            return Err(KeyFileError::Permissions(path.to_owned()));
        }
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    if text.trim_start().starts_with('{') {
        let sealed = SealedKey::parse(&text);
        return sealed.map(Stored::Sealed).map_err(|error| KeyFileError::Sealed { path: path.to_owned(), error });
    }
    let key = KeyPair::from_base64(&SecretString::from(text.as_str()));
    key.map(Stored::Plain).map_err(|error| KeyFileError::Key { path: path.to_owned(), error })
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
