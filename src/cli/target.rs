//! What a command writes to: versions to the running service, the lattice that none runs on, or a directory that has no journal; edits to
//! that lattice or to the files.

use super::{
    exit::{Exit, Failure},
    job,
    output::Output,
    service,
};
use crate::{
    ops::{ClientError, EditTarget, OfflineDirectory, TakeError, Target},
    settings::Settings,
    startup::{self, EditAccess, JournalStanding},
    telemetry,
};
use std::time::{Duration, Instant};

/// How long a command waits for another one that has the journal open, and how often it looks.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What an edit logs: what is found once. Broken files, say, are there at each of many edits, and what fails is the command's own error.
const EDIT_LOG: &str = "off,ark_lattice::lattice::dating=warn";

/// Finds it for the directory of `settings`. To be released when done.
pub(super) async fn find(
    settings: &Settings,
    directory: &OfflineDirectory,
    output: &Output,
) -> Result<Target, Failure> {
    let is_own = job::is_own(settings)?;
    if is_copy(is_own, directory)? {
        return Ok(Target::Files(directory.clone()));
    }
    match startup::journal_standing(settings, is_own)? {
        JournalStanding::None => Ok(Target::Files(directory.clone())),
        JournalStanding::Idle => {
            start_logging("warn", output)?;
            Ok(Target::Lattice(startup::open_idle(settings).await?))
        }
        JournalStanding::Served => Ok(Target::Service(Box::new(service::of_state(settings)?))),
    }
}

/// Is it a copy of the directory that the settings name, a backup that lies beside it, say? Nothing of it belongs into the journal.
fn is_copy(is_own: bool, directory: &OfflineDirectory) -> Result<bool, Failure> {
    Ok(!is_own && startup::are_copies(&job::own_directory()?, directory.path()))
}

/// What is found at such a start is reported once: other files that are older than the journal, say.
fn start_logging(level: &str, output: &Output) -> Result<(), Failure> {
    if output.json() {
        return Ok(());
    }
    telemetry::start_logging(level, false).map_err(|error| Failure::new(Exit::Local, error))
}

/// Finds what edits of the directory of `settings` are written to. To be closed when done.
pub(super) async fn find_for_edits(
    settings: &Settings,
    directory: &OfflineDirectory,
    output: &Output,
) -> Result<EditTarget, Failure> {
    let (is_own, began) = (job::is_own(settings)?, Instant::now());
    if is_copy(is_own, directory)? {
        return Ok(EditTarget::Files(directory.clone()));
    }
    while began.elapsed() < LONGEST_WAIT {
        match startup::edit_access(settings, is_own)? {
            EditAccess::Files => return Ok(EditTarget::Files(directory.clone())),
            EditAccess::Lattice => {
                start_logging(EDIT_LOG, output)?;
                if let Some(lattice) = startup::open_unless_busy(settings).await? {
                    return Ok(EditTarget::Lattice(lattice, directory.clone()));
                }
            }
            EditAccess::Busy => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let state = settings.state.path.display();
    Err(Failure::local(format!(
        "another ark-lattice command has the journal in {state} open: try again when it has ended"
    )))
}

/// Closes what was opened.
pub(super) async fn release(target: &Target) {
    if let Target::Lattice(lattice) = target {
        lattice.close().await;
    }
}

impl From<TakeError> for Failure {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Service(error) => {
                let next = match &error {
                    ClientError::Unreachable(..) => {
                        "a service has the journal open, but does not answer at the address of the settings: set FEDERATION_PORT to its port, \
                         or stop it"
                    }
                    _ => "it serves this directory and has to take the versions",
                };
                Self::from(error).about("the running service").because(next)
            }
            TakeError::Directory(error) => error.into(),
            error => Self::local(error),
        }
    }
}
