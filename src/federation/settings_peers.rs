//! Peers that the settings name: they end with their setting, and are removed nowhere else. In `hub` mode the hub alone is exchanged with.

use super::peers::{Peers, PeersError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What made an instance a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A command, the API, an invite or discovery.
    Admin,
    /// A setting: the peer ends with it.
    Setting,
}

/// What the settings say of peers.
#[derive(Debug, Clone, Default)]
pub struct SettingsPeers {
    /// Address, and the setting that names it.
    pub named: BTreeMap<String, &'static str>,
    /// In `hub` mode the hub's address: no other peer is exchanged with.
    pub hub: Option<String>,
}

impl Peers {
    /// Takes over what the settings say, after their peers were added. Answers the peers that were in the settings before and are not any
    /// more; they are to be removed.
    ///
    /// # Errors
    /// [`PeersError::Unwritable`].
    pub fn apply_settings(
        &self,
        settings: SettingsPeers,
        is_new: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, PeersError> {
        for url in settings.named.keys() {
            // Of peers that an earlier version wrote down it is not known; they were in the settings, for they are.
            self.update(url, |peer| {
                if peer.origin.is_none() || is_new(url) {
                    peer.origin = Some(Origin::Setting);
                }
            })?;
        }
        let ended = self.list().into_iter().filter(|peer| peer.origin == Some(Origin::Setting));
        let ended = ended.map(|peer| peer.url).filter(|url| !settings.named.contains_key(url)).collect();
        // Set once, at the start.
        let _first = self.settings.set(settings);
        Ok(ended)
    }

    /// The hub, where the settings have this instance exchange with that one only and `url` is another one.
    #[must_use]
    pub fn hub_instead_of(&self, url: &str) -> Option<&str> {
        self.settings.get()?.hub.as_deref().filter(|hub| *hub != url)
    }

    pub(super) fn check_may_add(&self, url: &str) -> Result<(), PeersError> {
        self.hub_instead_of(url).map_or(Ok(()), |hub| Err(PeersError::HubOnly { hub: hub.to_owned() }))
    }

    /// The setting that names the peer.
    #[must_use]
    pub fn setting_of(&self, url: &str) -> Option<&'static str> {
        self.settings.get().and_then(|settings| settings.named.get(url).copied())
    }

    pub(super) fn check_may_remove(&self, url: &str) -> Result<(), PeersError> {
        self.setting_of(url).map_or(Ok(()), |setting| Err(PeersError::OfSettings { url: url.to_owned(), setting }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        federation::peers::{PeerOptions, PeerState},
        types::Timestamp,
    };

    fn peer(url: &str, origin: Option<Origin>) -> PeerState {
        PeerState { origin, ..PeerState::new(url.to_owned(), PeerOptions::default(), Timestamp::EPOCH) }
    }

    fn named(urls: &[&str], hub: Option<&str>) -> SettingsPeers {
        let named = urls.iter().map(|url| ((*url).to_owned(), "FEDERATION_TRUSTED_PEERS")).collect();
        SettingsPeers { named, hub: hub.map(str::to_owned) }
    }

    #[test]
    fn peer_of_the_settings_ends_with_its_setting_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Peers::open(&folder.path().join("peers.json")).unwrap();
        let peers = open();
        for (url, origin) in
            [("http://old", None), ("http://new", Some(Origin::Admin)), ("http://by-hand", Some(Origin::Admin))]
        {
            peers.add(peer(url, origin)).unwrap();
        }
        let ended = peers
            .apply_settings(named(&["http://old", "http://new", "http://by-hand"], None), |url| url == "http://new")
            .unwrap();
        assert!(ended.is_empty());
        let refused = peers.remove("http://new").unwrap_err().to_string();
        assert!(refused.contains("FEDERATION_TRUSTED_PEERS"), "{refused}");
        drop(peers);
        let peers = open();
        let ended = peers.apply_settings(named(&[], None), |_| false).unwrap();
        assert_eq!(ended, ["http://new", "http://old"]);
        assert!(ended.iter().all(|url| peers.remove(url).unwrap()));
        assert_eq!(peers.list().len(), 1);
        assert!(peers.remove("http://by-hand").unwrap());
    }

    #[test]
    fn hub_mode_adds_no_other_peer() {
        let folder = tempfile::tempdir().unwrap();
        let peers = Peers::open(&folder.path().join("peers.json")).unwrap();
        peers.add(peer("http://hub", Some(Origin::Admin))).unwrap();
        peers.add(peer("http://kept", Some(Origin::Admin))).unwrap();
        peers.apply_settings(named(&["http://hub"], Some("http://hub")), |_| true).unwrap();
        assert_eq!(peers.hub_instead_of("http://hub"), None);
        assert_eq!(peers.hub_instead_of("http://kept"), Some("http://hub"));
        let refused = peers.add(peer("http://other", Some(Origin::Admin))).unwrap_err().to_string();
        assert!(refused.contains("http://hub") && refused.contains("FEDERATION_MODE=hybrid"), "{refused}");
        assert!(peers.remove("http://kept").unwrap());
    }
}
