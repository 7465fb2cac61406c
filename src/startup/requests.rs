//! What one process must know of the signed requests that the one before it has seen.

use super::StartupError;
use crate::{
    guard::Payer,
    lattice::offline::write_file,
    ops::{Context, REPEATABLE_FOR},
    settings::Settings,
    trust::Nonces,
    types::SharedClock,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

/// In the state directory. Holds [`RUNNING`] while a process runs, and what it leaves to the next one when it ends in order.
const FILE: &str = "requests.seen";
/// Left in the file by a process that did not end in order.
const RUNNING: &str = "running\n";

/// Leaves what was seen to the next process.
pub(super) struct HandOver(PathBuf);

/// Takes what the process before left.
pub(super) fn open(settings: &Settings, clock: &SharedClock) -> Result<(Nonces<Payer>, HandOver), StartupError> {
    let path = settings.state.path.join(FILE);
    let failed = |error: io::Error| StartupError::State { path: path.clone(), problem: format!("{FILE}: {error}") };
    let text = read(&path).map_err(failed)?;
    if let Err(error) = put(&path, RUNNING) {
        // A full disk is no reason not to start.
        tracing::warn!(%error, path = %path.display(), "the state directory cannot be written");
    }
    // Where there is none, no process of before could have taken anything.
    let left = Some(text.unwrap_or_default()).filter(|text| text != RUNNING);
    let nonces = Nonces::started(clock.now(), left.as_deref(), clock.elapsed(), REPEATABLE_FOR);
    Ok((nonces, HandOver(path)))
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read(path) {
        // What is no text is no line that was left.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    write_file(path, text.as_bytes()).map_err(io::Error::other)
}

impl HandOver {
    /// Once no request is answered any more.
    pub(super) async fn leave(self, context: &Arc<Context>) {
        let context = Arc::clone(context);
        let written = tokio::task::spawn_blocking(move || {
            let now = context.clock.now();
            let text = context.nonces.lock().unwrap_or_else(PoisonError::into_inner).handed_over(now);
            put(&self.0, &text)
        });
        match written.await.map_err(io::Error::other).and_then(|written| written) {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "the next start refuses signed requests of its first second: what was seen is not written down");
            }
        }
    }
}
