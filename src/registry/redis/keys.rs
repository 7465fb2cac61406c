//! The names of keys and fields (DESIGN 4.3), with the hash tags that a Redis Cluster needs.

use crate::{
    guard::{Class, Payer},
    types::{PeerId, PublicKey},
};
use sha2::{Digest, Sha256};

/// Names of our own fields in a peer's hash. A manifest field with such a name is left out: ours win.
pub(super) const OWN_FIELDS: [&str; 8] =
    [LAST_SEEN, EXPIRES_AT, PUBKEY, ENVELOPE, SUMMARY, INSTANCE_TYPE, ISSUED_AT, PLACE];
/// When the entry was last renewed, seconds since the epoch.
pub(super) const LAST_SEEN: &str = "last_seen";
/// When it expires, ms since the epoch.
pub(super) const EXPIRES_AT: &str = "expires_at";
/// The key that signed the newest manifest, base64.
pub(super) const PUBKEY: &str = "pubkey";
/// The newest envelope as received.
pub(super) const ENVELOPE: &str = "envelope";
/// `Manifest::summary`.
pub(super) const SUMMARY: &str = "summary";
/// `instance_type` where it is a string. The manifest's own field of that name is kept as it is, and its text does not show
/// whether it was the string `"5"` or the number `5`.
pub(super) const INSTANCE_TYPE: &str = "ark_instance_type";

/// `issued_at` of the newest manifest, µs since the epoch; not there where it does not state it.
pub(super) const ISSUED_AT: &str = "ark_issued_at";
/// More than an id has: 256 characters of UTF-8.
pub(super) const MOST_ID_BYTES: usize = 1024;
/// More than any field has that is read, but for the envelope: a summary holds a manifest's fields, and a line a key's statements.
pub(super) const MOST_FIELD_BYTES: usize = 1 << 20;
/// More than any envelope has that a service takes by its default limits.
pub(super) const MOST_ENVELOPE_BYTES: usize = 64 << 20;
/// In a binding: the statements that lead to its line.
pub(super) const STATEMENTS: &str = "statements";
/// Of a stranger's entry: the index of the address that it was registered from.
const PLACE: &str = "ark_place";

/// How many shares the index has on a Cluster. Fixed: every instance must look for an id in the same one.
pub(super) const SHARES: usize = 16;
const HEX: &[u8; SHARES] = b"0123456789abcdef";

/// Builds keys under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    peer_prefix: String,
    pin_prefix: String,
    ids_prefix: String,
    spent_prefix: String,
    by_expiry: String,
    places_prefix: String,
    cluster: bool,
}

impl Keys {
    pub(super) fn new(prefix: &str, cluster: bool) -> Self {
        Self {
            peer_prefix: format!("{prefix}peer:"),
            pin_prefix: format!("{prefix}pin:"),
            ids_prefix: format!("{prefix}ids:"),
            spent_prefix: format!("{prefix}spent:"),
            by_expiry: format!("{prefix}peers:by_expiry"),
            // Below names that an ACL of an older version lets through.
            places_prefix: format!("{prefix}ids:strangers:"),
            cluster,
        }
    }

    /// The type that the registry's keys of this name have.
    pub(super) fn type_of(&self, key: &str) -> &'static str {
        let is_index = key.starts_with(&self.by_expiry) || key.starts_with(&self.places_prefix);
        if is_index { "zset" } else { "hash" }
    }

    /// Is it the key of a binding?
    pub(super) fn is_pin(&self, key: &str) -> bool {
        key.starts_with(&self.pin_prefix)
    }

    /// Keys that no registration uses, one of each kind and the index last, in the slot of `key`: no id has a control character.
    pub(super) fn probes(&self, key: &str) -> [String; 5] {
        let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or(key, |(tag, _)| tag);
        let tag = if tag.is_empty() || tag.contains('}') { "probe" } else { tag };
        let name = |kind: &str| format!("{kind}\u{1}{{{tag}}}");
        let index = format!("{}:", self.by_expiry);
        [&self.peer_prefix, &self.pin_prefix, &self.ids_prefix, &self.spent_prefix, &index].map(|kind| name(kind))
    }

    /// The hash of a live entry.
    pub(super) fn peer(&self, peer: &PeerId) -> String {
        self.with_id(&self.peer_prefix, peer)
    }

    /// What every key of a live entry starts with; the id follows. Not on a Cluster.
    pub(super) fn peer_prefix(&self) -> &str {
        &self.peer_prefix
    }

    /// What the key of every binding starts with; the id follows. Not on a Cluster.
    pub(super) fn pin_prefix(&self) -> &str {
        &self.pin_prefix
    }

    /// The sorted set with the bytes of each stranger's entry, and of all under the empty name. Not on a Cluster.
    pub(super) fn stranger_bytes(&self) -> String {
        format!("{}bytes", self.places_prefix)
    }

    /// The sorted set of strangers' ids by expiry. Not on a Cluster.
    pub(super) fn strangers(&self) -> String {
        format!("{}all", self.places_prefix)
    }

    /// On a Cluster: the share of [`Self::strangers`] that an id is in.
    pub(super) fn share_of_stranger(&self, peer: &PeerId) -> String {
        self.share_of(peer).replacen(&self.by_expiry, &self.strangers(), 1)
    }

    /// On a Cluster: every share of [`Self::strangers`].
    pub(super) fn shares_of_strangers(&self) -> Vec<String> {
        self.shares().iter().map(|share| share.replacen(&self.by_expiry, &self.strangers(), 1)).collect()
    }

    /// What the index of a key starts with; the key follows.
    pub(super) fn key_places_prefix(&self) -> String {
        format!("{}key:", self.places_prefix)
    }

    /// The sorted set of the ids of a stranger's key by expiry.
    pub(super) fn places_of_key(&self, key: PublicKey) -> String {
        format!("{}{}", self.key_places_prefix(), key.to_base64())
    }

    /// The sorted set of strangers' ids from an address by expiry.
    pub(super) fn places_from(&self, address: &str) -> String {
        format!("{}from:{address}", self.places_prefix)
    }

    /// The hash of a key binding. A known peer's has no time to live.
    pub(super) fn pin(&self, peer: &PeerId) -> String {
        self.with_id(&self.pin_prefix, peer)
    }

    /// How many ids a key has.
    pub(super) fn ids_of(&self, key: PublicKey) -> String {
        format!("{}{key}", self.ids_prefix)
    }

    /// What a payer has used up of an allowance.
    pub(super) fn spent(&self, class: Class, payer: Payer) -> String {
        format!("{}{}:{payer}", self.spent_prefix, class.name())
    }

    /// The sorted set of ids by expiry, ms since the epoch. Not on a Cluster.
    pub(super) fn by_expiry(&self) -> &str {
        &self.by_expiry
    }

    /// On a Cluster: the share of the index that an id is in, named by the first hex digit of the id's SHA-256.
    pub(super) fn share_of(&self, peer: &PeerId) -> String {
        let first = Sha256::digest(peer.as_str().as_bytes()).first().copied().unwrap_or_default();
        self.share(usize::from(first >> 4))
    }

    /// On a Cluster: every share of the index.
    pub(super) fn shares(&self) -> Vec<String> {
        (0..SHARES).map(|number| self.share(number)).collect()
    }

    fn share(&self, number: usize) -> String {
        let digit = HEX.get(number).copied().map_or('0', char::from);
        format!("{}:{{{digit}}}", self.by_expiry)
    }

    /// On a Cluster the id stands in braces, which makes it the part that decides on the slot, the same for both keys of an id.
    /// Braces within the id would end that part early or make it empty: they are percent-encoded, and `%` with them, so that no
    /// two ids share a key.
    fn with_id(&self, kind: &str, peer: &PeerId) -> String {
        if self.cluster {
            let id = peer.as_str().replace('%', "%25").replace('{', "%7B").replace('}', "%7D");
            format!("{kind}{{{id}}}")
        } else {
            format!("{kind}{peer}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::cluster_routing::Slot;
    use std::collections::HashSet;

    #[test]
    fn both_keys_of_any_id_are_in_one_slot_and_no_two_ids_share_a_key() {
        let keys = Keys::new("team:", true);
        let odd = ["a", "{a}", "{}", "}{", "}", "{", "a}b", "{a}b", "}a", "%7D", "%", "%25", "a:b", "{{}}", "ü", " "];
        let mut seen = HashSet::new();
        for id in odd {
            let id = PeerId::parse(id).unwrap();
            let (peer, pin) = (keys.peer(&id), keys.pin(&id));
            assert_eq!(Slot::for_key(&peer), Slot::for_key(&pin), "{id}");
            assert!(seen.insert(peer), "{id}");
            assert!(keys.shares().contains(&keys.share_of(&id)));
        }
        assert_eq!(keys.peer(&PeerId::parse("ark-1").unwrap()), "team:peer:{ark-1}");
        assert_eq!(keys.pin(&PeerId::parse("}x%").unwrap()), "team:pin:{%7Dx%25}");
        // SHA-256 of "ark-1" starts with 6.
        assert_eq!(keys.shares().len(), SHARES);
        assert_eq!(keys.shares()[10], "team:peers:by_expiry:{a}");
    }
}
