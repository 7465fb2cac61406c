//! What may happen between instances, by name.

use serde::Serialize;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A peer was added.
    PeerAdded,
    /// A peer was removed.
    PeerRemoved,
    /// A peer answers, for the first time or again.
    PeerOnline,
    /// A peer does not answer any more, or not well.
    PeerOffline,
    /// A peer was restored from a copy; its lattice and this one are compared anew.
    PeerRestored,
    /// A round with something to exchange began.
    SyncStarted,
    /// Such a round ended, well or not; or the first one that failed.
    SyncComplete,
    /// A version made here lost; it is kept.
    ConflictResolved,
    /// The journal moved.
    NodeChanged,
    /// More deletions than before wait for an admin, here or at a peer.
    DeletionsWaiting,
    /// An unknown instance asked to write here and waits for the admin.
    PeerPending,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::PeerAdded,
        Self::PeerRemoved,
        Self::PeerOnline,
        Self::PeerOffline,
        Self::PeerRestored,
        Self::SyncStarted,
        Self::SyncComplete,
        Self::ConflictResolved,
        Self::NodeChanged,
        Self::DeletionsWaiting,
        Self::PeerPending,
    ];

    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PeerAdded => "peer-added",
            Self::PeerRemoved => "peer-removed",
            Self::PeerOnline => "peer-online",
            Self::PeerOffline => "peer-offline",
            Self::PeerRestored => "peer-restored",
            Self::SyncStarted => "sync-started",
            Self::SyncComplete => "sync-complete",
            Self::ConflictResolved => "conflict-resolved",
            Self::NodeChanged => "node-changed",
            Self::DeletionsWaiting => "deletions-waiting",
            Self::PeerPending => "peer-pending",
        }
    }

    /// The kind of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn parse(name: &str) -> Result<Self, UnknownEvent> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| UnknownEvent(name.to_owned()))
    }
}

/// A name that no event has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no event {0:?}; there are {list}", list = EventKind::ALL.map(EventKind::as_str).join(", "))]
pub struct UnknownEvent(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_name_that_it_is_read_by() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        let error = EventKind::parse("peer-gone").unwrap_err().to_string();
        assert!(error.contains("\"peer-gone\"") && error.contains("peer-added, peer-removed"), "{error}");
    }
}
