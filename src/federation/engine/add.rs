//! Which peers the engine exchanges with: adding and removing them.

use super::{Engine, Shared, Synced, clients::By};
use crate::{
    federation::{
        client::ClientError,
        events::EventKind,
        failure::FailureKind,
        filter::FilterError,
        peer_address,
        peers::{Added, PeerOptions, PeerState, PeersError},
        round::Positions,
        run::RoundReport,
        settings_peers::SettingsPeers,
    },
    trust::Named,
    types::{PeerId, PublicKey},
};
use serde_json::json;
use std::collections::BTreeSet;

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

impl Synced {
    pub(super) fn failed(url: String, error: String, failure: FailureKind) -> Self {
        Self { url, report: RoundReport::default(), error: Some(error), failure: Some(failure) }
    }
}

impl Shared {
    /// Did the admin name this peer? Whoever proves that he knows the network's key is named by it: every answer does.
    pub(super) fn named(&self, peer: &PeerState) -> Named {
        let names = self.options.network.is_some() && self.options.trust.network_key_names();
        (peer.named || names).into()
    }
}

impl Engine {
    /// Adds a peer, durably, and exchanges with it from now on; or gives one that is known other options. Answers its address as it
    /// is kept, and what was done.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn add_peer(&self, url: &str, options: PeerOptions) -> Result<(String, Added), AddError> {
        self.add(url, options, true)
    }

    /// As [`Self::add_peer`], where no admin named the peer: it was found, and the settings make peers of those.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn add_found(&self, url: &str) -> Result<(String, Added), AddError> {
        self.add(url, PeerOptions::default(), false)
    }

    fn add(&self, url: &str, options: PeerOptions, named: bool) -> Result<(String, Added), AddError> {
        // Checked before it is kept.
        self.shared.client(url, By::Operator)?;
        options.filter.check()?;
        let url = peer_address(url);
        let now = self.shared.options.clock.now();
        let peer = PeerState { named, ..PeerState::new(url.clone(), options, now) };
        let added = self.shared.options.peers.add(peer)?;
        if added == Added::New {
            self.shared.options.events.tell(EventKind::PeerAdded, json!({ "peer": url }));
        }
        if added != Added::Same && self.is_running() {
            self.spawn(&url)?;
        }
        Ok((url, added))
    }

    /// Notes, durably, which instance answered at the address of a peer with which no round was made yet.
    ///
    /// # Errors
    /// [`AddError::Peers`].
    pub fn note_met(&self, url: &str, peer: &PeerId, key: PublicKey) -> Result<(), AddError> {
        Ok(self.shared.options.peers.update(url, |state| {
            if state.node_id.is_none() && state.public_key.is_none() {
                (state.node_id, state.public_key) = (Some(peer.to_string()), Some(key.to_base64()));
            }
        })?)
    }

    /// Takes whoever answers at the address of a peer from now on, durably; the peer's options stay. Adds the peer where there is none.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn replace_peer(&self, url: &str, options: PeerOptions) -> Result<(String, Added), AddError> {
        let url = peer_address(url);
        // First: the task knows whom it met.
        drop(self.tasks().remove(&url));
        if !self.shared.options.peers.forget_identity(&url)? {
            return self.add_peer(&url, options);
        }
        if self.is_running() {
            self.spawn(&url)?;
        }
        Ok((url, Added::Replaced))
    }

    /// Adds the address of an instance that is a peer at another one: the peer keeps the address at which it answers, else it moves to the
    /// new one with everything that is known of it. Answers the address that is kept, and what was done.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn add_known(&self, url: &str, known_at: &str, options: PeerOptions) -> Result<(String, Added), AddError> {
        let peers = &self.shared.options.peers;
        if peers.get(known_at).is_some_and(|known| known.failed_in_a_row == 0) {
            return self.add_peer(known_at, options);
        }
        self.shared.client(url, By::Operator)?;
        options.filter.check()?;
        let url = peer_address(url);
        // First: the task writes to the old address.
        drop(self.tasks().remove(known_at));
        peers.move_to(known_at, &url)?;
        self.add_peer(&url, options)?;
        if self.is_running() {
            self.spawn(&url)?;
        }
        Ok((url, Added::Moved))
    }

    /// Did the last round with the peer at this address end because another key signs there than the one that was met, and is this
    /// another one still? A key that follows the known one by its own statements is found by rounds.
    #[must_use]
    pub fn refuses_key(&self, url: &str, key: PublicKey) -> bool {
        let known = self.shared.options.peers.get(url);
        known.is_some_and(|known| {
            matches!(known.failure, Some(FailureKind::OtherKey | FailureKind::OtherInstance))
                && known.public_key.is_some_and(|pinned| pinned != key.to_base64())
        })
    }

    /// The hub, where the settings have this instance exchange with that one only and this address is another one.
    #[must_use]
    pub fn hub_instead_of(&self, url: &str) -> Option<&str> {
        self.shared.options.peers.hub_instead_of(url)
    }

    /// The setting that names the peer at this address.
    #[must_use]
    pub fn setting_of(&self, url: &str) -> Option<&'static str> {
        self.shared.options.peers.setting_of(url)
    }

    /// Did the admin name the instance with this id, which has this key now?
    #[must_use]
    pub fn names(&self, peer: &PeerId, key: PublicKey) -> Named {
        let options = &self.shared.options;
        let has_key = |pinned: &str| {
            PublicKey::parse(pinned).is_ok_and(|pinned| pinned == key || options.trust.succeeds(key, pinned))
        };
        options.peers.names(peer.as_str(), has_key).into()
    }

    /// The key of the peer that the admin named under this id; `None`: there is none, or it was not met yet.
    #[must_use]
    pub fn pinned_key(&self, peer: &PeerId) -> Option<PublicKey> {
        let pinned = self.shared.options.peers.pinned_key(peer.as_str());
        pinned.and_then(|key| PublicKey::parse(&key).ok())
    }

    /// The address of a peer that has this id and key and whose last round succeeded.
    #[must_use]
    pub fn active_address(&self, peer: &PeerId, key: PublicKey) -> Option<String> {
        let known = self.shared.options.peers.with_identity(peer.as_str(), &key.to_base64());
        known.filter(PeerState::is_active).map(|peer| peer.url)
    }

    /// Makes the instance at an address a peer that is exchanged with automatically, durably. Its id and key were proved; they are pinned.
    /// Options of a peer that is known stay. Answers the address as it is kept.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn pair_peer(&self, url: &str, peer: &PeerId, key: PublicKey) -> Result<String, AddError> {
        let url = self.pin(url, peer, key)?;
        self.shared.options.peers.update(&url, |state| {
            (state.auto_sync, state.failed_in_a_row, state.error) = (true, 0, None);
        })?;
        if self.is_running() {
            // Anew: the task of a peer that was known may wait for the switch of all peers.
            self.spawn(&url)?;
        }
        Ok(url)
    }

    /// Makes the instance with this id and key at an address a peer, durably, as the settings name it. A key that follows the named one by
    /// its own statements stays; any other that was pinned there gives way.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn name_peer(&self, url: &str, peer: &PeerId, key: PublicKey) -> Result<String, AddError> {
        let Shared { options, .. } = &*self.shared;
        let known = options.peers.get(&peer_address(url)).filter(|it| it.node_id.as_deref() == Some(peer.as_str()));
        let pinned = known.and_then(|known| PublicKey::parse(&known.public_key?).ok());
        let succeeds = |pinned: &PublicKey| options.trust.succeeds(*pinned, key);
        self.pin(url, peer, pinned.filter(succeeds).unwrap_or(key))
    }

    /// Adds a peer, or names one that is known, whose id and key are these; durably.
    fn pin(&self, url: &str, peer: &PeerId, key: PublicKey) -> Result<String, AddError> {
        self.shared.client(url, By::Operator)?;
        let url = peer_address(url);
        let (peers, now) = (&self.shared.options.peers, self.shared.options.clock.now());
        if peers.get(&url).is_none() {
            peers.add(PeerState::new(url.clone(), PeerOptions::default(), now))?;
            self.shared.options.events.tell(EventKind::PeerAdded, json!({ "peer": url, "nodeId": peer.as_str() }));
        }
        peers.update(&url, |state| {
            let pinned = (Some(peer.to_string()), Some(key.to_base64()));
            if (&state.node_id, &state.public_key) != (&pinned.0, &pinned.1) {
                // Positions are those of the instance that was met at this address before.
                state.positions = Positions::default();
                (state.node_id, state.public_key) = pinned;
            }
            state.named = true;
        })?;
        Ok(url)
    }

    /// Takes over what the settings say of peers, after theirs were added; of those `new` ones were not there before. Removes peers
    /// that were in the settings before, and answers their addresses.
    ///
    /// # Errors
    /// The peers cannot be kept.
    pub fn apply_settings(&self, settings: SettingsPeers, new: &BTreeSet<String>) -> Result<Vec<String>, PeersError> {
        let ended = self.shared.options.peers.apply_settings(settings, |url| new.contains(url))?;
        for url in &ended {
            self.remove_peer(url)?;
        }
        Ok(ended)
    }

    /// Removes a peer, durably. Answers whether there was one.
    ///
    /// # Errors
    /// The peers cannot be kept.
    pub fn remove_peer(&self, url: &str) -> Result<bool, PeersError> {
        let url = peer_address(url);
        let known = self.shared.options.peers.remove(&url)?;
        if known {
            drop(self.tasks().remove(&url));
            self.shared.options.events.tell(EventKind::PeerRemoved, json!({ "peer": url }));
        }
        Ok(known)
    }
}
