//! The lattice of the settings: opened for the service, and for commands that run without one.

use super::{StartupError, check_file};
use crate::{
    lattice::{
        Lattice,
        directory::{
            self, CaseSensitivity, DirectoryLattice, DirectoryOptions, GATHER_INTERVAL, ManifestHeader, OpenError,
            VANISH_GRACE,
        },
    },
    ops::{self, AcceptedNodes},
    settings::Settings,
    types::{NodeId, SharedClock, SystemClock},
};
use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

pub use crate::lattice::directory::{Adopted, JournalStanding, are_copies};

const JOURNAL: &str = "lattice.redb";
/// How long the service waits for a command that has the journal open.
const WAIT_FOR_COMMAND: Duration = Duration::from_secs(10);
/// How often it is looked whether the index is built, or the journal is free.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl From<OpenError> for StartupError {
    fn from(error: OpenError) -> Self {
        Self::Lattice(error.to_string())
    }
}

fn journal(settings: &Settings) -> PathBuf {
    settings.state.path.join(JOURNAL)
}

/// Opens the lattice of the settings for the service, which holds the state directory: whatever has the journal open then is a command, and
/// is waited for. Its index is built from then on.
pub(super) async fn open_for_service(
    settings: &Settings,
    clock: &SharedClock,
) -> Result<Arc<dyn Lattice>, StartupError> {
    let began = Instant::now();
    loop {
        match DirectoryLattice::open(options(settings, clock, manifest(settings)?)) {
            Err(OpenError::JournalInUse(_)) if began.elapsed() < WAIT_FOR_COMMAND => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            opened => return Ok(opened?),
        }
    }
}

fn options(settings: &Settings, clock: &SharedClock, manifest: Option<ManifestHeader>) -> DirectoryOptions {
    DirectoryOptions {
        directory: settings.lattice.path.clone(),
        journal: journal(settings),
        limits: settings.limits(),
        clock: Arc::clone(clock),
        gather_interval: GATHER_INTERVAL,
        vanish_grace: VANISH_GRACE,
        rescan_interval: settings.lattice.rescan_interval.get(),
        case: CaseSensitivity::Probe,
        manifest,
    }
}

/// What `manifest.json` says of this instance, where it is written.
fn manifest(settings: &Settings) -> Result<Option<ManifestHeader>, StartupError> {
    let header = ManifestHeader {
        node_id: settings.node_id()?.to_string(),
        instance_type: settings.instance.instance_type.as_str().to_owned(),
    };
    Ok(settings.lattice.write_manifest.then_some(header))
}

/// Binds the journal of the settings to their data directory. No service may run on either.
///
/// # Errors
/// [`StartupError::Lattice`]: there is no journal, one of them cannot be used, or a service uses it.
pub fn adopt(settings: &Settings) -> Result<Adopted, StartupError> {
    check_file(settings, JOURNAL)?;
    let journal = journal(settings);
    if !journal.exists() {
        return Err(StartupError::Lattice(format!(
            "there is no journal {}, so nothing has to be adopted: a first start takes the data directory as it is (ark-lattice serve). If \
             there should be one, set ARK_STATE_PATH to its directory",
            journal.display()
        )));
    }
    Ok(directory::adopt(&settings.lattice.path, &journal)?)
}

/// Whether a service would start on the data directory with the journal of the settings, as far as their markers show it. Changes nothing.
///
/// # Errors
/// [`StartupError::Lattice`], as the service would report it.
pub fn check_marker(settings: &Settings) -> Result<(), StartupError> {
    Ok(directory::check_marker(&settings.lattice.path, &journal(settings))?)
}

/// Does a service hold the lock of this data directory?
#[must_use]
pub fn has_service(path: &Path) -> bool {
    directory::is_served(path)
}

/// How the data directory of the settings stands to their journal. `is_own`: the settings name this directory themselves, and not a command
/// of its own accord.
///
/// # Errors
/// [`StartupError::Lattice`]: another service serves the directory, or its marker is missing.
pub fn journal_standing(settings: &Settings, is_own: bool) -> Result<JournalStanding, StartupError> {
    Ok(directory::journal_standing(&settings.lattice.path, &journal(settings), is_own)?)
}

/// Opens the lattice of the settings without a service, and waits until its index is built. To be closed when done.
///
/// # Errors
/// [`StartupError::Lattice`]: the lattice cannot be opened, or failed.
pub async fn open_idle(settings: &Settings) -> Result<Arc<dyn Lattice>, StartupError> {
    check_file(settings, JOURNAL)?;
    let options = options(settings, &SystemClock::shared(), manifest(settings)?);
    built(DirectoryLattice::open(options)?).await
}

/// Waits until its index is built.
async fn built(lattice: Arc<dyn Lattice>) -> Result<Arc<dyn Lattice>, StartupError> {
    loop {
        let status = lattice.status();
        match status.fault {
            _ if status.ready => return Ok(lattice),
            Some(fault) if !status.unwatched => {
                lattice.close().await;
                return Err(StartupError::Lattice(fault));
            }
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// How a command edits nodes of a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditAccess {
    /// In the files: there is no journal for the directory, or a service sees what changes in it.
    Files,
    /// By the lattice: the journal is kept for it, and no other process has it open.
    Lattice,
    /// By the lattice, as soon as another command has closed it.
    Busy,
}

/// How nodes of the data directory of the settings are edited. `is_own` as for [`journal_standing`].
///
/// # Errors
/// [`StartupError::Lattice`]: its marker is missing, or is not one.
pub fn edit_access(settings: &Settings, is_own: bool) -> Result<EditAccess, StartupError> {
    check_file(settings, JOURNAL)?;
    match directory::journal_standing(&settings.lattice.path, &journal(settings), is_own) {
        // The service that serves it has another journal.
        Ok(JournalStanding::None) | Err(OpenError::DirectoryInUse(_)) => Ok(EditAccess::Files),
        Ok(JournalStanding::Served) if is_served(settings) => Ok(EditAccess::Files),
        Ok(JournalStanding::Served) => Ok(EditAccess::Busy),
        Ok(JournalStanding::Idle) => Ok(EditAccess::Lattice),
        Err(error) => Err(error.into()),
    }
}

/// A service holds the lock of the state directory; commands hold that of the journal alone. One that cannot be looked at counts as held.
fn is_served(settings: &Settings) -> bool {
    let lock = File::open(settings.state.path.join("lock"));
    lock.map_or(true, |lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// As [`open_idle`], for edits: `manifest.json` is left to the service. `None`: another process opened it first.
///
/// # Errors
/// As [`open_idle`].
pub async fn open_unless_busy(settings: &Settings) -> Result<Option<Arc<dyn Lattice>>, StartupError> {
    match DirectoryLattice::open(options(settings, &SystemClock::shared(), None)) {
        Ok(lattice) => built(lattice).await.map(Some),
        Err(OpenError::JournalInUse(_) | OpenError::DirectoryInUse(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Dates the versions of these nodes now, without a service: opens the lattice, waits for its index, and closes it again.
///
/// # Errors
/// [`StartupError::Lattice`]: the lattice cannot be opened, or failed.
pub async fn accept_nodes(settings: &Settings, ids: Vec<NodeId>) -> Result<AcceptedNodes, StartupError> {
    let lattice = open_idle(settings).await?;
    let accepted = ops::accept_nodes(&*lattice, ids).await.map_err(|error| StartupError::Lattice(error.to_string()));
    lattice.close().await;
    accepted
}
