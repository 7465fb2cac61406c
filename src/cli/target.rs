//! What a command writes versions to: the running service, the lattice that none runs on, or a directory that has no journal.

use super::{
    exit::{Exit, Failure},
    healthcheck, job,
    output::Output,
};
use crate::{
    ops::{ClientError, OfflineDirectory, OperatorClient, TakeError, Target},
    settings::Settings,
    startup::{self, JournalStanding},
    telemetry,
};

/// Finds it for the directory of `settings`. To be released when done.
pub(super) async fn find(
    settings: &Settings,
    directory: &OfflineDirectory,
    output: &Output,
) -> Result<Target, Failure> {
    match startup::journal_standing(settings, job::is_own(settings)?)? {
        JournalStanding::None => Ok(Target::Files(directory.clone())),
        JournalStanding::Idle => {
            if !output.json() {
                // What is found at such a start is reported once: other files that are older than the journal, say.
                telemetry::start_logging("warn", false).map_err(|error| Failure::new(Exit::Local, error))?;
            }
            Ok(Target::Lattice(startup::open_idle(settings).await?))
        }
        JournalStanding::Served => {
            let prefix = settings.server.base_path.trim_matches('/');
            let (_, client) = healthcheck::own_service_under(settings, prefix)?;
            Ok(Target::Service(Box::new(OperatorClient::new(client, settings.admin.token.clone()))))
        }
    }
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
