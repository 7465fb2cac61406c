//! What a search saw, joined: one instance is one suggestion, by however many addresses it answers.

use super::{Found, LanOptions, MAX_FOUND, Via, heard::Candidate, probe::Present};
use crate::{
    federation::{peer_address, peers::PeerState},
    types::{PeerId, PublicKey},
};
use reqwest::Url;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The longest address that is shown.
const MAX_ADDRESS_CHARS: usize = 512;

#[derive(Debug)]
struct Seen {
    via: Via,
    url: String,
    node_id: PeerId,
    public_key: PublicKey,
    instance_type: Option<&'static str>,
}

/// Who says that he is there: at which addresses, and of which type.
type Claim = (Vec<String>, Option<&'static str>);

/// Collects while a search goes on.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    proved: Mutex<Vec<Seen>>,
    /// By the first address.
    claimed: Mutex<BTreeMap<String, Claim>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sightings {
    /// Somebody says that he is there.
    pub(super) fn claim(&self, candidate: &Candidate) {
        if let Some(first) = candidate.urls.first() {
            let said = (candidate.urls.clone(), candidate.description.instance_type);
            lock(&self.claimed).insert(first.clone(), said);
        }
    }

    /// Somebody proved who he is.
    pub(super) fn see(&self, via: Via, url: String, present: Present) {
        let Present { head, instance_type } = present;
        let (node_id, public_key) = (head.get().node_id.clone(), head.public_key());
        let mut proved = lock(&self.proved);
        if proved.len() < MAX_FOUND {
            proved.push(Seen { via, url, node_id, public_key, instance_type });
        }
    }

    /// One suggestion for each instance that is not us: those who proved who they are first.
    pub(super) fn join(self, options: &LanOptions, peers: &[PeerState]) -> Vec<Found> {
        let claimed = self.claimed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut seen = self.proved.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Who says by himself that he is there knows best where; then the same address every time.
        seen.sort_by_cached_key(|seen| (seen.via == Via::Scan, seen.url.len(), seen.url.clone()));
        let mut answered = Vec::new();
        let mut by_identity: BTreeMap<(String, String), Found> = BTreeMap::new();
        for Seen { via, url, node_id, public_key, instance_type } in seen {
            answered.push(url.clone());
            if node_id == options.node_id || public_key == options.engine.public_key() {
                continue;
            }
            let (id, key) = (node_id.as_str().to_owned(), public_key.to_base64());
            let said = claimed.values().find(|(urls, _)| urls.contains(&url)).and_then(|(_, said)| *said);
            let known = is_known(peers, &url, Some((&id, &key)));
            let is_peers_url = peers.iter().any(|peer| peer.url == url);
            let found = by_identity.entry((id.clone(), key.clone())).or_insert_with(|| Found {
                url: url.clone(),
                node_id: Some(id),
                public_key: Some(key),
                instance_type: None,
                via,
                known,
                accepted: false,
            });
            found.instance_type = found.instance_type.or(instance_type).or(said);
            found.known |= known;
            if is_peers_url {
                found.url = url;
            }
        }
        let silent = claimed.into_iter().filter(|(_, (urls, _))| !urls.iter().any(|url| answered.contains(url)));
        let unproved = silent.map(|(url, (_, instance_type))| {
            let known = is_known(peers, &url, None);
            Found { url, node_id: None, public_key: None, instance_type, via: Via::Mdns, known, accepted: false }
        });
        let mut found: Vec<Found> = by_identity.into_values().collect();
        found.extend(unproved);
        found
    }
}

/// Whether somebody is a peer already.
pub(super) fn is_known(peers: &[PeerState], url: &str, identity: Option<(&str, &str)>) -> bool {
    peers.iter().any(|peer| {
        let same = peer.node_id.as_deref().zip(peer.public_key.as_deref());
        peer.url == url || (same.is_some() && same == identity)
    })
}

/// The address in a manifest, if it is one that a peer may have: as a URL it holds nothing that harms a terminal.
pub(super) fn address(summary: &[u8]) -> Option<String> {
    let manifest: serde_json::Value = serde_json::from_slice(summary).ok()?;
    let text = manifest.get("address")?.as_str()?;
    let url = Url::parse(text).ok().filter(|_| text.len() <= MAX_ADDRESS_CHARS)?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let right = matches!(url.scheme(), "http" | "https") && url.host().is_some() && plain && url.fragment().is_none();
    right.then(|| peer_address(url.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_peers_are_shown() {
        let address = |text: &str| address(serde_json::json!({ "address": text }).to_string().as_bytes());
        assert_eq!(address("https://ark.example:9001/"), Some("https://ark.example:9001".to_owned()));
        assert_eq!(address("http://h/\u{1b}[2J").as_deref(), Some("http://h/%1B[2J"));
        for bad in ["", "h:1", "ftp://h", "http://u:p@h", "http://h/?a", "http://h/#a", "javascript:alert(1)"] {
            assert_eq!(address(bad), None, "{bad}");
        }
        assert_eq!(address(&format!("http://h/{}", "a".repeat(600))), None);
        assert_eq!(super::address(b"{}"), None);
    }
}
