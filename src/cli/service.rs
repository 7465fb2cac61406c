//! The running service, for commands that ask it: where it is, and with whose right.

use super::{
    exit::{Exit, Failure},
    healthcheck,
    job::{self, CaFileArg, set_path},
    output::Output,
};
use crate::{
    ops::{self, Ask, Client, ClientError, LocalService, NoAnswer, OfflineError, OperatorClient},
    settings::{Overrides, Settings},
    types::Limits,
};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The service to ask, on every command that asks one for its operator.
#[derive(Debug, clap::Args)]
pub(super) struct ServiceArg {
    /// The service to ask; otherwise the one of the settings, on this machine.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The service's state directory, with its address and admin token; otherwise the first of ARK_STATE_PATH, ./ark_state,
    /// $XDG_STATE_HOME/ark-lattice and /var/lib/ark-lattice in which a service runs.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    authorities: CaFileArg,
}

/// A service that can be asked.
#[derive(Debug)]
pub(super) struct Service {
    client: OperatorClient,
    address: String,
    /// It is this machine's, by the settings.
    own: bool,
    /// The token is not for this address.
    withheld: bool,
    pub(super) limits: Limits,
}

impl ServiceArg {
    /// The service, as quick to answer as any.
    pub(super) fn open(&self, output: &Output) -> Result<Service, Failure> {
        self.open_for(output, None)
    }

    /// The service, which may take this long.
    pub(super) fn open_for(&self, output: &Output, patience: Option<Duration>) -> Result<Service, Failure> {
        let mut overrides = Overrides::new();
        set_path(&mut overrides, "state.path", self.state.as_deref())?;
        let settings = Settings::load(overrides)?;
        let limits = settings.limits();
        let found = ops::local_service(&settings.service_states).or_else(|error| match &self.url {
            // Named: what another service recorded is not needed.
            Some(_) if self.state.is_none() => Ok(None),
            _ => Err(unreadable(error)),
        })?;
        if let Some(state) = self.state.as_deref().filter(|_| found.is_none()) {
            return Err(no_service(state));
        }
        if let Some(found) = &found {
            output.detail(|| format!("state directory {}: the service at {}", found.state.display(), found.url));
        }
        let (address, client) = match (&self.url, &found) {
            (Some(url), _) => (url.clone(), self.authorities.client(&settings, url)?),
            (None, Some(found)) => (found.url.clone(), recorded(&settings, found)?),
            (None, None) => own(&settings)?,
        };
        let client = patience.map_or(client.clone(), |patience| client.with_patience(patience));
        // A local token belongs to the service that recorded it; the admin token never goes to an address that a file names.
        let token = match (&self.url, found) {
            (None, Some(found)) => Some(found.token),
            (Some(url), Some(found)) if self.state.is_some() || found.is_at(url) => Some(found.token),
            _ => settings.admin.token,
        };
        // Anybody on the way could read it, and be the operator from then on.
        let safe = self.url.as_deref().is_none_or(is_private);
        let withheld = token.is_some() && !safe;
        let client = OperatorClient::new(client, token.filter(|_| safe));
        Ok(Service { client, address, own: self.url.is_none(), withheld, limits })
    }
}

/// The service that has the state directory of the settings open.
pub(super) fn of_state(settings: &Settings) -> Result<OperatorClient, Failure> {
    let found = ops::local_service(std::slice::from_ref(&settings.state.path)).map_err(unreadable)?;
    Ok(match found {
        Some(found) => OperatorClient::new(recorded(settings, &found)?, Some(found.token)),
        None => OperatorClient::new(own(settings)?.1, settings.admin.token.clone()),
    })
}

fn recorded(settings: &Settings, found: &LocalService) -> Result<Client, Failure> {
    healthcheck::client_at(settings, &found.url, is_loopback(&found.url))
}

fn unreadable(error: OfflineError) -> Failure {
    Failure::from(error)
        .because("run the command as the user of the service, with sudo for example; or set ARK_ADMIN_TOKEN and --url")
}

fn no_service(state: &Path) -> Failure {
    let state = state.display();
    let next = format!("start it with: ark-lattice serve --state {state}");
    Failure::new(Exit::Unavailable, format!("no service runs with the state directory {state}: {next}"))
}

/// This machine's service, under the prefix of the settings.
fn own(settings: &Settings) -> Result<(String, Client), Failure> {
    healthcheck::own_service_under(settings, settings.server.base_path.trim_matches('/'))
}

/// Does nobody else see what is sent to this address?
fn is_private(url: &str) -> bool {
    !url.to_ascii_lowercase().starts_with("http://") || is_loopback(url)
}

/// Is it an address of this machine only?
pub(super) fn is_loopback(url: &str) -> bool {
    let lower = url.to_ascii_lowercase();
    let rest = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Service {
    /// Where it is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(&self, ask: Ask, path: &str, body: Option<String>) -> Result<Bytes, Failure> {
        job::wait(self.answer(ask, path, body))
    }

    /// The answer to a request that the command can do without: `None` where the service of the settings does not run.
    pub(super) fn post_if_running(&self, path: &str, body: String) -> Result<Option<Bytes>, Failure> {
        job::wait(async {
            match self.client.ask(Ask::Post, path, Some(body)).await {
                Err(ClientError::Unreachable(..)) if self.own => Ok(None),
                answer => answer.map(Some).map_err(|error| self.told(error)),
            }
        })
    }

    /// The answer to a question.
    pub(super) async fn answer(&self, ask: Ask, path: &str, body: Option<String>) -> Result<Bytes, Failure> {
        self.client.ask(ask, path, body).await.map_err(|error| self.told(error))
    }

    /// An answer, read.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &Bytes) -> Result<T, Failure> {
        serde_json::from_slice(answer).map_err(|error| {
            let what = "does not answer as an ark-lattice service of this version does";
            Failure::new(Exit::Refused, format!("{} {what}: {error}", self.address))
        })
    }

    /// What went wrong, and what to do about it here.
    fn told(&self, error: ClientError) -> Failure {
        if self.own
            && let ClientError::Unreachable(_, why) = &error
        {
            let next = "start it with: ark-lattice serve; or name another with --url";
            if matches!(why, NoAnswer::Refused | NoAnswer::Timeout | NoAnswer::Cut | NoAnswer::Other(_)) {
                return Failure::new(
                    Exit::Unavailable,
                    format!("no service answers at {} ({why}); {next}", self.address),
                );
            }
        }
        let failure = Failure::from(error);
        let next = match failure.code().unwrap_or_default() {
            "operator_token_required" if self.withheld => {
                "the token of the settings is not sent in clear text to another machine: use https://, or a tunnel \
                 (ssh -L 9001:127.0.0.1:9001 HOST) and --url http://127.0.0.1:9001"
            }
            "operator_token_required" => {
                "name that service's state directory with --state, or set ARK_ADMIN_TOKEN, or ARK_ADMIN_TOKEN_FILE, to that service's"
            }
            "peer_not_found" => "see: ark-lattice federation list-peers",
            "invite_not_found" => "see: ark-lattice invite list",
            "key_unknown" => "begin with: ark-lattice federation trust add --peer URL",
            "conflict_not_found" => "see: ark-lattice conflicts list --all",
            "not_found" => "the service there has no such route: bring it to this version",
            _ => return failure,
        };
        failure.because(next)
    }
}

#[cfg(test)]
mod tests {
    use super::is_private;

    #[test]
    fn the_token_goes_in_clear_text_to_this_machine_only() {
        for url in [
            "https://ark.example",
            "http://127.0.0.1:9001/x",
            "http://[::1]:9001",
            "HTTP://LocalHost",
            "http://127.8.8.8",
        ] {
            assert!(is_private(url), "{url}");
        }
        for url in [
            "http://ark.example",
            "http://192.168.1.5:9000",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "http://[fd00::1]:9001",
        ] {
            assert!(!is_private(url), "{url}");
        }
    }
}
