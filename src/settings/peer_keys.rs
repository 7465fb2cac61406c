//! Peers of the settings that are written with id and key, as `id=key@url`: for a peer that this instance cannot reach itself, or whose
//! key is not to be the one that answers first.

use super::{ListedPeer, Settings, SettingsError, load::bad};
use crate::types::{PeerId, PublicKey};

const SETTING: &str = "federation.trusted_peers";

impl Settings {
    /// Lists the keys that `federation.trusted_peers` names, and leaves the addresses there.
    ///
    /// # Errors
    /// Id or key cannot be used, or `trust.listed` has another key for the id.
    pub(super) fn list_peer_keys(&mut self) -> Result<(), SettingsError> {
        for peer in &mut self.federation.trusted_peers {
            let Some((who, url)) = split(peer) else { continue };
            let Some((node_id, pubkey)) = split_key(who) else {
                return Err(bad(SETTING, format!("{peer:?} is neither an address nor id=key@address")));
            };
            PeerId::parse(node_id).map_err(|error| bad(SETTING, format!("{peer:?}: {error}")))?;
            PublicKey::parse(pubkey).map_err(|error| bad(SETTING, format!("{peer:?}: {error}")))?;
            let listed = ListedPeer { node_id: node_id.to_owned(), pubkey: pubkey.to_owned() };
            match self.trust.listed.iter().find(|known| known.node_id == listed.node_id) {
                Some(known) if known.pubkey == listed.pubkey => {}
                Some(_) => return Err(bad(SETTING, format!("{node_id:?} is listed with another key"))),
                None => self.trust.listed.push(listed),
            }
            *peer = url.to_owned();
        }
        Ok(())
    }
}

/// What stands before an address, and the address. `None`: it is an address, whatever user and password it holds.
fn split(peer: &str) -> Option<(&str, &str)> {
    let at = ["@http://", "@https://"].into_iter().filter_map(|mark| peer.find(mark)).min()?;
    let is_address = peer.starts_with("http://") || peer.starts_with("https://");
    (!is_address).then(|| Some((peer.get(..at)?, peer.get(at + 1..)?)))?
}

/// Id and key. Both may hold the sign between them, the key only as its padding.
fn split_key(who: &str) -> Option<(&str, &str)> {
    let end_of_id = who.trim_end_matches('=').rfind('=')?;
    Some((who.get(..end_of_id)?, who.get(end_of_id + 1..)?))
}
