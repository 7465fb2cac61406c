//! What is counted of rounds is written now and then, in one: it is lost where the process is killed, and nothing depends on it.

use super::{Engine, Shared};
use crate::federation::round::Positions;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How long counts of rounds and the history of rounds may wait to be written.
pub const STATISTICS_EVERY: Duration = Duration::from_secs(300);

impl Engine {
    /// Writes statistics every five minutes, until it is dropped; [`Engine::stop`] writes the last.
    pub async fn keep_statistics(self: Arc<Self>) {
        loop {
            sleep(STATISTICS_EVERY).await;
            let engine = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || engine.write_statistics()).await {
                tracing::warn!(%error, "the statistics of rounds cannot be written");
            }
        }
    }

    /// Writes counts of rounds, and the history of rounds, where there are new ones.
    pub fn write_statistics(&self) {
        if let Err(error) = self.shared.options.peers.flush_counts() {
            tracing::warn!(%error, "the newest counts of rounds cannot be kept");
        }
        self.shared.options.history.flush();
    }
}

impl Shared {
    /// Notes how far a round came that goes on.
    pub(super) fn note_reached(&self, url: &str, positions: &Positions) {
        if let Err(error) = self.options.peers.reach(url, positions) {
            tracing::warn!(peer = url, %error, "how far a peer is cannot be kept");
        }
    }
}
