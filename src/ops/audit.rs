//! The audit log, beside requests: written where waiting for the disk holds up nobody else.

use super::Context;
use crate::{
    trust::{
        Entry,
        file::{self, FileError},
    },
    types::{PeerId, PublicKey},
};
use std::{path::Path, sync::Arc};
use tokio::task::spawn_blocking;

/// Takes nothing more from a key whose holder contradicted himself.
pub(super) async fn quarantine(context: &Context, peer: PeerId, key: PublicKey, reason: &'static str) {
    let trust = Arc::clone(&context.trust);
    drop(spawn_blocking(move || trust.quarantine(&peer, key, reason)).await);
}

/// The entries of an audit log, checked from the first to the last; and whether a line is being written.
///
/// # Errors
/// [`FileError`].
pub fn read_audit(path: &Path) -> Result<(Vec<Entry>, String, bool), FileError> {
    let contents = file::read(path)?;
    let damaged = |error| FileError::Damaged { path: path.to_owned(), error };
    let entries = Entry::parse_all(&contents.texts).map_err(damaged)?;
    Ok((entries, contents.chain.hash().to_owned(), contents.torn_bytes > 0))
}
