//! What a start refuses before it opens anything: one function for `serve` and for `config check`.

use super::{StartupError, check_registry, check_tls, listeners::resolve, public_key, trust};
use crate::{
    federation::client::{Client, ClientError},
    identity::KeyPair,
    settings::{LOG_LEVELS, NamedPeer, Settings, SettingsError},
    telemetry,
};

fn refused(key: &'static str, problem: String) -> StartupError {
    StartupError::Settings(SettingsError::Value { key, problem })
}

/// Reads what the settings name, and connects to nothing. `key` is that of [`super::load_key`].
///
/// # Errors
/// [`StartupError`], with the setting named.
pub fn check(settings: &Settings, key: Option<&KeyPair>) -> Result<(), StartupError> {
    telemetry::check_level(&settings.log.level).map_err(|_| refused("log.level", LOG_LEVELS.to_owned()))?;
    public_key(settings, key)?;
    check_registry(settings)?;
    check_tls(settings)?;
    trust::authorities(settings)?;
    check_peers(settings)?;
    check_own_address(settings)?;
    resolve(settings)?;
    Ok(())
}

fn check_peers(settings: &Settings) -> Result<(), StartupError> {
    let mut first: Option<Client> = None;
    for NamedPeer { url, .. } in settings.configured_peers()? {
        let client = match &first {
            Some(first) => first.at(&url),
            None => Client::new(&url, &settings.limits()),
        };
        let is_hub = settings.federation.hub_url.as_ref().is_some_and(|hub| hub.ends_with(&url));
        let (key, variable) = match is_hub {
            true => ("federation.hub_url", "FEDERATION_HUB_URL"),
            false => ("federation.trusted_peers", "FEDERATION_TRUSTED_PEERS"),
        };
        first = Some(client.map_err(|error| refused(key, format!("{error} ({variable})")))?);
    }
    Ok(())
}

/// The address under which other machines reach this instance: it is sent to all of them.
fn check_own_address(settings: &Settings) -> Result<(), StartupError> {
    let Some(address) = &settings.federation.address else { return Ok(()) };
    match Client::new(address, &settings.limits()) {
        // Whether this machine may ask it does not matter.
        Ok(_) | Err(ClientError::OutOfReach(..)) => Ok(()),
        Err(error) => Err(refused("federation.address", error.to_string())),
    }
}
