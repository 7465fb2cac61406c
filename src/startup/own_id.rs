//! The id of this instance is made once, for a new state directory, and kept there: the machine may be renamed, and another may have its name.

use super::{StartupError, keys};
use crate::{
    ops,
    settings::{Settings, unique_id},
    types::PeerId,
};

/// The id of this instance; makes it and writes it down where nothing names it yet.
///
/// # Errors
/// It cannot be read, made or written.
pub fn own_id(settings: &Settings) -> Result<PeerId, StartupError> {
    if settings.instance.node_id.is_some() || settings.kept_id()?.is_some() {
        return Ok(settings.node_id()?);
    }
    let id = match of_statements(settings)? {
        Some(id) => id.as_str().to_owned(),
        None if settings.has_no_id_yet()? => random_id(settings)?,
        None => settings.node_id()?.as_str().to_owned(),
    };
    keep(settings, &id)?;
    Ok(settings.node_id()?)
}

/// As [`own_id`], of a service: its state directory remembers also an id that a setting names, for the day when none does.
pub(super) fn of_service(settings: &Settings) -> Result<PeerId, StartupError> {
    let is_new = settings.has_no_id_yet()?;
    let id = own_id(settings)?;
    if settings.kept_id()?.is_none_or(|kept| kept != id.as_str()) {
        keep(settings, id.as_str())?;
    }
    if is_new {
        tracing::info!(
            node_id = id.as_str(),
            path = %settings.id_file().display(),
            "an id was made for this instance; ARK_NODE_ID gives it another"
        );
    }
    Ok(id)
}

/// The id that statements beside the key name: they are of no other.
fn of_statements(settings: &Settings) -> Result<Option<PeerId>, StartupError> {
    let Some(place) = keys::place(settings) else { return Ok(None) };
    let log = place.log().map_err(|error| StartupError::Key(error.to_string()))?;
    Ok(log.tip().map(|statement| statement.node_id.clone()))
}

fn random_id(settings: &Settings) -> Result<String, StartupError> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| failed(settings, &error))?;
    Ok(unique_id(random))
}

fn keep(settings: &Settings, id: &str) -> Result<(), StartupError> {
    ops::make_directory(&settings.state.path, 0o700).map_err(|error| failed(settings, &error))?;
    ops::write_file(&settings.id_file(), format!("{id}\n").as_bytes()).map_err(|error| failed(settings, &error))
}

fn failed(settings: &Settings, error: &dyn std::fmt::Display) -> StartupError {
    StartupError::State {
        path: settings.state.path.clone(),
        problem: format!(
            "this instance's id cannot be kept there: {error}; set ARK_STATE_PATH to a directory that this user can write, or ARK_NODE_ID"
        ),
    }
}
