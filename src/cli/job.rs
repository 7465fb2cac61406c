//! What most commands need before they start.

use super::{exit::Failure, input, key::unlock};
use crate::{
    ops::{self, Client, ClientError, KeyPair, Membership, OfflineDirectory, Reach},
    settings::{Overrides, Settings},
    startup,
    types::{NodeId, PublicKey, SystemClock},
};
use std::path::{Path, PathBuf};

/// The data directory, on every command that works on it.
#[derive(Debug, clap::Args)]
pub(super) struct LatticeArg {
    /// The data directory; otherwise the one of the settings (LATTICE_PATH).
    #[arg(long, value_name = "DIR")]
    pub(super) lattice: Option<PathBuf>,
}

impl LatticeArg {
    /// The settings with this directory.
    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        let mut overrides = Overrides::new();
        set_path(&mut overrides, "lattice.path", self.lattice.as_deref())?;
        Ok(Settings::load(overrides)?)
    }

    /// The directory, checked: where it is that of the settings, an empty mount point in its place is refused as by `serve`.
    pub(super) fn open(&self) -> Result<(Settings, OfflineDirectory), Failure> {
        let settings = self.settings()?;
        if self.lattice.is_none() || is_own(&settings)? {
            startup::check_marker(&settings)?;
        }
        let directory = OfflineDirectory::open(&settings.lattice.path, settings.limits())?;
        Ok((settings, directory))
    }
}

/// The state directory, on commands that read it themselves.
#[derive(Debug, clap::Args)]
pub(super) struct StateArg {
    /// The state directory; otherwise the one of the settings (ARK_STATE_PATH).
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl StateArg {
    /// The settings with this directory.
    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        let mut overrides = Overrides::new();
        set_path(&mut overrides, "state.path", self.state.as_deref())?;
        Ok(Settings::load(overrides)?)
    }
}

/// Is the directory of `settings` the one that the settings name without the command line? Then the journal is meant for it.
pub(super) fn is_own(settings: &Settings) -> Result<bool, Failure> {
    let (own, path) = (own_directory()?, &settings.lattice.path);
    let canonical = own.canonicalize().ok().zip(path.canonicalize().ok());
    Ok(own == *path || canonical.is_some_and(|(own, it)| own == it))
}

/// The data directory that the settings name without the command line.
pub(super) fn own_directory() -> Result<PathBuf, Failure> {
    Ok(Settings::load(Overrides::new())?.lattice.path)
}

/// Puts a path of the command line over the settings.
pub(super) fn set_path(overrides: &mut Overrides, key: &'static str, path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let text = path.to_str().ok_or_else(|| Failure::local(format!("{} is not UTF-8", path.display())))?;
    overrides.push((key, text.to_owned()));
    Ok(())
}

/// The key to sign with: the file that is named, or the settings' own.
pub(super) fn signing_key(settings: &Settings, file: Option<&Path>) -> Result<KeyPair, Failure> {
    if let Some(file) = file {
        return Ok(ops::read_key(file, settings.instance.key_passphrase.as_ref())?);
    }
    let mut unlocked = settings.clone();
    unlock(&mut unlocked)?;
    let key = startup::load_key(&unlocked)?;
    let key = key.ok_or_else(|| Failure::local("there is no key to sign with; make one with: ark-lattice keygen"))?;
    let stated = settings.instance.public_key.as_deref().map(PublicKey::parse).and_then(Result::ok);
    if stated.is_some_and(|stated| stated != key.public_key()) {
        return Err(Failure::local("ARK_FED_PUBKEY is not the public key of the private key; unset one or correct it"));
    }
    Ok(key)
}

/// Another instance.
pub(super) fn client(settings: &Settings, url: &str) -> Result<Client, Failure> {
    let client = match startup::outgoing_tls(settings)? {
        Some(tls) => Client::connecting(url, &settings.limits(), Some(tls), Reach::of_operator()),
        None => Client::new(url, &settings.limits()),
    };
    Ok(client?.with_membership(membership(settings)))
}

/// What we show of our network, where it has a key.
pub(super) fn membership(settings: &Settings) -> Option<Membership> {
    settings.network_key().map(|key| Membership::new(key, SystemClock::shared()))
}

/// Our certificate with its key, as other instances are shown it.
pub(super) fn shown_certificate(settings: &Settings) -> Result<Option<Vec<u8>>, Failure> {
    let Some((certificate, key)) = settings.client_tls_files()? else { return Ok(None) };
    let [certificate, key] = [input::read(certificate, MAX_BUNDLE_BYTES)?, input::read(key, MAX_BUNDLE_BYTES)?];
    Ok(Some([certificate, "\n".into(), key].concat()))
}

/// More than any bundle of authorities holds.
const MAX_BUNDLE_BYTES: usize = 4 << 20;

/// Whom to believe that it is the other instance, on every command that asks one.
#[derive(Debug, clap::Args)]
pub(super) struct CaFileArg {
    /// PEM file with the authorities that may have issued the other side's certificate; otherwise this machine's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl CaFileArg {
    /// Another instance.
    pub(super) fn client(&self, settings: &Settings, url: &str) -> Result<Client, Failure> {
        let Some(path) = &self.ca_file else { return client(settings, url) };
        let authorities = input::read(path, MAX_BUNDLE_BYTES)?;
        let client = Client::trusting(&authorities, shown_certificate(settings)?.as_deref(), url, &settings.limits());
        client.map(|client| client.with_membership(membership(settings))).map_err(|error| match error {
            ClientError::Authorities(_) => Failure::from(error).about(input::name(path)),
            error => error.into(),
        })
    }
}

/// An id of the command line.
pub(super) fn node_id(text: &str) -> Result<NodeId, Failure> {
    NodeId::parse(text).map_err(|error| Failure::local(error).about(format!("{text:?}")))
}

/// Waits for a conversation with another instance.
pub(super) fn wait<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T, Failure>
where
    Failure: From<E>,
{
    Ok(runtime()?.block_on(work)?)
}

/// What waits for several conversations, one after the other.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::local)
}
