//! The names of keys and fields (DESIGN 4.3). The only file to change where keys need a hash tag (Redis Cluster).

use crate::types::PeerId;

/// Names of our own fields in a peer's hash. A manifest field with such a name is left out: ours win.
pub(super) const OWN_FIELDS: [&str; 6] = ["last_seen", "expires_at", PUBKEY, ENVELOPE, SUMMARY, INSTANCE_TYPE];
/// The key that signed the newest manifest, base64.
pub(super) const PUBKEY: &str = "pubkey";
/// The newest envelope as received.
pub(super) const ENVELOPE: &str = "envelope";
/// `Manifest::summary`.
pub(super) const SUMMARY: &str = "summary";
/// `instance_type` where it is a string. The manifest's own field of that name is kept as it is, and its text does not show
/// whether it was the string `"5"` or the number `5`.
pub(super) const INSTANCE_TYPE: &str = "ark_instance_type";

/// Builds keys under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    peer_prefix: String,
    pin_prefix: String,
    by_expiry: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            peer_prefix: format!("{prefix}peer:"),
            pin_prefix: format!("{prefix}pin:"),
            by_expiry: format!("{prefix}peers:by_expiry"),
        }
    }

    /// The hash of a live entry.
    pub(super) fn peer(&self, peer: &PeerId) -> String {
        format!("{}{peer}", self.peer_prefix)
    }

    /// What every key of a live entry starts with; the id follows.
    pub(super) fn peer_prefix(&self) -> &str {
        &self.peer_prefix
    }

    /// The hash of a key binding; it has no time to live.
    pub(super) fn pin(&self, peer: &PeerId) -> String {
        format!("{}{peer}", self.pin_prefix)
    }

    /// The sorted set of ids by expiry, ms since the epoch.
    pub(super) fn by_expiry(&self) -> &str {
        &self.by_expiry
    }
}
