//! Invites and the inbox, from the state directory and the settings.

use super::StartupError;
use crate::{
    federation::{inbox::Inbox, invites::Invites, own_addresses::Listens},
    ops::Pairing,
    settings::Settings,
};
use std::{net::SocketAddr, sync::Arc};

/// The file of the invites in a state directory.
const INVITES_FILE: &str = "invites.json";

/// Reads the invites; `at` is the address of the socket.
pub(super) fn open(settings: &Settings, at: SocketAddr) -> Result<Pairing, StartupError> {
    let invites = Invites::open(&settings.state.path.join(INVITES_FILE));
    let invites = invites.map_err(|error| StartupError::Federation(error.to_string()))?;
    let listens = Listens { at, tls: settings.tls_files()?.is_some(), base_path: settings.base_path()? };
    Ok(Pairing { invites: Arc::new(invites), inbox: Inbox::default(), listens })
}
