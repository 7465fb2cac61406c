//! Why the registry's file, or a step on it, failed.

use super::log::log_path;
use crate::registry::{RegistryError, StoreFault, StoreState};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why the file of an embedded registry cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not a registry, is damaged, or is of another version. It holds the key bindings, so it is never replaced
    /// silently: restore a copy, or move it away to start with no binding at all.
    #[error(
        "the registry file {} cannot be read: {reason}; restore a copy (with {}), or move it away to start without any key binding",
        path.display(), log_name(path)
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has the file open.
    #[error("the registry file {} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file or its directory cannot be opened, made or written.
    #[error("the registry file {} cannot be opened: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
}

/// Why a step on the open file failed.
#[derive(Debug, Clone)]
pub(super) enum StoreError {
    /// The disk is full.
    Full,
    /// The file system takes no writes. Nothing was tried.
    ReadOnly(String),
    /// The file cannot be read or written.
    Failed(String),
    /// A row cannot be understood.
    Corrupt(String),
}

impl StoreError {
    /// What is wrong, for people.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Full => RegistryError::NoSpace.to_string(),
            Self::ReadOnly(reason) | Self::Failed(reason) | Self::Corrupt(reason) => reason,
        }
    }
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::NoSpace,
            StoreError::ReadOnly(reason) | StoreError::Failed(reason) => {
                StoreFault::new(StoreState::Unwritable, reason).into()
            }
            StoreError::Corrupt(reason) => Self::Corrupt(reason),
        }
    }
}

pub(super) fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(reason) => StoreError::Corrupt(reason),
        redb::Error::Io(error) if is_full(&error) => StoreError::Full,
        other => StoreError::Failed(other.to_string()),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

pub(super) fn open_error(path: &Path, error: impl Into<redb::Error>) -> OpenError {
    let path = path.to_owned();
    match error.into() {
        redb::Error::DatabaseAlreadyOpen => OpenError::InUse { path },
        redb::Error::Io(error)
            if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            OpenError::Io { path, reason: error.to_string() }
        }
        other => OpenError::corrupt(&path, &other),
    }
}

pub(super) fn io_error(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), reason: error.to_string() }
}

/// The log's name: a file of the registry's name beside it.
fn log_name(path: &Path) -> String {
    log_path(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

pub(super) fn unreadable(id: &impl std::fmt::Debug) -> StoreError {
    StoreError::Corrupt(format!("the row of {id:?}"))
}

impl OpenError {
    pub(super) fn corrupt(path: &Path, reason: &(impl std::fmt::Display + ?Sized)) -> Self {
        Self::Corrupt { path: path.to_owned(), reason: reason.to_string() }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
            return Self::ReadOnly(error.to_string());
        }
        failed(redb::Error::Io(error))
    }
}
