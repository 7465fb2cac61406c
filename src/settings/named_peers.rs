//! Peers that the settings name: `https://b.example`, or `id=key@https://b.example`, where the operator knows whose key is to answer there.

use super::{FederationMode, ListedPeer, Settings, SettingsError, load::bad};
use crate::types::{PeerId, PublicKey};

/// A peer that the settings name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPeer {
    /// Its address.
    pub url: String,
    /// Its id and its key; `None`: those that are met at the first contact.
    pub pinned: Option<(PeerId, PublicKey)>,
}

impl NamedPeer {
    /// Reads an entry; the error is what is wrong with it.
    fn parse(entry: &str) -> Result<Self, String> {
        let is_address = ["http://", "https://"].iter().any(|scheme| entry.starts_with(scheme));
        let at = ["@http://", "@https://"].into_iter().filter_map(|mark| entry.find(mark)).min();
        let Some((instance, url)) = at.filter(|_| !is_address).and_then(|at| entry.split_at_checked(at)) else {
            // Whatever user and password it holds.
            return Ok(Self { url: entry.to_owned(), pinned: None });
        };
        let wrong = |why: String| format!("{entry:?} is not of the form id=key@https://b.example: {why}");
        // Both may hold the sign between them, the key only as its padding.
        let end_of_id = instance.trim_end_matches('=').rfind('=');
        let Some((id, key)) = end_of_id.and_then(|at| Some((instance.get(..at)?, instance.get(at + 1..)?))) else {
            return Err(wrong("there is no = between an id and a key".to_owned()));
        };
        let id = PeerId::parse(id).map_err(|error| wrong(format!("the id: {error}")))?;
        let key = PublicKey::parse(key).map_err(|error| wrong(format!("the key: {error}")))?;
        Ok(Self { url: url.trim_start_matches('@').to_owned(), pinned: Some((id, key)) })
    }
}

impl Settings {
    /// All peers that the settings name, the hub first.
    ///
    /// # Errors
    /// An entry is not one.
    pub fn named_peers(&self) -> Result<Vec<NamedPeer>, SettingsError> {
        let section = &self.federation;
        let read = |setting, entry: &String| NamedPeer::parse(entry).map_err(|error| bad(setting, error));
        let hub = section.hub_url.iter().map(|entry| read("federation.hub_url", entry));
        hub.chain(section.trusted_peers.iter().map(|entry| read("federation.trusted_peers", entry))).collect()
    }

    /// Lists the keys that they are named with: no other one takes their ids.
    ///
    /// # Errors
    /// An entry is not one, or `trust.listed` has another key for its id.
    pub(super) fn list_peer_keys(&mut self) -> Result<(), SettingsError> {
        for (id, key) in self.named_peers()?.into_iter().filter_map(|peer| peer.pinned) {
            let listed = ListedPeer { node_id: id.to_string(), pubkey: key.to_base64() };
            match self.trust.listed.iter().find(|known| known.node_id == listed.node_id) {
                Some(known) if known.pubkey == listed.pubkey => {}
                Some(_) => {
                    return Err(bad("federation.trusted_peers", format!("{id:?} is listed with another key")));
                }
                None => self.trust.listed.push(listed),
            }
        }
        Ok(())
    }

    /// An instance in `hub` mode with a hub's address: it exchanges with that hub only.
    #[must_use]
    pub fn is_spoke(&self) -> bool {
        self.federation.mode == FederationMode::Hub && self.federation.hub_url.is_some()
    }

    pub(super) fn warn_of_passed_over_peers(&mut self) {
        if self.is_spoke() && !self.federation.trusted_peers.is_empty() {
            self.warnings.push(
                "federation.mode is hub: this instance exchanges with federation.hub_url only, and federation.trusted_peers \
                 (FEDERATION_TRUSTED_PEERS) has no effect; to exchange with both: FEDERATION_MODE=hybrid"
                    .to_owned(),
            );
        }
    }

    /// Those of them that this instance exchanges with. Seed 002: in `hub` mode an instance with a hub's address is a spoke and talks to
    /// the hub only; one without is the hub itself. In `p2p` and `hybrid` the hub is one peer more.
    ///
    /// # Errors
    /// An entry is not one.
    pub fn configured_peers(&self) -> Result<Vec<NamedPeer>, SettingsError> {
        let mut peers = self.named_peers()?;
        peers.truncate(if self.is_spoke() { 1 } else { peers.len() });
        Ok(peers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[test]
    fn an_entry_is_an_address_or_names_whose_key_answers_there() {
        for url in ["https://b.example", "http://b.example/ark@x", "b.example", "https://user@b.example"] {
            assert_eq!(NamedPeer::parse(url), Ok(NamedPeer { url: url.to_owned(), pinned: None }));
        }
        for id in ["laptop", "a@b", "me@https", "a=b"] {
            let named = NamedPeer::parse(&format!("{id}={KEY}@http://b.example:9000/base")).unwrap();
            let pinned = (PeerId::parse(id).unwrap(), PublicKey::parse(KEY).unwrap());
            assert_eq!(named, NamedPeer { url: "http://b.example:9000/base".to_owned(), pinned: Some(pinned) });
        }
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_said() {
        for (entry, why) in [
            ("laptop@https://b.example", "there is no ="),
            ("laptop=@https://b.example", "there is no ="),
            ("laptop=AAAA@https://b.example", "the key"),
            ("=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=@https://b.example", "the id"),
        ] {
            let error = NamedPeer::parse(entry).unwrap_err();
            assert!(error.contains(entry) && error.contains(why), "{error}");
        }
    }
}
