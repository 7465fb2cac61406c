//! Which peers the engine exchanges with: adding and removing them.

use super::{Engine, clients::By};
use crate::federation::{
    client::ClientError,
    events::EventKind,
    filter::FilterError,
    peers::{Added, PeerOptions, PeerState, PeersError},
};
use serde_json::json;

/// Why a peer was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The address is not one.
    #[error(transparent)]
    Address(#[from] ClientError),
    /// The filter is not one.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// It cannot be kept.
    #[error(transparent)]
    Peers(#[from] PeersError),
}

impl Engine {
    /// Adds a peer, durably, and exchanges with it from now on; or gives one that is known other options. Answers its address as it
    /// is kept, and what was done.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn add_peer(&self, url: &str, options: PeerOptions) -> Result<(String, Added), AddError> {
        // Checked before it is kept.
        self.shared.client(url, By::Operator)?;
        options.filter.check()?;
        let url = url.trim_end_matches('/').to_owned();
        let now = self.shared.options.clock.now();
        let added = self.shared.options.peers.add(PeerState::new(url.clone(), options, now))?;
        if added == Added::New {
            self.shared.options.events.tell(EventKind::PeerAdded, json!({ "peer": url }));
        }
        if added != Added::Same && self.is_running() {
            self.spawn(&url)?;
        }
        Ok((url, added))
    }

    /// Removes a peer, durably. Answers whether there was one.
    ///
    /// # Errors
    /// The peers cannot be kept.
    pub fn remove_peer(&self, url: &str) -> Result<bool, PeersError> {
        let url = url.trim_end_matches('/');
        let known = self.shared.options.peers.remove(url)?;
        if known {
            drop(self.tasks().remove(url));
            self.shared.options.events.tell(EventKind::PeerRemoved, json!({ "peer": url }));
        }
        Ok(known)
    }
}
